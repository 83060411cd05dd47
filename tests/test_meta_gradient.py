"""The meta-gradient: finite differences, clipping, what is left out, and its sign."""

import dataclasses

import keras
import meta_cases
import numpy as np
import pytest
import rule_cases
from keras import ops, tree

from keras_learned_rule.meta.adam import adam_start
from keras_learned_rule.meta.families import load_families
from keras_learned_rule.meta.meta_step import Shared, bucket_step, meta_update, task_step
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.particles import finished_particles
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.tasks import TaskSpec
from keras_learned_rule.meta.unroll import InnerData, score, unroll
from keras_learned_rule.rule.update import inner_rate, unsupervised_update

RULES = {
    "compact": rule_cases.CHEAP,
    "learned Hebb": rule_cases.LEARNED_HEBB,
    "neuron": rule_cases.NEURON,
    "teacher": rule_cases.TEACHER,
    "published": rule_cases.published(5, learning_rate=0.05),
}
SPEC = TaskSpec(NetworkSpec((6, 5)), shape=(1, 7, 1), ways=3, shots=2, tests=4, batch=10)
EPISODE, STEPS, START, TOTAL = 3 * (2 + 4), 3, 2, 9
ENGINE = meta_cases.engine()


def inner_loop(rule):
    """(theta, plan, state, data) of three inner steps, in float64."""
    theta, plan, state, x = rule_cases.case(rule, (7, 6, 5), STEPS * SPEC.batch)
    labelled = rule_cases.random_examples(STEPS * EPISODE, 7, seed=5)
    coefficients = ops.convert_to_tensor(np.random.default_rng(6).normal(size=(STEPS, EPISODE, 2)))
    shape = (STEPS, -1, 7)
    batches = ops.reshape(x, shape)
    return theta, plan, state, InnerData(batches, ops.reshape(labelled, shape), coefficients)


def unrolled(problem, theta, state, data):
    return unroll(ENGINE, problem, SPEC, theta, state, data, START, TOTAL)


@pytest.mark.parametrize(
    "rule, remat",
    [*((rule, False) for rule in RULES.values()), (RULES["compact"], True)],
    ids=[*RULES, "compact, remat"],
)
def test_meta_gradient_equals_finite_differences(rule, remat):
    problem = Problem(rule, ObjectiveSpec(coefficient_share=0.3), remat=remat)
    theta, _, state, data = inner_loop(rule)

    def mean_loss(theta):
        losses, _ = unrolled(problem, theta, state, data)
        return ops.mean(losses), None

    gradient = ENGINE.value_and_gradient(mean_loss, theta)[2]
    rng = np.random.default_rng(0)
    for _ in range(2):
        direction = {name: rng.standard_normal(a.shape) for name, a in theta.items()}
        below, above = (
            mean_loss({n: a + e * direction[n] for n, a in theta.items()})[0] for e in (-1e-6, 1e-6)
        )
        expected = float(above - below) / 2e-6
        computed = sum(float(ops.sum(gradient[n] * d)) for n, d in direction.items())
        assert abs(expected) > 1e-6
        np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-8)


def test_keras_default_precision_makes_no_difference(request):
    problem, (theta, _, state, data) = Problem(RULES["compact"]), inner_loop(RULES["compact"])
    expected, _ = unrolled(problem, theta, state, data)
    request.addfinalizer(lambda: keras.config.set_floatx("float32"))
    keras.config.set_floatx("float64")
    losses, _ = unrolled(problem, theta, state, data)
    # The inner learning rate is computed in float32, as always.
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_unroll_steps_and_scores_in_turn(rule):
    problem = Problem(rule, ObjectiveSpec(coefficient_share=0.3))
    theta, plan, state, data = inner_loop(rule)
    losses, (new, accuracies) = unrolled(problem, theta, state, data)
    for k in range(STEPS):
        rate = ops.cast(inner_rate(rule, START + k, TOTAL), "float64")
        state, _ = unsupervised_update(rule, theta, plan, state, data.batches[k], rate)
        episode = data.labelled[k], data.coefficients[k]
        labels = SPEC.episode.labels()
        loss, accuracy = score(problem.objective, SPEC.episode, plan, state, labels, *episode)
        np.testing.assert_allclose(losses[k], loss, rtol=1e-10)
        np.testing.assert_allclose(accuracies[k], accuracy, rtol=1e-10)
    rule_cases.assert_states_equal(new, state)


