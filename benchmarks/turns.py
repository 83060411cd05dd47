"""Times steps that take turns, so that what disturbs a machine disturbs all of them."""

import time

import numpy as np
import tensorflow as tf

SHORTEST_SECONDS, WARM_UP = 0.05, 3


def measure(steps, rounds):
    """Median wall and processor seconds of each step.

    Args:
        steps: Dict of functions without arguments that return tensors.
        rounds: Number of measurements of each.

    Returns:
        A dict from the keys of `steps` to arrays `[2]`.
    """
    for step in steps.values():
        _seconds(step, WARM_UP)
    counts = {key: 1 + int(SHORTEST_SECONDS / _seconds(step, 1)[0]) for key, step in steps.items()}
    measured = {key: [] for key in steps}
    for _ in range(rounds):
        for key, step in steps.items():
            measured[key].append(_seconds(step, counts[key]))
    return {key: np.median(values, axis=0) for key, values in measured.items()}


def _seconds(step, count):
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        result = step()
    np.asarray(tf.nest.flatten(result)[0])  # Waits where steps run asynchronously.
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count
