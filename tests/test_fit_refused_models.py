"""Models and inputs of other forms than a chain that are refused, and left as they were."""

import fit_cases
import keras
import model_cases as cases
import numpy as np
import pytest
import tensorflow as tf
from fit_cases import refused
from keras import layers

from keras_learned_rule import LearnedRule
from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.model.sites import find_sites


def rule(**options):
    return LearnedRule(fit_cases.compact_rule(), **{"replay": 0, **options})


def chain(*parts, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *parts])


def frozen_kernels():
    model = chain(layers.Dense(4, name="first"), layers.Dense(3, name="last"))
    for layer in model.layers:
        layer.kernel.trainable = False
    return model


def embedded():
    tokens = keras.Input((5,), dtype="int32")
    return keras.Model(tokens, layers.LSTM(4)(layers.Embedding(9, 3, name="tokens")(tokens)))


NOTHING = {
    "no weights": (lambda: chain(layers.ReLU()), "Received: no layer with weights"),
    "a head": (lambda: chain(layers.Dense(3, "softmax", name="end")), r"'end' \(a head\)"),
    "frozen kernels": (frozen_kernels, r"'first' \(its kernel is frozen\), 'last' \(its kernel"),
    "no kind": (embedded, r"'lstm_cell' \(inside '\w+'\), 'tokens' \(of a kind that does not"),
    "depthwise": (
        lambda: chain(layers.DepthwiseConv1D(3, name="depth"), shape=(6, 2)),
        r"'depth' \(of a kind that does not learn\)",
    ),
    "a loop": (
        lambda: cases.looped("map", beside=False),
        r"'inner' \(called in a loop or function, where it cannot be watched\)",
    ),
}


@pytest.mark.parametrize("case", NOTHING)
def test_nothing_that_can_learn(case):
    make, message = NOTHING[case]
    model = make()
    model.compile()
    x = cases.batch(model_inputs(model))
    refused(model, f"nothing that can learn.*{message}", x=x, rule=rule())


def partly_frozen():
    model = cases.residual_cnn()
    model.get_layer("inner").kernel.trainable = False
    return model


@pytest.mark.parametrize("make", [partly_frozen, lambda: cases.looped("scan")])
def test_what_cannot_learn_stays_where_other_layers_learn(make):
    model = make()
    kept, (learns, *_) = (
        model.get_layer("inner").kernel,
        find_sites(model, model_inputs(model)).learning,
    )
    before = np.copy(kept), np.copy(learns.kernel)
    model.compile()
    model.fit(cases.batch(model_inputs(model)), verbose=0, callbacks=[rule()])
    np.testing.assert_array_equal(kept, before[0])
    assert np.abs(learns.kernel - before[1]).max() > 1e-4


def test_a_variable_that_is_frozen_in_mid_fit_stays_from_then_on():
    model = chain(layers.Dense(4, name="first"), layers.Dense(3, name="last"))
    model.compile()
    values = []

    def freeze(model):
        model.get_layer("first").kernel.trainable = False
        values.append(np.copy(model.get_layer("first").kernel))

    x, callback = cases.batch(model_inputs(model)), fit_cases.Meddler("on_epoch_end", freeze)
    last = np.copy(model.get_layer("last").kernel)
    model.fit(x, epochs=2, verbose=0, callbacks=[rule(), callback])
    np.testing.assert_array_equal(model.get_layer("first").kernel, values[0])
    assert np.abs(model.get_layer("last").kernel - last).max() > 1e-4


def mixed_sizes(x):
    signature = {name: tf.TensorSpec((None, *a.shape[1:])) for name, a in x.items()}
    batch = {**x, "item": x["item"][:8]}
    return tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=signature)


INPUTS = {
    "a name that is missing": (
        lambda x: {"user": x["user"], "product": x["item"]},
        r"none of its keys is the model's input 'item'.*Received: keys \['user', 'product'\]",
    ),
    "another shape": (
        lambda x: {**x, "item": x["item"][:, 1:]},
        r"x\['item'\] must have the model's input shape",
    ),
    "ragged": (
        lambda x: {**x, "item": tf.ragged.constant([[1.0, 2.0, 3.0, 4.0], [1.0]] * 8)},
        "examples of one size",
    ),
    "other batch sizes": (
        mixed_sizes,
        "as many examples. Received: inputs of different batch sizes in step 0",
    ),
}


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.filterwarnings("ignore")
def test_several_inputs_that_do_not_fit(case):
    spoil, message = INPUTS[case]
    model = cases.towers()
    model.compile()
    refused(model, message, x=spoil(cases.batch(model_inputs(model))), rule=rule())
