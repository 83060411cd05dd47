"""Labelled images held in memory: what every data source returns and tasks are drawn from."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_learned_rule.checks import check, number, one_of

PARTS = ("all", "train", "choose", "report")
# The arguments of a source that `ImageSet.part` takes.
PART_KINDS = {"part": one_of(PARTS), "held_out_fraction": number(above=0, below=0.5)}
# The classes of a part must be the same in every run and every process.
_PARTS_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their classes.

    Vectors are images of height 1 and one channel.

    Args:
        images: `[n, height, width, channels]`. uint8 is brightness, and a network gets it as 0 to
            1. float32 is finite, and a network gets it as it is.
        labels: int32 `[n]`, indices into `class_names`.
        class_names: tuple of str, in the order of the labels.
        name: str, what logs and tables call the set.

    Raises:
        ValueError: if shapes, dtypes, numbers or labels are not as above.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.data.image_set import ImageSet

    images = np.random.default_rng(0).integers(256, size=(6, 8, 8, 1), dtype="uint8")
    labels = np.array([0, 0, 1, 1, 2, 2], "int32")
    shapes = ImageSet(images, labels, class_names=("disc", "square", "star"), name="shapes")
    assert shapes.class_table().shape == (3, 2)
    ```
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str

    def __post_init__(self):
        kinds = ("uint8", "float32")
        _check_array("images", self.images, kinds, "[n, height, width, channels]", 4)
        _check_array("labels", self.labels, ("int32",), "[n]", 1)
        if self.images.dtype == np.float32 and not np.isfinite(self.images).all():
            raise ValueError(
                "`images` must be finite as float32; bring larger numbers to another scale. "
                f"Received: {np.sum(~np.isfinite(self.images))} others in {self.name!r}"
            )
        if len(self.images) != len(self.labels):
            raise ValueError(
                "`images` and `labels` must be of one length. "
                f"Received: {len(self.images)} and {len(self.labels)}"
            )
        names = self.class_names
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"`class_names` must be a tuple of str. Received: {names!r}")
        if self.labels.min() < 0 or self.labels.max() >= len(names):
            raise ValueError(
                f"`labels` must be indices into the {len(names)} `class_names`. "
                f"Received: labels from {self.labels.min()} to {self.labels.max()}"
            )

    def class_table(self, columns: int | None = None) -> np.ndarray:
        """Lists the images of each class, for drawing tasks by plain indexing.

        Args:
            columns: int, even, at least the size of the largest class. Defaults to that size,
                made even.

        Returns:
            An int32 array `[classes, columns]` of indices into `images`. The two halves of a row
            have no image in common, so that one can be learned from and the other tested on;
            each repeats its images as far as the class is smaller. Rows are in an order of their
            own, the same at every call, so that neighbours are not images made alike.

        Raises:
            ValueError: if a class has fewer than two images.

        Example:
        ```python
        from keras_learned_rule.data.glyphs import glyph_set

        letters = glyph_set("ABC")
        row = letters.class_table()[0]
        assert set(letters.labels[row]) == {0}
        ```
        """
        rng = np.random.default_rng(0)
        by_class = np.argsort(self.labels, kind="stable")
        sizes = np.bincount(self.labels, minlength=len(self.class_names))
        if sizes.min() < 2:
            few = [self.class_names[label] for label in np.flatnonzero(sizes < 2)]
            raise ValueError(
                "A class table needs at least 2 images of each class; add images or leave classes "
                f"out. Received: {len(few)} classes with fewer in {self.name!r}: {few[:10]}"
            )
        members = [rng.permutation(m) for m in np.split(by_class, np.cumsum(sizes)[:-1])]
        half = ((columns or sizes.max()) + 1) // 2
        return np.stack(
            [
                np.concatenate([np.resize(part, half) for part in np.array_split(indices, 2)])
                for indices in members
            ]
        ).astype(np.int32)

    def split(self, held_out_fraction: float, seed: int) -> tuple["ImageSet", "ImageSet"]:
        """Splits by class, so that no class of one part occurs in the other.

        Args:
            held_out_fraction: float between 0 and 1, the part of the classes to hold out.
            seed: int, which classes.

        Returns:
            Two image sets: for training and held out.

        Raises:
            ValueError: if either part would have no class.

        Example:
        ```python
        from keras_learned_rule.data.glyphs import glyph_set

        training, held_out = glyph_set("ABCD").split(held_out_fraction=0.25, seed=0)
        assert len(training.class_names) == 3 and len(held_out.class_names) == 1
        ```
        """
        classes = len(self.class_names)
        held_out = round(held_out_fraction * classes)
        if not 0 < held_out < classes:
            raise ValueError(
                f"`held_out_fraction` must leave a class on both sides of the {classes} classes of "
                f"{self.name!r}. Received: {held_out_fraction}"
            )
        order = np.random.default_rng(seed).permutation(classes)
        return self._subset(np.sort(order[held_out:])), self._subset(np.sort(order[:held_out]))

    def part(self, name: str, held_out_fraction: float) -> "ImageSet":
        """One of three sets of classes, or all classes.

        Rules are meta-trained on `"train"`, the best one is chosen by `"choose"`, and `"report"`
        is for figures to publish: no class of it has had an influence on the rule. Which class
        is in which part depends on the number of classes and on `held_out_fraction` alone.

        Args:
            name: `"all"`, `"train"`, `"choose"` or `"report"`.
            held_out_fraction: float between 0 and 0.5, the share of the classes in `"choose"`
                and the share in `"report"`. Of no effect with `"all"`.

        Returns:
            An image set.

        Raises:
            ValueError: if there is no such part, or it would have no class.

        Example:
        ```python
        from keras_learned_rule.data.glyphs import glyph_set

        letters = glyph_set("ABCDEFGHIJ")
        parts = [letters.part(name, 0.2) for name in ("train", "choose", "report")]
        assert [len(part.class_names) for part in parts] == [6, 2, 2]
        ```
        """
        check("part", name, PART_KINDS["part"])
        if name == "all":
            return self
        check("held_out_fraction", held_out_fraction, PART_KINDS["held_out_fraction"])
        rest, report = self.split(held_out_fraction, _PARTS_SEED)
        if name == "report":
            return report
        train, choose = rest.split(held_out_fraction / (1 - held_out_fraction), _PARTS_SEED)
        return train if name == "train" else choose

    def _subset(self, classes):
        chosen = np.isin(self.labels, classes)
        return dataclasses.replace(
            self,
            images=self.images[chosen],
            labels=np.searchsorted(classes, self.labels[chosen]).astype(np.int32),
            class_names=tuple(self.class_names[label] for label in classes),
        )


def vector_set(
    values: np.ndarray, labels: np.ndarray, class_names: Sequence[str], name: str
) -> ImageSet:
    """An image set of vectors, as images of height 1.

    Args:
        values: array `[n, d]`. uint8 stays as it is; other numbers are kept as float32, since
            features of different scales and heavy tails would be lost in 8 bits.
        labels: integers `[n]`, indices into `class_names`.
        class_names: str for each class.
        name: str.

    Returns:
        An `ImageSet` with images `[n, 1, d, 1]`.

    Raises:
        ValueError: if a number is not finite as float32.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.data.image_set import vector_set

    sensors = vector_set(-np.eye(4), [0, 0, 1, 1], class_names=["idle", "busy"], name="sensors")
    assert sensors.images.shape == (4, 1, 4, 1) and sensors.images.min() == -1
    ```
    """
    values = np.asarray(values)
    if values.dtype != np.uint8:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    labels = np.asarray(labels, np.int32)
    return ImageSet(values[:, None, :, None], labels, tuple(class_names), name)


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Maps numbers linearly to 0..255, from the smallest to the largest; uint8 stays as it is.

    Args:
        values: array of finite numbers. If all are equal the result is 0.

    Returns:
        A uint8 array of the same shape.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.data.image_set import as_bytes

    assert as_bytes(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]
    ```
    """
    if values.dtype == np.uint8:
        return values
    low, high = float(values.min()), float(values.max())
    # Halves are taken: high - low of huge numbers would overflow.
    unit = (values / 2 - low / 2) / ((high / 2 - low / 2) or 1.0)
    return np.floor(255 * unit + 0.5).astype(np.uint8)


def _check_array(name, array, dtypes, shape, ndim):
    if getattr(array, "dtype", None) not in dtypes or array.ndim != ndim or 0 in array.shape:
        raise ValueError(
            f"`{name}` must be an array {shape} of {' or '.join(dtypes)} and not empty. Received: "
            f"{getattr(array, 'dtype', type(array))} of shape {getattr(array, 'shape', '?')}"
        )
