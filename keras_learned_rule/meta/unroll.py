"""The inner loop and its meta-loss as one differentiable function of theta (paper, section 3)."""

from typing import Any, NamedTuple

from keras import ops

from keras_learned_rule.meta.objective import ridge_objective
from keras_learned_rule.rule.update import forward, inner_rate, unsupervised_update


class InnerData(NamedTuple):
    """The data of K inner steps of one task.

    Attributes:
        batches: [K, B, inputs] unlabelled examples, one batch a step.
        labelled: [K, ways * (shots + tests), inputs]: the few-shot episode that scores each step;
            first `shots` examples of class 0, of class 1 ..., then `tests` examples of each.
    """

    batches: Any
    labelled: Any


class Episode(NamedTuple):
    """Layout of a few-shot episode: numbers of classes, training and test examples a class."""

    ways: int
    shots: int
    tests: int

    def labels(self):
        """Class indices of the training and of the test examples, int32."""
        classes = ops.arange(self.ways, dtype="int32")
        return ops.repeat(classes, self.shots), ops.repeat(classes, self.tests)


def unroll(spec, theta, plan, objective, episode, state, data, start, total_steps):
    """Runs K inner steps and scores the features after each.

    Args:
        spec: A `RuleSpec`.
        theta: Dict of tensors; differentiate the first result with respect to it.
        plan: The network, see `network/mlp.py`.
        objective: An `ObjectiveSpec`.
        episode: An `Episode`.
        state: The network's arrays before the first of these steps.
        data: `InnerData` of K steps; K is static.
        start: Index of the first of these steps in the inner loop, a scalar.
        total_steps: Length N of the whole inner loop, a scalar.

    Returns:
        (state, losses, accuracies): the arrays after K steps, and the meta-loss and few-shot
        accuracy [K] after each step.

    Example:

    ```python
    import keras
    import tensorflow as tf

    from keras_learned_rule.meta.objective import ObjectiveSpec
    from keras_learned_rule.meta.unroll import Episode, InnerData, unroll
    from keras_learned_rule.network.mlp import init_mlp_state, mlp_plan
    from keras_learned_rule.rule.spec import RuleSpec
    from keras_learned_rule.rule.theta import init_theta

    spec, episode = RuleSpec.compact(), Episode(ways=3, shots=2, tests=2)
    theta = {name: tf.constant(array) for name, array in init_theta(spec).items()}
    state = init_mlp_state([keras.random.normal((9, 6)), keras.random.normal((6, 4))])
    data = InnerData(keras.random.normal((5, 16, 9)), keras.random.normal((5, 12, 9)))  # K = 5
    with tf.GradientTape() as tape:
        tape.watch(theta)
        _, losses, _ = unroll(
            spec, theta, mlp_plan(2), ObjectiveSpec(), episode, state, data, 0, 100
        )
        meta_loss = tf.reduce_mean(losses)
    meta_gradient = tape.gradient(meta_loss, theta)
    ```
    """
    steps = data.batches.shape[0]
    dtype = data.batches.dtype
    start = ops.cast(start, "float32")
    labels = episode.labels()

    def body(k, carry):
        state, losses, accuracies = carry
        rate = inner_rate(spec, start + ops.cast(k, "float32"), total_steps)
        batch = ops.take(data.batches, k, axis=0)
        state, _ = unsupervised_update(spec, theta, plan, state, batch, ops.cast(rate, dtype))
        result = score(objective, episode, plan, state, ops.take(data.labelled, k, axis=0), labels)
        here = ops.cast(ops.arange(steps) == k, dtype)
        return state, losses + here * result.loss, accuracies + here * result.accuracy_test

    nothing = ops.zeros((steps,), dtype)
    return ops.fori_loop(0, steps, body, (state, nothing, nothing))


def score(objective, episode, plan, state, labelled, labels=None):
    """The meta-objective of a network on one episode, in one forward pass.

    Args:
        objective: An `ObjectiveSpec`.
        episode: An `Episode`.
        plan: The network.
        state: The network's arrays.
        labelled: [ways * (shots + tests), inputs], laid out as in `InnerData`.
        labels: `episode.labels()`, where a loop has them already.

    Returns:
        A `RidgeResult`.
    """
    features = forward(plan, state, labelled).xs[-1]
    cut = episode.ways * episode.shots
    return ridge_objective(
        objective, features[:cut], features[cut:], *(labels or episode.labels()), episode.ways
    )
