"""Parts of the experiments on convolutional networks, each by itself."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.experiments import conv_methods, conv_report
from keras_learned_rule.experiments.conv_networks import conv_network, embedder, of_all_layers
from keras_learned_rule.experiments.fine_tuner import FineTuner
from keras_learned_rule.experiments.networks import base_model
from keras_learned_rule.experiments.scores import probe_accuracy
from keras_learned_rule.experiments.tasks import TaskSource


@pytest.mark.parametrize(
    "shape, name, features",
    [((28, 28, 1), "c1", 512), ((32, 32, 3), "c1", 512), ((32, 32, 3), "c2", 6144)],
)
def test_features_are_the_last_ones_averaged_over_quadrants(shape, name, features):
    model = conv_network(shape, name)
    assert model.output_shape == (None, features)
    if name == "c1":
        x = np.random.default_rng(0).random((2, np.prod(shape))).astype("float32")
        maps = x
        for layer in model.layers[:-2]:
            maps = layer(maps)
        half = shape[0] // 8 + shape[0] // 4 % 2
        rows = np.split(np.asarray(maps), [half], axis=1)
        quadrants = [part for row in rows for part in np.split(row, [half], axis=2)]
        expected = np.concatenate([part.mean(axis=(1, 2)) for part in quadrants], axis=-1)
        np.testing.assert_allclose(model(x), expected, atol=1e-5)


def test_features_of_all_layers_end_with_those_of_the_last():
    model = conv_network((8, 8, 1))
    x = np.random.default_rng(0).random((20, 64)).astype("float32")
    everything = embedder(of_all_layers(model), x)(x)
    assert everything.shape == (20, 4 * (32 + 64 + 128))
    np.testing.assert_allclose(everything[:, -512:], model(x), atol=1e-5)
    first = model.layers[3](model.layers[2](model.layers[1](model.layers[0](x))))
    np.testing.assert_allclose(everything[:, :32], first[:, :4, :4].numpy().mean((1, 2)), atol=1e-5)


def test_filters_of_kmeans_replace_those_of_the_first_layer_and_keep_their_norms():
    source = TaskSource("digits8")
    start = conv_network(source.shape, "c1", seed=2).get_weights()
    model = conv_methods.kmeans_filtered(source, "c1")(2)
    assert model.layers[1].name.startswith("conv2d")
    first, *rest = model.get_weights()
    for kept, own in zip(rest, start[1:], strict=True):
        np.testing.assert_array_equal(kept, own)
    norms = [np.linalg.norm(kernel.reshape(25, 32), axis=0) for kernel in (first, start[0])]
    np.testing.assert_allclose(*norms, rtol=1e-5)
    # Centroids do not see the mean of a patch; random filters do.
    assert np.abs(first.sum(axis=(0, 1, 2))).max() < 1e-4 < np.abs(start[0].sum((0, 1, 2))).min()


def test_the_embedder_uses_statistics_of_the_unlabelled_data():
    rng = np.random.default_rng(0)
    x = rng.random((50, 64)).astype("float32") + 3
    model = conv_network((8, 8, 1))
    expected = np.asarray(model(x, training=True))
    np.testing.assert_allclose(embedder(model, x)(x), expected, atol=1e-3)


def test_the_probe_is_ridge_regression_on_all_labels():
    x, y, x_test, y_test = digits_split()
    ours = probe_accuracy(x, y, x_test, y_test)
    varies = x.std(axis=0) > 0
    mean, deviation = x[:, varies].mean(axis=0), x[:, varies].std(axis=0)
    known, unknown = ((a[:, varies] - mean) / deviation for a in (x, x_test))
    right = RidgeClassifier(alpha=0.01 * len(x)).fit(known, y).predict(unknown) == y_test
    by_class = [right[y_test == c].mean() for c in range(10)]
    assert abs(ours - np.mean(by_class)) < 0.01


def test_fine_tuning_begins_at_the_given_weights_each_time():
    x, _, x_test, y_test = digits_split()
    network = base_model(64, widths=(32,), seed=3)
    weights = network.get_weights()
    tuner = FineTuner(network, classes=10, steps=75, batch=32, learning_rate=3e-3)
    first, again = (
        tuner.scores(weights, x, x_test, y_test, seed=0, shots=(1, 10), splits=2) for _ in range(2)
    )
    assert first == again
    assert 0.3 < first["softmax"]["1"] < first["softmax"]["10"] and first["softmax"]["10"] > 0.8


RESULTS = {
    "mnist28/c1 rule": {s: {"ridge": {"10": 0.80 + 0.1 * s, "probe": 0.9}} for s in (0, 1)},
    "mnist28/c1 random": {s: {"ridge": {"10": 0.60, "probe": 0.8}} for s in (0, 1, 2)},
    "mnist28/c1 backprop": {s: {"softmax": {"10": 0.70}} for s in (0, 1)},
}


def test_gains_pair_the_seeds_that_both_have():
    text = conv_report.gains(RESULTS, "c1 rule", "c1 random", "C1", "ridge")
    assert text.splitlines()[0] == "| C1 | 10 a class | linear probe |"
    assert text.splitlines()[-1] == "| MNIST 28x28 | +25.0 ± 5.0 | +10.0 ± 0.0 |"


def test_a_row_without_a_readout_has_its_softmax_and_no_linear_probe():
    rows = {"c1 rule": "rule", "c1 backprop": "backprop", "kmeans": "k-means"}
    text = conv_report.accuracies(RESULTS, rows, ("ridge",))
    assert text.splitlines()[2:] == [
        "| rule | 85.0 ± 5.0 | 90.0 ± 0.0 |",
        "| backprop | 70.0 ± 0.0 | – |",
    ]


def test_a_comparison_in_words_leaves_out_what_was_not_measured():
    text = conv_report.versus(RESULTS, "c1 rule", "c1 backprop")
    assert text == ("MNIST 28x28: 85.0 ± 5.0 against 70.0 ± 0.0 (+15.0 ± 5.0), 10 a class")
    assert conv_report.versus(RESULTS, "c1 rule", "kmeans") == "–"
