"""Particles: inner loops under way. They persist between meta-updates (paper, section 4.2)."""

import itertools
from typing import Any, NamedTuple

from keras import ops, tree

from keras_learned_rule.meta.tasks import make_task
from keras_learned_rule.rule.mlp import init_mlp_state
from keras_learned_rule.rule.teacher import teacher_shapes
from keras_learned_rule.rule.update import with_memory

# What the random numbers of a particle are for: folded into its seed.
LENGTH, TASK, WEIGHTS, UNLABELLED, LABELLED, TEACHER = range(6)


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


def initial_network(engine, spec, rule, task_seed):
    """The arrays that the rule works on at the start of the inner loop with this seed."""

    def normals(purpose, shapes):
        # One draw for all weights: each random operation costs compilers a fifth of a second.
        sizes = [rows * columns for rows, columns in shapes]
        draws = engine.normal(engine.fold_in(task_seed, purpose), (sum(sizes),))
        return [
            ops.reshape(part, shape)
            for part, shape in zip(_pieces(draws, sizes), shapes, strict=True)
        ]

    return _network(spec, rule, normals)


def _network(spec, rule, normals):
    """A network's arrays; `normals(purpose, shapes)` gives its weights and a teacher's."""
    shapes = spec.network.shapes(spec.inputs)
    weights = normals(WEIGHTS, shapes * (2 if rule.neuron_network else 1))
    state = init_mlp_state(weights[: len(shapes)], weights[len(shapes) :] or None)
    teacher = teacher_shapes(rule, spec.network.plan(), shapes)
    return with_memory(rule, state, normals(TEACHER, teacher) if teacher else ())


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
    state = initial_network(engine, spec, problem.rule, seed)
    return Particle(
        carried=problem.estimator.start(theta, state),
        step=ops.zeros((), "int32"),
        total_steps=ops.cast(ops.round(ops.exp(shortest + draw * (longest - shortest))), "int32"),
        task_seed=ops.cast(seed, "int32"),
    )


def finished_particles(problem, spec, theta, count):
    """`count` particles, stacked, whose inner loops are over: the next meta-step renews them."""
    state = _network(spec, problem.rule, lambda _, shapes: [ops.ones(shape) for shape in shapes])
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
    sizes = (1, pool.class_table.shape[0], spec.inputs, len(spec.augmentations))
    draws = engine.uniform(engine.fold_in(task_seed, TASK), (sum(sizes),))
    source, *others = _pieces(draws, sizes)
    return make_task(spec, pool, source[0], *others)


def _pieces(flat, sizes):
    return [
        flat[end - size : end] for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)
    ]
