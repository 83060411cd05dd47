"""Evolution strategies whose processes exchange losses: each of them makes the gradient again."""

import numpy as np
from keras import ops

from keras_learned_rule.meta.meta_step import ESTIMATOR, clipped, each_task


def no_perturbations(problem, theta, tasks):
    """What `gradient_from_losses` starts from: zeros, as NumPy arrays."""
    shape = (tasks, problem.estimator.pairs)
    return {name: np.zeros((*shape, *a.shape), a.dtype) for name, a in theta.items()}


def gradient_from_losses(engine, problem, theta, seed, losses, sums):
    """The sum of all tasks' clipped gradients, as `bucket_step` gives it.

    Args:
        engine: An `Engine`.
        problem: A `Problem` that exchanges losses.
        theta: Dict of tensors, scaled.
        seed: [2] int32, of this update and bucket.
        losses: `Losses` of all tasks.
        sums: Dict of [tasks, pairs, ...]: the perturbations since their inner loops began.

    Returns:
        (gradient, sums).
    """
    estimator = problem.estimator

    def one(task):
        number, (slopes, begun), before = task
        own = engine.fold_in(engine.fold_in(seed, number), ESTIMATOR)
        noise = estimator.noise(engine, theta, own)
        sums = {name: (1.0 - begun) * before[name] + noise[name] for name in theta}
        gradient, _ = clipped(estimator.gradient(slopes, sums), problem.clip_norm)
        return sums, gradient

    numbers = ops.arange(losses.begun.shape[0], dtype="int32")
    sums, gradients = each_task(engine, problem, one, (numbers, losses, sums))
    return {name: ops.sum(g, axis=0) for name, g in gradients.items()}, sums
