"""The log of a run: a json object a line, read whatever state its file is in."""

import json
import sys
import warnings
from pathlib import Path

from keras_learned_rule.meta.disk import clear_write_errors
from keras_learned_rule.rule.files import write_atomically

LOG, ASIDE = "metrics.jsonl", "metrics.set_aside"


class RunLog:
    """`metrics.jsonl` of a run. What it holds never stops the run.

    Args:
        folder: Folder of the run, as a `Path`.
        writes: Whether this process writes the log. Defaults to `True`.

    Example:
    ```python
    from pathlib import Path
    from keras_learned_rule.meta.run_log import RunLog

    log = RunLog(Path("."))
    for update in (10, 20):
        log.append({"update": update})
    log.rewind(10)
    assert log.records() == [{"update": 10}]
    ```
    """

    def __init__(self, folder, writes=True):
        self._path, self._aside, self._writes = folder / LOG, folder / ASIDE, writes

    def append(self, record):
        """Adds a json-able dict with an integer "update".

        Raises:
            OSError: It cannot be written.
        """
        if self._writes:
            with clear_write_errors(self._path), open(self._path, "a") as file:
                file.write(json.dumps(record) + "\n")

    def records(self):
        """The records, as a list of dicts."""
        return read_log(self._path)[0]

    def rewind(self, update):
        """Drops the records after a number of updates: the run will write them again.

        Lines that cannot be read go to the file metrics.set_aside, with a warning. So does the
        whole log of a run that has lost its checkpoints and begins again.

        Args:
            update: Number of updates from which the run goes on; -1 if it begins.

        Raises:
            OSError: It cannot be written.
        """
        if self._writes:
            lines = list(_lines(self._path))
            unreadable = [line for line, record in lines if record is None]
            logged = [(line, record["update"]) for line, record in lines if record is not None]
            lost = [line for line, at in logged if update < 0 < at]
            kept = [line for line, at in logged if at <= update]
            with clear_write_errors(self._path):
                self._set_aside(unreadable, "cannot be read")
                self._set_aside(lost, "are of updates that no checkpoint is left of")
                write_atomically(self._path, b"".join(kept))

    def _set_aside(self, lines, why):
        if lines:
            before = self._aside.read_bytes() if self._aside.exists() else b""
            write_atomically(self._aside, before + b"".join(lines))
            warnings.warn(
                f"Lines of the log {why}; the run goes on without them, and keeps them in "
                f"{self._aside.name}. Received: {len(lines)} such lines in {str(self._path)!r}",
                stacklevel=2,
            )


def read_log(path):
    r"""Reads the log of a run, whatever state it is in.

    Args:
        path: The file; need not exist.

    Returns:
        (records, unreadable): a list of dicts with an integer "update" of at least 0, and the
        number of lines that are none. Blank lines and a last line that a kill has cut off do not
        count.

    Example:
    ```python
    from keras_learned_rule.meta.run_log import read_log

    with open("metrics.jsonl", "wb") as log:
        log.write(b'{"update": 10}\nno json\n{"upd')
    assert read_log("metrics.jsonl") == ([{"update": 10}], 1)
    ```
    """
    records = [record for _, record in _lines(Path(path))]
    return [r for r in records if r is not None], records.count(None)


def finite_number(value):
    """A value of a record as a float, or None if it is no finite number.

    Example:
    ```python
    from keras_learned_rule.meta.run_log import finite_number

    assert [finite_number(value) for value in (3, float("nan"), "3")] == [3.0, None, None]
    ```
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and abs(value) <= sys.float_info.max else None


def _lines(path):
    """(line, record) of each line, as bytes and as a dict or None."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        record, ends = _record(line), line.endswith((b"\n", b"\r"))
        if record is not None or (ends and line.strip()):
            yield line if ends else line + b"\n", record


def _record(line):
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    update = record.get("update") if isinstance(record, dict) else None
    return record if type(update) is int and 0 <= update <= sys.maxsize else None
