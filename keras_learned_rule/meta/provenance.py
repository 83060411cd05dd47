"""Where a theta file comes from: versions, revision, machine and configuration."""

import importlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import gin
import keras
import numpy as np

PACKAGE = Path(__file__).resolve().parent.parent
GIT_SECONDS = 10


def provenance():
    """What a run is made with; never fails, and says None of what cannot be found out.

    Returns:
        Json-able dict: "versions" of python, keras, the backend under its name, numpy and
        keras_learned_rule; "backend", its name; "git", a dict of "revision" and "dirty" (whether
        files of the checkout differ from it), or None when the package does not run from a
        checkout; "platform".

    Example:
    ```python
    import keras
    from keras_learned_rule.meta.provenance import provenance

    assert provenance()["versions"]["keras"] == keras.__version__
    ```
    """
    backend = keras.config.backend()
    return {
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            backend: _version(backend),
            "numpy": np.__version__,
            "keras_learned_rule": _version("keras_learned_rule"),
        },
        "backend": backend,
        "git": _git(),
        "platform": platform.platform(),
    }


def operative_config():
    """The gin parameters that functions called so far have used, as a gin file.

    Returns:
        A string, empty if gin has configured nothing.

    Example:
    ```python
    import gin
    from keras_learned_rule.meta.provenance import operative_config

    @gin.configurable(module="example")
    def seed(value=7):
        return value

    seed()
    assert "seed.value = 7" in operative_config()
    ```
    """
    return gin.operative_config_str()


def _version(module):
    return getattr(importlib.import_module(module), "__version__", None)


def _git():
    """Revision of the checkout that this file belongs to, or None."""
    # A package inside the virtual environment of somebody's checkout is not of that checkout.
    if _run_git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision, changes = _run_git("rev-parse", "HEAD"), _run_git("status", "--porcelain", "-uno")
    return revision and {"revision": revision, "dirty": None if changes is None else changes != ""}


def _run_git(*arguments):
    """What git prints, or None if it fails or is missing."""
    command = ["git", "-C", str(PACKAGE), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
