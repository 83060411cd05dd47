"""Small batches are filled up with earlier examples."""

import fit_cases as cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from fit_cases import BATCH, FEATURES

from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.fit import replay as module
from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.callback import LearnedRule
from keras_learned_rule.fit.model import LearnedRuleModel
from keras_learned_rule.fit.readout import few_shot_accuracy
from keras_learned_rule.fit.replay import Replay
from keras_learned_rule.fit.step import learned_rule_step

RAGGED = 3 * BATCH + 5


def numbered(first, count):
    """Examples that can be told apart: [count, 1]."""
    return tf.reshape(tf.range(first, first + count, dtype=tf.float32), (count, 1))


def filled_by_hand(x, size, first=0):
    """The batches of an epoch over `x` as the rule gets them, from step `first`."""
    replay, filled = Replay(128, keras.KerasTensor((None, FEATURES)), seed=0), []
    for step, batch in enumerate(cases.batches(x, size), first):
        filled.append(replay.fill(tf.constant(batch), step))
        replay.keep(tf.constant(batch), applied=True)
    return filled


def fit(model, x, *others, batch_size=BATCH, epochs=1, **options):
    callbacks = [LearnedRule(cases.compact_rule(), **options), *others]
    data = dict(batch_size=batch_size, epochs=epochs, shuffle=False)
    model.fit(x, verbose=0, callbacks=callbacks, **data)
    return cases.arrays(model)


def test_the_first_batch_is_repeated():
    replay = Replay(5, keras.KerasTensor((None, 1)), seed=0)
    filled = replay.fill(numbered(3, 2), step=0)
    np.testing.assert_array_equal(filled[:, 0], [3, 4, 3, 4, 3])


def test_later_ones_hold_all_of_x_and_earlier_examples_alike_often():
    replay = Replay(1000, keras.KerasTensor((None, 1)), seed=0)
    for step in range(10):
        replay.keep(numbered(2 * step, 2), applied=True)
    filled = np.array(replay.fill(numbered(100, 40), step=10))[:, 0]
    np.testing.assert_array_equal(filled[:40], np.arange(100, 140))
    counts = np.bincount(filled[40:].astype(int), minlength=20)
    assert len(filled) == 1000 and len(counts) == 20
    # 960 draws of 20: chi-square with 19 degrees of freedom is below 44 in 999 of 1,000 cases.
    assert ((counts - 48) ** 2 / 48).sum() < 44


def test_the_oldest_examples_leave(monkeypatch):
    monkeypatch.setattr(module, "MOST_EXAMPLES", 6)
    replay = Replay(4, keras.KerasTensor((None, 1)), seed=0)
    for first in (0, 3, 6):
        replay.keep(numbered(first, 3), applied=True)
    drawn = np.concatenate([replay.fill(numbered(50, 1), step)[1:, 0] for step in range(60)])
    assert set(drawn) == {3, 4, 5, 6, 7, 8}


