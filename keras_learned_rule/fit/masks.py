"""Which positions of a forward pass Keras has masked."""

import keras
from keras import ops


class Masks:
    """The masks of one forward pass, also where a layer takes them off its inputs.

    `MultiHeadAttention` does so: its projections are called with tensors that have no mask.
    """

    def __init__(self):
        self._known = {}

    def remember(self, inputs):
        """Notes the masks of the tensors in a nested structure."""
        for x in filter(ops.is_tensor, keras.tree.flatten(inputs)):
            mask = _mask_of(x)
            if mask is not None:
                # As long as the tensor is kept no other can have its id.
                self._known[id(x)] = x, mask

    def come_later(self, x):
        """Whether the output of a layer may get a mask after its call, since its input has none."""
        return bool(self._known) and self._of(x) is None

    def kept(self, kind, x, output):
        """Which of the positions of an output count, flattened; None where all do.

        Args:
            kind: The `Kind` of the layer.
            x: Its input.
            output: Its output.
        """
        if not kind.keeps_positions():
            return None
        mask = self._of(x)
        mask = self._of(output) if mask is None else mask
        if mask is None or not _fit(mask.shape, (output.shape[0], *kind.axes(output.shape))):
            return None
        return ops.reshape(mask, (-1,))

    def _of(self, x):
        mask = _mask_of(x)
        return self._known.get(id(x), (x, None))[1] if mask is None else mask


class _MaskOf(keras.layers.Layer):
    """The mask that Keras has attached to a tensor, or None."""

    def __init__(self):
        super().__init__(autocast=False)
        self.supports_masking = self.built = True

    def call(self, x, mask=None):
        del x
        return mask


_mask_of = _MaskOf()


def _fit(mask, positions):
    """Whether two static shapes can be equal."""
    if len(mask) != len(positions):
        return False
    return all(a == b or None in (a, b) for a, b in zip(mask, positions, strict=True))
