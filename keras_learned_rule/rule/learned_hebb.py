"""A Hebbian term whose functions of what is below and above the weights are learned.

A Hebbian change correlates the input of the weights with the response of their unit. Here both go
through a small network first, the same for every unit of a layer: one hidden layer of rectified
channels, read out as a few numbers. Beside its own value a unit sees how strong the example is in
its layer, and its own statistics, so that the change remains local to the two units and their
layers: there are no deltas and no backward weights.
"""

from keras import ops

from keras_learned_rule.rule.layer_parameters import layer_blend
from keras_learned_rule.rule.products import product_over_examples
from keras_learned_rule.rule.scaling import rms_one
from keras_learned_rule.rule.signals import shares

NAME = "learned_hebb"
# What the networks see: of the unit on the example, of the example, of the unit.
OF_EXAMPLE = ("mean", "strength")
FEATURES = {
    "lower": ("x", *OF_EXAMPLE, "deviation"),
    "upper": ("z", "x", "share", *OF_EXAMPLE, "bias"),
}
# Keeps the root differentiable at an example of nothing but zeros.
_TINY = 1e-12


def learned_hebb_arrays(spec):
    """Shapes of the arrays of theta that the term has; the first axis is the place of the layer.

    Args:
        spec: A `RuleSpec`.

    Returns:
        A dict from name, such as "learned_hebb/upper/kernel", to shape tuple; empty for a rule
        without the term.
    """
    if NAME not in spec.terms:
        return {}
    shapes = {}
    for side, features in FEATURES.items():
        parts = dict(
            kernel=(len(features), spec.hidden_width),
            offset=(spec.hidden_width,),
            readout=(spec.hidden_width, spec.readout_channels),
        )
        for part, shape in parts.items():
            shapes[f"{NAME}/{side}/{part}"] = (spec.groups, *shape)
    return shapes


def learned_functions(spec, theta, place):
    """The functions at a place, as `layer_parameters`; None for a rule without the term."""
    names = learned_hebb_arrays(spec)
    if not names:
        return None
    blend = layer_blend(spec.groups, place, theta["merge/step"].dtype)
    return {name: ops.tensordot(blend, theta[name], 1) for name in names}


def learned_hebb(signals):
    """The term, of root mean square 1; which way it goes is up to the functions.

    Args:
        signals: `LayerSignals` of the weight layer, with `learned` from `learned_functions`.

    Returns:
        Tensor [n_lower, n_upper].
    """
    x, z = signals.x_lower, signals.z_upper
    relative = rms_one(x.deviation)
    below = _read(signals.learned, "lower", [x.values], relative)
    above = [z.values, signals.x_upper.values, shares(signals)]
    bias = z.mean * ops.rsqrt(ops.square(z.mean) + ops.square(z.deviation))
    above = _read(signals.learned, "upper", above, bias)
    # As in competition: inputs that hardly vary hardly count.
    return rms_one(product_over_examples(below, above) * ops.transpose(relative))


def _read(learned, side, values, of_unit):
    """Runs the network of a side; [channels * E, n] of it, channel by channel."""
    kernel, offset, readout = (
        learned[f"{NAME}/{side}/{part}"] for part in ("kernel", "offset", "readout")
    )
    count = len(values)
    own, of_example, unit_kernel = kernel[:count], kernel[count:-1], kernel[-1]
    squares = ops.mean(ops.square(values[0]), axis=-1)
    example = ops.stack([ops.mean(values[0], axis=-1), ops.sqrt(squares + _TINY)], axis=-1)
    by_example = ops.matmul(example, of_example)
    by_unit = ops.transpose(of_unit) * unit_kernel + offset
    read = [0.0] * readout.shape[1]
    # One hidden channel after the other: compilers fuse each, so that in a forward pass none lies
    # in memory for long. What is compiled grows with their number.
    for k in range(readout.shape[0]):
        hidden = by_example[:, k, None] + by_unit[:, k]
        hidden = ops.relu(hidden + sum(own[f, k] * value for f, value in enumerate(values)))
        read = [total + readout[k, c] * hidden for c, total in enumerate(read)]
    return ops.concatenate(read, axis=0)
