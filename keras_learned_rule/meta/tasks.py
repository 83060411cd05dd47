"""Tasks: a data set, some of its classes, one permutation of the inputs, augmentations, a network.

Paper, section 4.2. Everything here is a pure function of random numbers that are passed in.
"""

import dataclasses
from typing import Any, NamedTuple

from keras import ops

from keras_learned_rule.checks import check_fields, flag, instance_of, integer, list_of
from keras_learned_rule.data.augment import Augmentation, augmented
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.pool import inputs_of
from keras_learned_rule.meta.unroll import Episode, InnerData

# The draws of an image that choose it: its class among those of the task, its place in the class.
CHOICE_DRAWS = 2
AUGMENTATIONS = list_of(instance_of(Augmentation, "in gin, call it: @rotation()"), least=0)
_KINDS = {
    "network": instance_of(NetworkSpec),
    "ways": integer(least=2),
    "shots": integer(least=1),
    "tests": integer(least=1),
    "batch": integer(least=2),
    "augmentations": AUGMENTATIONS,
    "permute": flag(),
}


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """Tasks of one shape: what one compiled program works on.

    Args:
        network: The `NetworkSpec` of the base model.
        shape: (height, width, channels) of the images.
        ways: Classes a task.
        shots: Labelled training examples a class in an episode.
        tests: Test examples a class in an episode.
        batch: Examples of an unlabelled batch.
        augmentations: `Augmentation`s with coefficients drawn for every image.
        permute: Whether a task permutes its inputs, one permutation for all its images.

    Raises:
        ValueError: A field is out of range.
    """

    network: NetworkSpec = NetworkSpec()
    shape: tuple = (14, 14, 1)
    ways: int = 10
    shots: int = 5
    tests: int = 10
    batch: int = 64
    augmentations: tuple = ()
    permute: bool = True

    def __post_init__(self):
        check_fields(self, _KINDS)

    @property
    def inputs(self):
        """Number of input units."""
        height, width, channels = self.shape
        return height * width * channels

    @property
    def episode(self):
        """The `Episode` that scores a step."""
        return Episode(self.ways, self.shots, self.tests)

    @property
    def images_a_step(self):
        """Images that one inner step and its score consume."""
        return self.batch + self.ways * (self.shots + self.tests)

    @property
    def draws_an_image(self):
        """Uniform random numbers that one image takes."""
        return CHOICE_DRAWS + len(self.augmentations)

    @property
    def needs_noise(self):
        """Whether an augmentation takes noise for every pixel."""
        return any(a.needs_noise for a in self.augmentations)


class Task(NamedTuple):
    """One task.

    Attributes:
        source: [] int32, index of the data set.
        classes: [ways] int32, rows of the pool's class table.
        permutation: [inputs] int32.
        coefficients: [augmentations] float32 in -1..1, used for augmentations `of_task`.
    """

    source: Any
    classes: Any
    permutation: Any
    coefficients: Any


def make_task(spec, pool, source_draw, class_draws, input_draws, coefficient_draws):
    """Makes a task from uniform draws.

    Args:
        spec: A `TaskSpec`.
        pool: A `Pool`; each of its data sets has at least `ways` classes.
        source_draw: [] float32 in [0, 1).
        class_draws: [classes of the pool] likewise.
        input_draws: [inputs] likewise.
        coefficient_draws: [augmentations] likewise.

    Returns:
        A `Task`.
    """
    source = ops.sum(ops.cast(source_draw >= pool.thresholds[:-1], "int32"))
    # Classes of other data sets come last in the order.
    foreign = ops.cast(ops.not_equal(pool.source_of_class, source), "float32")
    permutation = ops.argsort(input_draws) if spec.permute else ops.arange(spec.inputs)
    return Task(
        source=source,
        classes=ops.cast(ops.argsort(class_draws + 2.0 * foreign)[: spec.ways], "int32"),
        permutation=ops.cast(permutation, "int32"),
        coefficients=2.0 * coefficient_draws - 1.0,
    )


