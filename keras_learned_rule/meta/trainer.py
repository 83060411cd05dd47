"""The state of meta-training and the compiled update of it, on any engine."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from keras import tree

from keras_learned_rule.checks import check, integer, optional
from keras_learned_rule.meta.adam import adam_start
from keras_learned_rule.meta.losses import gradient_from_losses, no_perturbations
from keras_learned_rule.meta.meta_step import Shared, bucket_step, meta_update
from keras_learned_rule.meta.particles import finished_particles


class BucketResult(NamedTuple):
    """What a bucket reports of a meta-update: its index, K, and a `TaskResult` on the engine."""

    bucket: int
    truncation: int
    results: Any


class MetaTrainer:
    """theta, Adam and the particles, advanced by compiled functions.

    Random numbers are functions of the seed and the number of updates done, so that a restored
    trainer goes on as if it had never stopped, and of a task's index, so that they do not depend
    on how tasks are spread over replicas.

    Args:
        engine: An `Engine`.
        problem: A `Problem`.
        buckets: List of `Bucket`.
        pools: List of `Sources` that the buckets index.
        theta: Dict of starting arrays.
        updates: Number of meta-updates over which the learning rate falls to zero as a cosine.
        learning_rate: Adam's, at the start.
        horizon: A `Horizon`.
        buckets_a_update: How many buckets, drawn anew each time, a meta-update uses; None for all.
        seed: Integer.

    Attributes:
        sources: The pools, as given.
        updates_done: Number of meta-updates done.
        programs: Set of (bucket, truncation) that have been compiled.

    Raises:
        ValueError: A bucket's tasks do not divide evenly over the replicas, there are fewer
            buckets than `buckets_a_update`, or the engine cannot vectorise.

    Example:
    ```python
    from keras_learned_rule.data.synthetic import gaussian_mixture
    from keras_learned_rule.meta.engine import make_engine
    from keras_learned_rule.meta.families import TaskFamily, load_families
    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.problem import Problem
    from keras_learned_rule.meta.schedule import Horizon
    from keras_learned_rule.meta.trainer import MetaTrainer
    from keras_learned_rule.rule.spec import RuleSpec
    from keras_learned_rule.rule.theta import init_theta

    rule = RuleSpec.compact(terms=("competition",))
    family = TaskFamily([(gaussian_mixture, 1.0)], NetworkSpec((8,)), buckets=1, ways=(3, 3))
    buckets, pools = load_families([family], seed=0)
    trainer = MetaTrainer(
        make_engine(), Problem(rule), buckets, pools, init_theta(rule), updates=1000,
        horizon=Horizon((5, 10), (2,)),
    )
    results = trainer.update()
    ```
    """

    def __init__(
        self,
        engine,
        problem,
        buckets,
        pools,
        theta,
        updates,
        learning_rate=0.02,
        horizon=None,
        buckets_a_update=None,
        seed=0,
    ):
        _check_tasks(engine, buckets, buckets_a_update)
        _check_vectorize(engine, problem)
        self.engine, self.problem, self.buckets = engine, problem, buckets
        self.horizon, self.seed, self.updates_done = horizon, seed, 0
        self._updates, self._learning_rate = updates, learning_rate
        self._buckets_a_update = buckets_a_update or len(buckets)
        self.sources, self._pools = pools, [engine.share(sources.pool) for sources in pools]
        self._ids = [engine.spread(_local_tasks(engine, bucket.tasks)) for bucket in buckets]
        self._steps, self._meta_update = {}, engine.compile_shared(meta_update)
        self._gradient = engine.compile_shared(
            functools.partial(gradient_from_losses, engine, problem)
        )
        self._put(self._start(theta))

    @property
    def programs(self):
        """Set of (bucket, truncation) that have been compiled."""
        return set(self._steps)

    def update(self):
        """Does one meta-update.

        Returns:
            List of `BucketResult`.
        """
        rng = np.random.default_rng([self.seed, self.updates_done])
        truncation = int(rng.choice(self.horizon.truncations_at(self.updates_done)))
        used = sorted(rng.choice(len(self.buckets), self._buckets_a_update, replace=False).tolist())
        lengths = self._scalar(self.horizon.range_at(self.updates_done))
        gradients, results = [], []
        for index in used:
            gradient, result = self._bucket_step(index, truncation, lengths)
            gradients.append(gradient)
            results.append(BucketResult(index, truncation, result))
        tasks = sum(self.buckets[index].tasks for index in used)
        scalars = self._scalar(tasks), self._scalar(self.rate)
        self._theta, self._adam, self._skipped = self._meta_update(
            self._theta, self._adam, self._skipped, gradients, *scalars
        )
        self.updates_done += 1
        return results

    @property
    def rate(self):
        """Adam's learning rate of the next update."""
        done = min(1.0, self.updates_done / self._updates)
        return self._learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))

    @property
    def skipped_updates(self):
        """Number of updates that moved nothing since the last that did; see `meta_update`."""
        return int(self.engine.fetch_shared(self._skipped))

    def theta_arrays(self):
        """The theta, a dict of float32 arrays."""
        return self.problem.theta(self.engine.fetch_shared(self._theta))

    def state(self):
        """All that decides how meta-training goes on, as a tree of NumPy arrays."""
        fetch = self.engine.fetch_spread
        return {
            "theta": self.engine.fetch_shared(self._theta),
            "adam": self.engine.fetch_shared(self._adam),
            "skipped": self.engine.fetch_shared(self._skipped),
            "perturbations": self.engine.fetch_shared(self._perturbations),
            "particles": [fetch(particles) for particles in self._particles],
        }

    def restore(self, state, updates_done):
        """Goes on from what `state` returned after a number of updates."""
        self._put(state)
        self.updates_done = updates_done

    def _put(self, state):
        self._theta = self.engine.share(state["theta"])
        self._adam = self.engine.share(state["adam"])
        self._skipped = self.engine.share(state["skipped"])
        self._perturbations = [self.engine.share(p) for p in state["perturbations"]]
        self._particles = [self.engine.spread(p) for p in state["particles"]]

    def _start(self, theta):
        theta = self.problem.scaled({n: np.asarray(a, "float32") for n, a in theta.items()})
        counts = [len(_local_tasks(self.engine, bucket.tasks)) for bucket in self.buckets]
        particles = [
            tree.map_structure(np.asarray, finished_particles(self.problem, b.spec, theta, count))
            for b, count in zip(self.buckets, counts, strict=True)
        ]
        start = {"theta": theta, "adam": adam_start(theta), "skipped": np.zeros((), "float32")}
        return {**start, "perturbations": self._no_perturbations(theta), "particles": particles}

    def _no_perturbations(self, theta):
        """Those of all tasks of each bucket, where the gradient is made of losses."""
        if not self.problem.exchanges_losses:
            return []
        return [no_perturbations(self.problem, theta, bucket.tasks) for bucket in self.buckets]

    def _bucket_step(self, index, truncation, lengths):
        bucket = self.buckets[index]
        if (index, truncation) not in self._steps:
            step = functools.partial(
                bucket_step, self.engine, self.problem, bucket.spec, truncation
            )
            self._steps[index, truncation] = self.engine.compile_spread(step)
        seed = np.array([self.seed * len(self.buckets) + index, self.updates_done], "int32")
        shared = Shared(self._theta, self._pools[bucket.pool], lengths, self.engine.share(seed))
        tasks = self._ids[index], self._particles[index]
        (particles, results), sent = self._steps[index, truncation](shared, tasks)
        self._particles[index] = particles
        if self.problem.exchanges_losses:
            sent, self._perturbations[index] = self._gradient(
                shared.theta, shared.seed, sent, self._perturbations[index]
            )
        return sent, results

    def _scalar(self, value):
        return self.engine.share(np.asarray(value, "float32"))


def _local_tasks(engine, tasks):
    """Indices of the tasks that this process's replicas hold, in their order."""
    share = tasks // engine.replicas
    first, count = engine.local_replicas[0], len(engine.local_replicas)
    return np.arange(first * share, (first + count) * share, dtype="int32")


def _check_tasks(engine, buckets, buckets_a_update):
    for bucket in buckets:
        if bucket.tasks % engine.replicas:
            raise ValueError(
                f"tasks must be a multiple of the {engine.replicas} replicas. "
                f"Received: tasks={bucket.tasks} of {bucket.name!r}"
            )
    check("buckets_a_update", buckets_a_update, optional(integer(1, len(buckets))))


def _check_vectorize(engine, problem):
    if problem.vectorize and not engine.vectorizes:
        raise ValueError(
            "vectorize must be False where XLA compiles TensorFlow, as on GPUs and TPUs; "
            f"KERAS_BACKEND=jax can do both. Received: vectorize=True with {engine.described}"
        )
