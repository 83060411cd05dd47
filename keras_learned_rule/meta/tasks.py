"""Tasks: some classes, one permutation of the pixels, inverted or not, a network; and their data.

Paper, section 4.2. Everything here is a pure function of uniform random numbers.
"""

import dataclasses
import math
from typing import Any, NamedTuple

from keras import ops

from keras_learned_rule.data.augment import AugmentRanges, affine_matrices, photometric, warp
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.unroll import Episode, InnerData

AFFINE_DRAWS, PHOTO_DRAWS = 6, 2
DRAWS_AN_IMAGE = 2 + AFFINE_DRAWS + PHOTO_DRAWS


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """The distribution of tasks of one kind.

    Args:
        network: The `NetworkSpec` of the base model.
        side: Height and width in pixels to which images are resampled.
        ways: Classes a task.
        shots: Labelled training examples a class in an episode.
        tests: Test examples a class in an episode.
        batch: Examples of an unlabelled batch.
        augment: `AugmentRanges` of the random affine maps, drawn for every image.
        invert: Probability that a task swaps black and white.
        contrast: Contrast of an image is uniform in 1 -/+ this.
        brightness: Brightness of an image is uniform in -/+ this.
        permute: Whether a task permutes its pixels, one permutation for all its images.
    """

    network: NetworkSpec = NetworkSpec()
    side: int = 14
    ways: int = 10
    shots: int = 5
    tests: int = 10
    batch: int = 64
    augment: AugmentRanges = AugmentRanges()
    invert: float = 0.3
    contrast: float = 0.3
    brightness: float = 0.1
    permute: bool = True

    def __post_init__(self):
        for name, least in (("side", 2), ("ways", 2), ("shots", 1), ("tests", 1), ("batch", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} must be at least {least}. Received: {getattr(self, name)!r}"
                )

    @property
    def inputs(self):
        """Number of input units."""
        return self.side**2

    @property
    def episode(self):
        """The `Episode` that scores a step."""
        return Episode(self.ways, self.shots, self.tests)

    @property
    def images_a_step(self):
        """Images that one inner step and its score consume."""
        return self.batch + self.ways * (self.shots + self.tests)


class Task(NamedTuple):
    """One task: classes [ways] and pixel order [inputs] as int32, invert 0. or 1."""

    classes: Any
    permutation: Any
    invert: Any


def make_task(spec, class_count, class_draws, pixel_draws, invert_draw):
    """Makes a task from uniform draws of shapes [class_count], [inputs] and []."""
    permutation = ops.argsort(pixel_draws) if spec.permute else ops.arange(spec.inputs)
    return Task(
        classes=ops.cast(ops.argsort(class_draws)[: spec.ways], "int32"),
        permutation=ops.cast(permutation, "int32"),
        invert=ops.cast(invert_draw < spec.invert, "float32"),
    )


def inner_data(spec, images, class_table, task, draws):
    """Draws the unlabelled batches and the labelled episodes of K inner steps.

    Args:
        spec: A `TaskSpec`.
        images: [n, height, width] uint8.
        class_table: [classes, m] int32, indices into `images` for each class.
        task: A `Task`.
        draws: [K, images_a_step, DRAWS_AN_IMAGE] float32, uniform in [0, 1).

    Returns:
        `InnerData`, float32 in 0..1.
    """
    return InnerData(
        batches=unlabelled_batches(spec, images, class_table, task, draws[:, : spec.batch]),
        labelled=labelled_episodes(spec, images, class_table, task, draws[:, spec.batch :]),
    )


def unlabelled_batches(spec, images, class_table, task, draws):
    """Batches [K, batch, inputs] from draws [K, batch, DRAWS_AN_IMAGE]; see `inner_data`."""
    slots = _integers(draws[..., 0], spec.ways)
    columns = _integers(draws[..., 1], class_table.shape[1])
    return _pictures(spec, images, class_table, task, slots, columns, draws)


def labelled_episodes(spec, images, class_table, task, draws):
    """Episodes [K, ways * (shots + tests), inputs] from draws [K, ..., DRAWS_AN_IMAGE].

    The training examples of a class come from one half of its row in the class table, the test
    examples from the other; the halves have no picture in common. Each takes consecutive entries
    from a random start.
    """
    episode, half = spec.episode, class_table.shape[1] // 2
    slots = ops.concatenate(episode.labels())
    place = ops.concatenate([_counts(n, episode.ways) for n in (episode.shots, episode.tests)])
    is_test = ops.arange(len(slots)) >= episode.ways * episode.shots
    # One draw a class and purpose: where to start; one a class: which half is for training.
    training_start, test_start = (
        ops.take(_integers(draws[:, i * spec.ways : (i + 1) * spec.ways, 1], half), slots, axis=1)
        for i in range(2)
    )
    swapped = ops.take(draws[:, : spec.ways, 0] < 0.5, slots, axis=1)
    column = (ops.where(is_test, test_start, training_start) + place) % half
    column = column + half * ops.cast(ops.logical_xor(is_test, swapped), "int32")
    slots = ops.broadcast_to(slots, ops.shape(column))
    return _pictures(spec, images, class_table, task, slots, column, draws)


def _counts(count, times):
    return ops.tile(ops.arange(count, dtype="int32"), [times])


def _integers(draws, bound):
    return ops.cast(ops.floor(draws * bound), "int32")


def _pictures(spec, images, class_table, task, slots, columns, draws):
    rows = ops.take(task.classes, slots)
    indices = ops.take(ops.reshape(class_table, (-1,)), rows * class_table.shape[1] + columns)
    chosen = ops.take(images, ops.reshape(indices, (-1,)), axis=0)
    flat = ops.reshape(draws, (-1, DRAWS_AN_IMAGE))
    pixels = _distorted(spec, ops.cast(chosen, "float32") / 255.0, task, flat)
    return ops.reshape(pixels, tuple(draws.shape[:2]) + (spec.inputs,))


def _resampled(pictures, matrices, side):
    """Warps to side x side; bilinear reading alone would skip pixels of much larger pictures."""
    factor = math.ceil(pictures.shape[1] / (2 * side))
    fine = warp(pictures, matrices, side * factor)
    return ops.mean(ops.reshape(fine, (-1, side, factor, side, factor)), axis=(2, 4))


def _distorted(spec, pictures, task, draws):
    matrices = affine_matrices(draws[:, 2 : 2 + AFFINE_DRAWS], spec.augment)
    pictures = _resampled(pictures, matrices, spec.side)
    contrast, brightness = ops.unstack(2.0 * draws[:, 2 + AFFINE_DRAWS :] - 1.0, 2, axis=1)
    pictures = photometric(
        pictures,
        invert=ops.broadcast_to(task.invert, ops.shape(contrast)),
        contrast=1.0 + spec.contrast * contrast,
        brightness=spec.brightness * brightness,
    )
    rows = ops.reshape(pictures, (-1, spec.inputs))
    return ops.take(rows, task.permutation, axis=1)
