"""The one function in the middle: a network's arrays and a batch in, new arrays out.

Pure functions of tensors in `keras.ops`, so that one text is called by `fit` on a Keras model's
variables, differentiated by the meta-trainer, and compiled by XLA.
"""

import functools

from keras import ops

from keras_learned_rule.rule import merge
from keras_learned_rule.rule.local import local_update
from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
from keras_learned_rule.rule.neuron import hidden_states
from keras_learned_rule.rule.place import chain_place
from keras_learned_rule.rule.products import product
from keras_learned_rule.rule.readouts import readout_rows
from keras_learned_rule.rule.scaling import column_rms_one, standardize
from keras_learned_rule.rule.signals import LayerSignals, Signals
from keras_learned_rule.rule.sparsity import adapted_theta
from keras_learned_rule.rule.teacher import decoder_shape


def unsupervised_update(spec, theta, plan, state, x, learning_rate):
    """Applies the rule once: forward, top signal, downwards, weight changes, inner step.

    Pure: nothing but the results changes, nothing is drawn at random.

    Args:
        spec: A `RuleSpec`.
        theta: Dict from name to tensor, the rule's parameters as `theta_shapes(spec)` lists them,
            of the dtype of the state.
        plan: `Plan` of the network (`rule/mlp.py`); holds no arrays.
        state: Tuple of one dict per weight layer, bottom-up: "w" [n_lower, n_upper], "b"
            [n_upper], "v" as "w" if the rule has a neuron network, "competition" as "w" if it
            averages competition, "gain" [n_upper] if batch normalisation has one. Where a teacher
            teaches, each has its "decoder" [n_upper, 32] instead of "competition", and the first
            one "teacher", the teacher's state. Whether one does is up to the state alone: see
            `with_memory`.
        x: The batch `[E, n]`, of the dtype of the state.
        learning_rate: Scalar number or tensor, from `inner_rate`.

    Returns:
        (new_state, signals): the state after the step, and the `Signals` of the forward pass
        before it.

    Example:
    ```python
    import keras
    from keras_learned_rule import UpdateRule
    from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
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
    return network_update(spec, theta, plan.layers, state, signals, learning_rate), signals


def network_update(spec, theta, layers, state, signals, learning_rate):
    """What follows the forward pass in `unsupervised_update`, whoever has made it.

    Args:
        spec: A `RuleSpec`.
        theta: See `unsupervised_update`.
        layers: What learns, bottom-up: `UnitLayer`, or whatever has its `activation` and
            `learns_bias`.
        state: See `unsupervised_update`.
        signals: `Signals` of the forward pass.
        learning_rate: See `unsupervised_update`.

    Returns:
        The state after the step.
    """
    hs = hidden_states(spec, theta, state, signals)[0] if spec.neuron_network else None
    if spec.merge == "published":
        return _published(spec, theta, layers, state, signals, hs, learning_rate)
    teacher, code = state[0].get("teacher"), None
    if teacher is not None:
        teacher, code = teacher_step(spec, theta, teacher, signals.pres[0], learning_rate)
    theta = adapted_theta(spec, theta, signals.pres[0])
    widths, new_state = [arrays["w"].shape[1] for arrays in state], []
    for i, layer in enumerate(layers):
        own = layer_signals(spec, theta, state, signals, hs, i, "forward")
        where = chain_place(widths, i), layer.activation, layer.learns_bias
        new_state.append(local_update(spec, theta, *where, state[i], own, learning_rate, code))
    if teacher is not None:
        new_state[0]["teacher"] = teacher
    return tuple(new_state)


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
    from keras_learned_rule.rule.mlp import init_mlp_state
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
        x: The batch `[E, n]`, of the dtype of the state.

    Returns:
        The `Signals` of the pass.

    Example:
    ```python
    import keras
    from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
    from keras_learned_rule.rule.update import forward

    state = init_mlp_state([keras.random.normal((64, 32))])
    signals = forward(mlp_plan(1), state, keras.random.uniform((100, 64)))
    assert signals.pres[0].shape == (100, 64) and signals.zs[0].shape == (100, 32)
    ```
    """
    record = Signals([], [], [], [])
    for layer, arrays in zip(plan.layers, state, strict=True):
        a = product(x, arrays["w"])
        z = a if layer.epsilon is None else _batch_norm(a, layer.epsilon)
        z = z * arrays["gain"] + arrays["b"] if "gain" in arrays else z + arrays["b"]
        y = layer.activation(z)
        for values, value in zip(record, (x, z, y, None), strict=True):
            values.append(value)
        x = y
    return record


def _batch_norm(a, epsilon):
    centred = a - ops.mean(a, axis=0)
    return centred * ops.rsqrt(ops.mean(ops.square(centred), axis=0) + epsilon)


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
        hidden = dict(
            h_upper=hs[i + 1],
            rows_lower=readout_rows(theta, direction, spec.terms, "lower", hs[i]),
            rows_upper=readout_rows(theta, direction, spec.terms, "upper", hs[i + 1]),
        )
    return LayerSignals(
        w=column_rms_one(state[i]["w" if direction == "forward" else "v"]),
        x_lower=standardize(signals.pres[i]),
        y_upper=signals.xs[i],
        z_upper=standardize(signals.zs[i]),
        **hidden,
    )


def _published(spec, theta, layers, state, signals, hs, learning_rate):
    new_state = []
    for i, layer in enumerate(layers):
        see = functools.partial(layer_signals, spec, theta, state, signals, hs, i)
        new_state.append(_published_layer(spec, theta, layer, state[i], see, learning_rate))
    return tuple(new_state)


def _published_layer(spec, theta, layer, old, see, learning_rate):
    signals = see("forward")
    change = merge.published_change(spec, theta, "forward", signals)
    backward_change = change
    if not spec.identical_updates:
        backward_change = merge.published_change(spec, theta, "backward", see("backward"))
    new = dict(old)
    new["w"] = merge.published_step(old["w"], change, learning_rate)
    new["v"] = merge.published_step(old["v"], backward_change, learning_rate)
    if layer.learns_bias:
        bias_change = merge.published_bias_change(theta, signals.h_upper)
        new["b"] = merge.published_step(old["b"], bias_change, learning_rate)
    return new


def teacher_step(spec, theta, teacher, examples, learning_rate):
    """One step of a teacher.

    Args:
        spec: A `RuleSpec`.
        theta: See `unsupervised_update`.
        teacher: The teacher's state.
        examples: `[E, n]`, what enters the first layer of the network that it teaches.
        learning_rate: See `unsupervised_update`.

    Returns:
        Its state after the step, and its standardized embedding `[E, 32]` before: what it
        broadcasts.
    """
    plan = mlp_plan(len(teacher))
    new, signals = unsupervised_update(spec, theta, plan, teacher, examples, learning_rate)
    return new, standardize(signals.xs[-1]).values
