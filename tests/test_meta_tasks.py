"""Tasks and their data: which pictures they draw, in what order, and what is done to them."""

import dataclasses
import functools

import meta_cases
import numpy as np
import pytest
from keras import ops

from keras_learned_rule.data import augment
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.data.synthetic import gaussian_mixture
from keras_learned_rule.data.tabular import tabular
from keras_learned_rule.meta.pool import Pool, load_pool
from keras_learned_rule.meta.tasks import (
    TaskSpec,
    inner_data,
    labelled_episodes,
    make_task,
    unlabelled_batches,
)

STEPS, SIZE, MEMBERS = 3, 4, 20
SPEC = TaskSpec(shape=(SIZE, SIZE, 1), ways=3, shots=3, tests=5, batch=40, permute=False)
EPISODE = 3 * (3 + 5)


def marked(first, classes):
    """A source whose pictures tell their class, counted from `first`, and their place in it."""

    def source(size, channels):
        labels = np.repeat(np.arange(classes, dtype="int32"), MEMBERS)
        images = np.random.default_rng(first).integers(
            256, size=(len(labels), size, size, channels), dtype="uint8"
        )
        images[:, 0, 0] = first + labels[:, None]
        images[:, 0, 1] = np.tile(np.arange(MEMBERS), classes)[:, None]
        names = tuple(str(first + label) for label in range(classes))
        return ImageSet(images, labels, names, f"from {first}")

    return source


SOURCES = [(marked(0, 5), 3.0), (marked(50, 4), 1.0), (marked(100, 3), 4.0)]
CLASSES = [range(5), range(50, 54), range(100, 103)]


@pytest.fixture(scope="module")
def pool():
    return load_pool(SOURCES, SIZE, 1).pool


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, "float32")


def task(spec, pool, seed=0, source_draw=None):
    rng = np.random.default_rng(seed)
    sizes = len(pool.class_table), spec.inputs, len(spec.augmentations)
    source_draw = rng.random(dtype="float32") if source_draw is None else np.float32(source_draw)
    draws = [
        ops.convert_to_tensor(a) for a in (source_draw, *(rng.random(n, "float32") for n in sizes))
    ]
    return make_task(spec, on_device(pool), *draws)


def on_device(pool):
    return Pool(*map(ops.convert_to_tensor, pool))


def drawn(function, spec, pool, one, count, seed=0):
    """What a function draws for the task, as NumPy arrays."""
    draws = ops.convert_to_tensor(uniform(STEPS, count, spec.draws_an_image, seed=seed))
    return meta_cases.as_numpy(function(spec, on_device(pool), one, draws))


def recognised(rows):
    """(class, member) of each picture; rows must not be permuted or distorted."""
    marks = np.round(255 * np.asarray(rows)[..., :2]).astype(int)
    return marks[..., 0], marks[..., 1]


def class_names(one):
    """The numbers that the pictures of the task's classes are marked with."""
    return np.concatenate([list(c) for c in CLASSES])[np.asarray(one.classes)]


def test_a_task_has_distinct_classes_of_one_source(pool):
    # Evenly spaced draws: the shares 3 : 1 : 4 are met exactly.
    tasks = [task(SPEC, pool, seed, (seed + 0.5) / 160) for seed in range(160)]
    counts = np.bincount([int(one.source) for one in tasks])
    np.testing.assert_array_equal(counts, [60, 20, 80])
    for one in tasks:
        names = class_names(one)
        assert len(set(names)) == 3 and set(names) <= set(CLASSES[int(one.source)])
    first = np.concatenate([class_names(one) for one in tasks if one.source == 0])
    # 180 places for 5 classes: 36 each, give or take four standard deviations.
    assert np.all(np.abs(np.bincount(first, minlength=5) - 36) < 4 * (60 * 0.6 * 0.4) ** 0.5)
    # All classes of the third source, in every order.
    assert len({tuple(class_names(one)) for one in tasks if one.source == 2}) == 6


