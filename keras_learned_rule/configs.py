"""Finds and reads gin files; what gin cannot read is named by file, line and nearest valid name."""

import os
from collections.abc import Iterable
from pathlib import Path

import gin

from keras_learned_rule.gin_names import nearest
from keras_learned_rule.gin_reader import GinReader
from keras_learned_rule.hints import PathLike

FOLDER = "gin_configs"


def find_gin_file(path: PathLike) -> str:
    """Finds a gin file, so that `gin_configs/...` means the same in a checkout and when installed.

    Args:
        path: A path that exists, or "gin_configs/<name>.gin" for a file of the package.

    Returns:
        The path of an existing file.

    Raises:
        FileNotFoundError: There is no such file; lists those of the package.

    Example:
    ```python
    from keras_learned_rule.configs import find_gin_file

    with open(find_gin_file("gin_configs/quick.gin")) as file:
        assert "train.updates" in file.read()
    ```
    """
    if os.path.isfile(path):
        return os.fspath(path)
    packaged = _packaged_files()
    name = Path(path).as_posix()
    if name not in packaged:
        raise FileNotFoundError(
            f"A gin file must exist, or be one that comes with the package: {sorted(packaged)}. "
            f"Received: {os.fspath(path)!r}"
        )
    return packaged[name]


def parse_gin(files: Iterable[PathLike], bindings: Iterable[str] = ()) -> list[str]:
    """Makes gin's configuration what files and single bindings say, later ones overriding.

    Does what `gin.parse_config_files_and_bindings` does, but forgets what gin held before, looks
    for included files beside the including one, in the working directory and among those of the
    package, and says of every mistake where it is and what may have been meant.

    Args:
        files: Paths of gin files, each as for `find_gin_file`.
        bindings: Strings such as "train.updates = 100". Defaults to `()`.

    Returns:
        List of the paths that were read, without included ones.

    Raises:
        FileNotFoundError: One of `files` does not exist.
        ValueError: gin cannot read a line, or it names a function, class, parameter, macro, module
            or file that does not exist. gin's configuration is empty then.

    Example:
    ```python
    import gin
    from keras_learned_rule.configs import parse_gin

    @gin.configurable(module="example")
    def greet(name, mark="."):
        return f"Hello {name}{mark}"

    with open("greet.gin", "w") as file:
        file.write("greet.name = 'world'")
    parse_gin(["greet.gin"], ["greet.mark = '!'"])
    assert greet() == "Hello world!"
    try:
        parse_gin(["greet.gin"], ["greet.marc = '!'"])
    except ValueError as error:
        print(error)  # --gin binding: greet has no parameter 'marc'; did you mean 'mark'? ...
    ```
    """
    paths = [find_gin_file(path) for path in files]
    gin.clear_config()
    reader = GinReader(_find_included)
    try:
        for path in paths:
            reader.read_file(path)
        for binding in bindings:
            reader.read_binding(binding)
        reader.check_macros()
        _finalize(paths, bindings)
    except Exception:
        gin.clear_config()
        raise
    reader.warn_of_unused()
    return paths


def _find_included(folder, filename):
    """The path of an included file: beside the including one, else as `find_gin_file` finds it."""
    beside = Path(folder) / filename
    if beside.is_file():
        return str(beside)
    try:
        return find_gin_file(filename)
    except FileNotFoundError as error:
        known = [file.name for file in Path(folder).glob("*.gin")]
        known += _packaged_files()
        raise FileNotFoundError(
            f"no file {filename!r} exists; {nearest(filename, known)}"
        ) from error


def _finalize(paths, bindings):
    try:
        gin.finalize()
    except ValueError as error:
        raise ValueError(f"{error} Received: files {paths}, bindings {list(bindings)}") from error


def _packaged_files():
    """Paths of the package's gin files by name, such as "gin_configs/quick.gin"."""
    package = Path(__file__).parent
    # A wheel carries the folder inside the package, a checkout has it beside the package.
    folder = next((p for p in (package / FOLDER, package.parent / FOLDER) if p.is_dir()), None)
    files = sorted(folder.rglob("*.gin")) if folder else []
    return {f"{FOLDER}/{file.relative_to(folder).as_posix()}": str(file) for file in files}
