"""What a model is called with."""

import keras


def model_inputs(model):
    """The structure, shapes and dtypes of a model's inputs.

    Args:
        model: A built `keras.Model`.

    Returns:
        A nested structure of `keras.KerasTensor`, as the model is called with it.

    Raises:
        ValueError: The model is no model, or not built.

    Example:
    ```python
    import keras
    from keras_learned_rule.model.inputs import model_inputs

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    assert model_inputs(model).shape == (None, 4)
    ```
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"What a rule trains must be a keras.Model. Received: {model!r}")
    if not model.built:
        raise ValueError(
            f"Model '{model.name}' is not built, so its layers have no weights yet. Give it a "
            "keras.Input as first layer, call it on a batch, or call `model.build(input_shape)`. "
            f"Received: {type(model).__name__} with built=False"
        )
    graph = getattr(model, "_functional", None) or model
    if getattr(graph, "_inputs_struct", None) is not None:
        return keras.tree.map_structure(_like, graph._inputs_struct)
    return _of_subclass(model)


def _like(tensor):
    return keras.KerasTensor(tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _of_subclass(model):
    # The batch it was first called with; its size means nothing.
    shapes = list(model._build_shapes_dict.values())
    if len(shapes) != 1:
        raise ValueError(
            f"`call` of model '{model.name}' must take one argument beside `training`: a tensor, "
            f"or a list or dict of tensors. Received: {len(shapes)} arguments"
        )
    return _tensors(shapes[0])


def _tensors(shape):
    if isinstance(shape, dict):
        return {name: _tensors(own) for name, own in shape.items()}
    if any(isinstance(own, (tuple, list, dict)) for own in shape):
        return type(shape)(_tensors(own) for own in shape)
    return keras.KerasTensor((None, *shape[1:]))
