"""What a fit with the rule reports per epoch."""

import keras
from keras import ops

from keras_learned_rule.fit import backends
from keras_learned_rule.fit.layer_sizes import LayerSizes
from keras_learned_rule.fit.step import effective_rank, learned_rule_step

# The name under which Keras lists the metrics given to `compile`.
COMPILED_METRICS = "compile_metrics"


class Monitor:
    """Training and validation steps of the rule, with means over the epoch as logs.

    The means live here and not among the model's metrics: Keras would otherwise report the
    model's loss, which the rule does not compute.

    Args:
        model: The compiled model whose metrics to report.
        chain: The chain that the rule trains: the model itself, or a part of it that takes the
            same input.
        form: `InputForm` of the chain.
        log_layers: Whether the logs hold the update size of each layer, too.

    Attributes:
        metrics: The means; validation uses the second.
        layer_sizes: The first of them, `LayerSizes`.
    """

    def __init__(self, model, chain, form, log_layers):
        self._model, self._chain = model, chain
        self._input = form
        with backends.current().scope(model):
            self.layer_sizes = LayerSizes(chain, log_layers)
            self._effective_rank = keras.metrics.Mean("effective_rank")
        self.metrics = [self.layer_sizes, self._effective_rank]

    @property
    def variables(self):
        """The variables of the means."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def reset(self):
        """Starts new means."""
        for metric in self.metrics:
            metric.reset_state()

    def begin_validation(self):
        """Starts new means of what validation reports; those of training stay."""
        self._effective_rank.reset_state()

    def train_step(self, binding, data):
        """One step of the rule on a batch as Keras passes it; labels are not used.

        Args:
            binding: `RuleBinding`.
            data: x, (x, y) or (x, y, sample_weight).

        Returns:
            Dict of logs: means over the epoch so far, and metrics given to `compile`.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        logs = learned_rule_step(binding, x)
        self.layer_sizes.update_state(binding.kernels, logs["update_sizes"], logs["applied"])
        self._effective_rank.update_state(logs["effective_rank"], sample_weight=logs["applied"])
        return self._results(self.metrics, x, y, sample_weight)

    def test_step(self, data):
        """The effective rank of the output, mean over outputs, and metrics given to `compile`."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        for output in keras.tree.flatten(self._output(self._chain, x)):
            self._effective_rank.update_state(effective_rank(_rows(output)))
        return self._results([self._effective_rank], x, y, sample_weight)

    def _results(self, metrics, x, y, sample_weight):
        results = {}
        for metric in metrics:
            result = metric.result()
            results |= result if isinstance(result, dict) else {metric.name: result}
        return {**results, **self._compiled_metrics(x, y, sample_weight)}

    def _compiled_metrics(self, x, y, sample_weight):
        if COMPILED_METRICS not in self._model.metrics_names:
            return {}
        if y is None:
            raise ValueError(
                "compile(metrics=...) needs labels, and the rule trains without: pass y to fit "
                "(it is used for the metrics only) or compile without metrics. "
                "Received: y=None"
            )
        output = self._output(self._model, x)
        results = self._model.compute_metrics(x, y, output, sample_weight)
        return {name: value for name, value in results.items() if name != "loss"}

    def _output(self, model, x):
        return model(self._input.batch(x), training=False)


def _rows(output):
    """An output as `[examples, units]`; one without an axis of units has one unit."""
    units = ops.shape(output)[-1] if len(output.shape) > 1 else 1
    return ops.reshape(output, (-1, units))
