"""The few ways in which the rule brings tensors to a common scale."""

from typing import Any, NamedTuple

from keras import ops

STATISTICS_EPSILON = 1e-6


def column_rms_one(w, epsilon=STATISTICS_EPSILON):
    """Scales each column of w [n_lower, n_upper] to root mean square 1."""
    return w * ops.rsqrt(ops.mean(ops.square(w), axis=0, keepdims=True) + epsilon)


def rms_one(m):
    """Scales all of m to root mean square 1, however small it is; zeros stay zeros."""
    return m * ops.rsqrt(ops.mean(ops.square(m)) + 1e-12)


def bounded_columns(m):
    """Divides each column of m by sqrt(1 + its mean square): below rms 1, small ones kept."""
    return m * ops.rsqrt(1.0 + ops.mean(ops.square(m), axis=0, keepdims=True))


class Standardized(NamedTuple):
    """A signal [E, n] that was brought to mean 0 and variance 1 over the examples, and its scale.

    Attributes:
        values: [E, n], standardized.
        mean: [1, n], mean before.
        deviation: [1, n], standard deviation before.
    """

    values: Any
    mean: Any
    deviation: Any


def standardize(x):
    """Centres x [E, n] over the examples and scales each unit to variance 1."""
    mean = ops.mean(x, axis=0, keepdims=True)
    centred = x - mean
    variance = ops.mean(ops.square(centred), axis=0, keepdims=True) + STATISTICS_EPSILON
    return Standardized(centred * ops.rsqrt(variance), mean, ops.sqrt(variance))


def example_count(x):
    """The number of examples of x [E, n] as a scalar of its dtype; E may be unknown statically."""
    return ops.cast(ops.shape(x)[0], x.dtype)
