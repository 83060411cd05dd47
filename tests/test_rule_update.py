"""The whole update: what it depends on, what it leaves alone, and how far it can go."""

import dataclasses

import numpy as np
import pytest
import rule_cases as cases
import tensorflow as tf
from keras import ops, tree
from scipy.special import softmax

from keras_learned_rule.rule.mlp import mlp_plan
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import MAX_STEP
from keras_learned_rule.rule.update import forward, unsupervised_update, with_memory

RATE = 0.5
COMPACT = {
    "cheap": cases.CHEAP,
    "learned": cases.LEARNED_HEBB,
    "neuron": cases.NEURON,
    "teacher": cases.TEACHER,
}
ALL = {**COMPACT, "published": cases.published(5)}
compact_rules = pytest.mark.parametrize("spec", COMPACT.values(), ids=COMPACT)
all_rules = pytest.mark.parametrize("spec", ALL.values(), ids=ALL)


def updated(spec, theta, plan, state, x, rate=RATE):
    return unsupervised_update(spec, theta, plan, state, x, rate)[0]


def permuted(state, layer, order):
    """The same network with the units above weight layer `layer` in another order."""
    state = [dict(arrays) for arrays in state]
    for name in set(state[layer]) - {"teacher"}:
        axis = 0 if name == "decoder" else -1
        state[layer][name] = ops.take(state[layer][name], order, axis=axis)
    for name in {"w", "v", "competition"} & set(state[layer + 1]):
        state[layer + 1][name] = ops.take(state[layer + 1][name], order, axis=0)
    if "teacher" in state[layer + 1]:
        state[layer + 1]["teacher"] = permuted(({}, *state[layer + 1]["teacher"]), 0, order)[1:]
    return tuple(state)


def largest_move(old, new):
    return max(
        np.abs(b["w"] - a["w"]).max()
        for a, b in zip(cases.arrays(old), cases.arrays(new), strict=True)
    )


def test_running_competition_is_a_mean_over_a_window_of_examples():
    spec = RuleSpec.compact(terms=("competition",), groups=1, size_aware=False)
    theta, plan, state, x = cases.case(spec, (7, 4), count=30)
    theta = {**theta, "merge/log_window": ops.convert_to_tensor(np.log([45.0]))}
    state, expected = with_memory(spec, state), 0.0
    for examples in (x[:5], x[5:15], x[15:]):  # Shares of 0.1, 2/11 and 0.25.
        old, seen = cases.arrays(state)[0], forward(plan, state, examples)
        standard, spread = (standardized(s[0]) for s in (seen.zs, seen.pres))
        shares = softmax(standard / np.exp(theta["merge/log_temperature"][0]), axis=-1)
        deviation = np.sqrt(np.var(examples, axis=0) + 1e-6)
        change = (deviation[:, None] * spread.T) @ shares * 4 / len(examples)
        share = len(examples) / (len(examples) + 45)
        expected = (1 - share) * expected + share * change
        state = updated(spec, theta, plan, state, examples)
        new = cases.arrays(state)[0]
        np.testing.assert_allclose(new["competition"], expected, rtol=0, atol=1e-10)
        step = 0.5 * MAX_STEP / (1 + np.exp(-theta["merge/step"][0]))
        columns = expected / np.sqrt(np.mean(expected**2, axis=0))
        sign = np.sign(theta["merge/coefficients"][0, 0])
        w = old["w"] * np.sqrt(7) + step * sign * columns / np.sqrt(np.mean(columns**2))
        np.testing.assert_allclose(new["w"], w / np.linalg.norm(w, axis=0), rtol=0, atol=1e-5)


def standardized(signal):
    signal = np.asarray(signal)
    return (signal - signal.mean(0)) / np.sqrt(signal.var(0) + 1e-6)


@compact_rules
@pytest.mark.parametrize("layer", [0, 1])
def test_the_compact_update_follows_the_order_of_units(spec, layer):
    theta, plan, state, x = cases.case(spec, (7, 6, 6, 4))
    order = np.random.default_rng(1).permutation(6)
    new = updated(spec, theta, plan, state, x)
    assert largest_move(state, new) > 1e-2
    of_permuted = updated(spec, theta, plan, permuted(state, layer, order), x)
    cases.assert_states_equal(of_permuted, permuted(new, layer, order))


