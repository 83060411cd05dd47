"""Starts programs of their own, such as `meta_child.py`, and reads what they left."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parent
PATHS = os.pathsep.join([str(TESTS.parent), str(TESTS)])


def start(backend, environment=(), **settings):
    """A child process; see `meta_child.SETTINGS`."""
    return start_script("meta_child.py", settings, backend, environment)


def environment_of(backend, more=()):
    """The environment of a child process, in which the tests can be imported."""
    own = {"KERAS_BACKEND": backend, "PYTHONPATH": PATHS, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **own, **dict(more)}


# Runs a script as if there were no TensorFlow: any import of it is an error.
_WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start_script(script, argument, backend, environment=(), tensorflow=True):
    """A child process of a script among the tests, which gets its argument as json."""
    environment = environment_of(backend, environment)
    prefix = [] if tensorflow else ["-c", _WITHOUT_TENSORFLOW]
    command = [sys.executable, *prefix, str(TESTS / script), json.dumps(argument)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process):
    """Waits; the last line of output as json, if there is one."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def report_of_jax(program):
    """The last line of output, as json, of a program that runs on the JAX backend."""
    pytest.importorskip("jax", reason="needs jax: pip install jax")
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, env=environment_of("jax"))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def theta_after(folder, backend, name="theta", **settings):
    """(theta, what the child reported) of a child that runs to its end."""
    path = Path(folder) / f"{name}.npz"
    report = finish(start(backend, out=str(path), **settings))
    return read(path), report


def read(path):
    with np.load(path) as file:
        return dict(file)


def workers(count, backend):
    """The environment of each of several processes of a run on this machine."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    describe = _tf_config if backend == "tensorflow" else _keras_distribution
    return [describe(addresses, i) for i in range(count)]


def _tf_config(addresses, process):
    task = {"type": "worker", "index": process}
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}


def _keras_distribution(addresses, process):
    return {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(addresses),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(len(addresses)),
        "KERAS_DISTRIBUTION_PROCESS_ID": str(process),
    }
