"""Rules with a neuron network on Keras models, against the pure update."""

import fit_cases as cases
import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.step import learned_rule_step
from keras_learned_rule.rule.mlp import Plan, UnitLayer
from keras_learned_rule.rule.signals import Signals
from keras_learned_rule.rule.update import network_update, unsupervised_update

X = cases.examples(2 * cases.BATCH)
RULES = {
    "published": cases.published_rule(),
    "compact": cases.compact_rule(
        neuron_network=True, hidden_width=4, top_width=4, delta_channels=2, readout_channels=2
    ),
}
RELU, TANH, LINEAR = UnitLayer(ops.relu, 1e-3), UnitLayer(ops.tanh, None), lambda z: z


def sequential(*parts):
    return keras.Sequential([keras.Input((cases.FEATURES,)), *parts])


def nested():
    inner = keras.Sequential([keras.Input((8,)), layers.BatchNormalization(), layers.ReLU()])
    return sequential(layers.Dense(8, use_bias=False), inner, layers.Dense(5, "tanh"))


def branched():
    """A head in the middle, and a sum of the last layer with the one below."""
    inputs = keras.Input((cases.FEATURES,))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Dense(5)(inputs)))
    head = layers.Dense(3, "softmax", name="classes")(y)
    return keras.Model(inputs, [head, layers.Dense(5, "tanh")(y) + y])


# A model, its plan, and what stands before its first layer.
CHAINS = {
    "biases before normalisation": (cases.network, [RELU, TANH], None),
    "nested": (nested, [RELU, TANH], None),
    "branches": (branched, [RELU, TANH], None),
    "no offsets": (
        lambda: sequential(
            layers.Dense(8),
            layers.BatchNormalization(center=False, epsilon=0.1),
            layers.Dense(5, use_bias=False),
        ),
        [UnitLayer(LINEAR, 0.1, False), UnitLayer(LINEAR, None, False)],
        None,
    ),
    "several nonlinearities": (
        lambda: sequential(
            layers.Rescaling(0.5, offset=1.0),
            layers.Dense(8, "softplus"),
            layers.Activation("tanh"),
            layers.Identity(),
            layers.Flatten(),
            layers.Dropout(0.0),
            layers.Dense(5),
            layers.Dropout(0.5),
        ),
        [UnitLayer(lambda z: ops.tanh(ops.softplus(z)), None), UnitLayer(LINEAR, None)],
        lambda x: 0.5 * x + 1.0,
    ),
}


