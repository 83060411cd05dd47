"""Tasks, their data, and the inner loops that are under way on them."""

import dataclasses

import meta_cases
import numpy as np
import pytest
import tensorflow as tf

from keras_learned_rule.data.augment import AugmentRanges
from keras_learned_rule.meta.engine import TensorFlowRandom, empty_particles, meta_step
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.particles import new_particle, particle_task
from keras_learned_rule.meta.tasks import (
    DRAWS_AN_IMAGE,
    TaskSpec,
    inner_data,
    labelled_episodes,
    make_task,
    unlabelled_batches,
)

CLASSES, MEMBERS, SIDE, STEPS = 9, 12, 6, 3
PLAIN = meta_cases.plain(TaskSpec(side=SIDE, ways=4, shots=3, tests=5, batch=40, permute=False))
# Picture 20 c + m is grey of that level: member m of class c.
LEVELS = np.array([20 * c + m for c in range(CLASSES) for m in range(MEMBERS)], "uint8")
IMAGES = np.tile(LEVELS[:, None, None], (1, SIDE, SIDE))
TABLE = np.arange(CLASSES * MEMBERS, dtype="int32").reshape(CLASSES, MEMBERS)
# Every pixel of every picture is another grey.
PIXELS = np.arange(SIDE**2, dtype="uint8").reshape(1, SIDE, SIDE) * 7


def uniform(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).random(shape, "float32"))


def task(spec, seed=0):
    draws = uniform(CLASSES, seed=seed), uniform(spec.inputs, seed=seed + 1)
    return make_task(spec, CLASSES, *draws, uniform(seed=seed + 2))


def draws(count, seed=0):
    return uniform(STEPS, count, DRAWS_AN_IMAGE, seed=seed)


