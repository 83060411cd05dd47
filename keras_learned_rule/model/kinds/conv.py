"""Convolutions: an example is a patch, the input that the weights see at one position."""

import math

import numpy as np
from keras import layers, ops

from keras_learned_rule.model.kinds.base import Kind
from keras_learned_rule.model.registry import register_kind


@register_kind(layers.Conv1D, layers.Conv2D, layers.Conv3D)
class ConvKind(Kind):
    """The weights of a convolution.

    With `groups`, the units of a group have inputs of their own: the examples of all groups stand
    side by side, in the order of their units.

    Args:
        layer: A built `keras.layers.Conv1D`, `Conv2D` or `Conv3D`.
    """

    def __init__(self, layer):
        super().__init__(layer, layer.kernel)
        self.groups = layer.groups

    @staticmethod
    def why_not(layer):
        """See `Kind`."""
        alone = layer.groups > 1 and layer.groups == layer.filters
        return "no unit of it has another to compete with" if alone else None

    def whole(self, shape):
        """See `Kind`."""
        del shape
        return False

    def keeps_positions(self):
        """See `Kind`."""
        return slides_everywhere(self.layer)

    def examples(self, x, output, rows):
        """See `Kind`."""
        x, sizes = self.channels_last(x), _sizes(self.channels_last(output))
        if rows is None:
            rows = ops.arange(ops.shape(x)[0] * math.prod(sizes), dtype="int32")
        channels = x.shape[-1]
        where, inside = _where(self.layer, _sizes(x), sizes, rows)
        patches = ops.take(ops.reshape(x, (-1, channels)), where, axis=0)
        if inside is not None:
            patches = patches * ops.cast(inside, patches.dtype)[..., None]
        if self.groups > 1:
            parts = ops.reshape(patches, (-1, where.shape[1], self.groups, channels // self.groups))
            patches = ops.transpose(parts, (0, 2, 1, 3))
        return ops.reshape(patches, (-1, self.groups * self.n_lower))


def slides_everywhere(layer):
    """Whether a convolution has an output at each position of its input."""
    return layer.padding != "valid" and set(layer.strides) == {1}


def _sizes(x):
    """Sizes of the axes between batch and channels, integers where they are known."""
    return tuple(ops.shape(x)[1:-1])


def _where(layer, sizes, output_sizes, rows):
    """Where the inputs of positions lie among the rows of a flattened input.

    Returns:
        (where, inside): int32 `[len(rows), kernel positions]`, and bool of the same shape, false
        where the kernel reaches into the padding; None where it never does.
    """
    axes = range(len(sizes))
    offsets = np.stack(
        np.meshgrid(*(np.arange(k) for k in layer.kernel_size), indexing="ij"), -1
    ).reshape(-1, len(sizes))
    rest, starts = rows, []
    for axis in reversed(axes):
        starts.insert(0, rest % output_sizes[axis])
        rest = rest // output_sizes[axis]
    where, inside = rest[:, None], None
    for axis in axes:
        stride, dilation = layer.strides[axis], layer.dilation_rate[axis]
        before = _padding(layer, axis, sizes[axis], output_sizes[axis])
        at = starts[axis][:, None] * stride + ops.convert_to_tensor(
            (offsets[:, axis] * dilation)[None, :], "int32"
        )
        if layer.padding != "valid":
            at = at - before
            fits = ops.logical_and(at >= 0, at < sizes[axis])
            inside = fits if inside is None else ops.logical_and(inside, fits)
            at = ops.clip(at, 0, sizes[axis] - 1)
        where = where * sizes[axis] + at
    return where, inside


def _padding(layer, axis, size, output_size):
    """Zeros before the first input, as all backends of Keras pad."""
    reach = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis]
    if layer.padding == "valid":
        return 0
    if layer.padding == "causal":
        return reach
    total = (output_size - 1) * layer.strides[axis] + reach + 1 - size
    return (max(total, 0) if isinstance(total, int) else ops.maximum(total, 0)) // 2