@compact_rules
def test_the_compact_update_follows_the_order_of_inputs(spec):
    theta, plan, state, x = cases.case(spec)
    order = np.random.default_rng(1).permutation(7)
    below = permuted(({}, *state), 0, order)[1:]
    above = permuted(({}, *updated(spec, theta, plan, state, x)), 0, order)[1:]
    of_permuted = updated(spec, theta, plan, below, ops.take(x, order, axis=1))
    cases.assert_states_equal(of_permuted, above)


@compact_rules
def test_the_compact_update_is_blind_to_the_order_of_examples(spec):
    theta, plan, state, x = cases.case(spec)
    new = updated(spec, theta, plan, state, x)
    for seed in range(3):
        shuffled = ops.take(x, np.random.default_rng(seed).permutation(12), axis=0)
        cases.assert_states_equal(updated(spec, theta, plan, state, shuffled), new)


@compact_rules
def test_the_compact_update_sees_each_example_once_or_twice_alike(spec):
    # In a running mean more examples count for more.
    spec = dataclasses.replace(spec, running_competition=False)
    theta, plan, state, x = cases.case(spec)
    twice = ops.concatenate([x, x], axis=0)
    new = updated(spec, theta, plan, state, x)
    cases.assert_states_equal(updated(spec, theta, plan, state, twice), new)


@pytest.mark.parametrize("unit_kernel, batch_kernel", [(1, 1), (3, 1), (1, 3)])
def test_the_published_update_depends_on_orders_by_its_kernels(unit_kernel, batch_kernel):
    spec = cases.published(
        4, unit_kernel=unit_kernel, batch_kernel=batch_kernel, top_kernel=1, unit_position=False
    )
    theta, plan, state, x = cases.case(spec, (7, 6, 4))
    new = updated(spec, theta, plan, state, x)
    order = np.random.default_rng(1).permutation(6)
    by_unit = updated(spec, theta, plan, permuted(state, 0, order), x)
    shuffled = ops.take(x, np.random.default_rng(1).permutation(12), axis=0)
    by_example = updated(spec, theta, plan, state, shuffled)
    change = largest_move(state, new)
    assert (largest_move(permuted(new, 0, order), by_unit) > 1e-3 * change) == (unit_kernel > 1)
    assert (largest_move(new, by_example) > 1e-3 * change) == (batch_kernel > 1)


@compact_rules
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
@pytest.mark.parametrize(
    "widths, count", [((3, 2), 2), ((5, 9, 2), 33), ((30, 8, 16, 8, 40), 6), ((1, 1), 4)]
)
def test_one_theta_runs_on_any_widths_and_batch_sizes(spec, widths, count):
    _, plan, state, x = cases.case(spec, widths, count)
    theta = cases.random_theta(spec)
    new = updated(spec, theta, plan, state, x)
    for old, layer in zip(cases.arrays(state), cases.arrays(new), strict=True):
        assert tree.map_structure(np.shape, layer) == tree.map_structure(np.shape, old)
        assert all(np.all(np.isfinite(a)) for a in tree.flatten(layer))


AWKWARD = {
    "huge": lambda x: 1e6 * x,
    "tiny": lambda x: 1e-6 * x,
    "zero": lambda x: 0 * x,
    "constant": lambda x: 0 * x + 3,
    "outlier": lambda x: np.concatenate([x[:-1], 1e6 * x[-1:]]),
    "one example": lambda x: x[:1],
    "dead inputs": lambda x: x * (np.arange(x.shape[1]) < 2),
}


