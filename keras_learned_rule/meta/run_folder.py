"""The folder of a meta-training run: log, checkpoints, theta files, and what it was run with."""

import contextlib
import difflib
import hashlib
import json
import os
import warnings
import zlib
from pathlib import Path

from keras_learned_rule.meta.checkpoint import Checkpoints
from keras_learned_rule.meta.disk import check_writable, clear_write_errors, only_user
from keras_learned_rule.meta.run_log import LOG, RunLog, finite_number
from keras_learned_rule.rule.files import (
    load_theta,
    remove_unfinished,
    save_theta,
    write_atomically,
)

CONFIG, OPERATIVE, BEST, LAST = "run.json", "config.gin", "best.safetensors", "last.safetensors"


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

    Attributes:
        log: The `RunLog`.
    """

    def __init__(self, path, config, provenance, process=0):
        self.path, self.config, self.provenance = Path(path), config, provenance
        self._process, self._writes = process, process == 0
        self.log = RunLog(self.path, self._writes)

    @contextlib.contextmanager
    def in_use(self):
        """Within it the folder is this run's alone, and ready.

        Raises:
            ValueError: The folder holds a run with another configuration.
            OSError: The folder cannot be written, or another run uses it.
        """
        check_writable(self.path, self._process)
        with only_user(self.path, self._process):
            if self._writes:
                for name in (LOG, CONFIG, OPERATIVE, LAST, BEST):
                    remove_unfinished(self.path, f".{name}")
            config = json.dumps(self.config, sort_keys=True)
            self._check_config(json.loads(config))
            run = hashlib.sha256(config.encode()).hexdigest()
            self._checkpoints = Checkpoints(self.path / "checkpoints", self._process, run)
            yield

    def check_alike(self, engine):
        """Raises ValueError unless all processes have the same settings and versions."""
        versions = self.provenance.get("versions")
        own = zlib.crc32(json.dumps([self.config, versions], sort_keys=True).encode()) // 2
        # All processes have to ask for both.
        if {engine.least(own), -engine.least(-own)} != {own}:
            raise ValueError(
                "All processes of a run must have the same gin configuration and versions. "
                f"Received: others elsewhere than in process {self._process}, which has {versions}"
            )

    def restore(self, trainer):
        """Continues from the newest checkpoint that all processes have, if there is one.

        Lines of the log that are newer than it are dropped, since they will be written again;
        without a checkpoint that is all of them.

        Returns:
            Whether there was one.

        Raises:
            ValueError: The checkpoint is of another run. Nothing has changed.
        """
        update = trainer.engine.least(self._checkpoints.newest())
        if update >= 0:
            trainer.restore(self._checkpoints.load(update, trainer.state()), update)
        self.log.rewind(update)
        self._write_config()
        if update >= 0 and self._provenance(LAST).get("meta_updates") != update:
            self.save_rule(LAST, trainer)
        return update >= 0

    def checkpoint(self, trainer):
        """Writes a checkpoint, and theta as `last.safetensors`."""
        self._checkpoints.save(trainer.updates_done, trainer.state())
        self.save_rule(LAST, trainer)

    def save_rule(self, name, trainer, **provenance):
        """Writes the trainer's theta as a file, with all that says where it came from."""
        if self._writes:
            provenance = {
                "meta_updates": trainer.updates_done,
                "config": self.config,
                **self.provenance,
                **provenance,
            }
            spec, theta = trainer.problem.rule, trainer.theta_arrays()
            with clear_write_errors(self.path / name):
                save_theta(self.path / name, spec, theta, provenance)

    def best_accuracy(self):
        """The held-out accuracy of `best.safetensors`, or -1 without a file that can be read."""
        accuracy = finite_number(self._provenance(BEST).get("held_out_accuracy"))
        return -1.0 if accuracy is None else accuracy

    def theta_files(self):
        """The names of the theta files that are there."""
        return [name for name in (LAST, BEST) if (self.path / name).exists()]

    def _provenance(self, name):
        """Of a theta file; empty if it is missing or, with a warning, damaged."""
        try:
            return load_theta(self.path / name)[2]
        except FileNotFoundError:
            return {}
        except ValueError as error:
            warnings.warn(f"{error} The run goes on as without this file.", stacklevel=2)
            return {}

    def _check_config(self, config):
        path = self.path / CONFIG
        before = _config_of(path) if path.exists() else config
        if before != config:
            raise ValueError(
                "run_dir must be new or hold a run with the same configuration. Received: "
                f"run_dir={os.fspath(self.path)!r} with {_difference(before, config)}"
            )

    def _write_config(self):
        if self._writes and not (self.path / CONFIG).exists():
            content = {"config": self.config, **self.provenance}
            with clear_write_errors(self.path / CONFIG):
                operative = self.provenance["operative_config"]
                write_atomically(self.path / OPERATIVE, operative.encode())
                # Last: what a kill has left out is written again.
                content = json.dumps(content, indent=1, sort_keys=True)
                write_atomically(self.path / CONFIG, content.encode())


def _config_of(path):
    try:
        return json.loads(path.read_bytes())["config"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{CONFIG} must be as the run has written it. Remove it and start again: checkpoints "
            f"also tell whether the settings are the same. Received: {os.fspath(path)!r}, damaged"
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
