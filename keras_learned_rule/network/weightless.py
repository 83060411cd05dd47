"""Layers without weights and without derivative: pooling, padding, random augmentation."""

from keras import layers

from keras_learned_rule.network.passive import Opaque
from keras_learned_rule.network.registry import register_passive

_IMAGES = ("1D", "2D", "3D")
_POOLS = ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling")
_SHAPES = ("ZeroPadding", "Cropping", "UpSampling")
_RANDOM = ("Brightness", "Contrast", "Crop", "Flip", "Rotation", "Translation", "Zoom")

register_passive(
    *(getattr(layers, kind + axes) for kind in (*_POOLS, *_SHAPES) for axes in _IMAGES),
    *(getattr(layers, "Random" + change) for change in _RANDOM),
    layers.CenterCrop,
    layers.Permute,
    layers.RepeatVector,
    layers.Resizing,
    layers.UnitNormalization,
)(Opaque)
