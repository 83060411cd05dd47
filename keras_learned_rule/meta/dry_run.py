"""What a meta-training run would do, compile, compute and hold in memory, before any of it."""

import math

import numpy as np

from keras_learned_rule.meta.cost import gradient_cost, score_cost, update_cost
from keras_learned_rule.meta.estimators import PersistentES
from keras_learned_rule.meta.memory import activation_bytes, state_bytes
from keras_learned_rule.meta.products import FLOAT_BYTES
from keras_learned_rule.rule.theta import theta_shapes

BUCKET_COLUMNS = "name", "network", "inputs", "ways", "shots", "tests", "batch", "tasks", "weights"
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def describe(problem, buckets, pools, held_out, horizon, updates, buckets_a_update=None):
    """Says what a run would be, whatever the engine.

    Args:
        problem: A `Problem`.
        buckets: List of `Bucket`.
        pools: List of `Sources` that the buckets index.
        held_out: (buckets, pools) of the held-out tasks; the lists may be empty.
        horizon: A `Horizon`.
        updates: Number of meta-updates.
        buckets_a_update: Buckets that a meta-update uses. Defaults to `None`: all.

    Returns:
        A string of several lines: rule, data, buckets, number of programs, inner loops, operations
        and memory. Operations are a lower bound (`meta/cost.py`); memory is an estimate.

    Example:
    ```python
    from keras_learned_rule.data.synthetic import gaussian_mixture
    from keras_learned_rule.meta.dry_run import describe
    from keras_learned_rule.meta.families import TaskFamily, load_families
    from keras_learned_rule.meta.problem import Problem
    from keras_learned_rule.meta.schedule import Horizon
    from keras_learned_rule.rule.spec import RuleSpec

    buckets, pools = load_families([TaskFamily([(gaussian_mixture, 1.0)])], seed=0)
    print(describe(Problem(RuleSpec.compact()), buckets, pools, ([], []), Horizon(), updates=100))
    ```
    """
    share = (buckets_a_update or len(buckets)) / len(buckets)
    return "\n".join(
        [
            _rule_line(problem.rule),
            "",
            *_table(("data", "for", "classes", "images", "share"), _data_rows(pools, held_out[1])),
            "",
            *_table(BUCKET_COLUMNS, [_bucket_row(problem.rule, b) for b in buckets + held_out[0]]),
            "",
            _programs_line(buckets, held_out[0], horizon.truncations_at(updates)),
            *_horizon_lines(horizon, updates),
            *_cost_lines(problem, buckets, share, horizon, updates),
            *_memory_lines(problem, buckets, pools, held_out[1], horizon.truncations_at(updates)),
        ]
    )


def _rule_line(rule):
    parameters = sum(int(np.prod(shape)) for shape in theta_shapes(rule).values())
    network = "a" if rule.neuron_network else "no"
    return (
        f"Rule: {rule.merge}, {len(rule.terms)} terms, {network} neuron network, "
        f"{parameters:,} parameters"
    )


def _data_rows(pools, held_out):
    for use, used in (("training", pools), ("held out", held_out)):
        for sources in used:
            shares = np.diff(sources.pool.thresholds, prepend=0.0)
            for index, (name, share) in enumerate(zip(sources.names, shares, strict=True)):
                rows = sources.pool.class_table[sources.pool.source_of_class == index]
                images = len(np.unique(rows))
                yield name, use, sources.class_counts[index], f"{images:,}", f"{share:.0%}"


def _bucket_row(rule, bucket):
    spec, weights = bucket.spec, _state_bytes(rule, bucket.spec) // FLOAT_BYTES
    numbers = spec.inputs, spec.ways, spec.shots, spec.tests, spec.batch, bucket.tasks
    return bucket.name, spec.network, *numbers, f"{weights:,}"


def _programs_line(buckets, held_out, truncations):
    steps, evaluations = len(buckets) * len(truncations), len(held_out)
    return (
        f"Programs to compile: at most {steps + 1 + evaluations}: {steps} meta-steps "
        f"({len(buckets)} buckets, K = {_listed(truncations)}), the meta-update, {evaluations} "
        "evaluations"
    )


