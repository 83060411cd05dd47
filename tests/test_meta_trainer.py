"""The compiled meta-update and its state: theta, Adam, particles; and the held-out evaluation."""

import dataclasses
import itertools

import meta_cases
import numpy as np
import pytest
from keras import tree

from keras_learned_rule.data.digits import load_digits
from keras_learned_rule.meta.estimators import PersistentES, TruncatedBackprop
from keras_learned_rule.meta.evaluate import Evaluator
from keras_learned_rule.meta.families import load_families
from keras_learned_rule.meta.metrics import Window
from keras_learned_rule.meta.networks import NetworkDistribution, NetworkSpec
from keras_learned_rule.meta.schedule import Horizon

RATE = 0.01


def run(trainer, updates):
    window = Window(trainer)
    records = []
    for _ in range(updates):
        window.add(trainer.update())
        records.append(window.record())
    return records


@pytest.fixture(scope="module")
def whole():
    """A trainer after six updates, its records, and (state, theta) after each."""
    trainer = meta_cases.trainer(
        learning_rate=RATE, horizon=Horizon((4, 9), (1, 2), grow_updates=3)
    )
    states, records = [trainer.state()], []
    for _ in range(6):
        records += run(trainer, 1)
        states.append(trainer.state())
    return trainer, records, states


@pytest.mark.slow
def test_theta_moves_by_the_rate_at_first_and_then_on(whole):
    trainer, _, states = whole
    for name, array in states[0]["theta"].items():
        # Adam's first update has the size of its rate wherever there is a gradient.
        moved = np.abs(states[1]["theta"][name] - array)
        np.testing.assert_allclose(moved[moved > 1e-4], RATE, rtol=1e-2)
        thetas = [state["theta"][name] for state in states]
        assert all(np.any(after != before) for before, after in itertools.pairwise(thetas))
    assert trainer.updates_done == 6


@pytest.mark.slow
def test_an_array_moves_by_the_rate_times_its_scale():
    problem = meta_cases.problem(scales={"merge/step": 5.0})
    trainer = meta_cases.trainer(problem=problem, learning_rate=RATE)
    start = meta_cases.theta()
    meta_cases.assert_equal(trainer.theta_arrays(), start, 1e-6)
    run(trainer, 1)
    for name, array in trainer.theta_arrays().items():
        moved = np.abs(array - start[name])
        rate = RATE * (5.0 if name == "merge/step" else 1.0)
        # Adam's epsilon makes it less where the gradient is tiny.
        np.testing.assert_allclose(moved[moved > 1e-4], rate, rtol=0.1)
        assert np.any(moved > 1e-4) or name not in ("merge/step", "merge/coefficients")


@pytest.mark.slow
def test_frozen_arrays_stay_and_the_others_move():
    start = meta_cases.theta()
    frozen = {"merge/step": start["merge/step"] + 0.5}
    for estimator in (TruncatedBackprop(), PersistentES(pairs=1)):
        problem = meta_cases.problem(frozen=frozen, estimator=estimator)
        trainer = meta_cases.trainer(problem=problem, learning_rate=RATE)
        run(trainer, 2)
        theta = trainer.theta_arrays()
        assert theta.keys() == start.keys()
        np.testing.assert_array_equal(theta["merge/step"], frozen["merge/step"])
        assert np.abs(theta["merge/coefficients"] - start["merge/coefficients"]).max() > 1e-4


@pytest.mark.slow
def test_inner_loops_go_on_and_begin_anew_when_over(whole):
    _, records, states = whole
    steps = np.cumsum([0] + [int(r["inner_steps"]) for r in records])
    for done, state in zip(steps[1:], states[1:], strict=True):
        particles = state["particles"][0]
        assert particles.step.shape == (2,) and np.all(particles.step <= particles.total_steps + 1)
        if done <= 4:
            np.testing.assert_array_equal(particles.step, done)
    lengths = {tuple(state["particles"][0].task_seed[0]) for state in states[1:]}
    assert len(lengths) >= 2


@pytest.mark.slow
def test_truncations_follow_the_schedule_and_each_is_one_program(whole):
    trainer, records, _ = whole
    drawn = [int(r["inner_steps"]) for r in records]
    assert drawn[:2] == [1, 1] and set(drawn) <= {1, 2}
    assert trainer.programs == {(0, k) for k in set(drawn)}


