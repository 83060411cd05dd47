"""A run that is killed at any moment and started again ends as if nothing had happened."""

import json
import random

import children
import numpy as np
import pytest

from keras_learned_rule.rule.files import load_theta

UPDATES = {"jax": 200, "tensorflow": 60}
# Seconds after the first update, and moments of writing a file.
MOMENTS = {
    "jax": [None] * 3 + ["writing", "renaming", "renamed"],
    "tensorflow": ["writing", "renamed", None],
}
RATES = ("seconds", "updates_a_second", "inner_steps_a_second")


def start(folder, backend, run, cache, **settings):
    # Compiled programs are kept between the processes, or compiling would be most of the test.
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return children.start(
        backend,
        environment,
        run_dir=str(folder / run),
        updates=UPDATES[backend],
        tasks=2,
        checkpoint_every=2,
        out=str(folder / f"{run}.npz"),
        **settings,
    )


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in RATES} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", pytest.param("tensorflow", marks=pytest.mark.nightly)])
def test_killed_runs_end_bit_for_bit_like_an_uninterrupted_one(tmp_path, backend):
    cache = tmp_path / "cache"
    _, err = (whole := start(tmp_path, backend, "whole", cache)).communicate(timeout=600)
    assert whole.returncode == 0, err[-3000:]
    seconds = records_seconds(tmp_path / "whole")
    rng = random.Random(0)
    kills = 0
    for moment in MOMENTS[backend]:
        # Each kill leaves on average a tenth of the run behind it.
        after = moment or rng.uniform(0.0, seconds / 5)
        process = start(tmp_path, backend, "killed", cache, kill=after)
        process.communicate(timeout=600)
        kills += process.returncode == -9
        if process.returncode == 0:
            break
    assert kills >= 0.8 * len(MOMENTS[backend]), "the run ended too early to be killed often"
    last = start(tmp_path, backend, "killed", cache)
    _, err = last.communicate(timeout=600)
    assert last.returncode == 0, err[-3000:]
    expected, actual = children.read(tmp_path / "whole.npz"), children.read(tmp_path / "killed.npz")
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    assert records(tmp_path / "killed") == records(tmp_path / "whole")
    expected, actual = (load_theta(tmp_path / r / "best.safetensors") for r in ("whole", "killed"))
    assert actual[2]["meta_updates"] == expected[2]["meta_updates"]
    for name, array in expected[1].items():
        np.testing.assert_array_equal(actual[1][name], array, err_msg=name)
    assert not list((tmp_path / "killed").rglob("*.unfinished"))


def records_seconds(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return max(line.get("seconds", 0.0) for line in lines)
