"""The rule in training loops of one's own."""

import fit_cases as cases
import numpy as np
import pytest
import tensorflow as tf
from fit_cases import BATCH

from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.memory import initial_memory
from keras_learned_rule.fit.step import learned_rule_step, turn
from keras_learned_rule.rule.mlp import mlp_plan


def loop(model, rule, steps, function=learned_rule_step, **options):
    binding = RuleBinding(model, rule, total_steps=len(steps), replay=0, **options)
    return binding, [function(binding, x) for x in steps]


def wrapped(**options):
    return tf.function(learned_rule_step, reduce_retracing=True, **options)


@pytest.mark.parametrize("make_rule", [cases.compact_rule, cases.learned_hebb_rule])
@pytest.mark.parametrize("kind", ["eager", "graph", "xla"])
def test_a_loop_of_ones_own_equals_fit_by_hand(kind, make_rule):
    functions = {"eager": learned_rule_step, "graph": wrapped(), "xla": wrapped(jit_compile=True)}
    rule, model, steps = make_rule(), cases.network(), cases.batches(cases.examples())
    expected = cases.weights_by_hand(model, rule, steps)
    binding, logs = loop(model, rule, steps, functions[kind])
    cases.assert_model_has(model, expected)
    assert [float(log["applied"]) for log in logs] == [1.0] * len(steps)
    assert int(binding.memory.steps_done) == len(steps)
    assert binding.raise_on_failure() is False


def test_permuting_examples_changes_nothing():
    rule, x = cases.compact_rule(), cases.examples(BATCH)
    model = cases.network()
    other = cases.twin(model)
    loop(model, rule, [x])
    loop(other, rule, [np.random.default_rng(0).permutation(x)])
    cases.assert_same(cases.arrays(model), cases.arrays(other), tolerance=1e-5)


def test_failures_are_kept_until_asked_for():
    rule, model, x = cases.compact_rule(), cases.network(), cases.examples(3 * BATCH)
    steps = cases.batches(x)
    expected = cases.weights_by_hand(model, rule, steps[:1], schedule=[(0, 3)])
    steps[1] = steps[1] * np.nan
    binding, logs = loop(model, rule, steps)
    assert [float(log["applied"]) for log in logs] == [1.0, 0.0, 0.0]
    assert np.isfinite([float(log["update_size"]) for log in logs]).all()
    cases.assert_model_has(model, expected)
    with pytest.raises(ValueError, match="step 1 of the fit"):
        binding.raise_on_failure()


def test_without_total_steps_the_step_size_stays():
    rule, model, steps = cases.compact_rule(), cases.network(), cases.batches(cases.examples())
    expected = cases.weights_by_hand(model, rule, steps, schedule=[(0, 300)] * len(steps))
    binding = RuleBinding(model, rule, replay=0)
    for x in steps:
        learned_rule_step(binding, x)
    cases.assert_model_has(model, expected)


@pytest.mark.parametrize("function", [learned_rule_step, wrapped(), wrapped(jit_compile=True)])
def test_a_small_network_learns_from_a_teacher_of_its_own(function):
    rule = cases.compact_rule(teacher=True)
    model, steps = cases.network(), cases.batches(cases.examples())
    binding = RuleBinding(model, rule, total_steps=len(steps), replay=0)
    teacher = [tf.identity(v) for key, v in binding.memory.teacher.items() if key.endswith("_w")]
    assert [w.shape for w in teacher] == [(10, 128), *3 * [(128, 128)], (128, 32)]
    expected = cases.weights_by_hand(model, rule, steps, teacher=teacher)
    for x in steps:
        function(binding, x)
    cases.assert_model_has(model, expected)
    for i, layer in enumerate(expected[0]["teacher"]):
        for name, array in layer.items():
            found = binding.memory.teacher[f"0_{i}_{name}"]
            np.testing.assert_allclose(found, array, rtol=2e-5, atol=2e-5)


