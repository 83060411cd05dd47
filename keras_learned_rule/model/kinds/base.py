"""What all kinds of layers that learn have in common."""

import math

from keras import ops


class Kind:
    """How one layer learns; subclasses say what its examples are (see `register_kind`).

    Args:
        layer: A built Keras layer.
        kernel: Its variable that learns, the inputs of a unit on the first axes, the units on the
            last ones.
        unit_axes: On how many axes the units lie. Defaults to `1`.

    Attributes:
        layer: The layer.
        kernel: The variable that learns.
        bias: The variable that offsets the units, or None.
        activation: The nonlinearity that the layer itself applies, or None.
        groups: How many sets of units there are that have inputs of their own.
        n_lower: Inputs of a unit.
        n_upper: Units.
    """

    groups = 1

    def __init__(self, layer, kernel, unit_axes=1):
        self.layer, self.kernel, self.bias = layer, kernel, layer.bias
        self.activation = layer.activation
        self._unit_axes = unit_axes
        self._channels_first = getattr(layer, "data_format", None) == "channels_first"
        self.n_lower = math.prod(kernel.shape[:-unit_axes])
        self.n_upper = math.prod(kernel.shape[-unit_axes:])

    @staticmethod
    def why_not(layer):
        """Why a layer cannot learn, or None."""
        del layer

    def check(self):
        """Raises ValueError for a layer with a constraint, LoRA or quantised weights."""
        check_plain(self.layer)

    def matrix(self, kernel):
        """A kernel as a matrix `[n_lower, n_upper]`."""
        return ops.reshape(kernel, (self.n_lower, self.n_upper))

    def kernel_of(self, matrix):
        """The inverse of `matrix`."""
        return ops.reshape(matrix, self.kernel.shape)

    def units(self, shape):
        """How many units an output of this static shape has."""
        return shape[1] if self._channels_first else math.prod(shape[-self._unit_axes :])

    def unit_axis(self, shape):
        """The axis of the units in an output of this static shape; None if there are several."""
        if self._unit_axes > 1:
            return None
        return 1 if self._channels_first else len(shape) - 1

    def axes(self, shape):
        """Sizes of the axes between batch and units of an output of this static shape."""
        return shape[2:] if self._channels_first else shape[1 : -self._unit_axes]

    def whole(self, shape):
        """Whether an output of this static shape has one row an example."""
        return not self.axes(shape)

    def keeps_positions(self):
        """Whether outputs have the positions of inputs, in their order."""
        return False

    def positions(self, output):
        """An output `[B, ...]` as a matrix `[B x positions, n_upper]`."""
        return ops.reshape(self.channels_last(output), (-1, self.n_upper))

    def examples(self, x, output, rows):
        """What the weights saw.

        Args:
            x: The input of the layer.
            output: Its output.
            rows: int32 `[E]`, rows of `positions(output)`, or None for all.

        Returns:
            Tensor `[E, groups * n_lower]`.
        """
        raise NotImplementedError

    def channels_last(self, x):
        """A signal of the layer with its channels on the last axis."""
        return ops.moveaxis(x, 1, -1) if self._channels_first else x


def check_plain(layer):
    """Raises ValueError for a layer with a constraint, LoRA or quantised weights."""
    problem = None
    if getattr(layer, "quantization_mode", None) is not None:
        problem = f"is quantised ({layer.quantization_mode})"
    elif getattr(layer, "lora_enabled", False):
        problem = "has LoRA enabled"
    elif any(getattr(layer, f"{name}_constraint", None) for name in ("kernel", "bias", "beta")):
        problem = "has a constraint, which the rule would not keep"
    if problem:
        raise ValueError(
            f"The rule can only change plain layers, and layer '{layer.name}' {problem}. "
            f"Remove that, or leave the layer as it is with `freeze=('{layer.name}',)`. "
            f"Received: {layer}"
        )
