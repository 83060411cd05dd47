"""How long it takes to read a model of keras.applications, and to print its summary.

    python benchmarks/reading.py [--model ResNet50]

Seconds of the processor, median of three, for models of 10 classes at 64 x 64 pixels.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from absl import app, flags

from keras_learned_rule import LearnedRule
from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.model.sites import find_sites

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("model", ["ResNet50"], "Names in keras.applications.")
REPEATS = 3


def seconds(function):
    """Median over repeats."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def main(_):
    for name in FLAGS.model:
        make = getattr(keras.applications, name)
        model = make(weights=None, classes=10, input_shape=(64, 64, 3))
        reading = seconds(lambda model=model: find_sites(model, model_inputs(model)))
        summary = seconds(lambda model=model: LearnedRule().summary(model, print_fn=lambda _: None))
        print(f"{name}: reading {reading:.1f} s, summary {summary:.1f} s", flush=True)


if __name__ == "__main__":
    app.run(main)
