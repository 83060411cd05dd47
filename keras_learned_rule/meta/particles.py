"""Particles: inner loops under way. They persist between meta-updates (paper, section 4.2)."""

import itertools
import math
from typing import Any, NamedTuple

from keras import ops

from keras_learned_rule.meta.tasks import make_task

# What the random numbers of a particle are for: folded into its seed.
LENGTH, CLASSES, PIXELS, INVERT, UNLABELLED, LABELLED, WEIGHTS = range(7)


class Particle(NamedTuple):
    """One inner loop under way.

    Attributes:
        state: The network's arrays.
        step: Inner steps done, int32.
        total_steps: Length N of this inner loop, int32.
        task_seed: [2] int32, from which the task and the initial weights are drawn.
    """

    state: Any
    step: Any
    total_steps: Any
    task_seed: Any


def new_particle(rng, seed, spec, backward, lengths):
    """Starts an inner loop of random length.

    Args:
        rng: The engine's random functions, see `engine.py`.
        seed: [2] int32.
        spec: A `TaskSpec`.
        backward: Whether the rule has backward weights.
        lengths: (shortest, longest) inner loop; N is log-uniform between them.

    Returns:
        A `Particle` at step 0.
    """
    count = itertools.count(WEIGHTS)
    shortest, longest = (math.log(n) for n in lengths)
    draw = rng.uniform(rng.fold_in(seed, LENGTH), ())
    return Particle(
        state=spec.network.initial_state(
            spec.inputs, lambda shape: rng.normal(rng.fold_in(seed, next(count)), shape), backward
        ),
        step=ops.zeros((), "int32"),
        total_steps=ops.cast(ops.round(ops.exp(shortest + draw * (longest - shortest))), "int32"),
        task_seed=ops.convert_to_tensor(seed),
    )


def particle_task(rng, spec, class_count, particle):
    """The particle's `Task`, the same for as long as it lives."""
    seed = particle.task_seed
    return make_task(
        spec,
        class_count,
        class_draws=rng.uniform(rng.fold_in(seed, CLASSES), (class_count,)),
        pixel_draws=rng.uniform(rng.fold_in(seed, PIXELS), (spec.inputs,)),
        invert_draw=rng.uniform(rng.fold_in(seed, INVERT), ()),
    )
