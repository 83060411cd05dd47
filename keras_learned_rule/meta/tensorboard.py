"""The log of a run for TensorBoard; needs the package tensorboard, but not TensorFlow."""

import numbers
import time


def scalars(record):
    """Flattens a record of the log to named numbers.

    Args:
        record: Dict with string keys whose values are numbers or such dicts again. Anything else
            in it, and its "update", is left out.

    Returns:
        A dict from tag, the keys joined by "/", to float.

    Example:
    ```python
    from keras_learned_rule.meta.tensorboard import scalars

    record = {"update": 10, "meta_loss": 1.5, "by_data": {"glyphs": {"accuracy": 0.6}}}
    assert scalars(record) == {"meta_loss": 1.5, "by_data/glyphs/accuracy": 0.6}
    ```
    """
    return dict(_flat({k: v for k, v in record.items() if k != "update"}, ()))


def _flat(value, keys):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, (*keys, str(key)))
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        yield "/".join(keys), float(value)


class TensorBoardLog:
    """Writes records of a run as scalars that TensorBoard shows.

    Every log writes a file of its own. The first record hides what other files of the folder hold
    from its update on: a run that was killed and goes on from a checkpoint writes those points
    again.

    Args:
        folder: Folder of the event files; made if missing.

    Raises:
        ImportError: The package tensorboard is missing.
        OSError: The folder cannot be written.

    Example:
    ```python
    from keras_learned_rule.meta.tensorboard import TensorBoardLog

    log = TensorBoardLog("tensorboard")
    log.write({"update": 10, "meta_loss": 1.5})
    log.close()
    ```
    """

    def __init__(self, folder):
        try:
            from tensorboard.compat.proto import event_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError(
                "A log for TensorBoard needs the package tensorboard: "
                "pip install 'keras_learned_rule[tensorboard]'"
            ) from error
        self._proto, self._started = event_pb2, False
        self._writer = EventFileWriter(str(folder))

    def write(self, record):
        """Appends the `scalars` of a record, at its "update", and writes them to disk."""
        step = record["update"]
        if not self._started:
            # TensorBoard drops what a run logged before at this step and later.
            start = self._proto.SessionLog(status=self._proto.SessionLog.START)
            self._add(step, session_log=start)
            self._started = True
        summary = self._proto.Event().summary
        for tag, value in scalars(record).items():
            summary.value.add(tag=tag, simple_value=value)
        self._add(step, summary=summary)
        self._writer.flush()

    def close(self):
        """Closes the file."""
        self._writer.close()

    def _add(self, step, **content):
        self._writer.add_event(self._proto.Event(wall_time=time.time(), step=step, **content))
