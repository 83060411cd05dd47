"""The TensorFlow engine: tf.function, XLA, and any tf.distribute strategy."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_learned_rule.meta.engines.base import Engine

# Left to itself, TensorFlow draws other numbers with XLA than without.
ALGORITHM = "philox"
SIGNS_OF_A_LOST_PROCESS = (
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)


class TensorFlowEngine(Engine):
    """See `Engine`.

    XLA compiles what each replica computes on its own; sums over replicas stay outside, since XLA
    cannot reach across the devices of a `MirroredStrategy`.

    Args:
        strategy: A `tf.distribute.Strategy`. Defaults to the current one.
        jit_compile: Whether XLA compiles the replicas' computation; on TPUs it always does.
            Defaults to `"auto"`: on GPUs.

    Example:
    ```python
    import tensorflow as tf
    from keras_learned_rule.meta.engines.tensorflow import TensorFlowEngine

    engine = TensorFlowEngine(tf.distribute.MirroredStrategy())
    total = engine.compile_spread(lambda shared, x: (x, tf.reduce_sum(x * shared)))
    x = engine.spread(tf.ones((engine.replicas, 3)))
    assert engine.fetch_shared(total(engine.share(tf.constant(2.0)), x)[1]) == 6 * engine.replicas
    ```
    """

    def __init__(self, strategy=None, jit_compile="auto"):
        self._strategy = strategy or tf.distribute.get_strategy()
        if isinstance(self._strategy, tf.distribute.TPUStrategy):
            jit_compile = None  # TensorFlow's word for: as it is done on TPUs.
        elif jit_compile == "auto":
            jit_compile = any(d.device_type != "CPU" for d in tf.config.list_logical_devices())
        self._jit_compile = jit_compile
        # XLA cannot compile what becomes of loops in a vectorised function.
        self.vectorizes = jit_compile is False
        self.replicas = self._strategy.num_replicas_in_sync
        ids = self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(context.replica_id_in_sync_group)
        )
        self.local_replicas = tuple(int(i) for i in self._local(ids))
        resolver = self._strategy.cluster_resolver
        workers = isinstance(self._strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.process = resolver.task_id or 0 if workers else 0
        self.described = (
            f"tensorflow {tf.__version__}, {type(self._strategy).__name__}, {self.replicas} "
            f"replicas, {'no XLA' if jit_compile is False else 'XLA'}"
        )

    @staticmethod
    def uniform(seed, shape):
        return tf.random.stateless_uniform(shape, seed, alg=ALGORITHM)

    @staticmethod
    def normal(seed, shape):
        return tf.random.stateless_normal(shape, seed, alg=ALGORITHM)

    @staticmethod
    def fold_in(seed, number):
        return tf.random.fold_in(seed, number, alg=ALGORITHM)

    @staticmethod
    def loop(steps, body, carry):
        # XLA differentiates loops only if it knows their length.
        return ops.while_loop(
            lambda k, carry: k < steps,
            lambda k, carry: (k + 1, body(k, carry)),
            (tf.constant(0), carry),
            maximum_iterations=steps,
        )[1]

    @staticmethod
    def each(function, trees):
        # ops.map calls the function twice, the first time for shapes: it shall trace only once.
        return ops.map(tf.function(function, autograph=False), trees)

    @staticmethod
    def remat(function):
        return keras.remat(function)

    @staticmethod
    def value_and_gradient(function, theta):
        with tf.GradientTape() as tape:
            tape.watch(theta)
            value, aux = function(theta)
        return value, aux, tape.gradient(value, theta, unconnected_gradients="zero")

    def share(self, tree):
        return tf.nest.map_structure(lambda a: self._placed(lambda i: a), tree)

    def spread(self, tree):
        first, parts = self.local_replicas[0], len(self.local_replicas)

        def part(array, replica):
            size = len(array) // parts
            return array[(replica - first) * size : (replica - first + 1) * size]

        return tf.nest.map_structure(lambda a: self._placed(lambda i: part(a, i)), tree)

    def fetch_shared(self, tree):
        return tf.nest.map_structure(lambda a: self._local(a)[0].numpy(), tree)

    def fetch_spread(self, tree):
        return tf.nest.map_structure(
            lambda a: np.concatenate([part.numpy() for part in self._local(a)]), tree
        )

    def compile_shared(self, function):
        compiled = tf.function(function, autograph=False, jit_compile=self._jit_compile)
        return self._on_replicas(compiled)

    def compile_spread(self, function):
        compiled = tf.function(function, autograph=False, jit_compile=self._jit_compile)

        def on_replica(shared, spread):
            spread, sums = compiled(shared, spread)
            # Several workers cannot sum nothing.
            if self.replicas > 1 and tf.nest.flatten(sums):
                context = tf.distribute.get_replica_context()
                sums = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
            return spread, sums

        return self._on_replicas(on_replica)

    def _on_replicas(self, function):
        # A partial, not a lambda: TensorFlow warns of retracing where many functions share a code.
        return tf.function(functools.partial(self._run, function), autograph=False)

    def _run(self, function, *trees):
        return self._strategy.run(function, args=trees)

    def lost_process(self, error):
        return isinstance(error, SIGNS_OF_A_LOST_PROCESS) and not self.alone

    def least(self, number):
        if self.alone:
            return number
        # Strategies sum over replicas: each puts its number in a place of its own.
        places = number * np.eye(self.replicas, dtype="int32")[list(self.local_replicas)]
        gather = self.compile_spread(lambda shared, rows: ((), rows[0]))
        return int(self.fetch_shared(gather((), self.spread(places))[1]).min())

    def _placed(self, value):
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(value(context.replica_id_in_sync_group))
        )

    def _local(self, value):
        return self._strategy.experimental_local_results(value)


def split_cpu(devices):
    """Makes TensorFlow treat the CPU as several devices.

    Raises:
        RuntimeError: TensorFlow is in use already and has fewer.
    """
    cpu = tf.config.list_physical_devices("CPU")[0]
    if devices > 1 and len(tf.config.get_logical_device_configuration(cpu) or [0]) != devices:
        parts = [tf.config.LogicalDeviceConfiguration()] * devices
        tf.config.set_logical_device_configuration(cpu, parts)
