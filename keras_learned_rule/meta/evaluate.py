"""Scores a rule on held-out tasks: whole inner loops, then few-shot accuracy."""

import functools
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_learned_rule.meta.meta_step import Shared
from keras_learned_rule.meta.particles import LABELLED, UNLABELLED, initial_network, particle_task
from keras_learned_rule.meta.tasks import labelled_episodes, unlabelled_batches
from keras_learned_rule.meta.unroll import score
from keras_learned_rule.rule.update import inner_rate, unsupervised_update

EPISODES = 20


class Score(NamedTuple):
    """Few-shot accuracies of one data set: mean, its standard error, and each task's."""

    mean: float
    standard_error: float
    accuracies: Any


class Evaluator:
    """Runs inner loops on the same held-out tasks for every theta it is given.

    Args:
        engine: An `Engine`.
        problem: A `Problem`.
        buckets: List of `Bucket` of held-out tasks; their numbers of tasks are rounded up to
            multiples of the replicas.
        pools: List of `Sources` that the buckets index.
        seed: Integer; equal seeds give equal tasks, initial weights, batches and episodes.

    Example:
    ```python
    from keras_learned_rule.data.synthetic import gaussian_mixture
    from keras_learned_rule.meta.engine import make_engine
    from keras_learned_rule.meta.evaluate import Evaluator
    from keras_learned_rule.meta.families import TaskFamily, load_families
    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.problem import Problem
    from keras_learned_rule.rule.spec import RuleSpec
    from keras_learned_rule.rule.theta import init_theta

    rule = RuleSpec.compact(terms=("competition",))
    family = TaskFamily([(gaussian_mixture, 1.0)], NetworkSpec((8,)), buckets=1, tasks=2)
    evaluator = Evaluator(make_engine(), Problem(rule), *load_families([family], seed=0))
    score = evaluator(init_theta(rule), steps=3)["gaussian_mixture"]
    assert len(score.accuracies) == 2
    ```
    """

    def __init__(self, engine, problem, buckets, pools, seed=0):
        self._engine, self._seed = engine, seed
        self._pools, self._sources = [engine.share(s.pool) for s in pools], pools
        self._runs = [
            (b, engine.compile_spread(functools.partial(final_accuracies, engine, problem, b.spec)))
            for b in buckets
        ]

    def __call__(self, theta, steps):
        """Trains networks by the rule and measures them.

        Args:
            theta: Dict of arrays.
            steps: Inner steps N; 0 scores the untrained networks.

        Returns:
            A dict from data set to `Score`, each accuracy the mean over episodes of one network.
            Where there are several processes: over the tasks of this one.
        """
        theta, lengths = self._engine.share(theta), self._engine.share(np.float32([steps, steps]))
        by_name = {}
        for index, (bucket, run) in enumerate(self._runs):
            seed = self._engine.share(np.array([self._seed, 7919 + index], "int32"))
            shared = Shared(theta, self._pools[bucket.pool], lengths, seed)
            (accuracies, sources), _ = run(shared, self._engine.spread(self._tasks(bucket)))
            accuracies, sources = self._engine.fetch_spread((accuracies, sources))
            names = self._sources[bucket.pool].names
            for accuracy, source in zip(accuracies, sources, strict=True):
                by_name.setdefault(names[source], []).append(float(accuracy))
        return {name: _score(values) for name, values in sorted(by_name.items())}

    def _tasks(self, bucket):
        share = -(-bucket.tasks // self._engine.replicas)
        local = self._engine.local_replicas
        return np.arange(local[0] * share, (local[-1] + 1) * share, dtype="int32")


def _score(accuracies):
    error = np.std(accuracies, ddof=1) / len(accuracies) ** 0.5 if len(accuracies) > 1 else 0.0
    return Score(float(np.mean(accuracies)), float(error), np.array(accuracies))


def final_accuracies(engine, problem, spec, shared, task_ids):
    """Few-shot accuracy after a whole inner loop, of each task.

    Args:
        engine: An `Engine`.
        problem: A `Problem`.
        spec: A `TaskSpec`.
        shared: A `Shared`; the inner loops have the second of its lengths.
        task_ids: [n] int32.

    Returns:
        ((accuracies [n], sources [n]), ()): what `Engine.compile_spread` takes.
    """

    def one(task_id):
        return _final_accuracy(engine, problem, spec, shared, engine.fold_in(shared.seed, task_id))

    return engine.each(one, task_ids), ()


def _final_accuracy(engine, problem, spec, shared, seed):
    rule, plan = problem.rule, spec.network.plan()
    task = particle_task(engine, spec, shared.pool, seed)
    steps = ops.cast(shared.lengths[1], "int32")

    def pictures(draw, purpose, index, images):
        where = engine.fold_in(engine.fold_in(seed, purpose), index)
        draws = engine.uniform(where, (1, images, spec.draws_an_image))
        noise = engine.normal(where, (1, images, *spec.shape)) if spec.needs_noise else None
        return draw(spec, shared.pool, task, draws, noise)

    def step(k, state):
        batch = pictures(unlabelled_batches, UNLABELLED, k, spec.batch)[0]
        rate = inner_rate(rule, k, steps)
        return unsupervised_update(rule, shared.theta, plan, state, batch, rate)[0]

    def accuracy(episode):
        images = spec.images_a_step - spec.batch
        labelled = pictures(labelled_episodes, LABELLED, episode, images)[0][0]
        labels = spec.episode.labels()
        return score(problem.objective, spec.episode, plan, state, labels, labelled)[1]

    state = initial_network(engine, spec, rule, seed)
    state = ops.fori_loop(0, steps, step, state)
    return ops.mean(engine.each(accuracy, ops.arange(EPISODES, dtype="int32"))), task.source
