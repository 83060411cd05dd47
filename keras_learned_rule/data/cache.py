"""Decoded data sets on disk, so that each is decoded once and can be used where it cannot be.

A cache file is plain safetensors. It stands under a name that follows from what was asked for, not
from where the data were, and reading it needs numpy alone: a folder filled on one machine can be
copied to another that has neither TensorFlow nor the original data.
"""

import hashlib
import json
import os
import re
import warnings
import zlib
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.rule.files import write_atomically

# Raise it when the content for a request changes: resizing, say, or the layout of the files.
FORMAT_VERSION = 1
_HEADER_KEY = "keras_learned_rule_data"


def cache_folder():
    """The folder of the cache; it need not exist.

    Returns:
        A `pathlib.Path`: `$KERAS_LEARNED_RULE_CACHE`, or else `keras_learned_rule` in
        `$XDG_CACHE_HOME`, or else in `~/.cache`.

    Example:
    ```python
    from keras_learned_rule.data.cache import cache_folder

    print([path.name for path in cache_folder().glob("*.safetensors")])
    ```
    """
    own = os.environ.get("KERAS_LEARNED_RULE_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "keras_learned_rule"


def cached_arrays(title, request, build, version=None):
    """Arrays from the cache or, where they are not in it, built and put there.

    A file that is damaged, or holds another version, is built again. A cache that cannot be
    written to costs a warning.

    Args:
        title: str that the file's name starts with, for people.
        request: json-able dict with everything that decides the content, except the version of
            the original data.
        build: function without arguments that returns a dict from name to array, and a json-able
            dict of further facts.
        version: str, the version of the original data, or None where they cannot be looked at:
            then the stored ones are taken whatever their version. Defaults to `None`.

    Returns:
        What `build` returned, now or some time ago.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.data.cache import cached_arrays

    squares = lambda: ({"squares": np.arange(5) ** 2}, {"unit": "cm2"})
    arrays, facts = cached_arrays("squares", {"count": 5}, squares)
    assert arrays["squares"].tolist() == [0, 1, 4, 9, 16]
    ```
    """
    path = _path(title, request)
    stored = _read(path)
    if stored is not None and version in (None, stored["version"]):
        return stored["arrays"], stored["facts"]
    arrays, facts = build()
    _write(path, arrays, facts, version)
    return arrays, facts


def cached_image_set(title, request, build, version=None):
    """An `ImageSet` from the cache or, where it is not in it, built and put there.

    Args:
        title: as for `cached_arrays`.
        request: as for `cached_arrays`.
        build: function without arguments that returns an `ImageSet`.
        version: as for `cached_arrays`.

    Returns:
        What `build` returned, now or some time ago.

    Example:
    ```python
    from keras_learned_rule.data.cache import cached_image_set
    from keras_learned_rule.data.glyphs import glyph_set

    letters = cached_image_set("letters", {"letters": "ABC"}, lambda: glyph_set("ABC"))
    assert letters.class_names == ("A", "B", "C")
    ```
    """

    def build_arrays():
        made = build()
        facts = {"class_names": made.class_names, "name": made.name}
        return {"images": made.images, "labels": made.labels}, facts

    arrays, facts = cached_arrays(title, request, build_arrays, version)
    return ImageSet(**arrays, class_names=tuple(facts["class_names"]), name=facts["name"])


def _path(title, request):
    content = json.dumps([FORMAT_VERSION, request], sort_keys=True)
    readable = re.sub(r"[^\w.-]+", "-", title)[:80]
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return cache_folder() / f"{readable}-{digest}.safetensors"


def _read(path):
    """Arrays, facts and version in a cache file; None if there is none that can be used."""
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = json.loads(file.metadata()[_HEADER_KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        if _checksums(arrays) != header["checksums"]:
            raise ValueError("checksums differ")
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        warnings.warn(
            f"The cached data in {str(path)!r} cannot be used and are made again: {error!r}",
            stacklevel=4,
        )
        return None
    return {"arrays": arrays, "facts": header["facts"], "version": header["version"]}


def _write(path, arrays, facts, version):
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {"facts": facts, "version": version, "checksums": _checksums(arrays)}
    content = safetensors.numpy.save(arrays, {_HEADER_KEY: json.dumps(header, sort_keys=True)})
    try:
        write_atomically(path, content)
    except OSError as error:
        warnings.warn(
            f"Decoded data could not be kept in the cache, and will be decoded again next time; "
            f"KERAS_LEARNED_RULE_CACHE may name another folder: {error}",
            stacklevel=4,
        )


def _checksums(arrays):
    return {name: zlib.crc32(np.ascontiguousarray(a).data) for name, a in sorted(arrays.items())}
