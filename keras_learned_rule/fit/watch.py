"""Ends a fit when the guard inside the compiled step has refused a batch or an update."""

import keras

from keras_learned_rule.fit.guard import Guard
from keras_learned_rule.hints import Logs

# The step keeps bad numbers out by itself; the host only has to learn of it in time, and reading
# a variable makes it wait for the device.
_CHECK_EVERY = 16


class FailureWatch(keras.callbacks.Callback):
    """Asks a guard now and then, and at the end of every epoch, whether something went wrong.

    Args:
        guard: `Guard` of the binding in use; subclasses may set `guard` later, in
            `on_train_begin`. Defaults to `None`.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        super().__init__()
        self.guard = guard

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forgets failures of an earlier fit."""
        self.guard.reset()
        self._diverged = False
        self._checked = None

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Checks every few batches."""
        # With steps_per_execution the numbers of most batches are never seen here.
        if batch // _CHECK_EVERY != self._checked:
            self._checked = batch // _CHECK_EVERY
            self.check()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Checks once more."""
        self.check()

    def check(self) -> None:
        """Ends the fit if the weights would have become non-finite.

        Raises:
            ValueError: A batch was not fit for the rule.
        """
        if not self._diverged and self.guard.raise_on_failure():
            self._diverged = True
            self.model.stop_training = True
