"""Frozen layers run as they are, in inference mode, and do not learn."""

import keras
import numpy as np
import pytest
from keras import layers
from test_network_read import batch, embedding_of, sequential

from keras_learned_rule.network.read import read_plan


def names(reading):
    return [layer.name for layer in reading.plan.layers]


def autoencoder_like():
    return sequential(
        (6,),
        layers.Dense(5, "relu", name="below"),
        layers.Dense(4, "relu", name="between"),
        layers.BatchNormalization(name="norm"),
        layers.Dense(3, name="above"),
    )


@pytest.mark.parametrize(
    "frozen, learning",
    [
        ("below", ["between", "above"]),
        ("between", ["below", "above"]),
        ("above", ["below", "between"]),
    ],
)
def test_frozen_by_name_or_by_attribute(frozen, learning):
    by_name, by_attribute = autoencoder_like(), autoencoder_like()
    by_attribute.get_layer(frozen).trainable = False
    assert names(read_plan(by_name, freeze=(frozen,))) == learning
    assert names(read_plan(by_attribute)) == learning


def test_frozen_layers_below_and_between_compute_as_they_are():
    model = autoencoder_like()
    model.get_layer("norm").trainable = False
    x = batch((9, 6))
    for frozen in ("below", "between"):
        actual = embedding_of(read_plan(model, freeze=[frozen]), x)
        np.testing.assert_allclose(actual, model(x, training=False), rtol=1e-5, atol=1e-5)


def test_frozen_layers_above_play_no_part():
    model = autoencoder_like()
    embedding = keras.Model(model.inputs, model.get_layer("between").output)
    x = batch((9, 6))
    actual = embedding_of(read_plan(model, freeze=["above"]), x)
    np.testing.assert_allclose(actual, embedding(x), rtol=1e-5, atol=1e-5)


def test_any_layer_or_branching_model_can_be_frozen():
    inputs = keras.Input((8, 8, 3))
    branches = [layers.Conv2D(2, 3)(inputs), layers.Conv2D(2, 3)(inputs)]
    pooled = layers.GlobalAveragePooling2D()(layers.Dropout(0.5)(layers.Add()(branches)))
    backbone = keras.Model(inputs, pooled, name="backbone")
    model = sequential(
        (8, 8, 3), backbone, layers.LayerNormalization(name="ln"), layers.Dense(3, "relu")
    )
    x = batch((5, 8, 8, 3))
    actual = embedding_of(read_plan(model, freeze=("backbone", "ln")), x)
    np.testing.assert_allclose(actual, model(x, training=False), rtol=1e-5, atol=1e-5)


def test_a_layer_of_a_nested_model_can_be_frozen():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4, name="inner_dense")])
    model = sequential((6,), layers.Dense(5, name="first"), inner)
    assert names(read_plan(model, freeze=("inner_dense",))) == ["first"]


def test_frozen_batch_norm_and_dropout_run_in_inference_mode():
    model = sequential(
        (6,),
        layers.Dense(5, "relu"),
        layers.BatchNormalization(name="norm"),
        layers.Dropout(0.5, name="drop"),
        layers.Dense(4),
    )
    reading = read_plan(model, freeze=("norm", "drop"), deltas=True)
    x = batch((9, 6))
    expected, mean = model(x, training=False), model.get_layer("norm").moving_mean.numpy()
    np.testing.assert_allclose(embedding_of(reading, x), expected, rtol=1e-5)
    np.testing.assert_array_equal(model.get_layer("norm").moving_mean, mean)


def test_augmentation_is_random_in_training_and_switched_off_when_frozen():
    shift = layers.RandomTranslation(0.4, 0.4, name="shift")
    model = sequential((6, 6, 1), shift, layers.Flatten(), layers.Dense(4))
    x = batch((9, 6, 6, 1))
    first, second = (embedding_of(read_plan(model), x) for _ in range(2))
    assert np.abs(first - second).max() > 0.1
    frozen = embedding_of(read_plan(model, freeze=("shift",)), x)
    np.testing.assert_allclose(frozen, model(x, training=False), rtol=1e-5)


def test_a_frozen_layer_between_weights_and_nonlinearity():
    model = sequential(
        (4, 4, 3),
        layers.Dense(5),
        layers.MaxPooling2D(2, name="pool"),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(3),
    )
    x = batch((9, 4, 4, 3))
    actual = embedding_of(read_plan(model, freeze=("pool",)), x)
    np.testing.assert_allclose(actual, model(x, training=True), rtol=1e-5)


def test_batch_norm_behind_a_frozen_dense_keeps_its_statistics():
    model = autoencoder_like()
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    x = batch((9, 6))
    twin(x, training=True)
    embedding_of(read_plan(model, freeze=("between",)), x)
    for name in ("moving_mean", "moving_variance"):
        actual, expected = (getattr(m.get_layer("norm"), name) for m in (model, twin))
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_freezing_a_nonlinearity_changes_nothing():
    model = sequential((6,), layers.Dense(5), layers.ReLU(name="relu"), layers.Dense(4))
    x = batch((9, 6))
    actual = embedding_of(read_plan(model, freeze=("relu",), deltas=True), x)
    np.testing.assert_allclose(actual, model(x), rtol=1e-5, atol=1e-5)
