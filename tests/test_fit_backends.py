"""`fit` keeps the same promises on every backend; a new backend is one line of `BACKENDS`."""

import functools
import importlib.util

import backend_child
import children
import numpy as np
import pytest

# What a backend needs, and its environment.
BACKENDS = {
    "tensorflow": ("tensorflow", {}),
    "jax": ("jax", {}),
    "jax with NNX": ("flax", {"KERAS_NNX_ENABLED": "true"}),
    "torch": ("torch", {}),
}
OTHERS = ["jax", "torch"]
QUICK, *SLOW = backend_child.CHECKS
# On JAX most of the time goes into compiling them.
SLOW.remove(FORMS := "models_of_every_form")
FOUR_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}


def start(name, argument, environment=()):
    """A process of `backend_child.py`; other backends do without TensorFlow."""
    needed, own = BACKENDS[name]
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}: pip install {needed}")
    return children.start_script(
        "backend_child.py",
        argument,
        name.split()[0],
        {**own, **dict(environment)},
        tensorflow=name == "tensorflow",
    )


def failures(backend, names, environment=()):
    return failures_of(start(backend, names, environment), names)


def failures_of(process, names):
    outcomes = children.finish(process)
    assert list(outcomes) == list(names)
    return "\n".join(f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome)


@pytest.mark.parametrize("backend", OTHERS)
def test_a_fit_without_tensorflow(backend):
    assert not failures(backend, [QUICK])


def slow(backend, by_day):
    """A case for pytest; the suite without children shows what TensorFlow's shows."""
    marks = [pytest.mark.slow] + [pytest.mark.nightly] * (backend not in by_day)
    return pytest.param(backend, marks=marks)


@pytest.mark.parametrize("backend", [slow(name, OTHERS) for name in BACKENDS])
def test_what_fit_promises(backend):
    assert not failures(backend, SLOW)


@pytest.mark.parametrize("backend", [slow(name, ["torch"]) for name in BACKENDS])
def test_models_of_every_form(backend):
    assert not failures(backend, [FORMS])


@pytest.mark.slow
def test_several_devices_of_jax():
    assert not failures("jax", list(backend_child.DEVICE_CHECKS), FOUR_DEVICES)


@pytest.mark.slow
def test_several_processes_of_jax():
    names = list(backend_child.PROCESS_CHECKS)
    both = [start("jax", names, described) for described in children.workers(2, "jax")]
    assert not "".join(failures_of(process, names) for process in both)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    @functools.cache
    def of(backend):
        path = str(tmp_path_factory.mktemp(backend) / "weights.npz")
        children.finish(start(backend, path))
        return children.read(path)

    return of


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_twenty_steps_give_the_same_weights(backend, weights):
    expected, actual = weights("tensorflow"), weights(backend)
    assert set(actual) == set(expected)
    moved = 0
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=1e-4, err_msg=name)
        moved += np.abs(value - expected[name.replace("after", "before")]).max() > 0.01
    # Kernels, offsets and moving statistics, but for scales, biases behind none, and the head.
    assert moved >= 25
