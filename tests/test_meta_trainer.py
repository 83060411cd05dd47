"""The compiled meta-update, its checkpoints, and scores on held-out tasks."""

import dataclasses

import meta_cases
import numpy as np
import pytest

from keras_learned_rule.meta.evaluate import Evaluator
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.tasks import TaskSpec
from keras_learned_rule.meta.trainer import MetaTrainer
from keras_learned_rule.rule.theta import init_theta

RATE = 0.01


@dataclasses.dataclass(frozen=True)
class CountedNetwork(NetworkSpec):
    """Counts how often it is built into a graph."""

    built: list = dataclasses.field(default_factory=list)

    def plan(self):
        self.built.append(1)
        return super().plan()


def trainer(networks=meta_cases.NETWORKS, theta=None):
    problem = meta_cases.problem(networks, lengths=(20, 30))
    theta = theta or init_theta(problem.rule)
    return MetaTrainer(problem, theta, 50, RATE, truncations=(1, 2))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, as (trainer, logs, thetas, number of tasks that went into its graphs).

    Six updates in one go; and the last three of them from a checkpoint.
    """
    networks = [CountedNetwork(widths=(8, 6)), meta_cases.NETWORKS[1]]
    whole, checkpoint = trainer(networks), str(tmp_path_factory.mktemp("run") / "ckpt")
    logs, thetas = [], [whole.theta_arrays()]
    for update in range(6):
        if update == 3:
            path = whole.checkpoint.save(checkpoint)
        logs.append(whole.update())
        thetas.append(whole.theta_arrays())
    # Another theta to start from shows that the checkpoint brings its own.
    other = trainer(theta={n: a + 1 for n, a in init_theta(meta_cases.RULE).items()})
    other.checkpoint.restore(path).assert_consumed()
    continued, restored = [], [other.theta_arrays()]
    for _ in range(3):
        continued.append(other.update())
        restored.append(other.theta_arrays())
    return (whole, logs, thetas, len(networks[0].built)), (other, continued, restored)


def test_updates_report_what_happened(runs):
    _, logs, _, _ = runs[0]
    for log in logs:
        assert all(np.isfinite(value) for value in log.values())
        assert log["skipped"] == 0 and log["gradient_norm"] > 0 and 0 <= log["accuracy"] <= 1
    assert {log["inner_steps"] for log in logs} == {1, 2}
    # The inner loops go on where the update before left them.
    done = np.cumsum([0] + [log["inner_steps"] for log in logs])
    assert [log["position"] for log in logs] == list(done[:-1])


def test_theta_moves_by_the_rate_at_first_and_then_on(runs):
    _, _, thetas, _ = runs[0]
    for name, array in thetas[0].items():
        # Adam's first update has the size of its rate wherever there is a gradient.
        moved = np.abs(thetas[1][name] - array)
        np.testing.assert_allclose(moved[moved > 0], RATE, rtol=1e-2)
        assert all(np.any(after[name] != before[name]) for before, after in zip(thetas, thetas[1:]))


def test_a_restored_trainer_goes_on_bit_for_bit(runs):
    (whole, logs, thetas, _), (other, continued, restored) = runs
    assert whole.updates_done == other.updates_done == 6
    assert continued == logs[3:]
    for one, same in zip(thetas[3:], restored, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], same[name])


def test_one_graph_for_each_number_of_inner_steps(runs):
    _, logs, _, built = runs[0]
    assert built == len({log["inner_steps"] for log in logs}) == 2


def test_every_update_and_every_seed_draws_its_own_numbers():
    # One network, inner loops of one step and a theta that does not move.
    problem = meta_cases.problem([NetworkSpec((5,))], lengths=(1, 1))
    theta, losses = init_theta(problem.rule), []
    for seed in (0, 1):
        run = MetaTrainer(problem, theta, 50, learning_rate=0.0, truncations=(1,), seed=seed)
        losses += [run.update()["meta_loss"] for _ in range(3)]
    assert len(set(losses)) == 6


WAYS, SHOTS, TESTS = 5, 5, 5
TASKS = meta_cases.plain(TaskSpec(side=8, ways=WAYS, shots=SHOTS, tests=TESTS, batch=40))
WIDTHS = (32, 16)


@pytest.fixture(scope="module")
def held_out():
    return meta_cases.problem([NetworkSpec(WIDTHS)], tasks=TASKS)


@pytest.fixture(scope="module")
def untrained(held_out):
    return Evaluator(held_out, tasks=3, steps=0)(init_theta(held_out.rule))


def test_no_steps_score_the_random_networks(held_out, untrained):
    assert untrained.shape == (1, 3) and len(set(untrained.flat)) == 3
    # A rule that does not move anything leaves the networks as they were drawn.
    still = init_theta(held_out.rule)
    for name in ("merge/step", "merge/bias_rate"):
        still[name] = np.full_like(still[name], -100)
    np.testing.assert_allclose(Evaluator(held_out, tasks=3, steps=3)(still), untrained, atol=0.01)


def test_the_rule_that_meta_training_starts_from_beats_random_networks(held_out, untrained):
    evaluator = Evaluator(held_out, tasks=3, steps=80)
    learned = evaluator(init_theta(held_out.rule))
    assert np.all(learned > untrained + 0.05)
    np.testing.assert_array_equal(evaluator(init_theta(held_out.rule)), learned)


def test_seeds_choose_the_held_out_tasks(held_out, untrained):
    other = Evaluator(held_out, tasks=3, steps=0, seed=1)(init_theta(held_out.rule))
    assert not set(other.flat) & set(untrained.flat)


def test_random_networks_score_as_in_numpy(untrained):
    images, table = meta_cases.digits()
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(60):
        classes = rng.choice(10, WAYS, replace=False)
        picked = [rng.choice(table[c], SHOTS + TESTS, replace=False) for c in classes]
        x = images[np.stack(picked)].reshape(WAYS, -1, 64) / 255
        for width in WIDTHS:
            w = rng.standard_normal((x.shape[-1], width))
            z = x @ (w / np.linalg.norm(w, axis=0))
            x = np.maximum((z - z.mean((0, 1))) / z.std((0, 1)), 0)
        scores.append(ridge_accuracy(x[:, :SHOTS], x[:, SHOTS:]))
    assert abs(untrained.mean() - np.mean(scores)) < 0.06


def ridge_accuracy(train, test):
    classes, shots, width = train.shape
    y = np.repeat(np.eye(classes), shots, axis=0)
    mean = train.mean((0, 1))
    x = train.reshape(-1, width) - mean
    w = np.linalg.solve(x.T @ x + 0.1 * np.eye(width), x.T @ (y - y.mean(0)))
    return np.mean(np.argmax((test - mean) @ w, axis=-1) == np.arange(classes)[:, None])
