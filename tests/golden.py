"""Recordings of the original code, and what this package computes from their inputs.

Every recording is a .npz file; what it holds, and how exact it is, says NAMES.md beside the
recordings. Nothing here knows a single file: sizes, activation and switches come from `info_json`.
"""

import dataclasses
import functools
import json
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from conftest import REFERENCE, ROOT
from keras import ops

from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.unroll import Episode, InnerData, unroll
from keras_learned_rule.rule.mlp import mlp_plan
from keras_learned_rule.rule.neuron import hidden_states
from keras_learned_rule.rule.published import convert_published
from keras_learned_rule.rule.update import forward, layer_signals, unsupervised_update
from keras_learned_rule.rule.update_rule import UpdateRule

# The recordings or, where there are none, extracts of a few that are kept with the tests.
FULL = REFERENCE / "golden"
FOLDER = FULL if FULL.is_dir() else ROOT / "tests" / "data"
CHECKPOINT = REFERENCE / "checkpoint_format" / "tf_graph_data.ckpt"
CLASSES = 10

# How the original calls the sizes of theta.
SIZES = {
    "top_delta_size": "top_width",
    "top_delta_layers": "top_layers",
    "compute_h_size": "hidden_width",
    "compute_h_layers": "hidden_layers",
    "delta_dim": "delta_channels",
    "num_grad_channels": "readout_channels",
}
OBJECTIVE = {
    "ridge_factor": lambda value: {"ridge": value},
    "normalize_y_hat": lambda value: {"normalize_predictions": value},
    "center_y": lambda value: {"center_targets": value},
    "zero_one_labels": lambda value: {"plus_minus_one": not value},
    "hinge_loss": lambda value: {"hinge": value},
    "test_train_scalar": lambda value: {"test_share": value},
    "normalize_act": lambda value: {"normalize_features": value},
}


def recordings(*keys):
    """Names of the recordings of whole steps that hold all of these arrays."""
    names = sorted(path.stem for path in FOLDER.glob("*_seed*.npz"))
    names = [name for name in names if not name.endswith(".f64")]
    return [name for name in names if all(key in load(name) for key in keys)]


@functools.cache
def load(name):
    """A recording as a lazy mapping from key to array, with its float64 companion."""
    files = (FOLDER / f"{name}.npz", FOLDER / f"{name}.f64.npz")
    return Recording(*(np.load(path) for path in files if path.is_file()))


class Recording(dict):
    """Reads an array at its first use."""

    def __init__(self, *files):
        super().__init__()
        self._file_of = {key: file for file in files for key in file.files}

    def __missing__(self, key):
        self[key] = self._file_of[key][key]
        return self[key]

    def __contains__(self, key):
        return key in self._file_of

    def under(self, prefix):
        """The arrays whose key starts with `prefix`/, by the rest of the key."""
        keys = [key for key in self._file_of if key.startswith(f"{prefix}/")]
        return {key.removeprefix(f"{prefix}/"): self[key] for key in keys}

    def layers(self, prefix):
        """The arrays `prefix`/0, `prefix`/1 ... by their index."""
        return {int(key): array for key, array in self.under(prefix).items() if key.isdigit()}


@functools.cache
def read_checkpoint():
    """The rule in the recorded checkpoint of TensorFlow 1."""
    return UpdateRule.from_published(CHECKPOINT)


@functools.cache
def replay(name, dtype="float32"):
    """The `Replay` of a recording; tests of the same recording share what it computed."""
    return Replay(name, dtype)


def objective_spec(arguments):
    """The `ObjectiveSpec` of the original's constructor arguments."""
    fields = [OBJECTIVE[name](value) for name, value in arguments.items()]
    return ObjectiveSpec(**{name: value for field in fields for name, value in field.items()})


