"""Data sets of the experiments as float arrays: examples to learn from, and others to judge by."""

from typing import NamedTuple

import numpy as np

from keras_learned_rule.checks import check, one_of
from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.data.resize import fit_images
from keras_learned_rule.data.tfds_images import tfds_image_set
from keras_learned_rule.hints import PathLike

IMAGE_DATA = ("mnist", "fashion_mnist", "cifar10", "tiny_imagenet16", "digits")
# Tiny-ImageNet's classes for experiments are those that meta-training leaves alone. They come in
# one split, of which this share of each class is for learning without labels.
_HELD_OUT_SPLIT, _UNLABELLED_SHARE, _SPLIT_SEED = "heldout_classes", 0.6, 0


class DataSplit(NamedTuple):
    """A data set in two parts.

    Attributes:
        x_train: float32 `[n, inputs]`, to be learned from without labels. Images are from 0 to
            1, their rows one after the other.
        y_train: int32 `[n]`, indices into `class_names`.
        x_test: float32 `[m, inputs]`, where few-shot readouts find their labelled and their test
            examples.
        y_test: int32 `[m]`.
        name: str.
        class_names: tuple of str.

    Example:
    ```python
    from keras_learned_rule.data.splits import image_arrays

    digits = image_arrays("digits", size=8)
    assert len(digits.x_train) == len(digits.y_train) == 1197
    ```
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str
    class_names: tuple[str, ...]


def image_arrays(
    name: str, size: int, channels: int = 1, data_dir: PathLike | None = None
) -> DataSplit:
    """An image data set of the experiments, resized by area.

    Training and test examples are those that the data set's authors chose, with two exceptions.
    Of scikit-learn's digits, 600 are for testing, as `digits_split` draws them. Of Tiny-ImageNet,
    only the 40 held-out classes are used: 60 of the 100 images of each are for training, always
    the same ones.

    Args:
        name: `"mnist"`, `"fashion_mnist"`, `"cifar10"`, `"tiny_imagenet16"` or `"digits"`. All
            but the last are read from TFDS data on this machine, and cached in 8 bits.
        size: int, height and width.
        channels: 1 for grey or 3 for RGB. Defaults to `1`.
        data_dir: folder of TFDS data sets. Defaults to `$TFDS_DATA_DIR`, or else to
            `~/tensorflow_datasets`.

    Returns:
        A `DataSplit` with `size * size * channels` inputs.

    Raises:
        FileNotFoundError: if the data set is neither prepared on this machine nor cached.
        ImportError: if it is not cached and tensorflow-datasets or TensorFlow is missing.
        ValueError: if there is no such name, or `size` or `channels` is out of range.

    Example:
    ```python
    from keras_learned_rule.data.splits import image_arrays

    digits = image_arrays("digits", size=4)
    assert digits.x_train.shape == (1197, 16) and digits.x_test.shape == (600, 16)
    ```
    """
    check("name", name, one_of(IMAGE_DATA))
    if name == "digits":
        return _digits(size, channels)
    if name == "tiny_imagenet16":
        return _halves(tfds_image_set(size, channels, name, _HELD_OUT_SPLIT, data_dir))
    train = tfds_image_set(size, channels, name, "train", data_dir)
    test = tfds_image_set(size, channels, name, "test", data_dir)
    return DataSplit(
        _flat(train.images), train.labels, _flat(test.images), test.labels, name, train.class_names
    )


def _flat(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255


def _digits(size, channels):
    x_train, y_train, x_test, y_test = digits_split()

    def resized(x):
        return fit_images(x.reshape(-1, 8, 8, 1), size, channels).reshape(len(x), -1)

    names = tuple(str(digit) for digit in range(10))
    return DataSplit(resized(x_train), y_train, resized(x_test), y_test, "digits", names)


def _halves(images):
    """Splits each class by `_UNLABELLED_SHARE`, and leaves the order of the examples."""
    rng = np.random.default_rng(_SPLIT_SEED)
    training = np.zeros(len(images.labels), bool)
    for label in range(len(images.class_names)):
        members = rng.permutation(np.flatnonzero(images.labels == label))
        training[members[: round(_UNLABELLED_SHARE * len(members))]] = True
    x, y = _flat(images.images), images.labels
    return DataSplit(
        x[training], y[training], x[~training], y[~training], images.name, images.class_names
    )
