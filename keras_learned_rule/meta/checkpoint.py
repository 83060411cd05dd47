"""Checkpoints: a tree of arrays in one file that is either complete and intact, or noticed."""

import errno
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from keras import tree

from keras_learned_rule.rule.files import remove_unfinished, write_atomically

FORMAT_VERSION, HEADER_KEY, KEPT = 1, "keras_learned_rule_checkpoint", 2


class Checkpoints:
    """The newest checkpoints of one process of a run.

    A file is written beside its final name, synced and renamed, so a kill leaves no half of one
    under that name; a digest notices what disks do.

    Args:
        folder: Where they are.
        process: Index of the process: each has files of its own.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.meta.checkpoint import Checkpoints

    checkpoints = Checkpoints("checkpoints")
    checkpoints.save(10, {"theta": {"a": np.ones(3, "float32")}})
    state = checkpoints.load(checkpoints.newest(), {"theta": {"a": np.zeros(3, "float32")}})
    assert state["theta"]["a"].sum() == 3
    ```
    """

    def __init__(self, folder, process=0):
        self.folder, self._suffix = Path(folder), f".{process}.safetensors"
        remove_unfinished(self.folder, f".update-*{self._suffix}")

    def save(self, update, state):
        """Writes the state after a number of updates, and removes all but the newest files.

        Raises:
            OSError: It cannot be written; older checkpoints stay.
        """
        arrays = dict(_named(state))
        header = {"format_version": FORMAT_VERSION, "update": update, "digest": _digest(arrays)}
        content = safetensors.numpy.save(arrays, {HEADER_KEY: json.dumps(header)})
        try:
            write_atomically(self._path(update), content)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        for old in self._updates()[:-KEPT]:
            self._path(old).unlink(missing_ok=True)

    def newest(self):
        """The number of updates of the newest intact checkpoint, or -1; warns of damaged ones."""
        for update in reversed(self._updates()):
            try:
                _read(self._path(update))
                return update
            except ValueError as error:
                warnings.warn(f"{error} The checkpoint before it is used.", stacklevel=2)
        return -1

    def load(self, update, like):
        """Reads a checkpoint.

        Args:
            update: From `newest`.
            like: A tree of arrays of the structure and shapes that are expected.

        Returns:
            The saved tree.

        Raises:
            ValueError: It is damaged, or of a run with another rule, networks or tasks.
        """
        path = self._path(update)
        arrays = _read(path)
        expected = dict(_named(like))
        other = sorted(
            name
            for name in expected.keys() | arrays.keys()
            if name not in arrays
            or name not in expected
            or arrays[name].shape != np.shape(expected[name])
        )
        if other:
            raise ValueError(
                "A checkpoint must be of the same rule, networks, tasks and estimator as the run. "
                f"Received: {str(path)!r} with other arrays {other[:5]}"
            )
        return tree.pack_sequence_as(like, [arrays[name] for name in expected])

    def _path(self, update):
        return self.folder / f"update-{update:09d}{self._suffix}"

    def _updates(self):
        names = [path.name for path in self.folder.glob(f"update-*{self._suffix}")]
        return sorted(int(name.split("-")[1].split(".")[0]) for name in names)


def _named(state):
    for path, leaf in tree.flatten_with_path(state):
        yield "/".join(map(str, path)), np.array(leaf, order="C")


def _digest(arrays):
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    return digest.hexdigest()


def _read(path):
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            intact = header["digest"] == _digest(arrays)
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        intact = False
    if not intact:
        raise ValueError(f"A checkpoint must be complete. Received: {str(path)!r}, damaged.")
    return arrays


def _cannot_write(folder, error):
    if error.errno == errno.ENOSPC:
        advice = "the disk is full; free some space and start the same command again"
    else:
        advice = "make the folder writable and start the same command again"
    return OSError(
        error.errno,
        f"Checkpoints cannot be written, {advice}. Received: {str(folder)!r}: {error.strerror}",
    )