@pytest.mark.slow
def test_a_restored_trainer_goes_on_bit_for_bit(whole):
    trainer, records, states = whole
    other = meta_cases.trainer(
        learning_rate=RATE,
        horizon=Horizon((4, 9), (1, 2), grow_updates=3),
        theta={n: a + 1 for n, a in meta_cases.theta().items()},
    )
    other.restore(states[3], 3)
    assert run(other, 3) == records[3:]
    meta_cases.assert_equal(other.state(), trainer.state())


@pytest.mark.slow
def test_every_update_and_every_seed_draws_its_own_numbers():
    losses = []
    for seed in (0, 1):
        trainer = meta_cases.trainer(
            meta_cases.family(networks=NetworkSpec((5,))), seed=seed, learning_rate=0.0
        )
        losses += [record["meta_loss"] for record in run(trainer, 3)]
    assert len(set(losses)) == 6


@pytest.mark.slow
def test_buckets_are_drawn_for_each_update():
    family = meta_cases.family(networks=NetworkDistribution((0, 0), (6, 9)), buckets=2, tasks=1)
    trainer = meta_cases.trainer(family, buckets_a_update=1)
    used = [[r.bucket for r in trainer.update()] for _ in range(12)]
    assert all(len(u) == 1 for u in used) and {u[0] for u in used} == {0, 1}


@pytest.mark.slow
def test_a_diverged_inner_loop_is_replaced(whole):
    trainer = meta_cases.trainer(horizon=Horizon((50, 60), (1,)))
    trainer.update()
    state = trainer.state()
    w = state["particles"][0].carried[0]["w"]
    w[1, 0, 0] = np.nan
    trainer.restore(state, 1)
    record = run(trainer, 1)[0]
    particles = trainer.state()["particles"][0]
    assert record["restarted"] == 0.5 and record["skipped"] == 0.0
    assert all(np.all(np.isfinite(a)) for a in tree.flatten(particles.carried))
    np.testing.assert_array_equal(particles.step, [2, 1])


def test_non_finite_gradients_are_skipped_counted_and_move_nothing():
    theta = meta_cases.theta()
    theta["merge/log_temperature"] = np.full(3, -400.0, "float32")  # exp(-400) is 0.
    trainer = meta_cases.trainer(theta=theta)
    before = trainer.state()
    records = run(trainer, 2)
    assert [(r["skipped"], r["skipped_updates"]) for r in records] == [(1.0, 1), (1.0, 2)]
    after = trainer.state()
    meta_cases.assert_equal(after["theta"], before["theta"])
    meta_cases.assert_equal(after["adam"], before["adam"])
    trainer.restore({**before, "skipped": after["skipped"]}, 2)
    assert trainer.skipped_updates == 2


@pytest.mark.slow
def test_a_thousand_updates_at_a_hostile_rate_leave_theta_finite():
    # Without sizes: a network this small would share every step between two arrays.
    rule = dataclasses.replace(meta_cases.RULE, size_aware=False)
    trainer = meta_cases.trainer(
        meta_cases.family(networks=NetworkSpec((5,)), tasks=1, batches=(6,)),
        problem=meta_cases.problem(rule=rule),
        updates=10**9,
        learning_rate=30.0,
        horizon=Horizon((2, 4), (1,)),
    )
    for _ in range(1000):
        trainer.update()
    theta = trainer.theta_arrays()
    assert all(np.all(np.isfinite(array)) for array in theta.values())
    assert max(np.abs(array).max() for array in theta.values()) > 100.0
    assert all(np.all(np.isfinite(a)) for a in tree.flatten(trainer.state()["adam"]))


@pytest.mark.slow
def test_persistent_es_moves_theta_too():
    trainer = meta_cases.trainer(problem=meta_cases.problem(estimator=PersistentES(0.05, pairs=2)))
    record = run(trainer, 3)[-1]
    assert record["skipped"] == 0.0 and record["gradient_norm"] > 0
    sums = trainer.state()["particles"][0].carried["sums"]
    assert sums["merge/step"].shape == (2, 2, 3) and np.all(np.std(sums["merge/step"], axis=1) > 0)


