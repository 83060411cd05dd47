"""Small networks and rules with random numbers in every place, for the tests of `rule`."""

import dataclasses
import itertools

import numpy as np
from keras import ops, tree

from keras_learned_rule.rule.mlp import mlp_plan
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.teacher import teacher_shapes
from keras_learned_rule.rule.theta import init_theta

SMALL = dict(hidden_width=6, top_width=5, delta_channels=4, readout_channels=3, top_layers=1)
CHEAP = RuleSpec.compact()
LEARNED_HEBB = RuleSpec.compact(
    terms=("competition", "learned_hebb"), hidden_width=6, readout_channels=3
)
NEURON = RuleSpec.compact(neuron_network=True, **SMALL)
TEACHER = RuleSpec.compact(terms=("competition", "scaled_decorrelation"), teacher=True)


def published(output_width, **overrides):
    return RuleSpec.published(**{**SMALL, "output_width": output_width, **overrides})


def random_theta(spec, seed=0, dtype="float64"):
    """Starting values with noise on them, so that nothing is zero and every term counts."""
    rng = np.random.default_rng(seed)
    theta = init_theta(spec, seed)
    return {
        name: ops.convert_to_tensor(a + 0.3 * rng.standard_normal(a.shape), dtype)
        for name, a in theta.items()
    }


def random_state(spec, widths, seed=0, dtype="float64"):
    """Arrays of a multi-layer perceptron; `widths` begins with the inputs."""
    rng = np.random.default_rng(seed)
    state, shapes = [], list(itertools.pairwise(widths))
    teacher = teacher_shapes(spec, mlp_plan(len(shapes)), shapes)
    for lower, upper in shapes:
        layer = {"w": rng.standard_normal((lower, upper)), "b": 0.3 * rng.standard_normal(upper)}
        if spec.neuron_network:
            layer["v"] = rng.standard_normal((lower, upper))
        if teacher:
            layer["decoder"] = 0.3 * rng.standard_normal((upper, 32))
        elif spec.running_competition:
            layer["competition"] = 0.3 * rng.standard_normal((lower, upper))
        for name in {"w", "v"} & set(layer):
            layer[name] /= np.linalg.norm(layer[name], axis=0)
        state.append({name: ops.convert_to_tensor(a, dtype) for name, a in layer.items()})
    if teacher:
        alone = dataclasses.replace(spec, teacher=False)
        widths = (widths[0], *(upper for _, upper in teacher))
        state[0]["teacher"] = random_state(alone, widths, seed + 1, dtype)
    return tuple(state)


def random_examples(count, width, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed + 1)
    mixing = rng.standard_normal((width, width))
    return ops.convert_to_tensor(rng.standard_normal((count, width)) @ mixing, dtype)


def case(spec, widths=(7, 6, 5), count=12, activation="relu", batch_norm=True, dtype="float64"):
    """(theta, plan, state, x) of a network with these numbers of units."""
    return (
        random_theta(spec, dtype=dtype),
        mlp_plan(len(widths) - 1, activation, batch_norm),
        random_state(spec, widths, dtype=dtype),
        random_examples(count, widths[0], dtype=dtype),
    )


def arrays(state):
    """A state as NumPy arrays."""
    return list(tree.map_structure(ops.convert_to_numpy, tuple(state)))


def assert_states_equal(one, other, tolerance=1e-10):
    flat = (tree.flatten_with_path(arrays(state)) for state in (one, other))
    for (path, a), (other_path, b) in zip(*flat, strict=True):
        assert path == other_path
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=str(path))
