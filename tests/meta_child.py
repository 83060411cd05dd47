"""A program of its own for tests that need one: devices, workers, another backend, a kill.

    python meta_child.py '{"out": "theta.npz", ...}'

The settings are those of `SETTINGS`. Set KERAS_BACKEND, and TF_CONFIG for workers, outside.
"""

import json
import os
import random
import signal
import sys
import threading

import numpy as np

SETTINGS = dict(
    out=None,  # Where to write theta.
    updates=3,
    tasks=4,
    engine={},  # Arguments of make_engine.
    table=False,  # Whether random draws come from a table made here, by NumPy.
    problem={},
    exchange=None,  # Meta-trains by `PersistentES` with this `exchange`.
    run_dir=None,  # Runs `train` there instead of single updates.
    kill=None,  # Seconds after the first update, or the name of a moment in `_kill_at`.
    checkpoint_every=1,
)
TABLE = np.random.default_rng(0)
UNIFORM, NORMAL = TABLE.random(4099, "float32"), TABLE.standard_normal(4099).astype("float32")
PRIME = 32749


def table_random(engine):
    """Replaces the engine's random functions by reading the table at places that seeds tell."""
    from keras import ops

    def read(table):
        def draw(seed, shape):
            count = int(np.prod(shape))
            places = (ops.sum(seed) + ops.arange(count, dtype="int32")) % len(table)
            return ops.reshape(ops.take(ops.convert_to_tensor(table), places), shape)

        return draw

    def fold_in(seed, number):
        return (
            seed * 31 + ops.cast(number, "int32") * 1237 + ops.convert_to_tensor([7, 11])
        ) % PRIME

    engine.uniform, engine.normal, engine.fold_in = read(UNIFORM), read(NORMAL), fold_in


def parts(settings):
    from keras_learned_rule.data.synthetic import gaussian_mixture
    from keras_learned_rule.meta.families import TaskFamily
    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.schedule import Horizon
    from keras_learned_rule.rule.spec import RuleSpec

    def source(size, channels):
        return gaussian_mixture(
            size, channels, classes=8, examples=20, dimensions=16, informative=8
        )

    family = TaskFamily(
        [(source, 1.0)],
        NetworkSpec((8, 6)),
        buckets=1,
        tasks=settings["tasks"],
        ways=(3, 3),
        shots=3,
        tests=3,
        batches=(16,),
    )
    rule = RuleSpec.compact(terms=("competition", "decorrelation", "hebb_z"))
    return rule, family, Horizon((4, 9), (2,))


def updates(settings):
    from keras_learned_rule.meta.engine import make_engine
    from keras_learned_rule.meta.estimators import PersistentES
    from keras_learned_rule.meta.families import load_families
    from keras_learned_rule.meta.problem import Problem
    from keras_learned_rule.meta.trainer import MetaTrainer

    engine = make_engine(**settings["engine"])
    import meta_cases  # Not before the engine: it computes with TensorFlow.

    if settings["table"]:
        table_random(engine)
    rule, family, horizon = parts(settings)
    problem = dict(settings["problem"])
    if settings["exchange"]:
        problem["estimator"] = PersistentES(0.05, pairs=2, exchange=settings["exchange"])
    trainer = MetaTrainer(
        engine,
        Problem(rule, **problem),
        *load_families([family], seed=0),
        meta_cases.theta(rule),
        updates=100,
        # Adam divides by the size of the gradient, and with it multiplies what is rounding.
        learning_rate=0.005,
        horizon=horizon,
    )
    for _ in range(settings["updates"]):
        trainer.update()
    assert engine.least(5 + engine.process) == 5
    print(json.dumps({"replicas": engine.replicas, "tensorflow": "tensorflow" in sys.modules}))
    return engine.process, trainer.theta_arrays()


def run(settings):
    from keras_learned_rule.meta.run import Intervals
    from keras_learned_rule.meta.train import train

    rule, family, horizon = parts(settings)
    _kill_at(settings["kill"])
    trainer = train(
        settings["run_dir"],
        rule,
        [family],
        updates=settings["updates"],
        held_out=[family],
        horizon=horizon,
        evaluation_steps=5,
        intervals=Intervals(log=1, evaluate=5, checkpoint=settings["checkpoint_every"]),
    )
    return 0, trainer.theta_arrays()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(moment):
    """Arranges that this process is killed, as from outside, at a moment of its run."""
    from keras_learned_rule.meta.trainer import MetaTrainer

    fsync, replace, update = os.fsync, os.replace, MetaTrainer.update

    def started(trainer):
        MetaTrainer.update = update
        if moment == "writing":
            os.fsync = cut_off
        elif moment == "renaming":
            os.replace = lambda *paths: die()
        elif moment == "renamed":
            os.replace = lambda *paths: (replace(*paths), die())
        else:
            threading.Timer(moment, die).start()
        return update(trainer)

    def cut_off(file):
        size = os.fstat(file).st_size
        os.ftruncate(file, random.Random(size).randrange(size + 1))
        fsync(file)
        die()

    if moment is not None:
        MetaTrainer.update = started


if __name__ == "__main__":
    chosen = {**SETTINGS, **json.loads(sys.argv[1])}
    process, theta = run(chosen) if chosen["run_dir"] else updates(chosen)
    if process == 0 and chosen["out"]:
        np.savez(chosen["out"], **theta)
