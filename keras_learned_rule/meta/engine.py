"""Chooses the engine: the Keras backend decides the framework, gin the devices."""

from typing import Literal

import gin
import keras

from keras_learned_rule.checks import check_all, either, flag, integer, one_of
from keras_learned_rule.meta.engines.base import Engine

STRATEGIES = ("default", "mirrored", "multi_worker", "tpu")
_KINDS = {
    "strategy": one_of(STRATEGIES),
    "jit_compile": either(one_of(("auto",)), flag()),
    "cpu_devices": integer(least=1),
}


@gin.configurable
def make_engine(
    strategy: str = "default", jit_compile: bool | Literal["auto"] = "auto", cpu_devices: int = 1
) -> Engine:
    """Makes the engine for the Keras backend in use.

    On the backend `jax` it uses all devices, and XLA always. `jit_compile` and all strategies but
    "multi_worker" are TensorFlow's.

    Args:
        strategy: "default" for one device, "mirrored" for all local GPUs, "multi_worker" for
            several processes (docs/scaling.md), or "tpu" (docs/tpu.md).
        jit_compile: Whether XLA compiles the computation of each replica; on TPUs it always does.
            Defaults to `"auto"`: on GPUs. On CPUs it was no faster and takes minutes longer to
            compile.
        cpu_devices: Into how many devices to split a machine without accelerators, each with its
            share of the tasks. Must be set before the framework is first used; "mirrored" or JAX
            then use them. Defaults to `1`.

    Returns:
        An `Engine`.

    Raises:
        ValueError: The backend has no engine, there is no such strategy, no TPU, or nothing tells
            which processes there are.
        TimeoutError: The first of several processes cannot be reached.
        RuntimeError: The framework was in use before its CPU could be split.

    Example:
    ```python
    from keras_learned_rule.meta.engine import make_engine

    assert make_engine().replicas == 1
    ```
    """
    backend = keras.config.backend()
    check_all("make_engine", locals(), _KINDS)
    if backend == "jax":
        from keras_learned_rule.meta.engines.jax import JaxEngine, join_processes, split_cpu

        split_cpu(cpu_devices)
        if strategy == "multi_worker":
            join_processes()
        return JaxEngine()
    if backend == "tensorflow":
        from keras_learned_rule.meta.engines.tensorflow import TensorFlowEngine, split_cpu

        split_cpu(cpu_devices)
        return TensorFlowEngine(_strategy(strategy), jit_compile)
    raise ValueError(
        "Meta-training runs on the Keras backends 'tensorflow' and 'jax'; set KERAS_BACKEND. "
        f"Received: backend={backend!r}"
    )


def _strategy(name):
    import tensorflow as tf

    if name == "default":
        return None
    if name == "mirrored":
        cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
        gpus = tf.config.list_logical_devices("GPU")
        return tf.distribute.MirroredStrategy(None if gpus else cpus)
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    from keras_learned_rule.meta.engines.tpu import tpu_strategy

    return tpu_strategy()
