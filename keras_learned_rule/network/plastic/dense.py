"""Dense layers as connections between unit layers."""

from keras import activations, layers, ops

from keras_learned_rule.network.plan import Passage, same
from keras_learned_rule.network.registry import register_connection


@register_connection(layers.Dense)
class DenseConnection:
    """The weights of a Dense layer; on `[B, ..., n]` every position is an example of its own.

    Args:
        layer: A built `keras.layers.Dense`.
        input_shape: Tuple, the static shape of its input, None where unknown.

    Raises:
        ValueError: If the layer has what the rule would not respect: a constraint, LoRA or
            quantised weights.
    """

    def __init__(self, layer, input_shape):
        _check_plain(layer)
        self.layer = layer
        self.kernel = layer.kernel
        self.bias = layer.bias
        self.activation = layer.activation or activations.linear
        self.positions = tuple(input_shape[1:-1])

    def layout(self, x):
        """See `register_connection`."""
        x = ops.cast(x, self.layer.compute_dtype)
        if not self.positions:
            return Passage(x, same, same)
        shape = ops.shape(x)

        def down(delta):
            return ops.reshape(delta, (*shape, delta.shape[-1]))

        def up(h):
            return ops.reshape(h, (-1, shape[-1], h.shape[-1]))

        return Passage(ops.reshape(x, (-1, shape[-1])), down, up)

    def emit(self, y, shape):
        """See `register_connection`."""
        if not self.positions:
            return y
        positions = zip(self.positions, shape[1 : 1 + len(self.positions)], strict=True)
        sizes = (below if own is None else own for own, below in positions)
        return ops.reshape(y, (-1, *sizes, y.shape[-1]))


def _check_plain(layer):
    problem = None
    if layer.quantization_mode is not None:
        problem = f"is quantised ({layer.quantization_mode})"
    elif layer.lora_enabled:
        problem = "has LoRA enabled"
    elif layer.kernel_constraint is not None or layer.bias_constraint is not None:
        problem = "has a constraint, which the rule would not keep"
    if problem:
        raise ValueError(
            f"The rule can only change plain Dense layers, and layer '{layer.name}' {problem}. "
            f"Remove that, or leave the layer as it is with `freeze=('{layer.name}',)`. "
            f"Received: {layer}"
        )
