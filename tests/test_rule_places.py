"""The neuron network on layers that see each unit below on several places, or several as one."""

import keras
import numpy as np
import pytest
import rule_cases as cases
from keras import layers

from keras_learned_rule.network.read import read_plan
from keras_learned_rule.rule.update import unsupervised_update

ORDER = np.array([2, 0, 1])
# Input shape, layers; a new order of the lower layer's units, and that of the rows above it.
MODELS = {
    "flattened": (
        (4, 5),
        [layers.Dense(3, "tanh"), layers.Flatten(), layers.Dense(6)],
        ORDER,
        np.concatenate([3 * place + ORDER for place in range(4)]),
    ),
    "reshaped": (
        (5,),
        [layers.Dense(12, "tanh"), layers.Reshape((4, 3)), layers.Dense(6)],
        np.concatenate([3 * place + ORDER for place in range(4)]),
        ORDER,
    ),
}


def random_state(reading):
    rng = np.random.default_rng(0)
    shapes = [unit.matrix_shape for unit in reading.variables]
    return [
        {
            "w": rng.normal(size=shape).astype("float32"),
            "b": rng.normal(size=shape[1]).astype("float32"),
            "v": rng.normal(size=shape).astype("float32"),
            "competition": rng.normal(size=shape).astype("float32"),
        }
        for shape in shapes
    ]


def permuted(state, units, rows):
    lower, upper = state
    lower = {name: np.take(array, units, axis=-1) for name, array in lower.items()}
    above = {name: np.take(upper[name], rows, axis=0) for name in ("w", "v", "competition")}
    return [lower, {**upper, **above}]


@pytest.mark.parametrize("shape, stack, units, rows", MODELS.values(), ids=MODELS)
def test_the_update_follows_the_order_of_units(shape, stack, units, rows):
    model = keras.Sequential([keras.Input(shape), *stack])
    reading = read_plan(model, deltas=True)
    theta = cases.random_theta(cases.NEURON, dtype="float32")
    x = np.random.default_rng(1).normal(size=(9, *shape)).astype("float32")
    state = random_state(reading)

    def updated(state):
        new, _ = unsupervised_update(cases.NEURON, theta, reading.plan, tuple(state), x, 0.5)
        return [{name: np.array(array) for name, array in layer.items()} for layer in new]

    new, of_permuted = updated(state), updated(permuted(state, units, rows))
    assert min(np.abs(new[i]["w"] - state[i]["w"]).max() for i in (0, 1)) > 1e-2
    for actual, expected in zip(of_permuted, permuted(new, units, rows), strict=True):
        for name, value in expected.items():
            np.testing.assert_allclose(actual[name], value, rtol=1e-3, atol=1e-4)
