"""Made expression of genes: few examples of some hundred features that modules drive."""

import gin
import numpy as np

from keras_learned_rule.checks import check_all, flag, integer, number
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.data.made_vectors import (
    SCALED_KINDS,
    by_class,
    class_factors,
    loadings,
    scaled,
)

# Share of the modules that a gene belongs to, besides one.
_DENSITY = 0.05
# Degrees of freedom of Student's t: variance is finite and kurtosis is not.
_FREEDOM = 3
# Mean and standard deviation of the logarithm of a gene's expected count.
_COUNT, _COUNT_SPREAD = 1.5, 1.5
_OWN = {
    **dict.fromkeys(("modules", "shifted"), integer(least=1)),
    **dict.fromkeys(("shift", "noise"), number(least=0)),
    "counts": flag(),
}


@gin.configurable
def gene_expression(
    size: int,
    channels: int,
    classes: int = 40,
    examples: int = 50,
    dimensions: int = 200,
    modules: int = 24,
    shifted: int = 3,
    shift: float = 2.5,
    noise: float = 1.0,
    counts: bool = False,
    standardize: bool = True,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Log-ratios or log-counts of genes: modules vary together, and a class shifts few of them.

    Some modules vary much more than others, whether or not they tell classes. A gene follows one
    module or more, up or down, with heavy-tailed noise of a size of its own.

    Args:
        size: of no effect.
        channels: of no effect.
        classes: int. Defaults to `40`.
        examples: int, examples of each class. Defaults to `50`.
        dimensions: int, genes. Defaults to `200`.
        modules: int. Defaults to `24`.
        shifted: int, modules that a class shifts, at most `modules`. Defaults to `3`.
        shift: float, standard deviation of such a shift, in standard deviations of a module within
            a class. Defaults to `2.5`.
        noise: float, about the standard deviation of a gene's noise, where its modules add 1.
            Defaults to `1.0`.
        counts: bool, whether a value is `log(1 + count)` of a Poisson count: examples differ in
            their depth, and rare genes are mostly 0. False gives log-ratios. Defaults to `False`.
        standardize: bool, whether each gene has mean 0 and standard deviation 1, see
            `made_vectors.scaled`. Defaults to `True`.
        seed: int, which world. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of float32 vectors, `[n, 1, dimensions, 1]`.

    Raises:
        ValueError: if a number is out of its range, or `shifted` above `modules`.

    Example:
    ```python
    from keras_learned_rule.data.gene_expression import gene_expression

    ratios = gene_expression(size=14, channels=1, classes=8)
    assert ratios.images.shape == (400, 1, 200, 1)
    ```
    """
    check_all("gene_expression", locals(), SCALED_KINDS | _OWN)
    if shifted > modules:
        raise ValueError(f"`shifted` must be at most `modules`, {modules}. Received: {shifted}")
    rng = np.random.default_rng(seed)
    # Equal in logarithm, from 0.4 to 2.5: the largest module has 40 times the variance.
    strengths = np.exp(rng.uniform(-0.9, 0.9, modules))
    effects = loadings(rng, modules, dimensions, _DENSITY) * strengths[:, None]
    own = np.exp(0.4 * rng.normal(size=dimensions)) * noise / _FREEDOM**0.5
    depth = rng.normal(_COUNT, _COUNT_SPREAD, dimensions)
    values = class_factors(rng, (classes, examples, modules), shifted, shift) @ effects
    values += own * rng.standard_t(_FREEDOM, values.shape)
    values = _log_counts(rng, values, depth) if counts else values
    whole = by_class(scaled(values, standardize), "gene_expression")
    return whole.part(part, held_out_fraction)


def _log_counts(rng, logarithms, depth):
    library = 0.5 * rng.normal(size=(*logarithms.shape[:2], 1))
    # Beyond this no count occurs, and Poisson draws have a limit.
    expected = np.exp(np.minimum(depth + logarithms + library, 15))
    return np.log1p(rng.poisson(expected))
