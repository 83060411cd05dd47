"""Draws of labelled examples, the same for every method that is compared."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from keras_learned_rule.checks import check, integer


def few_shot_splits(
    y: ArrayLike, shots: int, repeats: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draws labelled examples, equally many of each class; the others are for testing.

    Args:
        y: integer labels `[n]`. Examples with a negative label count as unlabelled: a warning says
            how many, and no draw has them.
        shots: int, labelled examples of each class.
        repeats: int, how many draws.
        seed: non-negative int, which draws.

    Returns:
        A list of `repeats` pairs `(train, test)` of index arrays, disjoint; `train` has
        `shots * classes` entries.

    Raises:
        ValueError: if `y` is not a vector of integers with at least two classes, if `shots` or
            `repeats` is no integer above 0, if `seed` is no non-negative one, or if a class has
            no more than `shots` examples.

    Example:
    ```python
    from keras_learned_rule.fit.few_shot_splits import few_shot_splits

    splits = few_shot_splits([0, 0, 0, 1, 1, 1], shots=2, repeats=5, seed=0)
    train, test = splits[0]
    assert len(splits) == 5 and len(train) == 4 and len(test) == 2
    ```
    """
    y = np.asarray(y)
    check("seed", seed, integer(least=0))
    _check_splits(y, shots, repeats)
    _warn_of_unlabelled(y)
    members = [np.flatnonzero(y == label) for label in labelled_classes(y)]
    rng = np.random.default_rng(seed)
    splits = []
    for _ in range(repeats):
        drawn = [rng.permutation(indices) for indices in members]
        train = np.concatenate([indices[:shots] for indices in drawn])
        splits.append((train, np.concatenate([indices[shots:] for indices in drawn])))
    return splits


def labelled_classes(y: np.ndarray) -> np.ndarray:
    """The labels in `y` that are classes, ascending: all but negative ones.

    Args:
        y: integer array `[n]`.

    Returns:
        An array of integers.
    """
    return np.unique(y[y >= 0])


def _warn_of_unlabelled(y):
    unlabelled = int(np.sum(y < 0))
    if unlabelled:
        warnings.warn(
            f"{unlabelled} of {len(y)} labels are negative. Those examples count as unlabelled and "
            "are left out of the readout. Number classes from 0.",
            stacklevel=3,
        )


def _check_splits(y, shots, repeats):
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(
            f"`y` must be a vector of integer labels. Received: shape {y.shape}, dtype {y.dtype}"
        )
    check("shots", shots, integer(least=1))
    check("repeats", repeats, integer(least=1))
    labels, counts = np.unique(y[y >= 0], return_counts=True)
    if len(labels) < 2:
        raise ValueError(
            "`y` must have at least two classes, numbered from 0; negative labels count as "
            f"unlabelled. Received: {np.unique(y).tolist()}"
        )
    scarce = {int(label): int(n) for label, n in zip(labels, counts, strict=True) if n <= shots}
    if scarce:
        raise ValueError(
            f"Every class of `y` must have more than shots={shots} examples, to leave some for "
            f"testing. Received too few of (class: examples): {scarce}"
        )
