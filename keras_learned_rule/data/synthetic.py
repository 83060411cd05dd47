"""Made vectors with classes: data that are no images, for rules that should not rely on images.

All three are sources: plain functions that gin configures. Which vectors they make depends on
their arguments alone. `size` and `channels`, which every source takes, are of no effect on
vectors.
"""

import gin
import numpy as np

from keras_learned_rule.checks import check_all, integer, number
from keras_learned_rule.data.image_set import ImageSet, as_bytes
from keras_learned_rule.data.made_vectors import VECTOR_KINDS, by_class


@gin.configurable
def gaussian_mixture(
    size: int,
    channels: int,
    classes: int = 64,
    examples: int = 64,
    dimensions: int = 196,
    informative: int = 24,
    spread: float = 1.0,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Classes that differ by their means in some dimensions; the others are noise.

    Args:
        size: of no effect.
        channels: of no effect.
        classes: int. Defaults to `64`.
        examples: int, examples of each class. Defaults to `64`.
        dimensions: int, length of a vector. Defaults to `196`.
        informative: int, dimensions in which means differ. Defaults to `24`.
        spread: float, standard deviation within a class, that of the means being 1. Defaults to
            `1.0`. Each of the other dimensions has a standard deviation between 0 and twice it.
        seed: int, which vectors. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of vectors, `[n, 1, dimensions, 1]`.

    Raises:
        ValueError: if `informative` is not between 1 and `dimensions`, or a number is below 1.

    Example:
    ```python
    from keras_learned_rule.data.synthetic import gaussian_mixture

    mixture = gaussian_mixture(size=14, channels=1, classes=8)
    assert mixture.images.shape == (512, 1, 196, 1)
    ```
    """
    own = {"informative": integer(least=1), "spread": number(least=0)}
    check_all("gaussian_mixture", locals(), VECTOR_KINDS | own)
    if informative > dimensions:
        raise ValueError(
            f"`informative` must be at most `dimensions`, {dimensions}. Received: {informative}"
        )
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 2, dimensions)
    noise[:informative] = 1.0
    means = np.zeros((classes, 1, dimensions))
    means[..., :informative] = rng.normal(size=(classes, 1, informative))
    values = means + spread * noise * rng.normal(size=(classes, examples, dimensions))
    return by_class(as_bytes(values), "gaussian_mixture").part(part, held_out_fraction)


@gin.configurable
def random_manifolds(
    size: int,
    channels: int,
    classes: int = 64,
    examples: int = 64,
    dimensions: int = 196,
    manifold_dimensions: int = 3,
    noise: float = 0.3,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Each class is a curved surface of few dimensions: a random tanh network of Gaussian points.

    Args:
        size: of no effect.
        channels: of no effect.
        classes: int. Defaults to `64`.
        examples: int, examples of each class. Defaults to `64`.
        dimensions: int, length of a vector. Defaults to `196`.
        manifold_dimensions: int, dimensions of the surface. Defaults to `3`.
        noise: float, standard deviation of what is added to each dimension, where the surface
            itself has about 1. Defaults to `0.3`.
        seed: int, which vectors. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of vectors, `[n, 1, dimensions, 1]`.

    Raises:
        ValueError: if a number is below 1.

    Example:
    ```python
    from keras_learned_rule.data.synthetic import random_manifolds

    surfaces = random_manifolds(size=14, channels=1, classes=8, dimensions=50)
    assert surfaces.images.shape == (512, 1, 50, 1)
    ```
    """
    own = {"manifold_dimensions": integer(least=1), "noise": number(least=0)}
    check_all("random_manifolds", locals(), VECTOR_KINDS | own)
    rng = np.random.default_rng(seed)
    hidden = 4 * manifold_dimensions
    points = rng.normal(size=(classes, examples, manifold_dimensions))
    inner = rng.normal(size=(classes, manifold_dimensions, hidden)) / manifold_dimensions**0.5
    bias = rng.normal(size=(classes, 1, hidden))
    outer = rng.normal(size=(classes, hidden, dimensions)) / hidden**0.5
    values = np.tanh(2 * points @ inner + bias) @ outer
    values += noise * rng.normal(size=values.shape)
    return by_class(as_bytes(values), "random_manifolds").part(part, held_out_fraction)


@gin.configurable
def sparse_counts(
    size: int,
    channels: int,
    classes: int = 64,
    examples: int = 64,
    dimensions: int = 196,
    length: int = 60,
    topics: int = 16,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Counts of words in texts: mostly zeros, few words very frequent, classes mixing topics.

    A topic is a distribution over words, drawn around a power law of frequencies that all topics
    share; a class mixes few topics. A text's words are drawn from its class, and its expected
    length varies.

    Args:
        size: of no effect.
        channels: of no effect.
        classes: int. Defaults to `64`.
        examples: int, examples of each class. Defaults to `64`.
        dimensions: int, number of words and length of a vector. Defaults to `196`.
        length: int, words of a text on average. Defaults to `60`.
        topics: int. Defaults to `16`.
        seed: int, which vectors. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of vectors, `[n, 1, dimensions, 1]`.

    Raises:
        ValueError: if a number is below 1.

    Example:
    ```python
    from keras_learned_rule.data.synthetic import sparse_counts

    texts = sparse_counts(size=14, channels=1, classes=8)
    assert (texts.images == 0).mean() > 0.5
    ```
    """
    own = {"length": number(above=0), "topics": integer(least=1)}
    check_all("sparse_counts", locals(), VECTOR_KINDS | own)
    rng = np.random.default_rng(seed)
    frequencies = rng.permutation(1 / np.arange(1, dimensions + 1))
    frequencies *= dimensions / frequencies.sum()
    # Gamma draws, normalised, are Dirichlet draws; these stay above zero.
    words = rng.gamma(0.3, size=(topics, dimensions)) * frequencies + 1e-3
    words /= words.sum(axis=1, keepdims=True)
    mixtures = rng.dirichlet(np.full(topics, 0.2), size=(classes, 1))
    lengths = length * rng.gamma(4.0, 0.25, size=(classes, examples, 1))
    counts = rng.poisson(lengths * (mixtures @ words))
    return by_class(as_bytes(counts), "sparse_counts").part(part, held_out_fraction)
