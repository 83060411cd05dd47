"""The loop of a meta-training run: updates, log, evaluations, checkpoints, and a clean end."""

import contextlib
import dataclasses
import functools
import signal
import time

import gin
import keras
import numpy as np

from keras_learned_rule.meta.field_checks import check_integer
from keras_learned_rule.meta.metrics import Window

SHOWN, SHOWN_LAST = ("meta_loss", "accuracy", "gradient_norm"), ("held_out_accuracy",)


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Intervals:
    """Meta-updates between records of the log, evaluations and checkpoints."""

    log: int = 10
    evaluate: int = 200
    checkpoint: int = 50

    def __post_init__(self):
        for name, value in vars(self).items():
            check_integer(name, value, least=1)


class Run:
    """The loop of a run, with its log, evaluations and checkpoints."""

    def __init__(
        self, folder, trainer, evaluator, evaluation_steps, intervals, updates, tensorboard
    ):
        self.folder, self.trainer, self.evaluator = folder, trainer, evaluator
        self.evaluation_steps, self.intervals, self.updates = evaluation_steps, intervals, updates
        self.window, self.board = Window(trainer), None
        if tensorboard and trainer.engine.process == 0:
            from keras_learned_rule.meta.tensorboard import TensorBoardLog

            self.board = TensorBoardLog(folder.path / "tensorboard")

    def go(self):
        """Runs what is left of the meta-updates, from the latest checkpoint on."""
        trainer, first, records = self.trainer, self.trainer.updates_done, self.folder.records()
        self.began = time.time() - max((r.get("seconds", 0.0) for r in records), default=0.0)
        self.best = max((r["held_out_accuracy"] for r in records if "evaluation" in r), default=-1)
        self.logged = time.time()
        bar = keras.utils.Progbar(
            self.updates - first, stateful_metrics=SHOWN + SHOWN_LAST, unit_name="update"
        )
        if not records:
            self._evaluate()
            self.folder.checkpoint(trainer)
        with _stop_signals() as stopped:
            while trainer.updates_done < self.updates and not stopped:
                self.window.add(trainer.update())
                bar.update(trainer.updates_done - first, self._after_update(bool(stopped)))
        if self.board:
            self.board.close()
        print(f"\n{_ending(trainer.updates_done, self.updates)}", flush=True)

    def _after_update(self, stopping):
        done, shown = self.trainer.updates_done, []
        last = done == self.updates
        if done % self.intervals.log == 0 or last or stopping:
            record = self._log_window()
            shown += [(name, record[name]) for name in SHOWN if record[name] is not None]
        if done % self.intervals.evaluate == 0 or last:
            shown += self._evaluate()
        if done % self.intervals.checkpoint == 0 or last or stopping:
            self.folder.checkpoint(self.trainer)
        return shown

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
        self._write(record)
        return record

    def _write(self, record):
        self.folder.log(record)
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
            self.folder.save_rule("best", self.trainer, held_out=evaluation)
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


def _ending(done, updates):
    if done < updates:
        return f"Stopped after {done} meta-updates; the same command continues."
    return f"All {updates} meta-updates are done; last.safetensors and best.safetensors hold theta."


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