def test_teachers_are_drawn_by_the_seed_and_again_at_a_restart():
    def drawn(binding):
        return np.array(binding.memory.teacher["0_0_w"])

    rule, model = cases.compact_rule(teacher=True), cases.network()
    first, other = (RuleBinding(model, rule, seed=seed) for seed in (1, 2))
    assert not np.allclose(drawn(first), drawn(other))
    np.testing.assert_allclose(np.linalg.norm(drawn(first), axis=0), 1.0, rtol=1e-5)
    learned_rule_step(first, cases.examples(BATCH))
    assert int(first.memory.steps_done) == 1
    first.restart(seed=2, total_steps=7)
    np.testing.assert_array_equal(drawn(first), drawn(other))
    assert int(first.memory.steps_done) == 0 and int(first.memory.total_steps) == 7
    assert not np.any(first.memory.decoders["0"])
    with pytest.raises(ValueError, match="total_steps must be .* at least 0. Received: None"):
        first.restart(seed=2, total_steps=None)
    with pytest.raises(ValueError, match="seed must be .* Received: -1"):
        first.restart(seed=-1, total_steps=7)


def test_another_first_layer_has_another_teacher():
    rule, model = cases.compact_rule(teacher=True), cases.network()
    whole = RuleBinding(model, rule)
    above = RuleBinding(model, rule, freeze=("first", "norm"), memory=whole.memory)
    learned_rule_step(above, cases.examples(BATCH))
    learned_rule_step(whole, cases.examples(BATCH))
    shapes = {k: tuple(v.shape) for k, v in whole.memory.teacher.items() if k.endswith("_0_w")}
    assert shapes == {"0_0_w": (10, 128), "6_0_w": (8, 128)}


def test_initial_backward_weights():
    shapes = {"0": (300, 200), "6": (300, 200), "7": (200, 50)}
    published = cases.initial_backward_weights(cases.published_rule().spec, shapes, seed=1)
    assert {key: v.shape for key, v in published.items()} == shapes
    # A normal cut off at two standard deviations has 0.88 of its standard deviation.
    assert np.std(published["0"]) == pytest.approx(0.0088, rel=0.02)
    assert np.abs(published["0"]).max() <= 0.02
    compact = cases.compact_rule(neuron_network=True, terms=("hebb",)).spec
    unit = cases.initial_backward_weights(compact, shapes, seed=1)
    np.testing.assert_allclose(np.linalg.norm(unit["0"], axis=0), 1.0, rtol=1e-5)
    other = cases.initial_backward_weights(compact, shapes, seed=2)
    for first, different in [(unit["0"], other["0"]), (unit["0"], unit["6"])]:
        assert not np.array_equal(first, different)
    initial = initial_memory(cases.compact_rule().spec, mlp_plan(3), shapes, seed=1)
    assert list(initial) == ["competition"]


def test_backward_weights_do_not_depend_on_what_else_learns():
    shapes = {"0": (4, 3), "6": (3, 2)}
    for spec in (
        cases.published_rule().spec,
        cases.compact_rule(neuron_network=True, terms=("hebb",)).spec,
    ):
        both = cases.initial_backward_weights(spec, shapes, seed=1)
        one = cases.initial_backward_weights(spec, {"6": shapes["6"]}, seed=1)
        np.testing.assert_array_equal(both["6"], one["6"])


def test_a_binding_goes_on_with_the_memory_of_another():
    rule, steps = cases.published_rule(), cases.batches(cases.examples())
    whole, halves = cases.network(), cases.network()
    halves.set_weights(whole.get_weights())
    loop(whole, rule, steps)
    first, _ = loop(halves, rule, steps[:2])
    second = RuleBinding(halves, rule, memory=first.memory, seed=9, replay=0)
    for x in steps[2:]:
        learned_rule_step(second, x)
    assert int(second.memory.steps_done) == len(steps)
    cases.assert_same(cases.arrays(whole), cases.arrays(halves))


def test_turn_is_the_angle_and_not_the_length():
    angle, old = 0.1, np.eye(3, 2, dtype="float32")
    new = np.array([[np.cos(angle), 0], [np.sin(angle), 1], [0, 0]], "float32")
    expected = 2 * np.sin(angle / 2) / np.sqrt(2)  # Only one of the two units turned.
    for scale in (1e-3, 1.0, 1e3):
        assert float(turn(scale * old, new)) == pytest.approx(expected, rel=1e-4)
    assert float(turn(old, 7.0 * old)) == pytest.approx(0.0, abs=1e-6)
