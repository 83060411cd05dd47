"""The meta-training command: runs, logs, survives being killed, stops when asked to."""

import json
import signal
import subprocess
import sys
import time

import gin
import numpy as np
import pytest
from conftest import ROOT

import keras_learned_rule.meta.train as train
from keras_learned_rule.meta.run_folder import RunFolder
from keras_learned_rule.rule.files import load_theta
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

TINY = {
    "train.tasks": "[@shallow/TaskSpec()]",
    "shallow/NetworkSpec.widths": "(8, 4)",
    "TaskSpec.side": "6",
    "TaskSpec.batch": "8",
    "TaskSpec.ways": "3",
    "TaskSpec.shots": "2",
    "TaskSpec.tests": "2",
    "train.truncations": "(3,)",
    "train.lengths": "(4, 9)",
    "train.evaluation_tasks": "1",
    "train.evaluation_steps": "3",
    "train.evaluate_every": "5",
    "train.checkpoint_every": "2",
}


def command(run_dir, gin_file="gin_configs/glyphs_quick.gin", **bindings):
    settings = {**TINY, **{name.replace("__", "."): value for name, value in bindings.items()}}
    flags = [f"--gin={name} = {value}" for name, value in settings.items()]
    module = [sys.executable, "-m", "keras_learned_rule.meta_train"]
    return [*module, "--gin_file", gin_file, "--run_dir", str(run_dir), *flags]


@pytest.fixture(autouse=True)
def clean_gin():
    yield
    gin.clear_config()


def train_here(root, run_dir, **bindings):
    """The same run as `command`, without another process."""
    flags = [flag.removeprefix("--gin=") for flag in command(run_dir, **bindings)[7:]]
    with gin.unlock_config():
        gin.clear_config()
        files = [str(root / "gin_configs" / "glyphs_quick.gin")]
        gin.parse_config_files_and_bindings(files, flags)
    return train.train(str(run_dir))


def records(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole")
    result = subprocess.run(
        command(run_dir, train__updates="12"), cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return run_dir, result


def test_a_run_shows_progress_logs_and_writes_theta_files(uninterrupted):
    run_dir, result = uninterrupted
    assert "12/12" in result.stdout and "meta_loss" in result.stdout
    log = records(run_dir)
    assert [r["update"] for r in log] == [0, 5, 10, 10, 12]
    assert all(0 <= r["held_out_accuracy"] <= 1 for r in log if "held_out_accuracy" in r)
    trained = next(r for r in log if "meta_loss" in r)
    assert trained["inner_steps"] == 3 and np.isfinite(trained["gradient_norm"])
    spec, theta, provenance = load_theta(run_dir / "last.safetensors")
    assert spec == RuleSpec.compact()
    assert provenance["meta_updates"] == 12
    assert provenance["config"]["tasks"][0]["side"] == 6
    start = init_theta(spec)
    assert any(np.any(theta[name] != start[name]) for name in theta)
    best = load_theta(run_dir / "best.safetensors")[2]
    assert best["held_out_accuracy"] == max(r.get("held_out_accuracy", 0) for r in log)


def test_a_killed_run_continues_as_if_it_had_not_been_killed(root, tmp_path, uninterrupted):
    process = subprocess.Popen(command(tmp_path, train__updates="12"), cwd=root)
    wait_for(lambda: list(tmp_path.glob("checkpoints/ckpt-4.index")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert load_theta(tmp_path / "last.safetensors")[2]["meta_updates"] < 12
    train_here(root, tmp_path, train__updates="12")
    assert_same_run(tmp_path, uninterrupted[0])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_asked_to_stop_writes_a_checkpoint_and_continues(
    root, tmp_path, uninterrupted, how, monkeypatch, capsys
):
    update = train.MetaTrainer.update

    def update_and_stop(trainer):
        logs = update(trainer)
        if trainer.updates_done == 3:
            signal.raise_signal(how)
        return logs

    before = signal.getsignal(how)
    with monkeypatch.context() as patch:
        patch.setattr(train.MetaTrainer, "update", update_and_stop)
        train_here(root, tmp_path, train__updates="12")
    assert signal.getsignal(how) is before
    assert load_theta(tmp_path / "last.safetensors")[2]["meta_updates"] == 3
    assert "Stopped after 3 meta-updates; the same command continues" in capsys.readouterr().out
    if how == signal.SIGINT:
        train_here(root, tmp_path, train__updates="12")
        assert "Continuing" in capsys.readouterr().out
        assert_same_run(tmp_path, uninterrupted[0])


def assert_same_run(run_dir, other_dir):
    theta, other = (load_theta(d / "last.safetensors")[1] for d in (run_dir, other_dir))
    for name, array in other.items():
        np.testing.assert_array_equal(theta[name], array, err_msg=name)
    fields = ("update", "meta_loss", "held_out_accuracy")
    assert [[r.get(f) for f in fields] for r in records(run_dir)] == [
        [r.get(f) for f in fields] for r in records(other_dir)
    ]


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended early"
        assert time.monotonic() < end, "the run did not get there in time"
        time.sleep(0.01)


def test_a_folder_of_another_run_is_refused(root, uninterrupted):
    run_dir, _ = uninterrupted
    before = (run_dir / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="same configuration. Received: .*'updates'"):
        train_here(root, run_dir, train__updates="13")
    assert (run_dir / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "binding, message",
    [
        ({"train__lengths": "(9, 4)"}, "lengths must be"),
        ({"train__truncations": "(0,)"}, "truncations must be"),
        ({"train__held_out_fraction": "0.5"}, "held_out_fraction is taken twice"),
        ({"train__tasks": "[]"}, "tasks must hold at least one"),
        ({"TaskSpec__ways": "1"}, "ways must be at least 2"),
        ({"TaskSpec__ways": "60"}, "ways must be at most the number of characters"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(root, tmp_path, binding, message):
    with pytest.raises(ValueError, match=f"{message}.*Received: "):
        train_here(root, tmp_path / "run", **binding)
    assert not (tmp_path / "run").exists()


def test_a_run_killed_before_its_first_checkpoint_starts_over(root, tmp_path, uninterrupted):
    folder = RunFolder(tmp_path, json.loads((uninterrupted[0] / "run.json").read_text()))
    folder.log({"update": 0, "held_out_accuracy": 2.0})
    train_here(root, tmp_path, train__updates="12")
    assert_same_run(tmp_path, uninterrupted[0])
    assert (tmp_path / "best.safetensors").exists()


def test_a_line_that_a_kill_cut_off_is_ignored(tmp_path):
    folder = RunFolder(tmp_path, {"seed": 1})
    folder.log({"update": 1})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"update": 2, "meta_')
    assert folder.records() == [{"update": 1}]


@pytest.mark.parametrize("name, kinds", [("glyphs", 6), ("glyphs_quick", 2)])
def test_every_gin_file_runs(root, tmp_path, name, kinds):
    files = [str(root / "gin_configs" / f"{name}.gin")]
    tiny = ["updates = 2", "truncations = (2,)", "evaluation_tasks = 1", "evaluation_steps = 2"]
    gin.parse_config_files_and_bindings(files, [f"train.{binding}" for binding in tiny])
    trainer = train.train(str(tmp_path))
    assert trainer.updates_done == 2 and len(trainer.problem.tasks) == kinds
    assert len(list((root / "gin_configs").glob("*.gin"))) == 2, "add the new file here"
