"""From named terms to new weights and biases: the published and the compact way."""

from keras import ops

from keras_learned_rule.rule.scaling import bounded_columns, column_rms_one, rms_one
from keras_learned_rule.rule.terms import weight_change_terms, weighted_terms
from keras_learned_rule.rule.theta import MAX_STEP


def published_change(spec, theta, direction, signals):
    """Merges the terms as the published code does (SPEC 4.1).

    Args:
        spec: A `RuleSpec`.
        theta: Dict of tensors.
        direction: "forward" or "backward": whose coefficients to use.
        signals: `LayerSignals`.

    Returns:
        The weight change [n_lower, n_upper], to be subtracted.
    """
    terms = weight_change_terms(spec.terms, signals)
    coefficients = theta[f"merge/{direction}/coefficients"]
    count = len(spec.terms)
    merged = theta[f"merge/{direction}/offset"] + sum(
        coefficients[i] * bounded_columns(term) for i, term in enumerate(terms)
    )
    merged = merged / count
    shrinking = ops.relu(ops.mean(merged * signals.w))
    merged = (merged - signals.w * shrinking) / count**0.5
    return bounded_columns(merged) - signals.w / 7.0


def published_bias_change(theta, h_upper):
    """The bias change [n_upper] from hidden states (SPEC 4.2), to be subtracted."""
    q = ops.mean(ops.matmul(h_upper, theta["bias_readout/kernel"]), axis=-1)
    q = q + theta["bias_readout/bias"]
    q = q + ops.relu(-ops.mean(q))
    return q * ops.rsqrt(0.5 + ops.mean(ops.square(q)))


def published_step(p, change, learning_rate):
    """One step of gradient descent; weight decay shares the learning rate (SPEC 5)."""
    return p * (1.0 - learning_rate) - learning_rate * change


def compact_direction(spec, own, signals, skips_idle=False):
    """Merges the terms of the compact rule into a direction of rms 1, to be subtracted.

    Args:
        spec: A `RuleSpec`.
        own: The layer's parameters, from `layer_parameters`.
        signals: `LayerSignals`.
        skips_idle: See `weighted_terms`. Defaults to `False`.

    Returns:
        Tensor [n_lower, n_upper].
    """
    return rms_one(weighted_terms(spec.terms, own["coefficients"], signals, skips_idle))


def running_mean(own, mean, value, examples):
    """Takes a new value into a mean over about as many of the latest examples as theta says.

    Args:
        own: The layer's parameters, from `layer_parameters`.
        mean: The mean before; zeros at the start of the inner loop.
        value: Tensor of the shape of `mean`, from this batch.
        examples: Scalar tensor, how many examples it is from.

    Returns:
        The new mean.
    """
    window = ops.exp(own["log_window"])
    return mean + (value - mean) * (examples / (examples + window))


def compact_step(own, w, direction, learning_rate):
    """Moves w by a bounded step and brings its columns back to unit norm.

    Batch norm hides the scale of a column from the network, so a step of given size turns
    columns of every width by the same angle.
    """
    size = MAX_STEP * ops.sigmoid(own["step"]) * learning_rate
    stepped = column_rms_one(w) - size * direction
    return column_rms_one(stepped) / ops.cast(ops.shape(w)[0], w.dtype) ** 0.5


def compact_bias_change(own, theta, z_upper, h_upper, one_sided=None):
    """How far each unit's mean pre-activation is above its target, in standard deviations.

    The target is learned: a negative one makes units sparse. With `one_sided`, from
    `one_sidedness`, it lies between two learned ones. With a neuron network its bias readout is
    added.
    """
    target = own["bias_target"]
    if one_sided is not None:
        # Where a target does not count, its gradient is exactly zero and not rounding, which Adam
        # would make as large as any other.
        target = one_sided * target + (1.0 - one_sided) * own["symmetric_bias_target"]
    change = z_upper.mean[0] - z_upper.deviation[0] * target
    if h_upper is not None:
        change = change + published_bias_change(theta, h_upper)
    # A share below 1 of the way to the target cannot overshoot.
    return ops.sigmoid(own["bias_rate"]) * change


def one_sidedness(activation, deviation):
    """How much more a nonlinearity rises above its middle than below, between 0 and 1.

    1 for relu, 0 for tanh, sigmoid and the step. Units that saturate on both sides have to be
    rarely active to tell their examples apart, rectified ones need not.

    Args:
        activation: Maps [E, n_upper] to the same shape.
        deviation: [1, n_upper], standard deviation of the pre-activations: where to look.

    Returns:
        Tensor [n_upper].
    """
    where = ops.convert_to_tensor([[-2.0], [-1.0], [1.0], [2.0]], deviation.dtype)
    y = activation(where * deviation)
    below, above = ops.abs(y[1] - y[0]), ops.abs(y[3] - y[2])
    return ops.relu(above - below) / (above + below + 1e-12)
