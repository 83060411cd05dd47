"""Backprop on few labels from given weights, for networks of any kind."""

import keras
import numpy as np

from keras_learned_rule.baselines.supervised_learner import batch_rows
from keras_learned_rule.experiments.conv_networks import embedder
from keras_learned_rule.experiments.scores import rounded
from keras_learned_rule.fit.few_shot_splits import few_shot_splits
from keras_learned_rule.fit.readout import class_mean_accuracy

_STEPS_AT_ONCE = 25


class FineTuner:
    """A network with a softmax layer, trained by backprop on few labels again and again.

    Args:
        network: `keras.Model` from `[n, inputs]` to `[n, units]`; its weights are changed.
        classes: int.
        steps: int, Adam steps.
        batch: int, labelled examples of a step.
        learning_rate: float.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.fine_tuner import FineTuner
    from keras_learned_rule.experiments.networks import base_model

    network, x, y = base_model(3), np.repeat(np.eye(3), 20, axis=0), np.repeat([0, 1, 2], 20)
    tuner = FineTuner(network, classes=3, steps=50, batch=8, learning_rate=1e-2)
    scores = tuner.scores(network.get_weights(), x, x, y, seed=0, shots=(1, 5), splits=1)
    assert scores["softmax"]["5"] == 1.0
    ```
    """

    def __init__(self, network, classes, steps, batch, learning_rate):
        self._network, self._steps, self._batch = network, steps, batch
        self._head = keras.layers.Dense(classes, kernel_initializer="zeros")
        self._model = keras.Sequential([network, self._head])
        self._model.compile(
            keras.optimizers.Adam(learning_rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=_STEPS_AT_ONCE,
            jit_compile=False,  # Compiling takes longer than it saves.
        )
        self._model.optimizer.build(self._model.trainable_variables)
        variables = [*self._head.variables, *self._model.optimizer.variables]
        self._start = [(variable, variable.numpy()) for variable in variables]

    def scores(self, weights, x, x_test, y_test, seed, shots, splits):
        """Few-shot accuracies, on the first of the draws that `few_shot_scores` makes.

        Args:
            weights: what every training starts from, as `network.get_weights()` gives it.
            x: array `[n, inputs]`, unlabelled, for the statistics of batch norm in tests.
            x_test: array `[m, inputs]`, labelled examples are drawn from it, the others test.
            y_test: int `[m]`.
            seed: int, of draws and batches.
            shots: labels a class.
            splits: int, draws of labelled examples.

        Returns:
            `{"softmax": {shots: accuracy}}`, means over the draws.
        """
        classes = np.unique(y_test, return_inverse=True)[1]
        rng = np.random.default_rng(seed)
        found = {}
        for k in shots:
            accuracies = []
            for train, test in few_shot_splits(y_test, k, splits, seed):
                self._train(weights, x_test, classes, batch_rows(rng, train, *self._length))
                scores = self._head(embedder(self._network, x)(x_test[test])).numpy()
                accuracies.append(class_mean_accuracy(classes[test], scores.argmax(axis=-1)))
            found[str(k)] = rounded(np.mean(accuracies))
        return {"softmax": found}

    @property
    def _length(self):
        return self._steps, self._batch

    def _train(self, weights, x, classes, rows):
        # Putting the values back, rather than building anew, keeps the compiled step.
        self._network.set_weights(weights)
        for variable, value in self._start:
            variable.assign(value)
        self._model.fit(x[rows], classes[rows], self._batch, shuffle=False, verbose=0)
