"""The compact rule's parameters of one layer: by its place, and by what the network is short of."""

from keras import ops

# A network of this many hidden layers and units in each is short of nothing: the base model of the
# experiments.
REFERENCE_DEPTH = 4
REFERENCE_WIDTH = 128
# What a network can be short of.
SHORTAGES = ("shallow", "narrow")


def conditions(spec):
    """What the merge depends on beside the place of a layer.

    Args:
        spec: A `RuleSpec` with the compact merge.

    Returns:
        A tuple of names; each has an array beside every array of the merge, to be added as far as
        the condition holds: those of "sparse/narrow" to those of "narrow". Where data are
        "very_sparse" they are not "sparse".
    """
    by_size = tuple(f"sparse/{lack}" for lack in SHORTAGES) if spec.sparse_by_size else ()
    sparse = spec.sparsity_aware * ("sparse",) + by_size + spec.very_sparse * ("very_sparse",)
    return spec.size_aware * SHORTAGES + sparse


def merge_arrays(spec):
    """Shapes of the compact merge's arrays for a network that is short of nothing.

    Args:
        spec: A `RuleSpec`.

    Returns:
        A dict from name, such as "step", to shape; the first axis is the place of the layer.
    """
    shapes = {"coefficients": (spec.groups, len(spec.terms))}
    for name in ("log_temperature", "step", "bias_rate", "bias_target"):
        shapes[name] = (spec.groups,)
    if spec.shaped_bias:
        shapes["symmetric_bias_target"] = (spec.groups,)
    if spec.running_competition:
        shapes["log_window"] = (spec.groups,)
    return shapes


def layer_parameters(spec, theta, place):
    """The parameters by which a layer learns.

    Args:
        spec: A `RuleSpec` with the compact merge.
        theta: Dict of tensors.
        place: `Place` of the layer.

    Returns:
        A dict from the names of `merge_arrays` to scalar tensors; "coefficients" is [terms].
    """
    blend = layer_blend(spec.groups, place, theta["merge/step"].dtype)
    lacks = shortages(place) if spec.size_aware else {}
    parameters = {}
    for name in merge_arrays(spec):
        value = theta[f"merge/{name}"]
        for lack, share in lacks.items():
            # Known before anything is computed: large networks do no work for small ones.
            if share:
                value = value + share * theta[f"merge/{lack}/{name}"]
        parameters[name] = ops.matmul(blend, value)
    return parameters


def shortages(place):
    """How much a layer's network is short of layers and units.

    Args:
        place: `Place` of the layer.

    Returns:
        A dict from the names of `SHORTAGES` to shares in [0, 1]; "shallow" is 1 in a network
        without hidden layers. An embedding is as narrow as the hidden layer below it.
    """
    width = REFERENCE_WIDTH if place.width is None else place.width
    return {
        "shallow": 1.0 - min(1.0, place.hidden / REFERENCE_DEPTH),
        "narrow": 1.0 - min(1.0, width / REFERENCE_WIDTH),
    }


def layer_blend(groups, place, dtype):
    """[groups] mixing weights of a place: first, middle or last parameters.

    A network of a single layer is first and last at once and takes half of each.
    """
    if groups == 1:
        return ops.ones((1,), dtype)
    first, last = float(place.first), float(place.last)
    middle = float(not first and not last)
    total = first + middle + last
    return ops.convert_to_tensor([first / total, middle / total, last / total], dtype)
