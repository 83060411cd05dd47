"""Distortions of images, against SciPy, NumPy and what each kind promises."""

import math

import gin
import numpy as np
import pytest
from augment_cases import check_augmentation, distorted
from keras import ops
from scipy.ndimage import affine_transform

from keras_learned_rule.data import augment
from keras_learned_rule.data.augment import Augmentation, augmented
from keras_learned_rule.data.warp import compose, warp
from keras_learned_rule.meta.engine import make_engine

SIZE = 10
IDENTITY = [[1, 0, 0], [0, 1, 0]]
AFFINE = [
    augment.rotation(degrees=25.0),
    augment.scaling(log_factor=0.3),
    augment.aspect(log_factor=0.3),
    augment.shear(slope=0.4),
    augment.shift_right(fraction=0.2),
    augment.shift_down(fraction=0.15),
]
PHOTOMETRIC = [augment.contrast(0.5), augment.brightness(0.2), augment.inversion(0.7)]
KINDS = {kind.name: kind for kind in [*AFFINE, *PHOTOMETRIC, augment.pixel_noise(0.2)]}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((6, SIZE, SIZE, 1)).astype("float32")


def maps(matrix, n=6):
    return np.tile(np.array(matrix, "float32"), (n, 1, 1))


def warped(images, matrices):
    return ops.convert_to_numpy(warp(*map(ops.convert_to_tensor, (images, matrices))))


def test_the_identity_leaves_images(images):
    np.testing.assert_allclose(warped(images, maps(IDENTITY)), images, atol=1e-5)


