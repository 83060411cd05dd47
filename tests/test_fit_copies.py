"""Copies, pickles and files of what a fit has used and made."""

import copy
import pickle

import fit_cases as cases
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.callback import LearnedRule
from keras_learned_rule.fit.probe import FewShotProbe
from keras_learned_rule.fit.step import learned_rule_step

X = cases.examples()
CLASSES = np.arange(len(X)) % 2


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def model_with(weights):
    model = cases.compiled()
    model.set_weights(weights)
    return model


@pytest.mark.slow
def test_a_copied_callback_is_as_before_a_fit():
    weights = cases.arrays(cases.network())
    frozen, probe = ("first", "norm"), (X, CLASSES)
    rule = LearnedRule(cases.compact_rule(), frozen, probe=probe, seed=4)
    first = model_with(weights)
    expected = cases.fit(first, X, rule).history
    for make in (copy.deepcopy, copy.copy, pickled):
        again, model = make(rule), model_with(weights)
        assert again.memory is None and again.model is None
        assert cases.fit(model, X, again).history == expected
        cases.assert_same(cases.arrays(first), cases.arrays(model))
    assert rule.model is first and int(rule.memory.steps_done) == 4


@pytest.mark.parametrize("make", [copy.deepcopy, pickled])
def test_a_copied_probe_has_no_model(make):
    probe = FewShotProbe(X, CLASSES, shots=3, every=2)
    probe.set_model(cases.network())
    again = make(probe)
    assert again.model is None and (again.shots, again.every) == (3, 2)
    np.testing.assert_array_equal(again.x, X)


@pytest.mark.parametrize("make", [copy.deepcopy, pickled])
def test_a_binding_stays_with_its_model(make):
    binding = RuleBinding(cases.network(), cases.compact_rule())
    with pytest.raises(TypeError, match="cannot be copied or pickled.*Received: the binding of"):
        make(binding)


@pytest.mark.parametrize("make", [copy.deepcopy, pickled])
def test_a_copied_memory_goes_on_where_it_stands(make):
    rule, model = cases.compact_rule(teacher=True), cases.network()
    binding = RuleBinding(model, rule, total_steps=4, replay=0)
    learned_rule_step(binding, X)
    other = cases.twin(model)
    again = RuleBinding(other, rule, replay=0, memory=make(binding.memory))
    for each in (binding, again):
        learned_rule_step(each, X)
    assert int(again.memory.steps_done) == 2 and int(again.memory.total_steps) == 4
    cases.assert_same(cases.arrays(model), cases.arrays(other), tolerance=1e-6)


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_a_model_is_saved_in_all_ways_between_two_fits(tmp_path):
    model = cases.compiled()
    for suffix in (".keras", ".h5"):
        cases.fit(model, X)
        features = model.predict(X, verbose=0)
        model.save(tmp_path / f"model{suffix}")
        loaded = keras.saving.load_model(tmp_path / f"model{suffix}")
        np.testing.assert_array_equal(loaded.predict(X, verbose=0), features)
        assert_serves(model, tmp_path / f"model{suffix}.served", features)
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    assert_serves(loaded, tmp_path / "loaded.served", features)


def assert_serves(model, path, features):
    model.export(path, verbose=False)
    # Kept by a name: TensorFlow deletes the variables of a loaded model that has none, and its
    # `serve` then fails with an AssertionError.
    served = tf.saved_model.load(path)
    np.testing.assert_allclose(served.serve(X), features, rtol=1e-5, atol=1e-6)
