"""Early stopping of copies of a network that train side by side."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_learned_rule.hints import Logs


class BestWeights(keras.callbacks.Callback):
    """Ends a fit with the weights of each copy that had the least loss on its held-out examples.

    Looks after every batch that Keras reports, which is one of `steps_per_execution`.

    Args:
        rows: int32 `[examples, copies]`, inputs of the model: held-out examples of each copy.
        classes: int32 `[examples, copies]`, their classes.
        prepare: called before each look, to bring the statistics of batch norm up to date.
    """

    def __init__(
        self, rows: np.ndarray, classes: np.ndarray, prepare: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self._rows, self._classes, self._prepare = rows, classes, prepare

    def on_train_begin(self, logs: Logs = None) -> None:
        """Takes the present weights for the best so far."""
        # The table of examples is no weight of any copy.
        self._variables = [v for v in self.model.variables if v.path.split("/")[-1] != "table"]
        self._best = [v.numpy() for v in self._variables]
        self._least = np.full(self._rows.shape[1], np.inf)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Keeps the weights of the copies that got better."""
        self._prepare()
        scores = self.model(self._rows, training=False)
        losses = ops.sparse_categorical_crossentropy(self._classes, scores, from_logits=True)
        losses = np.mean(losses, axis=0)
        better = losses < self._least
        self._least = np.where(better, losses, self._least)
        for best, variable in zip(self._best, self._variables, strict=True):
            by_copy = best.reshape(len(better), -1)
            by_copy[better] = variable.numpy().reshape(by_copy.shape)[better]

    def on_train_end(self, logs: Logs = None) -> None:
        """Puts the best weights back."""
        for variable, value in zip(self._variables, self._best, strict=True):
            variable.assign(value)
