"""Image sets: what they refuse, classes of unequal size, and the three parts."""

import numpy as np
import pytest

from keras_learned_rule.data.image_set import ImageSet, as_bytes, vector_set

IMAGES, LABELS = np.zeros((4, 3, 3, 1), np.uint8), np.array([0, 0, 1, 1], np.int32)


def many_classes(classes, examples=2):
    labels = np.repeat(np.arange(classes), examples)
    names = [f"class {label}" for label in range(classes)]
    return vector_set(labels[:, None] * [1, 2], labels, names, "many")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"images": IMAGES[..., 0]}, r"`images`.*\[n, height, width, channels\].*\(4, 3, 3\)"),
        ({"images": IMAGES.astype("float64")}, "`images`.*uint8 or float32.*Received: float64"),
        ({"images": np.float32(IMAGES) + np.inf}, "`images` must be finite.*Received: 36 .*'test'"),
        ({"images": IMAGES[:, :0]}, r"`images`.*not empty.*\(4, 0, 3, 1\)"),
        ({"images": "cats"}, "`images`.*Received: <class 'str'>"),
        ({"labels": LABELS.astype("int64")}, "`labels`.*int32.*Received: int64"),
        ({"labels": LABELS[:3]}, "of one length. Received: 4 and 3"),
        ({"labels": LABELS - 1}, "indices into the 2 `class_names`.*from -1 to 0"),
        ({"labels": LABELS + 1}, "indices into the 2 `class_names`.*from 1 to 2"),
        ({"class_names": ["a", "b"]}, r"`class_names` must be a tuple.*\['a', 'b'\]"),
        ({"class_names": (0, 1)}, r"`class_names` must be a tuple of str.*\(0, 1\)"),
    ],
)
def test_what_is_no_image_set_is_refused(changed, message):
    fields = {"images": IMAGES, "labels": LABELS, "class_names": ("a", "b"), "name": "test"}
    ImageSet(**fields)
    with pytest.raises(ValueError, match=message):
        ImageSet(**{**fields, **changed})


def test_class_table_of_unequal_classes():
    labels = np.array([2, 0, 2, 1, 2, 0, 1, 2, 2], np.int32)
    images = np.zeros((9, 1, 1, 1), np.uint8)
    table = ImageSet(images, labels, ("a", "b", "c"), "test").class_table()
    assert table.shape == (3, 6) and table.dtype == np.int32
    for label, row in enumerate(table):
        assert set(row) == set(np.flatnonzero(labels == label))
        assert not set(row[:3]) & set(row[3:])


def test_a_class_without_images_has_no_row():
    lacking = ImageSet(IMAGES, LABELS, ("a", "b", "c"), "test")
    with pytest.raises(ValueError, match="at least 2 images.*'test'.*'c'"):
        lacking.class_table()


@pytest.mark.parametrize("classes, sizes", [(10, [6, 2, 2]), (160, [96, 32, 32]), (5, [3, 1, 1])])
def test_parts_are_disjoint_and_have_the_shares_asked_for(classes, sizes):
    whole = many_classes(classes)
    parts = [whole.part(name, 0.2).class_names for name in ("train", "choose", "report")]
    assert [len(part) for part in parts] == sizes
    assert sorted(sum(parts, ())) == sorted(whole.class_names)
    assert whole.part("all", 0.2) is whole


def test_parts_never_change():
    assert many_classes(10).part("report", 0.2).class_names == ("class 4", "class 6")
    assert many_classes(10, 7).part("choose", 0.2).class_names == ("class 2", "class 5")


@pytest.mark.parametrize("fraction", [-0.1, 0.0, 0.5, 1.0])
def test_shares_out_of_range(fraction):
    with pytest.raises(ValueError, match=f"held_out_fraction must be .*Received: {fraction}"):
        many_classes(10).part("train", fraction)
    with pytest.raises(ValueError, match="part must be .*Received: 'test'"):
        many_classes(10).part("test", 0.2)
    with pytest.raises(ValueError, match="`held_out_fraction` must leave a class.*'many'"):
        many_classes(3).part("train", 0.1)


def test_vectors_keep_scales_and_tails_that_bytes_would_lose():
    values = np.random.default_rng(0).normal(size=(30, 2)) * [1000.0, 0.001]
    values[0] = 1e6, 0.002
    kept = vector_set(values, np.arange(30) % 2, ["a", "b"], "mixed").images[:, 0, :, 0]
    np.testing.assert_allclose(kept, values, rtol=1e-6)
    assert kept.dtype == np.float32 and len(np.unique(as_bytes(values)[:, 1])) == 1
    with pytest.raises(ValueError, match="finite as float32.*Received: 30 others in 'huge'"):
        vector_set(values * 0 + [1e39, 1], np.arange(30) % 2, ["a", "b"], "huge")


def test_as_bytes_is_linear_and_leaves_bytes():
    values = np.random.default_rng(0).normal(size=1000)
    low, high = values.min(), values.max()
    assert np.abs(as_bytes(values) / 255 * (high - low) + low - values).max() < (high - low) / 509
    assert as_bytes(IMAGES) is IMAGES
    assert as_bytes(np.array([3, 5])).tolist() == [0, 255]
