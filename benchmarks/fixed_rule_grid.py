"""Tunes the fixed rule of competition and decorrelation on characters, and on nothing else.

    python benchmarks/fixed_rule_grid.py [--tasks 6]

Every combination of coefficients trains the base model (4 hidden layers of 128, embedding of 32)
for 300 steps on mildly distorted glyphs of 10 characters that meta-training leaves alone; 10-shot
accuracy on other fonts' drawings of them. Prints the table of docs/experiments.md; the best
combination is what `fixed_rule()` has as defaults.
"""

import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from absl import app, flags
from keras import ops

from keras_learned_rule.baselines.fixed_rule import fixed_rule
from keras_learned_rule.data import augment
from keras_learned_rule.data.glyphs import glyph_set
from keras_learned_rule.experiments.networks import BASE_WIDTHS
from keras_learned_rule.experiments.report import mean_and_error, table
from keras_learned_rule.experiments.scores import accuracy
from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
from keras_learned_rule.rule.update import forward, inner_rate, unsupervised_update

FLAGS = flags.FLAGS
flags.DEFINE_integer("tasks", 6, "Draws of 10 characters.")

DECORRELATIONS, TEMPERATURES, STEPS = (0.03, 0.1, 0.3), (0.125, 0.25, 0.5), (0.03, 0.05, 0.1)
INNER_STEPS, BATCH, SIDE, WAYS = 300, 128, 14, 10
UNLABELLED, TESTS = 4000, 600
MILD = (
    augment.rotation(5.0),
    augment.scaling(0.05),
    augment.aspect(0.05),
    augment.shear(0.05),
    augment.shift_right(0.05),
    augment.shift_down(0.05),
)


def make_task(glyphs, seed):
    """Unlabelled and test images `[n, 196]` of 10 characters, drawn with different fonts."""
    rng = np.random.default_rng(seed)
    rows = glyphs.class_table()
    rows = rows[rng.choice(len(rows), WAYS, replace=False)]
    half = rows.shape[1] // 2
    x, _ = _draw(glyphs, rows[:, :half], UNLABELLED, rng)
    return x, *_draw(glyphs, rows[:, half:], TESTS, rng)


def _draw(glyphs, rows, count, rng):
    labels = np.arange(count) % WAYS
    chosen = rows[labels, rng.integers(rows.shape[1], size=count)]
    images = ops.convert_to_tensor(glyphs.images[chosen].astype("float32") / 255)
    coefficients = ops.convert_to_tensor(rng.uniform(-1, 1, (count, len(MILD))).astype("float32"))
    distorted = ops.average_pool(augment.augmented(MILD, images, coefficients), 28 // SIDE)
    return np.reshape(distorted, (count, -1)), labels


PLAN = mlp_plan(len(BASE_WIDTHS))


@tf.function
def inner_loop(spec, theta, state, x, seed):
    """The state after all steps; theta is an argument, so that all combinations share a trace."""

    def step(k, state):
        rows = tf.random.stateless_uniform([BATCH], tf.stack([seed, k]), 0, len(x), tf.int32)
        rate = inner_rate(spec, k, INNER_STEPS)
        return unsupervised_update(spec, theta, PLAN, state, tf.gather(x, rows), rate)[0]

    return ops.fori_loop(0, INNER_STEPS, step, state)


def score(rule, task, seed):
    """10-shot accuracy of one network."""
    x, x_test, y_test = task
    rng = np.random.default_rng(seed)
    widths = (SIDE * SIDE, *BASE_WIDTHS)
    draws = [rng.standard_normal(s).astype("float32") for s in itertools.pairwise(widths)]
    state = init_mlp_state([ops.convert_to_tensor(draw) for draw in draws])
    theta = {name: tf.constant(array) for name, array in rule.theta.items()}
    state = inner_loop(rule.spec, theta, state, tf.constant(x), tf.constant(seed))
    # All test examples in one batch, so that their statistics are those of the data.
    return accuracy(np.asarray(forward(PLAN, state, x_test).xs[-1]), y_test, seed)


def main(argv):
    """Prints the grid, best first."""
    del argv
    glyphs = glyph_set().part("choose", 0.2)
    tasks = [make_task(glyphs, seed) for seed in range(FLAGS.tasks)]
    rows = []
    for combination in itertools.product(DECORRELATIONS, TEMPERATURES, STEPS):
        rule = fixed_rule(*combination)
        scores = [score(rule, task, seed) for seed, task in enumerate(tasks)]
        rows.append((np.mean(scores), [*combination, mean_and_error(scores)]))
        print(rows[-1], flush=True)
    rows.sort(key=lambda row: -row[0])
    print(table(["decorrelation", "temperature", "step", "accuracy"], [row for _, row in rows]))


if __name__ == "__main__":
    app.run(main)
