"""Affine maps of images, read bilinearly.

One flat gather for each of a pixel's four neighbours was the fastest form on a CPU, ahead of one
gather of all four, of gathers from pre-stacked neighbours, and of products with interpolation
matrices.
"""

from keras import ops


def compose(matrices):
    """Chains affine maps.

    Args:
        matrices: List of float tensors `[n, 2, 3]`, at least one.

    Returns:
        A float tensor `[n, 2, 3]`: the map that applies the last matrix first, so that the warped
        image looks as if the first distortion had been done first.

    Example:
    ```python
    from keras import ops
    from keras_learned_rule.data.warp import compose

    right = ops.convert_to_tensor([[[1.0, 0.0, -0.5], [0.0, 1.0, 0.0]]])
    assert float(compose([right, right])[0, 0, 2]) == -1.0
    ```
    """
    whole = matrices[0]
    for matrix in matrices[1:]:
        linear, shift = whole[:, :, :2], whole[:, :, 2:]
        # Written out: products of 2 x 2 matrices are slow as batched matrix products.
        product = ops.sum(linear[:, :, :, None] * matrix[:, None, :, :], axis=2)
        whole = product + ops.pad(shift, [[0, 0], [0, 0], [2, 0]])
    return whole


def warp(images, matrices):
    """Resamples images through affine maps, bilinearly, with zeros outside.

    Args:
        images: float tensor `[n, height, width, channels]`.
        matrices: float tensor `[n, 2, 3]`. A matrix takes a place (right, down, 1) in the warped
            image to the place in the original that is seen there; places are measured from the
            centre, in widths or heights of the image.

    Returns:
        A float tensor like `images`.

    Example:
    ```python
    from keras import ops
    from keras_learned_rule.data.warp import warp

    identity = ops.tile([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], (5, 1, 1))
    assert warp(ops.ones((5, 14, 14, 3)), identity).shape == (5, 14, 14, 3)
    ```
    """
    n, height, width, channels = images.shape
    column, row = _sampled_places(matrices, height, width)
    left, right_part = _cell(column, width)
    top, lower_part = _cell(row, height)
    planes = ops.transpose(images, (0, 3, 1, 2))
    # The border of zeros, one pixel wide, makes the neighbours of every clipped place exist.
    stride, plane = width + 2, (height + 2) * (width + 2)
    pixels = ops.reshape(ops.pad(planes, [[0, 0], [0, 0], [1, 1], [1, 1]]), (-1,))
    first = ops.reshape(ops.arange(n * channels, dtype="int32") * plane, (n, channels, 1))
    corner = first + (top * stride + left)[:, None]
    right_part, lower_part = right_part[:, None], lower_part[:, None]
    upper = _mix(ops.take(pixels, corner), ops.take(pixels, corner + 1), right_part)
    corner = corner + stride
    lower = _mix(ops.take(pixels, corner), ops.take(pixels, corner + 1), right_part)
    mixed = _mix(upper, lower, lower_part)
    return ops.transpose(ops.reshape(mixed, (n, channels, height, width)), (0, 2, 3, 1))


def _sampled_places(matrices, height, width):
    """Gives the places [n, height * width] to read, in columns and rows of the original."""

    def centred(size):
        return (ops.arange(size, dtype=matrices.dtype) - (size - 1) / 2) / size

    right, down = ops.tile(centred(width), [height]), ops.repeat(centred(height), width)
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