@pytest.mark.parametrize("remat", [False, True])
def test_only_the_last_steps_are_scored(remat):
    problem = Problem(rule_cases.CHEAP, ObjectiveSpec(coefficient_share=0.3), remat=remat)
    theta, _, state, data = inner_loop(problem.rule)
    last = data._replace(labelled=data.labelled[-2:], coefficients=data.coefficients[-2:])
    losses, (new, accuracies) = unrolled(problem, theta, state, data)
    some_losses, (some_new, some_accuracies) = unrolled(problem, theta, state, last)
    np.testing.assert_allclose(some_losses, losses[-2:], rtol=1e-12)
    np.testing.assert_allclose(some_accuracies, accuracies[-2:], rtol=1e-12)
    rule_cases.assert_states_equal(some_new, new)


def test_steps_before_a_divergence_keep_their_scores():
    problem = Problem(rule_cases.CHEAP)
    theta, _, state, data = inner_loop(problem.rule)
    broken = np.array(data.batches)
    broken[2] = np.nan
    losses, _ = unrolled(problem, theta, state, data)
    data = data._replace(batches=ops.convert_to_tensor(broken))
    some, _ = unrolled(problem, theta, state, data)
    np.testing.assert_array_equal(some, [*np.asarray(losses)[:2], np.nan])


def test_a_perfect_embedding_scores_one():
    """Labels come in the order in which an episode lists its examples."""
    plan = NetworkSpec((3,), batch_norm=False).plan()
    state = ({"w": ops.eye(3), "b": ops.zeros(3)},)
    labels = [k for part in (2, 4) for k in range(3) for _ in range(part)]

    def accuracy(labels):
        rows = ops.one_hot(ops.convert_to_tensor(labels), 3)
        return score(ObjectiveSpec(), SPEC.episode, plan, state, SPEC.episode.labels(), rows)[1]

    assert accuracy(labels) == 1 and accuracy(sorted(labels)) < 1


@pytest.fixture(scope="module")
def digits():
    """(spec, pool) of a bucket of digits for one small network."""
    buckets, pools = load_families([meta_cases.family(networks=NetworkSpec((5,)))], seed=0)
    return buckets[0].spec, tree.map_structure(ops.convert_to_tensor, pools[0].pool)


def shared(pool, theta=None):
    theta = theta or tree.map_structure(ops.convert_to_tensor, meta_cases.theta())
    lengths = ops.convert_to_tensor([20.0, 30.0])
    return Shared(theta, pool, lengths, ops.convert_to_tensor(meta_cases.seed(3, 4)))


def one_task(problem, digits, task_id, theta=None):
    """(gradient, result) of one task."""
    spec, pool = digits
    arguments = shared(pool, theta)
    particles = finished_particles(problem, spec, arguments.theta, 1)
    particle = tree.map_structure(lambda a: a[0], particles)
    return task_step(ENGINE, problem, spec, 2, arguments, task_id, particle)[1:]


def norm(gradient):
    return float(np.sqrt(sum(np.sum(np.square(g)) for g in gradient.values())))


def test_gradients_are_clipped_by_task_and_added(digits):
    free = [one_task(meta_cases.problem(clip_norm=1e6), digits, i) for i in range(2)]
    norms = [norm(gradient) for gradient, _ in free]
    np.testing.assert_allclose([float(result.norm) for _, result in free], norms, rtol=1e-5)
    problem = meta_cases.problem(clip_norm=sum(norms) / 2)
    for i, (gradient, result) in enumerate(free):
        clipped, same = one_task(problem, digits, i)
        np.testing.assert_allclose(same.norm, result.norm, rtol=1e-5)
        scale = min(1.0, problem.clip_norm / norms[i])
        for name in gradient:
            np.testing.assert_allclose(clipped[name], scale * gradient[name], rtol=1e-4, atol=1e-6)
    spec, pool = digits
    arguments = shared(pool)
    particles = finished_particles(problem, spec, arguments.theta, 2)
    tasks = ops.arange(2, dtype="int32"), particles
    (_, results), total = bucket_step(ENGINE, problem, spec, 2, arguments, tasks)
    np.testing.assert_allclose(results.norm, norms, rtol=1e-4)
    for name in total:
        expected = sum(
            min(1, problem.clip_norm / n) * g[name] for n, (g, _) in zip(norms, free, strict=True)
        )
        np.testing.assert_allclose(total[name], expected, rtol=1e-4, atol=1e-6)


