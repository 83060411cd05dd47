"""The baselines of convolutions: SoftHebb's rule and k-means features."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_learned_rule import few_shot_accuracy
from keras_learned_rule.baselines import kmeans, softhebb
from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.experiments.networks import Loop


@pytest.fixture(scope="module")
def digits():
    x, _, x_test, y_test = digits_split()
    return x.reshape(-1, 8, 8, 1), x_test.reshape(-1, 8, 8, 1), y_test


def few_shot(features, y):
    return few_shot_accuracy(None, features, y, repeats=10).mean


def by_hand(w, x, inverse):
    """The update of SoftHebb, an example and a unit at a time."""
    delta = np.zeros_like(w)
    for example in x:
        u = [example @ w[:, k] for k in range(w.shape[1])]
        shares = np.exp(inverse * np.array(u))
        shares /= shares.sum()
        for k in range(w.shape[1]):
            y = shares[k] if k == np.argmax(u) else -shares[k]
            delta[:, k] += y * (example - u[k] * w[:, k])
    return delta / np.abs(delta).max()


def test_the_update_of_softhebb_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(5, 4)), rng.normal(size=(7, 5))
    ours = softhebb.soft_hebb_update(w.astype("float32"), x.astype("float32"), 0.65)
    np.testing.assert_allclose(ours, by_hand(w, x, 0.65), atol=1e-5)


def planted(rng, examples=2000):
    """Images of one patch each, around one of four patterns, and which."""
    patterns = rng.choice([-1.0, 1.0], size=(4, 3, 3, 2))
    which = rng.integers(4, size=examples)
    x = patterns[which] * rng.uniform(0.8, 1.2, size=(examples, 1, 1, 1))
    return (x + 0.2 * rng.normal(size=x.shape)).astype("float32"), which


def test_softhebb_finds_planted_patterns_with_weights_of_unit_norm():
    x, which = planted(np.random.default_rng(0))
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3, 3, 2)), keras.layers.Conv2D(12, 3, name="conv")])
    rule = softhebb.SoftHebb(model)
    start = np.linalg.norm(model.get_layer("conv").kernel.numpy().reshape(18, 12), axis=0)
    np.testing.assert_allclose(start, 25.0, rtol=1e-3)
    Loop(rule, batch=32)(x, 0, 1500, seed=0)
    w = model.get_layer("conv").kernel.numpy().reshape(18, 12)
    norms = np.linalg.norm(w, axis=0)
    seen = ((x - x.mean(0)) / x.std(0)).reshape(-1, 18)
    means = np.stack([seen[which == k].mean(axis=0) for k in range(4)])
    cosines = means @ w / np.linalg.norm(means, axis=1, keepdims=True) / norms
    assert np.all(cosines.max(axis=1) > 0.95)
    winners = np.unique(cosines.argmax(axis=1))
    assert len(winners) == 4 and np.all(np.abs(norms[winners] - 1) < 0.05)


def test_softhebb_trains_every_layer_again_from_the_start_and_keeps_biases(digits):
    x = digits[0][:200]
    keras.utils.set_random_seed(0)
    conv = {"padding": "same", "activation": "relu"}
    hidden = [keras.layers.Conv2D(6, 3, **conv), keras.layers.BatchNormalization()]
    rest = [keras.layers.Conv2D(8, 3, **conv), keras.layers.Flatten(), keras.layers.Dense(5)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *hidden, *rest])
    start = model.get_weights()
    rule = softhebb.SoftHebb(model)
    step = tf.function(rule)
    ends = []
    for _ in range(2):
        model.set_weights(start)
        rule.restart()
        for i in range(5):
            step(x[10 * i : 10 * i + 10])
        ends.append(model.get_weights())
    for first, again in zip(*ends, strict=True):
        np.testing.assert_array_equal(first, again)
    for layer in (model.layers[0], model.layers[2], model.layers[4]):
        assert np.isfinite(layer.kernel).all() and not np.any(layer.bias)
    assert np.any(model.layers[1].moving_mean)


@pytest.mark.parametrize("name, value", [("rates", 0.0), ("inverse_temperatures", -1.0)])
def test_softhebb_refuses_numbers_that_are_not_above_zero(name, value):
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=f"{name} must be .*Received: {value}"):
        softhebb.SoftHebb(model, **{name: (0.1, value)})


@pytest.mark.slow
def test_softhebb_beats_random_weights_on_digits(digits):
    x, x_test, y_test = digits
    gains = []
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Conv2D(32, 3), keras.layers.BatchNormalization()]
        pooling = [keras.layers.ReLU(), keras.layers.MaxPooling2D(3), keras.layers.Flatten()]
        model = keras.Sequential([keras.Input((8, 8, 1)), *layers, *pooling])
        before = few_shot(model.predict(x_test, verbose=0), y_test)
        Loop(softhebb.SoftHebb(model), batch=10)(x, 0, 1000, seed)
        gains.append(few_shot(model.predict(x_test, verbose=0), y_test) - before)
    assert np.mean(gains) > 2 * np.std(gains, ddof=1) / 3**0.5


def test_kmeans_features_ignore_contrast_and_brightness(digits):
    x, x_test, _ = digits
    features = kmeans.kmeans_features(x, centroids=10, size=3, patches=2000)
    drawn = 0.2 + np.random.default_rng(0).random((4, 8, 8, 1))
    np.testing.assert_allclose(features(0.5 * drawn + 0.2), features(drawn), atol=0.02)
    again = kmeans.kmeans_features(x, centroids=10, size=3, patches=2000)
    np.testing.assert_array_equal(again(x_test[:3]), features(x_test[:3]))


def test_kmeans_features_are_of_quadrants(digits):
    x = digits[0]
    features = kmeans.kmeans_features(x, centroids=10, size=2, patches=2000)
    changed = x[:5].copy()
    changed[:, :3, :3] = 1 - changed[:, :3, :3]  # 7 x 7 positions: the first quadrant has 3 x 3.
    differs = np.abs(features(changed) - features(x[:5])).reshape(5, 4, 10).max(axis=(0, 2))
    assert (differs > 1e-3).tolist() == [True, False, False, False]


@pytest.fixture
def found(monkeypatch):
    """What k-means is given and returns; its centroids are the first patches."""
    seen = {}

    class FirstRows:
        def __init__(self, clusters, **_):
            self.clusters = clusters

        def fit(self, white):
            seen["white"] = white.astype(np.float64)
            self.cluster_centers_ = seen["centroids"] = white[: self.clusters]
            return self

    monkeypatch.setattr("sklearn.cluster.MiniBatchKMeans", FirstRows)
    return seen


def by_hand_whitened(x):
    """Patches [4, n, 49] without their mean, their contrast, and mean and ZCA of drawn ones."""
    # Every image of 8 x 8 has four patches of 7 x 7, one a quadrant; all of them are whitened.
    patches = np.stack([x[:, i : i + 7, j : j + 7].reshape(-1, 49) for i in (0, 1) for j in (0, 1)])
    patches = patches.astype(np.float64) - patches.mean(axis=-1, keepdims=True)
    contrast = np.sqrt(patches.var(axis=-1, keepdims=True) + 10 / 255**2)
    drawn = kmeans._contrast_normalised(
        kmeans._drawn_patches(x, 7, 3000, np.random.default_rng(0))
    ).astype(np.float64)
    values, axes = np.linalg.eigh(np.cov(drawn.T, bias=True))
    return patches, contrast, drawn, axes @ np.diag((values + 0.1) ** -0.5) @ axes.T


def test_triangle_coding_is_that_of_its_definition(digits, found):
    x = digits[0]
    features = kmeans.kmeans_features(x, centroids=4, size=7, patches=3000)
    patches, contrast, drawn, zca = by_hand_whitened(x)
    np.testing.assert_allclose(found["white"], (drawn - drawn.mean(0)) @ zca, atol=1e-3)
    white = (patches / contrast - drawn.mean(axis=0)) @ zca
    distances = np.linalg.norm(white[:, :, None] - found["centroids"], axis=-1)
    expected = np.maximum(distances.mean(axis=-1, keepdims=True) - distances, 0)
    expected = expected.transpose(1, 0, 2).reshape(len(x), -1)
    np.testing.assert_allclose(features(x), expected, atol=1e-2)


def test_filters_compare_whitened_patches_with_centroids(digits, found):
    x = digits[0]
    kernel = kmeans.kmeans_filters(x, filters=4, size=7, patches=3000)
    assert kernel.shape == (7, 7, 1, 4)
    np.testing.assert_allclose(np.linalg.norm(kernel.reshape(49, 4), axis=0), 1.0, rtol=1e-5)
    outputs = np.moveaxis(keras.ops.conv(x.astype("float32"), kernel).numpy(), 0, 2)
    patches, contrast, _, zca = by_hand_whitened(x)
    expected = contrast * (patches / contrast @ zca @ found["centroids"].T)
    outputs = outputs.reshape(expected.shape)
    lengths = [np.linalg.norm(each, axis=(0, 1)) for each in (outputs, expected)]
    np.testing.assert_allclose(outputs / lengths[0], expected / lengths[1], atol=1e-4)


def test_kmeans_features_tell_digits_apart_better_than_pixels(digits):
    x, x_test, y_test = digits
    features = kmeans.kmeans_features(x, centroids=32, size=4, patches=5000)
    assert few_shot(features(x_test), y_test) > few_shot(x_test, y_test) + 0.03


def test_filters_of_blank_images_are_refused():
    with pytest.raises(ValueError, match="`x` must be images whose patches differ. Received: "):
        kmeans.kmeans_filters(np.ones((20, 8, 8, 1)), filters=2, size=3, patches=100)


def test_kmeans_refuses_what_has_no_patches(digits):
    x = digits[0]
    with pytest.raises(ValueError, match=r"larger than `size`. Received: shape \(1197, 64\)"):
        kmeans.kmeans_features(x.reshape(-1, 64))
    with pytest.raises(ValueError, match="larger than `size`.*size=8"):
        kmeans.kmeans_features(x, size=8)
    with pytest.raises(ValueError, match="centroids must be .*from 1 to 10. Received: 11"):
        kmeans.kmeans_features(x, centroids=11, size=3, patches=10)
