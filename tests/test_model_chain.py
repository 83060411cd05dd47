"""Which models are chains of Dense layers, and what rules with a neuron network say of others."""

import fit_cases
import keras
import pytest
from keras import layers

from keras_learned_rule.fit.reading import read_network
from keras_learned_rule.model.chain import scaled_on_the_way
from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.model.sites import find_sites
from keras_learned_rule.model.trace import trace


def read(model, freeze=()):
    inputs = model_inputs(model)
    sites = find_sites(model, inputs, freeze)
    return [site.name for site in sites.learning], scaled_on_the_way(model, sites)


def chain(*between, shape=(6,)):
    top = layers.Dense(3, name="top")
    return keras.Sequential([keras.Input(shape), layers.Dense(4, name="low"), *between, top])


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.ReLU()])
    hidden = keras.Input((4,))
    outer = keras.Model(hidden, layers.Dense(3, name="top")(layers.Dropout(0.1)(hidden)))
    return keras.Sequential([keras.Input((6,)), layers.Dense(4, name="low"), inner, outer])


class Subclassed(keras.Model):
    def __init__(self, between):
        super().__init__()
        self.low, self.top = layers.Dense(4, name="low"), layers.Dense(3, name="top")
        self.between = between

    def call(self, inputs, training=None):
        return self.top(self.between(self.low(inputs)))


def subclassed(between):
    model = Subclassed(between)
    model(keras.ops.zeros((2, 6)))
    return model


def behind_branches():
    inputs = [keras.Input((5,)), keras.Input((5,))]
    x = layers.Dense(6, name="low")(layers.Concatenate()(inputs))
    x = layers.Dense(3, name="top")(layers.ReLU()(x))
    return keras.Model(inputs, [x, layers.UnitNormalization()(x)])


def functional(build):
    inputs = keras.Input((6,))
    low, top = layers.Dense(6, name="low"), layers.Dense(6, name="top")
    return keras.Model(inputs, build(inputs, low, top))


def head(x):
    return layers.Dense(2, "softmax", name="classes")(x)


