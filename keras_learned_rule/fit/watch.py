"""Ends a fit that has failed, and keeps one going that another callback has interfered with."""

import warnings

from keras_learned_rule.fit import backends
from keras_learned_rule.fit.unfitted_copies import UnfittedCopies
from keras_learned_rule.hints import Logs

# The step keeps bad numbers out by itself; the host only has to learn of it in time, and reading
# a variable makes it wait for the device.
_CHECK_EVERY = 16


class FitWatch(UnfittedCopies):
    """Looks after a fit with the rule from its first batch to its last.

    Subclasses set `guard`, the `Guard` of the binding in use, before `on_train_begin` here.
    """

    of_a_fit = ("guard", "_diverged", "_checked", "_per_execution")

    def __init__(self) -> None:
        super().__init__()
        self.guard = None

    def go_on(self) -> None:
        """Makes sure that the next batch trains by the rule, with the layers that are to learn."""
        raise NotImplementedError

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forgets failures of an earlier fit; all processes must plan for as many steps."""
        backends.current().check_processes("steps an epoch", self.params["steps"] or 0)
        self.guard.reset()
        self._diverged = False
        self._checked = None
        self._per_execution = self.model.steps_per_execution

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Goes on by the rule where another callback has compiled the model or frozen layers.

        Raises:
            ValueError: The model has been compiled with other `steps_per_execution`.
        """
        received = self.model.steps_per_execution
        if received != self._per_execution:
            raise ValueError(
                "steps_per_execution must stay the same in a fit: compile with "
                f"steps_per_execution={self._per_execution}. "
                f"Received: steps_per_execution={received}"
            )
        self.go_on()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Checks every few batches."""
        # With steps_per_execution the numbers of most batches are never seen here.
        if batch // _CHECK_EVERY != self._checked:
            self._checked = batch // _CHECK_EVERY
            self.check()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Checks once more."""
        self.check()

    def on_train_end(self, logs: Logs = None) -> None:
        """Warns if there was nothing to learn from."""
        if self.guard.idle():
            warnings.warn(
                "Nothing was learned: the fit made no step. Received: x without a batch of at "
                "least 2 examples",
                stacklevel=2,
            )

    def check(self) -> None:
        """Ends the fit if the weights would have become non-finite.

        Raises:
            ValueError: A batch was not fit for the rule.
        """
        if not self._diverged and self.guard.raise_on_failure():
            self._diverged = True
            self.model.stop_training = True
