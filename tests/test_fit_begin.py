"""What a fit refuses, or warns of, for the weights and layers it begins with."""

import warnings

import fit_cases as cases
import keras
import numpy as np
import pytest
from fit_cases import FEATURES, refused
from keras import layers

from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.model import LearnedRuleModel

X = cases.examples()


def filled(layer, weight, value, model=None):
    """A model in which one array is full of a value."""
    model = model or cases.compiled()
    variable = getattr(model.get_layer(layer), weight)
    variable.assign(np.full(variable.shape, value, "float32"))
    return model


def chain(*above, shape=(FEATURES,)):
    model = keras.Sequential([keras.Input(shape), *above])
    model.compile()
    return model


@pytest.mark.parametrize(
    "layer, weight, value, match",
    [
        ("first", "kernel", np.nan, "layer 'first' must be finite.*NaN or infinity in .*kernel"),
        ("embedding", "bias", -np.inf, "layer 'embedding' must be finite.*bias"),
        ("norm", "gamma", np.nan, "layer 'norm' must be finite.*gamma"),
        ("embedding", "kernel", 1e30, "layer 'embedding' are too large.*Received: .*1e\\+30"),
    ],
)
def test_weights_that_are_not_finite_or_too_large(layer, weight, value, match):
    refused(filled(layer, weight, value), match)
    with pytest.raises(ValueError, match=match):
        RuleBinding(filled(layer, weight, value), cases.compact_rule())


def test_weights_of_a_frozen_layer_in_a_nested_model():
    inner = filled("first", "kernel", np.nan)
    inner.trainable = False
    refused(chain(inner, layers.Dense(4, name="top")), "layer 'first' must be finite")


def test_weights_that_a_learned_rule_model_has_got_since():
    model = LearnedRuleModel(cases.network(), cases.compact_rule())
    model.compile()
    filled("first", "kernel", np.nan, model.chain)
    with pytest.raises(ValueError, match="layer 'first' must be finite"):
        model.fit(X, verbose=0)


def test_examples_too_large_for_the_first_update():
    refused(cases.compiled(), "first update is not finite.*scale x.*step 0", x=1e30 * X)


def alike(value, units=4):
    return chain(layers.Dense(units, kernel_initializer=value, name="same"), layers.Dense(5))


@pytest.mark.parametrize("value, units", [("zeros", 4), ("ones", 4), ("zeros", 1)])
def test_units_that_begin_alike(value, units):
    with pytest.warns(UserWarning, match="units of layer 'same' begin with the same weights"):
        RuleBinding(alike(value, units), cases.compact_rule())


def test_a_fit_without_examples():
    rule_model = LearnedRuleModel(cases.network(), cases.compact_rule())
    rule_model.compile()
    with pytest.warns(UserWarning, match="Nothing was learned: .*no step") as caught:
        rule_model.fit(X[:0], verbose=0)
        cases.fit(cases.compiled(), X[:0])
    assert sum("Nothing was learned" in str(each.message) for each in caught) == 2
    assert not any("number of steps" in str(each.message) for each in caught)


def test_an_ordinary_fit_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        RuleBinding(alike("ones", 1), cases.compact_rule())
        cases.fit(cases.compiled(), X)
