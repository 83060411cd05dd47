"""Earlier examples of a fit, which fill small batches up."""

import math
import warnings

import keras

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
    replicas = model.distribute_strategy.num_replicas_in_sync
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
    sizes = [2 if _kept_dtype(tensor.dtype) == "int64" else 1 for tensor in flat]
    return sum(n * math.prod(tensor.shape[1:]) for n, tensor in zip(sizes, flat, strict=True))


def _kept_dtype(dtype):
    """A GPU updates rows of float32 and int64 variables, not those of all dtypes."""
    return "float32" if keras.backend.is_float_dtype(dtype) else "int64"


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
    import tensorflow as tf

    from keras_learned_rule.fit.replay import Replay

    replay = Replay(least=8, inputs=keras.KerasTensor((None, 2)), seed=0)
    replay.keep(tf.ones((4, 2)), applied=True)
    assert replay.fill(tf.zeros((4, 2)), step=1).shape == (8, 2)
    ```
    """

    def __init__(self, least, inputs, seed):
        self._least = least
        self._seed = seed % 2**63
        self._inputs = inputs
        if least:
            self._allocate()

    # Not in the first step: a step that makes variables is compiled twice.
    def _allocate(self):
        import tensorflow as tf

        flat = keras.tree.flatten(self._inputs)
        self._room = _room(self._least, flat)
        self._kept = [
            tf.Variable(
                tf.zeros((self._room, *tensor.shape[1:]), _kept_dtype(tensor.dtype)),
                trainable=False,
                name=f"replay_{i}",
            )
            for i, tensor in enumerate(flat)
        ]
        # How many were ever kept.
        self._seen = tf.Variable(tf.zeros((), "int64"), trainable=False, name="replay_seen")

    def clear(self):
        """Forgets all examples."""
        if self._least:
            self._seen.assign(0)

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
        import tensorflow as tf

        given = tf.shape(flat[0], "int64")[0]
        missing = tf.maximum(self._least - given, 0)
        seed = tf.stack([tf.constant(self._seed, "int64"), tf.cast(step, "int64")])
        kept = tf.minimum(self._seen, self._room)
        rows = tf.random.stateless_uniform([missing], seed, 0, tf.maximum(kept, 1), "int64")
        # An empty batch has nothing to be filled up with; it is not learned from, either.
        own_rows = tf.range(missing) % tf.maximum(given, 1)
        filled = []
        for own, buffer in zip(self._in_shape(flat), self._kept, strict=True):
            source = tf.concat([own, tf.zeros((1, *buffer.shape[1:]), own.dtype)], axis=0)
            drawn = tf.cast(tf.gather(buffer, rows), own.dtype)
            more = tf.where(kept > 0, drawn, tf.gather(source, own_rows))
            filled.append(tf.concat([own, more], axis=0))
        return keras.tree.pack_sequence_as(self._inputs, filled)

    def keep(self, x, applied):
        """Keeps the examples of a batch, in place of the oldest ones.

        Args:
            x: Tensors `[batch, ...]` in the structure of `inputs`, not filled up.
            applied: Scalar bool, whether the batch was used; if false nothing is kept.
        """
        if not self._least:
            return
        import tensorflow as tf

        flat = [own[: self._room] for own in self._in_shape(keras.tree.flatten(x))]
        count = tf.shape(flat[0], "int64")[0]
        rows = (self._seen + tf.range(count)) % self._room
        for own, buffer in zip(flat, self._kept, strict=True):
            values = tf.where(applied, tf.cast(own, buffer.dtype), tf.gather(buffer, rows))
            buffer.scatter_update(tf.IndexedSlices(values, rows))
        self._seen.assign_add(tf.where(applied, count, tf.zeros_like(count)))

    def _in_shape(self, flat):
        # A last axis of length 1 may be missing, or one too many; no example is cut in pieces.
        import tensorflow as tf

        return [
            tf.reshape(own, tf.concat([tf.shape(own)[:1], tensor.shape[1:]], axis=0))
            for own, tensor in zip(flat, keras.tree.flatten(self._inputs), strict=True)
        ]