@pytest.mark.parametrize("ways", [2, 4, 5])
def test_a_task_has_from_two_to_all_classes(ways):
    pool = load_pool(SOURCES[:1], SIZE, 1).pool
    spec = dataclasses.replace(SPEC, ways=ways)
    tasks = [task(spec, pool, seed) for seed in range(20)]
    assert all(len(set(class_names(one))) == ways for one in tasks)
    assert set(np.concatenate([class_names(one) for one in tasks])) == set(range(5))
    episodes, _ = drawn(labelled_episodes, spec, pool, tasks[0], ways * 8)
    assert set(recognised(episodes)[0].flat) == set(class_names(tasks[0]))


def test_batches_hold_the_classes_of_the_task(pool):
    for seed in range(3):
        one = task(SPEC, pool, seed)
        batches = drawn(unlabelled_batches, SPEC, pool, one, SPEC.batch, seed)
        assert batches.shape == (STEPS, SPEC.batch, SIZE**2) and batches.dtype == np.float32
        classes, members = recognised(batches)
        assert set(classes.flat) == set(class_names(one))
        # 120 pictures of 3 classes: 40 each, give or take three standard deviations.
        assert np.all(np.abs(np.bincount(classes.flat)[class_names(one)] - 40) < 16)
        assert len(set(members.flat)) > 0.9 * MEMBERS


def test_pictures_without_augmentation_are_those_of_the_pool(pool):
    one = task(SPEC, pool)
    known = {tuple(image) for image in pool.images.reshape(len(pool.images), -1)}
    data = drawn(inner_data, SPEC, pool, one, SPEC.images_a_step)
    assert data.coefficients is None and data.labelled.shape == (STEPS, EPISODE, SIZE**2)
    for rows in (data.batches, data.labelled):
        levels = 255 * rows.reshape(-1, SIZE**2)
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
        assert {tuple(row) for row in np.round(levels).astype("uint8")} <= known


def test_only_the_last_steps_have_episodes(pool):
    spec = dataclasses.replace(SPEC, augmentations=(augment.shift_right(),))
    one = task(spec, pool)
    every = drawn(inner_data, spec, pool, one, spec.images_a_step)
    for scored, first in ((1, STEPS - 1), (2, STEPS - 2), (STEPS + 1, 0)):
        draw = functools.partial(inner_data, scored=scored)
        some = drawn(draw, spec, pool, one, spec.images_a_step)
        np.testing.assert_array_equal(some.batches, every.batches)
        np.testing.assert_array_equal(some.labelled, every.labelled[first:])
        np.testing.assert_array_equal(some.coefficients, every.coefficients[first:])


def test_episodes_list_training_then_test_pictures_by_class(pool):
    halves = set()
    for seed in range(20):
        one = task(SPEC, pool, seed)
        episodes, coefficients = drawn(labelled_episodes, SPEC, pool, one, EPISODE, seed)
        assert coefficients is None
        classes, members = recognised(episodes)
        order = [c for part in (3, 5) for c in class_names(one) for _ in range(part)]
        for k in range(STEPS):
            np.testing.assert_array_equal(classes[k], order)
            for c in class_names(one):
                # No picture is trained on and tested on, nor used twice.
                assert len(set(members[k][classes[k] == c])) == 3 + 5
        assert len({tuple(m) for m in members}) == STEPS
        halves |= {(c, m) for c, m in zip(classes[:, :9].flat, members[:, :9].flat, strict=True)}
    # Either half of a class can be the one for training.
    assert all(len([m for c, m in halves if c == name]) > MEMBERS / 2 for name in CLASSES[2])


def test_pictures_are_never_in_both_parts_even_of_classes_too_small():
    """Two pictures a class: one to train on and one to test on, each as often as needed."""
    labels = np.repeat(np.arange(4, dtype="int32"), 2)
    images = np.arange(8, dtype="uint8")[:, None, None, None] * np.ones((1, 2, 2, 1), "uint8")
    few = ImageSet(images, labels, tuple("abcd"), "few")
    pool = load_pool([(lambda size, channels: few, 1.0)], 2, 1).pool
    spec = dataclasses.replace(SPEC, shape=(2, 2, 1))
    for seed in range(10):
        episodes, _ = drawn(labelled_episodes, spec, pool, task(spec, pool, seed), EPISODE, seed)
        pictures = np.round(255 * episodes[..., 0]).astype(int)
        for training, test in zip(pictures[:, :9], pictures[:, 9:], strict=True):
            assert not set(training) & set(test) and len(set(training)) == len(set(test)) == 3


