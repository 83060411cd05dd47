"""Earlier examples of a fit, which fill small batches up."""

import math
import warnings

# The examples of a step with which the compact rule is meta-trained.
REFERENCE_BATCH = 128
# Kept are the latest examples, as many as these limits allow (docs/design.md).
MOST_EXAMPLES = 8192
MOST_NUMBERS = 2**24  # 64 MiB.


def resolve_replay(replay, spec, model):
    """To how many examples the batches of a model are filled up.

    Args:
        replay: What `check_replay` accepts.
        spec: `RuleSpec` of the rule.
        model: The built model.

    Returns:
        An integer, 0 for never. "auto" is `REFERENCE_BATCH` for compact rules; it is 0 for the
        published rule, which was meta-trained without, for inputs of which as many examples are
        too large to keep, and where replay is not possible, which else is warned of.
    """
    replicas = model.distribute_strategy.num_replicas_in_sync
    shape = model.inputs[0].shape[1:]
    possible = replicas == 1 and None not in shape
    if replay == "auto":
        fits = possible and REFERENCE_BATCH * math.prod(shape) <= MOST_NUMBERS
        return REFERENCE_BATCH if fits and spec.merge == "compact" else 0
    if replay and not possible:
        warnings.warn(
            f"replay={replay} has no effect with several replicas, or with inputs of unknown size. "
            f"Received: {replicas} replicas, inputs of shape {tuple(shape)}",
            stacklevel=3,
        )
    return replay if possible else 0


class Replay:
    """Fills batches up with examples of earlier ones (experience replay).

    A step of the rule is as good as its batch's statistics: correlations of units and their shares
    of wins are noise in a batch of 32. Examples seen before are as good as new ones to them.

    Args:
        least: Batches of fewer examples than this are filled up to it; 0 for never.
        input_shape: The model's input shape `[batch, ...]`.
        seed: Non-negative integer, of the draws.

    Example:
    ```python
    import tensorflow as tf

    from keras_learned_rule.fit.replay import Replay

    replay = Replay(least=8, input_shape=(None, 2), seed=0)
    replay.keep(tf.ones((4, 2)), applied=True)
    assert replay.fill(tf.zeros((4, 2)), step=1).shape == (8, 2)
    ```
    """

    def __init__(self, least, input_shape, seed):
        self._least = least
        self._seed = seed % 2**63
        self._shape = tuple(input_shape[1:])
        if least:
            self._allocate()

    # Not in the first step: a step that makes variables is compiled twice.
    def _allocate(self):
        import tensorflow as tf

        room = min(MOST_EXAMPLES, MOST_NUMBERS // math.prod(self._shape))
        self._room = max(self._least, room)
        zeros = tf.zeros((self._room, *self._shape))
        self._examples = tf.Variable(zeros, trainable=False, name="replay")
        # How many were ever kept; int64, since a GPU has no variables of int32.
        self._seen = tf.Variable(tf.zeros((), "int64"), trainable=False, name="replay_seen")

    def clear(self):
        """Forgets all examples."""
        if self._least:
            self._seen.assign(0)

    def fill(self, x, step):
        """Adds kept examples, drawn at random, to a small batch.

        Args:
            x: float32 tensor `[batch, ...]`.
            step: Scalar integer, which step this is; equal numbers draw equally.

        Returns:
            A float32 tensor of at least `least` examples: x first, and as long as none is kept x
            over and over.
        """
        # What is known when the step is compiled need not be looked at in it.
        if not self._least or (x.shape[0] or 0) >= self._least:
            return x
        import tensorflow as tf

        x = self._in_shape(x)
        given = tf.shape(x, "int64")[0]
        missing = tf.maximum(self._least - given, 0)
        seed = tf.stack([tf.constant(self._seed, "int64"), tf.cast(step, "int64")])
        kept = tf.minimum(self._seen, self._room)
        rows = tf.random.stateless_uniform([missing], seed, 0, tf.maximum(kept, 1), "int64")
        earlier = tf.gather(self._examples, rows)
        # An empty batch has nothing to be filled up with; it is not learned from, either.
        source = tf.concat([x, tf.zeros_like(self._examples[:1])], axis=0)
        own = tf.gather(source, tf.range(missing) % tf.maximum(given, 1))
        return tf.concat([x, tf.where(kept > 0, earlier, own)], axis=0)

    def keep(self, x, applied):
        """Keeps the examples of a batch, in place of the oldest ones.

        Args:
            x: float32 tensor `[batch, ...]`, not filled up.
            applied: Scalar bool, whether the batch was used; if false nothing is kept.
        """
        if not self._least:
            return
        import tensorflow as tf

        x = self._in_shape(x)[: self._room]
        count = tf.shape(x, "int64")[0]
        rows = (self._seen + tf.range(count)) % self._room
        values = tf.where(applied, x, tf.gather(self._examples, rows))
        self._examples.scatter_update(tf.IndexedSlices(values, rows))
        self._seen.assign_add(tf.where(applied, count, tf.zeros_like(count)))

    def _in_shape(self, x):
        # A last axis of length 1 may be missing, or one too many; no example is cut in pieces.
        import tensorflow as tf

        return tf.reshape(x, tf.concat([tf.shape(x)[:1], self._shape], axis=0))
