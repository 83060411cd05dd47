"""The plain multi-layer perceptron for meta-training."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
from keras_learned_rule.rule.update import forward

SHAPES = [(6, 5), (5, 3)]


def draws(seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_it_computes_what_the_same_keras_model_computes(batch_norm):
    x = np.random.default_rng(0).normal(size=(9, 6)).astype("float32")
    state = init_mlp_state(draws(1))
    model = keras.Sequential([keras.Input((6,))])
    for arrays in state:
        dense = layers.Dense(arrays["w"].shape[-1], use_bias=False)
        model.add(dense)
        dense.kernel.assign(arrays["w"])
        if batch_norm:
            model.add(layers.BatchNormalization(epsilon=0.01))
        model.add(layers.Activation("tanh"))
    plan = mlp_plan(2, activation="tanh", batch_norm=batch_norm, epsilon=0.01)
    actual = forward(plan, state, x).xs[-1]
    np.testing.assert_allclose(actual, model(x, training=True), rtol=1e-4, atol=1e-6)


def test_columns_have_unit_norm_and_keep_their_direction():
    normals, backward = draws(1), draws(2)
    for arrays, w, v in zip(init_mlp_state(normals, backward), normals, backward, strict=True):
        for name, drawn in (("w", w), ("v", v)):
            expected = drawn / np.linalg.norm(drawn, axis=0)
            np.testing.assert_allclose(arrays[name], expected, rtol=1e-5)
        np.testing.assert_array_equal(arrays["b"], np.zeros(w.shape[1]))


def test_without_backward_weights():
    assert [set(arrays) for arrays in init_mlp_state(draws(1))] == [{"w", "b"}] * 2


def test_a_perceptron_without_layers():
    with pytest.raises(ValueError, match="layers must be an integer of at least 1. Received: 0"):
        mlp_plan(0)
