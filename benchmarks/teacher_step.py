"""Times a step of a small network with a teacher beside one without, and beside the base model.

    python benchmarks/teacher_step.py [--threads 1]

Prints a markdown table: milliseconds of a step of `learned_rule_step`, the median over rounds in
which all take turns, in one process.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from absl import app, flags
from turns import measure

from keras_learned_rule import RuleBinding, learned_rule_step
from keras_learned_rule.experiments.networks import BASE_WIDTHS, base_model
from keras_learned_rule.experiments.report import table

FLAGS = flags.FLAGS
flags.DEFINE_integer("threads", 0, "Threads of TensorFlow; 0 for all.", lower_bound=0)
flags.DEFINE_integer("rounds", 25, "Rounds.", lower_bound=1)

INPUTS, BATCH = 196, 128
SMALL = (32, 32, 32, 32, 32)
CASES = {
    "base model": ("compact", BASE_WIDTHS),
    "4 x 32 -> 32, with a teacher": ("compact", SMALL),
    "4 x 32 -> 32, without": ("compact_9", SMALL),
}


def compiled(rule, widths, x, jit_compile):
    """A step as a function without arguments."""
    binding = RuleBinding(base_model(INPUTS, widths), rule, total_steps=10**6)
    step = tf.function(learned_rule_step, jit_compile=jit_compile)
    return lambda: step(binding, x)


def main(_):
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    tf.config.threading.set_inter_op_parallelism_threads(FLAGS.threads)
    x = tf.constant(np.random.default_rng(0).random((BATCH, INPUTS), "float32"))
    runs = {
        (name, jit): compiled(*case, x, jit)
        for name, case in CASES.items()
        for jit in (False, True)
    }
    medians = {key: f"{1e3 * wall:.1f}" for key, (wall, _) in measure(runs, FLAGS.rounds).items()}
    rows = [(name, medians[name, False], medians[name, True]) for name in CASES]
    print(table(["a step in ms", "without XLA", "with XLA"], rows))


if __name__ == "__main__":
    app.run(main)
