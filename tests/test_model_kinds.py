"""What sites hand over: examples times weights must give what Keras' own layer gives."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_learned_rule.model import kinds  # noqa: F401 (registers the kinds)
from keras_learned_rule.model.registry import kind_of

SPECIES = {
    "dense": (layers.Dense(4), (6, 3)),
    "dense on a sequence": (layers.Dense(4), (6, 5, 3)),
    "einsum, heads": (layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), (4, 5, 6)),
    "einsum, heads summed": (
        layers.EinsumDense("abcd,cde->abe", (None, 6), bias_axes="e"),
        (4, 5, 2, 3),
    ),
    "einsum, ellipsis": (layers.EinsumDense("...x,xy->...y", 4, bias_axes="y"), (4, 5, 3)),
    "conv1d": (layers.Conv1D(4, 3), (2, 9, 3)),
    "conv1d, causal and dilated": (
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2),
        (2, 9, 3),
    ),
    "conv2d": (layers.Conv2D(4, 3), (2, 6, 7, 3)),
    "conv2d, same": (layers.Conv2D(4, (3, 2), padding="same"), (2, 6, 7, 3)),
    "conv2d, strides": (layers.Conv2D(4, 3, strides=(2, 3), padding="same"), (2, 7, 8, 3)),
    "conv2d, strides, valid": (layers.Conv2D(4, 3, strides=2), (2, 7, 8, 3)),
    "conv2d, dilated": (layers.Conv2D(4, 3, dilation_rate=(2, 1), padding="same"), (2, 6, 7, 3)),
    "conv2d, groups": (layers.Conv2D(4, 3, groups=2, padding="same"), (2, 6, 5, 6)),
    "conv3d": (layers.Conv3D(4, (2, 3, 2), padding="same", strides=(1, 2, 1)), (2, 4, 5, 3, 2)),
    "separable": (layers.SeparableConv2D(4, 3, padding="same", strides=2), (2, 6, 7, 3)),
    "separable1d": (layers.SeparableConv1D(4, 3, depth_multiplier=2), (2, 9, 3)),
}


def site(name, seed=0):
    layer, shape = SPECIES[name]
    x = np.random.default_rng(seed).normal(size=shape).astype("float32")
    layer(x)
    layer.bias.assign(np.arange(np.prod(layer.bias.shape)).reshape(layer.bias.shape))
    return kind_of(layer)(layer), x, layer(x)


def products(kind, examples):
    w = np.array(kind.matrix(kind.kernel))
    parts = zip(np.split(examples, kind.groups, -1), np.split(w, kind.groups, -1), strict=True)
    return np.concatenate([x @ w for x, w in parts], -1)


@pytest.mark.parametrize("name", SPECIES)
def test_examples_times_weights_are_the_output(name):
    kind, x, output = site(name)
    outputs = ops.convert_to_numpy(kind.positions(output))
    bias = np.reshape(kind.bias, -1)
    everything = products(kind, np.array(kind.examples(x, output, None))) + bias
    np.testing.assert_allclose(everything, outputs, rtol=1e-4, atol=1e-4)
    rows = np.array([len(outputs) - 1, 0, len(outputs) // 2], "int32")
    some = products(kind, np.array(kind.examples(x, output, ops.array(rows)))) + bias
    np.testing.assert_allclose(some, outputs[rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SPECIES)
def test_a_kernel_goes_to_a_matrix_and_back(name):
    kind, _, _ = site(name)
    matrix = kind.matrix(kind.kernel)
    assert tuple(matrix.shape) == (kind.n_lower, kind.n_upper)
    np.testing.assert_array_equal(kind.kernel_of(matrix), kind.kernel)


@pytest.mark.parametrize("name", SPECIES)
def test_which_layers_see_whole_examples(name):
    kind, x, output = site(name)
    assert kind.whole(tuple(output.shape)) == (name == "dense")
    assert kind.units(tuple(output.shape)) == kind.n_upper
    assert np.prod(kind.axes(tuple(output.shape))) * len(x) == len(kind.positions(output))


def test_data_format_channels_first():
    # The patches need no convolution, which TensorFlow lacks on CPUs for this format.
    first = layers.Conv2D(4, 3, data_format="channels_first")
    last = layers.Conv2D(4, 3)
    first.build((None, 3, 6, 7)), last.build((None, 6, 7, 3))
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype("float32")
    output = np.zeros((2, 4, 5, 4), "float32")
    expected = kind_of(last)(last).examples(x, output, None)
    turned = kind_of(first)(first).examples(np.moveaxis(x, -1, 1), np.moveaxis(output, -1, 1), None)
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize(
    "layer, shape, reason",
    [
        (layers.EinsumDense("ab,ab->ab", (3,)), (4, 3), "equation"),
        (layers.EinsumDense("abc,bcd->abd", (5, 4)), (None, 5, 3), "equation"),
        (layers.EinsumDense("abc,cd->abd", (5, 4), bias_axes="bd"), (None, 5, 3), "bias"),
        (layers.Conv2D(6, 3, groups=6), (None, 5, 5, 6), "compete"),
    ],
)
def test_layers_that_cannot_learn_say_why(layer, shape, reason):
    layer.build(shape)
    assert reason in kind_of(layer).why_not(layer)


def test_layers_that_are_more_than_their_kind_are_refused():
    layer = layers.Conv2D(4, 3, kernel_constraint=keras.constraints.UnitNorm(), name="bound")
    layer.build((None, 5, 5, 3))
    with pytest.raises(ValueError, match=r"'bound' has a constraint.*freeze=\('bound',\)"):
        kind_of(layer)(layer).check()
