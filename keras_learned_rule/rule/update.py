"""The one function in the middle: a network's arrays and a batch in, new arrays out.

Pure functions of tensors in `keras.ops`, so that one text is called by `fit` on a Keras model's
variables, differentiated by the meta-trainer, and compiled by XLA.
"""

import functools

from keras import ops

from keras_learned_rule.network.mlp import init_mlp_state, mlp_plan
from keras_learned_rule.rule import merge
from keras_learned_rule.rule.layer_parameters import layer_parameters
from keras_learned_rule.rule.learned_hebb import learned_functions
from keras_learned_rule.rule.neuron import hidden_states, lower_hidden_states
from keras_learned_rule.rule.products import product
from keras_learned_rule.rule.readouts import readout_rows
from keras_learned_rule.rule.scaling import column_rms_one, example_count, standardize
from keras_learned_rule.rule.signals import LayerSignals, Signals
from keras_learned_rule.rule.sparsity import adapted_theta
from keras_learned_rule.rule.teacher import decoder_shape, student_direction
from keras_learned_rule.rule.terms import competition_change


def unsupervised_update(spec, theta, plan, state, x, learning_rate):
    """Applies the rule once: forward, top signal, downwards, weight changes, inner step.

    Pure: nothing but the results changes, nothing is drawn at random.

    Args:
        spec: A `RuleSpec`.
        theta: Dict from name to tensor, the rule's parameters as `theta_shapes(spec)` lists them,
            of the dtype of the state.
        plan: What network this is (`network/plan.py`); holds no arrays.
        state: Tuple of one dict per weight layer, bottom-up: "w" [n_lower, n_upper], "b"
            [n_upper], "v" as "w" if the rule has a neuron network, "competition" as "w" if it
            averages competition, "gain" [n_upper] if batch normalisation has one. Where a teacher
            teaches, each has its "decoder" [n_upper, 32] instead of "competition", and the first
            one "teacher", the teacher's state. Whether one does is up to the state alone: see
            `with_memory`.
        x: The batch `[B, ...]` in the model's input shape, of the dtype of the state.
        learning_rate: Scalar number or tensor, from `inner_rate`.

    Returns:
        (new_state, signals): the state after the step, and the `Signals` of the forward pass
        before it.

    Example:
    ```python
    import keras
    from keras_learned_rule import UpdateRule
    from keras_learned_rule.network.mlp import init_mlp_state, mlp_plan
    from keras_learned_rule.rule.update import inner_rate, unsupervised_update, with_memory

    rule = UpdateRule.from_preset("compact")
    theta = {name: keras.ops.convert_to_tensor(a) for name, a in rule.theta.items()}
    plan = mlp_plan(2)
    draws = [keras.random.normal(shape) for shape in ((64, 128), (128, 32))]
    state = with_memory(rule.spec, init_mlp_state(draws))
    for step in range(3):
        x, rate = keras.random.uniform((100, 64)), inner_rate(rule.spec, step, total_steps=3)
        state, signals = unsupervised_update(rule.spec, theta, plan, state, x, rate)
    assert signals.xs[-1].shape == (100, 32)
    ```

    Reference: Metz et al., ICLR 2019, section 4 and appendix A.
    """
    signals = forward(plan, state, x)
    hs = hidden_states(spec, theta, state, signals)[0] if spec.neuron_network else None
    step = _published_layer if spec.merge == "published" else _compact_layer
    teacher = state[0].get("teacher")
    if teacher is not None:
        teacher, code = _teacher_step(spec, theta, teacher, signals.pres[0], learning_rate)
        step = functools.partial(_student_layer, code)
    theta = adapted_theta(spec, theta, signals.pres[0])
    new_state = []
    for i in range(len(state)):
        see = functools.partial(layer_signals, spec, theta, state, signals, hs, i)
        new_state.append(step(spec, theta, plan, state, see, i, learning_rate))
    if teacher is not None:
        new_state[0]["teacher"] = teacher
    return tuple(new_state), signals


