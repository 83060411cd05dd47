"""Resizing by area against other libraries, and against the definition."""

import numpy as np
import pytest
from PIL import Image
from source_cases import random_images

from keras_learned_rule.data import resize
from keras_learned_rule.data.resize import area_resize, fit_images, to_channels

RATIOS = [(28, 14), (28, 10), (32, 14), (7, 16), (5, 1), (1, 4), (6, 6), (9, 28)]


def by_definition(image, size):
    """Repeats pixels until a new pixel is a whole number of them, then takes block means."""
    height, width, channels = image.shape
    fine = image.astype(float).repeat(size, axis=0).repeat(size, axis=1)
    return fine.reshape(size, height, size, width, channels).mean(axis=(1, 3))


@pytest.mark.parametrize("old, new", RATIOS)
def test_area_resize_matches_the_definition(old, new):
    images = random_images((3, old, old + 2, 2))
    expected = [by_definition(image, new) for image in images]
    resized = area_resize(images, new)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("old, new", RATIOS)
def test_area_resize_matches_tensorflow(old, new):
    tf = pytest.importorskip("tensorflow")
    images = random_images((2, old + 3, old, 3))
    expected = tf.image.resize(images, (new, new), method="area")
    np.testing.assert_allclose(area_resize(images, new), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_whole_factors_match_pillow(factor):
    (image,) = random_images((1, 5 * factor, 5 * factor, 3))
    expected = np.asarray(Image.fromarray(image).resize((5, 5), Image.Resampling.BOX), int)
    fitted = fit_images(image[None], 5, 3)
    assert fitted.dtype == np.uint8 and np.abs(fitted[0] - expected).max() <= 1


@pytest.mark.parametrize("old, new", RATIOS)
def test_mean_and_constants_are_kept(old, new):
    images = random_images((4, old, old, 1)).astype("float64")
    means = area_resize(images, new).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, images.mean(axis=(1, 2, 3)), rtol=1e-5)
    constant = fit_images(np.full((2, old, old + 1, 3), 201, np.uint8), new, 3)
    assert (constant == 201).all()


def test_floats_stay_floats():
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
    fitted = fit_images(images, 2, 1)
    assert fitted.dtype == np.float32
    expected = images.reshape(2, 2, 2, 2, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(fitted[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
def test_images_are_resized_in_pieces(monkeypatch, chunk):
    images = random_images((7, 4, 4, 1))
    expected = np.concatenate([fit_images(images[i : i + 1], 3, 3) for i in range(7)])
    monkeypatch.setattr(resize, "_CHUNK", chunk)
    np.testing.assert_array_equal(fit_images(images, 3, 3), expected)


def test_grey_matches_pillow_and_grey_repeats():
    images = random_images((2, 6, 6, 3))
    grey = to_channels(images, 1)
    for image, expected in zip(grey, images, strict=True):
        pillow = np.asarray(Image.fromarray(expected).convert("L"), float)
        np.testing.assert_allclose(image[..., 0], pillow, atol=1.0)
    np.testing.assert_array_equal(to_channels(images[..., :1], 3), images[..., [0, 0, 0]])
    assert to_channels(images, 3) is images


def test_bad_arguments():
    images = random_images((1, 4, 4, 3))
    with pytest.raises(ValueError, match="channels must be .*Received: 2"):
        fit_images(images, 2, 2)
    with pytest.raises(ValueError, match="channels of images must be .*Received: 4"):
        fit_images(random_images((1, 4, 4, 4)), 2, 1)
    with pytest.raises(ValueError, match="size must be .*Received: 0"):
        fit_images(images, 0, 1)
