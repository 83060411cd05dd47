"""What makes features of images, for `conv` and `fine_tune`.

Each sets itself up for a `TaskSource` and returns a function of a seed. Those of weights, in
`STARTS`, return a trained `keras.Model`.
"""

import functools

import numpy as np

from keras_learned_rule.baselines.kmeans import kmeans_features, kmeans_filters
from keras_learned_rule.baselines.softhebb import SoftHebb
from keras_learned_rule.experiments.conv_networks import (
    NETWORKS,
    conv_network,
    embedder,
    of_all_layers,
)
from keras_learned_rule.experiments.fine_tuner import FineTuner
from keras_learned_rule.experiments.networks import Loop, NetworkTrainer


def random_weights(source, network):
    """A convolutional network as initialised.

    Args:
        source: `TaskSource` of images.
        network: name for `conv_network`.

    Returns:
        A function from a seed to a `keras.Model`.

    Example:
    ```python
    from keras_learned_rule.experiments.conv_methods import random_weights
    from keras_learned_rule.experiments.tasks import TaskSource

    assert random_weights(TaskSource("digits8"), "c1")(0).output_shape == (None, 512)
    ```
    """
    model = conv_network(source.shape, network)

    def trained(seed):
        model.set_weights(conv_network(source.shape, network, seed).get_weights())
        return model

    return trained


def rule_trained(source, network, rule, steps, batch, examples):
    """The network after an inner loop of an update rule; see `random_weights`.

    Args:
        source, network: see `random_weights`.
        rule: `UpdateRule`.
        steps: int, inner steps.
        batch: int, images of a step.
        examples: see `LearnedRule`.

    Returns:
        A function from a seed to a `keras.Model`.
    """
    fresh = functools.partial(conv_network, source.shape, network)
    trainer = NetworkTrainer(rule, fresh, batch, examples=examples)

    def trained(seed):
        trainer.restart(seed, steps)
        trainer.train(source.task(seed).x, 0, steps)
        return trainer.network

    return trained


def softhebb_trained(source, network, steps, batch):
    """The network after steps of `SoftHebb`; see `rule_trained`."""
    initial = random_weights(source, network)
    rule = SoftHebb(initial(0))
    loop = Loop(rule, batch)

    def trained(seed):
        model = initial(seed)
        rule.restart()
        loop(source.task(seed).x, 0, steps, seed)
        return model

    return trained


def kmeans_filtered(source, network):
    """The initial network, with `kmeans_filters` in its first layer; see `random_weights`.

    Each filter has the norm of the one that it replaces: behind batch norm it changes no feature,
    but the step size of backprop.
    """
    initial = random_weights(source, network)
    filters, size = NETWORKS[network][0]

    def trained(seed):
        model = initial(seed)
        first = next(layer for layer in model.layers if hasattr(layer, "kernel"))
        norms = np.linalg.norm(first.kernel.numpy().reshape(-1, filters), axis=0)
        images = source.task(seed).x.reshape(-1, *source.shape)
        first.kernel.assign(norms * kmeans_filters(images, filters, size, seed=seed))
        return model

    return trained


def of_weights(trained, source):
    """Features of all layers of a trained network, see `of_all_layers`.

    Args:
        trained: function from a seed to a `keras.Model`.
        source: `TaskSource`.

    Returns:
        A function from a seed to a function from inputs to features.
    """
    return lambda seed: embedder(of_all_layers(trained(seed)), source.task(seed).x)


def of_kmeans(source, centroids):
    """Features of `kmeans_features`; see `of_weights`."""

    def images(x):
        return x.reshape(-1, *source.shape)

    def embedding(seed):
        # Images of less than 12 pixels have no room for patches of the usual size.
        size = min(6, source.shape[0] // 2)
        features = kmeans_features(images(source.task(seed).x), centroids, size, seed=seed)
        return lambda x: features(images(x))

    return embedding


def fine_tuned(trained, source, network, few_shot_tests, shots, splits, **options):
    """Backprop on few labels from the weights of a trained network.

    Args:
        trained: function from a seed to a `keras.Model`.
        source, network: see `random_weights`.
        few_shot_tests: int, how many of the first test examples are used.
        shots: labels a class.
        splits: int, draws of labelled examples.
        **options: `steps`, `batch` and `learning_rate` of `FineTuner`.

    Returns:
        A function from a seed to the scores of `FineTuner`.
    """
    classes = len(np.unique(source.task(0).y_test))
    tuner = FineTuner(conv_network(source.shape, network), classes, **options)

    def compute(seed):
        task = source.task(seed)
        weights = trained(seed).get_weights()
        examples = task.x, task.x_test[:few_shot_tests], task.y_test[:few_shot_tests]
        return tuner.scores(weights, *examples, seed, shots, splits)

    return compute
