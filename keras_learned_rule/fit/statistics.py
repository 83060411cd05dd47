"""Moving statistics of batch normalisation that keep up with weights that move fast."""

import keras
from keras import ops


def warm_momentum(momentum, step):
    """The momentum of a moving average that has seen `step` batches before this one.

    With momentum 0.99 a third of the starting value is left after 100 steps, and the average lags
    behind weights that move. Starting with a short memory it spans about the last tenth of the
    fit instead, until it has reached the layer's own momentum.

    Args:
        momentum: Float, the momentum of the layer.
        step: Scalar integer tensor, the number of the batch from 0.

    Returns:
        A scalar float32 tensor.
    """
    step = ops.cast(step, "float32")
    return ops.minimum(momentum, (1.0 + step) / (10.0 + step))


class MovingStatistics:
    """All moving means and variances of a model, so that `predict` sees what the rule saw.

    Those of unit layers are ours to update. Batch normalisation elsewhere, at the input for
    instance, updates its own whenever the rule runs the model forward; its step is corrected.

    Args:
        model: The built model.
        units: The `UnitVariables` of its unit layers.
        tail: Function that runs the layers above the embedding, or None where there are none.
    """

    def __init__(self, model, units, tail):
        self._tail = tail
        self._units = [unit for unit in units if unit.moving_mean is not None]
        self._has_norm = [unit.moving_mean is not None for unit in units]
        own = {id(v) for unit in self._units for v in (unit.moving_mean, unit.moving_variance)}
        self._loose = [
            (variable, layer.momentum)
            for layer in model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.momentum < 1.0
            for variable in (layer.moving_mean, layer.moving_variance)
            if id(variable) not in own
        ]

    def read_loose(self):
        """Values of the statistics that a forward pass updates by itself."""
        return [ops.copy(variable) for variable, _ in self._loose]

    def run_tail(self, embedding):
        """Runs the layers above the embedding, so that their statistics follow.

        Args:
            embedding: Tensor `[examples, units]`.
        """
        if self._tail is not None:
            self._tail(embedding)

    def restep_loose(self, before, after, step):
        """What the statistics of `read_loose` become with warm momentum.

        Args:
            before: Their values before the forward pass.
            after: Their values after it.
            step: Scalar integer tensor, the number of the batch.
        """
        return [
            old + (moved - old) * (1.0 - warm_momentum(momentum, step)) / (1.0 - momentum)
            for (_, momentum), old, moved in zip(self._loose, before, after, strict=True)
        ]

    def write_loose(self, values):
        """Sets the statistics of `read_loose`."""
        for (variable, _), value in zip(self._loose, values, strict=True):
            variable.assign(value)

    def move(self, means, variances, step, applied):
        """Moves the statistics of the unit layers towards those of a batch.

        Args:
            means: List over unit layers of `[n_upper]`, batch means of the product with w.
            variances: The same of variances.
            step: Scalar integer tensor, the number of the batch.
            applied: Scalar bool tensor; if false nothing changes.
        """
        for unit, mean, variance in zip(
            self._units, self._normed(means), self._normed(variances), strict=True
        ):
            # A Dense bias before batch normalisation shifts the mean and nothing else.
            mean = mean if unit.dense_bias is None else mean + unit.dense_bias
            keep = warm_momentum(unit.momentum, step)
            for variable, value in ((unit.moving_mean, mean), (unit.moving_variance, variance)):
                moved = keep * variable + (1.0 - keep) * value
                variable.assign(ops.where(applied, moved, variable))

    def _normed(self, values):
        return [value for value, has_norm in zip(values, self._has_norm, strict=True) if has_norm]
