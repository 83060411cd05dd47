"""The named weight-change terms, each [n_lower, n_upper]; the merge weighs and adds them.

As in the published code, the inner step subtracts: `hebb` is minus the correlation. Terms of the
paper: appendix A, with the equations that its code computes. `competition`,
`competition_spread`, `decorrelation`, `scaled_decorrelation`, `hebb_z` and `learned_hebb` are ours.
"""

from collections.abc import Callable

from keras import ops

from keras_learned_rule.rule.layer_parameters import REFERENCE_WIDTH
from keras_learned_rule.rule.learned_hebb import learned_hebb
from keras_learned_rule.rule.products import product, product_over_examples
from keras_learned_rule.rule.scaling import column_rms_one, example_count
from keras_learned_rule.rule.signals import shares

_TERMS: dict[str, Callable] = {}
# Of competing terms only the direction counts, however small they are.
_TINY = 1e-12
# The signal that the Hebbian terms correlate the input with. They are linear in it, so that a
# weighted sum of them takes one product.
_HEBBIAN = {"hebb": "x_upper", "hebb_z": "z_upper"}
# Terms for which it pays to ask first whether their coefficient is 0.
_COSTLY = ("learned_hebb",)


def weight_change_terms(names, signals):
    """Computes terms by name.

    Args:
        names: Iterable of names out of `term_names.TERMS`.
        signals: `LayerSignals` of the weight layer.

    Returns:
        A list of [n_lower, n_upper] tensors in the order of `names`.
    """
    computed = _computed(names, signals)
    return [computed[name] for name in names]


def weighted_terms(names, coefficients, signals, skips_idle=False):
    """The sum of the terms, each times its coefficient.

    Args:
        names: Names out of `term_names.TERMS`, at least one.
        coefficients: [terms], in the order of `names`.
        signals: `LayerSignals` of the weight layer.
        skips_idle: Whether a costly term with a coefficient of 0 is left out, and its gradient
            with it. Defaults to `False`.

    Returns:
        Tensor [n_lower, n_upper].
    """
    weights = {name: coefficients[i] for i, name in enumerate(names)}
    idle = [name for name in names if skips_idle and name in _COSTLY]
    computed = _computed([n for n in names if n not in _HEBBIAN and n not in idle], signals)
    others = [weights[name] * term for name, term in computed.items()]
    others += [_unless_idle(weights[name], name, signals) for name in idle]
    upper = [weights[name] * _upper(name, signals) for name in names if name in _HEBBIAN]
    return sum(others + ([_hebbian(signals, sum(upper))] if upper else []))


def _unless_idle(weight, name, signals):
    return ops.cond(
        ops.equal(weight, 0.0),
        lambda: ops.zeros_like(signals.w),
        lambda: weight * _TERMS[name](signals),
    )


def _upper(name, signals):
    return getattr(signals, _HEBBIAN[name]).values


def _computed(names, signals):
    """Terms by name; competition once where both it and its spread are asked for."""
    found = {}
    if "competition_spread" in names:
        found["competition"] = _competition(signals)
        found["competition_spread"] = _competition_spread(signals, found["competition"])
    return {name: found[name] if name in found else _TERMS[name](signals) for name in names}


def _term(name):
    def register(function):
        _TERMS[name] = function
        return function

    return register


@_term("w_base")
def _w_base(s):
    return s.w


@_term("large_decay")
def _large_decay(s):
    return ops.square(s.w) * ops.sign(s.w)


@_term("decorr_x")
def _decorr_x(s):
    x = s.x_upper.values
    width = ops.cast(ops.shape(x)[1], x.dtype)
    m = product(s.w, product_over_examples(x, x) / (example_count(x) * ops.sqrt(width)))
    return m * ops.rsqrt(ops.mean(ops.square(m) + 1e-8))


@_term("hebb")
def _hebb(s):
    return _hebbian(s, _upper("hebb", s))


