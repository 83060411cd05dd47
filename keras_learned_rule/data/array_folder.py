"""Labelled images or vectors from a folder of the user's own .npz files."""

import zipfile
import zlib
from pathlib import Path

import gin
import numpy as np

from keras_learned_rule.checks import check_all, file_path
from keras_learned_rule.data.image_set import PART_KINDS, ImageSet, as_bytes, vector_set
from keras_learned_rule.data.resize import fit_images
from keras_learned_rule.hints import PathLike


@gin.configurable
def array_folder(
    size: int, channels: int, folder: PathLike, part: str = "all", held_out_fraction: float = 0.2
) -> ImageSet:
    """A folder of `.npz` files, as `np.savez` writes them, in the order of their names.

    Each file holds an array `x`, images `[n, height, width]` or `[n, height, width, 1 or 3]` or
    vectors `[n, d]`, of uint8 or float, and an array `y`, integer labels `[n]`. Labels mean the
    same in all files. Images of floats are mapped linearly to 0..255, from the smallest to the
    largest number of all files; vectors of floats stay as they are. Images of different files may
    differ in size. Nothing is unpickled, and nothing is cached.

    Args:
        size: int, height and width of the result; images are resized by area. Of no effect on
            vectors.
        channels: 1 for grey or 3 for RGB. Of no effect on vectors.
        folder: path of the folder.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet`; vectors are images `[n, 1, d, 1]`. Classes are named by their labels.

    Raises:
        FileNotFoundError: if there is no such folder or no `.npz` file in it.
        ValueError: if a file is not as described, or files do not fit each other; the message
            names the file.

    Example:
    ```python
    import os
    import numpy as np
    from keras_learned_rule.data.array_folder import array_folder

    os.makedirs("spectra")
    np.savez("spectra/monday.npz", x=np.random.rand(20, 300), y=np.arange(20) % 5)
    spectra = array_folder(size=14, channels=1, folder="spectra")
    assert spectra.images.shape == (20, 1, 300, 1) and len(spectra.class_names) == 5
    ```
    """
    check_all("array_folder", locals(), {"folder": file_path(), **PART_KINDS})
    paths = sorted(Path(folder).expanduser().glob("*.npz"))
    if not paths:
        raise FileNotFoundError(
            f"`folder` must be a folder with .npz files in it. Received: {str(folder)!r}"
        )
    files = [_read(path) for path in paths]
    _check_alike(paths, [x for x, _ in files])
    values, name = [x for x, _ in files], paths[0].parent.name
    classes, indices = np.unique(np.concatenate([y for _, y in files]), return_inverse=True)
    labels, names = indices.astype(np.int32), tuple(str(label) for label in classes)
    if values[0].ndim == 2:
        whole = vector_set(np.concatenate(values), labels, names, name)
    else:
        images = np.concatenate([fit_images(x, size, channels) for x in _on_one_scale(values)])
        whole = ImageSet(images, labels, names, name)
    return whole.part(part, held_out_fraction)


def _read(path):
    try:
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            arrays = dict(file) if isinstance(file, np.lib.npyio.NpzFile) else {}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _bad(path, f"a complete .npz file without pickled objects ({error})") from error
    if not {"x", "y"} <= set(arrays):
        raise _bad(path, "a file with the arrays `x` and `y`", f"arrays {sorted(arrays)}")
    x, y = arrays["x"], arrays["y"]
    _check_labels(path, x, y)
    _check_values(path, x)
    return x[..., None] if x.ndim == 3 else x, y.astype(np.int64)


def _check_labels(path, x, y):
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise _bad(path, "one whose `y` is integers [n]", f"{y.dtype} of shape {y.shape}")
    if x.shape[:1] != y.shape or not len(y):
        received = f"`x` of shape {x.shape} and `y` of shape {y.shape}"
        raise _bad(path, "one whose `x` and `y` are of one length, at least 1", received)


def _check_values(path, x):
    received = f"{x.dtype} of shape {x.shape}"
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise _bad(path, "one whose `x` is uint8 or float", received)
    if x.ndim not in (2, 3, 4) or 0 in x.shape or (x.ndim == 4 and x.shape[3] not in (1, 3)):
        allowed = "[n, d], [n, height, width] or [n, height, width, 1 or 3]"
        raise _bad(path, f"one whose `x` is {allowed}", received)
    if not np.isfinite(x).all():
        raise _bad(path, "one whose `x` is finite", "numbers that are not finite")


def _check_alike(paths, values):
    def kind(x):
        of = ("vectors", x.shape[1]) if x.ndim == 2 else ("images",)
        return ("uint8" if x.dtype == np.uint8 else "float", *of)

    for path, x in zip(paths, values, strict=True):
        if kind(x) != kind(values[0]):
            allowed = f"of one kind with {paths[0].name!r}, {kind(values[0])}"
            raise _bad(path, allowed, f"{kind(x)}")


def _on_one_scale(values):
    """Files of images as uint8, all on the scale from the smallest to the largest number."""
    if values[0].dtype == np.uint8:
        return values
    flat = as_bytes(np.concatenate([x.reshape(-1) for x in values]))
    ends = np.cumsum([x.size for x in values])[:-1]
    return [part.reshape(x.shape) for part, x in zip(np.split(flat, ends), values, strict=True)]


def _bad(path, allowed, received="another one"):
    return ValueError(f"A file must be {allowed}. Received: {str(path)!r}, {received}")
