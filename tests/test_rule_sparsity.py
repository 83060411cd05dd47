"""A rule that knows how sparse the data are."""

import dataclasses
import math

import numpy as np
import pytest
import rule_cases as cases

from keras_learned_rule.rule.layer_parameters import merge_arrays
from keras_learned_rule.rule.sparsity import adapted_theta, sparsity
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.update import unsupervised_update

AWARE = RuleSpec.compact(sparsity_aware=True)


def on_in_a_share(share, inputs=3, count=1000):
    """Inputs [count, inputs] that are 5 in a share of the examples and -2 in the others."""
    x = np.full((count, inputs), -2.0)
    x[: round(share * count)] = 5.0
    return np.random.default_rng(0).permuted(x, axis=0)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.19, 0.25, 0.5, 0.9])
def test_sparsity_of_inputs_that_are_on_or_off(share):
    expected = max(0.0, 1.0 - 2.0 * math.pi * share * (1.0 - share))
    np.testing.assert_allclose(sparsity(on_in_a_share(share)), expected, atol=1e-6)


def test_sparsity_of_normal_and_laplacian_inputs():
    rng = np.random.default_rng(0)
    normal, laplace = rng.standard_normal((200_000, 2)), rng.laplace(size=(200_000, 2))
    assert sparsity(7 * normal - 3) < 0.01
    np.testing.assert_allclose(sparsity(laplace), 1 - math.pi / 4, atol=0.01)


def test_inputs_that_never_change_do_not_count():
    x = on_in_a_share(0.1)
    with_constants = np.concatenate([x, np.full((len(x), 9), 4.0)], axis=1)
    np.testing.assert_allclose(sparsity(x), sparsity(with_constants), rtol=1e-6)
    assert np.isfinite(sparsity(np.zeros((10, 2))))


@pytest.mark.parametrize("on, share", [(0.15, 1 - 0.255 * math.pi), (0.1, 0.25), (0.02, 0.25)])
def test_merge_arrays_are_linear_in_the_sparsity_up_to_a_quarter(on, share):
    theta = {n: np.asarray(a) for n, a in cases.random_theta(AWARE).items()}
    adapted = adapted_theta(AWARE, theta, on_in_a_share(on))
    for name in merge_arrays(AWARE):
        expected = theta[f"merge/{name}"] + share * theta[f"merge/sparse/{name}"]
        np.testing.assert_allclose(adapted[f"merge/{name}"], expected, rtol=1e-6)
        same = f"merge/narrow/{name}"
        np.testing.assert_array_equal(adapted[same], theta[same])


def test_what_small_networks_do_otherwise_is_moved_likewise():
    spec = dataclasses.replace(AWARE, sparse_by_size=True)
    theta = {n: np.asarray(a) for n, a in cases.random_theta(spec).items()}
    adapted = adapted_theta(spec, theta, on_in_a_share(0.02))
    for name in (n.removeprefix("merge/sparse/") for n in theta if "/sparse/" in n):
        expected = theta[f"merge/{name}"] + 0.25 * theta[f"merge/sparse/{name}"]
        np.testing.assert_allclose(adapted[f"merge/{name}"], expected, rtol=1e-6)


# What is on in a share p of the examples has a sparsity of 1 - 2 pi p (1 - p).
BETWEEN = (0.56 - 2.0 * math.pi * 0.09 * 0.91) / 0.08


@pytest.mark.parametrize(
    "on, share, very",
    [(0.1, 0.25, 0.0), (0.09, 0.25 * (1 - BETWEEN), BETWEEN), (0.05, 0.0, 1.0), (0.5, 0.0, 0.0)],
)
def test_very_sparse_data_take_arrays_of_their_own(on, share, very):
    spec = dataclasses.replace(AWARE, sparse_by_size=True, very_sparse=True)
    theta = {n: np.asarray(a) for n, a in cases.random_theta(spec).items()}
    adapted = adapted_theta(spec, theta, on_in_a_share(on))
    for name in merge_arrays(spec):
        expected = theta[f"merge/{name}"] + share * theta[f"merge/sparse/{name}"]
        expected = expected + very * theta[f"merge/very_sparse/{name}"]
        np.testing.assert_allclose(adapted[f"merge/{name}"], expected, rtol=1e-5, atol=1e-6)
        expected = theta[f"merge/narrow/{name}"] + share * theta[f"merge/sparse/narrow/{name}"]
        np.testing.assert_allclose(adapted[f"merge/narrow/{name}"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share, least, most", [(0.5, 0.0, 0.0), (0.1, 1e-3, 1.0)])
def test_for_dense_data_the_rule_is_the_one_that_does_not_know(share, least, most):
    plain = dataclasses.replace(AWARE, sparsity_aware=False)
    theta, plan, network, _ = cases.case(AWARE, (3, 6, 5))
    known = {name: a for name, a in theta.items() if "sparse" not in name}
    x = on_in_a_share(share, count=50)
    one = unsupervised_update(AWARE, theta, plan, network, x, 0.7)[0]
    other = unsupervised_update(plain, known, plan, network, x, 0.7)[0]
    for a, b in zip(cases.arrays(one), cases.arrays(other), strict=True):
        assert least <= np.abs(a["w"] - b["w"]).max() <= most
