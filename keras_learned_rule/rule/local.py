"""The compact rule at one set of weights: what it sees there, and nothing else, changes them."""

from keras import ops

from keras_learned_rule.rule import merge
from keras_learned_rule.rule.layer_parameters import layer_parameters
from keras_learned_rule.rule.learned_hebb import learned_functions
from keras_learned_rule.rule.scaling import column_rms_one, example_count, standardize
from keras_learned_rule.rule.signals import LayerSignals
from keras_learned_rule.rule.teacher import student_direction
from keras_learned_rule.rule.terms import competition_change


def local_signals(w, examples, z, y):
    """What the terms look at.

    Args:
        w: [n_lower, n_upper] weights.
        examples: [E, n_lower], what they are multiplied with.
        z: [E, n_upper] pre-activations: products, normalised and offset.
        y: [E, n_upper] post-activations.

    Returns:
        `LayerSignals`.
    """
    return LayerSignals(
        w=column_rms_one(w),
        x_lower=standardize(examples),
        y_upper=y,
        z_upper=standardize(z),
    )


def local_update(
    spec,
    theta,
    place,
    activation,
    learns_bias,
    old,
    signals,
    learning_rate,
    code=None,
    skips_idle=False,
):
    """Changes one set of weights by one step of the compact rule.

    Args:
        spec: A `RuleSpec` with the compact merge.
        theta: Dict of tensors, already `adapted_theta` to the data.
        place: `Place` of the weights.
        activation: Maps pre-activations [E, n_upper] to post-activations.
        learns_bias: Whether the bias may change.
        old: Dict of the arrays that the weights have: "w", "b" and what the rule remembers, see
            `unsupervised_update`.
        signals: `LayerSignals`.
        learning_rate: Scalar, from `inner_rate`.
        code: [E, 32] embedding of a teacher, standardized, or None. Defaults to `None`.
        skips_idle: Whether costly terms that do not count are left out, as where nothing is
            differentiated. Defaults to `False`.

    Returns:
        The dict with the new arrays.
    """
    own, new = layer_parameters(spec, theta, place), dict(old)
    if code is None:
        own_functions = learned_functions(spec, theta, place)
        temperature = ops.exp(own["log_temperature"])
        signals = signals._replace(temperature=temperature, learned=own_functions)
        if spec.running_competition:
            new["competition"] = _running_competition(own, old["competition"], signals)
            signals = signals._replace(competed=new["competition"])
        direction = merge.compact_direction(spec, own, signals, skips_idle)
    else:
        direction, new["decoder"] = student_direction(
            old["decoder"], code, signals, activation, old.get("gain")
        )
    for name in ("w", "v") if spec.neuron_network else ("w",):
        new[name] = merge.compact_step(own, old[name], direction, learning_rate)
    if learns_bias:
        change = _bias_change(spec, theta, activation, own, signals)
        new["b"] = old["b"] - learning_rate * change
    return new


def _running_competition(own, mean, signals):
    examples = example_count(signals.z_upper.values)
    return merge.running_mean(own, mean, competition_change(signals), examples)


def _bias_change(spec, theta, activation, own, signals):
    z_upper, one_sided = signals.z_upper, None
    if spec.shaped_bias:
        one_sided = merge.one_sidedness(activation, z_upper.deviation)
    return merge.compact_bias_change(own, theta, z_upper, signals.h_upper, one_sided)