@pytest.mark.slow
def test_losses_make_the_gradient_that_they_stand_for():
    trainers = []
    for exchange in ("gradients", "losses"):
        estimator = PersistentES(0.05, pairs=2, exchange=exchange)
        trainer = meta_cases.trainer(problem=meta_cases.problem(estimator=estimator))
        records = run(trainer, 4)
        state = trainer.state()
        # One task has losses that are not finite, and begins anew after it.
        state["particles"][0].carried["states"][0]["w"][1, 0] *= 1e38
        trainer.restore(state, 4)
        records += run(trainer, 3)
        assert [r["skipped"] for r in records] == [0, 0, 0, 0, 0.5, 0, 0]
        trainers.append(trainer)
    one, other = trainers
    meta_cases.assert_equal(one.theta_arrays(), other.theta_arrays(), 1e-5)
    meta_cases.assert_equal(
        other.state()["perturbations"][0], one.state()["particles"][0].carried["sums"], 1e-6
    )


def test_tasks_must_divide_over_replicas():
    engine = meta_cases.engine()
    engine.replicas = 3
    with pytest.raises(
        ValueError, match="multiple of the 3 replicas. Received: tasks=2 of 'digits"
    ):
        meta_cases.trainer(engine=engine)


@pytest.mark.parametrize("count", [0, 2])
def test_buckets_a_update_must_exist(count):
    with pytest.raises(ValueError, match=f"integer from 1 to 1. Received: {count}"):
        meta_cases.trainer(buckets_a_update=count)


WAYS, SHOTS, TESTS, WIDTHS = 5, 5, 5, (32, 16)


@pytest.fixture(scope="module")
def evaluator():
    family = meta_cases.family(
        networks=NetworkSpec(WIDTHS),
        tasks=3,
        ways=(WAYS, WAYS),
        shots=SHOTS,
        tests=TESTS,
        batches=(40,),
    )
    return Evaluator(meta_cases.engine(), meta_cases.problem(), *load_families([family], seed=0))


@pytest.fixture(scope="module")
def untrained(evaluator):
    return evaluator(meta_cases.theta(), steps=0)["digits"].accuracies


def test_no_steps_score_the_random_networks(evaluator, untrained):
    assert untrained.shape == (3,) and len(set(untrained)) == 3
    # A rule that does not move anything leaves the networks as they were drawn.
    still = meta_cases.theta()
    for name in ("merge/step", "merge/bias_rate"):
        still[name] = np.full_like(still[name], -100)
    scored = evaluator(still, steps=3)["digits"]
    np.testing.assert_allclose(scored.accuracies, untrained, atol=0.01)
    assert scored.mean == pytest.approx(scored.accuracies.mean())
    assert scored.standard_error == pytest.approx(scored.accuracies.std(ddof=1) / 3**0.5)


def test_the_rule_that_meta_training_starts_from_beats_random_networks(evaluator, untrained):
    learned = evaluator(meta_cases.theta(), steps=80)["digits"].accuracies
    assert np.all(learned > untrained + 0.05)
    again = evaluator(meta_cases.theta(), steps=80)["digits"].accuracies
    np.testing.assert_array_equal(again, learned)


def test_random_networks_score_as_in_numpy(untrained):
    x, y = load_digits()
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(60):
        classes = rng.choice(10, WAYS, replace=False)
        picked = [rng.choice(np.flatnonzero(y == c), SHOTS + TESTS, replace=False) for c in classes]
        a = x[np.stack(picked)]
        for width in WIDTHS:
            w = rng.standard_normal((a.shape[-1], width))
            z = a @ (w / np.linalg.norm(w, axis=0))
            a = np.maximum((z - z.mean((0, 1))) / z.std((0, 1)), 0)
        scores.append(ridge_accuracy(a[:, :SHOTS], a[:, SHOTS:]))
    assert abs(untrained.mean() - np.mean(scores)) < 0.06


def ridge_accuracy(train, test):
    classes, shots, width = train.shape
    y = np.repeat(np.eye(classes), shots, axis=0)
    mean = train.mean((0, 1))
    x = train.reshape(-1, width) - mean
    w = np.linalg.solve(x.T @ x + 0.1 * np.eye(width), x.T @ (y - y.mean(0)))
    return np.mean(np.argmax((test - mean) @ w, axis=-1) == np.arange(classes)[:, None])
