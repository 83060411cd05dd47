"""Running the plan of a model gives what calling the model in training mode gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_learned_rule.network import registry
from keras_learned_rule.network.plastic.dense import DenseConnection
from keras_learned_rule.network.read import read_plan
from keras_learned_rule.rule.update import forward


def randomised(model, seed=0):
    """Gives every variable random values, so that no bias or scale is trivial."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" not in variable.path:
            variable.assign(rng.uniform(0.3, 1.3, variable.shape) * 0.5)
    return model


def sequential(shape, *parts):
    return randomised(keras.Sequential([keras.Input(shape), *parts]))


def state_of(reading):
    def arrays(v):
        units = v.kernel.shape[-1]
        bias = np.zeros(units, "float32") if v.bias is None else v.bias.value
        state = {"w": v.kernel.value, "b": bias}
        return state if v.gamma is None else state | {"gain": v.gamma.value}

    return tuple(arrays(v) for v in reading.variables)


def batch(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def embedding_of(reading, x):
    """Runs the plan, with the embedding in its natural shape."""
    signals = forward(reading.plan, state_of(reading), x)
    lower = x
    for layer, y in zip(reading.plan.layers, signals.xs, strict=True):
        lower = layer.emit(y, lower)
    return lower


def functional():
    inputs = keras.Input((6,))
    x = layers.Dense(5, activation="tanh")(inputs)
    x = layers.Dense(4)(x)
    x = layers.BatchNormalization()(x)
    return randomised(keras.Model(inputs, layers.LeakyReLU(0.2)(x)))


def nested():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.BatchNormalization()])
    hidden = keras.Input((4,))
    outer = keras.Model(hidden, layers.Dense(3)(layers.ReLU()(hidden)))
    return sequential((6,), layers.Dense(5, "elu"), inner, layers.ReLU(), outer)


CHAINS = {
    "linear": lambda: sequential((6,), layers.Dense(4)),
    "no bias": lambda: sequential((6,), layers.Dense(4, use_bias=False), layers.Dense(3, "relu")),
    "functional": functional,
    "nested": nested,
    "batch norm": lambda: sequential(
        (6,),
        layers.Dense(5, use_bias=False),
        layers.BatchNormalization(epsilon=0.02),
        layers.ReLU(),
        layers.Dense(4),
        layers.BatchNormalization(center=False),
        layers.Activation("sigmoid"),
        layers.Dense(3),
        layers.BatchNormalization(scale=False),
        layers.ELU(),
    ),
    "batch norm behind the nonlinearity": lambda: sequential(
        (6,),
        layers.Dense(5, "relu"),
        layers.BatchNormalization(),
        layers.Dense(4, "tanh"),
        layers.BatchNormalization(scale=False, center=False),
        layers.Activation("gelu"),
        layers.Dense(3),
    ),
    "batch norm at the input": lambda: sequential(
        (6,), layers.BatchNormalization(), layers.Activation("tanh"), layers.Dense(4)
    ),
    "two batch norms": lambda: sequential(
        (6,), layers.Dense(5), *(layers.BatchNormalization() for _ in range(2)), layers.Dense(2)
    ),
    "images": lambda: sequential(
        (4, 5, 1),
        layers.Rescaling(0.5, offset=1.0),
        layers.Flatten(),
        layers.Dense(6, "relu"),
        layers.Normalization(mean=0.3, variance=2.0),
        layers.Dense(3),
    ),
    "layers without weights": lambda: sequential(
        (4, 6, 2),
        layers.ZeroPadding2D(1),
        layers.AveragePooling2D(2),
        layers.Permute((2, 1, 3)),
        layers.Dense(5, "relu"),
        layers.GlobalMaxPooling2D(),
        layers.RepeatVector(2),
        layers.UnitNormalization(),
        layers.Dense(3),
    ),
    "reshapes": lambda: sequential(
        (6,),
        layers.Dense(12, "relu"),
        layers.Reshape((4, 3)),
        layers.Dense(5),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Flatten(),
        layers.Dense(4),
    ),
    "rank 3": lambda: sequential(
        (7, 6),
        layers.Dense(5),
        layers.BatchNormalization(axis=2),
        layers.Softmax(axis=2),
        layers.Dense(4, "relu"),
    ),
    "unknown length": lambda: sequential((None, 6), layers.Dense(5, "relu"), layers.Dense(4)),
    "rank 4": lambda: sequential((3, 2, 6), layers.Dense(5, "relu"), layers.Dense(4, "softplus")),
    "regularisation switched off": lambda: sequential(
        (7, 6),
        layers.GaussianNoise(0.0),
        layers.Dense(5, "relu", kernel_regularizer="l2", activity_regularizer="l2"),
        layers.Dropout(0.0),
        layers.SpatialDropout1D(0.0),
        layers.ActivityRegularization(l2=0.1),
        layers.GaussianDropout(0.0),
        layers.Dense(4),
        layers.Identity(),
        layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
    ),
    "callables": lambda: sequential(
        (6,),
        layers.Dense(5, activation=lambda z: keras.ops.sin(z)),
        layers.Dense(4, activation=layers.LeakyReLU(0.3)),
        layers.Activation(keras.activations.mish),
    ),
}
INPUT_SHAPES = {"unknown length": (9, 7, 6), "images": (9, 4, 5)}


