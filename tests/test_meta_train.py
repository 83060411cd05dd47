"""Whole runs: what they leave in their folder, how they stop, and what they refuse."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import meta_cases
import numpy as np
import pytest

from keras_learned_rule import UpdateRule
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.run import Intervals
from keras_learned_rule.meta.schedule import Horizon
from keras_learned_rule.meta.train import train
from keras_learned_rule.meta.trainer import MetaTrainer
from keras_learned_rule.rule.spec import RuleSpec


def run(folder, **overrides):
    settings = dict(
        rule=meta_cases.RULE,
        families=[meta_cases.family(networks=NetworkSpec((5,)), tasks=1)],
        held_out=[meta_cases.family(networks=NetworkSpec((5,)), tasks=2)],
        updates=6,
        horizon=Horizon((4, 9), (2,)),
        evaluation_steps=5,
        intervals=Intervals(log=2, evaluate=3, checkpoint=2),
    )
    return train(str(folder), **{**settings, **overrides})


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run(folder, tensorboard=True)


def test_the_log_tells_what_happened(finished):
    folder, _ = finished
    training = [r for r in records(folder) if "meta_loss" in r]
    evaluations = [r for r in records(folder) if "evaluation" in r]
    assert [r["update"] for r in training] == [2, 4, 6]
    assert [r["update"] for r in evaluations] == [0, 3, 6]
    last = training[-1]
    assert last["inner_steps"] == 2 and last["skipped"] == 0 and last["updates_a_second"] > 0
    assert last["by_data"]["digits"]["accuracy"] == pytest.approx(last["accuracy"])
    assert last["merge"]["coefficients/first/competition"] != 0.3
    digits = evaluations[-1]["evaluation"]["digits"]
    assert evaluations[-1]["held_out_accuracy"] == digits["accuracy"]
    assert digits["random"] == evaluations[0]["evaluation"]["digits"]["random"] != 0


def test_theta_files_say_where_they_came_from(finished):
    folder, trainer = finished
    last, best = (UpdateRule.load(folder / f"{name}.safetensors") for name in ("last", "best"))
    for name, array in trainer.theta_arrays().items():
        np.testing.assert_array_equal(last.theta[name], array)
    assert last.provenance["meta_updates"] == 6 and last.spec == meta_cases.RULE
    scores = {r["update"]: r["held_out_accuracy"] for r in records(folder) if "evaluation" in r}
    # Of equal scores the first is kept.
    assert best.provenance["meta_updates"] == max(scores, key=scores.get)
    held_out = best.provenance["held_out"]["digits"]["accuracy"]
    assert held_out == max(scores.values())
    for provenance in (best.provenance, json.loads((folder / "run.json").read_text())):
        assert provenance["versions"]["keras"] and "git" in provenance
        assert provenance["config"]["settings"]["updates"] == 6


def test_tensorboard_has_the_same_figures(finished):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, _ = finished
    events = accumulators.EventAccumulator(str(folder / "tensorboard")).Reload()
    logged = [r["meta_loss"] for r in records(folder) if "meta_loss" in r]
    assert [e.value for e in events.Scalars("meta_loss")] == pytest.approx(logged)


def test_a_finished_run_has_nothing_left_to_do(finished, capsys):
    folder, trainer = finished
    log = (folder / "metrics.jsonl").read_bytes()
    again = run(folder)
    assert "Continuing" in capsys.readouterr().out and again.programs == set()
    meta_cases.assert_equal(again.theta_arrays(), trainer.theta_arrays())
    assert (folder / "metrics.jsonl").read_bytes() == log


@pytest.mark.slow
def test_a_signal_ends_the_run_with_a_checkpoint(finished, tmp_path, monkeypatch, capsys):
    whole, update = finished[1], MetaTrainer.update

    def interrupted(trainer):
        if trainer.updates_done == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return update(trainer)

    monkeypatch.setattr(MetaTrainer, "update", interrupted)
    stopped = run(tmp_path)
    assert stopped.updates_done == 3 and "the same command continues" in capsys.readouterr().out
    monkeypatch.undo()
    resumed = run(tmp_path)
    assert resumed.updates_done == 6
    meta_cases.assert_equal(resumed.state(), whole.state())


@pytest.mark.slow
def test_a_run_that_diverges_keeps_its_best_theta_and_says_so(tmp_path):
    with pytest.raises(FloatingPointError, match="has diverged after 6 .*Received: 5 such meta"):
        run(tmp_path, learning_rate=1e6, max_skipped_updates=4, updates=9)
    last, best = (UpdateRule.load(tmp_path / f"{name}.safetensors") for name in ("last", "best"))
    assert np.abs(last.theta["merge/step"]).max() > 1e5 > np.abs(best.theta["merge/step"]).max()
    assert last.provenance["meta_updates"] == records(tmp_path)[-1]["update"] == 6
    assert [r["stopped"] for r in records(tmp_path) if "stopped" in r] == ["diverged"]


DIVERGING = """
include "gin_configs/quick.gin"
train.learning_rate = 1e6
train.max_skipped_updates = 4
train.evaluation_steps = 5
Horizon.lengths = (4, 9)
Horizon.truncations = (2,)
Intervals.log = 2
TaskFamily.buckets = 1
TaskFamily.tasks = 1
NetworkDistribution.depths = (1, 1)
NetworkDistribution.widths = (8, 8)
"""


@pytest.mark.slow
def test_the_command_of_a_run_that_diverges_fails_and_so_on_jax(tmp_path):
    pytest.importorskip("jax")
    (tmp_path / "diverging.gin").write_text(DIVERGING)
    command = [sys.executable, "-m", "keras_learned_rule.meta_train", "--gin_file", "diverging.gin"]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    assert "\nFloatingPointError: Meta-training has diverged" in f"\n{done.stderr}"
    folder = tmp_path / "runs" / "diverging"
    assert records(folder)[-1]["stopped"] == "diverged"
    assert np.abs(UpdateRule.load(folder / "best.safetensors").theta["merge/step"]).max() < 100


def test_other_settings_are_refused_and_named(finished):
    with pytest.raises(ValueError, match=r'(?s)same configuration.*-.*"updates": 6.*\+.*7'):
        run(finished[0], updates=7)
    with pytest.raises(ValueError, match=r"(?s)same configuration.*competition"):
        run(finished[0], rule=meta_cases.RULE.compact(terms=("competition",)))


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="run_dir must be a folder that can be written. Received: "):
        run(tmp_path / "file" / "run")


@pytest.mark.slow
def test_a_run_can_start_from_the_theta_of_another(finished, tmp_path):
    theta = finished[1].theta_arrays()
    start = str(finished[0] / "last.safetensors")
    trainer = run(tmp_path, start_from=start, updates=1, learning_rate=0.0)
    meta_cases.assert_equal(trainer.theta_arrays(), theta)
    with pytest.raises(ValueError, match="theta of the same rule.*Received: 'compact'"):
        run(tmp_path / "other", start_from="compact")


@pytest.mark.slow
def test_a_size_aware_run_can_start_from_a_rule_that_is_not(tmp_path):
    start = dataclasses.replace(meta_cases.RULE, size_aware=False)
    theta = {n: a + 0.01 for n, a in meta_cases.theta(start).items()}
    UpdateRule(start, theta).save(tmp_path / "start.safetensors")
    settings = dict(start_from=str(tmp_path / "start.safetensors"), updates=1, learning_rate=0.1)
    trainer = run(tmp_path / "run", frozen=list(theta), **settings)
    learned = trainer.theta_arrays()
    meta_cases.assert_equal({name: learned[name] for name in theta}, theta, 1e-6)
    assert np.abs(learned["merge/shallow/coefficients"]).max() > 0.05


@pytest.mark.slow
def test_patterns_freeze_what_they_match(finished, tmp_path):
    start = finished[0] / "last.safetensors"
    theta = run(tmp_path, start_from=str(start), frozen=["*/log_*", "merge/step"]).theta_arrays()
    before = UpdateRule.load(str(start)).theta
    same = {name for name in theta if np.array_equal(theta[name], before[name])}
    patterned = {name for name in theta if "/log_" in name}
    assert patterned | {"merge/step"} <= same and len(patterned) > 2
    assert not {"merge/coefficients", "merge/bias_rate", "merge/shallow/step"} & same


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"rule": RuleSpec.published(output_width=8), "families": [meta_cases.family()]},
            "embeddings of 8 units, the output_width of the rule. Received: .* units in bucket",
        ),
        ({"frozen": ["step"]}, "frozen must be names out of .*Received: unknown .'step'"),
        ({"start_from": "nowhere.safetensors"}, "start_from must be a preset, .*nowhere"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(tmp_path, settings, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_intervals_are_positive():
    with pytest.raises(
        ValueError, match="checkpoint must be an integer of at least 1. Received: 0"
    ):
        Intervals(checkpoint=0)
