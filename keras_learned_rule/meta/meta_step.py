"""The pure functions that an engine compiles: K inner steps with meta-gradient, and the update."""

from typing import Any, NamedTuple

from keras import ops, tree

from keras_learned_rule.meta.adam import adam_update
from keras_learned_rule.meta.particles import particle_task, renewed
from keras_learned_rule.meta.tasks import inner_data
from keras_learned_rule.meta.unroll import unroll

# What the random numbers of a meta-step are for: folded into the seed of its update and task.
RENEWAL, IMAGES, NOISE, ESTIMATOR = range(4)


class TaskResult(NamedTuple):
    """What one task reports of a meta-step; all are scalars, or [S] where said.

    Attributes:
        losses: [S] meta-loss after each scored inner step.
        accuracies: [S] few-shot accuracy after each scored inner step.
        norm: Global norm of the meta-gradient before clipping.
        position: Inner step of the first of them, int32.
        source: Index of the data set, int32.
        diverged: Whether a diverged inner loop was replaced.
    """

    losses: Any
    accuracies: Any
    norm: Any
    position: Any
    source: Any
    diverged: Any


class Shared(NamedTuple):
    """What all tasks of a meta-step share.

    Attributes:
        theta: Dict of tensors, scaled (see `Problem`).
        pool: The `Pool`.
        lengths: [2] float32, (shortest, longest) inner loop to start.
        seed: [2] int32, of this update and bucket.
    """

    theta: Any
    pool: Any
    lengths: Any
    seed: Any


class Losses(NamedTuple):
    """What tasks send in place of gradients (`Problem.exchanges_losses`).

    Attributes:
        slopes: [tasks, pairs], see `Estimate`. Not finite where a loss was not.
        begun: [tasks] float32, 1 where these are the first steps of an inner loop.
    """

    slopes: Any
    begun: Any


def bucket_step(engine, problem, spec, truncation, shared, tasks):
    """K inner steps with meta-gradient of all tasks of a bucket that are on this replica.

    Args:
        engine: An `Engine`.
        problem: A `Problem`.
        spec: The bucket's `TaskSpec`.
        truncation: Number K of inner steps, static.
        shared: A `Shared`.
        tasks: (ids, particles): [n] int32, which tasks of the meta-batch they are, and a
            `Particle` of stacked arrays.

    Returns:
        ((particles, results), sent): the particles after K steps, a `TaskResult` of stacked
        arrays, and what is to be added over replicas: the sum of the tasks' clipped gradients, of
        which non-finite ones count as 0, or the `Losses` of all tasks, 0 for those of others.
    """

    def one(task):
        return task_step(engine, problem, spec, truncation, shared, *task)

    particles, sent, results = each_task(engine, problem, one, tasks)
    if problem.exchanges_losses:
        (ids, _), count = tasks, tasks[0].shape[0] * engine.replicas
        sent = tree.map_structure(
            lambda a: ops.scatter(ids[:, None], a, (count, *a.shape[1:])), sent
        )
    else:
        sent = {name: ops.sum(g, axis=0) for name, g in sent.items()}
    return (particles, results), sent


def each_task(engine, problem, function, tasks):
    """Applies a function to tasks, a tuple of trees of stacked arrays, as `Problem` says."""
    if tasks[0].shape[0] == 1:
        result = function(tree.map_structure(lambda a: a[0], tasks))
        return tree.map_structure(lambda a: a[None], result)
    return (ops.vectorized_map if problem.vectorize else engine.each)(function, tasks)


def task_step(engine, problem, spec, truncation, shared, task_id, particle):
    """`bucket_step` of a single task: (particle, gradient or `Losses`, result)."""
    seed = engine.fold_in(shared.seed, task_id)
    particle, diverged = renewed(
        engine,
        problem,
        spec,
        shared.theta,
        particle,
        shared.lengths,
        engine.fold_in(seed, RENEWAL),
    )
    task = particle_task(engine, spec, shared.pool, particle.task_seed)
    data = _drawn_data(engine, problem, spec, truncation, shared.pool, task, seed)

    def run(scaled, state):
        theta = problem.theta(scaled)
        return unroll(
            engine, problem, spec, theta, state, data, particle.step, particle.total_steps
        )

    estimate = problem.estimator(
        engine, run, shared.theta, particle.carried, engine.fold_in(seed, ESTIMATOR)
    )
    sent, norm = clipped(estimate.gradient, problem.clip_norm)
    if problem.exchanges_losses:
        sent = Losses(estimate.slopes, ops.cast(particle.step == 0, "float32"))
    first = particle.step + truncation - estimate.losses.shape[0]
    result = TaskResult(estimate.losses, estimate.extra, norm, first, task.source, diverged)
    particle = particle._replace(carried=estimate.carried, step=particle.step + truncation)
    return particle, sent, result


def _drawn_data(engine, problem, spec, truncation, pool, task, seed):
    shape = (truncation, spec.images_a_step)
    draws = engine.uniform(engine.fold_in(seed, IMAGES), (*shape, spec.draws_an_image))
    noise = None
    if spec.needs_noise:
        noise = engine.normal(engine.fold_in(seed, NOISE), (*shape, *spec.shape))
    return inner_data(spec, pool, task, draws, noise, problem.scored)


def clipped(gradient, clip_norm):
    """A gradient of at most clip_norm, zero where it was not finite; and its norm before."""
    norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradient.values()))
    scale = clip_norm / ops.maximum(norm, clip_norm)
    finite = ops.isfinite(norm)
    return {name: ops.where(finite, g * scale, 0.0) for name, g in gradient.items()}, norm


def meta_update(theta, adam, skipped, gradients, counts, learning_rate):
    """One update of theta by the mean gradient of all tasks.

    Args:
        theta: Dict of tensors.
        adam: The `AdamState`.
        skipped: Number of updates that were skipped since the last that was not, a scalar.
        gradients: List of gradients, each a sum over the tasks of a bucket.
        counts: Number of all those tasks, a scalar.
        learning_rate: Scalar.

    Returns:
        (theta, adam, skipped). An update is skipped if no task had a gradient, so that the memory
        of past gradients does not go on moving theta, or if theta would not be finite: theta and
        Adam stay as they are.
    """
    mean = {name: sum(g[name] for g in gradients) / counts for name in theta}
    updated = adam_update(theta, adam, mean, learning_rate)
    anything = ops.any(ops.stack([ops.any(g != 0) for g in mean.values()]))
    finite = ops.all(ops.stack([ops.all(ops.isfinite(a)) for a in updated[0].values()]))
    good = ops.logical_and(anything, finite)
    kept = tree.map_structure(lambda new, old: ops.where(good, new, old), updated, (theta, adam))
    return *kept, ops.where(good, 0.0, skipped + 1.0)