@_term("hebb_z")
def _hebb_z(s):
    return _hebbian(s, _upper("hebb_z", s))


def _hebbian(s, upper):
    return product_over_examples(s.x_lower.values, upper / -example_count(upper))


def competition_change(s):
    """What competition adds to the weights before its columns are scaled.

    Soft winner-take-all: units that win more than their mean on an example move towards it.

    Args:
        s: `LayerSignals` of the weight layer.

    Returns:
        Tensor [n_lower, n_upper], of a size that does not depend on examples and units.
    """
    won = shares(s)
    units = ops.cast(ops.shape(won)[1], won.dtype)
    change = product_over_examples(s.x_lower.values, won * (units / example_count(won)))
    return change * ops.transpose(s.x_lower.deviation)


@_term("competition")
def _competition(s):
    change = competition_change(s) if s.competed is None else s.competed
    return -column_rms_one(change, _TINY)


def _competition_spread(s, competition):
    # What competition changes in the pre-activations, correlated with the inputs once more: the
    # change spreads to inputs that vary together, as a step towards the principal components.
    x = s.x_lower.values
    return column_rms_one(product_over_examples(x, product(x, competition)), _TINY)


@_term("decorrelation")
def _decorrelation(s):
    z = s.z_upper.values
    correlation = product_over_examples(z, z) / example_count(z)
    return product(s.w, _without_diagonal(correlation))


@_term("scaled_decorrelation")
def _scaled_decorrelation(s):
    # A unit is pushed by all others, so that the push grows as the root of their number; at the
    # reference it is the same, scaled or not.
    width = ops.cast(ops.shape(s.w)[1], s.w.dtype)
    return _decorrelation(s) * ops.sqrt(REFERENCE_WIDTH / width)


_term("learned_hebb")(learned_hebb)


@_term("0_order")
def _zeroth_order(s):
    return _across("0_order", s)


@_term("rbf")
def _rbf(s):
    return ops.exp(-ops.square(s.w)) * _across("rbf", s)


@_term("1_order")
def _first_order(s):
    return s.w * _across("1_order", s)


@_term("lin_upper_symm")
def _lin_upper_symm(s):
    return ops.matmul(s.w, _symmetric("lin_upper_symm", s.rows_upper))


@_term("lin_upper_psd")
def _lin_upper_psd(s):
    rows = s.rows_upper["lin_upper_psd/top"]
    gram = _mean_product(rows, rows)
    return ops.matmul(s.w, gram / _root_of_width(gram))


@_term("lin_lower_symm")
def _lin_lower_symm(s):
    return ops.matmul(_symmetric("lin_lower_symm", s.rows_lower), s.w)


@_term("sqr_upper_symm")
def _sqr_upper_symm(s):
    grown = ops.matmul(_root_growth(s.w), _symmetric("sqr_upper_symm", s.rows_upper))
    return grown * ops.sign(s.w)


@_term("sqr_lower_symm")
def _sqr_lower_symm(s):
    grown = ops.matmul(_symmetric("sqr_lower_symm", s.rows_lower), _root_growth(s.w))
    return grown * ops.sign(s.w)


def _across(name, s):
    return _mean_product(s.rows_lower[f"{name}/bottom"], s.rows_upper[f"{name}/top"])


def _symmetric(name, rows):
    u = _mean_product(rows[f"{name}/bottom"], rows[f"{name}/top"])
    u = (u + ops.transpose(u)) / 2.0**0.5
    return _without_diagonal(u) / _root_of_width(u)


def _mean_product(a, b):
    return ops.matmul(a, ops.transpose(b)) / ops.cast(ops.shape(b)[1], b.dtype)


def _without_diagonal(m):
    return m * (1.0 - ops.eye(m.shape[0], dtype=m.dtype))


def _root_of_width(m):
    return ops.sqrt(ops.cast(ops.shape(m)[0], m.dtype))


def _root_growth(w):
    return ops.sqrt(1.0 + ops.square(w)) - 1.0
