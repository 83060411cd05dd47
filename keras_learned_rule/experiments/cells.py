"""Cells of an experiment: computed once, kept in a json file, and not computed again."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_learned_rule.rule.files import write_atomically


class Group(NamedTuple):
    """Cells that share what is costly to set up; a cell is one seed.

    Attributes:
        name: What is measured, such as "mnist14/vae"; unique in its experiment.
        settings: Json-able dict of all that decides the numbers, besides the seed.
        seeds: Integers.
        prepare: Function without arguments that does the setting up, and returns a function from
            a seed to a json-able result. Not called where no cell is missing.

    Example:
    ```python
    from keras_learned_rule.experiments.cells import Group

    group = Group("double", {}, seeds=range(3), prepare=lambda: lambda seed: {"value": 2 * seed})
    assert group.prepare()(2) == {"value": 4}
    ```
    """

    name: str
    settings: dict
    seeds: Sequence[int]
    prepare: Callable[[], Callable[[int], Any]]


class CellStore:
    """The finished cells of one experiment, in one json file that is always complete.

    Args:
        path: The file; made with the first cell.

    Raises:
        ValueError: The file is there and is not such a file.

    Example:
    ```python
    from keras_learned_rule.experiments.cells import CellStore, Group

    group = Group("double", {}, seeds=range(3), prepare=lambda: lambda seed: {"value": 2 * seed})
    CellStore("results.json").run([group])
    assert CellStore("results.json").results()["double"][2] == {"value": 4}
    ```
    """

    def __init__(self, path):
        self.path = Path(path)
        self._groups = _read(self.path)

    def run(self, groups, replace=False):
        """Computes the cells that are missing, writing the file after each, and shows progress.

        An interrupted run loses the cell it was at and nothing else. Cells of groups and seeds
        that are not asked for are kept.

        Args:
            groups: List of `Group`.
            replace: Whether cells with other settings are dropped and computed again. Defaults to
                `False`: they are an error.

        Raises:
            ValueError: There are cells with other settings, before anything is computed.
        """
        for group in groups:
            self._claim(group, replace)
        missing = [(group, self._missing(group)) for group in groups]
        total = sum(len(seeds) for _, seeds in missing)
        bar = keras.utils.Progbar(total, unit_name="cell") if total else None
        done = 0
        for group, seeds in missing:
            compute = group.prepare() if seeds else None
            for seed in seeds:
                self._groups[group.name]["cells"][str(seed)] = compute(seed)
                self._write()
                done += 1
                bar.update(done)

    def results(self):
        """Returns the finished cells, a dict from group name to a dict from seed to result."""
        return {
            name: {int(seed): cell for seed, cell in group["cells"].items()}
            for name, group in self._groups.items()
        }

    def settings(self):
        """Returns the settings of each group, a dict from group name to dict."""
        return {name: group["settings"] for name, group in self._groups.items()}

    def _claim(self, group, replace):
        settings = json.loads(json.dumps(group.settings))
        stored = self._groups.get(group.name)
        if stored is None or (replace and stored["settings"] != settings):
            self._groups[group.name] = {
                "settings": settings,
                "made_with": _made_with(),
                "cells": {},
            }
            return
        changed = sorted(
            key
            for key in settings.keys() | stored["settings"].keys()
            if settings.get(key) != stored["settings"].get(key)
        )
        if changed:
            raise ValueError(
                "The output folder must be new or hold results with the same settings; --replace "
                f"computes those with other settings again. Received: {os.fspath(self.path)!r} "
                f"with other values of {changed} in {group.name!r}"
            )

    def _missing(self, group):
        finished = self._groups[group.name]["cells"]
        return [seed for seed in group.seeds if str(seed) not in finished]

    def _write(self):
        kept = {name: group for name, group in self._groups.items() if group["cells"]}
        lines = [f"{json.dumps(name)}: {json.dumps(group)}" for name, group in kept.items()]
        # A line for each group keeps files readable, and differences between them too.
        write_atomically(self.path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def _made_with():
    import tensorflow as tf

    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


def _read(path):
    if not path.exists():
        return {}
    try:
        groups = json.loads(path.read_text())
        complete = all({"settings", "cells"} <= group.keys() for group in groups.values())
    except (ValueError, AttributeError):
        complete = False
    if not complete:
        raise ValueError(
            "A results file must be a json file written by this command. "
            f"Received: {os.fspath(path)!r}"
        )
    return groups
