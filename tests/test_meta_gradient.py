"""The meta-gradient: finite differences, clipping, what is left out, and its sign."""

import meta_cases
import numpy as np
import pytest
import rule_cases
import tensorflow as tf

from keras_learned_rule.meta.engine import empty_particles, meta_step
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.unroll import Episode, InnerData, score, unroll
from keras_learned_rule.rule.update import inner_rate, unsupervised_update

RULES = {
    "compact": rule_cases.CHEAP,
    "neuron": rule_cases.NEURON,
    "published": rule_cases.published(5, learning_rate=0.05),
}
EPISODE = Episode(ways=3, shots=2, tests=4)
WIDTHS, BATCH, STEPS, START, TOTAL = (7, 6, 5), 10, 3, 2, 9
SEED = tf.constant([3, 4])


def inner_loop(spec):
    """(theta, plan, state, data) of three inner steps, in float64."""
    theta, plan, state, x = rule_cases.case(spec, WIDTHS, 3 * BATCH)
    labelled = rule_cases.random_examples(STEPS * 18, WIDTHS[0], seed=5)
    shape = (STEPS, -1, WIDTHS[0])
    return theta, plan, state, InnerData(tf.reshape(x, shape), tf.reshape(labelled, shape))


def unrolled(spec, theta, plan, state, data):
    return unroll(spec, theta, plan, ObjectiveSpec(), EPISODE, state, data, START, TOTAL)


@pytest.mark.parametrize("spec", RULES.values(), ids=RULES)
def test_meta_gradient_equals_finite_differences(spec):
    theta, plan, state, data = inner_loop(spec)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        meta_loss = tf.reduce_mean(unrolled(spec, theta, plan, state, data)[1])
    gradient = tape.gradient(meta_loss, theta, unconnected_gradients="zero")
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = {name: rng.standard_normal(a.shape) for name, a in theta.items()}
        losses = [
            tf.reduce_mean(
                unrolled(
                    spec, {n: a + e * direction[n] for n, a in theta.items()}, plan, state, data
                )[1]
            )
            for e in (-1e-6, 1e-6)
        ]
        expected = float(losses[1] - losses[0]) / 2e-6
        computed = sum(float(tf.reduce_sum(gradient[n] * d)) for n, d in direction.items())
        assert abs(expected) > 1e-6
        np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("spec", RULES.values(), ids=RULES)
def test_unroll_steps_and_scores_in_turn(spec):
    theta, plan, state, data = inner_loop(spec)
    new, losses, accuracies = unrolled(spec, theta, plan, state, data)
    for k in range(STEPS):
        rate = inner_rate(spec, START + k, TOTAL)
        rate = tf.cast(rate, "float64")
        state, _ = unsupervised_update(spec, theta, plan, state, data.batches[k], rate)
        result = score(ObjectiveSpec(), EPISODE, plan, state, data.labelled[k])
        np.testing.assert_allclose(losses[k], result.loss, rtol=1e-10)
        np.testing.assert_allclose(accuracies[k], result.accuracy_test, rtol=1e-10)
    rule_cases.assert_states_equal(new, state)


def test_a_perfect_embedding_scores_one():
    """Labels come in the order in which an episode lists its examples."""
    plan = NetworkSpec((3,), batch_norm=False).plan()
    state = ({"w": tf.eye(3), "b": tf.zeros(3)},)
    labels = [k for part in (2, 4) for k in range(3) for _ in range(part)]
    result = score(ObjectiveSpec(), EPISODE, plan, state, tf.one_hot(labels, 3))
    assert result.accuracy_train == result.accuracy_test == 1
    wrong = score(ObjectiveSpec(), EPISODE, plan, state, tf.one_hot(sorted(labels), 3))
    assert wrong.accuracy_test < 1


def step(problem, theta=None, truncation=2):
    theta = theta or meta_cases.start(problem.rule)
    return meta_step(problem, theta, empty_particles(problem), SEED, truncation)


def norm(gradient):
    return float(tf.linalg.global_norm(list(gradient.values())))


def test_gradients_are_clipped_by_task():
    _, mean, free = step(meta_cases.problem(clip_norm=1e6))
    smaller, larger = sorted((float(r.norm), i) for i, r in enumerate(free))
    limit = (smaller[0] + larger[0]) / 2
    _, clipped_mean, clipped = step(meta_cases.problem(clip_norm=limit))
    for r, c in zip(free, clipped):
        np.testing.assert_allclose(norm(r.gradient), r.norm, rtol=1e-5)
        np.testing.assert_allclose(c.norm, r.norm, rtol=1e-5)
        np.testing.assert_allclose(norm(c.gradient), min(limit, float(r.norm)), rtol=1e-5)
    scale = [min(1, limit / float(r.norm)) for r in free]
    for name in mean:
        both = [r.gradient[name] for r in free]
        np.testing.assert_allclose(mean[name], sum(both) / 2, atol=1e-6)
        expected = sum(s * g for s, g in zip(scale, both)) / 2
        np.testing.assert_allclose(clipped_mean[name], expected, rtol=1e-4, atol=1e-6)


def test_gradients_that_are_not_finite_count_as_zero():
    broken = NetworkSpec((4,), activation=lambda z: z * float("nan"))
    problem = meta_cases.problem([meta_cases.NETWORKS[0], broken])
    _, mean, (good, bad) = step(problem)
    assert np.isfinite(good.norm) and not np.isfinite(bad.norm)
    assert norm(good.gradient) > 0
    for name in mean:
        np.testing.assert_allclose(mean[name], good.gradient[name] / 2, rtol=1e-6)


def test_a_step_against_the_gradient_lowers_the_meta_loss():
    problem = meta_cases.problem(clip_norm=1e6)
    theta = meta_cases.start()
    _, gradient, before = step(problem, theta)
    size = 0.05 / norm(gradient)
    _, _, after = step(problem, {n: a - size * gradient[n] for n, a in theta.items()})
    losses = [np.mean([r.losses for r in results]) for results in (before, after)]
    assert losses[1] < losses[0] - 0.5 * 0.05 * norm(gradient)
