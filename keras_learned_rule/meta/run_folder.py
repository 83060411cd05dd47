"""The folder of a meta-training run: log, checkpoints, theta files, and what it was run with."""

import difflib
import json
import os
from pathlib import Path

from keras_learned_rule.meta.checkpoint import Checkpoints
from keras_learned_rule.rule.files import remove_unfinished, save_theta, write_atomically

METRICS, CONFIG = "metrics.jsonl", "run.json"


class RunFolder:
    """Files of one run, written by process 0 but for the checkpoints, which every process has.

    `metrics.jsonl` has one json object a line, `checkpoints/` what a killed run resumes from,
    `last.safetensors` and `best.safetensors` the rules, `run.json` the configuration, versions
    and git revision, `config.gin` the operative gin configuration.

    Args:
        path: The folder; made if missing.
        config: Json-able dict of all that decides the run.
        provenance: Json-able dict of versions and revision, for `run.json` and theta files.
        process: Index of this process.

    Raises:
        ValueError: The folder holds a run with another configuration.
        OSError: The folder cannot be written.
    """

    def __init__(self, path, config, provenance, process=0):
        self.path, self.config, self.provenance = Path(path), config, provenance
        self._writes = process == 0
        _check_writable(self.path, process)
        if self._writes:
            for name in (METRICS, CONFIG, "config.gin", "last.safetensors", "best.safetensors"):
                remove_unfinished(self.path, f".{name}")
        self._check_config(json.loads(json.dumps(config)))
        self._checkpoints = Checkpoints(self.path / "checkpoints", process)

    def restore(self, trainer):
        """Continues from the newest checkpoint that all processes have, if there is one.

        Lines of the log that are newer than it are dropped, since they will be written again;
        without a checkpoint that is all of them.

        Returns:
            Whether there was one.
        """
        update = trainer.engine.least(self._checkpoints.newest())
        if update >= 0:
            trainer.restore(self._checkpoints.load(update, trainer.state()), update)
        self._keep_lines(update)
        return update >= 0

    def checkpoint(self, trainer):
        """Writes a checkpoint, and theta as `last.safetensors`."""
        self._checkpoints.save(trainer.updates_done, trainer.state())
        self.save_rule("last", trainer)

    def save_rule(self, name, trainer, **provenance):
        """Writes the trainer's theta as NAME.safetensors, with all that says where it came from."""
        if self._writes:
            provenance = {
                "meta_updates": trainer.updates_done,
                "config": self.config,
                **self.provenance,
                **provenance,
            }
            spec, theta = trainer.problem.rule, trainer.theta_arrays()
            save_theta(self.path / f"{name}.safetensors", spec, theta, provenance)

    def log(self, record):
        """Appends a dict to the log."""
        if self._writes:
            with open(self.path / METRICS, "a") as file:
                file.write(json.dumps(record) + "\n")

    def records(self):
        """The log as a list of dicts; a line that a kill cut off is left out."""
        path = self.path / METRICS
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def _keep_lines(self, update):
        if self._writes:
            kept = [r for r in self.records() if r["update"] <= update]
            text = "".join(json.dumps(r) + "\n" for r in kept)
            write_atomically(self.path / METRICS, text.encode())

    def _check_config(self, config):
        path = self.path / CONFIG
        if path.exists():
            before = json.loads(path.read_text())["config"]
            if before != config:
                raise ValueError(
                    "run_dir must be new or hold a run with the same configuration. Received: "
                    f"run_dir={os.fspath(self.path)!r} with {_difference(before, config)}"
                )
        elif self._writes:
            content = {"config": config, **self.provenance}
            write_atomically(path, json.dumps(content, indent=1, sort_keys=True).encode())
            operative = self.provenance["operative_config"]
            write_atomically(self.path / "config.gin", operative.encode())


def _check_writable(path, process):
    trial = path / f".writable.{process}"
    try:
        write_atomically(trial, b"")
        trial.unlink()
    except OSError as error:
        raise OSError(
            error.errno,
            f"run_dir must be a folder that can be written. Received: {os.fspath(path)!r}: "
            f"{error.strerror}",
        ) from error


def _difference(before, now):
    """What differs between two configurations, a line each."""
    lines = [json.dumps(config, indent=0, sort_keys=True).splitlines() for config in (before, now)]
    lines = [[part for line in side for part in line.split("\\n")] for side in lines]
    changed = [
        line
        for line in difflib.unified_diff(*lines, lineterm="", n=0)
        if line[0] in "+-" and line[:3] not in ("+++", "---")
    ]
    return "other settings (- as it was, + as given):\n" + "\n".join(changed[:12])
