"""Times a step of the bundled rule in `fit`, and one of backpropagation with Adam, side by side.

    python benchmarks/fit_step.py [--rounds 21] [--threads 0]

Networks: *dense*, the paper's base model on 14x14 inputs, and *C1*, three convolutions on 32x32
colour images; 128 examples a batch, for Adam with a softmax head. Times are medians over rounds in
which all take turns, in one process. Peak memory is what a process of its own needs beyond what it
has between steps; compilation does not count. Prints markdown, as in
docs/performance.md.
"""

import os
import platform
import re
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras import layers
from turns import measure

from keras_learned_rule import RuleBinding, learned_rule_step
from keras_learned_rule.experiments.report import table

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 21, "Measurements of each step.", lower_bound=1)
flags.DEFINE_integer("threads", 0, "Threads of TensorFlow; 0: as many as there are cores.")
flags.DEFINE_string("memory_of", None, "Prints the peak memory of one step, such as C1/rule/no.")

BATCH, CLASSES = 128, 10
METHODS = ("rule", "Adam")


def dense_network():
    """The base model: four hidden layers of 128 and an embedding of 32."""
    network = [keras.Input((196,))]
    for width in (128, 128, 128, 128, 32):
        network += [layers.Dense(width, use_bias=False), layers.BatchNormalization()]
        network += [layers.Activation("relu")]
    return keras.Sequential(network)


def conv_network():
    """C1: three convolutions with batch normalisation, pooled in between."""
    network = [keras.Input((32, 32, 3))]
    for width, kernel in ((32, 5), (64, 3), (128, 3)):
        network += [layers.Conv2D(width, kernel, padding="same", use_bias=False)]
        network += [layers.BatchNormalization(), layers.Activation("relu")]
        network += [layers.MaxPooling2D()]
    network[-1] = layers.GlobalAveragePooling2D()
    return keras.Sequential(network)


NETWORKS = {"dense": dense_network, "C1": conv_network}


def rule_step(network, x, compiled):
    """All that `fit` does for one step of the rule, as a function without arguments."""
    binding = RuleBinding(network, total_steps=10**6)
    step = tf.function(learned_rule_step, jit_compile=compiled)
    return lambda: step(binding, x)


def adam_step(network, x, compiled):
    """One step of backpropagation on the network with a softmax head, likewise."""
    network.add(layers.Dense(CLASSES, activation="softmax"))
    network.compile("adam", "sparse_categorical_crossentropy", jit_compile=compiled)
    network.optimizer.build(network.trainable_variables)
    y = tf.constant(np.random.default_rng(0).integers(CLASSES, size=BATCH))
    step = tf.function(network.train_step, jit_compile=compiled)
    return lambda: step((x, y))


def make_step(name, method, compiled):
    """A step by the names of its network and method."""
    network = NETWORKS[name]()
    shape = BATCH, *network.input_shape[1:]
    x = tf.constant(np.random.default_rng(0).random(shape, "float32"))
    return (rule_step if method == "rule" else adam_step)(network, x, compiled)


def peak_memory(name, method, compiled):
    """MB that the process needs for a step beyond what it held before, compilation not counted."""
    step = make_step(name, method, compiled)
    # XLA compiles in the first call, TensorFlow allocates what it keeps.
    step()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # The peak is that from now on.
    before = _status("VmRSS")
    for _ in range(3):
        step()
    return (_status("VmHWM") - before) / 1e3


def _status(name):
    with open("/proc/self/status") as file:
        return int(re.search(rf"{name}:\s+(\d+) kB", file.read()).group(1))


def memory_in_a_child(key):
    """`peak_memory` in a process of its own."""
    name, method, compiled = key
    flag = f"--memory_of={name}/{method}/{'yes' if compiled else 'no'}"
    command = [sys.executable, __file__, flag, f"--threads={FLAGS.threads}"]
    # Otherwise what was freed after the first step stays with the process and is not counted.
    own = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    return float(run.stdout.split()[-1])


def main(argv):
    """Measures everything and prints the table."""
    if argv[1:]:
        sys.exit(f"Only flags are allowed. Received: {argv[1:]}")
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    tf.config.threading.set_inter_op_parallelism_threads(FLAGS.threads)
    if FLAGS.memory_of:
        name, method, compiled = FLAGS.memory_of.split("/")
        print(peak_memory(name, method, compiled == "yes"))
        return
    keys = [(name, m, xla) for name in NETWORKS for xla in (False, True) for m in METHODS]
    load = os.getloadavg()[0]
    times = measure({key: make_step(*key) for key in keys}, FLAGS.rounds)
    memory = {key: memory_in_a_child(key) for key in keys}
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, threads: {FLAGS.threads or 'all'}, load "
        f"before: {load:.1f}, TensorFlow {tf.__version__}, Keras {keras.__version__}, medians of "
        f"{FLAGS.rounds}.\n"
    )
    print(table(*rows(keys, times, memory)))


def rows(keys, times, memory):
    """Head and rows of the table, with ratios to Adam."""
    head = ["network", "XLA", "step", "wall ms", "CPU ms", "MB", "wall", "CPU", "memory"]
    body = []
    for key in keys:
        name, method, xla = key
        own, other = (np.array([*(1e3 * times[k]), memory[k]]) for k in (key, (name, "Adam", xla)))
        ratios = [f"{ratio:.2f}" for ratio in own / other]
        figures = [f"{own[0]:.2f}", f"{own[1]:.2f}", f"{own[2]:.0f}"]
        body.append([name, "yes" if xla else "no", method, *figures, *ratios])
    return head, body


if __name__ == "__main__":
    app.run(main)
