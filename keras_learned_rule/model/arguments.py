"""What is checked of a model, and of names of its layers, before it is read."""

import keras

from keras_learned_rule.checks import Kind, check


def _are_names(value):
    collection = isinstance(value, (list, tuple, set, frozenset))
    return collection and all(isinstance(name, str) for name in value)


LAYER_NAMES = Kind("a list or tuple of layer names, such as freeze=('dense',)", _are_names)


def check_built(model):
    """Raises ValueError unless `model` is a `keras.Model` whose layers have weights."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"What a rule trains must be a keras.Model. Received: {model!r}")
    if not model.built:
        raise ValueError(
            f"Model '{model.name}' is not built, so its layers have no weights yet. Give it a "
            "keras.Input as first layer, call it on a batch, or call `model.build(input_shape)`. "
            f"Received: {type(model).__name__} with built=False"
        )


def check_names(model, freeze, known):
    """Raises ValueError unless `freeze` holds names out of `known`, those of a model's layers."""
    check("freeze", freeze, LAYER_NAMES)
    for name in freeze:
        if name not in known:
            raise ValueError(
                f"`freeze` names a layer that model '{model.name}' does not have. It has: "
                f"{', '.join(known)}. Received: freeze={tuple(freeze)!r}"
            )
