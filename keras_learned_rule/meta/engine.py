"""The TensorFlow engine: random draws, and one compiled meta-step for several tasks."""

from typing import Any, NamedTuple

import tensorflow as tf

from keras_learned_rule.meta.particles import Particle, new_particle, particle_task
from keras_learned_rule.meta.tasks import DRAWS_AN_IMAGE, inner_data
from keras_learned_rule.meta.unroll import unroll


class TensorFlowRandom:
    """Random numbers as pure functions of a seed ([2] int32)."""

    uniform = staticmethod(lambda seed, shape: tf.random.stateless_uniform(shape, seed))
    normal = staticmethod(lambda seed, shape: tf.random.stateless_normal(shape, seed))
    fold_in = staticmethod(tf.random.fold_in)


class TaskResult(NamedTuple):
    """What one task contributes to a meta-update.

    Attributes:
        gradient: Meta-gradient as theta, clipped.
        norm: Its global norm before clipping.
        losses: [K] meta-loss after each inner step.
        accuracies: [K] few-shot accuracy after each inner step.
        position: Inner step of the first of them.
    """

    gradient: Any
    norm: Any
    losses: Any
    accuracies: Any
    position: Any


def task_step(problem, spec, theta, particle, seed, truncation):
    """Continues one inner loop by K steps and differentiates its meta-loss.

    An inner loop that is over, or has diverged, is replaced by a new one first.

    Args:
        problem: A `Problem`.
        spec: The `TaskSpec` of this task.
        theta: Dict of tensors.
        particle: The `Particle`.
        seed: [2] int32, of this update and task.
        truncation: Number K of inner steps, static.

    Returns:
        (particle, `TaskResult`).
    """
    rng = TensorFlowRandom
    particle = _renewed(problem, spec, particle, rng.fold_in(seed, 0))
    task = particle_task(rng, spec, problem.class_table.shape[0], particle)
    draws = rng.uniform(rng.fold_in(seed, 1), (truncation, spec.images_a_step, DRAWS_AN_IMAGE))
    data = inner_data(spec, problem.images, problem.class_table, task, draws)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        state, losses, accuracies = unroll(
            problem.rule,
            theta,
            spec.network.plan(),
            problem.objective,
            spec.episode,
            particle.state,
            data,
            particle.step,
            particle.total_steps,
        )
        meta_loss = tf.reduce_mean(losses)
    gradient = tape.gradient(meta_loss, theta, unconnected_gradients="zero")
    flat, norm = tf.clip_by_global_norm(tf.nest.flatten(gradient), problem.clip_norm)
    result = TaskResult(
        tf.nest.pack_sequence_as(gradient, flat), norm, losses, accuracies, particle.step
    )
    return particle._replace(state=state, step=particle.step + truncation), result


def _renewed(problem, spec, particle, seed):
    backward = problem.rule.neuron_network
    fresh = new_particle(TensorFlowRandom, seed, spec, backward, problem.lengths)
    finite = [tf.reduce_all(tf.math.is_finite(a)) for a in tf.nest.flatten(particle.state)]
    over = (particle.step >= particle.total_steps) | ~tf.reduce_all(finite)
    return tf.nest.map_structure(lambda new, old: tf.where(over, new, old), fresh, particle)


def empty_particles(problem):
    """One finished particle a task; the first meta-step replaces them all."""
    backward = problem.rule.neuron_network
    return [
        Particle(spec.network.initial_state(spec.inputs, tf.zeros, backward), *_NOTHING_LEFT)
        for spec in problem.tasks
    ]


_NOTHING_LEFT = (tf.constant(0), tf.constant(0), tf.constant([0, 0]))


class Problem(NamedTuple):
    """Everything about meta-training that stays the same from update to update.

    Attributes:
        rule: The `RuleSpec`.
        objective: The `ObjectiveSpec`.
        tasks: List of `TaskSpec`, one for each task of the meta-batch.
        images: [n, height, width] uint8 tensor.
        class_table: [classes, m] int32 tensor.
        lengths: (shortest, longest) inner loop.
        clip_norm: Largest global norm of one task's meta-gradient.
    """

    rule: Any
    objective: Any
    tasks: Any
    images: Any
    class_table: Any
    lengths: Any
    clip_norm: Any


def meta_step(problem, theta, particles, seed, truncation):
    """One step of every task of the meta-batch; tasks run beside each other in the graph.

    Args:
        problem: A `Problem`.
        theta: Dict of tensors.
        particles: List of `Particle`, one a task.
        seed: [2] int32, of this update.
        truncation: Number K of inner steps, static.

    Returns:
        (particles, gradient, results): the particles after K steps, the mean of the tasks'
        clipped gradients and the list of `TaskResult`. A task whose gradient is not finite
        counts as zero.
    """
    stepped = [
        task_step(problem, spec, theta, particle, tf.random.fold_in(seed, i), truncation)
        for i, (spec, particle) in enumerate(zip(problem.tasks, particles))
    ]
    particles, results = map(list, zip(*stepped))
    kept = [
        {name: tf.where(tf.math.is_finite(r.norm), g, 0.0) for name, g in r.gradient.items()}
        for r in results
    ]
    mean = {name: sum(g[name] for g in kept) / len(kept) for name in theta}
    return particles, mean, results
