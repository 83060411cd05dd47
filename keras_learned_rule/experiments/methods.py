"""The methods that are compared.

Each sets itself up for a `TaskSource` and returns a function from a seed to few-shot accuracies, as
`Group.prepare` does; `options` are the `shots` and `splits` of `few_shot_scores`.
"""

import functools
import itertools
import time

import keras
import numpy as np

from keras_learned_rule.baselines.pca import pca_features
from keras_learned_rule.baselines.supervised_learner import SupervisedLearner
from keras_learned_rule.baselines.vae import VariationalAutoencoder
from keras_learned_rule.experiments.networks import (
    Loop,
    RuleTrainer,
    base_model,
    calibrate,
    features,
)
from keras_learned_rule.experiments.scores import accuracy, few_shot_scores, rounded

# Unlabelled examples kept from the VAE, to measure its ELBO on.
VAE_HELD_OUT = 500
EMBEDDING = 32


def random_network(source, network, **options):
    """The network as initialised.

    Args:
        source: `TaskSource`.
        network: dict, what differs from the base model: arguments of `base_model`.
        **options: of `few_shot_scores`.

    Returns:
        A function from a seed to the dict of `few_shot_scores`.

    Example:
    ```python
    from keras_learned_rule.experiments.methods import random_network
    from keras_learned_rule.experiments.tasks import TaskSource

    scores = random_network(TaskSource("digits8"), {}, shots=(5,), splits=2)(0)
    assert 0.1 < scores["ridge"]["5"] < 0.8
    ```
    """

    def compute(seed):
        task = source.task(seed)
        fresh = base_model(source.inputs, seed=seed, **network)
        embedded = features(fresh, task.x, task.x_test)
        return few_shot_scores(embedded, task.y_test, seed, **options)

    return compute


def rule_trained(source, network, rule, steps, batch, **options):
    """The network after an inner loop of an update rule.

    Args:
        source: `TaskSource`.
        network: see `random_network`.
        rule: `UpdateRule`.
        steps: int, inner steps.
        batch: int, examples of a step.
        **options: of `few_shot_scores`.

    Returns:
        A function from a seed to the dict of `few_shot_scores`.
    """
    trainer = RuleTrainer(rule, source.inputs, batch=batch, **network)

    def compute(seed):
        task = source.task(seed)
        trainer.restart(seed, steps)
        trainer.train(task.x, 0, steps)
        embedded = features(trainer.network, task.x, task.x_test)
        return few_shot_scores(embedded, task.y_test, seed, **options)

    return compute


def pca(source, **options):
    """The first 32 principal components of the unlabelled data; see `random_network`."""

    def compute(seed):
        task = source.task(seed)
        embedded = pca_features(task.x, EMBEDDING)(task.x_test)
        return few_shot_scores(embedded, task.y_test, seed, **options)

    return compute


def raw_inputs(source, **options):
    """The inputs themselves; see `random_network`."""

    def compute(seed):
        task = source.task(seed)
        return few_shot_scores(task.x_test, task.y_test, seed, **options)

    return compute


def supervised(source, network, steps, batch_size, learning_rate, early_stopping, shots, splits):
    """The network trained by backprop on the labelled examples alone.

    Args:
        source: `TaskSource`.
        network: see `random_network`.
        steps, batch_size, learning_rate, early_stopping: see `supervised_accuracy`.
        shots: labels a class, for each of which `splits` networks are trained.
        splits: int.

    Returns:
        A function from a seed to `{"softmax": {shots: accuracy}}`; with early stopping there is no
        entry for a single label a class.
    """
    task = source.task(0)
    start = base_model(source.inputs, **network)
    learner = SupervisedLearner(
        start, task.x_test, len(np.unique(task.y_test)), splits, learning_rate
    )
    possible = [k for k in shots if k > 1 or not early_stopping]

    def compute(seed):
        task = source.task(seed)
        start = base_model(source.inputs, seed=seed, **network)
        run = functools.partial(
            learner.accuracy,
            start,
            task.x_test,
            task.y_test,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            early_stopping=early_stopping,
        )
        return {"softmax": {str(k): rounded(run(shots=k).mean) for k in possible}}

    return compute


