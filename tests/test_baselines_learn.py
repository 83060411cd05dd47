"""Every baseline learns: on scikit-learn's digits, and on MNIST where it is on this machine."""

import os

import keras
import numpy as np
import pytest

from keras_learned_rule import LearnedRule, few_shot_accuracy
from keras_learned_rule.baselines.fixed_rule import fixed_rule
from keras_learned_rule.baselines.pca import pca_features
from keras_learned_rule.baselines.prototypical import PrototypicalNetwork
from keras_learned_rule.baselines.supervised import supervised_accuracy
from keras_learned_rule.baselines.vae import VariationalAutoencoder
from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.data.splits import image_arrays
from keras_learned_rule.experiments.networks import base_model, features


@pytest.fixture(scope="module")
def digits():
    return digits_split()


@pytest.fixture(scope="module")
def mnist():
    if "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("TFDS_DATA_DIR names no folder of data sets")
    data = image_arrays("mnist", 14)
    return data._replace(x_test=data.x_test[:2000], y_test=data.y_test[:2000])


def few_shot(model, x, x_test, y_test):
    embedded = features(model, x, x_test)
    return few_shot_accuracy(None, embedded, y_test, penalty="chosen").mean


def vae_of(encoder):
    pytest.importorskip("tensorflow_probability")
    vae = VariationalAutoencoder(encoder)
    vae.compile(keras.optimizers.Adam(1e-3), steps_per_execution=50)
    return vae


@pytest.mark.slow
def test_vae_learns_digits(digits):
    x, _, x_test, y_test = digits
    encoder = base_model(64)
    before = few_shot(encoder, x, x_test, y_test)
    vae = vae_of(encoder)
    history = vae.fit(x, batch_size=128, epochs=40, validation_data=(x_test,), verbose=0).history
    assert history["val_loss"][-1] < history["val_loss"][4] < history["val_loss"][0]
    assert few_shot(encoder, x, x_test, y_test) > before + 0.15
    error = np.square(vae.predict(x_test, verbose=0) - x_test).mean()
    assert error < 0.6 * np.square(x.mean(axis=0) - x_test).mean()


@pytest.mark.slow
def test_the_elbo_is_that_of_its_definition(digits):
    x = digits[2][:50]
    vae = vae_of(base_model(64, widths=(16, 8)))
    posterior = vae.posterior(x)
    mean, deviation = posterior.mean().numpy(), posterior.stddev().numpy()
    divergence = (0.5 * (mean**2 + deviation**2 - 1) - np.log(deviation)).sum(axis=1)
    rng = np.random.default_rng(0)
    likelihoods = []
    for _ in range(200):
        latent = (mean + deviation * rng.normal(size=mean.shape)).astype("float32")
        share = 1 / (1 + np.exp(-vae.decoder(latent).numpy().astype("float64")))
        likelihoods.append((x * np.log(share) + (1 - x) * np.log(1 - share)).sum(axis=1))
    expected = np.mean(likelihoods, axis=0) - divergence
    # As array and as tensor: TensorFlow Probability treats them differently.
    for data in (x, keras.ops.convert_to_tensor(x)):
        ours = np.mean([vae.elbo(data).numpy() for _ in range(200)], axis=0)
        np.testing.assert_allclose(ours, expected, atol=0.5)


def test_vae_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_probability", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_learned_rule\[experiments\]'"):
        VariationalAutoencoder(base_model(4, widths=(3,)))


def episodes(x, y, count, rng):
    """[count, 4 classes, 10 examples, 64] of the first or last classes of the digits."""
    labels = np.unique(y)
    drawn = [rng.choice(labels, 4, replace=False) for _ in range(count)]
    rows = [[rng.choice(np.flatnonzero(y == c), 10, replace=False) for c in d] for d in drawn]
    return x[np.array(rows)]


@pytest.mark.slow
def test_prototypical_network_learns_to_tell_new_classes_apart(digits):
    x, y, x_test, y_test = digits
    rng = np.random.default_rng(0)
    network = PrototypicalNetwork(base_model(64, widths=(64, 32)), shots=5)
    network.compile(keras.optimizers.Adam(1e-3))
    unseen = episodes(x_test[y_test > 5], y_test[y_test > 5], 50, rng)
    before = network.evaluate(unseen, batch_size=10, verbose=0, return_dict=True)
    training = episodes(x[y <= 5], y[y <= 5], 150, rng)
    network.fit(training, batch_size=1, epochs=2, verbose=0)
    after = network.evaluate(unseen, batch_size=10, verbose=0, return_dict=True)
    assert after["accuracy"] > 0.75
    assert after["loss"] < before["loss"]


def test_prototypical_scores_are_minus_squared_distances_to_class_means():
    encoder = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    network = PrototypicalNetwork(encoder, shots=2)
    support = [[[0.0, 0.0], [2.0, 0.0], [1.0, 1.0]], [[5.0, 5.0], [5.0, 7.0], [5.0, 6.0]]]
    scores = network(np.array([support], "float32")).numpy()
    assert scores.shape == (1, 2, 1, 2)
    np.testing.assert_allclose(scores[0, :, 0], [[-1.0, -41.0], [-52.0, 0.0]])
    with pytest.raises(ValueError, match="shots must be an integer of at least 1. Received: 0"):
        PrototypicalNetwork(encoder, shots=0)


@pytest.mark.slow
def test_fixed_rule_learns_digits(digits):
    x, _, x_test, y_test = digits
    model = base_model(64)
    before = few_shot(model, x, x_test, y_test)
    model.compile()
    model.fit(x, batch_size=128, epochs=15, callbacks=[LearnedRule(fixed_rule())], verbose=0)
    assert few_shot(model, x, x_test, y_test) > before + 0.3


@pytest.mark.parametrize("argument, value", [("temperature", 0.0), ("step", 0.0), ("step", 0.3)])
def test_fixed_rule_refuses_what_is_out_of_range(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be .*Received: {value}"):
        fixed_rule(**{argument: value})


@pytest.mark.slow
def test_vae_on_mnist(mnist):
    encoder = base_model(196)
    vae_of(encoder).fit(mnist.x_train, batch_size=128, epochs=22, verbose=0)  # 10,318 steps
    assert few_shot(encoder, mnist.x_train, mnist.x_test, mnist.y_test) >= 0.72


@pytest.mark.slow
def test_supervised_on_mnist(mnist):
    result = supervised_accuracy(base_model(196), mnist.x_test, mnist.y_test)
    assert result.mean >= 0.58


def test_pca_on_mnist(mnist):
    result = few_shot_accuracy(pca_features(mnist.x_train), mnist.x_test, mnist.y_test)
    assert result.mean >= 0.65
