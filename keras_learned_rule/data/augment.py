"""Random distortions of images as pure functions of tensors.

Randomness comes in as arguments and every shape is static, so that the functions run inside a
compiled meta-training step on any backend. One flat gather for each of a pixel's four
neighbours was the fastest form on a CPU, ahead of one gather of all four, of gathers from
pre-stacked neighbours, and of products with interpolation matrices.
"""

import dataclasses
import math

from keras import ops


@dataclasses.dataclass(frozen=True)
class AugmentRanges:
    """How far `affine_matrices` distorts; each amount is uniform between minus and plus its range.

    Args:
        rotation: degrees. Defaults to `15.0`.
        log_scale: natural logarithm of the factor by which both sides grow. Defaults to `0.15`.
        log_aspect: natural logarithm of the ratio of width to height. Defaults to `0.15`.
        shear: sideways displacement for each unit of height. Defaults to `0.2`.
        shift: fraction of the width or height, in either direction. Defaults to `0.1`.

    Raises:
        ValueError: if a range is negative or not finite.

    Example:

    ```python
    from keras_learned_rule.data.augment import AugmentRanges

    upright = AugmentRanges(rotation=0.0)
    assert upright.shift == 0.1
    ```
    """

    rotation: float = 15.0
    log_scale: float = 0.15
    log_aspect: float = 0.15
    shear: float = 0.2
    shift: float = 0.1

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise ValueError(f"`{field.name}` must be finite, at least 0. Received: {value}")


def affine_matrices(u, ranges):
    """Turns uniform random numbers into affine maps for `warp`.

    Args:
        u: float tensor `[n, 6]` in [0, 1): for rotation, scale, aspect ratio, shear, and the
            shifts to the right and down. 0.5 means no distortion.
        ranges: `AugmentRanges`.

    Returns:
        A float tensor `[n, 2, 3]`. A matrix takes a place (right, down, 1) in the warped image
        to the place in the original that is seen there; places are measured from the centre,
        in widths or heights of the image.

    Example:

    ```python
    from keras import ops
    from keras_learned_rule.data.augment import AugmentRanges, affine_matrices

    matrices = affine_matrices(ops.full((8, 6), 0.5), AugmentRanges())
    assert matrices.shape == (8, 2, 3)
    ```
    """
    rotation, log_scale, log_aspect, shear, right, down = ops.unstack(2.0 * u - 1.0, 6, axis=1)
    angle = rotation * math.radians(ranges.rotation)
    cos, sin = ops.cos(angle), ops.sin(angle)
    shear = shear * ranges.shear
    log_scale, log_aspect = log_scale * ranges.log_scale, 0.5 * log_aspect * ranges.log_aspect
    wide, high = ops.exp(-log_scale - log_aspect), ops.exp(log_aspect - log_scale)
    rows = [
        [wide * (cos + shear * sin), wide * (shear * cos - sin), -ranges.shift * right],
        [high * sin, high * cos, -ranges.shift * down],
    ]
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=1)


def warp(images, matrices, size):
    """Resamples images through affine maps, bilinearly, with zeros outside.

    Args:
        images: float tensor `[n, height, width]`.
        matrices: float tensor `[n, 2, 3]`, see `affine_matrices`.
        size: int, height and width of the result. Half the original size with an undistorted
            map averages each 2 x 2 pixels.

    Returns:
        A float tensor `[n, size, size]`.

    Example:

    ```python
    from keras import ops
    from keras_learned_rule.data.augment import warp

    identity = ops.tile([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], (5, 1, 1))
    assert warp(ops.ones((5, 28, 28)), identity, 14).shape == (5, 14, 14)
    ```
    """
    n, height, width = images.shape
    column, row = _sampled_places(matrices, height, width, size)
    left, right_part = _cell(column, width)
    top, lower_part = _cell(row, height)
    # The border of zeros, one pixel wide, makes the neighbours of every clipped place exist.
    stride = width + 2
    pixels = ops.reshape(ops.pad(images, [[0, 0], [1, 1], [1, 1]]), (-1,))
    first = ops.arange(n, dtype="int32")[:, None] * ((height + 2) * stride)
    corner = first + top * stride + left
    upper = _mix(ops.take(pixels, corner), ops.take(pixels, corner + 1), right_part)
    corner = corner + stride
    lower = _mix(ops.take(pixels, corner), ops.take(pixels, corner + 1), right_part)
    return ops.reshape(_mix(upper, lower, lower_part), (n, size, size))


def _sampled_places(matrices, height, width, size):
    """Gives the places [n, size * size] to read, in columns and rows of the original."""
    centred = ops.arange(size, dtype=matrices.dtype) - (size - 1) / 2
    right, down = ops.tile(centred, [size]) / size, ops.repeat(centred, size) / size
    maps = matrices[..., None]
    column = width * (maps[:, 0, 0] * right + maps[:, 0, 1] * down + maps[:, 0, 2])
    row = height * (maps[:, 1, 0] * right + maps[:, 1, 1] * down + maps[:, 1, 2])
    return column + (width - 1) / 2, row + (height - 1) / 2


def _cell(place, length):
    """Splits places into the padded index of the pixel before them and the part beyond it."""
    place = ops.clip(place, -1.0, float(length))
    before = ops.minimum(ops.floor(place), length - 1.0)
    return ops.cast(before, "int32") + 1, place - before


def _mix(near, far, part):
    return near + part * (far - near)


def photometric(images, invert, contrast, brightness):
    """Changes brightness: inversion, then contrast about mid-grey, then brightness.

    Args:
        images: float tensor `[..., height, width]`, 0 to 1.
        invert: float tensor that broadcasts to `[...]`, 1 where to exchange black and white and
            0 elsewhere; `[tasks, 1]` for images `[tasks, n, height, width]` inverts whole tasks.
        contrast: float tensor that broadcasts to `[...]`; 1 leaves the contrast.
        brightness: float tensor that broadcasts to `[...]`, added; 0 leaves the brightness.

    Returns:
        A float tensor like `images`, clipped to 0 to 1.

    Example:

    ```python
    from keras import ops
    from keras_learned_rule.data.augment import photometric

    white = photometric(ops.zeros((1, 2, 2)), invert=[1.0], contrast=[1.0], brightness=[0.0])
    assert float(white[0, 0, 0]) == 1.0
    ```
    """
    invert, contrast, brightness = (
        ops.convert_to_tensor(amount, images.dtype)[..., None, None]
        for amount in (invert, contrast, brightness)
    )
    # 1 - 2 * invert turns the sign of what differs from mid-grey.
    centred = (images - 0.5) * ((1.0 - 2.0 * invert) * contrast)
    return ops.clip(centred + (0.5 + brightness), 0.0, 1.0)
