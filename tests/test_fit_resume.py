"""Interrupted fits go on where they stopped; other callbacks of Keras work beside the rule."""

import functools
import warnings

import fit_cases as cases
import keras
import numpy as np
import pytest
from fit_cases import BATCH

from keras_learned_rule.fit.callback import LearnedRule

EPOCHS = 4
RULES = {
    "compact": cases.compact_rule,
    "published": cases.published_rule,
    "teacher": functools.partial(cases.compact_rule, teacher=True),
}


class Stop(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Ends a fit hard, one batch into an epoch."""

    def __init__(self, epoch=2):
        super().__init__()
        self.last = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.last:
            raise Stop


def new_model(seed=1):
    keras.utils.set_random_seed(seed)
    return cases.compiled()


def fit(model, rule, *others, rule_first=True, seed=0, total_steps=None, **options):
    mine = LearnedRule(rule, replay=0, seed=seed, total_steps=total_steps)
    callbacks = [mine, *others] if rule_first else [*others, mine]
    data = {"x": cases.examples(), "batch_size": BATCH, "shuffle": False, "epochs": EPOCHS}
    model.fit(verbose=0, callbacks=callbacks, **{**data, **options})
    return mine


def unknown_length():
    return dict(x=cases.unknown_length(cases.examples()), batch_size=None)


@pytest.mark.parametrize(
    "name, rule_first",
    [("compact", True), ("published", True), ("published", False), ("teacher", False)],
)
def test_a_killed_fit_resumes_exactly(name, rule_first, tmp_path):
    rule = RULES[name]()
    whole = new_model()
    expected = fit(whole, rule)

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(Stop):
        fit(new_model(), rule, backup(), Kill(), rule_first=rule_first)
    # Other weights, backward weights and teacher than before: all must come from the backup.
    resumed = new_model(seed=2)
    resuming = fit(resumed, rule, backup(), rule_first=rule_first, seed=9)
    cases.assert_same(cases.arrays(whole), cases.arrays(resumed))
    assert int(resuming.memory.steps_done) == int(expected.memory.steps_done) == EPOCHS * 4
    first, second = (each.memory.backward_weights for each in (expected, resuming))
    assert list(first) == list(second) == (["0", "6"] if name == "published" else [])
    assert list(expected.memory.decoders) == (["0", "6"] if name == "teacher" else [])
    memories = [each.memory.variables for each in (expected, resuming)]
    for one, other in zip(*memories, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.name)


@pytest.mark.parametrize("rule_first, epoch", [(True, 3), (False, 3), (False, 1)])
@pytest.mark.filterwarnings("ignore:The number of steps")
def test_a_killed_fit_of_unknown_length_resumes_exactly(rule_first, epoch, tmp_path):
    rule, whole, resumed = cases.compact_rule(), new_model(), new_model()
    fit(whole, rule, **unknown_length())

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    options = dict(rule_first=rule_first, **unknown_length())
    with pytest.raises(Stop):
        fit(new_model(), rule, backup(), Kill(epoch), **options)
    with warnings.catch_warnings(record=True) as caught:
        fit(resumed, rule, backup(), **options)
    assert not [w for w in caught if "number of steps" in str(w.message)]
    cases.assert_same(cases.arrays(whole), cases.arrays(resumed))


@pytest.mark.slow
def test_backups_within_an_epoch_keep_the_schedule_of_unknown_length(tmp_path):
    rule = cases.compact_rule()
    backup = [keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=3) for _ in "ab"]
    with pytest.warns(UserWarning, match="number of steps"), pytest.raises(Stop):
        fit(new_model(), rule, backup[0], Kill(epoch=3), **unknown_length())
    mine = fit(new_model(), rule, backup[1], **unknown_length())
    assert int(mine.memory.total_steps) == EPOCHS * 4


@pytest.mark.slow
def test_initial_epoch_goes_on_in_the_schedule():
    # Running means are not in the model, and begin anew.
    rule = cases.compact_rule(running_competition=False)
    whole, halves = new_model(), new_model()
    fit(whole, rule)
    fit(halves, rule, stop_after(EPOCHS // 2))
    fit(halves, rule, initial_epoch=EPOCHS // 2)
    cases.assert_same(cases.arrays(whole), cases.arrays(halves))


@pytest.mark.slow
def test_initial_epoch_of_unknown_length_needs_the_total():
    rule = cases.compact_rule(running_competition=False)
    whole, halves = new_model(), new_model()
    fit(whole, rule)
    fit(halves, rule, stop_after(EPOCHS // 2))
    before, options = cases.arrays(halves), dict(initial_epoch=EPOCHS // 2, **unknown_length())
    with pytest.raises(ValueError, match="needs total_steps.*Received: initial_epoch=2"):
        fit(halves, rule, **options)
    cases.assert_same(before, cases.arrays(halves))
    assert halves.train_function is None
    fit(halves, rule, total_steps=EPOCHS * 4, **options)
    cases.assert_same(cases.arrays(whole), cases.arrays(halves))


@pytest.mark.slow
@pytest.mark.filterwarnings("error:The number of steps")
def test_the_published_rule_need_not_know_the_length():
    fit(new_model(), cases.published_rule(), initial_epoch=EPOCHS - 1, **unknown_length())


def stop_after(count):
    """A callback that ends a fit after so many epochs, though it was planned longer."""

    def stop(epoch, logs):
        if epoch + 1 == count:
            callback.model.stop_training = True

    callback = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    return callback


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_checkpoints_load_without_the_rule(suffix, tmp_path):
    path = tmp_path / f"best{suffix}"
    checkpoint = keras.callbacks.ModelCheckpoint(
        path, save_weights_only=suffix == ".weights.h5", monitor="effective_rank", mode="max"
    )
    model = new_model()
    fit(model, cases.published_rule(), checkpoint)
    if suffix == ".keras":
        loaded = keras.saving.load_model(path)
    else:
        loaded = new_model(seed=2)
        loaded.load_weights(path)
    cases.assert_same(cases.arrays(model), cases.arrays(loaded))


@pytest.mark.slow
def test_weights_without_the_rules_memory_load_during_a_fit(tmp_path):
    model, path = new_model(), tmp_path / "plain.weights.h5"
    model.save_weights(path)
    before = cases.arrays(model)
    load = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.load_weights(path))
    fit(model, cases.published_rule(), load)
    cases.assert_same(before, cases.arrays(model))


def test_early_stopping_restores_the_best_weights():
    model, seen = new_model(), []
    stop = keras.callbacks.EarlyStopping(
        "update_size", mode="max", patience=1, restore_best_weights=True
    )
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(cases.arrays(model))
    )
    fit(model, cases.compact_rule(), keep, stop, epochs=20)
    # Steps shrink over the fit, so the first epoch is the best and the second the last.
    assert len(seen) == 2
    cases.assert_same(seen[0], cases.arrays(model))
