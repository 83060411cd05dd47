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


class WarmMomentum:
    """Lets the batch normalisations of a model move their statistics by `warm_momentum`.

    Args:
        model: The built model.

    Attributes:
        layers: The layers that keep moving statistics, to be `watched`.
    """

    def __init__(self, model):
        self.layers = [
            layer
            for layer in model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.momentum < 1.0
        ]
        self._own = {id(layer): layer.momentum for layer in self.layers}

    def call(self, step, layer, number, call, args, kwargs):
        """Makes a call of a layer.

        Args:
            step: Scalar integer tensor, the number of the batch.
            layer: A Keras layer, with moving statistics or without.
            number: See `watched`; all calls are alike.
            call: Its `call`.
            args: Positional arguments.
            kwargs: Keyword arguments.

        Returns:
            The output of the layer.
        """
        del number
        own = self._own.get(id(layer))
        if own is None:
            return call(*args, **kwargs)
        # Past the layer's own `__setattr__`: a tensor is nothing that it should keep.
        vars(layer)["momentum"] = warm_momentum(own, step)
        try:
            return call(*args, **kwargs)
        finally:
            vars(layer)["momentum"] = own


def take_statistics(model, run):
    """Sets the moving statistics of batch normalisation to those of one batch.

    Args:
        model: The built model.
        run: Function without arguments that runs the model forward in training mode.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule.fit.statistics import take_statistics

    model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
    take_statistics(model, lambda: model(np.array([[1.0], [3.0]]), training=True))
    assert model.layers[0].moving_mean[0] == 2.0
    ```
    """
    norms = WarmMomentum(model).layers
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        run()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class MovingStatistics:
    """What a forward pass in training mode changes by itself, such as moving means.

    Args:
        model: The built model.
    """

    def __init__(self, model):
        self._variables = [
            variable
            for layer in model._flatten_layers()
            for variable in layer._non_trainable_variables
            if keras.backend.is_float_dtype(variable.dtype)
        ]

    def read(self):
        """Copies of the values."""
        return [ops.copy(variable) for variable in self._variables]

    def write(self, moved, before, applied):
        """Sets the values.

        Args:
            moved: What they become.
            before: What they were before the forward pass.
            applied: Scalar bool tensor; if false they become what they were.
        """
        for variable, new, old in zip(self._variables, moved, before, strict=True):
            variable.assign(ops.where(applied, new, old))
