"""Finds gin files: in the working directory, else those that come with the package."""

import os
from pathlib import Path

FOLDER = "gin_configs"


def find_gin_file(path):
    """Finds a gin file, so that `gin_configs/...` means the same in a checkout and when installed.

    Args:
        path: A path that exists, or "gin_configs/.../<name>.gin" for a file of the package.

    Returns:
        The path of an existing file.

    Raises:
        FileNotFoundError: There is no such file; lists those of the package.

    Example:

    ```python
    from keras_learned_rule.configs import find_gin_file

    with open(find_gin_file("gin_configs/glyphs_quick.gin")) as file:
        assert "train.updates" in file.read()
    ```
    """
    if os.path.isfile(path):
        return os.fspath(path)
    packaged = {
        f"{FOLDER}/{file.relative_to(folder).as_posix()}": str(file)
        for folder in _packaged_folders()
        for file in sorted(folder.rglob("*.gin"))
    }
    name = Path(path).as_posix()
    if name not in packaged:
        raise FileNotFoundError(
            f"A gin file must exist, or be one that comes with the package: {sorted(packaged)}. "
            f"Received: {os.fspath(path)!r}"
        )
    return packaged[name]


def _packaged_folders():
    package = Path(__file__).parent
    # A wheel carries the folder inside the package, a checkout has it beside the package.
    candidates = (package / FOLDER, package.parent / FOLDER)
    return [folder for folder in candidates if folder.is_dir()][:1]
