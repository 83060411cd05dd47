"""The folder of a meta-training run: log, checkpoints, theta files, and what it was run with."""

import json
import os
from pathlib import Path

import tensorflow as tf

from keras_learned_rule.rule.files import save_theta, write_atomically

METRICS, CONFIG = "metrics.jsonl", "run.json"


class RunFolder:
    """Files of one run.

    `metrics.jsonl` has one json object a line, `checkpoints/` what a killed run resumes from,
    `last.safetensors` and `best.safetensors` the rules, `run.json` the configuration.

    Args:
        path: The folder; made if missing.
        config: Json-able dict of all that decides the run.

    Raises:
        ValueError: The folder holds a run with another configuration.
        OSError: The folder cannot be written.
    """

    def __init__(self, path, config):
        self.path, self.config = Path(path), config
        self.path.mkdir(parents=True, exist_ok=True)
        self._check_config(json.loads(json.dumps(config)))
        self._manager = None

    def restore(self, trainer):
        """Continues from the newest checkpoint, if there is one.

        Lines of the log that are newer than it are dropped, since they will be written again;
        without a checkpoint that is all of them.

        Returns:
            Whether there was one.
        """
        self._manager = tf.train.CheckpointManager(
            trainer.checkpoint, str(self.path / "checkpoints"), max_to_keep=2
        )
        if self._manager.latest_checkpoint is None:
            self._keep_lines(-1)
            return False
        trainer.checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
        self._keep_lines(trainer.updates_done)
        return True

    def checkpoint(self, trainer):
        """Writes a checkpoint, and theta as `last.safetensors`."""
        self._manager.save(checkpoint_number=trainer.updates_done)
        self.save_rule("last", trainer)

    def save_rule(self, name, trainer, **provenance):
        """Writes the trainer's theta as NAME.safetensors, with the configuration in it."""
        provenance = {"meta_updates": trainer.updates_done, "config": self.config, **provenance}
        spec, theta = trainer.problem.rule, trainer.theta_arrays()
        save_theta(self.path / f"{name}.safetensors", spec, theta, provenance)

    def log(self, record):
        """Appends a dict of numbers to the log."""
        with open(self.path / METRICS, "a") as file:
            file.write(json.dumps(record) + "\n")

    def records(self):
        """The log as a list of dicts; a line that a kill cut off is left out."""
        path = self.path / METRICS
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def _keep_lines(self, updates):
        kept = [r for r in self.records() if r["update"] <= updates]
        text = "".join(json.dumps(r) + "\n" for r in kept)
        write_atomically(self.path / METRICS, text.encode())

    def _check_config(self, config):
        path = self.path / CONFIG
        if not path.exists():
            write_atomically(path, json.dumps(config, indent=1, sort_keys=True).encode())
            return
        before = json.loads(path.read_text())
        changed = sorted(k for k in before.keys() | config.keys() if before.get(k) != config.get(k))
        if changed:
            raise ValueError(
                f"run_dir must be new or hold a run with the same configuration. "
                f"Received: run_dir={os.fspath(self.path)!r} with other values of {changed}"
            )
