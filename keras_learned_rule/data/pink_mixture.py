"""Made images whose spatial frequencies are those of photographs, with classes."""

import gin
import numpy as np

from keras_learned_rule.checks import check_all, integer, number, one_of
from keras_learned_rule.data.image_set import PART_KINDS, ImageSet

# Steepness of the curve that brings a field of standard deviation 1 to brightness.
_CONTRAST = 1.5
_KINDS = {
    **dict.fromkeys(("size", "classes", "examples"), integer(least=1)),
    "channels": one_of((1, 3)),
    "signal": number(least=0),
    "seed": integer(least=0),
    **PART_KINDS,
}


@gin.configurable
def pink_mixture(
    size: int,
    channels: int,
    classes: int = 64,
    examples: int = 64,
    signal: float = 0.4,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Classes that differ by their mean field, in images that are otherwise random fields.

    All fields have the spectrum of photographs, whose amplitudes fall with the inverse of spatial
    frequency: neighbours are alike, and most of what varies, classes included, is large blobs.
    Photographs of few pixels are like that, but hardly tell their classes; here `signal` says how
    well they are told.

    Args:
        size: int, height and width of the result.
        channels: 1 for grey or 3 for three equal channels.
        classes: int. Defaults to `64`.
        examples: int, examples of each class. Defaults to `64`.
        signal: float, standard deviation of a class's mean field, that within a class being 1.
            Defaults to `0.4`.
        seed: int, which images. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of images `[n, size, size, channels]`.

    Raises:
        ValueError: if a number is below 1, or `signal` below 0.

    Example:
    ```python
    from keras_learned_rule.data.pink_mixture import pink_mixture

    blobs = pink_mixture(size=14, channels=1, classes=8)
    assert blobs.images.shape == (512, 14, 14, 1)
    ```
    """
    check_all("pink_mixture", locals(), _KINDS)
    rng = np.random.default_rng(seed)
    means = signal * _fields(rng, classes, size)
    values = np.repeat(means, examples, axis=0) + _fields(rng, classes * examples, size)
    images = np.round(255 / (1 + np.exp(-_CONTRAST * values))).astype(np.uint8)
    whole = ImageSet(
        np.repeat(images[..., None], channels, axis=-1),
        np.repeat(np.arange(classes, dtype=np.int32), examples),
        tuple(map(str, range(classes))),
        "pink_mixture",
    )
    return whole.part(part, held_out_fraction)


def _fields(rng, count, size):
    """Random fields [count, size, size] of standard deviation 1 and spectrum 1 / frequency."""
    # Twice the size: opposite edges of what is cut out are no neighbours.
    frequencies = np.fft.fftfreq(2 * size)
    frequency = np.hypot(frequencies[:, None], frequencies)
    frequency[0, 0] = frequencies[1]
    white = rng.normal(size=(count, 2 * size, 2 * size))
    fields = np.fft.ifft2(np.fft.fft2(white) / frequency).real[:, :size, :size]
    return fields / fields.std()
