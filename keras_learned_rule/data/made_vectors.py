"""What the sources of made vectors share: arguments, factors, scales, and the set they return."""

import numpy as np

from keras_learned_rule.checks import flag, integer
from keras_learned_rule.data.image_set import PART_KINDS, ImageSet, vector_set

VECTOR_KINDS = {
    **dict.fromkeys(("classes", "examples", "dimensions"), integer(least=1)),
    "seed": integer(least=0),
    **PART_KINDS,
}
SCALED_KINDS = {**VECTOR_KINDS, "standardize": flag()}


def by_class(values: np.ndarray, name: str) -> ImageSet:
    """An image set of vectors that are in the order of their classes.

    Args:
        values: array `[classes, examples, dimensions]`, as for `vector_set`.
        name: str, of the set.

    Returns:
        An `ImageSet` of vectors `[classes * examples, 1, dimensions, 1]`. Classes are named by
        their numbers.
    """
    classes, examples, dimensions = values.shape
    labels = np.repeat(np.arange(classes), examples)
    names = [str(label) for label in range(classes)]
    return vector_set(values.reshape(-1, dimensions), labels, names, name)


def scaled(values: np.ndarray, standardize: bool) -> np.ndarray:
    """Brings vectors to the scale of inputs, each feature alone or all of them together.

    Args:
        values: array `[..., dimensions]`.
        standardize: bool. True gives each feature mean 0 and standard deviation 1 over all
            vectors; a feature that does not vary is 0. False divides all by one number, so that
            the standard deviation of all numbers is 1: scales and offsets of features stay.

    Returns:
        An array of the same shape.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.data.made_vectors import scaled

    assert scaled(np.array([[1.0, 5.0], [3.0, 5.0]]), standardize=True).tolist() == [
        [-1.0, 0.0],
        [1.0, 0.0],
    ]
    ```
    """
    axes = tuple(range(values.ndim - 1)) if standardize else None
    deviation = values.std(axis=axes)
    # Equal numbers have a deviation of rounding errors.
    varies = deviation > 1e-9 * np.abs(values).max(axis=axes)
    if not standardize:
        return values / (deviation if varies else 1.0)
    return (values - values.mean(axis=axes)) * varies / np.where(varies, deviation, 1.0)


def loadings(rng: np.random.Generator, factors: int, dimensions: int, density: float) -> np.ndarray:
    """Draws what each factor adds to each feature: few factors make many features correlated.

    Args:
        rng: NumPy random generator.
        factors: int.
        dimensions: int, features.
        density: float from 0 to 1, share of the factors that a feature has, besides the one that
            each has for certain.

    Returns:
        A float array `[factors, dimensions]` of which each column has length 1.
    """
    kept = rng.random((factors, dimensions)) < density
    kept[rng.integers(factors, size=dimensions), np.arange(dimensions)] = True
    drawn = kept * rng.normal(size=(factors, dimensions))
    return drawn / np.linalg.norm(drawn, axis=0)


def class_factors(
    rng: np.random.Generator, shape: tuple[int, int, int], shifted: int, shift: float
) -> np.ndarray:
    """Draws the factors of every example: standard normal, about a mean that its class shifts.

    Args:
        rng: NumPy random generator.
        shape: (classes, examples, factors).
        shifted: int, how many factors a class shifts.
        shift: float, standard deviation of such a shift.

    Returns:
        A float array of this shape.
    """
    classes, _, factors = shape
    within = rng.normal(size=shape)
    return within + shift * few_shifts(rng, classes, factors, shifted)[:, None]


def few_shifts(rng: np.random.Generator, classes: int, factors: int, shifted: int) -> np.ndarray:
    """Draws how classes differ: each shifts a few factors, by standard normal numbers.

    Args:
        rng: NumPy random generator.
        classes: int.
        factors: int.
        shifted: int, at most `factors`, how many a class shifts.

    Returns:
        A float array `[classes, factors]`, 0 where nothing is shifted.
    """
    chosen = rng.random((classes, factors)).argsort(axis=1) < shifted
    return chosen * rng.normal(size=(classes, factors))
