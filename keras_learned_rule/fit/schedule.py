"""Where in its inner loop a fit stands, and how long that loop is."""

import warnings


class Schedule:
    """Sets the counters of a memory for one fit with `LearnedRule`.

    Args:
        spec: `RuleSpec` of the rule; the step size of the published one does not change.
        memory: `RuleMemory` with variables; what was restored from a backup is in it.
        total_steps: Number of steps of the whole loop, or None.
        params: What Keras tells callbacks of a fit: "steps" an epoch, or None, and "epochs".
    """

    def __init__(self, spec, memory, total_steps, params):
        self._falls = spec.merge != "published"
        self._memory = memory
        self._total_steps = total_steps
        self._steps, self._epochs = params["steps"], params["epochs"]
        self._open_end = False

    def begin(self, epoch):
        """Sets the counters at the beginning of the first epoch of the fit.

        Args:
            epoch: Its number, above 0 if an earlier fit is continued.

        Raises:
            ValueError: The length of the epochs before this one is not known.
        """
        restored, total = self._counter("steps_done"), self._planned_steps(epoch)
        done = restored or epoch * total // self._epochs
        if self._steps:
            done = epoch * self._steps
        self._set(done, total)
        self._first_epoch, self._first_step = epoch, done
        self._open_end = total == 0
        # Zero steps are known to be none; `FitWatch` warns of them.
        if self._open_end and self._falls and self._steps is None:
            _warn_or_refuse(epoch)

    def end_epoch(self, epoch):
        """Takes the first epoch of unknown length for the length of all."""
        if self._open_end:
            self._open_end = False
            done = self._counter("steps_done")
            per_epoch = (done - self._first_step) / (epoch + 1 - self._first_epoch)
            self._set(done, done + round(per_epoch * (self._epochs - epoch - 1)))

    def _planned_steps(self, epoch):
        if self._total_steps or self._steps:
            return self._total_steps or self._steps * self._epochs
        # A backup made at the end of the first epoch, before `end_epoch`, holds no total.
        restored = self._counter("steps_done")
        return self._counter("total_steps") or (epoch and restored * self._epochs // epoch)

    def _counter(self, name):
        return int(getattr(self._memory, name).numpy())

    def _set(self, done, total):
        self._memory.steps_done.assign(done)
        self._memory.total_steps.assign(total)


def _warn_or_refuse(epoch):
    if epoch > 0:
        raise ValueError(
            "A fit of unknown length that goes on at a later epoch needs total_steps (an argument "
            "of LearnedRule), or steps_per_epoch in fit, or a backup by BackupAndRestore, so that "
            f"the step size goes on where it was. Received: initial_epoch={epoch}, "
            "total_steps=None"
        )
    warnings.warn(
        "The number of steps of this fit is unknown, so the step size will fall only after the "
        "first epoch. Pass steps_per_epoch to fit or total_steps to LearnedRule.",
        stacklevel=2,
    )
