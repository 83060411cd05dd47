"""Arrays for the experiments, on small TFDS data sets of the same form, and on the real ones."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from source_cases import image_examples, image_features, random_images, save_tfds

from keras_learned_rule.data.digits import digits_split
from keras_learned_rule.data.splits import image_arrays
from keras_learned_rule.data.text import imdb_bag_of_words

DIGITS = [str(digit) for digit in range(10)]
REAL = os.environ.get("TFDS_DATA_DIR", "")
TEXTS = ["Good, GOOD film!<br /><br />a film it's", "bad film", "No words I know: 1234", ""]


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")
    train, test = (
        image_examples(random_images((n, 28, 28, 1), seed=n), np.arange(n) % 10) for n in (50, 20)
    )
    save_tfds(folder, "mnist", image_features((28, 28, 1), DIGITS), train=train, test=test)
    # As in the real one, the labels are those of all classes, held out or not.
    held_out = image_examples(random_images((300, 16, 16, 3)), np.arange(300) % 3 * 2 + 1)
    features = image_features((16, 16, 3), list("abcdefg"))
    save_tfds(folder, "tiny_imagenet16", features, heldout_classes=held_out)
    features = {
        "text": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=["neg", "pos"]),
    }
    reviews = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    save_tfds(folder, "imdb_reviews/plain_text", features, train=reviews, test=reviews[::-1])
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache for each test: the small data sets have the names and versions of others."""
    monkeypatch.setenv("KERAS_LEARNED_RULE_CACHE", str(tmp_path))


def test_tfds_images_become_rows_from_0_to_1(tfds_dir):
    data = image_arrays("mnist", size=14, data_dir=tfds_dir)
    for n, x, y in ((50, data.x_train, data.y_train), (20, data.x_test, data.y_test)):
        assert x.dtype == np.float32 and x.shape == (n, 196) and y.dtype == np.int32
        blocks = random_images((n, 28, 28, 1), seed=n).reshape(n, 14, 2, 14, 2).mean((2, 4))
        assert np.abs(x.reshape(n, 14, 14) * 255 - blocks).max() <= 0.501
        np.testing.assert_array_equal(y, np.arange(n) % 10)
    assert data.name == "mnist" and data.class_names == tuple(DIGITS)
    colour = image_arrays("mnist", size=7, channels=3, data_dir=tfds_dir).x_test
    assert colour.shape == (20, 147)
    np.testing.assert_array_equal(colour[:, ::3], colour[:, 2::3])


def test_held_out_classes_are_divided_60_to_40(tfds_dir):
    data = image_arrays("tiny_imagenet16", size=16, channels=3, data_dir=tfds_dir)
    assert data.class_names == ("b", "d", "f")
    np.testing.assert_array_equal(np.bincount(data.y_train), [60, 60, 60])
    np.testing.assert_array_equal(np.bincount(data.y_test), [40, 40, 40])
    original = {row.tobytes(): i for i, row in enumerate(random_images((300, 768)))}
    rows = [
        [original[np.rint(row * 255).astype(np.uint8).tobytes()] for row in x]
        for x in (data.x_train, data.x_test)
    ]
    assert sorted(rows[0] + rows[1]) == list(range(300))
    np.testing.assert_array_equal(np.array(rows[0]) % 3, data.y_train)
    again = image_arrays("tiny_imagenet16", size=16, channels=3, data_dir=tfds_dir)
    np.testing.assert_array_equal(again.x_train, data.x_train)


def test_digits_need_nothing():
    data, (x, y, x_test, y_test) = image_arrays("digits", size=8), digits_split()
    for ours, expected in zip(data[:4], (x, y, x_test, y_test), strict=True):
        np.testing.assert_allclose(ours, expected)
    blocks = x.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    np.testing.assert_allclose(image_arrays("digits", size=4).x_train, blocks, atol=1e-6)
    assert image_arrays("digits", size=10, channels=3).x_test.shape == (600, 300)


def test_bag_of_words_counts_frequent_words_of_the_training_part(tfds_dir):
    data = imdb_bag_of_words(words=3, data_dir=tfds_dir)
    # film 3 times, good 2 times, then one of those that occur once.
    np.testing.assert_array_equal(data.x_train[:, :2], [[2, 2], [1, 0], [0, 0], [0, 0]])
    assert data.x_train[:, 2].sum() == 1 and data.x_train.dtype == np.float32
    np.testing.assert_array_equal(data.x_test, data.x_train[::-1])
    np.testing.assert_array_equal(data.y_train, [0, 1, 0, 1])
    assert data.class_names == ("neg", "pos") and data.name == "imdb"
    cached = imdb_bag_of_words(words=3, data_dir=tfds_dir)
    np.testing.assert_array_equal(cached.x_train, data.x_train)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="name must be .*'mnist'.*Received: 'mnits'"):
        image_arrays("mnits", size=14)
    with pytest.raises(ValueError, match="size must be .*Received: 0"):
        image_arrays("digits", size=0)
    with pytest.raises(ValueError, match="channels must be .*Received: 4"):
        image_arrays("digits", size=8, channels=4)
    with pytest.raises(ValueError, match="words must be .*Received: 0"):
        imdb_bag_of_words(words=0)
    with pytest.raises(FileNotFoundError, match="tfds build imdb_reviews"):
        imdb_bag_of_words(data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="tfds build cifar10"):
        image_arrays("cifar10", size=16, data_dir=tmp_path)


needs = {
    name: pytest.mark.skipif(
        not REAL or not (Path(REAL) / name).is_dir(), reason=f"TFDS_DATA_DIR has no {name}"
    )
    for name in ("mnist", "tiny_imagenet16", "imdb_reviews")
}


@pytest.mark.slow
@needs["mnist"]
def test_real_mnist():
    data = image_arrays("mnist", size=14)
    assert data.x_train.shape == (60000, 196) and data.x_test.shape == (10000, 196)
    assert data.y_train[:5].tolist() == [4, 1, 0, 7, 8]
    assert np.bincount(data.y_test).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    # The mean that is known of the original training images.
    assert abs(data.x_train.mean() - 0.1307) < 2e-4


@needs["tiny_imagenet16"]
def test_real_held_out_classes():
    data = image_arrays("tiny_imagenet16", size=16, channels=3)
    assert np.unique(np.bincount(data.y_train)).tolist() == [60]
    assert np.unique(np.bincount(data.y_test)).tolist() == [40]
    assert len(data.class_names) == 40 and data.class_names[0] == "n01629819"


@pytest.mark.slow
@needs["imdb_reviews"]
def test_real_reviews():
    data = imdb_bag_of_words()
    assert data.x_train.shape == data.x_test.shape == (25000, 1000)
    assert Counter(data.y_test.tolist()) == {0: 12500, 1: 12500}
    totals = data.x_train.sum(axis=0)
    assert (np.diff(totals) <= 0).all() and 300_000 < totals[0] < 350_000
