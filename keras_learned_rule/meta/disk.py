"""The disk that a run is kept on: whether it can be written, and by this process alone."""

import contextlib
import errno
import os
import sys

from keras_learned_rule.rule.files import write_atomically

if sys.platform != "win32":  # Windows has other locks.
    import fcntl

ADVICE = {errno.ENOSPC: "the disk is full; free some space and start the same command again"}
OTHER_ADVICE = "make the folder writable and start the same command again"


@contextlib.contextmanager
def clear_write_errors(path):
    """Within it, an OSError says which file cannot be written and what to do.

    Args:
        path: What is written.

    Example:
    ```python
    from keras_learned_rule.meta.disk import clear_write_errors

    with clear_write_errors("notes.txt"), open("notes.txt", "w") as file:
        file.write("learned")
    ```
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"A file of the run cannot be written: {ADVICE.get(error.errno, OTHER_ADVICE)}. "
            f"Received: {os.fspath(path)!r}: {error.strerror}",
        ) from error


def check_writable(folder, process=0):
    """Makes a folder if it is missing, and checks that it takes files.

    Args:
        folder: A `Path`.
        process: Index of the process; each tries a file of its own. Defaults to `0`.

    Raises:
        OSError: It does not.

    Example:
    ```python
    from pathlib import Path
    from keras_learned_rule.meta.disk import check_writable

    check_writable(Path("runs/new"))
    ```
    """
    trial = folder / f".writable.{process}"
    try:
        write_atomically(trial, b"")
        trial.unlink()
    except OSError as error:
        raise OSError(
            error.errno,
            f"run_dir must be a folder that can be written. Received: {os.fspath(folder)!r}: "
            f"{error.strerror}",
        ) from error


@contextlib.contextmanager
def only_user(folder, process=0):
    """Within it, no other process can use the folder of a run.

    The lock ends with the process, however that ends. Disks and systems without such locks are
    used without one.

    Args:
        folder: A `Path` of a folder that exists.
        process: Index of the process in the run; each has a lock of its own. Defaults to `0`.

    Raises:
        OSError: Another process uses the folder.

    Example:
    ```python
    from pathlib import Path
    from keras_learned_rule.meta.disk import only_user

    with only_user(Path(".")):
        Path("metrics.jsonl").touch()
    ```
    """
    with open(folder / f".lock.{process}", "wb") as file:
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(
                error.errno,
                "run_dir must be used by one run at a time: wait for the other, stop it, or give "
                f"another run_dir. Received: {os.fspath(folder)!r}, in use",
            ) from error
        except OSError:
            pass
        yield