@compact_rules
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("distort", AWKWARD.values(), ids=AWKWARD)
def test_no_input_makes_the_compact_step_large(spec, batch_norm, distort):
    theta, plan, state, x = cases.case(spec, (7, 6, 5), batch_norm=batch_norm, dtype="float32")
    # Units that are never active must do no harm either.
    state[0]["b"] = state[0]["b"] - 100 * np.arange(6) % 200
    x = ops.convert_to_tensor(distort(np.asarray(x)), "float32")
    new = updated(spec, theta, plan, state, x, rate=1.0)
    for old, layer in zip(cases.arrays(state), cases.arrays(new), strict=True):
        assert all(np.all(np.isfinite(a)) for a in tree.flatten(layer))
        for name in {"w", "v"} & set(layer):
            np.testing.assert_allclose(np.linalg.norm(layer[name], axis=0), 1, atol=1e-5)
            # The step is at most MAX_STEP in the mean square over columns; bringing the columns
            # back to unit norm adds at most as much again.
            moved = np.linalg.norm(layer[name] - old[name]) / np.sqrt(layer[name].shape[1])
            assert moved <= 2**0.5 * MAX_STEP


@compact_rules
@pytest.mark.parametrize("distort", AWKWARD.values(), ids=AWKWARD)
def test_no_input_makes_the_meta_gradient_infinite(spec, distort):
    theta, plan, state, x = cases.case(spec, (7, 6, 5), dtype="float32")
    x = ops.convert_to_tensor(distort(np.asarray(x)), "float32")
    with tf.GradientTape() as tape:
        tape.watch(theta)
        new = updated(spec, theta, plan, updated(spec, theta, plan, state, x), x)
        total = sum(tf.reduce_sum(a**3) for a in tf.nest.flatten(new))
    for name, gradient in tape.gradient(total, theta, unconnected_gradients="zero").items():
        assert np.all(np.isfinite(gradient)), name


@all_rules
def test_xla_computes_what_eager_execution_computes(spec):
    theta, plan, state, x = cases.case(spec, dtype="float32")
    compiled = tf.function(lambda *a: updated(spec, a[0], plan, *a[1:]), jit_compile=True)
    expected = updated(spec, theta, plan, state, x, rate=0.01)
    assert largest_move(state, expected) > 1e-4
    cases.assert_states_equal(compiled(theta, state, x, 0.01), expected, tolerance=1e-5)


@pytest.mark.slow
def test_without_a_neuron_network_no_tensor_has_channels():
    def ranks(spec):
        theta, plan, state, x = cases.case(spec)
        assert ("v" in state[0]) == spec.neuron_network
        graph = tf.function(lambda *a: updated(spec, a[0], plan, *a[1:]))
        nodes = graph.get_concrete_function(theta, state, x).graph.get_operations()
        return {len(out.shape) for node in nodes for out in node.outputs if out.shape.rank}

    assert max(ranks(cases.CHEAP)) == 2
    assert max(ranks(cases.NEURON)) > 2


@pytest.mark.slow
@all_rules
@pytest.mark.parametrize("frozen", [(), (0,), (0, 1)])
def test_frozen_biases_stay(spec, frozen):
    theta, plan, state, x = cases.case(spec)
    layers = [
        dataclasses.replace(layer, learns_bias=i not in frozen)
        for i, layer in enumerate(plan.layers)
    ]
    new = updated(spec, theta, dataclasses.replace(plan, layers=tuple(layers)), state, x)
    free = updated(spec, theta, plan, state, x)
    for i, (old, layer) in enumerate(zip(cases.arrays(state), cases.arrays(new), strict=True)):
        assert np.array_equal(old["b"], layer["b"]) == (i in frozen)
        np.testing.assert_array_equal(layer["w"], free[i]["w"])


def forward_in_numpy(x, layers, epsilon):
    for layer in layers:
        z = x @ layer["w"]
        if epsilon is not None:
            z = (z - z.mean(0)) / np.sqrt(z.var(0) + epsilon)
        x = np.maximum(z * layer.get("gain", 1) + layer["b"], 0)
    return x


@all_rules
@pytest.mark.parametrize("epsilon", [None, 1e-3, 0.5])
def test_forward_pass_with_gain_and_epsilon(spec, epsilon):
    theta, _, state, x = cases.case(spec)
    plan = mlp_plan(2, batch_norm=epsilon is not None, epsilon=epsilon)
    gains = [np.linspace(0.5, 2, 6), None]
    state = tuple(
        layer if gain is None else {**layer, "gain": ops.convert_to_tensor(gain)}
        for layer, gain in zip(state, gains, strict=True)
    )
    embedding = forward(plan, state, x).xs[-1]
    expected = forward_in_numpy(np.asarray(x), cases.arrays(state), epsilon)
    np.testing.assert_allclose(embedding, expected, rtol=0, atol=1e-10)
    new = updated(spec, theta, plan, state, x)
    np.testing.assert_array_equal(new[0]["gain"], gains[0])
    assert "gain" not in new[1]


