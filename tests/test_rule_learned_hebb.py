"""The learned Hebbian term against loops over units and against plain Hebbian learning."""

import numpy as np
import pytest
import rule_cases as cases
from keras import ops
from scipy.special import softmax

from keras_learned_rule.rule import terms
from keras_learned_rule.rule.learned_hebb import (
    FEATURES,
    learned_functions,
    learned_hebb,
    learned_hebb_arrays,
)
from keras_learned_rule.rule.place import chain_place
from keras_learned_rule.rule.scaling import standardize
from keras_learned_rule.rule.signals import LayerSignals
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

SPEC = cases.LEARNED_HEBB
TEMPERATURE = 0.4


def signals(learned, examples=9, lower=4, upper=3):
    x, z = cases.random_examples(examples, lower), cases.random_examples(examples, upper, seed=1)
    x, z = x * np.linspace(0.2, 2, lower), z + np.linspace(-2, 1, upper)
    return LayerSignals(
        w=None,
        x_lower=standardize(x),
        y_upper=ops.relu(z),
        z_upper=standardize(z),
        temperature=TEMPERATURE,
        learned=learned,
    )


def as_numpy(standardized):
    return (ops.convert_to_numpy(part) for part in standardized)


def reading(learned, side, features):
    kernel, offset, readout = (
        np.asarray(learned[f"learned_hebb/{side}/{part}"])
        for part in ("kernel", "offset", "readout")
    )
    return np.maximum(np.asarray(features) @ kernel + offset, 0) @ readout


def in_loops(s):
    """The term unit by unit and example by example."""
    x, _, x_scale = as_numpy(s.x_lower)
    y, _, _ = as_numpy(s.x_upper)
    z, z_mean, z_scale = as_numpy(s.z_upper)
    shares = softmax(z / TEMPERATURE, axis=-1)
    scale = x_scale[0] / np.sqrt(np.mean(x_scale**2))
    bias = z_mean[0] / np.hypot(z_mean[0], z_scale[0])
    change = np.zeros((x.shape[1], z.shape[1]))
    for e in range(len(x)):
        of_x, of_z = ([np.mean(v[e]), np.sqrt(np.mean(v[e] ** 2))] for v in (x, z))
        for i in range(x.shape[1]):
            below = reading(s.learned, "lower", [x[e, i], *of_x, scale[i]])
            for j in range(z.shape[1]):
                own = [z[e, j], y[e, j], shares[e, j]]
                above = reading(s.learned, "upper", [*own, *of_z, bias[j]])
                change[i, j] += scale[i] * (below @ above)
    return change / np.sqrt(np.mean(change**2))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_it_is_what_loops_compute(layer):
    theta, _, state, _ = cases.case(SPEC, (5, 4, 4, 3))
    place = chain_place([arrays["w"].shape[1] for arrays in state], layer)
    s = signals(learned_functions(SPEC, theta, place))
    np.testing.assert_allclose(learned_hebb(s), in_loops(s), rtol=0, atol=1e-8)


def test_with_identities_for_functions_it_is_hebbian_learning():
    identity = {}
    for side, features in FEATURES.items():
        kernel = np.zeros((len(features), SPEC.hidden_width))
        kernel[0, :2] = 1, -1  # What goes through rectification in two parts
        readout = np.zeros((SPEC.hidden_width, SPEC.readout_channels))
        readout[:2, 0] = 1, -1  # is put together again.
        parts = dict(kernel=kernel, offset=np.zeros(SPEC.hidden_width), readout=readout)
        for part, array in parts.items():
            identity[f"learned_hebb/{side}/{part}"] = ops.convert_to_tensor(array)
    s = signals(identity)
    x, _, scale = as_numpy(s.x_lower)
    hebb = (scale * x).T @ ops.convert_to_numpy(s.z_upper.values)
    expected = hebb / np.sqrt(np.mean(hebb**2))
    np.testing.assert_allclose(learned_hebb(s), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("coefficient", [0.0, 0.3])
def test_skipped_where_it_is_idle_it_changes_no_sum(coefficient):
    theta, _, _, _ = cases.case(SPEC, (5, 4, 3))
    s = signals(learned_functions(SPEC, theta, chain_place((4, 3), 0)))
    s = s._replace(w=ops.ones((4, 3), "float64"))
    names, weights = ("w_base", "learned_hebb"), ops.convert_to_tensor([0.5, coefficient])
    skipped = terms.weighted_terms(names, ops.cast(weights, "float64"), s, skips_idle=True)
    np.testing.assert_allclose(skipped, 0.5 + coefficient * in_loops(s), rtol=0, atol=1e-7)


def test_where_it_is_idle_it_is_not_computed(monkeypatch):
    monkeypatch.setitem(terms._TERMS, "learned_hebb", lambda s: np.nan * s.w)
    s, weights = signals(None)._replace(w=ops.ones((4, 3))), ops.zeros((1,))
    assert np.isnan(terms.weighted_terms(("learned_hebb",), weights, s)).all()
    assert not np.any(terms.weighted_terms(("learned_hebb",), weights, s, skips_idle=True))


def test_it_has_arrays_only_where_it_is_a_term():
    assert not learned_hebb_arrays(RuleSpec.compact())
    assert learned_functions(RuleSpec.compact(), {}, chain_place((4,), 0)) is None
    assert set(learned_hebb_arrays(SPEC)) < set(init_theta(SPEC))


def test_all_layers_start_alike_and_with_different_channels():
    for name, array in init_theta(SPEC).items():
        if name.startswith("learned_hebb/"):
            np.testing.assert_array_equal(array, np.broadcast_to(array[:1], array.shape))
            assert name.endswith("offset") or np.unique(array[0]).size == array[0].size


@pytest.mark.parametrize("term", ["competition", "competition_spread", "learned_hebb"])
def test_the_published_merge_refuses_terms_with_parameters_of_their_own(term):
    with pytest.raises(ValueError, match=rf"terms must not be of .* Received: \['{term}'\]"):
        RuleSpec.published(terms=("hebb", term))
