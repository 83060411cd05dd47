"""Which Keras layers the plan knows. Subclasses are not recognised: they may compute anything."""

_connections: dict[type, type] = {}
_passives: dict[type, type] = {}


def register_connection(layer_class):
    """Class decorator: the decorated connection holds the weights of layers of `layer_class`.

    A connection is built as `Connection(layer, input_shape)`, refuses with a ValueError what it
    cannot learn, and has

    - `layer`; `kernel` and `bias`, variables of it: the last axis of `kernel` counts the units,
      the others together the inputs of each, in the order in which `layout` lists them; `bias`
      may be None;
    - `activation`: callable, the identity being `keras.activations.linear`;
    - `positions`: tuple, static sizes of the axes between batch and units of its output, None
      where unknown;
    - `layout(x)`: maps its input in natural shape `[B, ..., n]` to a `Passage`, whose `down` and
      `up` speak of that natural shape plus a last axis of channels;
    - `emit(y, shape)`: gives y `[E, units]` its natural shape; `shape` is that of what the unit
      layer below emitted.

    Args:
        layer_class: A subclass of `keras.layers.Layer`; its own subclasses are not recognised.

    Returns:
        The decorator, which gives back the class that it decorates.

    Example:
    ```python
    import keras
    from keras_learned_rule.network.plastic.dense import DenseConnection
    from keras_learned_rule.network.registry import register_connection, supported_layers

    class MyDense(keras.layers.Dense):
        pass

    @register_connection(MyDense)
    class MyDenseConnection(DenseConnection):
        pass

    assert "MyDense" in supported_layers()[0]
    ```
    """

    def register(connection_class):
        _connections[layer_class] = connection_class
        return connection_class

    return register


def register_passive(*layer_classes):
    """Class decorator: the decorated passive layer runs layers of `layer_classes`.

    Args:
        *layer_classes: Subclasses of `keras.layers.Layer`; see `Passive` for what the decorated
            class has to do.

    Returns:
        The decorator, which gives back the class that it decorates.

    Example:
    ```python
    import keras
    from keras_learned_rule.network.passive import Noise
    from keras_learned_rule.network.registry import register_passive, supported_layers

    class MyNoise(keras.layers.GaussianNoise):
        pass

    register_passive(MyNoise)(Noise)
    assert "MyNoise" in supported_layers()[1]
    ```
    """

    def register(passive_class):
        _passives.update(dict.fromkeys(layer_classes, passive_class))
        return passive_class

    return register


def connection_class(layer):
    """The connection class for a Keras layer, or None."""
    return _connections.get(type(layer))


def passive_class(layer):
    """The passive class for a Keras layer, or None."""
    return _passives.get(type(layer))


def supported_layers():
    """Names of the supported layer classes: those that learn, and those that pass signals on."""
    return sorted(c.__name__ for c in _connections), sorted(c.__name__ for c in _passives)
