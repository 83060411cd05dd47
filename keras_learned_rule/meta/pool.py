"""Pools: all images that tasks of one kind are drawn from, as arrays for the device."""

from typing import Any, NamedTuple

import numpy as np
from keras import backend, ops

from keras_learned_rule.checks import check, function, instance_of, list_of, number, pair_of
from keras_learned_rule.data.image_set import ImageSet

_SOURCE = function("a source (in gin, without calling it: @glyphs)", arguments=2)
SOURCES = list_of(pair_of(_SOURCE, number(above=0)))


class Pool(NamedTuple):
    """Images of several data sets, drawn from by plain indexing; its size costs no time.

    Attributes:
        images: [n, height, width, channels] uint8, or float32 if those of a data set are.
        class_table: [classes, m] int32, indices into `images` for each class of all data sets;
            the halves of a row have no image in common.
        source_of_class: [classes] int32, which data set a class belongs to.
        thresholds: [data sets] float32, cumulative shares: a uniform draw picks the first data
            set whose threshold is above it.
    """

    images: Any
    class_table: Any
    source_of_class: Any
    thresholds: Any


class Sources(NamedTuple):
    """Data sets by share, before and after loading.

    Attributes:
        names: Tuple of str, the data sets.
        class_counts: Tuple of int, classes of each.
        pool: The `Pool`, of NumPy arrays.
    """

    names: tuple
    class_counts: tuple
    pool: Pool


def load_pool(sources, size, channels):
    """Loads data sets and lays them out as one pool.

    Args:
        sources: List of (source, share): a function `(size, channels) -> ImageSet`, see
            docs/data.md, and the share of the tasks that use it, a positive number.
        size: Height and width of the images in pixels.
        channels: 1 for grey, 3 for RGB.

    Returns:
        A `Sources`.

    Raises:
        ValueError: There are no sources, a share is not positive, or the images of the sources
            differ in shape.

    Example:
    ```python
    from keras_learned_rule.data.synthetic import gaussian_mixture
    from keras_learned_rule.meta.pool import load_pool

    sources = load_pool([(gaussian_mixture, 1.0)], size=8, channels=1)
    assert sources.names == ("gaussian_mixture",) and sources.pool.images.shape[1:] == (1, 196, 1)
    ```
    """
    sources = check("sources", sources, SOURCES)
    shares = np.array([share for _, share in sources])
    sets = [
        check("What a source returns", source(size, channels), instance_of(ImageSet))
        for source, _ in sources
    ]
    shapes = [(s.name, s.images.shape[1:]) for s in sets]
    if len({shape for _, shape in shapes}) > 1:
        raise ValueError(
            f"Images of one pool must have one shape; put others into a TaskFamily of their own. "
            f"Received: {shapes}"
        )
    counts = tuple(len(s.class_names) for s in sets)
    pool = Pool(
        images=_joint_images(sets),
        class_table=_joint_table(sets),
        source_of_class=np.repeat(np.arange(len(sets), dtype="int32"), counts),
        thresholds=(np.cumsum(shares) / shares.sum()).astype("float32"),
    )
    return Sources(tuple(s.name for s in sets), counts, pool)


def inputs_of(images):
    """What a network gets, float32: bytes as numbers from 0 to 1, other numbers as they are."""
    unit = 255.0 if backend.standardize_dtype(images.dtype) == "uint8" else 1.0
    return ops.cast(images, "float32") / unit


def _joint_images(sets):
    images = [s.images for s in sets]
    if len({part.dtype for part in images}) > 1:
        images = [ops.convert_to_numpy(inputs_of(part)) for part in images]
    return np.concatenate(images)


def _joint_table(sets):
    largest = max(np.bincount(s.labels).max() for s in sets)
    offsets = np.cumsum([0] + [len(s.images) for s in sets[:-1]])
    tables = [s.class_table(largest + largest % 2) + o for s, o in zip(sets, offsets, strict=True)]
    return np.concatenate(tables).astype("int32")
