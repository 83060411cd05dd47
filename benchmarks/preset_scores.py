"""Scores a preset on characters and data sets that took no part in its meta-training.

    python benchmarks/preset_scores.py [--rule compact] [--tfds mnist --data_dir DIR]

Prints the markdown tables of the preset's card. Data sets: scikit-learn's digits, and others on
request; a network of 4 x 128 -> 32 that `fit` trains without labels.
Characters: those that served neither to meta-train nor to choose theta, with the kinds of tasks
that the rule was meta-trained on. The rule's starting values are scored beside it.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from absl import app, flags

from keras_learned_rule import LearnedRule, UpdateRule, few_shot_accuracy
from keras_learned_rule.data import augment
from keras_learned_rule.data.glyphs import glyphs
from keras_learned_rule.data.splits import IMAGE_DATA, image_arrays
from keras_learned_rule.experiments.report import mean_and_error, table
from keras_learned_rule.fit.binding import resolve_rule
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.evaluate import Evaluator
from keras_learned_rule.meta.families import TaskFamily, load_families
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.rule.theta import init_theta

FLAGS = flags.FLAGS
flags.DEFINE_string("rule", "compact", "Preset or theta file.")
flags.DEFINE_integer("tasks", 12, "Held-out tasks of each kind.")
flags.DEFINE_integer("seeds", 5, "Networks trained on each data set.")
flags.DEFINE_multi_enum("tfds", [], IMAGE_DATA, "Data sets beside the digits.")
flags.DEFINE_string("data_dir", None, "Folder of the TFDS data sets.")

STEPS, LONG_STEPS, BATCH, TEST_EXAMPLES, TASK_SEED = 300, 3000, 128, 3000, 1


MILD = (
    augment.rotation(5.0),
    augment.scaling(0.05),
    augment.aspect(0.05),
    augment.shear(0.05),
    augment.shift_right(0.05),
    augment.shift_down(0.05),
    augment.contrast(0.1),
    augment.inversion(0.3),
)
STRONG = (
    augment.rotation(15.0),
    augment.scaling(0.15),
    augment.aspect(0.15),
    augment.shear(0.2),
    augment.shift_right(0.1),
    augment.shift_down(0.1),
    augment.contrast(0.3),
    augment.brightness(0.1),
    augment.inversion(0.3),
)


def kinds():
    """One family of tasks for each column of the table of unseen characters."""
    return [
        _kind(8, 64, MILD, NetworkSpec((128, 32))),
        _kind(10, 128, MILD, NetworkSpec((128, 128, 32))),
        _kind(14, 64, STRONG, NetworkSpec((64, 64, 64, 32))),
        _kind(8, 96, MILD, NetworkSpec((128, 128, 128, 128, 32))),
        _kind(10, 64, STRONG, NetworkSpec((64, 64, 32), "tanh")),
        _kind(12, 64, STRONG, NetworkSpec((64, 64, 32), batch_norm=False)),
    ]


def _kind(size, batch, augmentations, network):
    return TaskFamily(
        [(unseen_characters, 1.0)],
        network,
        buckets=1,
        tasks=FLAGS.tasks,
        size=size,
        batches=(batch,),
        augmentations=augmentations,
    )


def unseen_characters(size, channels):
    """The glyphs that took no part in meta-training nor in choosing theta."""
    return glyphs(size, channels, part="report")


def held_out_scores(rule):
    """Few-shot accuracies [kinds, tasks] on unseen characters by row of the table."""
    engine, problem = make_engine(), Problem(rule.spec)
    evaluators = [
        Evaluator(engine, problem, *load_families([f], seed=0), TASK_SEED) for f in kinds()
    ]

    def scores(theta, steps):
        return np.array([evaluate(theta, steps)["glyphs"].accuracies for evaluate in evaluators])

    start = init_theta(rule.spec)
    return {
        "untrained": scores(start, 0),
        f"starting values, {STEPS} steps": scores(start, STEPS),
        f"this rule, {STEPS} steps": scores(rule.theta, STEPS),
        f"this rule, {LONG_STEPS} steps": scores(rule.theta, LONG_STEPS),
    }


def print_held_out(rule):
    """The table of unseen characters, with the paired gain of meta-training."""
    rows = held_out_scores(rule)
    names = [f"{family.size**2}-{family.networks}" for family in kinds()]
    cells = [
        [name, mean_and_error(scores.ravel()), *map(mean_and_error, scores)]
        for name, scores in rows.items()
    ]
    print(table(["unseen characters", "all", *names], cells), flush=True)
    start, trained, longer = (scores.ravel() for scores in list(rows.values())[1:])
    print(f"\nGain over the starting values, same tasks: {mean_and_error(trained - start)}")
    print(f"Gain of 10 times as many steps: {mean_and_error(longer - trained)}")


def load(name):
    """Unlabelled examples, test examples and their labels: digits at 8x8, others at 14x14."""
    data = image_arrays(name, 8 if name == "digits" else 14, data_dir=FLAGS.data_dir)
    return data.x_train, data.x_test[:TEST_EXAMPLES], data.y_test[:TEST_EXAMPLES]


def transfer_scores(rule, steps, x, x_test, y_test):
    """10-shot accuracies, by seed, of networks trained on batches of x without labels."""
    scores = []
    for seed in range(FLAGS.seeds):
        keras.utils.set_random_seed(seed)
        network = keras.Sequential([keras.Input(x.shape[1:])])
        for width in (128, 128, 128, 128, 32):
            network.add(keras.layers.Dense(width))
            network.add(keras.layers.BatchNormalization())
            network.add(keras.layers.Activation("relu"))
        network.compile()
        rng = np.random.default_rng(seed)
        seen = x[rng.integers(len(x), size=steps * BATCH)]
        network.fit(seen, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[LearnedRule(rule)])
        scores.append(few_shot_accuracy(network, x_test, y_test, seed=seed).mean)
    return scores


def print_transfer(rule):
    """The table of data sets that took no part in anything."""
    names = ["digits", *FLAGS.tfds]
    sets = [load(name) for name in names]
    start = UpdateRule(rule.spec, init_theta(rule.spec))
    print(f"| 10 labels a class | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}")
    for title, used, steps in (
        (f"starting values, {STEPS} steps", start, STEPS),
        (f"this rule, {STEPS} steps", rule, STEPS),
        (f"this rule, {LONG_STEPS} steps", rule, LONG_STEPS),
    ):
        cells = [mean_and_error(transfer_scores(used, steps, *data)) for data in sets]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def main(argv):
    """Prints both tables."""
    if argv[1:]:
        sys.exit(f"Only flags are allowed. Received: {argv[1:]}")
    rule = resolve_rule(FLAGS.rule)
    print_transfer(rule)
    print()
    print_held_out(rule)


if __name__ == "__main__":
    app.run(main)
