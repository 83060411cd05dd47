"""What replicas of `tf.distribute` have to agree on; without it, nothing is done."""

import keras
from keras import ops


def mean_over_replicas(tensors, counts):
    """Averages tensors over the replicas that have enough examples.

    The rule works with batch statistics, so the mean of the replicas' updates is not exactly the
    update of the global batch; it is the same on every replica.

    Args:
        tensors: Nested structure of float tensors.
        counts: Scalar bool tensor, whether this replica takes part.

    Returns:
        The structure of `tensors`; unchanged with a single replica.
    """
    context = _context()
    if context.num_replicas_in_sync == 1:
        return tensors
    weight = ops.cast(counts, "float32")
    total = ops.maximum(_sum(context, weight), 1.0)
    return keras.tree.map_structure(
        lambda t: _sum(context, ops.where(counts, t, ops.zeros_like(t))) / total, tensors
    )


def any_replica(flag):
    """Whether the scalar bool tensor `flag` is true on any replica."""
    context = _context()
    if context.num_replicas_in_sync == 1:
        return flag
    return _sum(context, ops.cast(flag, "float32")) > 0.0


def _context():
    import tensorflow as tf

    return tf.distribute.get_replica_context()


def _sum(context, tensor):
    return context.all_reduce("SUM", tensor)
