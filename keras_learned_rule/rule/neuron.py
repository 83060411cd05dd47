"""The neuron network: hidden states h of every unit, and the deltas that travel down (SPEC 2, 3).

Layout throughout: [units, E, channels]. A kernel of width k runs along the examples or along the
units; both are two-dimensional convolutions over (units, E), so nothing is transposed.
"""

import math

from keras import ops

from keras_learned_rule.rule.scaling import STATISTICS_EPSILON

BATCH_AXIS, UNIT_AXIS = 1, 0
NORM_EPSILON = 1e-3


def hidden_states(spec, theta, state, signals):
    """Runs the neuron network from the embedding down to the inputs.

    Args:
        spec: A `RuleSpec` with `neuron_network=True`.
        theta: Dict of tensors.
        state: The network's arrays, one dict per weight layer, bottom-up.
        signals: `Signals` of the forward pass.

    Returns:
        (hs, deltas): hidden states [units, E, hidden_width] and deltas
        [units, E, delta_channels] of every unit layer, the inputs first.
    """
    weights = [layer["w"] for layer in state]
    top = len(weights)
    xs = [signals.pres[0], *signals.xs]
    zs = [signals.pres[0], *signals.zs]
    hs, deltas = [None] * (top + 1), [None] * (top + 1)
    delta = _top_delta(spec, theta, signals.xs[-1])
    for k in range(top, -1, -1):
        below = [weights[k - 1]] if k > 0 else []
        above = [weights[k]] if k < top else []
        bias = state[k - 1]["b"] if k > 0 else ops.zeros_like(xs[0][0])
        deltas[k] = delta
        hs[k] = _neuron_network(spec, theta, xs[k], zs[k], delta, bias, below, above)
        if k > 0:
            leaving = _leaving_delta(theta, zs[k], delta, hs[k])
            delta = _delta_below(state[k - 1]["v"], leaving, signals.factors[k - 1])
    return hs, deltas


def dense(theta, name, x):
    """The named linear map with bias on the last axis."""
    return ops.matmul(x, theta[f"{name}/kernel"]) + theta[f"{name}/bias"]


def _top_delta(spec, theta, embedding):
    x = ops.expand_dims(ops.transpose(embedding), -1)
    x = _block(spec, theta, "top_delta/conv_0", x, BATCH_AXIS)
    if spec.output_width is None:
        x = _block(spec, theta, "top_delta/conv_1", x, UNIT_AXIS)
        x = _block(spec, theta, "top_delta/conv_2", x, UNIT_AXIS)
    else:
        # The published network mixes the output units as channels: theta then fits one width.
        x = ops.transpose(x, (2, 1, 0))
        x = _block(spec, theta, "top_delta/conv_1", x, BATCH_AXIS)
        x = _block(spec, theta, "top_delta/conv_2", x, BATCH_AXIS)
        x = ops.transpose(x, (2, 1, 0))
    last = 3 + spec.top_layers
    for j in range(3, last):
        x = _block(spec, theta, f"top_delta/conv_{j}", x, BATCH_AXIS)
    return _conv(spec, theta, f"top_delta/conv_{last}", x, BATCH_AXIS)


def _neuron_network(spec, theta, x, z, delta, bias, below, above):
    features = [ops.transpose(x)[..., None], ops.transpose(z)[..., None]]
    if spec.unit_position:
        features += _unit_positions(x)
    a = _batch_norm(ops.concatenate([*features, delta], -1), theta["neuron/features/offset"])
    per_unit = ops.concatenate([_weight_statistics(below, above), bias[:, None]], -1)
    per_unit = ops.broadcast_to(per_unit[:, None], (*ops.shape(a)[:2], per_unit.shape[-1]))
    a = ops.concatenate([per_unit, a], -1)
    for j in range(1 + spec.hidden_layers):
        a = _block(spec, theta, f"neuron/conv_{j}", a, BATCH_AXIS)
        mixed = _block(spec, theta, f"neuron/units_{j}/conv_0", a, UNIT_AXIS)
        a = a + _block(spec, theta, f"neuron/units_{j}/conv_1", mixed, UNIT_AXIS)
    return a


def _unit_positions(x):
    t = ops.linspace(0.0, 4.0 * math.pi, ops.shape(x)[1], dtype=x.dtype)
    shape = (ops.shape(x)[1], ops.shape(x)[0], 1)
    return [ops.broadcast_to(f(t)[:, None, None], shape) for f in (ops.sin, ops.cos)]


def _weight_statistics(below, above):
    """Eight numbers per unit about its incoming and outgoing weights, [units, 8]."""
    stats = [f for w in below for f in _statistics(w, axis=0)]
    stats += [f for w in above for f in _statistics(w, axis=1)]
    stats = ops.stack(stats if len(stats) == 8 else stats * 2, -1)
    return stats * ops.rsqrt(ops.mean(ops.square(stats)) + STATISTICS_EPSILON)


def _statistics(w, axis):
    mean = ops.mean(w, axis=axis)
    variance = ops.mean(ops.square(w - ops.mean(w, axis=axis, keepdims=True)), axis=axis)
    return [
        ops.mean(ops.abs(w), axis=axis),
        ops.sqrt(ops.mean(ops.square(w), axis=axis) + STATISTICS_EPSILON),
        mean,
        ops.sqrt(variance + 1e-8),
    ]


def _leaving_delta(theta, z, delta, h):
    return delta * ops.sigmoid(ops.transpose(z))[..., None] + dense(theta, "next_delta", h)


def _delta_below(v, leaving, factor):
    units, examples, channels = ops.shape(leaving)
    delta = ops.matmul(v, ops.reshape(leaving, (units, examples * channels)))
    delta = ops.reshape(delta, (ops.shape(v)[0], examples, channels))
    if factor is not None:
        delta = delta * ops.transpose(factor)[..., None]
    scale = ops.mean(ops.square(delta), axis=-1, keepdims=True)
    return delta * ops.rsqrt(scale + STATISTICS_EPSILON)


def _block(spec, theta, name, x, axis):
    x = _conv(spec, theta, name, x, axis)
    return ops.relu(_batch_norm(x, theta[f"{name}/offset"]))


def _conv(spec, theta, name, x, axis):
    kernel, bias = theta[f"{name}/kernel"], theta[f"{name}/bias"]
    if spec.pooled:
        own, pooled = ops.split(kernel[0], 2, axis=0)
        return ops.matmul(x, own) + ops.matmul(ops.mean(x, axis=axis, keepdims=True), pooled) + bias
    if kernel.shape[0] == 1:
        return ops.matmul(x, kernel[0]) + bias
    return (ops.conv(x[None], ops.expand_dims(kernel, 1 - axis), padding="same") + bias)[0]


def _batch_norm(x, offset):
    """Normalises each channel over units and examples; an offset but no gain."""
    centred = x - _channel_mean(x)
    variance = _channel_mean(ops.square(centred))
    return centred * ops.rsqrt(variance + NORM_EPSILON) + offset


def _channel_mean(x):
    # One axis after the other: compilers reduce a single axis several times faster than two.
    return ops.mean(ops.mean(x, axis=1), axis=0)
