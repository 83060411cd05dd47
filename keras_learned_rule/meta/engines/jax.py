"""The JAX engine: all devices of all processes, tasks sharded over them."""

import os
import socket
import time

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from keras import ops

from keras_learned_rule.meta.engines.base import Engine

AXIS = "replicas"
# On CPUs half of the compile time goes into optimisations of LLVM that gain nothing here.
CPU_OPTIONS = {"xla_backend_optimization_level": 1}
# JAX has one exception for whatever fails while a program runs.
SIGNS_OF_A_LOST_PROCESS = ("Gloo", "UNAVAILABLE", "DEADLINE_EXCEEDED", "Connection")
# Parts of a CPU wait for each other in threads of one pool. With a thread a core all of them may
# come to wait, so that none is left to compute and XLA aborts the process.
THREADS_A_CPU_DEVICE = 4


class JaxEngine(Engine):
    """See `Engine`. Compiled by XLA throughout.

    Args:
        devices: List of JAX devices. Defaults to all, of all processes.

    Example:
    ```python
    import keras

    if keras.config.backend() == "jax":
        from keras_learned_rule.meta.engines.jax import JaxEngine

        assert JaxEngine().replicas >= 1
    ```
    """

    def __init__(self, devices=None):
        devices = list(devices or jax.devices())
        self._mesh = Mesh(np.array(devices), (AXIS,))
        self.replicas, self.process = len(devices), jax.process_index()
        self.local_replicas = tuple(
            i for i, device in enumerate(devices) if device.process_index == self.process
        )
        self._options = CPU_OPTIONS if devices[0].platform == "cpu" else None
        kinds = sorted({device.device_kind for device in devices})
        self.described = f"jax {jax.__version__}, {len(devices)} x {', '.join(kinds)}"

    @staticmethod
    def uniform(seed, shape):
        return jax.random.uniform(_key(seed), shape)

    @staticmethod
    def normal(seed, shape):
        return jax.random.normal(_key(seed), shape)

    @staticmethod
    def fold_in(seed, number):
        key = jax.random.fold_in(_key(seed), number)
        return jax.lax.bitcast_convert_type(jax.random.key_data(key), jnp.int32)

    @staticmethod
    def loop(steps, body, carry):
        return ops.fori_loop(0, steps, body, carry)

    @staticmethod
    def each(function, trees):
        return ops.map(function, trees)

    @staticmethod
    def remat(function):
        return keras.remat(function)

    @staticmethod
    def value_and_gradient(function, theta):
        (value, aux), gradient = jax.value_and_grad(function, has_aux=True)(theta)
        return value, aux, gradient

    def share(self, tree):
        return self._placed(tree, PartitionSpec())

    def spread(self, tree):
        return self._placed(tree, PartitionSpec(AXIS))

    def fetch_shared(self, tree):
        return jax.tree.map(np.asarray, tree)

    def fetch_spread(self, tree):
        return jax.tree.map(_local_part, tree)

    def compile_shared(self, function):
        return jax.jit(
            function,
            out_shardings=self._sharding(PartitionSpec()),
            compiler_options=self._options,
        )

    def compile_spread(self, function):
        if self.replicas == 1:
            return jax.jit(function, compiler_options=self._options)

        def on_replica(shared, spread):
            spread, sums = function(shared, spread)
            # One message, however many arrays there are.
            flat, structured = ravel_pytree(sums)
            return spread, structured(jax.lax.psum(flat, AXIS))

        shared, spread = PartitionSpec(), PartitionSpec(AXIS)
        # Loop carries that start as constants would fail the check of what varies by replica.
        return jax.jit(
            jax.shard_map(
                on_replica,
                mesh=self._mesh,
                in_specs=(shared, spread),
                out_specs=(spread, shared),
                check_vma=False,
            ),
            compiler_options=self._options,
        )

    def lost_process(self, error):
        known = isinstance(error, jax.errors.JaxRuntimeError) and not self.alone
        return known and any(sign in str(error) for sign in SIGNS_OF_A_LOST_PROCESS)

    def least(self, number):
        return int(np.min(multihost_utils.process_allgather(np.int32(number))))

    def _placed(self, tree, spec):
        sharding = self._sharding(spec)
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(sharding, np.asarray(array)), tree
        )

    def _sharding(self, spec):
        return NamedSharding(self._mesh, spec)


def _local_part(array):
    """What this process holds of an array that is spread, as NumPy."""
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def join_processes(seconds=60):
    """Joins the processes of a run, as KERAS_DISTRIBUTION_* or the cluster describe them.

    `keras.distribution.initialize` does the same, and waits for five minutes.

    Args:
        seconds: How long to wait for the others. Process 0 is then ended by JAX. Defaults to `60`.

    Raises:
        ValueError: Neither describes them.
        TimeoutError: Process 0 cannot be reached.
    """
    addresses = os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES")
    first = addresses and addresses.split(",")[0]
    names = "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"
    numbers = [int(os.environ[name]) if name in os.environ else None for name in names]
    # JAX aborts processes, and says little of why.
    print(f"Waiting up to {seconds} seconds for all processes of the run", flush=True)
    if first and numbers[1]:
        _wait_for(first, seconds)
    try:
        jax.distributed.initialize(first, *numbers, initialization_timeout=seconds)
    except ValueError as error:
        raise ValueError(
            "make_engine.strategy = 'multi_worker' needs KERAS_DISTRIBUTION_JOB_ADDRESSES, "
            "_NUM_PROCESSES and _PROCESS_ID in the environment, unless JAX knows the cluster "
            f"(docs/scaling.md). Received: {error}"
        ) from error


def _wait_for(address, seconds):
    """Waits until process 0 listens: where it does not, JAX would abort this process."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=seconds):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    "The first of KERAS_DISTRIBUTION_JOB_ADDRESSES must be that of process 0, "
                    f"which must start within {seconds} seconds of the others. "
                    f"Received: {address!r}, {error}"
                ) from error
            time.sleep(0.1)


def split_cpu(devices):
    """Makes JAX treat the CPU as several devices.

    Raises:
        RuntimeError: JAX is in use already and has fewer.
    """
    if devices > 1:
        jax.config.update("jax_num_cpu_devices", devices)
        threads = max(_cores(), THREADS_A_CPU_DEVICE * devices)
        os.environ.setdefault("NPROC", str(threads))


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _key(seed):
    return jax.random.wrap_key_data(jax.lax.bitcast_convert_type(seed, jnp.uint32))
