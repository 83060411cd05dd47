"""The compact rule's parameters of a layer: by its place, its network's size, and its inputs."""

import math

from keras import ops

# A network of this many hidden layers and units in each is short of nothing: the base model of the
# experiments.
REFERENCE_DEPTH = 4
REFERENCE_WIDTH = 128
# What a network can be short of.
SHORTAGES = ("shallow", "narrow")


def deviations(spec):
    """What moves a layer's parameters away from those of the base model on dense inputs.

    Args:
        spec: A `RuleSpec` with the compact merge.

    Returns:
        A tuple of names; each has an array beside every array of the merge.
    """
    return spec.size_aware * SHORTAGES + spec.sparsity_aware * ("sparse",)


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


def layer_parameters(spec, theta, state, i, x_lower):
    """The parameters by which a layer learns.

    Args:
        spec: A `RuleSpec` with the compact merge.
        theta: Dict of tensors.
        state: Tuple of dicts with "w" of every weight layer, bottom-up; only shapes are read.
        i: Which layer.
        x_lower: `Standardized` inputs of the layer, [E, n_lower].

    Returns:
        A dict from the names of `merge_arrays` to scalar tensors; "coefficients" is [terms].
    """
    blend = layer_blend(spec.groups, i, len(state), state[i]["w"].dtype)
    # That nothing is short is known before anything is computed: no work for what it would change.
    known = shortages(state, i) if spec.size_aware else {}
    moved = {lack: share for lack, share in known.items() if share}
    if spec.sparsity_aware:
        moved["sparse"] = sparsity(x_lower.values)
    parameters = {}
    for name in merge_arrays(spec):
        value = theta[f"merge/{name}"]
        for what, share in moved.items():
            value = value + share * theta[f"merge/{what}/{name}"]
        parameters[name] = ops.matmul(blend, value)
    return parameters


def shortages(state, i):
    """How much a layer's network is short of layers and units.

    Args:
        state: See `layer_parameters`.
        i: See `layer_parameters`.

    Returns:
        A dict from the names of `SHORTAGES` to shares in [0, 1]; "shallow" is 1 in a network
        without hidden layers. An embedding is as narrow as the hidden layer below it.
    """
    hidden = len(state) - 1
    units = state[min(i, hidden - 1)]["w"].shape[1] if hidden else REFERENCE_WIDTH
    return {
        "shallow": 1.0 - min(1.0, hidden / REFERENCE_DEPTH),
        "narrow": 1.0 - min(1.0, units / REFERENCE_WIDTH),
    }


def sparsity(x):
    """How much sparser inputs are than normal ones: mostly near their mean, and seldom far from it.

    By the squared mean deviation from the mean over the variance, which is 2 / pi for a normal
    distribution whatever its scale, more for flat ones and less for sparse ones. An input that is
    on in some examples and off in all others is sparse where these are less than a fifth.

    Args:
        x: [E, n] standardized inputs; those that never change do not count.

    Returns:
        Scalar tensor in [0, 1], the mean over inputs: 0 for normal and flat ones.
    """
    spread = ops.sum(ops.square(ops.mean(ops.abs(x), axis=0)))
    variance = ops.sum(ops.mean(ops.square(x), axis=0))
    return ops.relu(1.0 - 0.5 * math.pi * spread / (variance + 1e-12))


def layer_blend(groups, i, count, dtype):
    """[groups] mixing weights of layer i of `count`: first, middle or last parameters.

    A network of a single layer is first and last at once and takes half of each.
    """
    if groups == 1:
        return ops.ones((1,), dtype)
    first, last = float(i == 0), float(i == count - 1)
    middle = float(not first and not last)
    total = first + middle + last
    return ops.convert_to_tensor([first / total, middle / total, last / total], dtype)
