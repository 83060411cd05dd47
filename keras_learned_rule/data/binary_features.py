"""Made attributes: each is there or not, many go together, and most are rare."""

import gin
import numpy as np

from keras_learned_rule.checks import check_all, integer, number
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.data.made_vectors import (
    SCALED_KINDS,
    by_class,
    class_factors,
    loadings,
    scaled,
)

# Share of the factors that an attribute has, besides one.
_DENSITY = 0.15
_OWN = {
    **dict.fromkeys(("factors", "shifted"), integer(least=1)),
    **dict.fromkeys(("rarity_spread", "strength", "shift"), number(least=0)),
    "frequency": number(above=0, below=1),
}


@gin.configurable
def binary_features(
    size: int,
    channels: int,
    classes: int = 48,
    examples: int = 64,
    dimensions: int = 256,
    factors: int = 12,
    shifted: int = 4,
    shift: float = 1.5,
    strength: float = 1.0,
    frequency: float = 0.2,
    rarity_spread: float = 1.0,
    standardize: bool = False,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Bags of attributes, 0 or 1: factors make some of them go together, classes shift factors.

    An attribute occurs with the probability that the logistic function gives of its factors.

    Args:
        size: of no effect.
        channels: of no effect.
        classes: int. Defaults to `48`.
        examples: int, examples of each class. Defaults to `64`.
        dimensions: int, attributes. Defaults to `256`.
        factors: int. Defaults to `12`.
        shifted: int, factors that a class shifts, at most `factors`. Defaults to `4`.
        shift: float, standard deviation of such a shift, in standard deviations of a factor within
            a class. Defaults to `1.5`.
        strength: float, standard deviation of the log-odds of an attribute within a class.
            Defaults to `1.0`.
        frequency: float between 0 and 1, how often an attribute in the middle occurs: 0.5 for
            dense ones, 0.02 for rare ones. Defaults to `0.2`.
        rarity_spread: float, standard deviation of the log-odds between attributes. Defaults to
            `1.0`.
        standardize: bool, whether each attribute is given mean 0 and standard deviation 1, see
            `made_vectors.scaled`: then it has two other values, and rare ones are far out.
            Defaults to `False`.
        seed: int, which world. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of vectors, `[n, 1, dimensions, 1]`: bytes that a network gets as 0 or 1, or
        with `standardize` float32.

    Raises:
        ValueError: if a number is out of its range, or `shifted` above `factors`.

    Example:
    ```python
    from keras_learned_rule.data.binary_features import binary_features

    bags = binary_features(size=14, channels=1, classes=8)
    assert (bags.images == 0).mean() > 0.7
    ```
    """
    check_all("binary_features", locals(), SCALED_KINDS | _OWN)
    if shifted > factors:
        raise ValueError(f"`shifted` must be at most `factors`, {factors}. Received: {shifted}")
    rng = np.random.default_rng(seed)
    effects = strength * loadings(rng, factors, dimensions, _DENSITY)
    log_odds = np.log(frequency / (1 - frequency)) + rarity_spread * rng.normal(size=dimensions)
    drivers = class_factors(rng, (classes, examples, factors), shifted, shift)
    probability = 1 / (1 + np.exp(-(log_odds + drivers @ effects)))
    occurs = rng.random(probability.shape) < probability
    values = scaled(occurs, standardize=True) if standardize else np.uint8(255) * occurs
    return by_class(values, "binary_features").part(part, held_out_fraction)