def test_the_inputs_of_all_pictures_of_a_task_are_permuted_alike(pool):
    spec = dataclasses.replace(SPEC, permute=True, augmentations=(augment.brightness(0.3),))
    tasks = [task(spec, pool, seed) for seed in range(10)]
    for one in tasks:
        np.testing.assert_array_equal(np.sort(one.permutation), np.arange(SIZE**2))
        permuted = drawn(inner_data, spec, pool, one, spec.images_a_step)
        straight = one._replace(permutation=ops.arange(SIZE**2, dtype="int32"))
        plain = drawn(inner_data, spec, pool, straight, spec.images_a_step)
        for rows, expected in zip(permuted[:2], plain[:2], strict=True):
            np.testing.assert_array_equal(rows, expected[..., np.asarray(one.permutation)])
    assert len({tuple(np.asarray(one.permutation)) for one in tasks}) == 10
    np.testing.assert_array_equal(task(SPEC, pool).permutation, np.arange(SIZE**2))


def test_pictures_have_colours_and_vectors_have_none():
    pool = load_pool(SOURCES[:1], SIZE, 3).pool
    spec = dataclasses.replace(SPEC, shape=(SIZE, SIZE, 3))
    rows = drawn(unlabelled_batches, spec, pool, task(spec, pool), spec.batch)
    images = np.round(255 * rows.reshape(-1, SIZE, SIZE, 3)).astype("uint8")
    assert {i.tobytes() for i in images} <= {i.tobytes() for i in pool.images}
    vectors = load_pool([(gaussian_mixture, 1.0)], SIZE, 1).pool
    spec = dataclasses.replace(SPEC, shape=vectors.images.shape[1:])
    assert spec.inputs == 196
    rows = drawn(unlabelled_batches, spec, vectors, task(spec, vectors), spec.batch)
    known = {v.tobytes() for v in vectors.images}
    assert {v.tobytes() for v in np.round(255 * rows).astype("uint8").reshape(-1, 196)} <= known


def test_inputs_of_float_vectors_are_the_numbers_themselves():
    pool = load_pool([(tabular, 1.0)], SIZE, 1).pool
    spec = dataclasses.replace(SPEC, shape=pool.images.shape[1:])
    rows = drawn(unlabelled_batches, spec, pool, task(spec, pool), spec.batch)
    known = {v.tobytes() for v in pool.images}
    assert rows.min() < -1 and {v.tobytes() for v in rows.reshape(-1, 16)} <= known


@pytest.fixture(scope="module")
def dots():
    """A pool of one picture, a dot in the middle, in three classes."""
    images = np.zeros((6, 11, 11, 1), "uint8")
    images[:, 5, 5] = 200
    dots = ImageSet(images, np.repeat(np.arange(3, dtype="int32"), 2), ("a", "b", "c"), "dots")
    return load_pool([(lambda size, channels: dots, 1.0)], 11, 1).pool


def dot_data(dots, seed=0, *augmentations):
    spec = dataclasses.replace(SPEC, shape=(11, 11, 1), augmentations=augmentations)
    one = task(spec, dots, seed)
    data = drawn(inner_data, spec, dots, one, spec.images_a_step, seed)
    return (
        one,
        data.batches.reshape(-1, 11, 11),
        data.labelled.reshape(-1, 11, 11),
        data.coefficients,
    )