def with_memory(spec, state, teacher_normals=()):
    """Adds to a network's arrays what the rule remembers from step to step, as yet empty.

    Args:
        spec: A `RuleSpec`.
        state: Tuple of dicts with "w" and the like, see `unsupervised_update`.
        teacher_normals: Standard-normal draws of the `teacher_shapes` of the network, if it is to
            have a teacher. Defaults to none.

    Returns:
        The state that `unsupervised_update` takes.

    Example:
    ```python
    import keras
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.network.mlp import init_mlp_state
    from keras_learned_rule.rule.update import with_memory

    state = init_mlp_state([keras.random.normal((64, 32))])
    assert with_memory(RuleSpec.compact(), state)[0]["competition"].shape == (64, 32)
    ```
    """
    if teacher_normals:
        weights = [arrays["w"] for arrays in state]
        decoders = [ops.zeros(decoder_shape(w.shape[1]), w.dtype) for w in weights]
        state = tuple({**arrays, "decoder": d} for arrays, d in zip(state, decoders, strict=True))
        state[0]["teacher"] = with_memory(spec, init_mlp_state(teacher_normals))
        return state
    if not spec.running_competition:
        return state
    return tuple({**arrays, "competition": ops.zeros_like(arrays["w"])} for arrays in state)


def inner_rate(spec, step, total_steps):
    """The inner learning rate of one step.

    Constant for the published merge. For the compact merge it falls linearly to zero over the
    inner loop, and long loops take smaller steps throughout, so that they do not carry the
    weights arbitrarily far.

    Args:
        spec: A `RuleSpec`.
        step: Index of the step, from 0; a number or a scalar tensor.
        total_steps: Number of inner steps N; likewise.

    Returns:
        A scalar tensor, float32.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.rule.update import inner_rate

    rates = [float(inner_rate(RuleSpec.compact(), step, total_steps=4)) for step in range(4)]
    assert rates == [1.0, 0.75, 0.5, 0.25]
    ```
    """
    rate = ops.convert_to_tensor(spec.learning_rate, "float32")
    if spec.merge == "published":
        return rate
    step = ops.cast(step, "float32")
    total = ops.maximum(ops.cast(total_steps, "float32"), 1.0)
    shrink = ops.minimum(1.0, spec.reference_steps / total) ** spec.length_exponent
    return rate * shrink * ops.maximum(1.0 - step / total, 0.0)


def forward(plan, state, x):
    """Runs the network on batch statistics and records what the rule needs.

    Args:
        plan: See `unsupervised_update`.
        state: See `unsupervised_update`.
        x: The batch `[B, ...]` in the model's input shape, of the dtype of the state.

    Returns:
        The `Signals` of the pass.

    Example:
    ```python
    import keras
    from keras_learned_rule.network.mlp import init_mlp_state, mlp_plan
    from keras_learned_rule.rule.update import forward

    state = init_mlp_state([keras.random.normal((64, 32))])
    signals = forward(mlp_plan(1), state, keras.random.uniform((100, 64)))
    assert signals.pres[0].shape == (100, 64) and signals.zs[0].shape == (100, 32)
    ```
    """
    record = Signals([], [], [], [], [], [])
    for layer, arrays in zip(plan.layers, state, strict=True):
        passage = layer.receive(x)
        a = product(passage.examples, arrays["w"])
        mean = ops.mean(a, axis=0)
        variance = ops.mean(ops.square(a - mean), axis=0)
        z = a if layer.epsilon is None else (a - mean) * ops.rsqrt(variance + layer.epsilon)
        z = z * arrays["gain"] + arrays["b"] if "gain" in arrays else z + arrays["b"]
        y = layer.activation(z)
        x = layer.emit(y, x)
        for values, value in zip(
            record, (passage.examples, z, y, mean, variance, passage), strict=True
        ):
            values.append(value)
    return record


