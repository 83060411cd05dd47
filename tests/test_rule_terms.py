"""Terms and merges against their formulas, written out in NumPy."""

import numpy as np
import pytest
import rule_cases as cases
from keras import ops

from keras_learned_rule.rule import merge
from keras_learned_rule.rule.scaling import standardize
from keras_learned_rule.rule.signals import LayerSignals
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.terms import weight_change_terms
from keras_learned_rule.rule.theta import MAX_STEP
from keras_learned_rule.rule.update import inner_rate, unsupervised_update

TEMPERATURE = 0.7


@pytest.fixture
def layer():
    """Signals of one weight layer, 5 units on 9, as NumPy arrays."""
    rng = np.random.default_rng(3)
    w = rng.standard_normal((9, 5))
    x = rng.standard_normal((20, 9)) @ rng.standard_normal((9, 9))
    z = x @ w
    z = (z - z.mean(0)) / z.std(0) + rng.standard_normal(5)
    return {"w": w / np.sqrt(np.mean(w**2, axis=0)), "x": x, "y": np.maximum(z, 0), "z": z}


def signals(layer):
    return LayerSignals(
        w=ops.convert_to_tensor(layer["w"]),
        x_lower=standardize(ops.convert_to_tensor(layer["x"])),
        y_upper=ops.convert_to_tensor(layer["y"]),
        z_upper=standardize(ops.convert_to_tensor(layer["z"])),
        temperature=ops.convert_to_tensor(TEMPERATURE, "float64"),
    )


def correlation(a, b):
    return np.corrcoef(a, b, rowvar=False)[: a.shape[1], a.shape[1] :]


def large_decay(layer):
    return np.array([[abs(value) * value for value in row] for row in layer["w"]])


def competition(layer):
    """Each unit moves towards what it wins more of than on average (design.md)."""
    x, z = layer["x"], layer["z"]
    standard = (z - z.mean(0)) / z.std(0)
    wins = np.array([np.exp(row / TEMPERATURE) for row in standard])
    wins = np.array([row / row.sum() for row in wins])
    towards = sum(np.outer(x[e] - x.mean(0), wins[e] - wins.mean(0)) for e in range(len(x)))
    return -towards / np.sqrt(np.mean(towards**2, axis=0))


def competition_spread(layer):
    """What competition would change, spread over inputs by how they correlate."""
    change = correlation(layer["x"], layer["x"]) @ competition(layer)
    return change / np.sqrt(np.mean(change**2, axis=0))


def decorrelation(layer):
    """Each unit moves away from the others in proportion to its correlation with them."""
    c = correlation(layer["z"], layer["z"])
    change = np.zeros_like(layer["w"])
    for unit in range(5):
        for other in set(range(5)) - {unit}:
            change[:, unit] += c[other, unit] * layer["w"][:, other]
    return change


def scaled_decorrelation(layer):
    return decorrelation(layer) * np.sqrt(128 / 5)


def decorr_x(layer):
    m = layer["w"] @ correlation(layer["y"], layer["y"])
    return m / np.sqrt(np.mean(m**2))


ORACLES = {
    "w_base": lambda layer: layer["w"],
    "large_decay": large_decay,
    "hebb": lambda layer: -correlation(layer["x"], layer["y"]),
    "hebb_z": lambda layer: -correlation(layer["x"], layer["z"]),
    "competition": competition,
    "competition_spread": competition_spread,
    "decorrelation": decorrelation,
    "scaled_decorrelation": scaled_decorrelation,
    "decorr_x": decorr_x,
}


