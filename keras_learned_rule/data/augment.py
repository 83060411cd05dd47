"""Random distortions of images as pure functions of tensors.

Randomness comes in as arguments and every shape is static, so that they run inside a compiled
meta-training step on any backend. An augmentation is a function with settings that returns an
`Augmentation`; gin files list them, users can add their own (docs/data.md).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gin
from keras import ops

from keras_learned_rule.checks import check, number
from keras_learned_rule.data.warp import compose, warp
from keras_learned_rule.hints import Tensor

_AMOUNT = number(least=0)


class Augmentation(NamedTuple):
    """One kind of distortion, controlled by one coefficient uniform in -1..1.

    A coefficient of 0 is no distortion, except for `pixel_noise`.

    Attributes:
        name: Str, what it is called.
        matrix: Maps coefficients `[n]` to affine maps `[n, 2, 3]` as `warp` takes them, or None.
        pixels: Maps `(images, coefficients, noise)` to images. Images are float `[n, height,
            width, channels]` in 0..1, coefficients `[n, 1, 1, 1]`, noise is standard normal
            like images, or None unless `needs_noise`. None where there is a `matrix`.
        needs_noise: Whether `pixels` uses noise.
        of_task: Whether all images of a task share one coefficient. It is then no target of
            regression.
    """

    name: str
    matrix: Callable[[Any], Any] | None = None
    pixels: Callable[[Any, Any, Any], Any] | None = None
    needs_noise: bool = False
    of_task: bool = False


def augmented(
    augmentations: Sequence[Augmentation],
    images: Tensor,
    coefficients: Tensor,
    noise: Tensor | None = None,
) -> Tensor:
    """Distorts images: all affine maps as one, then the others in their order.

    Args:
        augmentations: Sequence of `Augmentation`.
        images: float tensor `[n, height, width, channels]` in 0..1.
        coefficients: float tensor `[n, len(augmentations)]` in -1..1.
        noise: float tensor like images, standard normal; needed if an augmentation needs it.

    Returns:
        A float tensor like `images`, clipped to 0..1.

    Example:
    ```python
    from keras import ops
    from keras_learned_rule.data.augment import augmented, rotation, shift_right

    images = ops.ones((5, 8, 8, 1))
    kinds = (rotation(degrees=20.0), shift_right(fraction=0.1))
    assert augmented(kinds, images, ops.zeros((5, 2))).shape == (5, 8, 8, 1)
    ```
    """
    matrices = [a.matrix(coefficients[:, i]) for i, a in enumerate(augmentations) if a.matrix]
    if matrices:
        images = warp(images, compose(matrices))
    for i, a in enumerate(augmentations):
        if a.pixels:
            images = a.pixels(images, coefficients[:, i, None, None, None], noise)
    return ops.clip(images, 0.0, 1.0)


def _affine(name, amount, rows):
    """An augmentation by the map rows(amount * coefficient), two rows of three entries."""

    def matrix(coefficient):
        value = amount * coefficient
        one, zero = ops.ones_like(value), ops.zeros_like(value)
        return ops.stack([ops.stack(row, -1) for row in rows(value, one, zero)], 1)

    return Augmentation(name, matrix=matrix)


@gin.configurable
def rotation(degrees: float = 15.0) -> Augmentation:
    """Rotation by up to `degrees` either way."""

    def rows(angle, one, zero):
        cos, sin = ops.cos(angle), ops.sin(angle)
        return [[cos, -sin, zero], [sin, cos, zero]]

    return _affine("rotation", math.radians(check("rotation.degrees", degrees, _AMOUNT)), rows)


@gin.configurable
def scaling(log_factor: float = 0.15) -> Augmentation:
    """Growth of both sides by up to exp(`log_factor`), or shrinkage by as much."""

    def rows(log, one, zero):
        return [[ops.exp(-log), zero, zero], [zero, ops.exp(-log), zero]]

    return _affine("scaling", check("scaling.log_factor", log_factor, _AMOUNT), rows)


@gin.configurable
def aspect(log_factor: float = 0.15) -> Augmentation:
    """Change of the ratio of width to height by up to exp(`log_factor`) at the same area."""

    def rows(log, one, zero):
        return [[ops.exp(-log / 2), zero, zero], [zero, ops.exp(log / 2), zero]]

    return _affine("aspect", check("aspect.log_factor", log_factor, _AMOUNT), rows)


@gin.configurable
def shear(slope: float = 0.2) -> Augmentation:
    """Sideways displacement of up to `slope` for each unit of height."""
    return _affine(
        "shear",
        check("shear.slope", slope, _AMOUNT),
        lambda value, one, zero: [[one, value, zero], [zero, one, zero]],
    )


@gin.configurable
def shift_right(fraction: float = 0.1) -> Augmentation:
    """Shift to the right or left by up to `fraction` of the width."""
    return _affine(
        "shift_right",
        check("shift_right.fraction", fraction, _AMOUNT),
        lambda value, one, zero: [[one, zero, -value], [zero, one, zero]],
    )


@gin.configurable
def shift_down(fraction: float = 0.1) -> Augmentation:
    """Shift down or up by up to `fraction` of the height."""
    return _affine(
        "shift_down",
        check("shift_down.fraction", fraction, _AMOUNT),
        lambda value, one, zero: [[one, zero, zero], [zero, one, -value]],
    )


@gin.configurable
def contrast(amount: float = 0.3) -> Augmentation:
    """Contrast about mid-grey, uniform in 1 -/+ `amount`."""
    amount = check("contrast.amount", amount, _AMOUNT)
    return Augmentation(
        "contrast", pixels=lambda images, c, noise: (images - 0.5) * (1.0 + amount * c) + 0.5
    )


@gin.configurable
def brightness(amount: float = 0.1) -> Augmentation:
    """Brightness, uniform in -/+ `amount`, added."""
    amount = check("brightness.amount", amount, _AMOUNT)
    return Augmentation("brightness", pixels=lambda images, c, noise: images + amount * c)


@gin.configurable
def pixel_noise(deviation: float = 0.2) -> Augmentation:
    """Normal noise of a standard deviation uniform in 0..`deviation`, for each image its own.

    The deviation grows with the coefficient from -1 on, so that it can be read off linearly.
    """
    deviation = check("pixel_noise.deviation", deviation, _AMOUNT)
    return Augmentation(
        "pixel_noise",
        pixels=lambda images, c, noise: images + (0.5 * deviation) * (c + 1.0) * noise,
        needs_noise=True,
    )


@gin.configurable
def inversion(probability: float = 0.5) -> Augmentation:
    """Exchange of black and white, of all images of a task or of none."""
    check("inversion.probability", probability, number(least=0, most=1))

    def pixels(images, c, noise):
        # 1 - 2 * inverted turns the sign of what differs from mid-grey.
        inverted = ops.cast(ops.abs(c) > 1.0 - probability, images.dtype)
        return (images - 0.5) * (1.0 - 2.0 * inverted) + 0.5

    return Augmentation("inversion", pixels=pixels, of_task=True)
