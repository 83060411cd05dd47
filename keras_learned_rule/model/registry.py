"""Which Keras layers can learn. Subclasses are not recognised: they may compute anything."""

_kinds: dict[type, type] = {}


def register_kind(*layer_classes):
    """Class decorator: the decorated kind says how layers of `layer_classes` learn.

    A kind is a subclass of `Kind` that is built as `MyKind(layer)`, of a built layer.

    Args:
        *layer_classes: Subclasses of `keras.layers.Layer`; their own subclasses are not recognised.

    Returns:
        The decorator, which gives back the class that it decorates.

    Example:
    ```python
    import keras
    from keras_learned_rule.model.kinds.dense import DenseKind
    from keras_learned_rule.model.registry import kind_of, register_kind

    class MyDense(keras.layers.Dense):
        pass

    register_kind(MyDense)(DenseKind)
    assert kind_of(MyDense(3)) is DenseKind
    ```
    """

    def register(kind):
        _kinds.update(dict.fromkeys(layer_classes, kind))
        return kind

    return register


def kind_of(layer):
    """The kind class of a Keras layer, or None where it cannot learn."""
    return _kinds.get(type(layer))


def learning_layers():
    """Sorted names of the layer classes that can learn."""
    return sorted(c.__name__ for c in _kinds)