class VaeTrainer:
    """A VAE of the network, measured along the way.

    Args:
        source: `TaskSource`.
        batch: int. Defaults to `128`.
        **network: what differs from the base model, arguments of `base_model`.

    Attributes:
        encoder: the network.
        vae: `VariationalAutoencoder` around it.
        seconds: float, spent on training steps since the network was last begun afresh.
    """

    def __init__(self, source, batch=128, **network):
        self._source = source
        self._fresh = functools.partial(base_model, source.inputs, **network)
        self.encoder = self._fresh()
        self.vae = VariationalAutoencoder(self.encoder)
        self.vae.compile(keras.optimizers.Adam(1e-3))
        self.vae.optimizer.build(self.vae.trainable_variables)
        self._start = [(v, v.numpy()) for v in self.vae.optimizer.variables]
        self._loop = Loop(self.vae.train_step, batch)

    def marks(self, seed, marks):
        """Trains afresh and stops at each of `marks`, numbers of steps.

        Yields:
            (steps done, ELBO on unlabelled examples it does not learn from, features of the test
            examples).
        """
        task = self._source.task(seed)
        learned, held_out = task.x[:-VAE_HELD_OUT], task.x[-VAE_HELD_OUT:]
        self._restart(seed)
        for first, last in itertools.pairwise((0, *marks)):
            begun = time.perf_counter()
            self._loop(learned, first, last, seed)
            self.seconds += time.perf_counter() - begun
            calibrate(functools.partial(self.vae.elbo, training=True), self.vae, learned)
            elbo = float(keras.ops.mean(self.vae.elbo(held_out)))
            yield last, elbo, np.asarray(self.encoder(task.x_test, training=False))

    def _restart(self, seed):
        self.seconds = 0.0
        self.encoder.set_weights(self._fresh(seed=seed).get_weights())
        draw = keras.initializers.GlorotUniform(seed=seed)
        for layer in (self.vae.posterior_head, *self.vae.decoder.layers):
            if isinstance(layer, keras.layers.Dense):
                layer.kernel.assign(draw(layer.kernel.shape))
                layer.bias.assign(keras.ops.zeros_like(layer.bias))
            elif isinstance(layer, keras.layers.BatchNormalization):
                layer.gamma.assign(keras.ops.ones_like(layer.gamma))
                layer.beta.assign(keras.ops.zeros_like(layer.beta))
        for variable, value in self._start:
            variable.assign(value)


def vae(source, network, steps, marks, batch, **options):
    """A VAE at the mark with the best ELBO and at that with the best few-shot accuracy.

    Args:
        source: `TaskSource`.
        network: see `random_network`.
        steps: int.
        marks: int, how often it is measured, at equal distances.
        batch: int, examples of a step.
        **options: of `few_shot_scores`.

    Returns:
        A function from a seed to a dict: "best_elbo" and "best_few_shot", as `few_shot_scores`
        returns them, the steps at which these were, and "marks", a list of steps, ELBO and 10-shot
        accuracy.
    """
    trainer = VaeTrainer(source, batch, **network)
    stops = [steps * (i + 1) // marks for i in range(marks)]

    def compute(seed):
        y = source.task(seed).y_test
        seen = [
            (step, elbo, accuracy(embedded, y, seed, splits=options["splits"]), embedded)
            for step, elbo, embedded in trainer.marks(seed, stops)
        ]
        by_elbo, by_labels = max(seen, key=lambda s: s[1]), max(seen, key=lambda s: s[2])
        return {
            "best_elbo": few_shot_scores(by_elbo[3], y, seed, **options),
            "best_few_shot": few_shot_scores(by_labels[3], y, seed, **options),
            "best_elbo_step": by_elbo[0],
            "best_few_shot_step": by_labels[0],
            "marks": [[step, rounded(elbo, 2), score] for step, elbo, score, _ in seen],
        }

    return compute
