"""Estimators of the meta-gradient, where the true one is known in closed form, and Adam.

The inner problem is gradient descent on the quadratic a/2 x^2 - theta x, so that

    x_t = r^t x_0 + rate theta (1 - r^t) / (1 - r),    r = 1 - rate a,

is linear in theta: its derivative is rate (1 - r^t) / (1 - r), and
rate (1 - r^(t - s)) / (1 - r) if x_s is taken as given. The meta-loss is quadratic in x, or linear.
"""

import functools

import keras
import meta_cases
import numpy as np
import pytest
from keras import ops, tree

from keras_learned_rule.meta.adam import adam_start, adam_update
from keras_learned_rule.meta.estimators import PersistentES, TruncatedBackprop
from keras_learned_rule.meta.particles import finished_particles, renewed
from keras_learned_rule.meta.tasks import TaskSpec

CURVATURES, RATE, TARGET = np.array([0.2, 0.5, 1.0]), 0.3, 1.5
FACTORS = 1.0 - RATE * CURVATURES
THETA, START, SLOPES = (
    np.array([0.4, -0.3, 0.8]),
    np.array([2.0, -1.0, 0.5]),
    np.array([1.0, 2.0, -1.0]),
)
LENGTH = 12
ENGINE = meta_cases.engine()
ES = PersistentES(deviation=0.1, pairs=2)


def quadratic(x):
    return 0.5 * ops.sum(ops.square(x - TARGET))


def linear(x):
    return ops.sum(x * SLOPES.astype("float32"))


def inner_loop(loss, steps, theta, x):
    """The inner loop of the module's docstring, as estimators take it."""
    losses = []
    for _ in range(steps):
        x = x - RATE * (CURVATURES.astype("float32") * x - theta["theta"])
        losses.append(loss(x))
    return ops.stack(losses), (x, ops.stack(losses))