@pytest.mark.parametrize("shape", [(10, 10, 1), (7, 12, 3)])
def test_warp_equals_scipy(shape):
    """SciPy measures in pixels from the corner, rows first."""
    rng, (height, width, channels) = np.random.default_rng(1), shape
    images = rng.random((5, *shape)).astype("float32")
    matrices = maps(IDENTITY, 5) + 0.4 * rng.standard_normal((5, 2, 3)).astype("float32")
    pixels, centre = np.diag([height, width]), (np.array([height, width]) - 1) / 2
    for image, matrix, result in zip(images, matrices, warped(images, matrices), strict=True):
        linear = pixels @ matrix[::-1, 1::-1] @ np.linalg.inv(pixels)
        offset = centre + pixels @ matrix[::-1, 2] - linear @ centre
        for c in range(channels):
            expected = affine_transform(
                image[..., c], linear, offset, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(result[..., c], expected, atol=2e-5)


def test_what_is_outside_is_zero(images):
    assert not warped(images, maps([[1, 0, 5.0], [0, 1, -3.0]])).any()


def test_compose_applies_the_last_map_first():
    rng = np.random.default_rng(2)
    matrices = [rng.standard_normal((4, 2, 3)).astype("float32") for _ in range(3)]
    whole = ops.convert_to_numpy(compose([ops.convert_to_tensor(m) for m in matrices]))
    last_row = np.tile(np.float32([[[0, 0, 1]]]), (4, 1, 1))
    square = [np.concatenate([m, last_row], axis=1) for m in matrices]
    np.testing.assert_allclose(whole, (square[0] @ square[1] @ square[2])[:, :2], atol=1e-5)
    np.testing.assert_array_equal(compose(matrices[:1]), matrices[0])


def test_distortions_look_as_if_done_in_their_order(images):
    """First a quarter turn, then a shift to the right: not the shift first."""
    kinds = [augment.rotation(degrees=90.0), augment.shift_right(fraction=0.3)]
    expected = np.rot90(images, axes=(1, 2))
    expected = np.pad(expected, [(0, 0), (0, 0), (3, 0), (0, 0)])[:, :, :SIZE]
    np.testing.assert_allclose(distorted(kinds, images, 1.0), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_kinds_do_what_tasks_rely_on(kind):
    # The deviation of noise begins at -1.
    check_augmentation(kind, no_change=-1.0 if kind.name == "pixel_noise" else 0.0)


@pytest.mark.parametrize("coefficient, turns", [(-1.0, -1), (1.0, 1)])
def test_rotation_by_90_degrees_is_rot90(images, coefficient, turns):
    expected = np.rot90(images, turns, axes=(1, 2))
    result = distorted([augment.rotation(degrees=90.0)], images, coefficient)
    np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize("kind, axis", [(augment.shift_right, 2), (augment.shift_down, 1)])
def test_shift_moves_the_content_and_fills_with_zeros(images, kind, axis):
    for coefficient, pixels in ((1.0, 4), (-0.5, -2)):
        expected = np.roll(images, pixels, axis=axis)
        vacated = slice(None, pixels) if pixels > 0 else slice(pixels, None)
        expected[(slice(None),) * axis + (vacated,)] = 0.0
        result = distorted([kind(fraction=0.4)], images, coefficient)
        np.testing.assert_allclose(result, expected, atol=1e-5)


def second_moments(image):
    """Variances down and to the right, and the covariance, of a picture as a mass."""
    down, right = (np.arange(n) - (n - 1) / 2 for n in image.shape[:2])
    mass = image[..., 0] / image.sum()
    return mass.sum(1) @ down**2, mass.sum(0) @ right**2, down @ mass @ right


@pytest.mark.parametrize(
    "kind, down, right, covariance",
    [
        (augment.scaling(0.4), math.exp(0.4), math.exp(0.4), 0.0),
        (augment.aspect(0.4), math.exp(-0.2), math.exp(0.2), 0.0),
        (augment.shear(0.5), 1.0, math.hypot(1.0, 0.5), -0.5),
    ],
    ids=["scaling", "aspect", "shear"],
)
def test_sizes_of_a_blob(kind, down, right, covariance):
    """At coefficient 1 a round blob becomes an ellipse of known half-axes."""
    place = (np.arange(41) - 20) / 4.0
    blob = np.exp(-0.5 * (place[:, None] ** 2 + place**2))[None, ..., None].astype("float32")
    unit = second_moments(blob[0])[0]
    moments = np.array(second_moments(distorted([kind], blob, 1.0)[0])) / unit
    np.testing.assert_allclose(moments, [down**2, right**2, covariance], atol=0.03)


def test_contrast_and_brightness_are_linear():
    levels = np.linspace(0.3, 0.7, 5, dtype="float32").reshape(1, 5, 1, 1)
    for c in (-1.0, 0.5, 1.0):
        stretched = distorted([augment.contrast(0.4)], levels, c)
        np.testing.assert_allclose(stretched, 0.5 + (1 + 0.4 * c) * (levels - 0.5), atol=1e-6)
        brighter = distorted([augment.brightness(0.2)], levels, c)
        np.testing.assert_allclose(brighter, levels + 0.2 * c, atol=1e-6)


def test_results_are_clipped_to_the_range_of_images(images):
    noise = np.random.default_rng(0).standard_normal(images.shape).astype("float32")
    kinds = [augment.contrast(3.0), augment.brightness(1.0), augment.pixel_noise(2.0)]
    result = distorted(kinds, images, 1.0, noise)
    assert result.min() == 0.0 and result.max() == 1.0


def test_noise_has_a_deviation_uniform_up_to_the_greatest():
    rng = np.random.default_rng(3)
    grey = np.full((3, 60, 60, 1), 0.5, "float32")
    noise = rng.standard_normal(grey.shape).astype("float32")
    coefficients = np.float32([[-1.0], [0.0], [1.0]])
    result = distorted([augment.pixel_noise(deviation=0.1)], grey, coefficients, noise)
    np.testing.assert_allclose(result.std(axis=(1, 2, 3)), [0.0, 0.05, 0.1], rtol=0.03)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_inversion_happens_with_its_probability(probability):
    coefficients = ((np.arange(200) + 0.5) / 100 - 1.0)[:, None]
    images = np.full((200, 1, 2, 1), 0.2, "float32")
    result = distorted([augment.inversion(probability)], images, coefficients)
    inverted = result[:, 0, 0, 0] > 0.5
    assert inverted.mean() == pytest.approx(probability, abs=0.011)
    np.testing.assert_allclose(result[inverted], 0.8, atol=1e-6)
    np.testing.assert_allclose(result[~inverted], 0.2, atol=1e-6)
    assert augment.inversion().of_task and not augment.contrast().of_task


def test_coefficients_belong_to_their_kinds(images):
    """Affine maps come first, wherever they are listed."""
    kinds = [augment.brightness(0.2), augment.shift_right(0.2), augment.contrast(0.5)]
    result = distorted(kinds, images, np.float32([[-0.5, 1.0, -1.0]]))
    moved = np.pad(images, [(0, 0), (0, 0), (2, 0), (0, 0)])[:, :, :SIZE]
    expected = 0.5 * (moved - 0.1 - 0.5) + 0.5
    np.testing.assert_allclose(result, np.clip(expected, 0, 1), atol=1e-5)


def test_all_kinds_together_are_the_same_when_compiled_by_xla(images):
    engine, kinds, rng = (
        make_engine(jit_compile=True),
        list(KINDS.values()),
        np.random.default_rng(2),
    )
    coefficients = rng.uniform(-1, 1, (6, len(kinds))).astype("float32")
    noise = rng.standard_normal(images.shape, "float32")
    arrays = images, coefficients, noise
    compiled = engine.compile_shared(lambda *a: augmented(kinds, *a))(*map(engine.share, arrays))
    expected = distorted(kinds, *arrays)
    np.testing.assert_allclose(engine.fetch_shared(compiled), expected, atol=2e-5)


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_set_by_gin_and_refuse_bad_settings(name):
    function = getattr(augment, name)
    (setting,) = function.__wrapped__.__code__.co_varnames[:1]
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"{setting} must be .*Received: {value}"):
            function(**{setting: value})
    try:
        gin.parse_config(f"augment.{name}.{setting} = -2.0")
        with pytest.raises(ValueError, match="Received: -2.0"):
            function()
    finally:
        gin.clear_config()
    assert isinstance(function(), Augmentation) and function().name == name