def test_each_group_steers_its_own_layers():
    spec = RuleSpec.compact(terms=("hebb_z",), groups=3)
    theta, plan, state, x = cases.case(spec, (7, 6, 5, 4, 3))
    new = updated(spec, theta, plan, state, x)
    for name in ("merge/step", "merge/bias_rate", "merge/bias_target"):
        changed = theta[name] + ops.convert_to_tensor([0.0, 1.0, 0.0], "float64")
        other = updated(spec, {**theta, name: changed}, plan, state, x)
        array = "w" if name == "merge/step" else "b"
        same = [np.array_equal(a[array], b[array]) for a, b in zip(new, other, strict=True)]
        assert same == [True, False, False, True]


@pytest.mark.slow
def test_biases_move_the_means_towards_their_target():
    spec = RuleSpec.compact(groups=1, size_aware=False)
    theta, plan, state, x = cases.case(spec, (7, 4))
    theta["merge/bias_target"] = ops.convert_to_tensor([-0.5], "float64")
    for _ in range(200):
        new = updated(spec, theta, plan, state, x)
        state = ({**state[0], "b": new[0]["b"]},)
    z = np.asarray(forward(plan, state, x).zs[0])
    np.testing.assert_allclose(z.mean(0), -0.5 * z.std(0), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("activation, target", [("relu", 0.5), ("tanh", -1.0)])
def test_the_shape_of_the_nonlinearity_chooses_the_bias_target(activation, target):
    spec = RuleSpec.compact(terms=("competition",), groups=1, size_aware=False)
    theta, _, state, x = cases.case(spec, (7, 4))
    targets = {"merge/bias_target": [0.5], "merge/symmetric_bias_target": [-1.0]}
    theta |= {name: ops.convert_to_tensor(v, "float64") for name, v in targets.items()}
    plan = mlp_plan(1, activation)
    for _ in range(200):
        new = updated(spec, theta, plan, state, x)
        state = ({**state[0], "b": new[0]["b"]},)
    z = np.asarray(forward(plan, state, x).zs[0])
    np.testing.assert_allclose(z.mean(0), target * z.std(0), atol=1e-3)


def only(name, state):
    return [{"array": layer[name]} for layer in state]


@pytest.mark.parametrize("spec", [cases.NEURON, cases.published(5)], ids=["neuron", "published"])
def test_backward_weights_take_the_change_of_the_forward_weights(spec):
    theta, plan, state, x = cases.case(spec)
    alike = tuple({**layer, "v": layer["w"]} for layer in state)
    new = updated(spec, theta, plan, alike, x, rate=0.01)
    assert largest_move(alike, new) > 1e-4
    cases.assert_states_equal(only("w", new), only("v", new))


@pytest.mark.parametrize("room", ["readout", "merge"])
def test_backward_weights_with_parameters_of_their_own(room):
    """Equal weights and parameters in both directions give equal changes, others do not."""
    spec = cases.published(5, identical_updates=False)
    theta, plan, state, x = cases.case(spec)
    state = tuple({**layer, "v": layer["w"]} for layer in state)
    same = {name: theta[name.replace("/backward/", "/forward/")] for name in theta}
    new = updated(spec, same, plan, state, x, rate=0.01)
    cases.assert_states_equal(only("w", new), only("v", new))
    other = {n: a for n, a in theta.items() if n.startswith(f"{room}/backward/")}
    own = updated(spec, {**same, **other}, plan, state, x, rate=0.01)
    for one, different in zip(cases.arrays(new), cases.arrays(own), strict=True):
        np.testing.assert_array_equal(one["w"], different["w"])
        assert np.abs(one["v"] - different["v"]).max() > 1e-4
