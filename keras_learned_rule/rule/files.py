"""Theta files: named arrays in safetensors, with their spec and where they came from."""

import json
import os

import numpy as np
import safetensors
import safetensors.numpy

from keras_learned_rule.checks import Kind, check, optional
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import check_shapes, check_theta, theta_shapes

FORMAT_VERSION = 1
# One entry holds everything: safetensors writes several in an order that differs from process to
# process, and equal content must give equal files.
HEADER_KEY = "keras_learned_rule"
# What safetensors calls the types that NumPy can make float32 of.
_DTYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")


def save_theta(path, spec, theta, provenance=None):
    """Writes a theta file; an existing one is replaced only once the new one is complete.

    Equal content gives equal bytes.

    Args:
        path: Where to write; missing folders are made.
        spec: A `RuleSpec`.
        theta: A dict from name to array, as `theta_shapes(spec)` lists them. Saved as float32.
        provenance: A json-able dict that says where theta came from, such as data, number of
            meta-steps and gin configuration. Defaults to an empty one.

    Raises:
        ValueError: Theta does not fit the spec, or is not finite, or provenance is no json-able
            dict. Nothing is written.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.rule.files import save_theta
    from keras_learned_rule.rule.theta import init_theta

    spec = RuleSpec.compact()
    save_theta("rule.safetensors", spec, init_theta(spec), {"meta_steps": 0})
    ```
    """
    check_theta(spec, theta)
    check_provenance(provenance)
    header = {
        "format_version": FORMAT_VERSION,
        "spec": spec.to_dict(),
        "provenance": provenance or {},
    }
    arrays = {name: np.array(value, "float32", order="C") for name, value in theta.items()}
    metadata = {HEADER_KEY: json.dumps(header, sort_keys=True)}
    write_atomically(path, safetensors.numpy.save(arrays, metadata))


def load_theta(path):
    """Reads a theta file.

    Args:
        path: A file written by `save_theta`, of this version of the package or an older one.

    Returns:
        `(spec, theta, provenance)`: a `RuleSpec`, a dict from name to float32 array in the order
        of `theta_shapes(spec)`, and a dict.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a theta file, is truncated or damaged, was written by a newer version
            of the package, or holds arrays that do not fit its spec or are not finite.

    Example:
    ```python
    from keras_learned_rule import UpdateRule
    from keras_learned_rule.rule.files import load_theta

    UpdateRule.from_preset("compact").save("rule.safetensors")
    spec, theta, provenance = load_theta("rule.safetensors")
    assert spec.merge == "compact"
    ```
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"path must be that of a theta file. Received: {path!r}")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"A theta file must exist. Received: path={os.fspath(path)!r}")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = _header(path, file.metadata() or {})
            return *_content(path, header["spec"], file), header["provenance"]
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"A theta file must be a complete safetensors file; this one is truncated or something "
            f"else ({error}). Received: path={os.fspath(path)!r}"
        ) from error


def check_provenance(provenance):
    """Raises ValueError unless `provenance` is None or a dict that json can hold."""
    try:
        json.dumps(provenance)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"provenance must be a dict that json can hold ({error}). Received: {provenance!r}"
        ) from error
    check("provenance", provenance, optional(Kind("a dict", lambda value: isinstance(value, dict))))


def _content(path, fields, file):
    """Spec and theta of an open file; no array is read before all are known to fit the spec."""
    slices = {name: file.get_slice(name) for name in file.keys()}
    try:
        spec = RuleSpec.from_dict(fields)
        check_shapes(spec, {name: tuple(part.get_shape()) for name, part in slices.items()})
        for name, part in slices.items():
            if part.get_dtype() not in _DTYPES:
                raise ValueError(
                    f"theta array {name!r} must hold real numbers, of a type out of {_DTYPES}. "
                    f"Received: {part.get_dtype()}"
                )
        theta = {name: file.get_tensor(name) for name in theta_shapes(spec)}
        check_theta(spec, theta)
    except ValueError as error:
        raise ValueError(f"The theta file {os.fspath(path)!r} is not valid. {error}") from error
    return spec, {name: array.astype("float32") for name, array in theta.items()}


def _header(path, metadata):
    if HEADER_KEY not in metadata:
        raise ValueError(
            f"A theta file must have {HEADER_KEY!r} in its safetensors metadata, as "
            f"UpdateRule.save writes it. Received: path={os.fspath(path)!r}, a safetensors file "
            f"with the metadata {sorted(metadata)}"
        )
    try:
        header = {"provenance": {}, **json.loads(metadata[HEADER_KEY])}
    except (TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, metadata) from error
    version = header.get("format_version")
    if type(version) is not int:
        raise _damaged(path, metadata)
    if version > FORMAT_VERSION:
        raise ValueError(
            f"This version of keras_learned_rule reads theta files up to format {FORMAT_VERSION}; "
            f"upgrade keras_learned_rule for newer ones. Received: path={os.fspath(path)!r} of "
            f"format {version}"
        )
    if not isinstance(header.get("spec"), dict) or not isinstance(header["provenance"], dict):
        raise _damaged(path, metadata)
    return header


def _damaged(path, metadata):
    return ValueError(
        "The header of a theta file must be a json object with an integer 'format_version', a "
        f"'spec' and a 'provenance'. Received: path={os.fspath(path)!r} with the header "
        f"{metadata[HEADER_KEY][:200]!r}"
    )


def write_atomically(path, content):
    """Writes a file such that readers, and a crash, see either the old content or the new.

    Args:
        path: Where to write; missing folders are made.
        content: The bytes to write.

    Example:
    ```python
    from keras_learned_rule.rule.files import write_atomically

    write_atomically("runs/state.json", b'{"step": 3}')
    ```
    """
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    unfinished = os.path.join(folder, f".{name}.{os.getpid()}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)


def remove_unfinished(folder, pattern):
    """Removes what processes that were killed in `write_atomically` have left.

    Args:
        folder: A `Path`; it need not exist.
        pattern: Glob pattern of the file, with a dot before its name. No live process may be
            writing such a file.

    Example:
    ```python
    from pathlib import Path
    from keras_learned_rule.rule.files import remove_unfinished

    Path(".state.json.123.unfinished").touch()
    remove_unfinished(Path("."), ".state.json")
    assert not Path(".state.json.123.unfinished").exists()
    ```
    """
    for path in folder.glob(f"{pattern}.*.unfinished"):
        path.unlink(missing_ok=True)
