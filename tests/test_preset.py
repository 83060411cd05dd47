"""The rule that comes with the package: meta-trained, described by a card, and of use."""

import dataclasses
import itertools
from importlib import resources

import keras
import numpy as np
import pytest
from keras import layers

from keras_learned_rule import LearnedRule, UpdateRule, few_shot_accuracy
from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.rule.layer_parameters import merge_arrays
from keras_learned_rule.rule.sparsity import adapted_theta
from keras_learned_rule.rule.theta import init_theta


def network(widths=(128, 128, 128, 128, 32)):
    model = keras.Sequential([keras.Input((64,))])
    for width in widths:
        model.add(layers.Dense(width))
        model.add(layers.BatchNormalization(momentum=0.0))
        model.add(layers.ReLU())
    return model


def test_it_was_meta_trained():
    rule = UpdateRule.from_preset("compact")
    assert "compact" in UpdateRule.presets()
    assert rule.spec.merge == "compact"
    assert rule.provenance["meta_updates"] > 0
    start = init_theta(rule.spec)
    changes = [np.abs(rule.theta[name] - start[name]).max() for name in start]
    assert np.isfinite(changes).all() and max(changes) > 0.05


EARLIER = [
    ("compact_1", 7, False, False, False),
    ("compact_2", 4, True, False, False),
    ("compact_3", 4, True, True, False),
    ("compact_4", 4, True, True, False),
    ("compact_5", 4, True, True, True),
    ("compact_6", 4, True, True, True),
    ("compact_7", 5, True, True, True),
    ("compact_8", 5, True, True, True),
    ("compact_9", 5, True, True, True),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, terms, shaped, running, sizes", EARLIER)
def test_earlier_presets_are_still_there(name, terms, shaped, running, sizes):
    rule = UpdateRule.from_preset(name)
    assert (len(rule.spec.terms), rule.spec.shaped_bias) == (terms, shaped)
    assert (rule.spec.running_competition, rule.spec.size_aware) == (running, sizes)
    model = keras.Sequential([keras.Input((64,)), layers.Dense(8, "relu")])
    before = model.get_weights()[0]
    model.compile()
    model.fit(digits_split()[0][:256], batch_size=128, callbacks=[LearnedRule(rule)], verbose=0)
    assert np.abs(model.get_weights()[0] - before).max() > 0.01


@pytest.mark.parametrize(
    "later, earlier, field",
    [("compact_9", "compact_8", "very_sparse"), ("compact", "compact_9", "teacher")],
)
def test_it_is_the_eighth_but_for_very_sparse_data_and_teachers(later, earlier, field):
    rule, before = (UpdateRule.from_preset(name) for name in (later, earlier))
    assert rule.spec == dataclasses.replace(before.spec, **{field: True})
    for name, array in before.theta.items():
        np.testing.assert_array_equal(rule.theta[name], array)


def test_very_sparse_data_are_learned_as_by_the_rule_learned_on_texts(data):
    rule = UpdateRule.from_preset("compact")
    texts = UpdateRule.load(str(data / "meta_training_run_31.safetensors"))
    seldom = np.zeros((100, 4), "float32")
    seldom[:3] = 1.0
    adapted = adapted_theta(rule.spec, rule.theta, seldom)
    place = [rule.spec.terms.index(term) for term in texts.spec.terms]
    for name in merge_arrays(texts.spec):
        moved = np.asarray(adapted[f"merge/{name}"])
        if name == "coefficients":
            assert not moved[:, rule.spec.terms.index("learned_hebb")].any()
            moved = moved[:, place]
        np.testing.assert_allclose(moved, texts.theta[f"merge/{name}"], atol=1e-5)


def test_every_preset_has_a_card():
    folder = resources.files("keras_learned_rule") / "presets"
    for name in UpdateRule.presets():
        card = (folder / f"{name}.md").read_text()
        assert "meta-train" in card.lower() and "%" in card


@pytest.mark.slow
def test_a_small_network_learns_digits_better_with_a_teacher():
    x, _, x_test, y_test = digits_split()
    scores = {"compact_9": [], "compact": []}
    # A single seed gains anything from 0.4 to 3.3 points.
    for seed, rule in itertools.product(range(3), scores):
        keras.utils.set_random_seed(seed)
        model = network(widths=(16, 16, 16))
        model.compile()
        model.fit(x, epochs=10, batch_size=128, callbacks=[LearnedRule(rule)], verbose=0)
        scores[rule].append(few_shot_accuracy(model, x_test, y_test).mean)
    assert np.mean(scores["compact"]) - np.mean(scores["compact_9"]) >= 0.01, scores


def test_a_network_learns_digits_without_labels():
    x, _, x_test, y_test = digits_split()
    untrained, model = network(), network()
    untrained(x, training=True)  # Without momentum: the statistics of the data.
    model.compile()
    model.fit(x, epochs=10, batch_size=128, callbacks=[LearnedRule()], verbose=0)
    before, after = (few_shot_accuracy(m, x_test, y_test).mean for m in (untrained, model))
    assert after - before >= 0.30, f"{before:.3f} to {after:.3f}"
