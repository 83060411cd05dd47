"""Adam as a pure function of tensors.

Keras' optimizers keep their state in variables. Meta-training holds none: theta and all that goes
with it are tensors that one compiled function maps to new ones, on every engine.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


class AdamState(NamedTuple):
    """Running means of gradients and of their squares, as theta, and the number of updates."""

    mean: Any
    square: Any
    count: Any


def adam_start(theta):
    """The state before the first update, of NumPy arrays.

    Args:
        theta: Dict of arrays.

    Returns:
        An `AdamState`.
    """
    zeros = {name: np.zeros(np.shape(a), "float32") for name, a in theta.items()}
    return AdamState(zeros, dict(zeros), np.zeros((), "float32"))


def adam_update(theta, state, gradient, learning_rate):
    """One update (Kingma and Ba 2015, algorithm 1).

    Args:
        theta: Dict of float32 tensors.
        state: The `AdamState`.
        gradient: As theta; finite.
        learning_rate: Scalar.

    Returns:
        (theta, state).

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.meta.adam import adam_start, adam_update

    theta = {"a": np.ones(2, "float32")}
    theta, state = adam_update(theta, adam_start(theta), {"a": np.ones(2, "float32")}, 0.1)
    assert abs(float(theta["a"][0]) - 0.9) < 1e-6
    ```
    """
    count = state.count + 1.0
    mean = {n: BETA_1 * m + (1.0 - BETA_1) * gradient[n] for n, m in state.mean.items()}
    squares = {n: ops.square(g) for n, g in gradient.items()}
    square = {n: BETA_2 * s + (1.0 - BETA_2) * squares[n] for n, s in state.square.items()}
    scale = learning_rate * ops.sqrt(1.0 - BETA_2**count) / (1.0 - BETA_1**count)
    theta = {n: a - scale * mean[n] / (ops.sqrt(square[n]) + EPSILON) for n, a in theta.items()}
    return theta, AdamState(mean, square, count)
