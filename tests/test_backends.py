"""The rule is plain `keras.ops`: another backend computes the same, without TensorFlow."""

import functools
import itertools

import children
import numpy as np
import pytest
import rule_cases
from keras import ops, tree

from keras_learned_rule.meta.objective import ObjectiveSpec, ridge_objective
from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.teacher import teacher_shapes
from keras_learned_rule.rule.theta import init_theta
from keras_learned_rule.rule.update import unsupervised_update, with_memory

WIDTHS = (6, 5, 4)
SPECS = {
    "compact": RuleSpec.compact(),
    "learned Hebb": rule_cases.LEARNED_HEBB,
    "sparsity": RuleSpec.compact(sparsity_aware=True, sparse_by_size=True, very_sparse=True),
    "neuron network": RuleSpec.compact(neuron_network=True),
    "teacher": RuleSpec.compact(teacher=True),
}


def case(name):
    spec = SPECS[name]
    rng = np.random.default_rng(0)
    theta, shapes = init_theta(spec), list(itertools.pairwise(WIDTHS))
    teacher = teacher_shapes(spec, mlp_plan(len(shapes)), shapes)
    return spec, {
        "theta": {n: a + rng.normal(size=a.shape, scale=0.3) for n, a in theta.items()},
        "w": [rng.normal(size=shape) for shape in shapes],
        "v": [rng.normal(size=shape) for shape in shapes],
        "teacher": [rng.normal(size=shape) for shape in teacher],
        # Cubed: sparse, or a rule that knows sparsity would not show it.
        "x": rng.normal(size=(8, WIDTHS[0])) ** 3,
    }


def updated(name):
    """One update and the meta-objective of the new features, as a dict of arrays."""
    spec, arrays = case(name)
    theta = {key: ops.convert_to_tensor(a, "float32") for key, a in arrays["theta"].items()}
    w, v, teacher = (
        [ops.convert_to_tensor(a, "float32") for a in arrays[key]] for key in ("w", "v", "teacher")
    )
    state = with_memory(spec, init_mlp_state(w, v if spec.neuron_network else None), teacher)
    x = ops.convert_to_tensor(arrays["x"], "float32")
    # The second step is the first in which a decoder says something.
    for _ in range(2 if teacher else 1):
        state, signals = unsupervised_update(spec, theta, mlp_plan(len(w)), state, x, 0.5)
    features, labels = signals.xs[-1], ops.convert_to_tensor([0, 1, 0, 1], "int32")
    result = ridge_objective(ObjectiveSpec(), features[:4], features[4:], labels, labels, 2)
    new = {"/".join(map(str, path)): a for path, a in tree.flatten_with_path(state)}
    return {**new, "loss": result.loss, "readout": result.w}


REPORT = """
import json, sys
import jax, keras_learned_rule
import test_backends

update = jax.jit(lambda: test_backends.updated(%r))()
print(json.dumps({
    "update": {key: array.tolist() for key, array in update.items()},
    "tensorflow": "tensorflow" in sys.modules,
}))
"""


@functools.cache
def jax_report(name):
    return children.report_of_jax(REPORT % name)


@pytest.mark.parametrize("name", SPECS)
def test_jax_computes_the_same_update_and_meta_objective(name):
    expected, actual = updated(name), jax_report(name)["update"]
    assert set(actual) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_tensorflow_is_not_imported():
    assert not jax_report("compact")["tensorflow"]
