"""Resizing images exactly by area, and bringing them to a number of channels."""

import functools
import math

import numpy as np

from keras_learned_rule.checks import check, integer, one_of

# ITU-R BT.601: the weights of red, green and blue in a picture's brightness.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Numbers resized at once: bounds the memory of their float32 copies; more were no faster.
_CHUNK = 2**22


def area_resize(images, size):
    """Resizes images to squares, each pixel the mean over its area of the original.

    The original is taken as constant within each of its pixels. Any ratio is exact, up or down
    and different for height and width: the proportions of an image that is no square change.

    Args:
        images: array `[n, height, width, channels]`.
        size: int, height and width of the result.

    Returns:
        A float32 array `[n, size, size, channels]` on the scale of `images`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.data.resize import area_resize

    image = np.array([[0, 8], [4, 0]], "uint8").reshape(1, 2, 2, 1)
    assert area_resize(image, 1).item() == 3.0
    ```
    """
    n, height, width, channels = images.shape
    images = images.astype(np.float32)
    if height != size:
        rows = _area_matrix(height, size) @ images.reshape(n, height, width * channels)
        images = rows.reshape(n, size, width, channels)
    if width != size:
        columns = images.reshape(n * images.shape[1], width, channels)
        images = (_area_matrix(width, size) @ columns).reshape(n, size, size, channels)
    return images


@functools.lru_cache(maxsize=256)
def _area_matrix(old, new):
    """[new, old]: the share of each new pixel that lies in each old one."""
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(covered, 0.0) * (new / old)).astype(np.float32)


def to_channels(images, channels):
    """Makes grey images of coloured ones (luma of ITU-R BT.601), or three channels of grey ones.

    Args:
        images: array `[n, height, width, 1 or 3]`.
        channels: 1 or 3.

    Returns:
        An array `[n, height, width, channels]`: float32 where colours became grey, else of the
        dtype of `images`.

    Raises:
        ValueError: if either number of channels is neither 1 nor 3.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.data.resize import to_channels

    red = np.array([255, 0, 0], "uint8").reshape(1, 1, 1, 3)
    assert abs(to_channels(red, 1).item() - 76.245) < 1e-3
    ```
    """
    check("channels", channels, one_of((1, 3)))
    check("The number of channels of images", images.shape[-1], one_of((1, 3)))
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    return images.astype(np.float32) @ _LUMA[:, None]


def fit_images(images, size, channels):
    """Brings images to a size and a number of channels, by `area_resize` and `to_channels`.

    Args:
        images: array `[n, height, width, 1 or 3]`, uint8 or float.
        size: int, height and width of the result.
        channels: 1 or 3.

    Returns:
        An array `[n, size, size, channels]`: uint8 (rounded) for uint8 images, else float32.

    Raises:
        ValueError: if `size` is below 1, or a number of channels is neither 1 nor 3.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.data.resize import fit_images

    photos = np.zeros((2, 48, 64, 3), "uint8")
    assert fit_images(photos, size=16, channels=1).shape == (2, 16, 16, 1)
    ```
    """
    check("size", size, integer(least=1))
    check("channels", channels, one_of((1, 3)))
    dtype = np.uint8 if images.dtype == np.uint8 else np.float32
    fitted = np.empty((len(images), size, size, channels), dtype)
    step = max(1, _CHUNK // math.prod(images.shape[1:]))
    for start in range(0, len(images), step):
        chunk = area_resize(to_channels(images[start : start + step], channels), size)
        fitted[start : start + step] = chunk if dtype == np.float32 else np.floor(chunk + 0.5)
    return fitted
