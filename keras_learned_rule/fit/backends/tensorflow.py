"""The rule on TensorFlow: Keras compiles the step, `tf.distribute` makes copies of it."""

import keras
import tensorflow as tf

from keras_learned_rule.fit.backends.base import Backend

_STRATEGIES = ("_DefaultDistributionStrategy", "OneDeviceStrategy", "MirroredStrategy")


class TensorFlowBackend(Backend):
    """See `Backend`."""

    end_of_data = (StopIteration, tf.errors.OutOfRangeError)

    def check_compiled(self, model):
        """See `Backend`."""
        strategy = type(model.distribute_strategy).__name__
        if strategy not in _STRATEGIES:
            raise ValueError(
                "LearnedRule works without tf.distribute, with OneDeviceStrategy and with "
                f"MirroredStrategy. Received: {strategy}"
            )
        replicated = self.replicas(model) > 1
        if replicated and (model.steps_per_execution > 1 or model.jit_compile is True):
            raise ValueError(
                "With several replicas compile with steps_per_execution=1 and without "
                f"jit_compile=True. Received: steps_per_execution={model.steps_per_execution}, "
                f"jit_compile={model.jit_compile}"
            )

    def scope(self, model):
        """See `Backend`."""
        return model.distribute_strategy.scope()

    def replicas(self, model):
        """See `Backend`."""
        return model.distribute_strategy.num_replicas_in_sync

    def replicas_in_step(self):
        """See `Backend`."""
        return tf.distribute.get_replica_context().num_replicas_in_sync

    def sum_over_replicas(self, tensor):
        """See `Backend`."""
        return tf.distribute.get_replica_context().all_reduce("SUM", tensor)

    def make_step(self, step, *arguments):
        """See `Backend`."""
        # As in Keras' own steps: AutoGraph would take most of the time of tracing, and for nothing.
        return tf.autograph.experimental.do_not_convert(step)(*arguments)

    def rows(self, variable, rows):
        """See `Backend`."""
        return tf.gather(variable.value, rows)

    def put_rows(self, variable, rows, values):
        """See `Backend`."""
        if hasattr(variable.value, "scatter_update"):
            variable.value.scatter_update(tf.IndexedSlices(values, rows))
        else:  # A tensor, in a `keras.StatelessScope`.
            super().put_rows(variable, rows, values)

    def make_function(self, model, kind, step):
        """See `Backend`."""
        name = f"{kind}_step"
        setattr(model, name, step.run)
        try:
            getattr(keras.Model, f"make_{kind}_function")(model, force=True)
        finally:
            # The function has captured the step; the model keeps nothing that could outlive us.
            delattr(model, name)
        return getattr(model, f"{kind}_function")
