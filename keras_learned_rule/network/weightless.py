"""Layers without weights and without derivative: pooling, padding, random augmentation."""

from keras import layers

from keras_learned_rule.network.passive import Passive, Step
from keras_learned_rule.network.registry import register_passive

_IMAGES = ("1D", "2D", "3D")
_POOLS = ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling")
_SHAPES = ("ZeroPadding", "Cropping", "UpSampling")
_RANDOM = ("Brightness", "Contrast", "Crop", "Flip", "Rotation", "Translation", "Zoom")


@register_passive(
    *(getattr(layers, kind + axes) for kind in (*_POOLS, *_SHAPES) for axes in _IMAGES),
    *(getattr(layers, "Random" + change) for change in _RANDOM),
    layers.CenterCrop,
    layers.Permute,
    layers.RepeatVector,
    layers.Resizing,
    layers.UnitNormalization,
)
class Weightless(Passive):
    """A layer with nothing to learn, random in training if it is random; it gives no derivative."""

    gives_deltas = False
    keeps_shape = False

    def run(self, x):
        return Step(self.layer(x, training=self.training), None, None)
