"""Letters and digits drawn with many fonts: data to draw meta-training tasks from."""

import dataclasses
import string

import numpy as np

from keras_learned_rule.data.fonts import available_characters, draw_characters, find_fonts


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


@dataclasses.dataclass(frozen=True, eq=False)
class GlyphSet:
    """Images of characters, one class a character.

    Args:
        images: uint8 `[n, size, size]`, white on black.
        labels: int32 `[n]`, indices into `characters`.
        characters: the characters, in the order of the labels.
        fonts: names of the fonts that the images were drawn with.

    Example:

    ```python
    from keras_learned_rule.data.glyphs import glyph_set

    glyphs = glyph_set("ABC", size=14)
    assert glyphs.images.shape[1:] == (14, 14)
    ```
    """

    images: np.ndarray
    labels: np.ndarray
    characters: tuple[str, ...]
    fonts: tuple[str, ...]

    def class_table(self):
        """Lists the images of each class, for drawing tasks by plain indexing.

        Returns:
            An int32 array `[classes, m]` of indices into `images`, with `m` even and about the
            size of the largest class. The two halves of a row have no image in common, so that
            one can be learned from and the other tested on; each repeats its images as far as
            the class is smaller. Rows are in an order of their own, the same at every call, so
            that neighbours are not drawn with related fonts.

        Raises:
            ValueError: if a class has only one image.

        Example:

        ```python
        from keras_learned_rule.data.glyphs import glyph_set

        glyphs = glyph_set("ABC")
        row = glyphs.class_table()[0]
        assert set(glyphs.labels[row]) == {0}
        ```
        """
        rng = np.random.default_rng(0)
        members = [
            rng.permutation(np.flatnonzero(self.labels == label))
            for label in range(len(self.characters))
        ]
        single = [c for c, m in zip(self.characters, members) if len(m) < 2]
        if single:
            raise ValueError(
                "A class table needs at least 2 images of each character; add fonts or leave "
                f"characters out. Received: one image of {single}"
            )
        half = (max(len(indices) for indices in members) + 1) // 2
        return np.stack(
            [
                np.concatenate([np.resize(part, half) for part in np.array_split(indices, 2)])
                for indices in members
            ]
        ).astype(np.int32)

    def split(self, held_out_fraction, seed):
        """Splits by class, so that no character of one part occurs in the other.

        Args:
            held_out_fraction: float between 0 and 1, the part of the classes to hold out.
            seed: int, which classes.

        Returns:
            Two glyph sets: for training and held out.

        Raises:
            ValueError: if either part would have no class.

        Example:

        ```python
        from keras_learned_rule.data.glyphs import glyph_set

        training, held_out = glyph_set("ABCD").split(held_out_fraction=0.25, seed=0)
        assert len(training.characters) == 3 and len(held_out.characters) == 1
        ```
        """
        classes = len(self.characters)
        held_out = round(held_out_fraction * classes)
        if not 0 < held_out < classes:
            raise ValueError(
                f"`held_out_fraction` must leave a class on both sides of {classes} classes. "
                f"Received: {held_out_fraction}"
            )
        order = np.random.default_rng(seed).permutation(classes)
        return self._subset(np.sort(order[held_out:])), self._subset(np.sort(order[:held_out]))

    def _subset(self, classes):
        chosen = np.isin(self.labels, classes)
        return GlyphSet(
            images=self.images[chosen],
            labels=np.searchsorted(classes, self.labels[chosen]).astype(np.int32),
            characters=tuple(self.characters[label] for label in classes),
            fonts=self.fonts,
        )


def glyph_set(characters=DEFAULT_CHARACTERS, font_folders=(), size=28):
    """Draws characters with every font that has them.

    The fonts are those that matplotlib ships and those found in `font_folders`. Of characters
    that look alike once scaled to the same box (the capital and the small O, the Latin and the
    Cyrillic A) only the first becomes a class; a single font's drawing that looks like an
    earlier class in the same font (the italic Cyrillic т, like m) is left out.

    Args:
        characters: iterable of single characters. Defaults to the letters of five scripts and
            the ten digits.
        font_folders: folders searched for more `.ttf` and `.otf` files. Defaults to `()`.
        size: int, height and width of the images. Defaults to `28`.

    Returns:
        A `GlyphSet`, the same for the same fonts.

    Raises:
        ValueError: if a folder has no font, a file is not a readable font, `size` is below 4,
            or a character is repeated or in no font.

    Example:

    ```python
    from keras_learned_rule.data.glyphs import glyph_set

    glyphs = glyph_set("ABC")
    assert glyphs.characters == ("A", "B", "C")
    ```
    """
    characters = _check_characters(characters)
    if size < 4:
        raise ValueError(f"`size` must be at least 4 pixels. Received: {size}")
    paths = find_fonts(font_folders)
    classes = _distinct(_reference_images(paths, characters, size))
    drawings = [
        (image, classes.index(character), path.stem)
        for path in paths
        for character, image in _drawn_unmistakably(path, classes, size)
    ]
    images, labels, fonts = zip(*drawings)
    return GlyphSet(
        images=np.stack(images),
        labels=np.array(labels, np.int32),
        characters=tuple(classes),
        fonts=tuple(dict.fromkeys(fonts)),
    )


def _check_characters(characters):
    characters = list(characters)
    single = all(isinstance(character, str) and len(character) == 1 for character in characters)
    if not characters or not single or len(set(characters)) < len(characters):
        raise ValueError(
            f"`characters` must be different single characters. Received: {characters}"
        )
    return characters


def _draw_font(path, characters, size):
    available = available_characters(path, characters)
    characters = [character for character in characters if character in available]
    images = draw_characters(path, characters, size)
    return {character: image for character, image in zip(characters, images) if image.any()}


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
