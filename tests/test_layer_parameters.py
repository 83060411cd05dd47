"""Which parameters a layer has: by its place, what its network is short of, and its inputs."""

import dataclasses
import math

import numpy as np
import pytest
import rule_cases as cases

from keras_learned_rule.network.mlp import mlp_plan
from keras_learned_rule.rule.layer_parameters import (
    SHORTAGES,
    layer_blend,
    layer_parameters,
    merge_arrays,
    shortages,
    sparsity,
)
from keras_learned_rule.rule.scaling import standardize
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.update import unsupervised_update


def state(*widths):
    return [{"w": np.zeros(shape)} for shape in zip(widths[:-1], widths[1:])]


def test_blends_of_first_middle_and_last_layers():
    np.testing.assert_allclose(
        [layer_blend(3, i, 4, "float32") for i in range(4)],
        [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]],
    )
    np.testing.assert_allclose(
        [layer_blend(3, i, 2, "float32") for i in range(2)], [[1, 0, 0], [0, 0, 1]]
    )
    np.testing.assert_allclose(layer_blend(3, 0, 1, "float32"), [0.5, 0, 0.5])
    np.testing.assert_allclose(layer_blend(1, 2, 4, "float32"), [1])


WANTING = [
    # widths, layer, shallow, narrow
    ((196, 128, 128, 128, 128, 32), 0, 0, 0),
    ((196, 128, 128, 128, 128, 32), 4, 0, 0),
    ((196, 500, 500, 500, 500, 500, 32), 2, 0, 0),
    ((196, 128, 32), 0, 0.75, 0),
    ((196, 64, 128, 32), 0, 0.5, 0.5),
    ((196, 64, 128, 32), 1, 0.5, 0),
    ((196, 128, 32, 128), 2, 0.5, 0.75),
    ((196, 16), 0, 1, 0),
]


@pytest.mark.parametrize("widths, i, shallow, narrow", WANTING)
def test_shortages_are_shares_of_the_base_model(widths, i, shallow, narrow):
    lacks = shortages(state(*widths), i)
    assert tuple(lacks) == SHORTAGES and list(lacks.values()) == [shallow, narrow]


def test_parameters_are_linear_in_the_shortages():
    spec = RuleSpec.compact()
    theta = {n: np.asarray(a) for n, a in cases.random_theta(spec).items()}
    own = layer_parameters(spec, theta, state(196, 128, 32, 64), 1, x_lower=None)
    assert list(own) == list(merge_arrays(spec))
    for name in own:
        expected = theta[f"merge/{name}"][1]
        for lack, share in (("shallow", 0.5), ("narrow", 0.75)):
            expected = expected + share * theta[f"merge/{lack}/{name}"][1]
        np.testing.assert_allclose(own[name], expected)


def test_where_nothing_is_short_the_rule_is_the_one_without_sizes():
    aware, plain = RuleSpec.compact(), RuleSpec.compact(size_aware=False)
    theta, plan, network, x = cases.case(aware, (9, 128, 130, 129, 200, 6), count=140)
    bare = {name: a for name, a in theta.items() if name.count("/") == 1}
    one = unsupervised_update(aware, theta, plan, network, x, 0.7)[0]
    other = unsupervised_update(plain, bare, plan, network, x, 0.7)[0]
    cases.assert_states_equal(one, other)
    shallow, plan = network[:3], mlp_plan(3)
    one = unsupervised_update(aware, theta, plan, shallow, x, 0.7)[0]
    other = unsupervised_update(plain, bare, plan, shallow, x, 0.7)[0]
    assert np.abs(cases.arrays(one)[0]["w"] - cases.arrays(other)[0]["w"]).max() > 1e-3


def on_in_a_share(share, inputs=3, count=1000):
    """Inputs [count, inputs] that are 5 in a share of the examples and -2 in the others."""
    x = np.full((count, inputs), -2.0)
    x[: round(share * count)] = 5.0
    return x


@pytest.mark.parametrize("share", [0.02, 0.1, 0.19, 0.25, 0.5, 0.9])
def test_sparsity_of_inputs_that_are_on_or_off(share):
    expected = max(0.0, 1.0 - 2.0 * math.pi * share * (1.0 - share))
    found = sparsity(standardize(on_in_a_share(share)).values)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sparsity_of_normal_and_laplacian_inputs():
    rng = np.random.default_rng(0)
    normal, laplace = rng.standard_normal((200_000, 2)), rng.laplace(size=(200_000, 2))
    assert sparsity(standardize(7 * normal - 3).values) < 0.01
    np.testing.assert_allclose(sparsity(standardize(laplace).values), 1 - math.pi / 4, atol=0.01)


def test_inputs_that_never_change_do_not_count_for_sparsity():
    x = on_in_a_share(0.1)
    with_constants = np.concatenate([x, np.full((len(x), 9), 4.0)], axis=1)
    one, other = (sparsity(standardize(a).values) for a in (x, with_constants))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert np.isfinite(sparsity(standardize(np.zeros((10, 2))).values))


def test_parameters_are_linear_in_the_sparsity():
    spec = RuleSpec.compact(size_aware=False, sparsity_aware=True)
    theta = {n: np.asarray(a) for n, a in cases.random_theta(spec).items()}
    x_lower = standardize(on_in_a_share(0.1))
    own = layer_parameters(spec, theta, state(3, 128, 64), 0, x_lower)
    share = 1.0 - 0.18 * math.pi
    for name in merge_arrays(spec):
        expected = theta[f"merge/{name}"][0] + share * theta[f"merge/sparse/{name}"][0]
        np.testing.assert_allclose(own[name], expected, rtol=1e-6)


def test_where_inputs_are_dense_the_rule_is_the_one_without_sparsity():
    aware = RuleSpec.compact(sparsity_aware=True)
    plain = dataclasses.replace(aware, sparsity_aware=False)
    theta, plan, network, _ = cases.case(aware, (3, 6), count=10)
    known = {name: a for name, a in theta.items() if "sparse" not in name}
    differs = {}
    for share in (0.1, 0.5):
        x = np.random.default_rng(0).permuted(on_in_a_share(share, count=50), axis=0)
        one = unsupervised_update(aware, theta, plan, network, x, 0.7)[0]
        other = unsupervised_update(plain, known, plan, network, x, 0.7)[0]
        differs[share] = np.abs(cases.arrays(one)[0]["w"] - cases.arrays(other)[0]["w"]).max()
    assert differs[0.5] == 0.0 and differs[0.1] > 1e-3
