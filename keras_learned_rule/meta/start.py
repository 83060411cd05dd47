"""Where meta-training starts: from new parameters, or from what another rule has learned."""

import dataclasses
import os

import numpy as np

from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta, theta_shapes
from keras_learned_rule.rule.update_rule import UpdateRule


def starting_theta(start_from, rule, seed, values=None):
    """The theta that meta-training starts from.

    A compact rule with more terms, or that is aware of sizes or sparsity where the other is not,
    starts as that one: what is new has coefficients of zero, and functions as `init_theta` draws
    them. Teachers make no difference to theta. (A rule that is `very_sparse` would learn bags of
    words otherwise at once, and the published merge divides by the number of terms. Competing terms
    can be added to others of their kind.)

    Args:
        start_from: Name of a preset, path of a theta file, or None for `init_theta`.
        rule: `RuleSpec` of the rule to be meta-trained.
        seed: Non-negative integer, of what is drawn.
        values: Dict from names of arrays to numbers that they have instead: one number for all
            entries, or nested lists of the array's shape. Defaults to none.

    Returns:
        A dict from name to float32 array.

    Raises:
        ValueError: The other rule differs in more than that, its file is damaged, or `values` does
            not fit the rule.
        FileNotFoundError: There is no such preset or file.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.meta.start import starting_theta

    terms = (*RuleSpec.compact().terms, "learned_hebb")
    theta = starting_theta("compact_6", RuleSpec.compact(terms=terms), seed=0)
    assert not theta["merge/coefficients"][:, terms.index("learned_hebb")].any()
    ```
    """
    theta = init_theta(rule, seed) if start_from is None else _grown(start_from, rule, seed)
    return theta | {name: _filled(theta, name, v) for name, v in (values or {}).items()}


def _filled(theta, name, value):
    """The array of this name with other entries."""
    if name not in theta:
        raise ValueError(
            f"train.start_values must be numbers by names out of {list(theta)}. "
            f"Received: unknown {name!r}"
        )
    shape = theta[name].shape
    try:
        given = np.asarray(value)
    except ValueError:
        given = np.array("")
    array = given.astype("float32") if given.dtype.kind in "iuf" else np.array(np.nan)
    if array.shape not in ((), shape) or not np.all(np.isfinite(array)):
        raise ValueError(
            f"train.start_values must be one finite number for all of {name!r}, or lists of them "
            f"of its shape {shape}. Received: {value!r}"
        )
    return np.broadcast_to(array, shape).copy()


def _grown(start_from, rule, seed):
    """The theta of another rule, with starting values for what it lacks."""
    start = _loaded(start_from)
    if not _knows_less(start.spec, rule):
        raise ValueError(
            f"start_from must be a theta of the same rule, or of one with fewer terms, {rule}. "
            f"Received: {start_from!r} of {start.spec}"
        )
    theta = init_theta(rule, seed)
    for name, array in start.theta.items():
        coefficients = name.endswith("coefficients")
        theta[name] = _by_term(array, start.spec, rule) if coefficients else array
    return theta


def _loaded(start_from):
    presets = UpdateRule.presets()
    if start_from in presets:
        return UpdateRule.from_preset(start_from)
    if not os.path.isfile(start_from):
        raise FileNotFoundError(
            f"start_from must be a preset, one of {presets}, or the path of a theta file. "
            f"Received: {start_from!r}"
        )
    return UpdateRule.load(start_from)


def _knows_less(spec, rule):
    """Whether all that is learned in a rule with this spec has a place in `rule`."""
    awareness = {"size_aware", "sparsity_aware", "sparse_by_size"}
    # Teachers have no numbers of their own.
    may_differ = {*awareness, "hidden_width", "readout_channels", "teacher"}
    if rule.merge == "compact":
        may_differ.add("terms")
    for field in dataclasses.fields(RuleSpec):
        name = field.name
        if name not in may_differ and getattr(spec, name) != getattr(rule, name):
            return False
    shapes, known = theta_shapes(rule), theta_shapes(spec)
    fits = (name.endswith("coefficients") or shapes.get(name) == known[name] for name in known)
    return set(spec.terms) <= set(rule.terms) and all(fits)


def _by_term(coefficients, spec, rule):
    """Coefficients [..., terms of spec] in the order of the terms of rule; zero for others."""
    known = [rule.terms.index(term) for term in spec.terms]
    placed = np.zeros((*coefficients.shape[:-1], len(rule.terms)), "float32")
    placed[..., known] = coefficients
    return placed
