"""Deltas go down and hidden states go up through passive layers as calculus says."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from test_network_read import batch, sequential

from keras_learned_rule.network.read import read_plan

WAYS = {
    "nothing": [],
    "dropout": [layers.Dropout(0.5)],
    "gaussian dropout": [layers.GaussianDropout(0.3)],
    "noise": [layers.GaussianNoise(0.5)],
    "rescaling": [layers.Rescaling([0.5, 2.0, -1.0, 3.0] * 3, offset=1.0)],
    "normalization": [layers.Normalization(mean=1.0, variance=4.0)],
    "reshape": [layers.Reshape((4, 3))],
    "several": [
        layers.Dropout(0.3),
        layers.Reshape((4, 3)),
        layers.SpatialDropout1D(0.4),
        layers.Rescaling(0.5),
    ],
    "there and back": [layers.Reshape((2, 6)), layers.Dropout(0.3), layers.Flatten()],
}


def upper_layer(passives, shape=(6,)):
    model = sequential(shape, layers.Dense(12, "relu"), *passives, layers.Dense(2))
    return read_plan(model, deltas=True).plan.layers[1]


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("below", [(5, 12), (5, 7, 12)], ids=["rank 2", "rank 3"])
def test_down_is_the_vector_jacobian_product(name, below):
    if len(below) == 3 and name in ("reshape", "several", "there and back"):
        below = (5, 12)
    config = [layers.deserialize(layers.serialize(layer)) for layer in WAYS[name]]
    layer = upper_layer(config, (6,) if len(below) == 2 else (7, 6))
    x = tf.constant(batch(below))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        passage = layer.receive(x)
        deltas = batch((*passage.examples.shape, 3), seed=2)
        sums = [tf.reduce_sum(passage.examples * deltas[..., c]) for c in range(3)]
    expected = np.stack([tape.gradient(s, x) for s in sums], -1).reshape(-1, 12, 3)
    np.testing.assert_allclose(passage.down(deltas), expected, rtol=1e-5, atol=1e-6)


def test_a_flattened_sequence():
    layer = upper_layer([layers.Flatten()], (4, 6))
    x = batch((5, 4, 12))
    passage = layer.receive(x)
    h = batch((20, 12, 3), seed=2)
    np.testing.assert_array_equal(passage.examples, x.reshape(5, 48))
    np.testing.assert_array_equal(passage.up(h), h.reshape(5, 48, 3))
    np.testing.assert_array_equal(passage.down(h.reshape(5, 48, 3)), h)


@pytest.mark.parametrize("name", WAYS)
def test_hidden_states_keep_their_values_and_move_with_their_units(name):
    config = [layers.deserialize(layers.serialize(layer)) for layer in WAYS[name]]
    moves = [layer for layer in config if isinstance(layer, (layers.Reshape, layers.Flatten))]
    x, h = batch((5, 12)), batch((5, 12, 3), seed=2)
    actual = upper_layer(config).receive(x).up(h)
    for c in range(3):
        moved = h[..., c]
        for layer in moves:
            moved = layer(moved)
        np.testing.assert_allclose(actual[..., c], np.reshape(moved, actual.shape[:2]), rtol=1e-6)


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_between_unit_layers_takes_its_statistics_as_constants(frozen):
    norm = layers.BatchNormalization(name="norm", momentum=0.0)
    model = sequential((6,), layers.Dense(12, "relu"), norm, layers.Dense(2))
    layer = read_plan(model, freeze=("norm",) * frozen, deltas=True).plan.layers[1]
    x = tf.constant(batch((5, 12)))
    passage = layer.receive(x)  # With momentum 0 the moving statistics are now the batch's.
    deltas = batch((5, 12, 3), seed=2)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = norm(x, training=False)
        sums = [tf.reduce_sum(y * deltas[..., c]) for c in range(3)]
    expected = np.stack([tape.gradient(s, x) for s in sums], -1)
    np.testing.assert_allclose(passage.down(deltas), expected, rtol=1e-5)


def test_down_runs_in_a_graph_of_unknown_batch_size():
    layer = upper_layer([layers.Reshape((4, 3)), layers.Dropout(0.0)])

    @tf.function(input_signature=[tf.TensorSpec((None, 12)), tf.TensorSpec((None, 3, 2))])
    def run(x, delta):
        return layer.receive(x).down(delta)

    delta = batch((20, 3, 2))
    np.testing.assert_array_equal(run(batch((5, 12)), delta), delta.reshape(5, 12, 2))


def test_layers_without_derivative_give_no_deltas():
    model = sequential((6,), layers.Dense(5), layers.Dense(4, name="frozen"), layers.Dense(2))
    passage = read_plan(model, freeze=("frozen",)).plan.layers[1].receive(batch((3, 5)))
    assert passage.down is None and passage.up is None
