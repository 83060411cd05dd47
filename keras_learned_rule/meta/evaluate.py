"""Scores a rule on held-out tasks: whole inner loops, then few-shot accuracy."""

import functools

import numpy as np
import tensorflow as tf
from keras import ops

from keras_learned_rule.meta.engine import TensorFlowRandom
from keras_learned_rule.meta.particles import LABELLED, UNLABELLED, new_particle, particle_task
from keras_learned_rule.meta.tasks import DRAWS_AN_IMAGE, labelled_episodes, unlabelled_batches
from keras_learned_rule.meta.unroll import score
from keras_learned_rule.rule.update import inner_rate, unsupervised_update

EPISODES = 20


class Evaluator:
    """Runs inner loops on the same held-out tasks for every theta it is given.

    Args:
        problem: A `Problem` with the held-out images and class table.
        tasks: Number of tasks of each of the problem's kinds.
        steps: Inner steps N of each run; 0 scores the untrained networks.
        seed: Integer; equal seeds give equal tasks, initial weights, batches and episodes.

    Example:

    ```python
    from keras_learned_rule.data.glyphs import glyph_set
    from keras_learned_rule.meta.evaluate import Evaluator
    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.objective import ObjectiveSpec
    from keras_learned_rule.meta.tasks import TaskSpec
    from keras_learned_rule.meta.train import make_problem
    from keras_learned_rule.rule.spec import RuleSpec
    from keras_learned_rule.rule.theta import init_theta

    rule, task = RuleSpec.compact(), TaskSpec(NetworkSpec((16, 8)), side=8, ways=3)
    problem = make_problem(glyph_set("ABCDE"), rule, ObjectiveSpec(), [task])
    accuracies = Evaluator(problem, tasks=2, steps=5)(init_theta(rule))  # [1, 2]
    ```
    """

    def __init__(self, problem, tasks, steps, seed=0):
        self.problem, self.tasks, self.steps, self.seed = problem, tasks, steps, seed
        self._runs = [
            tf.function(functools.partial(_final_accuracy, problem, spec, steps))
            for spec in problem.tasks
        ]

    def __call__(self, theta):
        """Few-shot accuracies.

        Args:
            theta: Dict of arrays.

        Returns:
            [kinds, tasks] float64 array, each the mean over episodes of one trained network.
        """
        theta = {name: tf.convert_to_tensor(a) for name, a in theta.items()}
        return np.array(
            [
                [float(run(theta, self._task_seed(kind, i))) for i in range(self.tasks)]
                for kind, run in enumerate(self._runs)
            ]
        )

    def _task_seed(self, kind, i):
        return tf.random.fold_in(tf.random.fold_in([self.seed, 7919], kind), i)


def _final_accuracy(problem, spec, steps, theta, seed):
    rng, rule = TensorFlowRandom, problem.rule
    particle = new_particle(rng, seed, spec, rule.neuron_network, (1, 1))
    task = particle_task(rng, spec, problem.class_table.shape[0], particle)
    plan = spec.network.plan()

    def pictures(draw, purpose, index, shape):
        where = rng.fold_in(rng.fold_in(seed, purpose), index)
        draws = rng.uniform(where, shape + (DRAWS_AN_IMAGE,))
        return draw(spec, problem.images, problem.class_table, task, draws)

    def step(k, state):
        batch = pictures(unlabelled_batches, UNLABELLED, k, (1, spec.batch))[0]
        rate = inner_rate(rule, k, steps)
        return unsupervised_update(rule, theta, plan, state, batch, rate)[0]

    state = ops.fori_loop(0, steps, step, particle.state)
    episodes = pictures(labelled_episodes, LABELLED, 0, (EPISODES, spec.images_a_step - spec.batch))
    accuracies = [
        score(problem.objective, spec.episode, plan, state, episode).accuracy_test
        for episode in tf.unstack(episodes)
    ]
    return sum(accuracies) / EPISODES
