"""Families of tasks, and the buckets of equal shape that they are split into."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import gin
import numpy as np

from keras_learned_rule.checks import (
    check_fields,
    flag,
    instance_of,
    integer,
    list_of,
    one_of,
    span,
    text,
)
from keras_learned_rule.meta.networks import NetworkDistribution, NetworkSpec
from keras_learned_rule.meta.pool import SOURCES, load_pool
from keras_learned_rule.meta.tasks import AUGMENTATIONS, TaskSpec

_KINDS = {
    "sources": SOURCES,
    "networks": instance_of(
        (NetworkDistribution, NetworkSpec), "in gin, call it: @NetworkDistribution()"
    ),
    "buckets": integer(least=1),
    "tasks": integer(least=1),
    "size": integer(least=2),
    "channels": one_of((1, 3)),
    "ways": span(2),
    "shots": integer(least=1),
    "tests": integer(least=1),
    "batches": list_of(integer(least=2)),
    "augmentations": AUGMENTATIONS,
    "permute": flag(),
    "name": text(),
}


class Bucket(NamedTuple):
    """Tasks of equal shape, which share a compiled program.

    Attributes:
        spec: The `TaskSpec`.
        pool: Index of the pool of images among those of the run.
        tasks: Number of tasks of a meta-update.
        name: Str for logs.
    """

    spec: TaskSpec
    pool: int
    tasks: int
    name: str


@gin.configurable
@dataclasses.dataclass(frozen=True)
class TaskFamily:
    """A distribution of tasks: data sets x classes x permutations x augmentations x networks.

    What decides shapes (network, ways, batch) is drawn once for each bucket when a run begins, so
    that few programs are compiled; everything else is drawn anew for every task.

    Args:
        sources: List of (source, share), see docs/data.md.
        networks: `NetworkDistribution`, or a `NetworkSpec`.
        buckets: Number of buckets.
        tasks: Tasks of a bucket in a meta-update that uses it.
        size: Height and width of the images in pixels.
        channels: 1 for grey, 3 for RGB.
        ways: (least, most) classes of a task, at most the classes of the smallest source.
        shots: Labelled training examples a class.
        tests: Test examples a class.
        batches: Sizes of the unlabelled batch, each as likely.
        augmentations: List of `Augmentation`, for images of brightness; none for float32.
        permute: Whether each task permutes its inputs.
        name: What logs call the family.

    Raises:
        ValueError: A field is out of range.

    Example:
    ```python
    from keras_learned_rule.data.synthetic import gaussian_mixture
    from keras_learned_rule.meta.families import TaskFamily, load_families

    family = TaskFamily([(gaussian_mixture, 1.0)], buckets=2, size=8, ways=(2, 5))
    buckets, pools = load_families([family], seed=0)
    assert len(buckets) == 2 and pools[0].names == ("gaussian_mixture",)
    ```

    Reference: Metz et al., ICLR 2019, section 4.2.
    """

    sources: list
    networks: NetworkDistribution | NetworkSpec = NetworkDistribution()
    buckets: int = 4
    tasks: int = 1
    size: int = 14
    channels: int = 1
    ways: tuple = (10, 10)
    shots: int = 5
    tests: int = 10
    batches: tuple = (64,)
    augmentations: tuple = ()
    permute: bool = True
    name: str = "tasks"

    def __post_init__(self):
        check_fields(self, _KINDS)

    def task_spec(self, shape: tuple[int, ...], rng: np.random.Generator) -> TaskSpec:
        """Draws the `TaskSpec` of a bucket."""
        networks = self.networks
        return TaskSpec(
            network=networks if isinstance(networks, NetworkSpec) else networks.sample(rng),
            shape=shape,
            ways=int(rng.integers(self.ways[0], self.ways[1] + 1)),
            shots=self.shots,
            tests=self.tests,
            batch=int(rng.choice(self.batches)),
            augmentations=self.augmentations,
            permute=self.permute,
        )


def load_families(families: Sequence[TaskFamily], seed: int) -> tuple[list[Bucket], list[Any]]:
    """Loads the data of families and draws their buckets.

    Families with equal sources, size and channels share their images.

    Args:
        families: List of `TaskFamily`.
        seed: Integer; the buckets of a family depend on it and on the family's place in the list.

    Returns:
        (buckets, pools): a list of `Bucket`, and the list of `Sources` they index.

    Raises:
        ValueError: There is no family, or one wants more ways than a source has classes, or
            augments what is not brightness.
    """
    if not families:
        raise ValueError("families must hold at least one TaskFamily. Received: none")
    buckets, wanted, pools = [], [], []
    for place, family in enumerate(families):
        images = [tuple(map(tuple, family.sources)), family.size, family.channels]
        if images not in wanted:
            wanted.append(images)
            pools.append(load_pool(*images))
        pool = wanted.index(images)
        sources = pools[pool]
        _check_family(family, sources)
        shape = sources.pool.images.shape[1:]
        rng = np.random.default_rng([seed, place])
        specs = [family.task_spec(shape, rng) for _ in range(family.buckets)]
        buckets += [
            Bucket(spec, pool, family.tasks, f"{family.name}_{i}") for i, spec in enumerate(specs)
        ]
    return buckets, pools


def _check_family(family, sources):
    if family.ways[1] > min(sources.class_counts):
        classes = list(zip(sources.names, sources.class_counts, strict=True))
        raise ValueError(
            f"ways must be at most the classes of each source, here {classes}. "
            f"Received: ways={family.ways}"
        )
    if family.augmentations and sources.pool.images.dtype != np.uint8:
        raise ValueError(
            "augmentations distort brightness, uint8, and would cut off other numbers; leave them "
            f"out. Received: {len(family.augmentations)} of them for {sources.names}"
        )
