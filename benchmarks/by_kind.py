"""Compares thetas on held-out tasks, kind by kind, in several networks.

    python benchmarks/by_kind.py --rule compact --rule runs/night/last.safetensors \
        [--kind warped --kind natural] [--network base --network narrow] --data_dir DIR

Prints a markdown table: few-shot accuracy in per cent of the first rule, and by how much the others
differ from it on the same tasks, mean and standard error over tasks. Kinds (glyphs, photographs,
made vectors) and networks are those of benchmarks/by_kind.gin. One mean over all of them hides what
one kind pays for another.
"""

import dataclasses
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gin
import numpy as np
from absl import app, flags

from keras_learned_rule.configs import parse_gin
from keras_learned_rule.experiments.report import gain_and_error, table
from keras_learned_rule.fit.binding import resolve_rule
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.evaluate import Evaluator
from keras_learned_rule.meta.families import load_families
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.train import train  # noqa: F401 (preset.gin configures it)

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("rule", ["compact"], "Preset or theta file; the first is the reference.")
flags.DEFINE_multi_string("kind", [], "Kinds of tasks; all by default.")
flags.DEFINE_multi_string("network", ["base"], "Networks.")
flags.DEFINE_integer("tasks", 16, "Tasks of each kind.", lower_bound=2)
flags.DEFINE_integer("steps", 300, "Inner steps.", lower_bound=0)
flags.DEFINE_integer("seed", 5, "Seed of tasks, networks and episodes.")
flags.DEFINE_string("data_dir", None, "Folder of the TFDS data sets; default $TFDS_DATA_DIR.")


@gin.configurable
def by_kind(kinds=gin.REQUIRED, networks=gin.REQUIRED):
    """The kinds of tasks, and the networks, by name."""
    return kinds, networks


def chosen(flag, available, names):
    """The entries that a flag names, all of them by default."""
    unknown = [name for name in names if name not in available]
    if unknown:
        raise app.UsageError(f"--{flag} must be one of {list(available)}. Received: {unknown[0]!r}")
    return {name: available[name] for name in names or available}


def accuracies(rules, family, engine):
    """Few-shot accuracies [tasks] of each rule on the same tasks."""
    loaded = load_families([family], FLAGS.seed)
    evaluators = {
        spec: Evaluator(engine, Problem(spec), *loaded, seed=FLAGS.seed)
        for spec in {rule.spec for rule in rules}
    }
    for rule in rules:
        scores = evaluators[rule.spec](rule.theta, FLAGS.steps)
        yield np.concatenate([score.accuracies for score in scores.values()])


def cells(rules, family, engine):
    """The column of a table: the reference's mean, then the paired differences from it."""
    reference, *others = accuracies(rules, family, engine)
    yield f"{100 * reference.mean():.1f}"
    for other in others:
        yield gain_and_error(other, reference)


def main(_):
    if FLAGS.data_dir:
        os.environ["TFDS_DATA_DIR"] = FLAGS.data_dir
    parse_gin([os.path.join(os.path.dirname(__file__), "by_kind.gin")])
    kinds, networks = by_kind()
    kinds, networks = chosen("kind", kinds, FLAGS.kind), chosen("network", networks, FLAGS.network)
    engine, rules = make_engine(), [resolve_rule(name) for name in FLAGS.rule]
    columns = {}
    for network_name, network in networks.items():
        for kind, family in kinds.items():
            name = f"{kind}, {network_name}"
            family = dataclasses.replace(family, networks=network, tasks=FLAGS.tasks)
            columns[name] = list(cells(rules, family, engine))
            print(f"{name}: {columns[name]}", file=sys.stderr, flush=True)
    print(table(["rule", *columns], zip(FLAGS.rule, *columns.values(), strict=True)))


if __name__ == "__main__":
    app.run(main)
