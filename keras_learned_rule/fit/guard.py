"""Keeps non-finite numbers out of the weights, inside the compiled step."""

import warnings

import keras
from keras import ops

from keras_learned_rule.fit.variables import assign_if

# Of a single example there are no batch statistics.
MINIMUM_BATCH = 2
_FINE, _BAD_BATCH, _SMALL_BATCH, _UNEVEN_BATCH, _DIVERGED, _NEVER_FINITE = range(6)


class Guard:
    """Decides in the graph whether an update is applied, and remembers the first failure.

    XLA drops assertions, and raising inside the step would leave half-written weights; so a step
    that must not happen is turned into none, as are all later ones, and the host asks for the
    reason when it has time.
    """

    def __init__(self):
        self._failure = keras.Variable(_FINE, dtype="int", trainable=False, name="failure")
        self._failed_step = keras.Variable(0, dtype="int", trainable=False, name="failed_step")
        self._updates = keras.Variable(0, dtype="int", trainable=False, name="updates")

    @property
    def variables(self):
        """All its variables."""
        return [self._failure, self._failed_step, self._updates]

    def reset(self):
        """Forgets failures, at the beginning of a fit."""
        self._failure.assign(_FINE)
        self._updates.assign(0)

    def admit(self, even, enough, clean_batch, finite_update, step):
        """Records the outcome of one step.

        Args:
            even: Scalar bool tensor, whether all inputs have as many examples.
            enough: Likewise, whether the batch has enough examples.
            clean_batch: Likewise, whether all its values are finite.
            finite_update: Likewise, whether all new weights are finite.
            step: Scalar int, which step this is, for the message.

        Returns:
            Scalar bool tensor, whether the update may be applied.
        """
        first = ops.equal(self._updates, 0)
        diverged = ops.where(first, _NEVER_FINITE, _DIVERGED)
        outcome = ops.where(
            enough,
            ops.where(clean_batch, ops.where(finite_update, _FINE, diverged), _BAD_BATCH),
            # Later on a single example is what is left over at the end of an epoch.
            ops.where(first, _SMALL_BATCH, _FINE),
        )
        outcome = ops.where(even, outcome, _UNEVEN_BATCH)
        healthy = self.healthy()
        assign_if(healthy, self._failed_step, step)
        assign_if(healthy, self._failure, outcome)
        applied = ops.logical_and(self.healthy(), enough)
        self._updates.assign_add(ops.cast(applied, self._updates.dtype))
        return applied

    def healthy(self):
        """Scalar bool tensor, whether nothing has failed so far."""
        return ops.equal(self._failure, _FINE)

    def idle(self):
        """Whether no update has been applied and none has failed; not for compiled steps."""
        return int(self._updates.numpy()) == 0 and int(self._failure.numpy()) == _FINE

    def raise_on_failure(self):
        """Says what went wrong so far.

        Returns:
            True if the weights became non-finite; a RuntimeWarning has then been given.

        Raises:
            ValueError: A batch of `x` was not fit for the rule, or already the first update was
                not finite.
        """
        failure = int(self._failure.numpy())
        step = int(self._failed_step.numpy())
        if failure == _BAD_BATCH:
            raise ValueError(
                "x must be finite; the weights were left as they were before this batch. "
                f"Received: a batch with NaN or infinite values in step {step} of the fit"
            )
        if failure == _SMALL_BATCH:
            raise ValueError(
                "The rule learns from the statistics of a batch, which must hold at least 2 "
                f"examples. Received: a batch of 1 example or none in step {step} of the fit"
            )
        if failure == _UNEVEN_BATCH:
            raise ValueError(
                "All inputs must have as many examples. "
                f"Received: inputs of different batch sizes in step {step} of the fit"
            )
        if failure == _NEVER_FINITE:
            raise ValueError(
                "The first update is not finite, so nothing can be learned. The values of x or the "
                "weights are too large: scale x, or initialise the model anew. "
                f"Received: a non-finite update in step {step} of the fit"
            )
        if failure == _DIVERGED:
            warnings.warn(
                f"The weights would have become non-finite in step {step} of the fit. Learning "
                "has stopped with the last finite weights.",
                RuntimeWarning,
                stacklevel=2,
            )
        return failure == _DIVERGED
