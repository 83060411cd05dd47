"""Letters and digits drawn with many fonts: data to draw meta-training tasks from."""

import dataclasses
import hashlib
import string
from collections.abc import Iterable

import gin
import numpy as np

from keras_learned_rule.checks import Kind, check_all, integer, one_of
from keras_learned_rule.data.cache import cached_image_set
from keras_learned_rule.data.fonts import FOLDERS, available_characters, draw_characters, find_fonts
from keras_learned_rule.data.image_set import PART_KINDS, ImageSet
from keras_learned_rule.data.resize import fit_images
from keras_learned_rule.hints import PathLike


def _span(first, last):
    return "".join(chr(code) for code in range(ord(first), ord(last) + 1))


# Latin, Greek (without the unassigned code among its capitals), Cyrillic, Armenian, Georgian.
DEFAULT_CHARACTERS = (
    string.ascii_letters
    + string.digits
    + _span("Α", "Ρ")
    + _span("Σ", "Ω")
    + _span("α", "ω")
    + _span("А", "я")
    + _span("Ա", "Ֆ")
    + _span("ա", "ֆ")
    + _span("ა", "ჰ")
)

# Two drawings of one font whose pixels correlate more than this count as the same character:
# it joins A with the Greek and the Cyrillic A, and the capital and the small X.
_LOOK_ALIKE = 0.87


def _are_characters(values):
    listed = isinstance(values, (str, list, tuple)) and len(values) > 0
    single = listed and all(isinstance(value, str) and len(value) == 1 for value in values)
    return single and len(set(values)) == len(values)


_DRAWN = {
    "characters": Kind("different single characters", _are_characters),
    "font_folders": FOLDERS,
}
_KINDS = {"size": integer(least=1), "channels": one_of((1, 3)), **_DRAWN, **PART_KINDS}


@gin.configurable
def glyphs(
    size: int,
    channels: int,
    part: str = "all",
    held_out_fraction: float = 0.2,
    font_folders: Iterable[PathLike] = (),
    characters: Iterable[str] = DEFAULT_CHARACTERS,
) -> ImageSet:
    """Letters and digits of many fonts, as a source of tasks.

    They are drawn at 28x28 whatever the size, so that the same characters are in the same part at
    every size, and cached.

    Args:
        size: int, height and width of the result; drawings are resized by area.
        channels: 1 for grey or 3 for three equal channels.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.
        font_folders: as for `glyph_set`. Defaults to `()`.
        characters: as for `glyph_set`. Defaults to the letters of five scripts and the ten digits.

    Returns:
        An `ImageSet`.

    Raises:
        ValueError: as `glyph_set` and `ImageSet.part` do.

    Example:
    ```python
    from keras_learned_rule.data.glyphs import glyphs

    letters = glyphs(size=12, channels=1, characters="ABCDEFGHIJ", part="train")
    assert letters.images.shape[1:] == (12, 12, 1) and len(letters.class_names) == 6
    ```
    """
    check_all("glyphs", locals(), _KINDS)
    request = {
        "source": "glyphs",
        "size": size,
        "channels": channels,
        "characters": list(characters),
        "fonts": _fingerprints(find_fonts(font_folders)),
    }

    def draw():
        drawn = glyph_set(characters, font_folders)
        return dataclasses.replace(drawn, images=fit_images(drawn.images, size, channels))

    whole = cached_image_set(f"glyphs-{size}x{size}x{channels}", request, draw)
    return whole.part(part, held_out_fraction)


def _fingerprints(paths):
    """Names and digests of font files; what they draw also depends on Pillow."""
    import PIL

    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return [f"Pillow {PIL.__version__}", *map("{0.stem} {1}".format, paths, digests)]


def glyph_set(
    characters: Iterable[str] = DEFAULT_CHARACTERS,
    font_folders: Iterable[PathLike] = (),
    size: int = 28,
) -> ImageSet:
    """Draws characters with every font that has them.

    The fonts are those that matplotlib ships and those found in `font_folders`. Of characters
    that look alike once scaled to the same box (the capital and the small O, the Latin and the
    Cyrillic A) only the first becomes a class; a single font's drawing that looks like an
    earlier class in the same font (the italic Cyrillic т, like m) is left out.

    Args:
        characters: str or list of single characters. Defaults to the letters of five scripts and
            the ten digits.
        font_folders: folders searched for more `.ttf` and `.otf` files. Defaults to `()`.
        size: int, height and width of the images. Defaults to `28`.

    Returns:
        An `ImageSet` with images `[n, size, size, 1]`, white on black, and the characters as
        `class_names`; the same for the same fonts.

    Raises:
        ValueError: if a folder has no font, a file is not a readable font, `size` is below 4,
            or a character is repeated or in no font.

    Example:
    ```python
    from keras_learned_rule.data.glyphs import glyph_set

    glyphs = glyph_set("ABC")
    assert glyphs.class_names == ("A", "B", "C")
    ```
    """
    check_all("glyph_set", locals(), _DRAWN | {"size": integer(least=4)})
    characters = list(characters)
    paths = find_fonts(font_folders)
    classes = _distinct(_reference_images(paths, characters, size))
    drawings = [
        (image, classes.index(character))
        for path in paths
        for character, image in _drawn_unmistakably(path, classes, size)
    ]
    images, labels = zip(*drawings, strict=True)
    return ImageSet(
        images=np.stack(images)[..., None],
        labels=np.array(labels, np.int32),
        class_names=tuple(classes),
        name="glyphs",
    )


def _draw_font(path, characters, size):
    available = available_characters(path, characters)
    characters = [character for character in characters if character in available]
    images = draw_characters(path, characters, size)
    return {
        character: image for character, image in zip(characters, images, strict=True) if image.any()
    }


def _reference_images(paths, characters, size):
    """Draws each character with the first font that has it."""
    reference = {}
    for path in paths:
        missing = [character for character in characters if character not in reference]
        reference.update(_draw_font(path, missing, size))
    missing = [character for character in characters if character not in reference]
    if missing:
        raise ValueError(f"`characters` must each be in some font. Received: {missing}")
    return {character: reference[character] for character in characters}


def _distinct(images):
    """Keeps the characters that do not look like an earlier one."""
    pixels = np.stack([image.reshape(-1) for image in images.values()]).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    alike = pixels @ pixels.T > _LOOK_ALIKE
    kept = []
    for index in range(len(alike)):
        if not alike[index, kept].any():
            kept.append(index)
    characters = list(images)
    return [characters[index] for index in kept]


def _drawn_unmistakably(path, classes, size):
    images = _draw_font(path, classes, size)
    return [(character, images[character]) for character in _distinct(images)] if images else []
