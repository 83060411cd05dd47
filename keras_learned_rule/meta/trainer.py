"""Everything that changes during meta-training, and the compiled update of it."""

import keras
import numpy as np
import tensorflow as tf

from keras_learned_rule.meta.engine import empty_particles, meta_step


class MetaTrainer:
    """theta, Adam and the particles as variables, advanced by one compiled update.

    Random numbers are functions of the seed and the number of updates done, so that a restored
    trainer goes on as if it had never stopped.

    Args:
        problem: A `Problem`.
        theta: Dict of starting arrays.
        updates: Number of meta-updates over which the learning rate falls to zero.
        learning_rate: Adam's, at the start.
        truncations: Numbers of inner steps K between meta-updates; each update draws one.
        seed: Integer.

    Attributes:
        theta: Dict of `tf.Variable`.

    Example:

    ```python
    from keras_learned_rule.data.glyphs import glyph_set
    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.objective import ObjectiveSpec
    from keras_learned_rule.meta.tasks import TaskSpec
    from keras_learned_rule.meta.train import make_problem
    from keras_learned_rule.meta.trainer import MetaTrainer
    from keras_learned_rule.rule.spec import RuleSpec
    from keras_learned_rule.rule.theta import init_theta

    rule, task = RuleSpec.compact(), TaskSpec(NetworkSpec((16, 8)), side=8, ways=3, batch=16)
    problem = make_problem(glyph_set("ABCDE"), rule, ObjectiveSpec(), [task], lengths=(5, 10))
    trainer = MetaTrainer(problem, init_theta(rule), updates=1000, truncations=(3,))
    meta_loss = trainer.update()["meta_loss"]
    ```
    """

    def __init__(self, problem, theta, updates, learning_rate=0.02, truncations=(20,), seed=0):
        self.problem, self.truncations, self.seed = problem, tuple(truncations), seed
        self.theta = {name: tf.Variable(a, name=name) for name, a in theta.items()}
        self._done = tf.Variable(0, dtype=tf.int64)
        self._particles = tf.nest.map_structure(tf.Variable, empty_particles(problem))
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, updates)
        self._adam = keras.optimizers.Adam(schedule)
        self._adam.build(list(self.theta.values()))
        self._compiled = tf.function(self._update)
        self.checkpoint = tf.train.Checkpoint(
            theta=list(self.theta.values()),
            adam=self._adam,
            particles=tf.nest.flatten(self._particles),
            done=self._done,
        )

    @property
    def updates_done(self):
        """Number of meta-updates done."""
        return int(self._done)

    def update(self):
        """Does one meta-update.

        Returns:
            A dict of floats: "meta_loss", "accuracy" (few-shot, after the last of the K steps),
            "gradient_norm" (mean over tasks before clipping), "clipped" and "skipped" (shares of
            tasks), "inner_steps" (K), and "position" (mean inner step of the particles).
        """
        rng = np.random.default_rng([self.seed, self.updates_done])
        truncation = int(rng.choice(self.truncations))
        logs = {name: float(value) for name, value in self._compiled(truncation).items()}
        return {**logs, "inner_steps": truncation}

    def theta_arrays(self):
        """theta as a dict of float32 arrays."""
        return {name: variable.numpy() for name, variable in self.theta.items()}

    def _update(self, truncation):
        theta = {name: tf.convert_to_tensor(variable) for name, variable in self.theta.items()}
        particles = tf.nest.map_structure(tf.convert_to_tensor, self._particles)
        seed = tf.stack([self.seed, tf.cast(self._done, tf.int32)])
        particles, gradient, results = meta_step(self.problem, theta, particles, seed, truncation)
        tf.nest.map_structure(lambda v, new: v.assign(new), self._particles, particles)
        self._adam.apply_gradients([(gradient[name], v) for name, v in self.theta.items()])
        self._done.assign_add(1)
        return _logs(results, self.problem.clip_norm)


def _logs(results, clip_norm):
    norms = tf.stack([r.norm for r in results])
    finite = tf.math.is_finite(norms)
    kept = tf.where(finite, norms, 0.0)
    count = tf.reduce_sum(tf.cast(finite, tf.float32))

    def share(flags):
        return tf.reduce_mean(tf.cast(flags, tf.float32))

    return {
        "meta_loss": tf.reduce_mean([r.losses for r in results]),
        "accuracy": tf.reduce_mean([r.accuracies[-1] for r in results]),
        "gradient_norm": tf.reduce_sum(kept) / tf.maximum(count, 1.0),
        "clipped": share(kept > clip_norm),
        "skipped": share(~finite),
        "position": tf.reduce_mean([tf.cast(r.position, tf.float32) for r in results]),
    }