def estimates(estimator, loss, truncation, seeds):
    """Mean meta-gradient of one inner loop of LENGTH steps, for each seed."""
    run = functools.partial(inner_loop, loss, truncation)

    def one(seed):
        theta = {"theta": ops.convert_to_tensor(THETA, "float32")}
        carried, total = estimator.start(theta, ops.convert_to_tensor(START, "float32")), 0.0
        for k in range(LENGTH // truncation):
            result = estimator(ENGINE, run, theta, carried, ENGINE.fold_in(seed, k))
            carried, total = result.carried, total + result.gradient["theta"]
        return total / (LENGTH // truncation)

    numbers = np.stack([np.full(seeds, 7), np.arange(seeds)], axis=1).astype("int32")
    compiled = ENGINE.compile_shared(lambda numbers: ENGINE.each(one, numbers))
    return ENGINE.fetch_shared(compiled(ENGINE.share(numbers)))


def closed_form(loss, truncation):
    """The gradient of the mean loss if it is only followed back to the start of a truncation."""
    t = np.arange(1, LENGTH + 1)[:, None]
    x = FACTORS**t * START + RATE * THETA * (1 - FACTORS**t) / (1 - FACTORS)
    since = (t - 1) % truncation + 1
    derivative = RATE * (1 - FACTORS**since) / (1 - FACTORS)
    return np.mean((x - TARGET if loss is quadratic else SLOPES) * derivative, axis=0)


@pytest.mark.parametrize("estimator", [TruncatedBackprop(), PersistentES(deviation=0.1, pairs=3)])
def test_estimators_do_what_the_meta_step_relies_on(estimator):
    meta_cases.check_estimator(estimator)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [quadratic, linear])
@pytest.mark.parametrize("truncation", [12, 6, 3, 1])
def test_truncated_backprop_has_the_known_gradient_and_bias(loss, truncation):
    (gradient,) = estimates(TruncatedBackprop(), loss, truncation, seeds=1)
    np.testing.assert_allclose(gradient, closed_form(loss, truncation), rtol=1e-5)


def test_the_bias_of_truncated_backprop_grows_as_truncations_get_shorter():
    """Each step that is left out had the sign of those that are not: what is left is too small."""
    lengths = (12, 6, 3, 1)
    gradients = [estimates(TruncatedBackprop(), linear, length, seeds=1)[0] for length in lengths]
    shares = np.array(gradients) / closed_form(linear, LENGTH)
    assert np.all(np.diff(shares, axis=0) < -0.03) and np.all(shares[-1] < 0.45)
    np.testing.assert_allclose(shares[0], 1.0, rtol=1e-5)


@pytest.mark.parametrize("loss", [quadratic, linear])
@pytest.mark.parametrize("truncation", [12, 3])
def test_persistent_es_is_unbiased_where_truncated_backprop_is_not(loss, truncation):
    """A quadratic has the same gradient after smoothing by a normal distribution."""
    gradients, true = estimates(ES, loss, truncation, seeds=1000), closed_form(loss, LENGTH)
    error = gradients.std(0) / len(gradients) ** 0.5
    assert np.all(np.abs(gradients.mean(0) - true) < 4 * error)
    assert np.all(error < 0.12 * np.abs(true).max())
    if truncation < LENGTH:
        assert np.linalg.norm((closed_form(loss, truncation) - true) / error) > 10


def test_pairs_are_antithetic():
    """What is even in the perturbation cancels exactly, whatever its size."""

    def run(theta, state):
        even = ops.sum(ops.square(theta["theta"])) + 1e3
        return ops.stack([even, even]), (state, ops.zeros(2))

    theta = {"theta": ops.zeros(3)}
    carried = ES.start(theta, ops.zeros(2))
    for number in range(3):
        result = ES(ENGINE, run, theta, carried, meta_cases.seed(0, number))
        carried = result.carried
        np.testing.assert_array_equal(result.gradient["theta"], np.zeros(3))
    assert np.all(np.asarray(carried["sums"]["theta"]) != 0)


def test_perturbations_add_up_and_have_their_deviation():
    estimator = PersistentES(deviation=0.3, pairs=2000)
    theta = {"a": ops.zeros(2), "b": ops.zeros((1, 2))}

    def run(theta, state):
        return theta["a"], (state, theta["a"])

    call = ENGINE.compile_shared(functools.partial(estimator, ENGINE, run))
    carried, steps = estimator.start(theta, ops.zeros(1)), []
    for number in range(2):
        before = carried["sums"]
        carried = call(theta, carried, meta_cases.seed(0, number)).carried
        steps.append(
            [np.asarray(carried["sums"][n] - before[n]).reshape(-1, 2) for n in ("a", "b")]
        )
    drawn = np.concatenate([part for step in steps for part in step], axis=1)
    np.testing.assert_allclose(drawn.std(0), 0.3, rtol=0.05)
    # Those of other parameters and truncations are independent.
    assert np.all(np.abs(np.corrcoef(drawn.T) - np.eye(8)) < 0.1)


def test_a_new_inner_loop_starts_without_perturbations_and_with_equal_copies():
    problem, theta = meta_cases.problem(estimator=ES), meta_cases.theta()
    theta = tree.map_structure(ops.convert_to_tensor, theta)
    spec = TaskSpec(meta_cases.NETWORK, shape=(3, 3, 1))
    (old,) = [tree.map_structure(lambda a: a[0], finished_particles(problem, spec, theta, 1))]
    ones = tree.map_structure(ops.ones_like, old.carried["sums"])
    old = old._replace(carried={**old.carried, "sums": ones}, total_steps=ops.ones((), "int32"))
    lengths = ops.convert_to_tensor([4.0, 9.0])
    for step, expected in ((0, 1), (1, 0)):
        particle = old._replace(step=ops.convert_to_tensor(step, "int32"))
        new, _ = renewed(ENGINE, problem, spec, theta, particle, lengths, meta_cases.seed(1, 2))
        assert {float(a) for s in tree.flatten(new.carried["sums"]) for a in np.ravel(s)} == {
            expected
        }
    for array in tree.flatten(meta_cases.as_numpy(new.carried["states"])):
        assert array.shape[0] == 2 * ES.pairs and np.all(array == array[0])


def test_bad_settings_are_named():
    for deviation in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"deviation must be .*Received: {deviation}"):
            PersistentES(deviation=deviation)
    with pytest.raises(ValueError, match="pairs must be .*Received: 0"):
        PersistentES(pairs=0)
    with pytest.raises(ValueError, match="exchange must be .*'losses'.*Received: 'loss'"):
        PersistentES(exchange="loss")


def test_adam_is_that_of_keras():
    rng = np.random.default_rng(0)
    start = {"a": rng.standard_normal(4), "b": rng.standard_normal((2, 3))}
    start = {name: a.astype("float32") for name, a in start.items()}
    variables = {name: keras.Variable(a) for name, a in start.items()}
    optimizer = keras.optimizers.Adam()
    theta, state = start, adam_start(start)
    for step in range(50):
        # Gradients of all sizes, down to that of epsilon, and a rate that falls.
        scale, rate = np.float32(10.0 ** rng.uniform(-7, 2)), 0.1 / (1 + step)
        gradient = {
            n: scale * rng.standard_normal(a.shape).astype("float32") for n, a in start.items()
        }
        theta, state = adam_update(theta, state, gradient, rate)
        optimizer.learning_rate = rate
        optimizer.apply([gradient[n] for n in start], list(variables.values()))
        for name in start:
            np.testing.assert_allclose(theta[name], variables[name].numpy(), rtol=1e-5, atol=1e-6)
    assert float(state.count) == 50