@pytest.mark.parametrize("term", ORACLES)
def test_terms_without_hidden_states(layer, term):
    (computed,) = weight_change_terms([term], signals(layer))
    expected = ORACLES[term](layer)
    np.testing.assert_allclose(computed, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def bounded(m):
    return m / np.sqrt(1 + np.mean(m**2, axis=0))


@pytest.mark.parametrize(
    "terms", [("hebb",), ("w_base",), ("decorr_x", "hebb", "large_decay", "w_base")]
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_published_merge_of_any_terms(layer, terms, sign):
    spec = RuleSpec.published(terms=terms)
    a, offset = sign * np.linspace(0.5, 2.0, len(terms)), 0.2
    theta = {"merge/forward/coefficients": a, "merge/forward/offset": offset}
    theta = {name: ops.convert_to_tensor(value, "float64") for name, value in theta.items()}
    c = (sum(s * bounded(ORACLES[t](layer)) for s, t in zip(a, terms, strict=True)) + offset) / len(
        terms
    )
    # What shrinks the weights is taken out, what makes them grow is not.
    c = c - layer["w"] * max(np.mean(c * layer["w"]), 0)
    expected = bounded(c / np.sqrt(len(terms))) - layer["w"] / 7
    computed = merge.published_change(spec, theta, "forward", signals(layer))
    np.testing.assert_allclose(computed, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "activation, expected",
    [
        (ops.relu, 1.0),
        (lambda z: ops.leaky_relu(z, 0.5), 1 / 3),
        (lambda z: ops.where(z > 0, z, ops.exp(z) - 1.0), (1 - 0.2325) / (1 + 0.2325)),
        (ops.tanh, 0.0),
        (ops.sigmoid, 0.0),
        (lambda z: ops.cast(z > 0, z.dtype), 0.0),
        (lambda z: ops.relu(-z), 0.0),
    ],
)
def test_one_sidedness(activation, expected):
    deviation = ops.convert_to_tensor([[1.0, 1.0]], "float64")
    computed = merge.one_sidedness(activation, deviation)
    np.testing.assert_allclose(computed, [expected] * 2, atol=1e-3)


def test_one_sidedness_depends_on_where_units_work():
    deviation = ops.convert_to_tensor([[0.1, 10.0]], "float64")
    # Softplus is nearly linear near zero and like relu far from it.
    near, far = np.asarray(merge.one_sidedness(ops.softplus, deviation))
    assert near < 0.1 and far > 0.99


@pytest.mark.parametrize("shift", [-3.0, 3.0])
def test_published_bias_change(shift):
    h, kernel = np.random.default_rng(0).random((4, 6, 3)), np.array([0.5, -1.0, 2.0])
    theta = {"bias_readout/kernel": kernel, "bias_readout/bias": np.array(shift)}
    q = np.array([np.mean([h[u, e] @ kernel for e in range(6)]) for u in range(4)]) + shift
    q = q - min(q.mean(), 0)
    tensors = {name: ops.convert_to_tensor(value) for name, value in theta.items()}
    computed = merge.published_bias_change(tensors, ops.convert_to_tensor(h))
    np.testing.assert_allclose(computed, q / np.sqrt(0.5 + np.mean(q**2)), rtol=1e-10)


def test_published_step_decays_and_descends():
    p = merge.published_step(np.array([2.0, -1.0]), np.array([0.5, 3.0]), 0.1)
    np.testing.assert_allclose(p, [2.0 * 0.9 - 0.05, -0.9 - 0.3])


@pytest.mark.parametrize("term, sees", [("hebb", "y"), ("hebb_z", "z")])
def test_a_hebbian_step_follows_the_batch_correlation(term, sees):
    spec = RuleSpec.compact(terms=(term,), groups=1, size_aware=False)
    theta, plan, state, x = cases.case(spec, (7, 4))
    theta["merge/coefficients"] = ops.convert_to_tensor([[2.5]], "float64")
    new, seen = unsupervised_update(spec, theta, plan, state, x, 0.6)
    c = correlation(np.asarray(x), np.asarray({"y": seen.xs, "z": seen.zs}[sees][0]))
    size = 0.6 * MAX_STEP / (1 + np.exp(-np.asarray(theta["merge/step"])[0]))
    w = cases.arrays(state)[0]["w"] * np.sqrt(7) + size * c / np.sqrt(np.mean(c**2))
    expected = w / np.linalg.norm(w, axis=0)
    np.testing.assert_allclose(cases.arrays(new)[0]["w"], expected, rtol=0, atol=1e-5)


def test_compact_direction_is_the_weighted_sum_at_unit_size(layer):
    spec = RuleSpec.compact(terms=("hebb", "large_decay"), groups=3)
    total = 1.5 * ORACLES["hebb"](layer) - 1.5 * large_decay(layer)
    for scale in (1.0, 100.0):
        own = {"coefficients": ops.convert_to_tensor(scale * np.array([1.5, -1.5]))}
        computed = merge.compact_direction(spec, own, signals(layer))
        expected = total / np.sqrt(np.mean(total**2))
        np.testing.assert_allclose(computed, expected, rtol=0, atol=1e-5)


def test_the_published_rate_is_constant():
    spec = RuleSpec.published(learning_rate=0.02)
    rates = [float(inner_rate(spec, step, 1000)) for step in (0, 500, 999)]
    np.testing.assert_allclose(rates, 0.02, rtol=1e-6)


@pytest.mark.parametrize(
    "steps, start", [(1, 2.0), (100, 2.0), (300, 2.0), (1200, 1.0), (30_000, 0.2)]
)
def test_the_compact_rate_falls_to_zero_and_is_lower_in_long_loops(steps, start):
    spec = RuleSpec.compact(learning_rate=2.0, reference_steps=300, length_exponent=0.5)
    part = np.array([0.0, 0.25, 0.5, 1.0, 1.5]) * steps
    rates = [float(inner_rate(spec, step, steps)) for step in part]
    np.testing.assert_allclose(rates, start * np.array([1, 0.75, 0.5, 0, 0]), rtol=1e-5, atol=1e-6)
