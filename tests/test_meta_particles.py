"""Inner loops under way: how long they are, what they start from, when they begin anew."""

import dataclasses

import meta_cases
import numpy as np
import pytest
import rule_cases
from keras import ops, tree

from keras_learned_rule.meta.families import load_families
from keras_learned_rule.meta.meta_step import Shared, task_step
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.particles import (
    finished_particles,
    initial_network,
    new_particle,
    particle_task,
)
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.tasks import TaskSpec
from keras_learned_rule.rule.theta import init_theta

ENGINE, PROBLEM = meta_cases.engine(), meta_cases.problem()
SPEC = TaskSpec(NetworkSpec((3, 2)), shape=(2, 2, 1))


def tensors(nested):
    return tree.map_structure(ops.convert_to_tensor, nested)


THETA = tensors(meta_cases.theta())


def particle(number, lengths=(30.0, 300.0), spec=SPEC):
    seed = ops.convert_to_tensor(meta_cases.seed(0, number))
    return new_particle(ENGINE, PROBLEM, spec, THETA, ops.convert_to_tensor(lengths), seed)


@pytest.mark.slow
def test_lengths_of_inner_loops_are_log_uniform():
    lengths = [int(particle(number).total_steps) for number in range(200)]
    assert 30 <= min(lengths) and max(lengths) <= 300
    middle, spread = np.log([30, 300]).mean(), np.log(10) / 12**0.5
    assert abs(np.log(lengths).mean() - middle) < 4 * spread / 200**0.5
    # Log-uniform: a quarter is below the fourth root of the way up.
    assert abs(np.mean(np.array(lengths) < 30 * 10**0.25) - 0.25) < 0.12
    assert {int(particle(number, (7.0, 7.0)).total_steps) for number in range(5)} == {7}


def test_a_new_inner_loop_starts_from_its_seed():
    one, same, other = particle(1), particle(1), particle(2)
    assert one.step == 0
    np.testing.assert_array_equal(one.task_seed, [0, 1])
    meta_cases.assert_equal(one, same)
    shapes = [{name: tuple(a.shape) for name, a in layer.items()} for layer in one.carried]
    assert shapes == [
        {"w": (4, 3), "b": (3,), "competition": (4, 3)},
        {"w": (3, 2), "b": (2,), "competition": (3, 2)},
    ]
    for a, b in zip(one.carried, other.carried, strict=True):
        assert not np.any(a["competition"])
        assert not np.any(a["w"] == b["w"])
        np.testing.assert_allclose(np.linalg.norm(a["w"], axis=0), 1.0, rtol=1e-6)


def test_teachers_are_drawn_on_their_own():
    problem, seed = Problem(rule_cases.TEACHER), meta_cases.seed(0, 1)
    taught, alone = (initial_network(ENGINE, SPEC, p.rule, seed) for p in (problem, PROBLEM))
    for one, other in zip(taught, alone, strict=True):
        np.testing.assert_array_equal(one["w"], other["w"])
        assert not np.any(one["decoder"]) and "competition" not in one
    teacher = taught[0]["teacher"]
    assert [tuple(layer["w"].shape) for layer in teacher][:2] == [(4, 128), (128, 128)]
    for layer in teacher:
        np.testing.assert_allclose(np.linalg.norm(layer["w"], axis=0), 1.0, rtol=1e-5)
    # Such as is stored before the first has begun.
    finished = finished_particles(problem, SPEC, init_theta(problem.rule), count=2)
    started = [(tuple(a.shape), a.dtype) for a in tree.flatten(taught)]
    assert [(tuple(a.shape[1:]), a.dtype) for a in tree.flatten(finished.carried)] == started


@pytest.mark.parametrize("widths", [(5,), (6, 3)])
def test_backward_weights_are_drawn_on_their_own(widths):
    spec = dataclasses.replace(SPEC, network=NetworkSpec(widths))
    state = initial_network(ENGINE, spec, rule_cases.NEURON, meta_cases.seed(0, 1))
    assert [layer["w"].shape for layer in state] == [layer["v"].shape for layer in state]
    for layer in state:
        assert not np.any(np.asarray(layer["w"]) == np.asarray(layer["v"]))


@pytest.fixture(scope="module")
def digits():
    """(spec, pool, step): a bucket of digits, and a compiled meta-step of two inner steps."""
    (bucket, *_), pools = load_families([meta_cases.family(networks=NetworkSpec((5,)))], seed=0)
    pool = tensors(pools[0].pool)

    def step(particle, seed):
        shared = Shared(THETA, pool, ops.convert_to_tensor([5.0, 5.0]), seed)
        return task_step(ENGINE, PROBLEM, bucket.spec, 2, shared, 0, particle)

    return bucket.spec, pool, ENGINE.compile_shared(step)


def advance(digits, particle, number):
    """(particle, position, diverged) after a meta-step."""
    particle, _, result = digits[2](particle, meta_cases.seed(0, number))
    return meta_cases.as_numpy(particle), int(result.position), bool(result.diverged)


def finished(digits):
    particles = finished_particles(PROBLEM, digits[0], THETA, 1)
    return meta_cases.as_numpy(tree.map_structure(lambda a: a[0], particles))


def test_a_task_is_the_same_as_long_as_its_inner_loop_lives(digits):
    spec, pool, _ = digits

    def task(number):
        seed = ops.convert_to_tensor(meta_cases.seed(0, number))
        return meta_cases.as_numpy(particle_task(ENGINE, spec, pool, seed))

    meta_cases.assert_equal(task(1), task(1))
    tasks = [task(number) for number in range(30)]
    assert len({tuple(t.permutation) for t in tasks}) == 30
    assert {c for t in tasks for c in t.classes} == set(range(10))


def test_inner_loops_go_on_until_they_are_over(digits):
    particle, positions, seeds = finished(digits), [], []
    for number in range(4):
        particle, position, diverged = advance(digits, particle, number)
        positions.append(position)
        seeds.append(tuple(particle.task_seed))
        assert not diverged and particle.step == position + 2 and particle.total_steps == 5
    # After six steps of five it begins anew, on another task.
    assert positions == [0, 2, 4, 0]
    assert len(set(seeds[:3])) == 1 and seeds[3] != seeds[0]


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_an_inner_loop_that_diverged_is_replaced(digits, value):
    particle, *_ = advance(digits, finished(digits), 0)
    weights = particle.carried[0]["w"].copy()
    weights[0, 0] = value
    broken = particle._replace(carried=({**particle.carried[0], "w": weights},))
    after, position, diverged = advance(digits, broken, 1)
    assert diverged and position == 0 and tuple(after.task_seed) != tuple(particle.task_seed)
    assert all(np.all(np.isfinite(a)) for a in tree.flatten(after))
