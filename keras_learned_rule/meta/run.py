"""The loop of a meta-training run: updates, log, evaluations, checkpoints, and a clean end."""

import contextlib
import dataclasses
import functools
import signal
import time

import gin
import keras
import numpy as np

from keras_learned_rule.checks import check_fields, integer
from keras_learned_rule.meta.metrics import Window
from keras_learned_rule.meta.run_folder import BEST
from keras_learned_rule.meta.run_log import finite_number

SHOWN, SHOWN_LAST = ("meta_loss", "accuracy", "gradient_norm"), ("held_out_accuracy",)


class LostProcessError(ConnectionError):
    """Another process of the run has ended."""


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Intervals:
    """Meta-updates between records of the log, evaluations and checkpoints."""

    log: int = 10
    evaluate: int = 200
    checkpoint: int = 50

    def __post_init__(self):
        check_fields(self, dict.fromkeys(("log", "evaluate", "checkpoint"), integer(least=1)))


class Run:
    """The loop of a run, with its log, evaluations and checkpoints.

    Args:
        folder: A `RunFolder`.
        trainer: A `MetaTrainer`.
        evaluator: An `Evaluator`.
        evaluation_steps: Inner steps of the evaluations.
        intervals: An `Intervals`.
        updates: Number of meta-updates of the whole run.
        max_skipped_updates: So many skipped meta-updates in a row end the run.
        tensorboard: Whether to write TensorBoard files. Defaults to `False`.
    """

    def __init__(
        self,
        folder,
        trainer,
        evaluator,
        evaluation_steps,
        intervals,
        updates,
        max_skipped_updates,
        tensorboard=False,
    ):
        self.folder, self.trainer, self.evaluator = folder, trainer, evaluator
        self.evaluation_steps, self.intervals, self.updates = evaluation_steps, intervals, updates
        self.max_skipped_updates = max_skipped_updates
        self.window, self.board = Window(trainer), None
        self._tensorboard = tensorboard and trainer.engine.process == 0

    def go(self):
        """Does what is left of the run.

        Raises:
            FloatingPointError: The run has diverged. All that it leaves has been written.
            ValueError: The folder holds another run. Nothing has changed.
            OSError: The folder cannot be written, or another run uses it; as `LostProcessError`,
            another process of the run has ended.
        """
        with self.folder.in_use():
            with self._together():
                self._begin()
                with _stop_signals() as stopped:
                    self._loop(stopped)
            if self.board:
                self.board.close()
            if self._diverged:
                raise FloatingPointError(self._divergence())
            print(f"\n{self._ending()}", flush=True)

    def _begin(self):
        self.folder.check_alike(self.trainer.engine)
        restored = self.folder.restore(self.trainer)
        if self._tensorboard:
            from keras_learned_rule.meta.tensorboard import TensorBoardLog

            self.board = TensorBoardLog(self.folder.path / "tensorboard")
        seconds = [finite_number(r.get("seconds")) or 0.0 for r in self.folder.log.records()]
        self.began = time.time() - max(seconds, default=0.0)
        self.logged = time.time()
        self.best, self.skipped = self.folder.best_accuracy(), self.trainer.skipped_updates
        if restored:
            done = self.trainer.updates_done
            print(f"Continuing {self.folder.path} after {done} meta-updates", flush=True)
        else:
            self._evaluate()
            self.folder.checkpoint(self.trainer)

    def _loop(self, stopped):
        trainer, first = self.trainer, self.trainer.updates_done
        bar = keras.utils.Progbar(
            self.updates - first, stateful_metrics=SHOWN + SHOWN_LAST, unit_name="update"
        )
        while trainer.updates_done < self.updates and not stopped and not self._diverged:
            self.window.add(trainer.update())
            bar.update(trainer.updates_done - first, self._after_update(bool(stopped)))

    def _after_update(self, stopping):
        done, shown = self.trainer.updates_done, []
        last = done == self.updates
        if done % self.intervals.log == 0 or last or stopping:
            record = self._log_window()
            shown += [(name, record[name]) for name in SHOWN if record[name] is not None]
        if done % self.intervals.evaluate == 0 or last:
            shown += self._evaluate()
        if done % self.intervals.checkpoint == 0 or last or stopping or self._diverged:
            self.folder.checkpoint(self.trainer)
        return shown

    @contextlib.contextmanager
    def _together(self):
        """Says what it means where another process of the run has ended."""
        try:
            yield
        except Exception as error:
            if not self.trainer.engine.lost_process(error):
                raise
            raise LostProcessError(
                "All processes of a run must live as long as it. Start all of them again: they go "
                f"on from the newest checkpoint in {self.folder.path}. "
                f"Received: {str(error).splitlines()[0]}"
            ) from error

    @property
    def _diverged(self):
        return self.skipped >= self.max_skipped_updates

    def _log_window(self):
        now, inner_steps = time.time(), self.window.inner_steps
        updates = self.window.updates
        record = self.window.record()
        elapsed, self.logged = max(now - self.logged, 1e-9), now
        record = {
            "update": self.trainer.updates_done,
            "seconds": round(now - self.began, 3),
            "updates_a_second": updates / elapsed,
            "inner_steps_a_second": inner_steps / elapsed,
            **record,
        }
        self.skipped = record["skipped_updates"]
        if self._diverged:
            record["stopped"] = "diverged"
        self._write(record)
        return record

    def _write(self, record):
        self.folder.log.append(record)
        if self.board:
            self.board.write(record)

    def _evaluate(self):
        """Scores theta on held-out tasks, and keeps it if none before scored better."""
        scores = self.evaluator(self.trainer.theta_arrays(), self.evaluation_steps)
        if not scores:
            return []
        accuracy = float(np.mean([score.mean for score in scores.values()]))
        evaluation = {
            name: {
                "accuracy": score.mean,
                "standard_error": score.standard_error,
                "random": self._random[name].mean,
                "random_standard_error": self._random[name].standard_error,
            }
            for name, score in scores.items()
        }
        if accuracy > self.best:
            self.best = accuracy
            scored = {"held_out": evaluation, "held_out_accuracy": accuracy}
            self.folder.save_rule(BEST, self.trainer, **scored)
        # Logged last: a run killed before this line evaluates again.
        self._write(
            {
                "update": self.trainer.updates_done,
                "held_out_accuracy": accuracy,
                "evaluation": evaluation,
            }
        )
        self.logged = time.time()
        return [("held_out_accuracy", accuracy)]

    @functools.cached_property
    def _random(self):
        return self.evaluator(self.trainer.theta_arrays(), steps=0)

    def _ending(self):
        done = self.trainer.updates_done
        if done < self.updates:
            return f"Stopped after {done} meta-updates; the same command continues."
        skipped = f", the last {self.skipped} without a finite meta-gradient" * (self.skipped > 0)
        files = " and ".join(self.folder.theta_files())
        return f"All {self.updates} meta-updates are done{skipped}. Theta files: {files}"

    def _divergence(self):
        best = str(self.folder.path / BEST)
        kept = f"start it from the best theta (train.start_from = {best!r})"
        if BEST not in self.folder.theta_files():
            kept = "name held-out tasks (train.held_out), for which the best theta is kept"
        return (
            f"Meta-training has diverged after {self.trainer.updates_done} meta-updates: no task "
            "has a finite meta-gradient, and theta stands still. In another run_dir, take a lower "
            f"train.learning_rate, or {kept}. Received: {self.skipped} such meta-updates in a row, "
            f"with train.max_skipped_updates = {self.max_skipped_updates}"
        )


@contextlib.contextmanager
def _stop_signals():
    """Yields a list that is empty until SIGINT or SIGTERM asks to stop."""
    received = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for s in before:
        signal.signal(s, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
