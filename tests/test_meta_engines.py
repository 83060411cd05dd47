"""The meta-gradient depends neither on the devices nor on the framework that compute it."""

import sys

import children
import numpy as np
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("theta")


@pytest.fixture(scope="module")
def one_device(folder):
    return {name: children.theta_after(folder, name, name)[0] for name in ("tensorflow", "jax")}


def assert_close(actual, expected, tolerance):
    assert set(actual) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.slow
def test_theta_moves(one_device):
    for theta in one_device.values():
        assert np.abs(theta["merge/step"] - theta["merge/step"][0]).max() > 1e-3


TWO = {
    "tensorflow": {"strategy": "mirrored", "cpu_devices": 2},
    "jax": {"cpu_devices": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("backend", TWO)
def test_two_devices_give_the_theta_of_one(folder, one_device, backend):
    theta, report = children.theta_after(folder, backend, f"{backend}-2", engine=TWO[backend])
    assert report["replicas"] == 2
    assert_close(theta, one_device[backend], 1e-5)


POOL = """
import glob, json, os

os.environ.pop("NPROC", None)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax
from keras_learned_rule.meta.engines.jax import split_cpu

split_cpu(2)
jax.devices()
names = [open(path).read() for path in glob.glob("/proc/self/task/*/comm")]
print(json.dumps(sum("XLAEigen" in name for name in names)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_devices_that_share_a_cpu_do_not_run_out_of_threads():
    assert children.report_of_jax(POOL) >= 8


def theta_of_processes(folder, backend, count, **settings):
    """The theta of so many processes of a run, of a device each."""
    out = folder / f"{backend}-{count}-processes.npz"
    settings |= {"engine": {"strategy": "multi_worker"}, "out": str(out)}
    processes = [
        children.start(backend, environment, **settings)
        for environment in children.workers(count, backend)
    ]
    reports = [children.finish(process) for process in processes]
    assert [report["replicas"] for report in reports] == [count] * count
    return children.read(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "count"),
    [("tensorflow", 2), ("jax", 2), pytest.param("jax", 4, marks=pytest.mark.nightly)],
)
def test_several_processes_give_the_theta_of_one(folder, one_device, backend, count):
    assert_close(theta_of_processes(folder, backend, count), one_device[backend], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", pytest.param("tensorflow", marks=pytest.mark.nightly)])
def test_processes_that_exchange_losses_give_the_theta_of_one(folder, backend):
    # Inner loops of two to five meta-updates: some begin anew.
    shared = {"updates": 7}
    one, _ = children.theta_after(folder, backend, "es", exchange="gradients", **shared)
    two = theta_of_processes(folder, backend, 2, exchange="losses", **shared)
    assert_close(two, one, 1e-5)


@pytest.fixture(scope="module")
def same_draws(folder):
    """The theta of plain TensorFlow, with random numbers drawn outside the engine."""
    theta, report = children.theta_after(folder, "tensorflow", "table", table=True)
    assert report["tensorflow"]
    return theta


# XLA's random numbers are others than TensorFlow's, even of the same algorithm.
SAME_DRAWS = {
    "xla": ("tensorflow", {"engine": {"jit_compile": True}}),
    "xla remat": ("tensorflow", {"engine": {"jit_compile": True}, "problem": {"remat": True}}),
    "jax": ("jax", {}),
    "jax remat": ("jax", {"problem": {"remat": True}}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SAME_DRAWS)
def test_frameworks_and_compilers_agree_on_the_same_draws(folder, same_draws, case):
    backend, settings = SAME_DRAWS[case]
    theta, report = children.theta_after(folder, backend, case, table=True, **settings)
    assert_close(theta, same_draws, 1e-4)
    assert report["tensorflow"] == (backend == "tensorflow")


@pytest.mark.slow
def test_vectorized_tasks_give_the_same_theta(folder, one_device):
    theta, _ = children.theta_after(folder, "jax", "vectorized", problem={"vectorize": True})
    assert_close(theta, one_device["jax"], 1e-5)
