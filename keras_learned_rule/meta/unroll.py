"""The inner loop and its meta-loss as one differentiable function of theta (paper, section 3)."""

from typing import Any, NamedTuple

from keras import ops

from keras_learned_rule.meta.objective import coefficient_loss, ridge_objective
from keras_learned_rule.rule.update import forward, inner_rate, unsupervised_update


class InnerData(NamedTuple):
    """The data of K inner steps of one task.

    Attributes:
        batches: [K, B, inputs] unlabelled examples, one batch a step.
        labelled: [S, ways * (shots + tests), inputs]: the few-shot episodes that score the last S
            of the K steps; of each, first `shots` examples of class 0, of class 1 ..., then
            `tests` examples of each.
        coefficients: [S, ways * (shots + tests), c], of the augmentations of `labelled`; None
            without any.
    """

    batches: Any
    labelled: Any
    coefficients: Any = None


class Episode(NamedTuple):
    """Layout of a few-shot episode: numbers of classes, training and test examples a class."""

    ways: int
    shots: int
    tests: int

    def labels(self):
        """Class indices of the training and of the test examples, int32."""
        classes = ops.arange(self.ways, dtype="int32")
        return ops.repeat(classes, self.shots), ops.repeat(classes, self.tests)


def unroll(engine, problem, task_spec, theta, state, data, start, total_steps):
    """Runs K inner steps and scores the features after each of the last S.

    Args:
        engine: An `Engine`.
        problem: A `Problem`.
        task_spec: A `TaskSpec`.
        theta: Dict of tensors; differentiate the losses with respect to it.
        state: The network's arrays before the first of these steps.
        data: `InnerData` of K steps; K and S are static.
        start: Index of the first of these steps in the inner loop, a scalar.
        total_steps: Length N of the whole inner loop, a scalar.

    Returns:
        (losses, (state, accuracies)): the meta-loss [S] after each scored step, the arrays after K
        steps, and the few-shot accuracy [S] after each scored step.

    Example:
    ```python
    import keras

    from keras_learned_rule.meta.engine import make_engine
    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.problem import Problem
    from keras_learned_rule.meta.tasks import TaskSpec
    from keras_learned_rule.meta.unroll import InnerData, unroll
    from keras_learned_rule.rule.mlp import init_mlp_state
    from keras_learned_rule.rule.spec import RuleSpec
    from keras_learned_rule.rule.theta import init_theta
    from keras_learned_rule.rule.update import with_memory

    engine, problem = make_engine(), Problem(RuleSpec.compact())
    task_spec = TaskSpec(NetworkSpec((6, 4)), shape=(3, 3, 1), ways=3, shots=2, tests=2, batch=16)
    theta = {n: keras.ops.convert_to_tensor(a) for n, a in init_theta(problem.rule).items()}
    state = init_mlp_state([keras.random.normal((9, 6)), keras.random.normal((6, 4))])
    state = with_memory(problem.rule, state)
    data = InnerData(keras.random.normal((5, 16, 9)), keras.random.normal((5, 12, 9)))  # K = 5

    def mean_loss(theta):
        losses, _ = unroll(engine, problem, task_spec, theta, state, data, 0, 100)
        return keras.ops.mean(losses), None

    meta_gradient = engine.value_and_gradient(mean_loss, theta)[2]
    ```
    """
    steps, scored = data.batches.shape[0], data.labelled.shape[0]
    dtype = data.batches.dtype
    start = ops.cast(start, "float32")
    labels = task_spec.episode.labels()
    plan = task_spec.network.plan()
    episodes = [part for part in data[1:] if part is not None]

    # Examples are picked in here so that rematerialisation picks them again, too.
    def inner_step(theta, state, rate, k, batches):
        batch = _picked(batches, k)
        return unsupervised_update(problem.rule, theta, plan, state, batch, rate)[0]

    def scored_step(theta, state, rate, k, batches, *episodes):
        state = inner_step(theta, state, rate, k, batches)
        labelled = [_picked(part, k - (steps - scored)) for part in episodes]
        return state, *score(problem.objective, task_spec.episode, plan, state, labels, *labelled)

    if problem.remat:
        inner_step, scored_step = engine.remat(inner_step), engine.remat(scored_step)

    def when(k):
        rate = inner_rate(problem.rule, start + ops.cast(k, "float32"), total_steps)
        return ops.cast(rate, dtype), ops.cast(k, dtype)

    def unscored_body(k, state):
        return inner_step(theta, state, *when(k), data.batches)

    def scored_body(i, carry):
        state, losses, accuracies = carry
        here = ops.arange(scored, dtype="int32") == i
        when_scored = when(i + (steps - scored))
        state, loss, accuracy = scored_step(theta, state, *when_scored, data.batches, *episodes)
        return state, ops.where(here, loss, losses), ops.where(here, accuracy, accuracies)

    if steps > scored:
        state = engine.loop(steps - scored, unscored_body, state)
    nothing = ops.zeros((scored,), dtype)
    state, losses, accuracies = engine.loop(scored, scored_body, (state, nothing, nothing))
    return losses, (state, accuracies)


def _picked(parts, k):
    return ops.take(ops.stop_gradient(parts), ops.cast(k, "int32"), axis=0)


def score(objective, episode, plan, state, labels, labelled, coefficients=None):
    """The meta-objective of a network on one episode, in one forward pass.

    Args:
        objective: An `ObjectiveSpec`.
        episode: An `Episode`.
        plan: The network.
        state: The network's arrays.
        labels: `episode.labels()`.
        labelled: [ways * (shots + tests), inputs], laid out as in `InnerData`.
        coefficients: [ways * (shots + tests), c] or None, likewise.

    Returns:
        (loss, accuracy), scalars.
    """
    features = forward(plan, state, labelled).xs[-1]
    cut = episode.ways * episode.shots
    halves = features[:cut], features[cut:]
    result = ridge_objective(objective, *halves, *labels, episode.ways)
    loss, share = result.loss, objective.coefficient_share
    if share and coefficients is not None:
        regression = coefficient_loss(objective, *halves, coefficients[:cut], coefficients[cut:])
        loss = (1.0 - share) * loss + share * regression
    return loss, result.accuracy_test
