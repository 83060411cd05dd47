"""The meta-gradient depends neither on the devices nor on the framework that compute it."""

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


def test_theta_moves(one_device):
    for theta in one_device.values():
        assert np.abs(theta["merge/step"] - theta["merge/step"][0]).max() > 1e-3


TWO = {
    "tensorflow": {"strategy": "mirrored", "cpu_devices": 2},
    "jax": {"cpu_devices": 2},
}


@pytest.mark.parametrize("backend", TWO)
def test_two_devices_give_the_theta_of_one(folder, one_device, backend):
    theta, report = children.theta_after(folder, backend, f"{backend}-2", engine=TWO[backend])
    assert report["replicas"] == 2
    assert_close(theta, one_device[backend], 1e-5)


def test_two_workers_give_the_theta_of_one(folder, one_device):
    out = folder / "workers.npz"
    engine = {"strategy": "multi_worker"}
    processes = [
        children.start("tensorflow", environment, engine=engine, out=str(out))
        for environment in children.workers(2)
    ]
    reports = [children.finish(process) for process in processes]
    assert [report["replicas"] for report in reports] == [2, 2]
    assert_close(children.read(out), one_device["tensorflow"], 1e-5)


def test_xla_gives_the_theta_of_plain_tensorflow(folder, one_device):
    theta, _ = children.theta_after(folder, "tensorflow", "xla", engine={"jit_compile": True})
    assert_close(theta, one_device["tensorflow"], 1e-5)


@pytest.mark.parametrize("problem", [{}, {"remat": True}], ids=["kept", "remat"])
def test_jax_and_tensorflow_agree_on_the_same_draws(folder, problem):
    thetas = [
        children.theta_after(folder, backend, f"{backend}-table", table=True, problem=problem)
        for backend in ("tensorflow", "jax")
    ]
    assert_close(thetas[0][0], thetas[1][0], 1e-4)
    assert thetas[0][1]["tensorflow"] and not thetas[1][1]["tensorflow"]


def test_vectorized_tasks_give_the_same_theta(folder, one_device):
    theta, _ = children.theta_after(folder, "jax", "vectorized", problem={"vectorize": True})
    assert_close(theta, one_device["jax"], 1e-5)
