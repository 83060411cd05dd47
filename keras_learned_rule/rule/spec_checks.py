"""Refuses what is no update rule, as soon as its spec is made."""

from keras_learned_rule.checks import check_all, flag, integer, number, one_of, optional
from keras_learned_rule.rule.term_names import NEED_COMPACT, READOUTS, TERMS, competes

# Far beyond what anyone trains; beyond it a damaged file would take all memory.
_MOST_WIDTH, _MOST_LAYERS, _MOST_STEPS = 4096, 64, 10**9
_WIDTH, _LAYERS = integer(1, _MOST_WIDTH), integer(0, _MOST_LAYERS)
_WIDTHS = (
    "hidden_width",
    "top_width",
    "delta_channels",
    "readout_channels",
    "batch_kernel",
    "unit_kernel",
    "top_kernel",
)
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
_KINDS = {
    **dict.fromkeys(_WIDTHS, _WIDTH),
    **dict.fromkeys(("hidden_layers", "top_layers"), _LAYERS),
    "output_width": optional(_WIDTH),
    "groups": one_of((1, 3)),
    "reference_steps": integer(1, _MOST_STEPS),
    **dict.fromkeys(("learning_rate", "length_exponent"), number(least=0)),
    **dict.fromkeys(_SWITCHES, flag()),
    "merge": one_of(("published", "compact")),
}


def checked_fields(fields):
    """Checks the fields of a `RuleSpec`.

    Args:
        fields: A dict from name to value, of all fields.

    Returns:
        The same with plain Python numbers and terms as a tuple.

    Raises:
        ValueError: A field has a value outside what `RuleSpec` says.
    """
    fields = fields | check_all("RuleSpec", fields, _KINDS)
    fields["terms"] = checked_terms(fields["terms"], fields["neuron_network"])
    _check_kernels(fields)
    _check_merge(fields)
    return fields


def checked_terms(terms, neuron_network):
    """Checks the terms of a rule.

    Args:
        terms: A list or tuple of names.
        neuron_network: Whether terms that read hidden states are available.

    Returns:
        Them as a tuple.

    Raises:
        ValueError: They are not names of terms that are available, or one is repeated.
    """
    if not isinstance(terms, (list, tuple)):
        raise ValueError(f"RuleSpec.terms must be a list or tuple. Received: {terms!r}")
    available = [t for t in TERMS if neuron_network or t not in READOUTS]
    # Without hashing: a damaged file may hold lists where names should be.
    repeated = any(t in terms[:i] for i, t in enumerate(terms))
    if not terms or repeated or any(t not in available for t in terms):
        raise ValueError(
            f"RuleSpec.terms must be distinct names out of {available} "
            f"(neuron_network={neuron_network}). Received: {list(terms)}"
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
    if merge == "published" and fields["groups"] != 1:
        raise ValueError(
            f"groups must be 1 with the published merge. Received: groups={fields['groups']}"
        )
