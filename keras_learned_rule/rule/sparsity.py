"""Merge parameters that depend on how sparse the data are."""

import math

from keras import ops

from keras_learned_rule.rule.scaling import standardize

# All that is sparser counts as this, the mean of warped glyphs. Sparse counts have 0.42, and were
# learned worse with coefficients that followed the sparsity so far.
LARGEST = 0.25
# Between these what is learned for sparse data gives way to what is for very sparse ones. Glyphs
# with a wide margin have up to 0.44, binary texts of 230 words 0.53, counts of the same 0.68.
VERY_SPARSE_FROM, VERY_SPARSE_TO = 0.44, 0.52


def adapted_theta(spec, theta, x):
    """Theta for data like these: every merge array moved by what was learned for so sparse ones.

    By its "sparse" array times the sparsity, which above 0.25 counts as 0.25; what small networks
    do otherwise likewise, if the rule is `sparse_by_size`. If it is `very_sparse`, from a sparsity
    of 0.44 to one of 0.52 the "sparse" arrays give way to the "very_sparse" ones, which are added
    as they are.

    Args:
        spec: A `RuleSpec` with the compact merge.
        theta: Dict of tensors.
        x: [E, n_lower], what enters the first weight layer.

    Returns:
        A dict of tensors; theta itself for a rule that is not `sparsity_aware`.
    """
    if not spec.sparsity_aware:
        return theta
    found = sparsity(x)
    shares = {"merge/sparse/": ops.minimum(found, LARGEST)}
    if spec.very_sparse:
        way = (found - VERY_SPARSE_FROM) / (VERY_SPARSE_TO - VERY_SPARSE_FROM)
        very = ops.clip(way, 0.0, 1.0)
        shares["merge/sparse/"] = (1.0 - very) * shares["merge/sparse/"]
        shares["merge/very_sparse/"] = very
    adapted = dict(theta)
    for condition, share in shares.items():
        for name in theta:
            if name.startswith(condition):
                moved = "merge/" + name.removeprefix(condition)
                adapted[moved] = adapted[moved] + share * theta[name]
    return adapted


def sparsity(x):
    """How much sparser inputs are than normal ones: mostly near their mean, and seldom far from it.

    By the squared mean deviation from the mean over the variance, which is 2 / pi for a normal
    distribution whatever its scale, more for flat ones and less for sparse ones. An input that is
    on in some examples and off in all others is sparse where these are less than a fifth.

    Args:
        x: [E, n] inputs; those that never change do not count.

    Returns:
        Scalar tensor in [0, 1], of the mean over inputs: 0 for normal and flat ones.
    """
    values = standardize(x).values
    spread = ops.sum(ops.square(ops.mean(ops.abs(values), axis=0)))
    variance = ops.sum(ops.mean(ops.square(values), axis=0))
    return ops.relu(1.0 - 0.5 * math.pi * spread / (variance + 1e-12))
