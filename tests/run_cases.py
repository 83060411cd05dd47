"""Whole runs in milliseconds: the loop, its folder and its log around a trainer of NumPy arrays."""

import contextlib
import json
import os

import meta_cases
import numpy as np

from keras_learned_rule.meta.engines.base import Engine
from keras_learned_rule.meta.evaluate import Score
from keras_learned_rule.meta.families import Bucket
from keras_learned_rule.meta.meta_step import TaskResult
from keras_learned_rule.meta.pool import Sources
from keras_learned_rule.meta.run import Intervals, Run
from keras_learned_rule.meta.run_folder import RunFolder
from keras_learned_rule.meta.trainer import BucketResult

UPDATES = 12
RATES = ("seconds", "updates_a_second", "inner_steps_a_second")
TASKS, TRUNCATION = 2, 3


class Killed(BaseException):
    """In the place of a SIGKILL."""


class ToyEngine(Engine):
    """A process of its own, without devices."""

    def fetch_spread(self, tree):
        return tree


class ToyTrainer:
    """What `Run` asks of a `MetaTrainer`; theta moves by random numbers.

    Args:
        diverges: Updates after which no task has a finite gradient any more.
        killed: Updates after which the process is killed, in the midst of the next.
    """

    def __init__(self, diverges=10**9, killed=None):
        self.engine, self.problem = ToyEngine(), meta_cases.problem()
        self.buckets = [Bucket(None, 0, TASKS, "toys")]
        self.sources = [Sources(("toys",), (4,), None)]
        self.theta, self.skipped, self.updates_done = meta_cases.theta(), np.float32(0), 0
        self._diverges, self._killed = diverges, killed

    def update(self):
        if self.updates_done == self._killed:
            raise Killed
        rng, finite = self._rng(), self.updates_done < self._diverges
        if finite:
            moved = {n: a + rng.normal(size=a.shape) for n, a in self.theta.items()}
            self.theta = {n: a.astype("float32") for n, a in moved.items()}
        self.skipped = np.float32(0 if finite else self.skipped + 1)
        self.updates_done += 1
        losses = rng.random((TASKS, TRUNCATION))
        norm, zeros = np.full(TASKS, 1.0 if finite else np.nan), np.zeros(TASKS, "int32")
        result = TaskResult(losses, losses, norm, zeros, zeros, zeros > 0)
        return [BucketResult(0, TRUNCATION, result)]

    def _rng(self):
        return np.random.default_rng(self.updates_done)

    @property
    def skipped_updates(self):
        return int(self.skipped)

    def theta_arrays(self):
        return self.theta

    def state(self):
        return {"theta": self.theta, "skipped": self.skipped}

    def restore(self, state, updates_done):
        self.theta, self.skipped = state["theta"], state["skipped"]
        self.updates_done = updates_done


def toy_score(theta):
    """Held-out accuracy of a theta: any function of it that goes up and down."""
    return float(np.modf(np.abs(theta["merge/step"]).sum() * 10)[0])


def _toy_evaluator(theta, steps):
    accuracy = toy_score(theta) if steps else 0.0
    return {"toys": Score(accuracy, 0.1, np.array([accuracy]))}


def run(folder, trainer=None, updates=UPDATES, max_skipped=4, held_out=True, **config):
    """Runs, or goes on, as `train` does; the trainer."""
    trainer = trainer or ToyTrainer()
    config = {"updates": updates, "max_skipped": max_skipped, **config}
    evaluator = _toy_evaluator if held_out else lambda theta, steps: {}
    intervals = Intervals(log=2, evaluate=3, checkpoint=2)
    kept = RunFolder(folder, config, {"operative_config": "updates = 12"})
    Run(kept, trainer, evaluator, 5, intervals, updates, max_skipped).go()
    return trainer


def killed_run(folder, after, **settings):
    """A run that is killed after a number of updates."""
    with contextlib.suppress(Killed):
        run(folder, ToyTrainer(killed=after), **settings)


def records(folder):
    """The log, without what differs between equal runs."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in RATES} for line in lines]


def files(folder):
    """All files but the log, as bytes by name."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if not path.name.startswith("metrics.")
    }


def kill_at(monkeypatch, moment, half):
    """Kills the process at the n-th time that it renames a file or adds to the log.

    Args:
        monkeypatch: pytest's.
        moment: n, from 0.
        half: Whether the rename is done, or the line of the log half written, before.

    Returns:
        List of what has been done so far; as long as `moment` only if there was a kill.
    """
    done, replace, dumps = [], os.replace, json.dumps

    def renamed(*paths):
        done.append("rename")
        kills = len(done) == moment + 1
        if half or not kills:
            replace(*paths)
        if kills:
            raise Killed

    def appended(log, record):
        done.append("append")
        line = dumps(record) + "\n"
        kills = len(done) == moment + 1
        with open(log._path, "a") as file:
            file.write(line[: len(line) // 2] if half and kills else line * (not kills))
        if kills:
            raise Killed

    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr("keras_learned_rule.meta.run_log.RunLog.append", appended)
    return done
