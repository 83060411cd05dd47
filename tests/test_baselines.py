"""What a learned rule is compared with."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from keras_learned_rule.baselines import supervised_learner
from keras_learned_rule.baselines.best_weights import BestWeights
from keras_learned_rule.baselines.pca import pca_features
from keras_learned_rule.baselines.side_by_side import side_by_side
from keras_learned_rule.baselines.supervised import supervised_accuracy
from keras_learned_rule.baselines.supervised_learner import SupervisedLearner
from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.experiments.networks import base_model
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
    with pytest.raises(ValueError, match=f"from 1 to 64. Received: {components}"):
        pca_features(digits[0], components)


def test_supervised_learns_repeats_and_leaves_the_model_alone(digits):
    x, y = digits[2:]
    model = network()
    before = model.get_weights()
    options = {"repeats": 3, "steps": 300, "learning_rate": 3e-3}
    result = supervised_accuracy(model, x, y, **options)
    assert 0.80 < result.mean < 0.97 and len(result.accuracies) == 3
    for array, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    again = supervised_accuracy(model, x, y, **options)
    np.testing.assert_allclose(again.accuracies, result.accuracies, atol=0.01)


def test_equal_draws_and_batches_give_equal_accuracies(digits, monkeypatch):
    x, y = digits[2:]
    split = supervised_learner.few_shot_splits(y, 10, 1, seed=0)[0]
    monkeypatch.setattr(supervised_learner, "few_shot_splits", lambda *_: [split] * 3)
    rows = np.resize(split[0], 800).astype("int32")
    monkeypatch.setattr(supervised_learner, "batch_rows", lambda *_: rows)
    result = supervised_accuracy(network(), x, y, repeats=3, steps=25)
    np.testing.assert_allclose(result.accuracies, result.accuracies[0], atol=2e-3)


def test_a_learner_starts_afresh_each_time_and_traces_once(digits):
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            if isinstance(inputs, tf.Tensor) and not hasattr(inputs, "numpy"):
                traces.append(inputs)
            return inputs

    x, y = digits[2:]
    layers = [keras.layers.Dense(16), keras.layers.BatchNormalization(), Counted()]
    model = keras.Sequential([keras.Input((64,)), *layers])
    learner = SupervisedLearner(model, x, classes=10, copies=3)
    first = learner.accuracy(model, x, y, steps=50)
    once = len(traces)
    learner.accuracy(model, x, y, shots=3, seed=1, steps=25, early_stopping=True)
    again = learner.accuracy(model, x, y, steps=50)
    np.testing.assert_allclose(again.accuracies, first.accuracies, atol=5e-3)
    assert len(traces) == once


def test_batch_norm_is_tested_with_statistics_of_what_was_learned_from(digits):
    x, y = digits[2:]
    draw = keras.initializers.GlorotUniform(seed=0)
    layers = [keras.layers.Dense(16, kernel_initializer=draw), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((64,)), *layers])
    # The features stay those of the start.
    learner = SupervisedLearner(model, x, classes=10, copies=2, learning_rate=1e-12)
    learner.accuracy(model, x, y, shots=5, steps=25)
    norm = learner._network.layers[2].layers[2].norm
    for copy, (train, _) in enumerate(supervised_learner.few_shot_splits(y, 5, 2, seed=0)):
        product = layers[0](x[train]).numpy()
        own = slice(16 * copy, 16 * copy + 16)
        np.testing.assert_allclose(norm.moving_mean[own], product.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(norm.moving_variance[own], product.var(axis=0), atol=1e-4)
    assert norm.momentum == 0.99


def test_few_steps_are_enough_to_be_tested_by(digits):
    """At 75 steps moving statistics cost 4 points."""
    x, y = digits[2:]
    options = {"repeats": 5, "steps": 75, "batch_size": 64, "learning_rate": 5e-3}
    assert supervised_accuracy(base_model(64, seed=1), x, y, **options).mean > 0.87


def test_copies_side_by_side_compute_what_the_network_does(digits):
    x = digits[0][:64]
    model = network()
    model(x, training=True)
    joint = side_by_side(model, copies=3)
    outputs = joint(np.stack([x, 2 * x, -x], axis=1)).numpy()
    for copy, inputs in enumerate((x, 2 * x, -x)):
        np.testing.assert_allclose(outputs[:, copy], model(inputs).numpy(), atol=1e-5)


def test_copies_side_by_side_learn_as_if_alone(digits):
    x, y = digits[0][:96], digits[1][:96]
    model = network()
    joint = side_by_side(model, copies=2)
    for trained, inputs in ((model, x), (joint, np.stack([x, x[::-1]], axis=1))):
        # Summed over all but the batch, so that copies add to the loss and do not share it.
        axes = tuple(range(1, inputs.ndim))
        trained.compile(keras.optimizers.SGD(0.1), lambda _, z, a=axes: keras.ops.sum(z**2, a))
        trained.fit(inputs, y, batch_size=96, epochs=3, shuffle=False, verbose=0)
    outputs = joint(np.stack([x, x], axis=1)).numpy()
    np.testing.assert_allclose(outputs[:, 0], model(x).numpy(), rtol=1e-3, atol=1e-4)


def test_only_dense_chains_go_side_by_side():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, name="conv")])
    with pytest.raises(ValueError, match=r"Received: layer 'conv' \(Conv2D\)"):
        side_by_side(model, copies=2)
    with pytest.raises(ValueError, match="at least 1. Received: 0"):
        side_by_side(network(), copies=0)


@pytest.mark.slow
def test_early_stopping_learns_from_half_and_keeps_the_best(digits):
    x, y = digits[2:]
    options = {"repeats": 4, "steps": 300, "learning_rate": 3e-3}
    stopped = supervised_accuracy(network(), x, y, early_stopping=True, **options)
    half = supervised_accuracy(network(), x, y, shots=5, **options)
    whole = supervised_accuracy(network(), x, y, **options)
    assert half.mean - 0.06 < stopped.mean < whole.mean


def test_each_copy_ends_with_the_weights_of_its_least_held_out_loss():
    rows = np.tile(np.arange(2, dtype="int32")[:, None], 3)
    keeper = BestWeights(rows, np.zeros((2, 3), "int32"))
    network = keras.Sequential(
        [keras.Input((3,), dtype="int32"), Scores(losses=[[3, 1, 2], [1, 2, 2], [2, 3, 1]])]
    )
    keeper.set_model(network)
    keeper.on_train_begin()
    for step in range(3):
        network.layers[-1].step.assign([step] * 3)
        keeper.on_train_batch_end(step)
    keeper.on_train_end()
    assert network.layers[-1].step.numpy().tolist() == [1, 0, 2]


class Scores(keras.layers.Layer):
    """Scores [batch, copies, 2] with a given loss for class 0, by step and copy."""

    def __init__(self, losses):
        super().__init__()
        self.losses_by_step = np.array(losses, "float32")
        self.step = self.add_weight(shape=(3,), dtype="float32", initializer="zeros")

    def call(self, rows):
        step = keras.ops.cast(self.step, "int32")
        losses = keras.ops.take_along_axis(
            keras.ops.convert_to_tensor(self.losses_by_step), step[None], axis=0
        )[0]
        shares = keras.ops.stack([keras.ops.exp(-losses), 1 - keras.ops.exp(-losses)], axis=-1)
        return keras.ops.log(shares)[None] + keras.ops.zeros((rows.shape[0] or 2, 1, 1))


def test_early_stopping_needs_two_labels_a_class(digits):
    with pytest.raises(ValueError, match="at least 2 for `early_stopping`.*Received: 1"):
        supervised_accuracy(network(), *digits[2:], shots=1, early_stopping=True)


def test_softmax_regression_nears_logistic_regression(digits):
    x, y = digits[2:]
    model = keras.Sequential([keras.Input((64,)), keras.layers.Identity()])
    result = supervised_accuracy(model, x, y, repeats=3, learning_rate=0.01)
    expected = [
        np.mean(LogisticRegression(C=10.0).fit(x[train], y[train]).predict(x[test]) == y[test])
        for train, test in supervised_learner.few_shot_splits(y, 10, 3, seed=0)
    ]
    np.testing.assert_allclose(result.accuracies, expected, atol=0.02)


@pytest.mark.parametrize("steps", [0, 30])
def test_supervised_refuses_odd_numbers_of_steps(digits, steps):
    with pytest.raises(ValueError, match=f"multiple of 25. Received: {steps}"):
        supervised_accuracy(network(), *digits[2:], steps=steps)
