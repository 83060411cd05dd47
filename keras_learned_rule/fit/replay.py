"""Earlier examples of a fit, which fill small batches up."""

import math
import warnings

import keras
from keras import ops

from keras_learned_rule.fit import backends
from keras_learned_rule.model.draws import combined_seed, random_rows

# The examples of a step with which the compact rule is meta-trained.
REFERENCE_BATCH = 128
# Kept are the latest examples, as many as these limits allow (docs/design.md).
MOST_EXAMPLES = 8192
MOST_NUMBERS = 2**24  # Of float32: 64 MiB.
_FLOAT_BYTES = 4


def resolve_replay(replay, spec, model, inputs):
    """To how many examples the batches of a model are filled up.

    Args:
        replay: What `check_replay` accepts.
        spec: `RuleSpec` of the rule.
        model: The built model.
        inputs: Nested structure of the `keras.KerasTensor` that it is called with.

    Returns:
        An integer, 0 for never. "auto" is `REFERENCE_BATCH` for compact rules; it is 0 for the
        published rule, which was meta-trained without, for inputs of which as many examples are
        too large to keep, and where replay is not possible, which else is warned of.
    """
    replicas = backends.current().replicas(model)
    flat = keras.tree.flatten(inputs)
    shapes = [tuple(tensor.shape[1:]) for tensor in flat]
    possible = replicas == 1 and not any(None in shape for shape in shapes)
    if replay == "auto":
        fits = possible and REFERENCE_BATCH * _numbers(flat) <= MOST_NUMBERS
        return REFERENCE_BATCH if fits and spec.merge == "compact" else 0
    if replay and not possible:
        warnings.warn(
            f"replay={replay} has no effect with several replicas, or with inputs of unknown size. "
            f"Received: {replicas} replicas, inputs of shape {shapes}",
            stacklevel=3,
        )
    return replay if possible else 0


def kept_bytes(least, inputs):
    """Bytes of the examples that a `Replay` keeps."""
    flat = keras.tree.flatten(inputs)
    return _FLOAT_BYTES * _room(least, flat) * _numbers(flat) if least else 0


def _room(least, flat):
    return max(least, min(MOST_EXAMPLES, MOST_NUMBERS // max(_numbers(flat), 1)))


def _numbers(flat):
    """How many float32 numbers an example takes the room of."""
    sizes = [1 if _kept_dtype(tensor.dtype) == "float32" else 2 for tensor in flat]
    return sum(n * math.prod(tensor.shape[1:]) for n, tensor in zip(sizes, flat, strict=True))


def _kept_dtype(dtype):
    """TensorFlow on a GPU updates rows of float32 and int64 variables, not those of all dtypes."""
    return "float32" if keras.backend.is_float_dtype(dtype) else "int"


class Replay:
    """Fills batches up with examples of earlier ones (experience replay).

    A step of the rule is as good as its batch's statistics: correlations of units and their shares
    of wins are noise in a batch of 32. Examples seen before are as good as new ones to them.

    Args:
        least: Batches of fewer examples than this are filled up to it; 0 for never.
        inputs: Nested structure of the `keras.KerasTensor` that the model is called with.
        seed: Non-negative integer, of the draws.

    Example:
    ```python
    import keras
    from keras import ops

    from keras_learned_rule.fit.replay import Replay

    replay = Replay(least=8, inputs=keras.KerasTensor((None, 2)), seed=0)
    replay.keep(ops.ones((4, 2)), applied=True)
    assert replay.fill(ops.zeros((4, 2)), step=1).shape == (8, 2)
    ```
    """

    def __init__(self, least, inputs, seed):
        self._least = least
        self._seed = seed % 2**31
        self._inputs = inputs
        self._kept, self._counters = [], []
        if least:
            self._allocate()

    # Not in the first step: a step that makes variables is compiled twice.
    def _allocate(self):
        flat = keras.tree.flatten(self._inputs)
        self._room = _room(self._least, flat)
        self._kept = [
            _variable(f"replay_{i}", (self._room, *tensor.shape[1:]), _kept_dtype(tensor.dtype))
            for i, tensor in enumerate(flat)
        ]
        # How many are kept, and where the next one goes.
        self._counters = [_variable(f"replay_{name}", (), "int") for name in ("count", "next")]

    @property
    def variables(self):
        """All its variables."""
        return [*self._kept, *self._counters]

    def clear(self):
        """Forgets all examples."""
        for counter in self._counters:
            counter.assign(0)

    def fill(self, x, step):
        """Adds kept examples, drawn at random, to a small batch.

        Args:
            x: Tensors `[batch, ...]` in the structure of `inputs`.
            step: Scalar integer, which step this is; equal numbers draw equally.

        Returns:
            The same of at least `least` examples: x first, and as long as none is kept x over and
            over.
        """
        flat = keras.tree.flatten(x)
        # What is known when the step is compiled need not be looked at in it.
        if not self._least or (flat[0].shape[0] or 0) >= self._least:
            return x
        given, count = ops.shape(flat[0])[0], self._counters[0]
        missing = ops.arange(_at_least(0, self._least - given), dtype="int32")
        rows = random_rows(missing, ops.maximum(count, 1), combined_seed(self._seed, step))
        # An empty batch has nothing to be filled up with; it is not learned from, either.
        own_rows = missing % _at_least(1, given)
        filled = []
        for own, buffer in zip(self._in_shape(flat), self._kept, strict=True):
            source = ops.concatenate([own, ops.zeros((1, *buffer.shape[1:]), own.dtype)], axis=0)
            drawn = ops.cast(backends.current().rows(buffer, rows), own.dtype)
            more = ops.where(ops.greater(count, 0), drawn, ops.take(source, own_rows, axis=0))
            filled.append(ops.concatenate([own, more], axis=0))
        return keras.tree.pack_sequence_as(self._inputs, filled)

    def keep(self, x, applied):
        """Keeps the examples of a batch, in place of the oldest ones.

        Args:
            x: Tensors `[batch, ...]` in the structure of `inputs`, not filled up.
            applied: Scalar bool, whether the batch was used; if false nothing is kept.
        """
        if not self._least:
            return
        backend, (count, following) = backends.current(), self._counters
        flat = [own[: self._room] for own in self._in_shape(keras.tree.flatten(x))]
        given = ops.shape(flat[0])[0]
        rows = (following + ops.arange(given, dtype=count.dtype)) % self._room
        for own, buffer in zip(flat, self._kept, strict=True):
            values = ops.where(applied, ops.cast(own, buffer.dtype), backend.rows(buffer, rows))
            backend.put_rows(buffer, rows, values)
        used = ops.where(applied, ops.cast(given, count.dtype), 0)
        count.assign(ops.minimum(count + used, self._room))
        following.assign((following + used) % self._room)

    def _in_shape(self, flat):
        # A last axis of length 1 may be missing, or one too many; no example is cut in pieces.
        return [
            ops.reshape(own, (ops.shape(own)[0], *tensor.shape[1:]))
            for own, tensor in zip(flat, keras.tree.flatten(self._inputs), strict=True)
        ]


def _variable(name, shape, dtype):
    return keras.Variable("zeros", shape=shape, dtype=dtype, trainable=False, name=name)


def _at_least(least, number):
    """The larger of two integers, of which the second may be a tensor."""
    return max(least, number) if isinstance(number, int) else ops.maximum(least, number)
