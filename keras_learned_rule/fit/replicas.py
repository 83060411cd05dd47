"""What copies of a model have to agree on in a step; with a single one, nothing is done."""

import keras
from keras import ops

from keras_learned_rule.fit import backends


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
    backend = backends.current()
    if backend.replicas_in_step() == 1:
        return tensors
    total = ops.maximum(backend.sum_over_replicas(ops.cast(counts, "float32")), 1.0)
    return keras.tree.map_structure(
        lambda t: backend.sum_over_replicas(ops.where(counts, t, ops.zeros_like(t))) / total,
        tensors,
    )


def all_replicas(flag):
    """Whether the scalar bool tensor `flag` is true on every replica."""
    return ops.logical_not(any_replica(ops.logical_not(flag)))


def any_replica(flag):
    """Whether the scalar bool tensor `flag` is true on any replica."""
    backend = backends.current()
    if backend.replicas_in_step() == 1:
        return flag
    return backend.sum_over_replicas(ops.cast(flag, "float32")) > 0.0
