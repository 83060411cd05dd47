"""Made curves: spectra with peaks, and time series that oscillate."""

import gin
import numpy as np

from keras_learned_rule.checks import check_all, integer, number
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.data.made_vectors import SCALED_KINDS, by_class, scaled

# Standard deviation of the logarithm of a class's height of a peak that all classes have.
_OWN_HEIGHT = 0.5
_OWN = {
    **dict.fromkeys(("peaks", "own_peaks", "oscillations"), integer(least=0)),
    **dict.fromkeys(("shift", "gain", "drift", "noise"), number(least=0)),
}


@gin.configurable
def curves(
    size: int,
    channels: int,
    classes: int = 48,
    examples: int = 64,
    dimensions: int = 96,
    peaks: int = 6,
    own_peaks: int = 1,
    oscillations: int = 1,
    shift: float = 0.02,
    gain: float = 0.2,
    drift: float = 0.3,
    noise: float = 0.15,
    standardize: bool = False,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Smooth curves with class-specific peaks, and oscillations whose phase is random.

    All classes of a world share peaks, of which each class has heights of its own; a class has
    further peaks that no other has. An oscillation has the frequency, the overtone and the
    strength of its class, and begins anywhere. Each example is warped in time and amplified, and
    its baseline drifts. Neighbours are alike, and much of what varies does not tell the class.

    Args:
        size: of no effect.
        channels: of no effect.
        classes: int. Defaults to `48`.
        examples: int, examples of each class. Defaults to `64`.
        dimensions: int, points of a curve. Defaults to `96`.
        peaks: int, peaks that all classes share. Defaults to `6`.
        own_peaks: int, peaks of each class. Defaults to `1`.
        oscillations: int, of each class. Defaults to `1`.
        shift: float, standard deviation of the shift in time and of the warp, as shares of the
            curve. Defaults to `0.02`.
        gain: float, standard deviation of the logarithm of the amplification. Defaults to `0.2`.
        drift: float, standard deviation of the baseline's offset, slope and curvature, heights of
            peaks being about 1. Defaults to `0.3`.
        noise: float, standard deviation of the noise of a point. Defaults to `0.15`.
        standardize: bool, whether each point has mean 0 and standard deviation 1 over all curves,
            see `made_vectors.scaled`. Defaults to `False`.
        seed: int, which world. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of float32 vectors, `[n, 1, dimensions, 1]`.

    Raises:
        ValueError: if a number is out of its range.

    Example:
    ```python
    from keras_learned_rule.data.curves import curves

    spectra = curves(size=14, channels=1, classes=8, oscillations=0)
    series = curves(size=14, channels=1, classes=8, peaks=0, own_peaks=0, oscillations=2)
    assert spectra.images.shape == series.images.shape == (512, 1, 96, 1)
    ```
    """
    check_all("curves", locals(), SCALED_KINDS | _OWN)
    rng = np.random.default_rng(seed)
    time = _warped_time(rng, (classes, examples), dimensions, shift)
    values = _shared_peaks(rng, time, peaks) + _own_peaks(rng, time, own_peaks)
    values += _oscillations(rng, time, oscillations)
    values *= np.exp(gain * rng.normal(size=(classes, examples, 1)))
    values += drift * _baselines(rng, (classes, examples), dimensions)
    values += noise * rng.normal(size=values.shape)
    return by_class(scaled(values, standardize), "curves").part(part, held_out_fraction)


def _warped_time(rng, shape, dimensions, shift):
    """When each point is, from about 0 to 1, [classes, examples, dimensions]."""
    time = np.linspace(0, 1, dimensions)
    moved, bent = shift * rng.normal(size=(2, *shape, 1))
    return time + moved + bent * np.sin(2 * np.pi * time)


def _shared_peaks(rng, time, peaks):
    heights = np.exp(_OWN_HEIGHT * rng.normal(size=(peaks, len(time), 1, 1)))
    heights *= rng.exponential(size=(peaks, 1, 1, 1))
    places, widths = rng.random(peaks), np.exp(rng.uniform(-4, -2, peaks))
    return _sum_of_peaks(time, heights, places, widths)


def _own_peaks(rng, time, peaks):
    drawn = (peaks, len(time), 1, 1)
    heights, places = rng.exponential(size=drawn), rng.random(drawn)
    widths = np.exp(rng.uniform(-4, -2, drawn))
    return _sum_of_peaks(time, heights, places, widths)


def _sum_of_peaks(time, heights, places, widths):
    total = np.zeros_like(time)
    for height, place, width in zip(heights, places, widths, strict=True):
        total += height * np.exp(-(((time - place) / width) ** 2) / 2)
    return total


def _oscillations(rng, time, oscillations):
    """Sums of waves, each with an overtone that gives it a form."""
    total = np.zeros_like(time)
    for _ in range(oscillations):
        strength, overtone, angle = rng.random((3, len(time), 1, 1))
        # At least eight points a cycle, and four a cycle of the overtone.
        cycles = np.exp(rng.uniform(0, np.log(max(2, time.shape[-1] / 8)), (len(time), 1, 1)))
        phase = 2 * np.pi * (cycles * time + rng.random((*time.shape[:2], 1)))
        total += (0.3 + strength) * (
            np.sin(phase) + overtone * np.sin(2 * phase + 2 * np.pi * angle)
        )
    return total


def _baselines(rng, shape, dimensions):
    """An offset, a slope and a curvature of each curve; each has about standard deviation 1."""
    time = np.linspace(-1, 1, dimensions)
    forms = np.stack([np.ones(dimensions), time, time**2 - 1 / 3])
    return rng.normal(size=(*shape, 3)) @ forms
