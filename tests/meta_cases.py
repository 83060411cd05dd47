"""Small problems for the tests of `meta`, and what every engine and every estimator must do.

The test of a new estimator or engine is

    def test_my_estimator():
        check_estimator(MyEstimator())

    def test_my_engine():
        check_engine(MyEngine())

Nothing here depends on the backend.
"""

import functools

import numpy as np
from keras import ops, tree

from keras_learned_rule.data.digits import digit_images
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.families import TaskFamily, load_families
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.schedule import Horizon
from keras_learned_rule.meta.trainer import MetaTrainer
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

# Relu alone gives no gradient to the target of other nonlinearities.
RULE = RuleSpec.compact(terms=("competition", "decorrelation", "hebb_z"), shaped_bias=False)
NETWORK = NetworkSpec((8, 6))


def family(**overrides):
    """Two tasks of four digits for one small network."""
    settings = dict(
        sources=[(digit_images, 1.0)],
        networks=NETWORK,
        buckets=1,
        tasks=2,
        size=8,
        ways=(4, 4),
        shots=3,
        tests=3,
        batches=(12,),
        name="digits",
    )
    return TaskFamily(**{**settings, **overrides})


def problem(**overrides):
    return Problem(**{"rule": RULE, **overrides})


def engine(**settings):
    return make_engine(**settings)


def theta(rule=RULE):
    """Starting values that stay when those of `init_theta` change, as NumPy arrays."""
    start = init_theta(rule)
    if rule.merge == "compact":
        by_term = [{"competition": 0.3, "decorrelation": 0.1}.get(term, 0.0) for term in rule.terms]
        values = {"coefficients": by_term, "log_temperature": np.log(0.5)}
        values |= {"step": np.log(0.05 / 0.25), "bias_target": 0.0}
        for name, value in values.items():
            start[f"merge/{name}"][:] = value
    return start


def trainer(*families, seed=0, **overrides):
    """A trainer on these families, or on one of digits, with inner loops of 4 to 9 steps."""
    buckets, pools = load_families(families or [family()], seed)
    settings = dict(engine=engine(), problem=problem(), updates=50, horizon=Horizon((4, 9), (2,)))
    settings |= overrides
    settings.setdefault("theta", theta(settings["problem"].rule))
    return MetaTrainer(buckets=buckets, pools=pools, seed=seed, **settings)


def as_numpy(nested):
    return tree.map_structure(lambda a: None if a is None else np.asarray(a), nested)


