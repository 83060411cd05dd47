"""Teachers of small networks, against finite differences, least squares and base models alone."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import rule_cases as cases
import tensorflow as tf
from keras import ops

from keras_learned_rule.fit.reading import read_network
from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
from keras_learned_rule.rule.scaling import standardize
from keras_learned_rule.rule.signals import LayerSignals
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.teacher import slope, student_direction, teacher_shapes
from keras_learned_rule.rule.update import forward, unsupervised_update, with_memory

SPEC = RuleSpec.compact(terms=("competition", "scaled_decorrelation"), teacher=True)
ALONE = dataclasses.replace(SPEC, teacher=False)
INPUTS, EXAMPLES = 6, 40


def standardized(values):
    return ops.convert_to_numpy(standardize(ops.convert_to_tensor(values)).values)


def taught(widths, seed=0):
    """(theta, plan, state, x) of a network with a teacher."""
    rng = np.random.default_rng(seed)
    plan, shapes = mlp_plan(len(widths)), list(itertools.pairwise((INPUTS, *widths)))
    own, teacher = (
        [ops.convert_to_tensor(rng.standard_normal(shape)) for shape in each]
        for each in (shapes, teacher_shapes(SPEC, plan, shapes))
    )
    state = with_memory(SPEC, init_mlp_state(own), teacher)
    x = cases.random_examples(EXAMPLES, INPUTS)
    return cases.random_theta(SPEC), plan, state, x


@pytest.mark.parametrize(
    "widths, has",
    [
        ((128, 128, 32), False),
        ((128, 65, 32), False),
        ((128, 64, 32), True),
        ((16, 128), True),
        ((128, 31), True),
        ((32,), True),
    ],
)
def test_which_networks_have_a_teacher(widths, has):
    plan, shapes = mlp_plan(len(widths)), list(itertools.pairwise((INPUTS, *widths)))
    assert teacher_shapes(ALONE, plan, shapes) == ()
    expected = ((INPUTS, 128), (128, 128), (128, 128), (128, 128), (128, 32)) if has else ()
    assert teacher_shapes(SPEC, plan, shapes) == expected


@pytest.mark.parametrize(
    "activation, has",
    [
        *((name, False) for name in ("relu", "leaky_relu", "elu", "gelu", "silu", "softplus")),
        *((name, True) for name in ("tanh", "sigmoid", "softsign", "linear")),
        (ops.sin, True),
        (lambda z: ops.cast(z > 0, z.dtype), True),
        (lambda z: ops.where(z >= ops.top_k(z, 8)[0][:, -1:], z, 0.0), True),
    ],
)
def test_nonlinearities_unlike_relu_have_a_teacher(activation, has):
    shapes = [(INPUTS, 128), (128, 32)]
    assert bool(teacher_shapes(SPEC, mlp_plan(2, activation), shapes)) == has

    @tf.function
    def traced():
        return tf.constant(bool(teacher_shapes(SPEC, mlp_plan(2, activation), shapes)))

    assert bool(traced()) == has


def test_nonlinearities_that_do_not_rise_as_all_units_do_have_none():
    shapes = [(INPUTS, 8), (8, 32)]
    assert teacher_shapes(SPEC, mlp_plan(2), shapes)
    assert teacher_shapes(SPEC, mlp_plan(2, "softmax"), shapes) == ()


def test_the_nonlinearity_of_an_embedding_does_not_matter():
    plan = plan_of((INPUTS,), keras.layers.Dense(128, "relu"), keras.layers.Dense(32, "tanh"))
    assert teacher_shapes(SPEC, plan, [(INPUTS, 128), (128, 32)]) == ()


def test_layers_that_see_positions_have_none():
    plan = plan_of((5, INPUTS), keras.layers.Dense(8))
    assert not plan.whole_examples and teacher_shapes(SPEC, plan, [(INPUTS, 8)]) == ()
    flat = plan_of((5, 2), keras.layers.Flatten(), keras.layers.Dense(8))
    assert teacher_shapes(SPEC, flat, [(10, 8)])


def plan_of(shape, *layers):
    model = keras.Sequential([keras.Input(shape), *layers])
    return read_network(model, SPEC, keras.KerasTensor((None, *shape)), ())[1]


@pytest.mark.parametrize("gain", [None, np.array([0.5, -2.0, 1.0])])
def test_a_layer_follows_the_gradient_of_its_own_prediction(gain):
    rng, scale = np.random.default_rng(0), 1.0 if gain is None else gain
    pre = np.asarray(cases.random_examples(EXAMPLES, INPUTS)) + 1.0
    w, decoder = rng.standard_normal((INPUTS, 3)), rng.standard_normal((3, 32))
    code = rng.standard_normal((EXAMPLES, 32))

    def error(w):
        return np.mean(np.sum((code - standardized(pre @ w * scale) @ decoder) ** 2, axis=-1)) / 2

    gradient = np.zeros_like(w)
    for index in np.ndindex(*w.shape):
        small = np.zeros_like(w)
        small[index] = 1e-5
        gradient[index] = (error(w + small) - error(w - small)) / 2e-5
    z = ops.convert_to_tensor(pre @ w * scale)
    signals = LayerSignals(None, standardize(pre), y_upper=z, z_upper=standardize(z))
    decoder, code = ops.convert_to_tensor(decoder), ops.convert_to_tensor(code)
    direction, _ = student_direction(decoder, code, signals, lambda z: z, gain)
    direction = np.asarray(direction)
    assert np.sqrt(np.mean(direction**2)) == pytest.approx(1.0)
    # Each unit's as far as its scale, which batch normalisation hides.
    for one, other in zip(direction.T, gradient.T, strict=True):
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 1 - 1e-6


def test_two_examples_teach_nothing():
    rng = np.random.default_rng(3)
    x, w = ops.convert_to_tensor(rng.standard_normal((2, INPUTS))), rng.standard_normal((INPUTS, 3))
    z = ops.matmul(x, ops.convert_to_tensor(w))
    signals = LayerSignals(None, standardize(x), y_upper=z, z_upper=standardize(z))
    decoder, code = (ops.convert_to_tensor(rng.standard_normal((n, 32))) for n in (3, 2))
    direction, _ = student_direction(decoder, code, signals, ops.tanh)
    assert not np.any(direction)


def test_the_decoder_goes_to_least_squares_without_overshooting():
    rng = np.random.default_rng(1)
    # Strongly correlated units, whose correlation has one large eigenvalue.
    y = rng.standard_normal((EXAMPLES, 1)) + 0.5 * rng.standard_normal((EXAMPLES, 4))
    y, code = standardized(y), standardized(rng.standard_normal((EXAMPLES, 32)))
    y_upper = ops.convert_to_tensor(y)
    s = standardize(y_upper)
    signals = LayerSignals(None, s, y_upper=y_upper, z_upper=s)
    decoder, errors = ops.zeros((4, 32), "float64"), []
    for _ in range(400):
        errors.append(np.mean((code - y @ np.asarray(decoder)) ** 2))
        _, decoder = student_direction(decoder, ops.convert_to_tensor(code), signals, ops.relu)
    assert np.all(np.diff(errors) <= 1e-12)
    best = np.linalg.lstsq(y, code, rcond=None)[0]
    np.testing.assert_allclose(decoder, best, atol=1e-4)


@pytest.mark.parametrize("name", ["relu", "tanh", "linear"])
def test_slopes_are_mean_slopes_over_a_standard_deviation(name):
    activation = keras.activations.get(name)
    z = standardize(ops.convert_to_tensor(np.random.default_rng(2).normal(1, 3, (50, 2))))
    z = z._replace(values=z.values[:1])
    middle, deviation = np.asarray(z.mean + z.values * z.deviation), np.asarray(z.deviation)
    points = middle + deviation * np.linspace(-0.5, 0.5, 20_001)[:, None]
    y = np.asarray(activation(ops.convert_to_tensor(points)))
    expected = np.mean(np.diff(y, axis=0), axis=0) * 20_000
    np.testing.assert_allclose(np.asarray(slope(activation, z))[0], expected, atol=1e-9)


def test_the_teacher_is_a_base_model_that_learns_by_the_same_rule():
    theta, plan, state, x = taught((8, 5))
    alone = state[0]["teacher"]
    for rate in (0.9, 0.5, 0.1):
        state, _ = unsupervised_update(SPEC, theta, plan, state, x, rate)
        alone, _ = unsupervised_update(ALONE, theta, mlp_plan(5), alone, x, rate)
    cases.assert_states_equal(state[0]["teacher"], alone)


def test_a_network_that_is_not_small_learns_as_without():
    theta, plan = cases.random_theta(SPEC), mlp_plan(2)
    state = cases.random_state(SPEC, (INPUTS, 128, 32))
    x = cases.random_examples(EXAMPLES, INPUTS)
    one, other = (unsupervised_update(s, theta, plan, state, x, 0.5)[0] for s in (SPEC, ALONE))
    cases.assert_states_equal(one, other, tolerance=0.0)


@pytest.mark.slow
def test_every_layer_learns_to_predict_the_teacher():
    theta, plan, state, x = taught((8, 8, 5))

    def unexplained(state):
        code = standardized(forward(mlp_plan(5), state[0]["teacher"], x).xs[-1])
        ys = [np.c_[standardized(y), np.ones(EXAMPLES)] for y in forward(plan, state, x).xs]
        return [np.mean((code - y @ np.linalg.lstsq(y, code, rcond=None)[0]) ** 2) for y in ys]

    @tf.function
    def step(state, rate):
        new, _ = unsupervised_update(SPEC, theta, plan, state, x, rate)
        # One that stands still, or what it teaches would change more than what is learned.
        return ({**new[0], "teacher": state[0]["teacher"]}, *new[1:])

    before = unexplained(state)
    for i in range(200):
        state = step(state, ops.convert_to_tensor(1.0 - i / 200, "float64"))
    after = unexplained(state)
    assert all(a < 0.9 * b for a, b in zip(after, before, strict=True)), (before, after)