def inner_data(spec, pool, task, draws, noise=None, scored=None):
    """Draws the unlabelled batches of K inner steps and the labelled episodes of the last of them.

    Args:
        spec: A `TaskSpec`.
        pool: A `Pool`.
        task: A `Task`.
        draws: [K, images_a_step, draws_an_image] float32, uniform in [0, 1).
        noise: [K, images_a_step, *shape] float32, standard normal; None unless `needs_noise`.
        scored: Number of the last steps that have episodes; None, or more than K, for all.

    Returns:
        `InnerData`.
    """
    cut, first = spec.batch, max(0, draws.shape[0] - (scored or draws.shape[0]))
    parts = (draws[:, :cut], draws[first:, cut:])
    noises = (None, None) if noise is None else (noise[:, :cut], noise[first:, cut:])
    batches = unlabelled_batches(spec, pool, task, parts[0], noises[0])
    labelled, coefficients = labelled_episodes(spec, pool, task, parts[1], noises[1])
    return InnerData(batches, labelled, coefficients)


def unlabelled_batches(spec, pool, task, draws, noise=None):
    """Batches [K, batch, inputs] from draws [K, batch, draws_an_image]; see `inner_data`."""
    slots = _integers(draws[..., 0], spec.ways)
    columns = _integers(draws[..., 1], pool.class_table.shape[1])
    return _pictures(spec, pool, task, slots, columns, draws, noise)[0]


def labelled_episodes(spec, pool, task, draws, noise=None):
    """Episodes, as (images [K, ways * (shots + tests), inputs], coefficients [K, ..., c]).

    The training examples of a class come from one half of its row in the class table, the test
    examples from the other; the halves have no picture in common. Each takes consecutive entries
    from a random start, of which some may be the same picture in classes that are smaller than
    the largest. Coefficients are those of the augmentations that are not `of_task`, of
    mean 0 and variance 1.
    """
    episode, half = spec.episode, pool.class_table.shape[1] // 2
    slots = ops.concatenate(episode.labels())
    place = ops.concatenate([_counts(n, episode.ways) for n in (episode.shots, episode.tests)])
    is_test = ops.arange(slots.shape[0]) >= episode.ways * episode.shots
    # One draw a class and purpose: where to start; one a class: which half is for training.
    training_start, test_start = (
        ops.take(_integers(draws[:, i * spec.ways : (i + 1) * spec.ways, 1], half), slots, axis=1)
        for i in range(2)
    )
    swapped = ops.take(draws[:, : spec.ways, 0] < 0.5, slots, axis=1)
    column = (ops.where(is_test, test_start, training_start) + place) % half
    column = column + half * ops.cast(ops.logical_xor(is_test, swapped), "int32")
    slots = ops.broadcast_to(slots, ops.shape(column))
    images, coefficients = _pictures(spec, pool, task, slots, column, draws, noise)
    kept = [i for i, a in enumerate(spec.augmentations) if not a.of_task]
    return images, ops.take(coefficients, kept, axis=-1) * 3.0**0.5 if kept else None


def _counts(count, times):
    return ops.tile(ops.arange(count, dtype="int32"), [times])


def _integers(draws, bound):
    return ops.cast(ops.floor(draws * bound), "int32")


def _pictures(spec, pool, task, slots, columns, draws, noise):
    """Input rows [K, n, inputs], and the coefficients [K, n, augmentations] behind them."""
    rows = ops.take(task.classes, slots)
    indices = ops.take(
        ops.reshape(pool.class_table, (-1,)), rows * pool.class_table.shape[1] + columns
    )
    chosen = ops.take(pool.images, ops.reshape(indices, (-1,)), axis=0)
    images = inputs_of(chosen)
    coefficients = 2.0 * draws[..., CHOICE_DRAWS:] - 1.0
    if spec.augmentations:
        of_task = ops.convert_to_tensor([a.of_task for a in spec.augmentations])
        coefficients = ops.where(of_task, task.coefficients, coefficients)
        images = augmented(
            spec.augmentations,
            images,
            ops.reshape(coefficients, (-1, len(spec.augmentations))),
            None if noise is None else ops.reshape(noise, (-1, *spec.shape)),
        )
    flat = ops.take(ops.reshape(images, (-1, spec.inputs)), task.permutation, axis=1)
    return ops.reshape(flat, (*draws.shape[:2], spec.inputs)), coefficients
