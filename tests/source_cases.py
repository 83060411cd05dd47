"""What every data source must do, and small TFDS data sets to try it on.

The test of a new source is

    def test_my_source():
        check_source(my_source, folder="...")
"""

from pathlib import Path

import gin
import numpy as np
import pytest

from keras_learned_rule.data.image_set import ImageSet


def check_source(source, vectors=False, levels=11, **settings):
    """Checks a source, with keyword arguments that it needs, against what users rely on.

    `levels` is how many different numbers the images have at least.
    """
    whole = source(size=9, channels=1, **settings)
    assert isinstance(whole, ImageSet) and whole.name
    assert set(whole.labels) == set(range(len(whole.class_names)))
    assert whole.class_table().shape[0] == len(whole.class_names) >= 5
    assert len(np.unique(whole.images)) >= levels
    assert whole.images.max() > 100 or whole.images.dtype == np.float32
    _check_shapes(source, vectors, settings)
    _check_repeats(source, whole, settings)
    _check_parts(source, whole, settings)
    _check_gin(source, whole, settings)


def _check_shapes(source, vectors, settings):
    for size, channels in ((9, 1), (5, 3)):
        shape = source(size, channels, **settings).images.shape
        assert (shape[1] == shape[3] == 1) if vectors else (shape[1:] == (size, size, channels))


def _check_repeats(source, whole, settings):
    again = source(9, 1, **settings)
    np.testing.assert_array_equal(again.images, whole.images)
    np.testing.assert_array_equal(again.labels, whole.labels)


def _check_parts(source, whole, settings):
    names = []
    for part in ("train", "choose", "report"):
        some = source(9, 1, part=part, held_out_fraction=0.25, **settings)
        names += some.class_names
        for label, name in enumerate(some.class_names):
            expected = whole.images[whole.labels == whole.class_names.index(name)]
            np.testing.assert_array_equal(some.images[some.labels == label], expected)
        # Another size has the same classes in the part.
        assert source(5, 1, part=part, held_out_fraction=0.25, **settings).class_names == (
            some.class_names
        )
    assert sorted(names) == sorted(whole.class_names) and len(set(names)) == len(names)
    with pytest.raises(ValueError, match="part must be one of.*Received: 'test'"):
        source(9, 1, part="test", **settings)
    with pytest.raises(ValueError, match="held_out_fraction must.*Received: 0.5"):
        source(9, 1, part="report", held_out_fraction=0.5, **settings)


def _check_gin(source, whole, settings):
    bindings = {**settings, "part": "report", "held_out_fraction": 0.25}
    lines = [f"scope/{source.__name__}.{name} = {value!r}" for name, value in bindings.items()]
    try:
        gin.parse_config(lines)
        with gin.config_scope("scope"):
            bound = source(size=9, channels=1)
    finally:
        gin.clear_config()
    assert bound.class_names == source(9, 1, **bindings).class_names
    assert 0 < len(bound.class_names) < len(whole.class_names)


def save_tfds(data_dir, name, features, **splits):
    """Writes a TFDS data set; each split is a list of examples, which are dicts."""
    import tensorflow_datasets as tfds

    folder = Path(data_dir) / name / "1.0.0"
    folder.mkdir(parents=True)
    name, _, config = name.partition("/")
    identity = tfds.core.dataset_info.DatasetIdentity(
        name, tfds.core.Version("1.0.0"), str(folder), __name__, config_name=config or None
    )
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=1000)
    writer.initialize_splits(list(splits))
    writer.add_examples(splits)
    writer.close_all()


def image_features(shape, class_names):
    """Features `image` and `label`, and one more."""
    import tensorflow_datasets as tfds

    return {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=shape),
        "label": tfds.features.ClassLabel(names=class_names),
    }


def image_examples(images, labels):
    """Examples for `image_features`."""
    return [
        {"id": f"{i}", "image": image, "label": int(label)}
        for i, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def random_images(shape, seed=0):
    """Uniformly random uint8."""
    return np.random.default_rng(seed).integers(256, size=shape, dtype="uint8")