def test_scales_are_the_units_of_theta(digits):
    scales = {"merge/step": 5.0, "merge/coefficients": 0.25}
    problem = meta_cases.problem(scales=scales, clip_norm=1e6)
    theta = problem.scaled(tree.map_structure(ops.convert_to_tensor, meta_cases.theta()))
    plain, result = one_task(meta_cases.problem(clip_norm=1e6), digits, 0)
    scaled, same = one_task(problem, digits, 0, theta)
    np.testing.assert_allclose(same.losses, result.losses, rtol=1e-5)
    for name, gradient in plain.items():
        expected = scales.get(name, 1.0) * np.asarray(gradient)
        np.testing.assert_allclose(scaled[name], expected, rtol=1e-3, atol=1e-5)
    assert norm(plain) > 0.01


def test_a_task_reports_the_scored_steps_and_where_they_are(digits):
    every, last = (one_task(meta_cases.problem(scored=s), digits, 0)[1] for s in (None, 1))
    assert every.losses.shape == (2,) and last.losses.shape == (1,)
    np.testing.assert_allclose(last.losses[0], every.losses[1], rtol=1e-5)
    assert (int(every.position), int(last.position)) == (0, 1)


def test_gradients_that_are_not_finite_count_as_zero(digits):
    network = NetworkSpec((5,))
    # No activation by name gives NaN.
    object.__setattr__(network, "activation", lambda z: z * float("nan"))
    broken = dataclasses.replace(digits[0], network=network), digits[1]
    gradient, result = one_task(meta_cases.problem(), broken, 0)
    assert not np.isfinite(result.norm) and norm(gradient) == 0
    assert not np.any(np.isfinite(result.losses))


def test_a_step_against_the_gradient_lowers_the_meta_loss(digits):
    problem = meta_cases.problem(clip_norm=1e6)
    gradient, before = one_task(problem, digits, 0)
    size = 0.05 / norm(gradient)
    theta = {n: a - size * gradient[n] for n, a in meta_cases.theta().items()}
    _, after = one_task(problem, digits, 0, theta)
    assert np.mean(after.losses) < np.mean(before.losses) - 0.5 * 0.05 * norm(gradient)


def test_theta_moves_by_the_mean_over_tasks_and_not_without_gradients():
    theta = {"a": np.float32([1.0, 2.0]), "b": np.float32([[3.0]])}
    gradients = [
        {"a": np.float32([3.0, 0.0]), "b": np.float32([[1.0]])},
        {"a": np.float32([1.0, 0.0]), "b": np.float32([[-3.0]])},
    ]
    theta_1, adam_1, skipped = meta_update(theta, adam_start(theta), 7.0, gradients, 4.0, 0.1)
    assert skipped == 0
    # Adam's first update has the size of its rate.
    np.testing.assert_allclose(theta_1["a"], [0.9, 2.0], atol=1e-5)
    np.testing.assert_allclose(theta_1["b"], [[3.1]], atol=1e-5)
    np.testing.assert_allclose(adam_1.mean["a"], [0.1, 0.0], rtol=1e-5)
    nothing = [{name: 0 * g for name, g in gradient.items()} for gradient in gradients]
    for still in (nothing, gradients):
        rate = 0.1 if still is nothing else np.inf
        again = meta_update(theta_1, adam_1, 7.0, still, 4.0, rate)
        meta_cases.assert_equal(again, (theta_1, adam_1, 8.0))