def recognised(rows):
    """(class, member) of each plain picture."""
    levels = np.round(255 * np.asarray(rows)[..., SIDE * (SIDE // 2) + SIDE // 2]).astype(int)
    return levels // 20, levels % 20


def test_a_task_has_distinct_classes_and_a_true_permutation():
    tasks = [task(dataclasses.replace(PLAIN, permute=True), seed) for seed in range(50)]
    for one in tasks:
        assert len(set(np.asarray(one.classes))) == PLAIN.ways
        np.testing.assert_array_equal(np.sort(one.permutation), np.arange(SIDE**2))
    assert set(np.concatenate([one.classes for one in tasks])) == set(range(CLASSES))
    assert len({tuple(np.asarray(one.permutation)) for one in tasks}) == 50
    np.testing.assert_array_equal(task(PLAIN).permutation, np.arange(SIDE**2))


def test_batches_hold_the_classes_of_the_task():
    one = task(PLAIN)
    batches = unlabelled_batches(PLAIN, IMAGES, TABLE, one, draws(PLAIN.batch))
    assert batches.shape == (STEPS, PLAIN.batch, SIDE**2)
    classes, members = recognised(batches)
    assert set(classes.flat) == set(np.asarray(one.classes))
    assert len(set(members.flat)) == MEMBERS
    # 120 pictures of 4 classes: 30 each, give or take three standard deviations.
    assert np.all(np.abs(np.bincount(classes.flat)[np.asarray(one.classes)] - 30) < 15)


def test_episodes_list_training_then_test_examples_by_class():
    one = task(PLAIN)
    count = PLAIN.images_a_step - PLAIN.batch
    episodes = labelled_episodes(PLAIN, IMAGES, TABLE, one, draws(count))
    assert episodes.shape == (STEPS, 4 * (3 + 5), SIDE**2)
    classes, members = recognised(episodes)
    order = [c for part in (3, 5) for c in np.asarray(one.classes) for _ in range(part)]
    for k in range(STEPS):
        np.testing.assert_array_equal(classes[k], order)
        for c in np.asarray(one.classes):
            # No picture is trained on and tested on.
            assert len(set(members[k][classes[k] == c])) == 3 + 5
    assert len({tuple(m) for m in members}) == STEPS


def test_all_pictures_of_a_task_have_their_pixels_in_its_order():
    spec = dataclasses.replace(PLAIN, permute=True)
    for seed in range(3):
        one = task(spec, seed)
        data = inner_data(
            spec, PIXELS, np.zeros((CLASSES, 2), "int32"), one, draws(spec.images_a_step)
        )
        expected = PIXELS.reshape(-1)[np.asarray(one.permutation)] / 255
        for rows in data:
            np.testing.assert_allclose(rows, np.broadcast_to(expected, rows.shape), atol=1e-5)


def test_a_task_swaps_black_and_white_in_all_its_pictures_or_in_none():
    chance = dataclasses.replace(PLAIN, invert=0.3)
    flags = [float(task(chance, seed).invert) for seed in range(300)]
    assert set(flags) == {0, 1} and abs(np.mean(flags) - 0.3) < 0.08
    plain, always = (
        unlabelled_batches(PLAIN, IMAGES, TABLE, task(PLAIN)._replace(invert=flag), draws(40))
        for flag in (tf.constant(0.0), tf.constant(1.0))
    )
    np.testing.assert_allclose(plain + always, 1, atol=1e-6)


def test_pictures_are_distorted_each_in_its_own_way():
    spec = dataclasses.replace(PLAIN, augment=AugmentRanges(), contrast=0.3, brightness=0.1)
    table = np.zeros((CLASSES, 2), "int32")
    rows = unlabelled_batches(spec, PIXELS, table, task(spec), draws(spec.batch))
    assert len(np.unique(np.round(rows, 4).reshape(-1, SIDE**2), axis=0)) == STEPS * spec.batch
    assert np.all(rows >= 0) and np.all(rows <= 1)


KIND = TaskSpec(NetworkSpec((3, 2)), side=2)


def particle(seed, lengths=(30, 300)):
    seed = tf.constant([0, seed])
    return new_particle(TensorFlowRandom, seed, KIND, backward=True, lengths=lengths)


def test_lengths_of_inner_loops_are_log_uniform():
    lengths = [int(particle(seed).total_steps) for seed in range(200)]
    assert 30 <= min(lengths) and max(lengths) <= 300
    middle, spread = np.log([30, 300]).mean(), np.log(10) / 12**0.5
    assert abs(np.log(lengths).mean() - middle) < 4 * spread / 200**0.5
    # Log-uniform: a quarter is below the fourth root of the way up.
    assert abs(np.mean(np.array(lengths) < 30 * 10**0.25) - 0.25) < 0.12
    assert {int(particle(seed, (7, 7)).total_steps) for seed in range(5)} == {7}


def test_a_new_inner_loop_starts_from_its_seed():
    one, same, other = particle(1), particle(1), particle(2)
    assert one.step == 0
    shapes = [{name: tuple(a.shape) for name, a in layer.items()} for layer in one.state]
    assert shapes == [
        {"w": (4, 3), "b": (3,), "v": (4, 3)},
        {"w": (3, 2), "b": (2,), "v": (3, 2)},
    ]
    arrays = [tf.nest.flatten(p.state) for p in (one, same, other)]
    for a, b, c in zip(*arrays):
        np.testing.assert_array_equal(a, b)
        assert a.ndim == 1 or not np.any(a == c)
    assert not np.any(one.state[0]["w"] == one.state[0]["v"])
    tasks = [particle_task(TensorFlowRandom, PLAIN, CLASSES, p) for p in (one, same, other)]
    np.testing.assert_array_equal(tasks[0].permutation, tasks[1].permutation)
    assert tuple(np.asarray(tasks[0].classes)) != tuple(np.asarray(tasks[2].classes))


@pytest.fixture(scope="module")
def stepped():
    """A problem, and its inner loops after the first meta-step."""
    problem = meta_cases.problem(lengths=(5, 5))
    return problem, *advance(problem, empty_particles(problem), 1)[:1]


def advance(problem, particles, seed, truncation=2):
    particles, _, results = meta_step(
        problem, meta_cases.start(), particles, tf.constant([0, seed]), truncation
    )
    return particles, [int(r.position) for r in results]


def test_inner_loops_go_on_until_they_are_over(stepped):
    problem, particles = stepped
    seeds = [tuple(np.asarray(p.task_seed)) for p in particles]
    assert len(set(seeds)) == 2 and [int(p.step) for p in particles] == [2, 2]
    for seed, start in ((2, 2), (3, 4)):
        particles, positions = advance(problem, particles, seed)
        assert positions == [start, start]
        assert [tuple(np.asarray(p.task_seed)) for p in particles] == seeds
    # Six steps of five are done: both begin anew, on other tasks.
    renewed, positions = advance(problem, particles, 4)
    assert positions == [0, 0] and [int(p.step) for p in renewed] == [2, 2]
    assert not {tuple(np.asarray(p.task_seed)) for p in renewed} & set(seeds)


def test_an_inner_loop_that_diverged_is_replaced(stepped):
    problem, (first, second) = stepped
    state = tuple(dict(layer) for layer in first.state)
    state[1]["w"] = tf.tensor_scatter_nd_update(state[1]["w"], [[0, 0]], [np.inf])
    particles, positions = advance(problem, [first._replace(state=state), second], 2)
    assert positions == [0, 2]
    assert all(np.all(np.isfinite(a)) for a in tf.nest.flatten(particles[0].state))
