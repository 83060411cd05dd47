"""Checkpoints: a tree of arrays in one file that is either complete and intact, or noticed."""

import hashlib
import json
import os
import warnings
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from keras import tree

from keras_learned_rule.meta.disk import clear_write_errors
from keras_learned_rule.rule.files import remove_unfinished, write_atomically

FORMAT_VERSION, HEADER_KEY, KEPT = 2, "keras_learned_rule_checkpoint", 2
# What a damaged file may lead to while it is read.
NOT_READ = (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError)


class Checkpoints:
    """The newest checkpoints of one process of a run.

    A file is written beside its final name, synced and renamed, so a kill leaves no half of one
    under that name; a digest notices what disks do. Files with other names are left alone.

    Args:
        folder: Where they are.
        process: Index of the process: each has files of its own. Defaults to `0`.
        run: Str, different for runs with different settings: a run goes on from none but its own.
            Defaults to `""`.

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

    def __init__(self, folder, process=0, run=""):
        self.folder, self._suffix, self._run = Path(folder), f".{process}.safetensors", run
        remove_unfinished(self.folder, f".update-*{self._suffix}")

    def save(self, update, state):
        """Writes the state after a number of updates, and removes all but the newest files.

        Raises:
            OSError: It cannot be written; older checkpoints stay.
        """
        arrays = dict(_named(state))
        header = {"format_version": FORMAT_VERSION, "update": update, "run": self._run}
        header["digest"] = _digest(header, arrays)
        content = safetensors.numpy.save(arrays, {HEADER_KEY: json.dumps(header)})
        with clear_write_errors(self._path(update)):
            write_atomically(self._path(update), content)
            for old in [u for u in self._updates() if u <= update][:-KEPT]:
                self._path(old).unlink(missing_ok=True)

    def newest(self):
        """The number of updates of the newest intact checkpoint, or -1; warns of damaged ones.

        Raises:
            ValueError: It is of a run with other settings.
            OSError: It cannot be opened.
        """
        for update in reversed(self._updates()):
            try:
                header, _ = self._read(update)
            except ValueError as error:
                warnings.warn(f"{error} It is passed over.", stacklevel=2)
                continue
            self._check_run(update, header)
            return update
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
        _, arrays = self._read(update)
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
                f"Received: {str(self._path(update))!r} with other arrays {other[:5]}"
            )
        return tree.pack_sequence_as(like, [arrays[name] for name in expected])

    def _path(self, update):
        return self.folder / f"update-{update:09d}{self._suffix}"

    def _updates(self):
        found = []
        for path in self.folder.glob(f"update-*{self._suffix}"):
            number = path.name.removeprefix("update-").removesuffix(self._suffix)
            if number.isdecimal() and path == self._path(int(number)) and path.is_file():
                found.append(int(number))
        return sorted(found)

    def _read(self, update):
        """(header, arrays) of a checkpoint that is intact, and under its own name."""
        path = self._path(update)
        with open(path, "rb"):  # What may not be opened is not damaged.
            pass
        try:
            with safetensors.safe_open(path, framework="np") as file:
                header = json.loads(file.metadata()[HEADER_KEY])
                arrays = {name: file.get_tensor(name) for name in file.keys()}
                digest = header.pop("digest")
            intact = digest == _digest(header, arrays) and header.get("update") == update
        except (*NOT_READ, safetensors.SafetensorError):
            intact = False
        if not intact:
            raise ValueError(f"A checkpoint must be complete. Received: {str(path)!r}, damaged.")
        return header, arrays

    def _check_run(self, update, header):
        if (header.get("format_version"), header.get("run")) != (FORMAT_VERSION, self._run):
            raise ValueError(
                "A run goes on from its own checkpoints alone: give another run_dir, or take the "
                "checkpoints of other runs out of this one. Received: "
                f"{os.fspath(self._path(update))!r} of a run with other settings or of another "
                "version"
            )


def _named(state):
    for path, leaf in tree.flatten_with_path(state):
        yield "/".join(map(str, path)), np.array(leaf, order="C")


def _digest(header, arrays):
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
