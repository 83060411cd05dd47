"""A run of two processes: what it leaves, and what happens when one of them is killed."""

import subprocess
import sys
import time

import children
import numpy as np
import pytest

from keras_learned_rule.rule.files import load_theta

pytestmark = pytest.mark.slow
BINDINGS = [
    "train.updates = 20",
    "train.evaluation_steps = 5",
    "compact_rule.terms = ('competition', 'decorrelation')",
    "train.horizon = @Horizon()",
    "Horizon.lengths = (5, 10)",
    "Horizon.truncations = (5,)",
    "NetworkDistribution.depths = (1, 1)",
    "TaskFamily.tasks = 2",
    "TaskFamily.buckets = 1",
    "train.learning_rate = 0.005",
    "Intervals.checkpoint = 5",
    "Intervals.log = 1",
    "make_engine.strategy = 'multi_worker'",
]


def command(run_dir, bindings):
    flags = [flag for binding in bindings for flag in ("--gin", binding)]
    program = [sys.executable, "-m", "keras_learned_rule.meta_train"]
    return [*program, "--gin_file", "gin_configs/quick.gin", "--run_dir", str(run_dir), *flags]


def started(run_dir, backend, others=("", "")):
    return [
        subprocess.Popen(
            command(run_dir, BINDINGS + [other] * bool(other)),
            env=children.environment_of(backend, own),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own, other in zip(children.workers(2, backend), others, strict=True)
    ]


def ended(processes):
    return [(*process.communicate(timeout=300), process.returncode) for process in processes]


def wait_for(log, updates):
    deadline = time.time() + 300
    while not log.exists() or log.read_text().count("meta_loss") < updates:
        assert time.time() < deadline
        time.sleep(0.05)


def kill_one(run_dir, backend):
    """Begins a run, kills its second process, and looks at what the first one says."""
    both = started(run_dir, backend)
    wait_for(run_dir / "metrics.jsonl", 7)
    both[1].kill()
    (_, error, status), _ = ended(both)
    assert status == 1
    message = "LostProcessError: All processes of a run must"
    assert any(line.startswith(message) for line in error.splitlines()), error


def test_a_process_ends_and_says_why_when_another_was_killed(tmp_path):
    pytest.importorskip("jax", reason="needs jax: pip install jax")
    kill_one(tmp_path / "killed", "jax")


@pytest.mark.nightly
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_run_goes_on_after_one_of_its_processes_was_killed(tmp_path, backend):
    pytest.importorskip(backend, reason=f"needs {backend}: pip install {backend}")
    whole = ended(started(tmp_path / "whole", backend))
    assert [result[-1] for result in whole] == [0, 0], whole
    kill_one(tmp_path / "killed", backend)
    again = ended(started(tmp_path / "killed", backend))
    assert [result[-1] for result in again] == [0, 0], again
    assert all("Continuing" in out for out, _, _ in again)
    files = (tmp_path / run / "last.safetensors" for run in ("whole", "killed"))
    expected, actual = (load_theta(file)[1] for file in files)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    # One log, written by one process.
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert sum('"meta_loss"' in line for line in lines) == 20


JOINING = """
import json, os
os.environ.update({environment!r})
from keras_learned_rule.meta.engines.jax import join_processes
try:
    join_processes(seconds=3)
except (ValueError, TimeoutError) as error:
    print(json.dumps(str(error)), flush=True)
    os._exit(0)
"""


def test_processes_that_nothing_describes_are_an_error():
    pytest.importorskip("jax", reason="needs jax: pip install jax")
    message = children.report_of_jax(JOINING.format(environment={}))
    assert "needs KERAS_DISTRIBUTION_JOB_ADDRESSES" in message


def test_a_process_does_not_wait_for_ever_for_the_first():
    pytest.importorskip("jax", reason="needs jax: pip install jax")
    _, second = children.workers(2, "jax")
    message = children.report_of_jax(JOINING.format(environment=second))
    assert "which must start within 3 seconds of the others. Received: '127.0.0.1:" in message


@pytest.mark.parametrize("backend", ["jax", pytest.param("tensorflow", marks=pytest.mark.nightly)])
def test_processes_with_other_settings_are_an_error(tmp_path, backend):
    pytest.importorskip(backend, reason=f"needs {backend}: pip install {backend}")
    others = "train.learning_rate = 0.1", "train.learning_rate = 0.2"
    for _, error, status in ended(started(tmp_path, backend, others)):
        assert status == 1
        assert "must have the same gin configuration and versions" in error
