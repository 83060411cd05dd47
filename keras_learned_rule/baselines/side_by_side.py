"""Many copies of a network side by side in one model, so that all of them train at once."""

import math

import keras
from keras import layers, ops

from keras_learned_rule.checks import check, integer


def side_by_side(model: keras.Model, copies: int) -> keras.Model:
    """Makes a model of `copies` independent copies of a chain of dense layers.

    Small networks leave most of a machine idle; copies side by side share each operation. Every
    copy starts from the weights of `model`, which stays as it is.

    Args:
        model: built `keras.Sequential` (or Functional chain) of `Dense`, `BatchNormalization` and
            layers without weights, for inputs `[batch, ...]`.
        copies: int, at least 1.

    Returns:
        A `keras.Model` from `[batch, copies, ...]` to `[batch, copies, units]`. The first axis of
        its kernels and biases counts copies; batch-norm arrays hold the copies one after the
        other.

    Raises:
        ValueError: if `copies` is below 1, or a layer with weights is of another type.

    Example:
    ```python
    import keras
    from keras_learned_rule.baselines.side_by_side import side_by_side

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16, "relu")])
    assert side_by_side(model, copies=5).output_shape == (None, 5, 16)
    ```
    """
    check("copies", copies, integer(least=1))
    inputs = x = keras.Input((copies, *model.input_shape[1:]))
    for layer in _layers(model):
        x = _twin(layer, copies)(x)
    joint = keras.Model(inputs, x)
    start_copies(joint, model)
    return joint


def start_copies(joint: keras.Model, model: keras.Model) -> None:
    """Gives every copy in a model of `side_by_side` the weights of one network.

    Args:
        joint: what `side_by_side` made.
        model: `keras.Model` of the architecture that it was made from.

    Example:
    ```python
    import keras
    from keras_learned_rule.baselines.side_by_side import side_by_side, start_copies

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    joint = side_by_side(model, copies=5)
    model.layers[0].kernel.assign([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    start_copies(joint, model)
    assert joint.layers[-1].kernel[4, 2, 0] == 3.0
    ```
    """
    for twin, layer in zip(_layers(joint), _layers(model), strict=True):
        for variable, weight in zip(twin.variables, layer.variables, strict=True):
            copies = math.prod(variable.shape) // math.prod(weight.shape)
            tiled = ops.tile(weight[None], (copies,) + (1,) * len(weight.shape))
            variable.assign(ops.reshape(tiled, variable.shape))


def _layers(model):
    return [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]


def _twin(layer, copies):
    if isinstance(layer, layers.Dense):
        return layers.EinsumDense(
            "bri,rio->bro",
            output_shape=(copies, layer.units),
            bias_axes="ro" if layer.use_bias else None,
            activation=layer.activation,
        )
    if isinstance(layer, layers.BatchNormalization):
        config = {k: v for k, v in layer.get_config().items() if k not in ("name", "axis")}
        return _SplitNormalization(layers.BatchNormalization(**config))
    if layer.weights:
        raise ValueError(
            "`model` must be a chain of Dense, BatchNormalization and layers without weights. "
            f"Received: layer '{layer.name}' ({type(layer).__name__})"
        )
    return _Shared(layer)


class _SplitNormalization(layers.Layer):
    """Batch normalisation of each unit of each copy by itself."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def build(self, shape):
        self.norm.build((None, shape[1] * shape[2]))

    def call(self, x, training=False):
        flat = ops.reshape(x, (-1, x.shape[1] * x.shape[2]))
        return ops.reshape(self.norm(flat, training=training), ops.shape(x))

    def compute_output_shape(self, shape):
        return shape


class _Shared(layers.Layer):
    """A layer without weights, which acts on copies as on examples."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        y = self.layer(ops.reshape(x, (-1, *x.shape[2:])))
        return ops.reshape(y, (-1, x.shape[1], *y.shape[1:]))