def layer_signals(spec, theta, state, signals, hs, i, direction):
    """What the terms of one weight layer may look at.

    Args:
        spec: A `RuleSpec`.
        theta: See `unsupervised_update`.
        state: See `unsupervised_update`.
        signals: `Signals` of the forward pass.
        hs: Hidden states of every unit layer, from `hidden_states`; None without a neuron network.
        i: Which weight layer, from the bottom.
        direction: "forward", or "backward" for the change of the backward weights.

    Returns:
        The `LayerSignals`.
    """
    hidden = {}
    if spec.neuron_network:
        h_lower, h_upper = lower_hidden_states(signals, hs, i), hs[i + 1]
        hidden = dict(
            h_upper=h_upper,
            rows_lower=readout_rows(theta, direction, spec.terms, "lower", h_lower),
            rows_upper=readout_rows(theta, direction, spec.terms, "upper", h_upper),
        )
    return LayerSignals(
        w=column_rms_one(state[i]["w" if direction == "forward" else "v"]),
        x_lower=standardize(signals.pres[i]),
        x_upper=standardize(signals.xs[i]),
        z_upper=standardize(signals.zs[i]),
        **hidden,
    )


def _published_layer(spec, theta, plan, state, see, i, learning_rate):
    old = state[i]
    signals = see("forward")
    change = merge.published_change(spec, theta, "forward", signals)
    backward_change = change
    if not spec.identical_updates:
        backward_change = merge.published_change(spec, theta, "backward", see("backward"))
    new = dict(old)
    new["w"] = merge.published_step(old["w"], change, learning_rate)
    new["v"] = merge.published_step(old["v"], backward_change, learning_rate)
    if plan.layers[i].learns_bias:
        bias_change = merge.published_bias_change(theta, signals.h_upper)
        new["b"] = merge.published_step(old["b"], bias_change, learning_rate)
    return new


def _compact_layer(spec, theta, plan, state, see, i, learning_rate):
    old = state[i]
    own = layer_parameters(spec, theta, state, i)
    signals = see("forward")._replace(
        temperature=ops.exp(own["log_temperature"]),
        learned=learned_functions(spec, theta, state, i),
    )
    new = dict(old)
    if spec.running_competition:
        change, examples = competition_change(signals), example_count(signals.z_upper.values)
        new["competition"] = merge.running_mean(own, old["competition"], change, examples)
        signals = signals._replace(competed=new["competition"])
    direction = merge.compact_direction(spec, own, signals)
    for name in ("w", "v") if spec.neuron_network else ("w",):
        new[name] = merge.compact_step(own, old[name], direction, learning_rate)
    new["b"] = _compact_bias(spec, theta, plan.layers[i], own, old["b"], signals, learning_rate)
    return new


def _student_layer(code, spec, theta, plan, state, see, i, learning_rate):
    old, signals = state[i], see("forward")
    own, layer = layer_parameters(spec, theta, state, i), plan.layers[i]
    decoder, gain = old["decoder"], old.get("gain")
    direction, decoder = student_direction(decoder, code, signals, layer.activation, gain)
    w = merge.compact_step(own, old["w"], direction, learning_rate)
    b = _compact_bias(spec, theta, layer, own, old["b"], signals, learning_rate)
    return {**old, "w": w, "b": b, "decoder": decoder}


def _compact_bias(spec, theta, layer, own, old, signals, learning_rate):
    if not layer.learns_bias:
        return old
    z_upper, one_sided = signals.z_upper, None
    if spec.shaped_bias:
        one_sided = merge.one_sidedness(layer.activation, z_upper.deviation)
    change = merge.compact_bias_change(own, theta, z_upper, signals.h_upper, one_sided)
    return old - learning_rate * change


def _teacher_step(spec, theta, teacher, examples, learning_rate):
    """The teacher's state after its step, and its embedding before: what it broadcasts."""
    plan = mlp_plan(len(teacher))
    new, signals = unsupervised_update(spec, theta, plan, teacher, examples, learning_rate)
    return new, standardize(signals.xs[-1]).values
