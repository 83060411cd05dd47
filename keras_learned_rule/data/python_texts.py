"""Words of the sources of Python's standard library: real texts that are at hand everywhere."""

import collections
import re
import sysconfig
from pathlib import Path

import gin
import numpy as np

from keras_learned_rule.data.checks import check_at_least_one
from keras_learned_rule.data.image_set import vector_set

# Whatever the length of texts, so that the parts have the same modules at every length.
FEWEST_WORDS = 6000
_SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages"}


@gin.configurable
def python_texts(
    size,
    channels,
    words=1000,
    length=150,
    binary=False,
    most=256,
    seed=0,
    part="all",
    held_out_fraction=0.2,
):
    """Counts of the most frequent words in pieces of the standard library: comments, docs and code.

    A class is a module or package, and its texts are consecutive pieces of varying length. Words
    are runs of at least two letters a to z in lower case, as in `imdb_bag_of_words`. Modules of
    fewer than 6,000 words, tests and names that begin with an underscore are left out. Which
    classes there are depends on the version of Python.

    Args:
        size: of no effect.
        channels: of no effect.
        words: int, how many words to count. Defaults to `1000`.
        length: int, words of a text on average, frequent or not. Defaults to `150`.
        binary: bool, whether an input says only if its word occurs. Defaults to `False`.
        most: int, texts of a class at most. Defaults to `256`.
        seed: int, how long each text is. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of vectors, `[n, 1, words, 1]`, most frequent word first.

    Raises:
        FileNotFoundError: if the sources of the standard library are not on this machine.
        ValueError: if a number is below 1.

    Example:

    ```python
    from keras_learned_rule.data.python_texts import python_texts

    texts = python_texts(size=14, channels=1, words=200)
    assert "asyncio" in texts.class_names and texts.images.shape[1:] == (1, 200, 1)
    ```
    """
    check_at_least_one(words=words, length=length, most=most)
    rng = np.random.default_rng(seed)
    modules = {name: spoken for name, spoken in _modules().items() if len(spoken) >= FEWEST_WORDS}
    by_module = {name: _texts(spoken, length, rng) for name, spoken in modules.items()}
    everything = [text for texts in by_module.values() for text in texts]
    frequent = collections.Counter(word for text in everything for word in text)
    # Ties are broken by the alphabet.
    vocabulary = sorted(frequent, key=lambda word: (-frequent[word], word))[:words]
    place = {word: i for i, word in enumerate(vocabulary)}
    chosen = [
        (label, text) for label, texts in enumerate(by_module.values()) for text in texts[:most]
    ]
    counts = np.zeros((len(chosen), words), np.int32)
    for row, (_, text) in zip(counts, chosen):
        np.add.at(row, [place[word] for word in text if word in place], 1)
    counts = np.minimum(counts, 1) if binary else counts
    labels = [label for label, _ in chosen]
    return vector_set(counts, labels, list(by_module), "python_texts").part(part, held_out_fraction)


def _modules():
    """All words of each module or package of the standard library, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    spoken = {}
    for entry in sorted(root.glob("[!_]*")):
        if entry.name in _SKIPPED:
            continue
        files = sorted(entry.rglob("*.py")) if entry.is_dir() else [entry] * (entry.suffix == ".py")
        for path in files:
            if not _SKIPPED.intersection(path.relative_to(root).parts):
                source = path.read_text(encoding="utf-8", errors="ignore").lower()
                spoken.setdefault(entry.stem, []).extend(re.findall("[a-z]{2,}", source))
    if not spoken:
        raise FileNotFoundError(
            "python_texts reads the sources of the standard library, which must be files in "
            f"the folder of sysconfig.get_path('stdlib'). Received: {str(root)!r}"
        )
    return spoken


def _texts(spoken, length, rng):
    """Cuts words into texts of varying length."""
    lengths = 1 + rng.poisson(length * rng.gamma(4.0, 0.25, size=1 + 2 * len(spoken) // length))
    ends = [int(end) for end in np.cumsum(lengths) if end <= len(spoken)]
    return [spoken[start:end] for start, end in zip([0, *ends], ends)]
