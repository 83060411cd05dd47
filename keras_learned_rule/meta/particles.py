"""Particles: inner loops under way. They persist between meta-updates (paper, section 4.2)."""

import itertools
from typing import Any, NamedTuple

from keras import ops, tree

from keras_learned_rule.meta.tasks import make_task

# What the random numbers of a particle are for: folded into its seed.
LENGTH, SOURCE, CLASSES, INPUTS, COEFFICIENTS, UNLABELLED, LABELLED, WEIGHTS = range(8)


class Particle(NamedTuple):
    """One inner loop under way.

    Attributes:
        carried: What the estimator carries: the network's arrays, or several copies of them.
        step: Inner steps done, int32.
        total_steps: Length N of this inner loop, int32.
        task_seed: [2] int32, from which the task and the initial weights are drawn.
    """

    carried: Any
    step: Any
    total_steps: Any
    task_seed: Any


def initial_network(engine, spec, backward, task_seed):
    """The network's arrays at the start of the inner loop that this seed belongs to."""
    count = itertools.count(WEIGHTS)

    def normal(shape):
        return engine.normal(engine.fold_in(task_seed, next(count)), shape)

    return spec.network.initial_state(spec.inputs, normal, backward)


def new_particle(engine, problem, spec, theta, lengths, seed):
    """Starts an inner loop of random length.

    Args:
        engine: An `Engine`.
        problem: A `Problem`.
        spec: A `TaskSpec`.
        theta: Dict of tensors.
        lengths: [2] float32, (shortest, longest) inner loop; N is log-uniform between them.
        seed: [2] int32.

    Returns:
        A `Particle` at step 0.
    """
    shortest, longest = ops.unstack(ops.log(lengths), 2)
    draw = engine.uniform(engine.fold_in(seed, LENGTH), ())
    state = initial_network(engine, spec, problem.rule.neuron_network, seed)
    return Particle(
        carried=problem.estimator.start(theta, state),
        step=ops.zeros((), "int32"),
        total_steps=ops.cast(ops.round(ops.exp(shortest + draw * (longest - shortest))), "int32"),
        task_seed=ops.cast(seed, "int32"),
    )


def finished_particles(problem, spec, theta, count):
    """`count` particles, stacked, whose inner loops are over: the next meta-step renews them."""
    state = spec.network.initial_state(spec.inputs, ops.ones, problem.rule.neuron_network)
    one = Particle(problem.estimator.start(theta, state), 0, 0, ops.zeros((2,), "int32"))
    one = tree.map_structure(lambda a: ops.convert_to_tensor(a), one)
    return tree.map_structure(lambda a: ops.repeat(a[None], count, axis=0), one)


def renewed(engine, problem, spec, theta, particle, lengths, seed):
    """The particle, or a new one where its inner loop is over or has diverged.

    Returns:
        (particle, diverged): the second a bool scalar.
    """
    fresh = new_particle(engine, problem, spec, theta, lengths, seed)
    finite = [ops.all(ops.isfinite(a)) for a in tree.flatten(particle.carried)]
    diverged = ops.logical_not(ops.all(ops.stack(finite)))
    over = ops.logical_or(particle.step >= particle.total_steps, diverged)
    kept = tree.map_structure(lambda new, old: ops.where(over, new, old), fresh, particle)
    return kept, diverged


def particle_task(engine, spec, pool, task_seed):
    """The `Task` of an inner loop, the same for as long as it lives."""

    def draws(purpose, shape):
        return engine.uniform(engine.fold_in(task_seed, purpose), shape)

    return make_task(
        spec,
        pool,
        source_draw=draws(SOURCE, ()),
        class_draws=draws(CLASSES, (pool.class_table.shape[0],)),
        input_draws=draws(INPUTS, (spec.inputs,)),
        coefficient_draws=draws(COEFFICIENTS, (len(spec.augmentations),)),
    )
