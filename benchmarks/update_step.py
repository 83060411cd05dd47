"""Times one update step of each rule on one network; `fit_step.py` compares with backpropagation.

    python benchmarks/update_step.py [--repeats 21] [--threads 1]

The network is the paper's: 4 layers of 128 units and an embedding of 32, batch norm and relu, on
14x14 inputs, 128 examples a batch; compact is the bundled rule. Everything is measured in one run,
taking turns; figures are medians. Prints markdown, as in docs/performance.md.
"""

import os
import platform
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import itertools

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from turns import measure

from keras_learned_rule import UpdateRule
from keras_learned_rule.meta.cost import update_cost
from keras_learned_rule.rule.mlp import init_mlp_state, mlp_plan
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta
from keras_learned_rule.rule.update import unsupervised_update, with_memory

FLAGS = flags.FLAGS
flags.DEFINE_integer("repeats", 21, "Measurements of each step.", lower_bound=1)
flags.DEFINE_integer("threads", 0, "Threads of TensorFlow; 0: as many as there are cores.")

WIDTHS, BATCH = (196, 128, 128, 128, 128, 32), 128
FOUR = "compact, four terms"
RULES = {
    "published": RuleSpec.published(),
    "compact, with neuron network": RuleSpec.compact(neuron_network=True),
    FOUR: RuleSpec.compact(),
    "compact": UpdateRule.from_preset().spec,
}
PEAK, COPY = "matrix product", "copy"
ORIGINAL_CPU_MS = 280.0  # The authors' code on a core of this kind.
MATRIX, COPIED = 2048, 2**26


def rule_step(spec, compiled):
    """A function without arguments that applies the rule once to the network."""
    rng = np.random.default_rng(0)

    def draws():
        pairs = itertools.pairwise(WIDTHS)
        return [tf.constant(rng.standard_normal(pair), tf.float32) for pair in pairs]

    state = with_memory(spec, init_mlp_state(draws(), draws() if spec.neuron_network else None))
    theta = {name: tf.constant(value) for name, value in init_theta(spec).items()}
    plan = mlp_plan(len(state))

    @tf.function(jit_compile=compiled)
    def step(state, x):
        return unsupervised_update(spec, theta, plan, state, x, 1e-4)[0]

    x = tf.constant(rng.random((BATCH, WIDTHS[0])), tf.float32)
    return lambda: step(state, x)


def machine_steps():
    """What the machine can do: a matrix product, and a copy by one core, by name."""
    a = tf.random.normal((MATRIX, MATRIX))
    source, target = np.zeros((2, COPIED), "float32")

    def copy():
        np.copyto(target, source)
        return target

    return {(PEAK, False): tf.function(lambda: tf.matmul(a, a)), (COPY, False): copy}


def costs():
    """The `Cost` of each step by its name."""
    return {name: update_cost(spec, WIDTHS, BATCH) for name, spec in RULES.items()}


def print_steps(seconds, peak, bandwidth):
    """The table of steps against their floors."""
    columns = "step", "XLA", "wall ms", "CPU ms", "GFLOP", "MB", "floor ms", "wall / floor"
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, cost in costs().items():
        floor = max(cost.flop / peak, cost.bytes / bandwidth)
        for compiled in (False, True):
            wall, cpu = seconds[name, compiled]
            cells = (
                name,
                "yes" if compiled else "no",
                f"{1e3 * wall:.2f}",
                f"{1e3 * cpu:.2f}",
                f"{cost.flop / 1e9:.3f}",
                f"{cost.bytes / 1e6:.1f}",
                f"{1e3 * floor:.2f}",
                f"{wall / floor:.1f}",
            )
            print(f"| {' | '.join(cells)} |")


def print_summary(seconds):
    """How the steps compare with each other and with the original code."""
    print("\n| ratio of CPU time | no XLA | XLA |\n| --- | --- | --- |")
    cpu = {key: 1e3 * value[1] for key, value in seconds.items()}
    for title, ratio in {
        f"original (about {ORIGINAL_CPU_MS:.0f} ms) / published": lambda c: (
            ORIGINAL_CPU_MS / cpu["published", c]
        ),
        f"compact / {FOUR}": lambda c: cpu["compact", c] / cpu[FOUR, c],
        "published / compact": lambda c: cpu["published", c] / cpu["compact", c],
    }.items():
        print(f"| {title} | {ratio(False):.1f} | {ratio(True):.1f} |")


def main(argv):
    """Measures everything and prints the tables."""
    if argv[1:]:
        sys.exit(f"Only flags are allowed. Received: {argv[1:]}")
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    tf.config.threading.set_inter_op_parallelism_threads(FLAGS.threads)
    steps = machine_steps()
    for compiled in (False, True):
        for name, spec in RULES.items():
            steps[name, compiled] = rule_step(spec, compiled)
    load = os.getloadavg()[0]
    seconds = measure(steps, FLAGS.repeats)
    peak = 2 * MATRIX**3 / seconds[PEAK, False][0]
    bandwidth = 2 * 4 * COPIED / seconds[COPY, False][0]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, threads: {FLAGS.threads or 'all'}, load "
        f"before: {load:.1f}, TensorFlow {tf.__version__}, Keras {keras.__version__}, medians of "
        f"{FLAGS.repeats}. Matrix product {peak / 1e9:.0f} GFLOP/s, copy {bandwidth / 1e9:.1f} "
        f"GB/s (read and written).\n"
    )
    print_steps(seconds, peak, bandwidth)
    print_summary(seconds)


if __name__ == "__main__":
    app.run(main)
