"""Lowers all that meta-training compiles for TPUs, on a machine without one, and checks the HLO.

    python3.11 -m venv tpu
    tpu/bin/pip install tensorflow-tpu==2.20.0 libtpu==0.0.14 .
    tpu/bin/python benchmarks/tpu_lowering.py

TensorFlow for TPUs replaces TensorFlow, hence the environment of its own; a newer libtpu does not
work with it. Prints a table, as in docs/tpu.md, and fails if a program does not lower, or computes
in float64, with dynamic shapes or on the host. What follows on a real TPU, XLA's own compilation
for it, is not done.
"""

import os

if __name__ == "__main__":
    # Before TensorFlow is imported: libtpu shall not ask the network which TPU this is.
    os.environ |= {
        "KERAS_BACKEND": "tensorflow",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_CHIPS_PER_HOST_BOUNDS": "1,1,1",
        "TPU_HOST_BOUNDS": "1,1,1",
    }

import functools
import re
import sys
import time

import numpy as np
from keras import ops, tree

from keras_learned_rule.data.augment import inversion, pixel_noise, rotation, shift_right
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.meta.adam import adam_start
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.evaluate import final_accuracies
from keras_learned_rule.meta.families import TaskFamily, load_families
from keras_learned_rule.meta.meta_step import Shared, bucket_step, meta_update
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.particles import finished_particles
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

RULES = {
    "compact": RuleSpec.compact(),
    "compact, with neuron network": RuleSpec.compact(neuron_network=True),
    "published": RuleSpec.published(),
}
COLUMNS = "rule", "remat", "program", "seconds", "HLO, lines", "custom calls", "problems"
META_STEP, META_UPDATE, EVALUATION = "meta-step", "meta-update", "evaluation"
# Custom calls that every XLA compiler replaces by loops of its own.
EXPANDED = {"Qr", "ProductOfElementaryHouseholderReflectors", "LuDecomposition"}
HOST_OPERATIONS = ("infeed", "outfeed", "send", "recv")


def programs(engine, problem, network, batch=32, truncation=3, tasks=2):
    """What meta-training compiles for a bucket: dict from name to (function, arguments).

    The tasks have all that tasks can have: classes and inputs drawn and permuted, affine and other
    augmentations of images and of tasks, noise, and their coefficients as targets.
    """
    family = TaskFamily(
        [(_random_pictures, 1.0)],
        network,
        buckets=1,
        tasks=tasks,
        size=8,
        channels=3,
        ways=(5, 5),
        batches=(batch,),
        augmentations=[rotation(), shift_right(), inversion(), pixel_noise()],
    )
    (bucket,), (sources,) = load_families([family], seed=0)
    theta = init_theta(problem.rule)
    particles = finished_particles(problem, bucket.spec, theta, tasks)
    shared = Shared(theta, sources.pool, np.float32([5, 10]), np.int32([0, 1]))
    ids, skipped = np.arange(tasks, dtype="int32"), np.float32(0)
    count, rate = np.float32(tasks), np.float32(0.01)
    parts = engine, problem, bucket.spec
    called = {
        META_STEP: (functools.partial(bucket_step, *parts, truncation), (shared, (ids, particles))),
        META_UPDATE: (meta_update, (theta, adam_start(theta), skipped, [theta], count, rate)),
        EVALUATION: (functools.partial(final_accuracies, *parts), (shared, ids)),
    }
    return {
        name: (function, tree.map_structure(ops.convert_to_tensor, arguments))
        for name, (function, arguments) in called.items()
    }


def _random_pictures(size, channels, classes=6, examples=8):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(classes * examples, size, size, channels), dtype="uint8")
    labels = np.repeat(np.arange(classes, dtype="int32"), examples)
    return ImageSet(images, labels, tuple(map(str, range(classes))), "random_pictures")


def lowered(function, arguments, platform):
    """The HLO of a function of TensorFlow for a platform ("CPU", "TPU"), as text."""
    import tensorflow as tf

    compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir(*arguments)(stage="hlo", platform_name=platform)


def custom_calls(hlo):
    """Sorted targets of the custom calls in a program."""
    return sorted(set(re.findall(r'custom_call_target="([^"]*)"', hlo)))


def hlo_problems(hlo):
    """What a program computes that a TPU cannot, or not without the host: a list of phrases."""
    problems = [f"custom call {name}" for name in custom_calls(hlo) if name not in EXPANDED]
    problems += [f"type {name}" for name in ("f64", "c128") if f"{name}[" in hlo]
    if "[<=" in hlo or ",<=" in hlo:
        problems.append("dynamic shapes")
    return problems + [f"host operation {n}" for n in HOST_OPERATIONS if f" {n}(" in hlo]


def main():
    """Lowers every program and prints the table; returns the number of bad ones."""
    engine = make_engine()
    print(f"{engine.described}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    failures = 0
    for name, rule in RULES.items():
        for remat in (False, True):
            problem = Problem(rule, ObjectiveSpec(coefficient_share=0.3), remat=remat)
            found = programs(engine, problem, NetworkSpec((64, 64, 64, 32)))
            for program in (META_STEP,) if remat else found:
                began = time.perf_counter()
                hlo = lowered(*found[program], platform="TPU")
                seconds, problems = time.perf_counter() - began, hlo_problems(hlo)
                failures += bool(problems)
                cells = (
                    name,
                    "yes" if remat else "no",
                    program,
                    f"{seconds:.0f}",
                    f"{hlo.count(chr(10))}",
                    ", ".join(custom_calls(hlo)) or "none",
                    "; ".join(problems) or "none",
                )
                print(f"| {' | '.join(cells)} |", flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main())
