"""Dense layers, and EinsumDense layers such as the projections of attention."""

import math

from keras import layers, ops

from keras_learned_rule.model.kinds.base import Kind
from keras_learned_rule.model.registry import register_kind


class _RowKind(Kind):
    """Every row of the input along its last axes is an example."""

    def keeps_positions(self):
        """See `Kind`."""
        return True

    def examples(self, x, output, rows):
        """See `Kind`."""
        del output
        x = ops.reshape(x, (-1, self.n_lower))
        return x if rows is None else ops.take(x, rows, axis=0)


@register_kind(layers.Dense)
class DenseKind(_RowKind):
    """The weights of a Dense layer.

    Args:
        layer: A built `keras.layers.Dense`.
    """

    def __init__(self, layer):
        super().__init__(layer, layer.kernel)


@register_kind(layers.EinsumDense)
class EinsumKind(_RowKind):
    """The weights of an EinsumDense layer with the equation of a dense one.

    The last axes of the input, all summed over, are the inputs of a unit; the last axes of the
    output are the units; the axes before, the same on both sides, are positions.

    Args:
        layer: A built `keras.layers.EinsumDense`.
    """

    def __init__(self, layer):
        super().__init__(layer, layer.kernel, _unit_axes(layer))

    @staticmethod
    def why_not(layer):
        """See `Kind`."""
        if _unit_axes(layer) is None:
            return f"its equation {layer.equation} is not that of a dense layer"
        bias = layer.bias
        if bias is not None and math.prod(bias.shape) != _units(layer):
            return "its bias differs from position to position"
        return None


def _units(layer):
    return math.prod(layer.kernel.shape[-_unit_axes(layer) :])


def _unit_axes(layer):
    """How many axes of the kernel are units; None if the equation is not that simple."""
    left, output = layer.equation.replace(" ", "").replace("...", "").split("->")
    given, kernel = left.split(",")
    units = "".join(axis for axis in kernel if axis not in given)
    inputs = kernel.removesuffix(units)
    positions = given.removesuffix(inputs)
    dense = given == positions + inputs and output == positions + units
    return len(units) if inputs and units and dense else None
