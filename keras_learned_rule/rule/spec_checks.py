"""Refuses what is no update rule, as soon as its spec is made."""

import math
import numbers

from keras_learned_rule.rule.term_names import NEED_COMPACT, READOUTS, TERMS, competes

# The smallest value of each field that is an integer.
_LEAST = {
    "hidden_width": 1,
    "hidden_layers": 0,
    "top_width": 1,
    "top_layers": 0,
    "delta_channels": 1,
    "readout_channels": 1,
    "batch_kernel": 1,
    "unit_kernel": 1,
    "top_kernel": 1,
    "output_width": 1,
    "groups": 1,
    "reference_steps": 1,
}
_SWITCHES = (
    "neuron_network",
    "pooled",
    "unit_position",
    "identical_updates",
    "shaped_bias",
    "running_competition",
    "size_aware",
    "sparsity_aware",
    "sparse_by_size",
    "very_sparse",
    "teacher",
)


def checked_fields(fields):
    """Checks the fields of a `RuleSpec`.

    Args:
        fields: A dict from name to value, of all fields.

    Returns:
        The same with plain Python numbers and terms as a tuple.

    Raises:
        ValueError: A field has a value outside what `RuleSpec` says.
    """
    fields = dict(fields)
    for name, least in _LEAST.items():
        if name != "output_width" or fields[name] is not None:
            fields[name] = _integer(name, fields[name], least)
    for name in ("learning_rate", "length_exponent"):
        fields[name] = _amount(name, fields[name])
    for name in _SWITCHES:
        if not isinstance(fields[name], bool):
            raise ValueError(f"{name} must be a bool. Received: {fields[name]!r}")
    fields["terms"] = _terms(fields["terms"], fields["neuron_network"])
    _check_kernels(fields)
    _check_merge(fields)
    return fields


def _integer(name, value, least):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name} must be an integer, at least {least}. Received: {value!r}")
    return int(value)


def _amount(name, value):
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number, at least 0. Received: {value!r}")
    return float(value)


def _terms(terms, neuron_network):
    if not isinstance(terms, (list, tuple)):
        raise ValueError(f"terms must be a list or tuple. Received: terms={terms!r}")
    available = [t for t in TERMS if neuron_network or t not in READOUTS]
    # Without hashing: a damaged file may hold lists where names should be.
    repeated = any(t in terms[:i] for i, t in enumerate(terms))
    if not terms or repeated or any(t not in available for t in terms):
        raise ValueError(
            f"terms must be distinct names out of {available} "
            f"(neuron_network={neuron_network}). Received: terms={list(terms)}"
        )
    return tuple(terms)


def _check_kernels(fields):
    for name in ("batch_kernel", "unit_kernel", "top_kernel"):
        if fields[name] % 2 == 0:
            raise ValueError(f"{name} must be an odd width. Received: {fields[name]!r}")
        if fields["pooled"] and fields[name] != 1:
            raise ValueError(f"{name} must be 1 if pooled. Received: {fields[name]!r}")


def _check_merge(fields):
    merge = fields["merge"]
    if merge not in ("published", "compact"):
        raise ValueError(f'merge must be "published" or "compact". Received: {merge!r}')
    if merge == "published" and not fields["neuron_network"]:
        raise ValueError(
            "The published merge needs the neuron network. Received: neuron_network=False"
        )
    if merge == "compact" and not fields["identical_updates"]:
        raise ValueError(
            "identical_updates must be True with the compact merge. "
            "Received: identical_updates=False"
        )
    for name in ("shaped_bias", "running_competition", "size_aware", "sparsity_aware"):
        if merge == "published" and fields[name]:
            raise ValueError(
                f"{name} must be False with the published merge. Received: {name}=True"
            )
    aware = fields["size_aware"], fields["sparsity_aware"]
    if fields["sparse_by_size"] and not all(aware):
        raise ValueError(
            "sparse_by_size must be False unless size_aware and sparsity_aware are True. "
            f"Received: size_aware={aware[0]}, sparsity_aware={aware[1]}"
        )
    if fields["very_sparse"] and not fields["sparsity_aware"]:
        raise ValueError(
            "very_sparse must be False unless sparsity_aware is True. "
            "Received: sparsity_aware=False"
        )
    if fields["teacher"] and (merge == "published" or fields["neuron_network"]):
        raise ValueError(
            "teacher must be False with the published merge or a neuron network. "
            f"Received: merge={merge!r}, neuron_network={fields['neuron_network']}"
        )
    if fields["running_competition"] and not competes(fields["terms"]):
        raise ValueError(
            "running_competition must be False without a competition term. "
            f"Received: terms={fields['terms']}, running_competition=True"
        )
    unpublished = [t for t in fields["terms"] if t in NEED_COMPACT]
    if merge == "published" and unpublished:
        raise ValueError(
            f"terms must not be of {list(NEED_COMPACT)} with the published merge, which has no "
            f"parameters for them. Received: {unpublished}"
        )
    if fields["groups"] not in ((1,) if merge == "published" else (1, 3)):
        raise ValueError(
            "groups must be 1 (published merge) or 1 or 3 (compact merge). "
            f"Received: groups={fields['groups']!r}"
        )
