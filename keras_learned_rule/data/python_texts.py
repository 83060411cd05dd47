"""Words of the sources of Python's standard library: real texts that are at hand everywhere."""

import itertools
import re
import sysconfig
from pathlib import Path

import gin
import numpy as np

from keras_learned_rule.checks import check_all, flag, integer
from keras_learned_rule.data.image_set import PART_KINDS, ImageSet, as_bytes, vector_set
from keras_learned_rule.data.text import WORD, most_frequent_first

# A limit on words, not on texts: so the parts have the same modules at every length.
_FEWEST_WORDS = 6000
_SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages"}

_KINDS = {
    **dict.fromkeys(("words", "length", "most"), integer(least=1)),
    "binary": flag(),
    "seed": integer(least=0),
    **PART_KINDS,
}


@gin.configurable
def python_texts(
    size: int,
    channels: int,
    words: int = 1000,
    length: int = 150,
    binary: bool = False,
    most: int = 256,
    seed: int = 0,
    part: str = "all",
    held_out_fraction: float = 0.2,
) -> ImageSet:
    """Counts of the most frequent words in pieces of the standard library: comments, docs and code.

    A class is a module or package, and its texts are consecutive pieces of varying length. Words
    are runs of at least two letters a to z in lower case, as in `imdb_bag_of_words`; which are
    frequent is counted over all modules, whatever the part. Tests, modules of fewer than 6,000
    words, and those whose names begin with an underscore are left out. Which modules there are
    depends on the version of Python, and with them which of them a part has.

    Args:
        size: of no effect.
        channels: of no effect.
        words: int, how many words have an input. Defaults to `1000`.
        length: int, words of a text on average, frequent or not. Defaults to `150`.
        binary: bool, whether an input says only if its word occurs. Defaults to `False`.
        most: int, texts of a class at most. Defaults to `256`.
        seed: int, how long each text is. Defaults to `0`.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet` of vectors, `[n, 1, words, 1]`, most frequent word first; counts are scaled so
        that the largest is 255.

    Raises:
        FileNotFoundError: if the sources of the standard library are not on this machine.
        ValueError: if a number is below 1, `length` leaves fewer than two texts of a module, or
            `part` or `held_out_fraction` is none that `ImageSet.part` allows.

    Example:
    ```python
    from keras_learned_rule.data.python_texts import python_texts

    texts = python_texts(size=14, channels=1, words=200)
    assert "asyncio" in texts.class_names and texts.images.shape[1:] == (1, 200, 1)
    ```
    """
    check_all("python_texts", locals(), _KINDS)
    rng = np.random.default_rng(seed)
    by_module = {name: _texts(spoken, length, rng) for name, spoken in _modules().items()}
    if min(map(len, by_module.values())) < 2:
        raise ValueError(
            f"`length` must leave at least two texts of each module, of {_FEWEST_WORDS} words or "
            f"more. Received: {length}"
        )
    labels = np.repeat(np.arange(len(by_module)), [len(texts) for texts in by_module.values()])
    rank = np.concatenate([np.arange(len(texts)) for texts in by_module.values()])
    counts = _counts([text for texts in by_module.values() for text in texts], words)[rank < most]
    counts = np.minimum(counts, 1) if binary else counts
    made = vector_set(as_bytes(counts), labels[rank < most], list(by_module), "python_texts")
    return made.part(part, held_out_fraction)


def _counts(texts, words):
    """Counts [texts, words] of the most frequent words; ties go by the alphabet."""
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(analyzer=list, dtype=np.int32).fit_transform(texts)
    counts = counts[:, most_frequent_first(counts)[:words]].toarray()
    return np.pad(counts, ((0, 0), (0, words - counts.shape[1])))


def _modules():
    """A list of the words of each module or package of the standard library, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    spoken = {}
    for entry in sorted(root.glob("[!_]*"), key=_parts):
        if entry.name not in _SKIPPED:
            files = entry.rglob("*.py") if entry.is_dir() else [entry] * (entry.suffix == ".py")
            for path in sorted(files, key=_parts):
                spoken.setdefault(entry.stem, []).extend(_words(path, root))
    spoken = {name: words for name, words in spoken.items() if len(words) >= _FEWEST_WORDS}
    if not spoken:
        raise FileNotFoundError(
            "python_texts reads the sources of the standard library, which must be files in "
            f"the folder of sysconfig.get_path('stdlib'). Received: {str(root)!r}"
        )
    return spoken


def _parts(path):
    # Paths themselves are in another order where case does not matter.
    return path.parts


def _words(path, root):
    if _SKIPPED.intersection(path.relative_to(root).parts) or not path.is_file():
        return []
    return re.findall(WORD, path.read_text(encoding="utf-8", errors="ignore").lower())


def _texts(spoken, length, rng):
    """Cuts a list of words into texts of varying length."""
    lengths = 1 + rng.poisson(length * rng.gamma(4.0, 0.25, size=1 + 2 * len(spoken) // length))
    ends = [int(end) for end in np.cumsum(lengths) if end <= len(spoken)]
    return [spoken[start:end] for start, end in itertools.pairwise([0, *ends])]