def _horizon_lines(horizon, updates):
    for when, update in (("first", 0), ("last", updates)):
        shortest, longest = horizon.range_at(update)
        yield (
            f"The {when} of {updates:,} meta-updates: inner loops of {shortest:.0f} to "
            f"{longest:.0f} steps, K = {_listed(horizon.truncations_at(update))}"
        )


def step_flop(problem, spec):
    """Operations of one inner step of a task and its share of the meta-gradient.

    Args:
        problem: A `Problem`.
        spec: A `TaskSpec`.

    Returns:
        An integer, a lower bound.
    """
    widths = _widths(spec)
    cost = update_cost(problem.rule, widths, spec.batch, spec.network.activation)
    cost = cost + score_cost(widths, spec.ways, spec.shots, spec.tests)
    if isinstance(problem.estimator, PersistentES):
        return (2 * problem.estimator.pairs * cost).flop
    return gradient_cost(cost, problem.remat).flop


def _cost_lines(problem, buckets, share, horizon, updates):
    step = share * sum(b.tasks * step_flop(problem, b.spec) for b in buckets)
    steps = sum(float(np.mean(horizon.truncations_at(update))) for update in range(updates))
    by_truncation = ", ".join(
        f"{_scaled(k * step, 'FLOP')} with K = {k}" for k in horizon.truncations_at(updates)
    )
    yield f"A meta-update computes at least {by_truncation}"
    yield f"All meta-updates compute at least {_scaled(steps * step, 'FLOP')}"


def working_bytes(problem, spec, tasks, steps, remat):
    """Estimates the memory that the meta-gradient of a bucket needs beside particles and data.

    Args:
        problem: A `Problem`.
        spec: The bucket's `TaskSpec`.
        tasks: Its tasks on the device.
        steps: Truncation K.
        remat: Whether inner steps are computed again in reverse mode.

    Returns:
        Bytes: the images drawn for K steps, and what reverse mode keeps of them. Tasks that are
        computed one after the other need it once.
    """
    images = FLOAT_BYTES * steps * spec.images_a_step * spec.inputs * (1 + spec.needs_noise)
    widths, labelled = _widths(spec), spec.images_a_step - spec.batch
    activation = spec.network.activation
    step = activation_bytes(problem.rule, widths, spec.batch, labelled, activation)
    if isinstance(problem.estimator, PersistentES):
        kept = step
    elif remat:
        kept = step + steps * _state_bytes(problem.rule, spec)
    else:
        kept = steps * step
    return (tasks if problem.vectorize else 1) * (images + kept)


def _memory_lines(problem, buckets, pools, held_out, truncations):
    data = sum(array.nbytes for sources in pools + held_out for array in sources.pool)
    copies = 1
    if isinstance(problem.estimator, PersistentES):
        copies = 2 * problem.estimator.pairs
    particles = copies * sum(b.tasks * _state_bytes(problem.rule, b.spec) for b in buckets)
    yield (
        f"Memory if one device holds all: data {_scaled(data, 'B')}, networks under way "
        f"{_scaled(particles, 'B')}"
    )
    for remat in (False, True):
        needed = max(
            working_bytes(problem, b.spec, b.tasks, truncations[-1], remat) for b in buckets
        )
        chosen = " (as configured)" if remat == problem.remat else ""
        yield (
            f"  and about {_scaled(needed, 'B')} for the largest bucket at K = {truncations[-1]}, "
            f"{'with' if remat else 'without'} rematerialisation{chosen}"
        )


def _listed(numbers):
    return " or ".join(map(str, numbers))


def _state_bytes(rule, spec):
    return state_bytes(rule, _widths(spec), spec.network.activation)


def _widths(spec):
    return (spec.inputs, *spec.network.widths)


def _scaled(number, unit):
    power = min(int(math.log10(max(number, 1.0)) // 3), len(PREFIXES) - 1)
    return f"{number / 1000**power:.3g} {PREFIXES[power]}{unit}"


def _table(columns, rows):
    """Lines of aligned cells: the first two columns to the left, numbers to the right."""
    cells = [tuple(map(str, row)) for row in [columns, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(aligned).rstrip()