def randomised(model):
    """Gives every variable random values, so that no bias or scale is trivial."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + rng.uniform(0.1, 0.4, variable.shape))
    return model


def state_of(binding):
    return binding.network._variables.read()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CHAINS)
def test_a_step_is_the_pure_update(name, rule):
    build, plan, before = CHAINS[name]
    binding, rule = RuleBinding(randomised(build()), RULES[rule], replay=0), RULES[rule]
    theta = {name: ops.convert_to_tensor(array) for name, array in rule.theta.items()}
    for x in np.split(X, 2):
        state, rate = state_of(binding), binding.learning_rate()
        seen = x if before is None else before(x)
        expected, _ = unsupervised_update(
            rule.spec, theta, Plan(tuple(plan)), state, ops.array(seen), rate
        )
        logs = learned_rule_step(binding, x)
        assert float(logs["applied"]) == 1
        assert_states_close(state_of(binding), expected)
        assert not np.allclose(state[0]["w"], expected[0]["w"], atol=1e-5)


def assert_states_close(actual, expected):
    for own, other in zip(actual, expected, strict=True):
        assert set(own) == set(other)
        for name in own:
            np.testing.assert_allclose(own[name], other[name], rtol=2e-5, atol=2e-6, err_msg=name)


def dropped(seed):
    """What a Dropout of this seed multiplies its first batch with."""
    ones = np.ones((cases.BATCH, 8), "float32")
    return np.array(layers.Dropout(0.5, seed=seed)(ones, training=True))


def normalised(y):
    return (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-3)


GAMMA = np.array([-1, 1, 2, -0.5, 0, 1, 1, 1], "float32")
# What stands between two layers, what it makes of post-activations, and its factor.
BETWEEN = {
    "dropout": (lambda: [layers.Dropout(0.5, seed=3)], lambda y: y * dropped(3), dropped(3)),
    "two of it": (
        lambda: [layers.Dropout(0.5, seed=3), layers.Dropout(0.5, seed=4)],
        lambda y: y * dropped(3) * dropped(4),
        dropped(3) * dropped(4),
    ),
    "normalisation": (
        lambda: [layers.BatchNormalization()],
        lambda y: normalised(y) * GAMMA,
        np.broadcast_to(np.sign(GAMMA), (cases.BATCH, 8)),
    ),
    "frozen dropout": (lambda: [layers.Dropout(0.5, trainable=False)], lambda y: y, None),
}


def with_policy(layer, policy):
    return type(layer).from_config({**layer.get_config(), "dtype": policy})


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", BETWEEN)
def test_what_stands_between_takes_mixed_precision(name, policy):
    kernels = []
    for own in ("float32", policy):
        options = {"dtype": own, "kernel_initializer": "identity"}
        between = [with_policy(layer, own) for layer in BETWEEN[name][0]()]
        first = layers.Dense(8, "tanh", **options)
        model = sequential(first, *between, layers.Dense(5, **options))
        if name == "normalisation":
            between[0].gamma.assign(GAMMA)
        learned_rule_step(RuleBinding(model, RULES["published"]), X[: cases.BATCH])
        kernels.append(np.array(first.kernel) - np.eye(10, 8))
    assert np.abs(kernels[0]).max() > 1e-4
    assert np.corrcoef(kernels[0].ravel(), kernels[1].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", BETWEEN)
def test_what_stands_between_scales_signals_and_deltas(name):
    build, passed, factor = BETWEEN[name]
    between, x = build(), X[: cases.BATCH]
    model = sequential(layers.Dense(8, "tanh"), *between, layers.Dense(5))
    if name == "normalisation":
        between[0].gamma.assign(GAMMA)
    rule = RULES["published"]
    binding = RuleBinding(model, rule)
    state = state_of(binding)
    (w, b), (v, c) = ([np.array(arrays[name]) for name in "wb"] for arrays in state)
    low = np.tanh(x @ w + b)
    high = passed(low) @ v + c
    signals = Signals(
        [x, passed(low)], [x @ w + b, high], [low, high], [None, None if factor is None else factor]
    )
    signals = keras.tree.map_structure(lambda a: None if a is None else ops.array(a), signals)
    theta = {name: ops.convert_to_tensor(array) for name, array in rule.theta.items()}
    rate = binding.learning_rate()
    expected = network_update(
        rule.spec, theta, binding.network._sites.learning, state, signals, rate
    )
    learned_rule_step(binding, x)
    assert_states_close(state_of(binding), expected)


def test_moving_statistics_move_as_with_a_compact_rule():
    moved = []
    for rule in (cases.published_rule(), cases.compact_rule()):
        model = cases.network()
        model.get_layer("first").kernel.assign(np.linspace(-1, 1, 80).reshape(10, 8))
        learned_rule_step(RuleBinding(model, rule, replay=0), X)
        norm = model.get_layer("norm")
        moved.append([np.array(norm.moving_mean), np.array(norm.moving_variance)])
    cases.assert_same(*moved)
    assert np.abs(moved[0][0]).max() > 0.1


def test_mixed_precision_learns_nearly_the_same():
    kernels = []
    for policy in ("float32", "mixed_bfloat16"):
        first = layers.Dense(8, "relu", kernel_initializer="identity", dtype=policy)
        model = sequential(first, layers.Dense(5, kernel_initializer="identity"))
        learned_rule_step(RuleBinding(model, RULES["published"]), X)
        kernels.append(np.array(first.kernel) - np.eye(10, 8))
    assert np.abs(kernels[0]).max() > 1e-4
    assert np.corrcoef(kernels[0].ravel(), kernels[1].ravel())[0, 1] > 0.9
