"""Separable convolutions: their pointwise part learns, on what the depthwise part gives it."""

from keras import layers, ops

from keras_learned_rule.model.kinds.base import Kind
from keras_learned_rule.model.kinds.conv import slides_everywhere
from keras_learned_rule.model.registry import register_kind


@register_kind(layers.SeparableConv1D, layers.SeparableConv2D)
class SeparableKind(Kind):
    """The pointwise weights of a separable convolution.

    Args:
        layer: A built `keras.layers.SeparableConv1D` or `SeparableConv2D`.
    """

    def __init__(self, layer):
        super().__init__(layer, layer.pointwise_kernel)

    def keeps_positions(self):
        """See `Kind`."""
        return slides_everywhere(self.layer)

    def examples(self, x, output, rows):
        """See `Kind`."""
        del output
        layer = self.layer
        kernel = ops.cast(layer.depthwise_kernel, x.dtype)
        x = ops.depthwise_conv(
            x, kernel, layer.strides, layer.padding, layer.data_format, layer.dilation_rate
        )
        x = ops.reshape(self.channels_last(x), (-1, self.n_lower))
        return x if rows is None else ops.take(x, rows, axis=0)