def test_coefficients_tell_where_a_picture_was_moved(dots):
    kinds = augment.shift_right(0.2), augment.shift_down(0.1)
    _, _, labelled, coefficients = dot_data(dots, 0, *kinds)
    assert coefficients.shape == (STEPS, EPISODE, 2)
    right, down = coefficients.reshape(-1, 2).T
    place, mass = np.arange(11) - 5, labelled / labelled.sum(axis=(1, 2), keepdims=True)
    # They are scaled to variance 1, from a range of -1..1.
    np.testing.assert_allclose((mass.sum(1) @ place), 11 * 0.2 * right / 3**0.5, atol=1e-4)
    np.testing.assert_allclose((mass.sum(2) @ place), 11 * 0.1 * down / 3**0.5, atol=1e-4)


def test_coefficients_have_mean_0_and_variance_1(dots):
    kinds = augment.shift_right(0.2), augment.brightness(0.1), augment.rotation()
    every = np.concatenate([dot_data(dots, seed, *kinds)[3].reshape(-1, 3) for seed in range(20)])
    n = len(every)
    np.testing.assert_allclose(every.mean(0), 0.0, atol=4 / n**0.5)
    # The variance of the square of a uniform number of variance 1 is 0.8.
    np.testing.assert_allclose((every**2).mean(0), 1.0, atol=4 * (0.8 / n) ** 0.5)
    assert np.all(np.abs(np.corrcoef(every.T) - np.eye(3)) < 4 / n**0.5)
    assert np.abs(every).max() <= 3**0.5


def test_coefficients_of_a_task_are_shared_and_no_targets(dots):
    kinds = augment.brightness(0.1), augment.inversion(0.5), augment.contrast(0.2)
    inverted = []
    for seed in range(30):
        one, batches, labelled, coefficients = dot_data(dots, seed, *kinds)
        pictures = np.concatenate([batches, labelled])
        assert coefficients.shape[-1] == 2
        corners_are_light = pictures[:, 0, 0] > 0.5
        assert len(set(corners_are_light)) == 1
        inverted.append(bool(corners_are_light[0]))
        assert abs(float(one.coefficients[1])) <= 1
    assert 6 < sum(inverted) < 24
    # The columns are those of the brightness and of the contrast.
    levels = labelled[:, 5, 5].ravel() if not inverted[-1] else 1 - labelled[:, 5, 5].ravel()
    c = coefficients.reshape(-1, 2) / 3**0.5
    assert np.corrcoef(levels, c[:, 0])[0, 1] > 0.3 and np.corrcoef(levels, c[:, 1])[0, 1] > 0.3


def test_pictures_are_distorted_each_in_its_own_way(dots):
    _, batches, labelled, _ = dot_data(dots, 0, augment.rotation(), augment.shift_down(0.3))
    pictures = np.round(np.concatenate([batches, labelled]), 5).reshape(-1, 121)
    assert len(np.unique(pictures, axis=0)) == len(pictures)


def test_noise_is_added_to_the_picture_it_belongs_to(dots):
    spec = dataclasses.replace(SPEC, shape=(11, 11, 1), augmentations=(augment.pixel_noise(0.01),))
    assert spec.needs_noise and not SPEC.needs_noise
    one, pool = task(spec, dots), on_device(dots)
    draws = uniform(STEPS, spec.images_a_step, spec.draws_an_image)
    noise = np.abs(np.random.default_rng(0).standard_normal((*draws.shape[:2], 11, 11, 1)))
    noise = noise.astype("float32")
    data = inner_data(spec, pool, one, *map(ops.convert_to_tensor, (draws, noise)))
    rows = np.concatenate([data.batches, data.labelled], axis=1).reshape(noise.shape)
    clean = np.asarray(dots.images[0]) / 255.0
    expected = np.clip(clean + 0.01 * draws[..., 2, None, None, None] * noise, 0, 1)
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_bad_specs_are_named():
    for name in ("ways", "shots", "tests", "batch"):
        with pytest.raises(ValueError, match=f"{name} must be an integer.*Received: 0"):
            TaskSpec(**{name: 0})
    with pytest.raises(ValueError, match="augmentations must be .* an Augmentation.*rotation"):
        TaskSpec(augmentations=(augment.rotation,))
