"""Merge parameters that depend on how sparse the data are."""

import math

from keras import ops

from keras_learned_rule.rule.scaling import standardize

# All that is sparser counts as this, the mean of warped glyphs. Sparse counts have 0.42, and were
# learned worse with coefficients that followed the sparsity so far.
LARGEST = 0.25
SPARSE = "merge/sparse/"


def adapted_theta(spec, theta, x):
    """Theta for data like these: every merge array moved by its "sparse" one times the sparsity.

    A sparsity above 0.25 counts as 0.25. What small networks do otherwise is moved likewise if the
    rule is `sparse_by_size`.

    Args:
        spec: A `RuleSpec` with the compact merge.
        theta: Dict of tensors.
        x: [E, n_lower], what enters the first weight layer.

    Returns:
        A dict of tensors; theta itself for a rule that is not `sparsity_aware`.
    """
    if not spec.sparsity_aware:
        return theta
    share = ops.minimum(sparsity(x), LARGEST)
    names = [name.removeprefix(SPARSE) for name in theta if name.startswith(SPARSE)]
    moved = {
        f"merge/{name}": theta[f"merge/{name}"] + share * theta[SPARSE + name] for name in names
    }
    return {**theta, **moved}


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