def test_large_inputs_are_kept_in_smaller_numbers(monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", 30)
    replay = Replay(2, keras.KerasTensor((None, 3, 2)), seed=0)
    replay.keep(tf.zeros((1, 3, 2)), applied=True)
    for _ in range(5):
        replay.keep(tf.ones((1, 3, 2)), applied=True)
    assert min(float(tf.reduce_min(replay.fill(tf.ones((1, 3, 2)), s))) for s in range(50)) == 1.0


@pytest.mark.parametrize("forget", ["not applied", "cleared"])
def test_what_is_not_kept_is_not_drawn(forget):
    replay = Replay(8, keras.KerasTensor((None, 1)), seed=0)
    replay.keep(numbered(7, 2), applied=forget != "not applied")
    if forget == "cleared":
        replay.clear()
    assert set(np.array(replay.fill(numbered(1, 1), step=1))[:, 0]) == {1}


@pytest.mark.parametrize("size, count", [(BATCH, RAGGED), (150, 2 * 150 + 7)])
@pytest.mark.parametrize(
    "options",
    [{}, {"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 2}],
    ids=str,
)
def test_a_fit_equals_the_update_by_hand_over_filled_batches(options, size, count):
    x, rule = cases.examples(count), cases.compact_rule()
    model = cases.compiled(**options)
    filled = filled_by_hand(x, size)
    # What fills the last batch is of earlier ones, large or small.
    assert len(np.unique(filled[-1], axis=0)) > (30 if size == BATCH else 90)
    expected = cases.weights_by_hand(model, rule, filled)
    plain = cases.weights_by_hand(model, rule, cases.batches(x, size))
    fit(model, x, batch_size=size)
    cases.assert_model_has(model, expected, tolerance=1e-4)
    assert np.abs(expected[0]["w"] - plain[0]["w"]).max() > 1e-3


def test_large_batches_are_left_alone():
    x = cases.examples(RAGGED)
    model = cases.compiled()
    other = cases.twin(model)
    other.compile()
    cases.assert_same(fit(model, x, replay=5), fit(other, x, replay=0))


def test_equal_seeds_draw_equally():
    x, model = cases.examples(), cases.compiled()
    others = [cases.twin(model) for _ in range(2)]
    for other in others:
        other.compile()
    first = fit(model, x, seed=1)
    cases.assert_same(first, fit(others[0], x, seed=1))
    assert np.abs(first[0] - fit(others[1], x, seed=2)[0]).max() > 1e-5


@pytest.mark.filterwarnings("error:.*non-finite")
def test_a_bad_batch_does_not_poison_later_steps():
    binding, x = RuleBinding(cases.network(), cases.compact_rule()), cases.examples()
    good, bad = x[:BATCH], np.full_like(x[:BATCH], np.nan)
    for batch in (good, bad):
        learned_rule_step(binding, batch)
    binding.guard.reset()
    logs = [learned_rule_step(binding, good) for _ in range(5)]
    assert [float(log["applied"]) for log in logs] == [1.0] * 5
    assert binding.raise_on_failure() is False


def test_a_model_of_ones_own_forgets_the_examples_of_the_fit_before():
    x, model = cases.examples(), LearnedRuleModel(cases.network(), cases.compact_rule())
    model.compile()
    model.fit(1000.0 + x, batch_size=BATCH, verbose=0)
    model.fit(x, batch_size=BATCH, verbose=0)
    seen = np.array(model._binding.replay.fill(tf.constant(x[:BATCH]), step=0))
    assert np.abs(seen).max() < 500


class Stop(Exception):
    pass


class StopInSecondEpoch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise Stop


def test_an_interrupted_fit_goes_on_without_earlier_examples(tmp_path):
    x, rule = cases.examples(), cases.compact_rule()

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    model = cases.compiled()
    filled = filled_by_hand(x, BATCH) + filled_by_hand(x, BATCH, first=4)
    expected = cases.weights_by_hand(model, rule, filled)
    with pytest.raises(Stop):
        fit(model, x, backup(), StopInSecondEpoch(), epochs=2)
    resumed = cases.compiled()
    fit(resumed, x, backup(), epochs=2)
    cases.assert_model_has(resumed, expected, tolerance=1e-4)


def test_examples_are_not_cut_in_pieces():
    wide = tf.data.Dataset.from_generator(
        lambda: iter([np.ones((BATCH, 2 * FEATURES), "float32")] * 2),
        output_signature=tf.TensorSpec((None, None), tf.float32),
    )
    model = cases.compiled()
    with pytest.raises(tf.errors.InvalidArgumentError):
        fit(model, wide, batch_size=None, total_steps=2)


def test_examples_are_not_saved(tmp_path):
    model = LearnedRuleModel(cases.network(), cases.compact_rule(), replay=40)
    model.compile()
    model.fit(cases.examples(), batch_size=BATCH, verbose=0)
    model.save(tmp_path / "model.keras")
    kept = module.MOST_EXAMPLES * FEATURES * 4
    assert (tmp_path / "model.keras").stat().st_size < kept
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config()["replay"] == 40


def test_the_published_rule_and_unknown_sizes_do_without():
    rule = cases.published_rule()
    x = tf.constant(cases.examples(BATCH))
    binding = RuleBinding(cases.network(), rule)
    assert binding.replay.fill(x, 0) is x
    pooled = keras.Sequential(
        [
            keras.Input((None, FEATURES)),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(4, "relu"),
        ]
    )
    words = tf.ones((2, 7, FEATURES))
    assert RuleBinding(pooled).replay.fill(words, 0) is words
    with pytest.warns(UserWarning, match="replay=64 has no effect.*Received: 1 replicas, inputs"):
        binding = RuleBinding(pooled, replay=64)
    assert binding.replay.fill(words, 0) is words


def test_inputs_that_are_too_large_to_keep(monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", 128 * FEATURES - 1)
    x = tf.constant(cases.examples(BATCH))
    assert RuleBinding(cases.network()).replay.fill(x, 0) is x
    assert RuleBinding(cases.network(), replay=20).replay.fill(x, 0).shape == (20, FEATURES)


@pytest.mark.parametrize("replay", [-1, True, 12.5, "never", None])
def test_wrong_values_are_refused(replay):
    for make in (LearnedRule, lambda **options: RuleBinding(cases.network(), **options)):
        with pytest.raises(ValueError, match="replay must be 'auto' or the number of examples"):
            make(replay=replay)


@pytest.mark.slow
def test_small_batches_learn_better_with_it():
    x, _, x_test, y_test = digits_split()
    scores = {}
    for replay in ("auto", 0):
        accuracies = []
        for seed in range(2):
            keras.utils.set_random_seed(seed)
            model = keras.Sequential(
                [keras.Input((64,)), *(keras.layers.Dense(n, "relu") for n in (48, 16))]
            )
            model.compile(jit_compile=False)  # Compiling takes longer than it saves.
            model.fit(x, epochs=2, batch_size=8, verbose=0, callbacks=[LearnedRule(replay=replay)])
            accuracies.append(few_shot_accuracy(model, x_test, y_test).mean)
        scores[replay] = np.mean(accuracies)
    assert scores["auto"] > scores[0] + 0.02
