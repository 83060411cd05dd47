"""Costs against numbers counted by hand, and against what JAX says of the same update."""

import children
import pytest

from keras_learned_rule.meta.cost import Cost, gradient_cost, score_cost, update_cost
from keras_learned_rule.meta.memory import activation_bytes, state_bytes
from keras_learned_rule.rule.spec import RuleSpec

BASE = (196, 128, 128, 128, 128, 32)
CASES = {
    "compact": (RuleSpec.compact(), BASE, 128),
    "two terms": (RuleSpec.compact(terms=("competition", "decorrelation")), BASE, 64),
    "few examples": (RuleSpec.compact(), (512, 512, 32), 16),
    "many examples": (RuleSpec.compact(), (64, 32), 1024),
    "learned Hebb": (RuleSpec.compact(terms=("competition", "learned_hebb")), BASE, 128),
    "neuron network": (RuleSpec.compact(neuron_network=True), BASE, 128),
    "wide neurons": (RuleSpec.compact(neuron_network=True, hidden_width=48), (64, 32), 64),
    "published": (RuleSpec.published(), BASE, 128),
    "teacher": (RuleSpec.compact(teacher=True), (512, 64, 64, 32), 128),
    "wide student": (RuleSpec.compact(teacher=True), (64, 1024, 1024, 16), 256),
    "student of many examples": (RuleSpec.compact(teacher=True), (8, 32, 32), 1024),
}
REPORT = """
import json
import jax, jax.numpy as jnp, numpy as np
import test_meta_cost
from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
from keras_learned_rule.rule.theta import init_theta
from keras_learned_rule.rule.teacher import teacher_shapes
from keras_learned_rule.rule.update import unsupervised_update, with_memory

def flop_of(equation):
    name, (a, b) = equation.primitive.name, [v.aval.shape for v in equation.invars]
    columns = equation.outvars[0].aval.size
    if name == "dot_general":
        return 2 * columns * np.prod([a[i] for i in equation.params["dimension_numbers"][0][0]])
    kernel = equation.params["dimension_numbers"].rhs_spec
    return 2 * columns * np.prod(b) / b[kernel[0]]

def flop(jaxpr):
    counted = "dot_general", "conv_general_dilated"
    products = [e for e in jaxpr.eqns if e.primitive.name in counted]
    inner = [flop(getattr(p, "jaxpr", p)) for e in jaxpr.eqns for p in e.params.values()
             if hasattr(p, "eqns") or hasattr(p, "jaxpr")]
    return sum(map(flop_of, products)) + sum(inner)

def report(spec, widths, batch):
    shapes, plan = list(zip(widths, widths[1:])), mlp_plan(len(widths) - 1)
    draws = [jnp.ones(shape) for shape in shapes]
    state = init_mlp_state(draws, draws if spec.neuron_network else None)
    teacher = teacher_shapes(spec, plan, shapes)
    state = with_memory(spec, state, [jnp.ones(shape) for shape in teacher])
    theta = {name: jnp.asarray(array) for name, array in init_theta(spec).items()}
    x = jnp.ones((batch, widths[0]))
    update = lambda theta, state: unsupervised_update(spec, theta, plan, state, x, 0.1)[0]
    kept = jax.tree.leaves(jax.eval_shape(lambda *a: jax.vjp(update, *a)[1], theta, state))
    return {
        "flop": float(flop(jax.make_jaxpr(update)(theta, state).jaxpr)),
        "kept": sum(tensor.size * tensor.dtype.itemsize for tensor in kept),
        "state": sum(tensor.nbytes for tensor in jax.tree.leaves(state)),
    }

print(json.dumps({name: report(*case) for name, case in test_meta_cost.CASES.items()}))
"""


@pytest.fixture(scope="module")
def jax_report():
    """What JAX says of each case: products computed, tensors kept for reverse mode, state."""
    return children.report_of_jax(REPORT)


def test_an_update_counted_by_hand():
    forward, competition = Cost(2 * 5 * 3 * 2, 4 * (15 + 6 + 10)), Cost(60, 4 * (15 + 10 + 6))
    spec = RuleSpec.compact(terms=("competition",))
    assert update_cost(spec, (3, 2), batch=5) == forward + competition
    spec = RuleSpec.compact(terms=("competition", "decorrelation"))
    decorrelation = Cost(2 * 2 * 5 * 2 + 2 * 3 * 2 * 2, 4 * (10 + 10 + 4) + 4 * (6 + 4 + 6))
    assert update_cost(spec, (3, 2), batch=5) == forward + competition + decorrelation


def test_a_score_counted_by_hand():
    # 3 ways, 2 shots, 1 test: 6 training and 9 labelled examples of 5 inputs and 4 features.
    forward, gram, right, predictions = 2 * 9 * 5 * 4, 2 * 4 * 6 * 4, 2 * 4 * 6 * 3, 2 * 9 * 4 * 3
    elimination = 2 * 4**3 // 3 + 2 * 4 * 4 * 3
    expected = forward + gram + right + predictions + elimination
    assert score_cost((5, 4), ways=3, shots=2, tests=1).flop == expected


def test_a_gradient_computes_two_products_more_for_each():
    assert gradient_cost(Cost(2, 3)) == Cost(6, 9)
    assert gradient_cost(Cost(2, 3), rematerialize=True) == Cost(8, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_products_are_those_that_jax_computes(jax_report, name):
    assert update_cost(*CASES[name]).flop == pytest.approx(jax_report[name]["flop"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_reverse_mode_keeps_is_what_jax_keeps(jax_report, name):
    assert activation_bytes(*CASES[name]) == pytest.approx(jax_report[name]["kept"], rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_state_is_as_large_as_it_is(jax_report, name):
    assert state_bytes(*CASES[name][:2]) == jax_report[name]["state"]


@pytest.mark.parametrize("neuron_network", [False, True])
def test_memory_grows_with_everything(neuron_network):
    spec = RuleSpec.compact(neuron_network=neuron_network)
    kept = activation_bytes(spec, (64, 32, 16), 128)
    assert kept < activation_bytes(spec, (64, 32, 16), 129)
    assert kept < activation_bytes(spec, (64, 33, 16), 128)
    assert kept < activation_bytes(spec, (64, 32, 32, 16), 128)
    assert activation_bytes(spec, (64, 32, 16), 128, labelled=10) == kept + 4 * 6 * 10 * (32 + 16)