@pytest.mark.parametrize("name", CHAINS)
def test_plan_computes_what_the_model_computes(name):
    model = CHAINS[name]()
    x = batch(INPUT_SHAPES.get(name, (9, *model.input_shape[1:])))
    expected = model(x[..., None] if name == "images" else x, training=True)
    actual = embedding_of(read_plan(model), x)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["reshapes", "unknown length", "nested", "images"])
def test_plan_runs_in_a_graph_of_unknown_batch_size(name):
    model = CHAINS[name]()
    shape = INPUT_SHAPES.get(name, (9, *model.input_shape[1:]))
    reading = read_plan(model)

    @tf.function(input_signature=[tf.TensorSpec((None, *shape[1:]))])
    def run(x):
        return embedding_of(reading, x)

    for size in (9, 4):
        x = batch((size, *shape[1:]))
        np.testing.assert_allclose(run(x), embedding_of(reading, x), rtol=1e-5, atol=1e-5)


def test_a_model_without_input_layer_can_be_read_once_it_is_built():
    model = keras.Sequential([layers.Dense(4, "relu"), layers.Dense(2)])
    model.build((None, 3))
    x = batch((5, 3))
    np.testing.assert_allclose(embedding_of(read_plan(model), x), model(x), rtol=1e-5, atol=1e-6)


def test_integer_images_are_cast_and_not_rescaled():
    model = sequential((4,), layers.Dense(3))
    x = np.arange(8, dtype="uint8").reshape(2, 4) * 30
    np.testing.assert_allclose(embedding_of(read_plan(model), x), model(x), rtol=1e-5)


def test_the_variables_of_each_unit_layer():
    norm = layers.BatchNormalization(momentum=0.7, scale=False)
    model = sequential((6,), layers.Dense(5), norm, layers.ReLU(), layers.Dense(4))
    below, top = read_plan(model).variables
    dense, head = model.layers[0], model.layers[-1]
    assert below.kernel is dense.kernel and below.dense_bias is dense.bias
    assert below.bias is below.beta is norm.beta and below.gamma is None
    assert below.moving_mean is norm.moving_mean and below.momentum == 0.7
    assert below.moving_variance is norm.moving_variance
    assert top.bias is head.bias and top.kernel is head.kernel
    assert top.moving_mean is top.moving_variance is top.momentum is top.beta is None


def test_which_layers_learn_a_bias():
    model = sequential(
        (6,),
        layers.Dense(5),
        layers.BatchNormalization(center=False),
        layers.Dense(4, use_bias=False),
        layers.BatchNormalization(),
        layers.Dense(4, use_bias=False),
        layers.Dense(4),
    )
    learns = [layer.learns_bias for layer in read_plan(model).plan.layers]
    assert learns == [False, True, False, True]


def test_the_names_and_epsilons_of_unit_layers():
    model = sequential(
        (6,), layers.Dense(5, name="a"), layers.BatchNormalization(epsilon=0.5), layers.Dense(3)
    )
    below, top = read_plan(model).plan.layers
    assert (below.name, below.epsilon, top.epsilon) == ("a", 0.5, None)


def test_batch_norm_between_unit_layers_and_above_them_keeps_its_statistics():
    model = sequential(
        (3, 6),
        layers.Dense(5, "relu"),
        layers.BatchNormalization(),
        layers.Dense(4, "relu"),
        layers.Flatten(),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
    )
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    x = batch((8, 3, 6))
    twin(x, training=True)
    reading = read_plan(model)
    reading.tail(forward(reading.plan, state_of(reading), x).xs[-1])
    for layer, other in zip(model.layers, twin.layers, strict=True):
        if isinstance(layer, layers.BatchNormalization):
            np.testing.assert_allclose(layer.moving_mean, other.moving_mean, rtol=1e-5)
            np.testing.assert_allclose(layer.moving_variance, other.moving_variance, rtol=1e-5)


def test_a_tail_without_statistics_is_not_run():
    model = sequential((6,), layers.Dense(4, "relu"), layers.Dropout(0.5), layers.Flatten())
    assert read_plan(model).tail is None


def test_a_tail_over_an_axis_of_unknown_length():
    model = sequential((None, 6), layers.Dense(4, "relu"), layers.BatchNormalization(momentum=0.0))
    embedding = batch((10, 4))
    read_plan(model).tail(embedding)
    np.testing.assert_allclose(
        model.layers[-1].moving_mean, embedding.mean(0), rtol=1e-4, atol=1e-6
    )


def test_a_long_chain():
    blocks = [(layers.Dense(3), layers.BatchNormalization(), layers.ReLU()) for _ in range(50)]
    model = sequential((3,), *(layer for block in blocks for layer in block))
    assert len(read_plan(model, deltas=True).plan.layers) == 50


def test_a_plastic_layer_type_of_ones_own(monkeypatch):
    monkeypatch.setattr(registry, "_connections", dict(registry._connections))

    @registry.register_connection(layers.EinsumDense)
    class EinsumConnection(DenseConnection):
        def __init__(self, layer, input_shape):
            self.layer, self.kernel, self.bias = layer, layer.kernel, layer.bias
            self.activation, self.positions = layer.activation, ()

    model = sequential(
        (6,), layers.EinsumDense("bi,io->bo", 5, "tanh"), layers.Dropout(0.0), layers.Dense(4)
    )
    x = batch((9, 6))
    reading = read_plan(model, deltas=True)
    assert len(reading.plan.layers) == 2
    np.testing.assert_allclose(embedding_of(reading, x), model(x), rtol=1e-5, atol=1e-5)
