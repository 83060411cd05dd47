"""Shapes filled with photographs, on photographs or black: easy classes that look like images."""

import gin
import numpy as np

from keras_learned_rule.checks import check_all, function, integer, number, one_of
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.hints import Source

# Brightness that a shape has at least.
_LEAST_INSIDE = 0.6
_SOURCE = function("a source of images (in gin, without calling it: @glyphs)", arguments=2)
_KINDS = {
    "size": integer(least=1),
    "channels": one_of((1, 3)),
    "shapes": _SOURCE,
    "textures": _SOURCE,
    "background": number(least=0, most=1),
    "copies": integer(least=1),
    "seed": integer(least=0),
}


@gin.configurable
def textured(
    size: int,
    channels: int,
    shapes: Source = gin.REQUIRED,
    textures: Source = gin.REQUIRED,
    background: float = 0.8,
    copies: int = 8,
    seed: int = 0,
) -> ImageSet:
    """The classes of one source, in the pixels of another.

    Every image of `shapes` is a mask: white shows one image of `textures`, black another. Half of
    the shapes, drawn at random, are a pixel thicker on every side. How bright a shape is at least
    and how dark its background is are drawn for each image, so that some stand out and some hardly
    do. Which classes and which photographs take part is up to the two sources:

        choose/textured.shapes = @choose/glyphs
        choose/textured.textures = @imagenet/choose/tfds_images

    Args:
        size: int, height and width of the result.
        channels: 1 for grey or 3 for RGB.
        shapes: source of white shapes on black.
        textures: source of images; its classes do not matter.
        background: float from 0 to 1, share of the photograph behind a shape that shows at most.
            `0` puts the shapes on black. Defaults to `0.8`.
        copies: int, images made of each shape. Defaults to `8`.
        seed: int, which images are made. Defaults to `0`.

    Returns:
        An `ImageSet` with the classes of `shapes`.

    Raises:
        ValueError: if `copies` is below 1, or `background` not from 0 to 1.

    Example:
    ```python
    from keras_learned_rule.data.digits import digit_images
    from keras_learned_rule.data.glyphs import glyphs
    from keras_learned_rule.data.textured import textured

    images = textured(size=14, channels=1, shapes=glyphs, textures=digit_images, copies=2)
    assert images.class_names == glyphs(14, 1).class_names
    ```
    """
    check_all("textured", locals(), _KINDS)
    drawn = _of_bytes("shapes", shapes(size, 1))
    photographs = _of_bytes("textures", textures(size, channels)).images
    rng = np.random.default_rng(seed)
    masks = np.repeat(drawn.images, copies, axis=0)
    bold = rng.random(len(masks)) < 0.5
    masks[bold] = _thicker(masks[bold])
    inside, outside = (
        photographs[rng.integers(len(photographs), size=len(masks))] / 255 for _ in range(2)
    )
    least, most = (
        rng.uniform(0, bound, (len(masks), 1, 1, 1)) for bound in (_LEAST_INSIDE, background)
    )
    mask = masks / 255
    images = mask * (least + (1 - least) * inside) + (1 - mask) * most * outside
    images = np.round(255 * images).astype(np.uint8)
    return ImageSet(images, np.repeat(drawn.labels, copies), drawn.class_names, "textured")


def _of_bytes(name, images):
    if images.images.dtype != np.uint8:
        raise ValueError(
            f"textured.{name} must be a source of uint8 images. "
            f"Received: {images.images.dtype} from {images.name!r}"
        )
    return images


def _thicker(masks):
    """Each pixel the brightest of its 3 x 3 neighbourhood."""
    for axis in (1, 2):
        padded = np.pad(masks, [(1, 1) if i == axis else (0, 0) for i in range(4)])
        width = masks.shape[axis]
        shifted = [np.take(padded, range(k, k + width), axis) for k in range(3)]
        masks = np.maximum.reduce(shifted)
    return masks
