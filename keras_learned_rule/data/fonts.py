"""Finding font files and drawing single characters with them."""

from collections import Counter
from pathlib import Path

import numpy as np

from keras_learned_rule.checks import check, file_path, list_of

# Shipped with matplotlib, but the letters their tables list are drawn as symbols or as boxes.
_WITHOUT_LETTERS = ("LastResort", "STIXSiz", "STIXNonUni", "cmex", "cmsy", "DejaVuSansDisplay")
_SUFFIXES = (".ttf", ".otf")
# Characters are drawn at this size in pixels and then reduced, which smooths their edges.
_DRAWN_SIZE = 96
FOLDERS = list_of(file_path(), least=0)


def find_fonts(folders=()):
    """Lists font files: those which matplotlib ships, then those in `folders`.

    Args:
        folders: paths of folders, searched recursively for `.ttf` and `.otf` files. A file
            named like one found before is skipped. Defaults to `()`.

    Returns:
        A list of `pathlib.Path`, in an order that depends on file names only.

    Raises:
        ValueError: if `folders` is no list, or one of them is no folder or has no font.

    Example:
    ```python
    from keras_learned_rule.data.fonts import find_fonts

    assert "DejaVuSans" in [font.stem for font in find_fonts()]
    ```
    """
    check("font_folders", folders, FOLDERS)
    found = _bundled_fonts()
    for folder in folders:
        found += _fonts_below(Path(folder))
    return list({path.stem: path for path in reversed(found)}.values())[::-1]


def _bundled_fonts():
    import matplotlib

    fonts = _fonts_below(Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    fonts = [path for path in fonts if not path.stem.startswith(_WITHOUT_LETTERS)]
    # The plainest and most complete font first: it is where look-alikes are compared.
    return sorted(fonts, key=lambda path: (path.stem != "DejaVuSans", path.stem))


def _fonts_below(folder):
    fonts = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES]
    if not fonts:
        raise ValueError(
            "Every entry of `font_folders` must be a folder with .ttf or .otf files in it. "
            f"Received: {str(folder)!r}"
        )
    return fonts


def available_characters(path, characters):
    """Says which of `characters` a font really draws.

    A character is left out if the font's table lacks it, or lists the same glyph for another
    of `characters` (as fonts of capitals do for small letters).

    Args:
        path: path of the font file.
        characters: iterable of single characters.

    Returns:
        The set of characters drawn by the font.

    Raises:
        ValueError: if the file cannot be read as a font.

    Example:
    ```python
    from keras_learned_rule.data.fonts import available_characters, find_fonts

    assert available_characters(find_fonts()[0], "aβ漢") == {"a", "β"}
    ```
    """
    from matplotlib.ft2font import FT2Font

    try:
        table = FT2Font(str(path)).get_charmap()
    except (OSError, RuntimeError) as error:
        raise _unreadable(path) from error
    glyphs = {character: table.get(ord(character), 0) for character in characters}
    uses = Counter(glyphs.values())
    return {character for character, glyph in glyphs.items() if glyph and uses[glyph] == 1}


def _unreadable(path):
    return ValueError(f"A font must be a readable TrueType or OpenType file. Received: {path}")


def draw_characters(path, characters, size):
    """Draws characters in white on black, each scaled to a centred box as in MNIST.

    The longer side of a character fills 20/28 of the image; its proportions are kept.

    Args:
        path: path of the font file.
        characters: iterable of single characters.
        size: int, height and width of the images.

    Returns:
        A uint8 array `[characters, size, size]`. A blank character gives a black image.

    Raises:
        ValueError: if the file cannot be read as a font.

    Example:
    ```python
    from keras_learned_rule.data.fonts import draw_characters, find_fonts

    images = draw_characters(find_fonts()[0], "abc", size=28)
    assert images.shape == (3, 28, 28)
    ```
    """
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(str(path), _DRAWN_SIZE, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise _unreadable(path) from error
    images = [_draw(font, character, size) for character in characters]
    return np.stack(images) if images else np.zeros((0, size, size), np.uint8)


def _draw(font, character, size):
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (4 * _DRAWN_SIZE, 3 * _DRAWN_SIZE))
    ImageDraw.Draw(canvas).text((_DRAWN_SIZE, _DRAWN_SIZE), character, fill=255, font=font)
    box = canvas.getbbox()
    image = Image.new("L", (size, size))
    if box is None:
        return np.asarray(image)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = round(size * 20 / 28) / max(width, height)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    glyph = canvas.crop(box).resize((width, height), Image.Resampling.BILINEAR)
    image.paste(glyph, ((size - width) // 2, (size - height) // 2))
    return np.asarray(image)