def assert_equal(one, other, tolerance=0.0):
    """Two trees of arrays are equal, up to a relative and absolute tolerance."""
    tree.assert_same_structure(one, other)
    for a, b in zip(tree.flatten(as_numpy(one)), tree.flatten(as_numpy(other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def seed(*numbers):
    return np.array(numbers, "int32")


INNER_STEPS = 3


def inner_loop(theta, state):
    """Three steps towards what theta says; quadratic in theta as a whole."""
    losses = []
    for _ in range(INNER_STEPS):
        state = {"x": 0.5 * state["x"] + theta["shift"] + ops.sum(theta["shifts"], axis=0)}
        losses.append(ops.sum(ops.square(state["x"] - 1.0)))
    return ops.stack(losses), (state, ops.sqrt(ops.stack(losses)))


def check_estimator(estimator, engine=None):
    """Checks an estimator against what the meta-step relies on."""
    engine = engine or make_engine()
    rng = np.random.default_rng(0)
    theta = {"shift": rng.normal(size=2), "shifts": rng.normal(size=(2, 2))}
    theta = {name: 0.1 * a.astype("float32") for name, a in theta.items()}
    state = {"x": np.array([2.0, -1.0], "float32")}

    def estimate(theta, carried, seed):
        return estimator(engine, inner_loop, theta, carried, seed)

    compiled = engine.compile_shared(estimate)

    def call(carried, *numbers):
        return engine.fetch_shared(
            compiled(*(engine.share(a) for a in (theta, carried, seed(*numbers))))
        )

    tensors = [tree.map_structure(ops.convert_to_tensor, a) for a in (theta, state)]
    start = as_numpy(estimator.start(*tensors))
    first = call(start, 0, 1)
    _check_form(theta, start, first)
    _check_form(theta, start, call(first.carried, 0, 2))
    assert_equal(call(start, 0, 1), first)
    assert_equal(estimate(tensors[0], *_tensors(start, seed(0, 1))), first, tolerance=1e-4)
    gradients = [call(start, 1, number).gradient for number in range(100)]
    _check_direction(engine, tensors, gradients)


def _tensors(*trees):
    return [tree.map_structure(ops.convert_to_tensor, a) for a in trees]


def _check_form(theta, start, estimate):
    forms = [
        tree.map_structure(lambda a: (a.shape, str(a.dtype)), as_numpy(carried))
        for carried in (start, estimate.carried)
    ]
    assert forms[0] == forms[1]
    assert {n: g.shape for n, g in estimate.gradient.items()} == {
        n: a.shape for n, a in theta.items()
    }
    assert estimate.losses.shape == estimate.extra.shape == (INNER_STEPS,)
    assert all(np.all(np.isfinite(a)) for a in tree.flatten(estimate))


def _check_direction(engine, tensors, gradients):
    """Nothing was truncated before the first estimate: it is right on average."""
    theta, state = tensors

    def mean_loss(theta):
        return ops.mean(inner_loop(theta, state)[0]), None

    true = as_numpy(engine.value_and_gradient(mean_loss, theta)[2])
    along = [sum(np.sum(g[n] * true[n]) for n in true) for g in gradients]
    ratios = np.array(along) / sum(np.sum(np.square(g)) for g in true.values())
    standard_error = np.std(ratios) / len(ratios) ** 0.5
    assert abs(np.mean(ratios) - 1.0) < 4 * standard_error + 1e-4 and standard_error < 0.3


def check_engine(engine):
    """Checks an engine, with any number of replicas, against what meta-training relies on."""
    _check_draws(engine)
    _check_seeds(engine)
    _check_loop(engine)
    _check_each(engine)
    _check_placement(engine)
    _check_sums(engine)
    assert engine.least(5) == 5 and isinstance(engine.described, str)


def _check_draws(engine):
    for draw, mean, deviation in ((engine.uniform, 0.5, 12**-0.5), (engine.normal, 0.0, 1.0)):
        one, same, other = (np.asarray(draw(seed(*s), (200, 50))) for s in ((1, 2), (1, 2), (1, 3)))
        assert one.shape == (200, 50) and one.dtype == np.float32
        np.testing.assert_array_equal(one, same)
        assert np.mean(one == other) < 0.01 and len(np.unique(one)) > 9900
        assert abs(one.mean() - mean) < 0.05 and abs(one.std() - deviation) < 0.05
        inside = engine.compile_shared(functools.partial(draw, shape=(200, 50)))(
            engine.share(seed(1, 2))
        )
        np.testing.assert_allclose(engine.fetch_shared(inside), one, rtol=1e-5, atol=1e-6)
    draws = np.asarray(engine.uniform(seed(0, 0), (10000,)))
    assert draws.min() >= 0 and draws.max() < 1


def _check_seeds(engine):
    seeds = [seed(0, 0), seed(0, 1), seed(5, 0)]
    folded = [np.asarray(engine.fold_in(s, number)) for s in seeds for number in range(20)]
    assert all(f.shape == (2,) and f.dtype == np.int32 for f in folded)
    assert len({tuple(s) for s in [*folded, *seeds]}) == 63
    np.testing.assert_array_equal(engine.fold_in(seeds[2], 3), folded[43])


def _check_loop(engine):
    def value(theta, wrap=lambda function: function):
        def step(theta, k, x):
            return theta["slope"] * ops.tanh(x) + k

        step = wrap(step)
        x = engine.loop(4, lambda k, x: step(theta, ops.cast(k, "float32"), x), ops.ones(()))
        return x, {"twice": 2 * x}

    def both(theta):
        gradient = engine.value_and_gradient
        again = gradient(lambda theta: value(theta, engine.remat), theta)
        return gradient(value, theta), again

    slope, x, derivative = 1.5, 1.0, 0.0
    for k in range(4):
        derivative = np.tanh(x) + slope * derivative / np.cosh(x) ** 2
        x = slope * np.tanh(x) + k
    theta = {"slope": np.float32(slope), "unused": np.ones(2, "float32")}
    expected = x, {"twice": 2 * x}, {"slope": derivative, "unused": np.zeros(2)}
    for got in engine.fetch_shared(engine.compile_shared(both)(engine.share(theta))):
        assert_equal(got, expected, tolerance=1e-5)


def _check_each(engine):
    trees = {"a": np.arange(6, dtype="float32").reshape(3, 2), "b": np.array([1, 5, 2], "int32")}

    def function(one):
        return {"sum": ops.sum(one["a"]), "pair": (one["b"] + 1, one["a"])}

    got = engine.compile_shared(lambda t: engine.each(function, t))(engine.share(trees))
    expected = {"sum": trees["a"].sum(1), "pair": (trees["b"] + 1, trees["a"])}
    assert_equal(engine.fetch_shared(got), expected)


def _rows(engine):
    """Two rows for each replica of this process, as slices of those of all processes."""
    rows = np.arange(6 * engine.replicas, dtype="float32").reshape(-1, 3)
    first, count = engine.local_replicas[0], len(engine.local_replicas)
    return rows, rows[2 * first : 2 * (first + count)]


def _check_placement(engine):
    shared = {"a": np.arange(3, dtype="float32"), "b": (np.int32(4), np.ones((2, 0), "float32"))}
    assert_equal(engine.fetch_shared(engine.share(shared)), shared)
    rows = _rows(engine)[1]
    spread = {"rows": rows, "ids": (rows[:, 0].astype("int32"),)}
    assert_equal(engine.fetch_spread(engine.spread(spread)), spread)


def _check_sums(engine):
    def function(shared, spread):
        assert spread["rows"].shape == (2, 3)
        scaled = spread["rows"] * shared["scale"]
        return {"scaled": scaled}, {"sum": ops.sum(scaled, axis=0), "count": ops.ones(())}

    rows, local = _rows(engine)
    compiled = engine.compile_spread(function)
    shared, spread = engine.share({"scale": np.float32(3)}), engine.spread({"rows": local})
    new, sums = compiled(shared, spread)
    assert_equal(engine.fetch_spread(new), {"scaled": 3 * local})
    expected = {"sum": 3 * rows.sum(0), "count": np.float32(engine.replicas)}
    assert_equal(engine.fetch_shared(sums), expected)
    # What was computed goes on being used as what was put there.
    again, _ = compiled(shared, {"rows": new["scaled"]})
    assert_equal(engine.fetch_spread(again), {"scaled": 9 * local})
