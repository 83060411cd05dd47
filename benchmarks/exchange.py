"""What evolution strategies send, keep and draw where processes exchange losses.

    python benchmarks/exchange.py [--tasks 256] [--pairs 4]

JAX. For each rule: bytes of a sum of gradients and of a sum of losses, megabytes of perturbations
that each process keeps, and seconds in which it makes the gradient of a bucket again (least and
most of five, after the first). Prints markdown, as in docs/scaling.md.
"""

import functools
import os
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import numpy as np
from absl import app, flags

from keras_learned_rule import RuleSpec, UpdateRule
from keras_learned_rule.experiments.report import table
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.estimators import PersistentES
from keras_learned_rule.meta.losses import gradient_from_losses, no_perturbations
from keras_learned_rule.meta.meta_step import Losses
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.rule.theta import init_theta

FLAGS = flags.FLAGS
flags.DEFINE_integer("tasks", 256, "Tasks of the bucket.", lower_bound=2)
flags.DEFINE_integer("pairs", 4, "Antithetic pairs a task.", lower_bound=1)


def measured(rule):
    """The numbers of a rule, as strings."""
    engine, theta = make_engine(), init_theta(rule)
    problem = Problem(rule, estimator=PersistentES(pairs=FLAGS.pairs, exchange="losses"))
    slopes = np.random.default_rng(0).normal(size=(FLAGS.tasks, FLAGS.pairs))
    losses = Losses(slopes.astype("float32"), np.zeros(FLAGS.tasks, "float32"))
    sums = no_perturbations(problem, theta, FLAGS.tasks)
    sizes = [sum(a.nbytes for a in arrays) for arrays in (theta.values(), losses, sums.values())]
    make = engine.compile_shared(functools.partial(gradient_from_losses, engine, problem))
    seed = np.array([0, 1], "int32")
    theta, seed, losses, sums = (engine.share(a) for a in (theta, seed, losses, sums))
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        _, sums = jax.block_until_ready(make(theta, seed, losses, sums))
        seconds.append(time.perf_counter() - start)
    least, most = min(seconds[1:]), max(seconds[1:])
    return [f"{sizes[0]:,}", f"{sizes[1]:,}", f"{sizes[2] / 1e6:.1f}", f"{least:.2f} to {most:.2f}"]


def main(argv):
    """Measures both rules and prints the table."""
    if argv[1:]:
        sys.exit(f"Only flags are allowed. Received: {argv[1:]}")
    rules = {"compact": UpdateRule.from_preset("compact").spec, "published": RuleSpec.published()}
    head = ["rule", "bytes, gradients", "bytes, losses", "MB kept", "seconds to make the gradient"]
    rows = [[name, *measured(rule)] for name, rule in rules.items()]
    print(f"Load before: {os.getloadavg()[0]:.1f}.\n\n{table(head, rows)}")


if __name__ == "__main__":
    app.run(main)