class Replay:
    """What this package computes from the inputs of one recording.

    Args:
        name: One of `recordings()`.
        dtype: "float32" or "float64".
    """

    def __init__(self, name, dtype):
        self.recorded, self.dtype = load(name), dtype
        self.info = json.loads(str(self.recorded["info_json"]))
        self.spec, theta = self._theta()
        self.theta = {key: tf.constant(value, dtype) for key, value in theta.items()}
        activation = self.info["learner"].get("activation_fn", "tf.nn.relu").split(".")[-1]
        self.plan = mlp_plan(self.info["n_layers"] + 1, activation, epsilon=1e-6)

    def _theta(self):
        arrays = self.recorded.under("theta")
        # A recording that leaves theta out has it in the checkpoint.
        rule = UpdateRule(*convert_published(arrays)) if arrays else read_checkpoint()
        return dataclasses.replace(rule.spec, learning_rate=self.info["learning_rate"]), rule.theta

    @property
    def weight_layers(self):
        return range(self.info["n_layers"] + 1)

    def state(self, prefix="before"):
        """The network's arrays as recorded under `prefix`."""
        parts = {"w": "forward_w", "b": "forward_b", "v": "backward_w"}
        layers = [
            {key: self.recorded[f"{prefix}/{part}/{i}"] for key, part in parts.items()}
            for i in self.weight_layers
        ]
        return tuple(
            {**{k: self.tensor(a) for k, a in layer.items()}, "b": self.tensor(layer["b"][0])}
            for layer in layers
        )

    def tensor(self, array):
        return tf.constant(array, self.dtype)

    def rows(self, images):
        """Images as the input units see them."""
        flat = images.reshape(*images.shape[: images.ndim - 3], -1)
        if "before/shuffle_ind" in self.recorded:
            flat = flat[..., self.recorded["before/shuffle_ind"]]
        return self.tensor(flat)

    @functools.cached_property
    def before(self):
        return self.state()

    @functools.cached_property
    def signals(self):
        return forward(self.plan, self.before, self.rows(self.recorded["image"]))

    @functools.cached_property
    def hidden(self):
        """(hs, deltas) of the unit layers, in the layout of the recordings."""
        hs, deltas = hidden_states(self.spec, self.theta, self.before, self.signals)
        return [[np.transpose(a, (1, 0, 2)) for a in arrays] for arrays in (hs, deltas)]

    def layer_signals(self, i, direction):
        """What the terms of weight layer i see; "backward" looks at the backward weights."""
        hs = [ops.transpose(h, (1, 0, 2)) for h in self.hidden[0]]
        return layer_signals(self.spec, self.theta, self.before, self.signals, hs, i, direction)

    @functools.cache  # noqa: B019, a recording lives as long as the tests
    def after(self, steps):
        """The state after so many steps on the batch of the recording."""
        return self._step(self.after(steps - 1), self.recorded["image"]) if steps else self.before

    @functools.cache  # noqa: B019
    def unrolled(self, steps):
        """The state after so many of the unrolled steps, each on a batch of its own."""
        if steps < 2:
            return self.after(steps)
        return self._step(self.unrolled(steps - 1), self.recorded["unroll_images"][steps - 1])

    def _step(self, state, images):
        rate, x = self.info["learning_rate"], self.rows(images)
        return unsupervised_update(self.spec, self.theta, self.plan, state, x, rate)[0]

    def labels(self, part):
        """Class indices of the labelled examples; part is "train" or "test"."""
        return self.recorded[f"eval_{part}_label"]

    def labelled(self, by_class=False):
        """Training, then test examples, as recorded or with those of a class together."""
        parts = []
        for part in ("train", "test"):
            order = np.argsort(self.labels(part), kind="stable") if by_class else slice(None)
            parts.append(self.recorded[f"eval_{part}_image"][order])
        return self.rows(np.concatenate(parts))

    def meta_gradients(self, *steps):
        """Gradient of the meta-loss after each of these numbers of unrolled steps, by array."""
        count = max(steps)
        data = InnerData(
            self.rows(self.recorded["unroll_images"])[:count],
            ops.repeat(self.labelled(by_class=True)[None], count, axis=0),
        )
        episode = Episode(
            CLASSES, *(self.labels(part).size // CLASSES for part in ("train", "test"))
        )
        task = SimpleNamespace(episode=episode, network=SimpleNamespace(plan=lambda: self.plan))
        problem = Problem(self.spec, remat=False)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(self.theta)
            losses, _ = unroll(
                make_engine(), problem, task, self.theta, self.before, data, 0, count
            )
            chosen = [losses[k - 1] for k in steps]
        return [tape.gradient(loss, self.theta, unconnected_gradients="zero") for loss in chosen]
