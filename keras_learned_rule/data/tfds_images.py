"""Labelled images from TensorFlow Datasets.

`tfds_images` is a source: a plain function that gin configures. One gin file can use it several
times, under scopes, for several data sets:

    cifar/tfds_images.name = "cifar10"
    flowers/tfds_images.name = "oxford_flowers102"
"""

import gin
import numpy as np

from keras_learned_rule.checks import check_all, file_path, integer, one_of, optional, text
from keras_learned_rule.data.cache import cached_image_set
from keras_learned_rule.data.image_set import PART_KINDS, ImageSet
from keras_learned_rule.data.resize import fit_images
from keras_learned_rule.data.tfds_files import open_tfds, tfds_version
from keras_learned_rule.hints import PathLike

_BATCH = 256
_KINDS = {
    "size": integer(least=1),
    "channels": one_of((1, 3)),
    "name": text(),
    "split": text(),
    "data_dir": optional(file_path()),
    "max_examples": optional(integer(least=1)),
}


@gin.configurable
def tfds_images(
    size: int,
    channels: int,
    name: str,
    split: str = "train",
    part: str = "all",
    held_out_fraction: float = 0.2,
    data_dir: PathLike | None = None,
    max_examples: int | None = None,
) -> ImageSet:
    """A TFDS data set with the features `image` and `label`, at one size.

    It is decoded once and then read from the cache, without TensorFlow. Nothing is downloaded.

    Args:
        size: int, height and width of the result; images of any size are resized by area.
        channels: 1 for grey or 3 for RGB.
        name: str, as TFDS writes it: `"cifar10"`, `"imagenet_resized/32x32"`, `"mnist:3.0.1"`.
        split: str, one or more splits as TFDS writes them. Defaults to `"train"`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.
        data_dir: folder of TFDS data sets. Defaults to `$TFDS_DATA_DIR`, or else to
            `~/tensorflow_datasets`.
        max_examples: int, how many examples to take from the start of the split. Defaults to
            `None`: all.

    Returns:
        An `ImageSet` with the classes that occur.

    Raises:
        FileNotFoundError: if the data set is neither prepared on this machine nor cached.
        ImportError: if it is not cached and tensorflow-datasets or TensorFlow is missing.
        ValueError: if it has no such split, no images or no labels, or an argument is out of
            range.

    Example:
    ```python
    from keras_learned_rule.data.tfds_images import tfds_images

    try:
        digits = tfds_images(size=14, channels=1, name="mnist", split="test")
        assert digits.images.shape == (10000, 14, 14, 1)
    except (FileNotFoundError, ImportError) as error:
        print(error)
    ```
    """
    check_all("tfds_images", locals(), _KINDS | PART_KINDS)
    whole = tfds_image_set(size, channels, name, split, data_dir, max_examples)
    return whole.part(part, held_out_fraction)


def tfds_image_set(
    size: int,
    channels: int,
    name: str,
    split: str = "train",
    data_dir: PathLike | None = None,
    max_examples: int | None = None,
) -> ImageSet:
    """All classes of `tfds_images`; gin has no say in it.

    Args:
        size: as for `tfds_images`.
        channels: as for `tfds_images`.
        name: as for `tfds_images`.
        split: as for `tfds_images`.
        data_dir: as for `tfds_images`.
        max_examples: as for `tfds_images`.

    Returns:
        An `ImageSet` with the classes that occur.

    Raises:
        FileNotFoundError: as `tfds_images` does, as well as `ImportError` and `ValueError`.

    Example:
    ```python
    from keras_learned_rule.data.tfds_images import tfds_image_set

    try:
        assert len(tfds_image_set(14, 1, "mnist").class_names) == 10
    except (FileNotFoundError, ImportError) as error:
        print(error)
    ```
    """
    check_all("tfds_image_set", locals(), _KINDS)
    request = {
        "source": "tfds_images",
        "name": name,
        "split": split,
        "size": size,
        "channels": channels,
        "max_examples": max_examples,
    }
    return cached_image_set(
        f"{name}-{split}-{size}x{size}x{channels}",
        request,
        lambda: _decode(open_tfds(name, data_dir), size, channels, name, split, max_examples),
        version=tfds_version(name, data_dir),
    )


def _decode(builder, size, channels, name, split, max_examples):
    import tensorflow_datasets as tfds

    features = builder.info.features
    _check_features(features, name)
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True})
    examples = builder.as_dataset(split=split, shuffle_files=False, decoders=wanted)
    examples = examples.take(-1 if max_examples is None else max_examples)
    # Pictures of different sizes make no batch.
    batches = examples.batch(1 if None in features["image"].shape else _BATCH)
    images, labels = [], []
    for batch in batches.as_numpy_iterator():
        images.append(fit_images(batch["image"], size, channels))
        labels.append(batch["label"])
    return _with_occurring_classes(
        np.concatenate(images), np.concatenate(labels), _class_names(features["label"]), name
    )


def _check_features(features, name):
    import tensorflow_datasets as tfds

    image, label = (dict(features).get(key) for key in ("image", "label"))
    is_bytes = isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8
    is_class = isinstance(label, tfds.features.ClassLabel)
    if not is_bytes or not is_class:
        raise ValueError(
            "A TFDS data set must have the features `image` (an Image of uint8) and `label` (a "
            f"ClassLabel). Received: {name!r} with {dict(features)}"
        )


def _class_names(label):
    return label.names or [str(i) for i in range(label.num_classes)]


def _with_occurring_classes(images, labels, class_names, name):
    if labels.min() < 0:
        raise ValueError(
            f"`split` must be labelled. Received: one of {name!r} with the label {labels.min()}"
        )
    occurring, labels = np.unique(labels, return_inverse=True)
    names = tuple(class_names[label] for label in occurring)
    return ImageSet(images, labels.astype(np.int32), names, name)
