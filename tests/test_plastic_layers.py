"""A layer type of one's own: registered by one file, with a kernel that is no matrix."""

import fit_cases as cases
import numpy as np
import pytest
from keras import Input, Sequential, layers, ops

from keras_learned_rule import LearnedRule
from keras_learned_rule.network import registry
from keras_learned_rule.network.plan import Passage
from keras_learned_rule.network.read import read_plan

LENGTH, CHANNELS, WIDTH = 7, 3, 2


class Conv1DConnection:
    """Conv1D without padding and strides: a Dense layer on patches, batch x positions examples."""

    def __init__(self, layer, input_shape):
        self.layer, self.kernel, self.bias = layer, layer.kernel, layer.bias
        self.activation = layer.activation
        self.width = self.kernel.shape[0]
        self.positions = (input_shape[1] - self.width + 1,)

    def layout(self, x):
        return Passage(self.patches(x[..., None])[..., 0], self.down, self.patches)

    def patches(self, h):
        (count,) = self.positions
        shifted = ops.stack([h[:, i : i + count] for i in range(self.width)], axis=2)
        return ops.reshape(shifted, (-1, self.width * h.shape[2], h.shape[3]))

    def down(self, delta):
        (count,) = self.positions
        delta = ops.reshape(delta, (-1, count, self.width, self.kernel.shape[1], delta.shape[-1]))
        rest = self.width - 1
        return sum(
            ops.pad(delta[:, :, i], [[0, 0], [i, rest - i], [0, 0], [0, 0]])
            for i in range(self.width)
        )

    def emit(self, y, shape):
        return ops.reshape(y, (-1, *self.positions, y.shape[-1]))


@pytest.fixture(autouse=True)
def conv_is_known(monkeypatch):
    monkeypatch.setattr(registry, "_connections", dict(registry._connections))
    registry.register_connection(layers.Conv1D)(Conv1DConnection)


def network(first, *shape):
    model = Sequential([Input(shape), first, layers.BatchNormalization(), layers.ReLU()])
    for layer in (layers.Flatten(), layers.Dense(5, "tanh")):
        model.add(layer)
    model.compile()
    return model


def examples(count=32):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, LENGTH, CHANNELS)).astype("float32")


def patches(x):
    """By NumPy, another way than the connection."""
    windows = np.lib.stride_tricks.sliding_window_view(x, WIDTH, axis=1)
    return np.moveaxis(windows, -1, 2).reshape(len(x), LENGTH - WIDTH + 1, WIDTH * CHANNELS)


def test_its_signals_are_those_of_the_model():
    model = network(layers.Conv1D(4, WIDTH), LENGTH, CHANNELS)
    unit = read_plan(model).variables[0]
    assert unit.matrix_shape == (WIDTH * CHANNELS, 4)
    conv = model.layers[0]
    product = patches(examples()) @ np.array(unit.kernel_matrix())
    np.testing.assert_allclose(conv(examples()), product, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(unit.as_kernel(unit.kernel_matrix()), conv.kernel)


@pytest.mark.parametrize("rule", [cases.compact_rule(), cases.published_rule()])
def test_a_convolution_learns_what_a_dense_layer_learns_on_patches(rule):
    x = examples()
    conv = network(layers.Conv1D(4, WIDTH), LENGTH, CHANNELS)
    dense = network(layers.Dense(4), *patches(x).shape[1:])
    kernel, *others = conv.get_weights()
    dense.set_weights([kernel.reshape(-1, 4), *others])
    for model, inputs in ((conv, x), (dense, patches(x))):
        model.fit(inputs, epochs=2, batch_size=16, callbacks=[LearnedRule(rule)], verbose=0)
    assert np.abs(conv.layers[0].kernel - kernel).max() > 1e-3
    assert conv.layers[0].kernel.shape == (WIDTH, CHANNELS, 4)
    learned, *others = conv.get_weights()
    cases.assert_same([learned.reshape(-1, 4), *others], dense.get_weights(), 1e-4)


@pytest.mark.slow
def test_deltas_pass_through_it():
    below, conv = layers.Dense(3, "tanh"), layers.Conv1D(4, WIDTH, activation="tanh")
    shape = (LENGTH, CHANNELS)
    model = Sequential([Input(shape), below, conv, layers.Flatten(), layers.Dense(5)])
    model.compile()
    before = cases.arrays(model)
    rule = LearnedRule(cases.published_rule())
    model.fit(examples(), batch_size=16, callbacks=[rule], verbose=0)
    for old, new in zip(before, cases.arrays(model), strict=True):
        assert np.isfinite(new).all() and np.abs(new - old).max() > 1e-6
