"""What a learned rule is compared with."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from keras_learned_rule.baselines import supervised
from keras_learned_rule.baselines.pca import pca_features
from keras_learned_rule.baselines.supervised import supervised_accuracy
from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.fit.readout import few_shot_accuracy


@pytest.fixture(scope="module")
def digits():
    return digits_split()


def network():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(32), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    return keras.Sequential([keras.Input((64,)), *layers])


def test_pca_features_are_the_leading_right_singular_vectors(digits):
    x_train, _, x_test, _ = digits
    features = pca_features(x_train.reshape(-1, 8, 8), components=5)(x_test.reshape(-1, 8, 8))
    mean = x_train.mean(axis=0)
    directions = np.linalg.svd(x_train - mean, full_matrices=False)[2][:5]
    np.testing.assert_allclose(np.abs(features), np.abs((x_test - mean) @ directions.T), atol=1e-4)


def test_pca_feeds_the_few_shot_readout(digits):
    x_train, _, x_test, y_test = digits
    result = few_shot_accuracy(pca_features(x_train), x_test, y_test)
    assert 0.80 < result.mean < 0.90


@pytest.mark.parametrize("components", [0, 65])
def test_pca_refuses_impossible_sizes(digits, components):
    with pytest.raises(ValueError, match=f"from 1 to 64 .*Received: {components}"):
        pca_features(digits[0], components)


def test_supervised_learns_repeats_and_leaves_the_model_alone(digits):
    x, y = digits[2:]
    model = network()
    before = model.get_weights()
    options = {"repeats": 3, "steps": 300, "learning_rate": 3e-3}
    result = supervised_accuracy(model, x, y, **options)
    assert 0.80 < result.mean < 0.97 and len(result.accuracies) == 3
    for array, kept in zip(model.get_weights(), before):
        np.testing.assert_array_equal(array, kept)
    again = supervised_accuracy(model, x, y, **options)
    np.testing.assert_allclose(again.accuracies, result.accuracies, atol=0.01)


def test_each_repeat_starts_afresh(digits, monkeypatch):
    x, y = digits[2:]
    split = supervised.few_shot_splits(y, 10, 1, seed=0)[0]
    monkeypatch.setattr(supervised, "few_shot_splits", lambda *_: [split] * 3)
    monkeypatch.setattr(supervised, "_batches", lambda _, train, *__: np.resize(train, 800))
    result = supervised_accuracy(network(), x, y, steps=25)
    np.testing.assert_allclose(result.accuracies, result.accuracies[0], atol=2e-3)


def test_repeats_share_one_trace(digits):
    tf = pytest.importorskip("tensorflow")
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            if not tf.executing_eagerly():
                traces.append(inputs)
            return inputs

    x, y = digits[2:]
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8), Counted()])
    traces.clear()
    supervised_accuracy(model, x, y, repeats=1, steps=25)
    once = len(traces)
    traces.clear()
    supervised_accuracy(model, x, y, repeats=4, steps=25)
    assert len(traces) == once


def test_softmax_regression_nears_logistic_regression(digits):
    x, y = digits[2:]
    model = keras.Sequential([keras.Input((64,)), keras.layers.Identity()])
    result = supervised_accuracy(model, x, y, repeats=3, learning_rate=0.01)
    expected = [
        np.mean(LogisticRegression(C=10.0).fit(x[train], y[train]).predict(x[test]) == y[test])
        for train, test in supervised.few_shot_splits(y, 10, 3, seed=0)
    ]
    np.testing.assert_allclose(result.accuracies, expected, atol=0.02)


@pytest.mark.parametrize("steps", [0, 30])
def test_supervised_refuses_odd_numbers_of_steps(digits, steps):
    with pytest.raises(ValueError, match=f"multiple of 25. Received: {steps}"):
        supervised_accuracy(network(), *digits[2:], steps=steps)
