"""Made tables: features of different kinds and scales that few common factors drive."""

import gin
import numpy as np

from keras_learned_rule.checks import check_all, integer, number
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.data.made_vectors import SCALED_KINDS, by_class, loadings, scaled

# Standard deviation of a cluster in its short directions, that in its long ones being about 1.
_FLATNESS = 0.4
# Share of the variance of a cluster's centre that is its own and not the class's.
_BETWEEN = 0.6
# Share of the factors that a feature has, besides one.
_DENSITY = 0.4
_OWN = {
    **dict.fromkeys(("factors", "clusters"), integer(least=1)),
    "nuisances": integer(least=0),
    **dict.fromkeys(("spread", "nuisance", "noise", "scales"), number(least=0)),
    **dict.fromkeys(("uninformative", "warped"), number(least=0, most=1)),
}


@gin.configurable
def tabular(
    size: int,
    channels: int,
    classes: int = 64,
    examples: int = 128,
    dimensions: int = 16,
    factors: int = 5,
    clusters: int = 4,
    spread: float = 0.4,
    nuisances: int = 2,
    nuisance: float = 0.7,
    uninformative: float = 0.25,
    noise: float = 0.2,
    warped: float = 0.5,
    scales: float = 1.5,
    standardize: bool = True,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Measurements of things: correlated features of mixed kinds, with clusters in each class.

    Few factors drive all features. In the space of the informative ones a class is a mixture of
    Gaussian clusters, each long in some directions of its own. Nuisance factors vary alike in all
    classes. Features are monotone functions of what drives them. Some are linear, others
    skewed, squashed, heavy-tailed, in integers or cut off at a level. Factors, functions and
    scales are those of the world that `seed` draws, and all its classes share them.

    Args:
        size: of no effect.
        channels: of no effect.
        classes: int. Defaults to `64`.
        examples: int, examples of each class. Defaults to `128`.
        dimensions: int, features. Defaults to `16`.
        factors: int, informative factors. Defaults to `5`.
        clusters: int, most clusters of a class; each class draws a number up to it. Defaults to
            `4`.
        spread: float, standard deviation of a cluster in its long directions, that of the centres
            being 1. Defaults to `0.4`.
        nuisances: int, factors that do not depend on the class. Defaults to `2`.
        nuisance: float, their standard deviation. Defaults to `0.7`.
        uninformative: float from 0 to 1, share of the features without informative factors.
            Defaults to `0.25`.
        noise: float, standard deviation of what is added to each feature. Defaults to `0.2`.
        warped: float from 0 to 1, share of the features that are not linear. Defaults to `0.5`.
        scales: float, standard deviation of the logarithms of the features' scales, and of their
            offsets in these scales. Of no effect with `standardize`. Defaults to `1.5`.
        standardize: bool, whether each feature has mean 0 and standard deviation 1, see
            `made_vectors.scaled`. Defaults to `True`.
        seed: int, which world. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of float32 vectors, `[n, 1, dimensions, 1]`.

    Raises:
        ValueError: if a number is out of its range.

    Example:
    ```python
    from keras_learned_rule.data.tabular import tabular

    table = tabular(size=14, channels=1, classes=8)
    assert table.images.shape == (1024, 1, 16, 1)
    ```
    """
    check_all("tabular", locals(), SCALED_KINDS | _OWN)
    rng = np.random.default_rng(seed)
    effects = _effects(rng, factors, nuisances, dimensions, uninformative)
    kinds = np.where(rng.random(dimensions) < warped, rng.integers(1, len(_WARPS), dimensions), 0)
    steepness, direction = rng.uniform(0.4, 1.2, dimensions), rng.choice([-1, 1], dimensions)
    scale, offset = np.exp(scales * rng.normal(size=dimensions)), rng.normal(size=dimensions)
    points = np.stack([_points(rng, examples, factors, clusters, spread) for _ in range(classes)])
    others = nuisance * rng.normal(size=(classes, examples, nuisances))
    values = np.concatenate([points, others], axis=-1) @ effects
    values += noise * rng.normal(size=values.shape)
    values = direction * scaled(values, standardize=True)
    for kind, warp in enumerate(_WARPS):
        chosen = kinds == kind
        values[..., chosen] = warp(values[..., chosen], steepness[chosen])
    values = scaled((values + scales * offset) * scale, standardize)
    return by_class(values, "tabular").part(part, held_out_fraction)


def _steps(values, steepness):
    """Integers: the steeper, the fewer."""
    return np.round(values / steepness**2)


# Monotone functions of features with standard deviation 1, and of a number from 0.4 to 1.2.
_WARPS = (
    lambda values, steepness: values,
    lambda values, steepness: np.exp(steepness * values),
    lambda values, steepness: -np.log1p(np.exp(-4 * steepness * values)),
    lambda values, steepness: np.tanh(2 * steepness * values),
    lambda values, steepness: np.sign(values) * np.abs(values) ** (1 + steepness),
    lambda values, steepness: np.maximum(values, steepness - 0.8),
    _steps,
)


def _effects(rng, factors, nuisances, dimensions, uninformative):
    """What factors, and below them nuisances, add to features [factors + nuisances, features]."""
    own = loadings(rng, factors, dimensions, _DENSITY)
    own[:, rng.random(dimensions) < uninformative] = 0
    if not nuisances:
        return own
    return np.concatenate([own, loadings(rng, nuisances, dimensions, _DENSITY)])


def _points(rng, examples, factors, clusters, spread):
    """Points [examples, factors] of one class: its clusters lie about its centre."""
    count = rng.integers(1, clusters + 1)
    rank = max(1, factors // 2)
    between = 0.0 if count == 1 else _BETWEEN
    centre = (1 - between) ** 0.5 * rng.normal(size=factors)
    centres = centre + between**0.5 * rng.normal(size=(count, factors))
    long = rng.normal(size=(count, rank, factors)) / rank**0.5
    cluster = rng.choice(count, examples, p=rng.dirichlet(np.full(count, 4.0)))
    along = np.einsum("er,erf->ef", rng.normal(size=(examples, rank)), long[cluster])
    around = along + _FLATNESS * rng.normal(size=along.shape)
    return centres[cluster] + spread * around