# The layers that scale units are called "scale" and a number.
CHAINS = {
    "linear": lambda: chain(),
    "normalised": lambda: chain(layers.BatchNormalization(), layers.Activation("tanh")),
    "two nonlinearities": lambda: chain(layers.ReLU(), layers.PReLU()),
    "all that hands on": lambda: chain(
        layers.Identity(),
        layers.BatchNormalization(),
        layers.ActivityRegularization(l2=0.1),
        layers.ELU(),
        layers.Dropout(0.5, name="scale0"),
        layers.Flatten(),
        layers.BatchNormalization(name="scale1"),
        layers.Reshape((4,)),
        layers.GaussianDropout(0.5, name="scale2"),
        layers.GaussianNoise(0.1),
    ),
    "two normalisations": lambda: chain(
        layers.BatchNormalization(), layers.BatchNormalization(name="scale0")
    ),
    "images": lambda: keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.RandomFlip(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(4, name="low"),
            layers.Dense(3, name="top"),
        ]
    ),
    "nested": nested,
    "subclassed": lambda: subclassed(layers.ReLU()),
    "branches before and behind": behind_branches,
    "layers as nonlinearities": lambda: keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, layers.ReLU(), name="low"),
            layers.Dense(3, layers.ReLU(), name="top"),
        ]
    ),
    "nothing between nonlinearities": lambda: chain(
        layers.ReLU(), layers.Identity(), layers.PReLU()
    ),
    "a sum at the end": lambda: functional(lambda x, a, b: b(y := layers.ReLU()(a(x))) + y),
    "a sum of layers at the end": lambda: functional(
        lambda x, a, b: layers.ReLU()(layers.Add()([b(y := a(x)), y]))
    ),
    "a skip to the end": lambda: functional(
        lambda x, a, b: layers.Concatenate()([(y := a(x)), b(y)])
    ),
    "a head in the middle": lambda: functional(
        lambda x, a, b: [
            head(y := layers.Dropout(0.5, name="scale0")(layers.ReLU()(a(x)))),
            b(y),
        ]
    ),
    "a head": lambda: keras.Sequential(
        [*chain(layers.ReLU()).layers, layers.Dense(2, "softmax", name="classes")]
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_and_what_scales_their_units(name):
    model = CHAINS[name]()
    if name == "a head":
        model.build((None, 6))
    names, (lowest, scaled) = read(model)
    assert names == ["low", "top"] and lowest == []
    wanted = [layer for layer in model.layers if layer.name.startswith("scale")]
    if name == "nested":
        wanted = [model.layers[-1].layers[1]]
    assert scaled == [(layer, 0) for layer in wanted]


class Square(layers.Layer):
    def call(self, x):
        return x * x


# A model, and the layer that the message names.
OTHERS = {
    "convolution": (
        lambda: keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Conv2D(2, 3, name="x"), layers.Dense(3)]
        ),
        r"'x' \(Conv2D\), which is no Dense layer",
    ),
    "einsum": (
        lambda: keras.Sequential([keras.Input((6,)), layers.EinsumDense("bi,io->bo", 5, name="x")]),
        r"'x' \(EinsumDense\), which is no Dense layer",
    ),
    "positions": (lambda: chain(shape=(5, 6)), "'low'.* sees several positions"),
    "called twice": (lambda: functional(lambda x, a, _: a(a(x))), "'low'.* is called 2 times"),
    "residual": (
        lambda: functional(lambda x, a, b: b(layers.Add(name="x")([a(x), x]))),
        r"'x' \(Add\), which gives layer 'top' other units than 'low' has",
    ),
    "operation": (
        lambda: functional(lambda x, a, b: b(a(x) / 2.0)),
        r"\(TrueDivide\), which gives layer 'top' other units",
    ),
    "past the layer below": (
        lambda: functional(
            lambda x, a, b: [
                head(layers.ReLU()(a(x))),
                b(layers.Dense(6, name="x", trainable=False)(x)),
            ]
        ),
        "'x'.* gives layer 'top' other units than 'low' has",
    ),
    "nonlinearity on a branch": (
        lambda: functional(lambda x, a, b: [layers.ReLU(name="x")(y := a(x)), b(y)]),
        "'x'.* stands behind layer 'low' on a branch that leaves",
    ),
    "two nonlinearities of one layer": (
        lambda: functional(lambda x, a, b: [layers.ELU()(y := a(x)), b(layers.ReLU(name="x")(y))]),
        "'x'.* is not all that layer 'low' feeds",
    ),
    "nonlinearity behind a branch": (
        lambda: functional(
            lambda x, a, b: [head(y := a(x)), b(layers.ReLU(name="x")(layers.Dropout(0.1)(y)))]
        ),
        "'x'.* stands behind layer 'dropout",
    ),
    "towers": (
        lambda: functional(lambda x, a, b: [a(x), b(x)]),
        "which layer '(low|top)' does not feed",
    ),
    "outside of layers": (
        lambda: subclassed(lambda x: x * x),
        "'top'.* which layer 'low' does not feed",
    ),
    "other normalisation": (
        lambda: chain(layers.LayerNormalization(name="x")),
        "'x'.* normalises layer 'low'",
    ),
    "frozen": (lambda: chain(layers.Dense(4, name="x", trainable=False)), "'x'.* other units"),
    "layer of one's own": (lambda: chain(Square(name="x")), r"'x' \(Square\), which gives"),
    "places": (
        lambda: chain(layers.Reshape((2, 2), name="x"), layers.Flatten()),
        r"\(Flatten\), which gives",
    ),
    "softmax over nonlinear units": (
        lambda: chain(layers.ReLU(), layers.Dropout(0.1, name="drop"), layers.Softmax(name="x")),
        "'x'.* stands behind layer 'drop'",
    ),
    "late normalisation": (
        lambda: chain(layers.Dropout(0.1, name="drop"), layers.BatchNormalization(name="x")),
        "'x'.* stands behind layer 'drop'",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models(name):
    build, received = OTHERS[name]
    with pytest.raises(ValueError, match=rf"rule='compact'.*freeze=.*Received: .*{received}"):
        read(build())


class Counted(keras.Sequential):
    passes = 0

    def call(self, inputs, training=None):
        self.passes += 1
        return super().call(inputs, training=training)


@pytest.mark.parametrize("neuron_network", [True, False])
def test_one_pass_of_the_model_tells_all(neuron_network):
    spec = fit_cases.compact_rule(neuron_network=neuron_network).spec
    model = Counted(chain(layers.ReLU()).layers)
    model.build((None, 6))
    inputs, begin = model_inputs(model), model.passes
    trace(model, inputs)
    of_a_trace = model.passes - begin
    read_network(model, spec, inputs, ())
    assert of_a_trace > 0 and model.passes - begin == 2 * of_a_trace


def test_freezing_makes_a_chain():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(3, name="dense"),
            layers.ReLU(),
            layers.Dense(3, name="last"),
        ]
    )
    assert read(model, freeze=("conv",))[0] == ["dense", "last"]
    assert read(model, freeze=("conv", "last"))[0] == ["dense"]
