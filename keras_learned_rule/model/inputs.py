"""What a model is called with."""

import itertools

import keras

from keras_learned_rule.model.arguments import check_built
from keras_learned_rule.model.trace import trace


def model_inputs(model):
    """The structure, shapes and dtypes of a model's inputs.

    Args:
        model: A built `keras.Model`.

    Returns:
        A nested structure of `keras.KerasTensor`, as the model is called with it. Of a subclassed
        model only the shapes are known; the dtypes are such that its `call` takes them, float32
        where it can.

    Raises:
        ValueError: The model is no model, not built, or does not say what it is called with.

    Example:
    ```python
    import keras
    from keras_learned_rule.model.inputs import model_inputs

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    assert model_inputs(model).shape == (None, 4)
    ```
    """
    check_built(model)
    stated = _stated(model)
    return _of_subclass(model) if stated is None else keras.tree.map_structure(_like, stated)


def states_dtypes(model):
    """Whether a model states the dtypes of its inputs, as all but subclassed ones do."""
    return _stated(model) is not None


def _stated(model):
    graph = getattr(model, "_functional", None) or model
    return getattr(graph, "_inputs_struct", None)


def _like(tensor):
    return keras.KerasTensor(tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _of_subclass(model):
    shapes = [shape for shape in (model._build_shapes_dict or {}).values() if shape is not None]
    if not shapes:
        raise ValueError(
            f"Model '{model.name}' does not say what it is called with. Leave `self.built` to "
            "Keras and call the model on a batch. "
            f"Received: {type(model).__name__} that was built without input shapes"
        )
    if len(shapes) > 1:
        raise ValueError(
            f"`call` of model '{model.name}' must take one argument beside `training`: a tensor, "
            f"or a list or dict of tensors. Received: {len(shapes)} arguments"
        )
    return _of_dtypes_that_run(model, _tensors(shapes[0]))


def _tensors(shape):
    if isinstance(shape, dict):
        return {name: _tensors(own) for name, own in shape.items()}
    if any(isinstance(own, (tuple, list, dict)) for own in shape):
        return type(shape)(_tensors(own) for own in shape)
    # The size of the batch that it was first called with means nothing.
    return keras.KerasTensor((None, *shape[1:]))


def _of_dtypes_that_run(model, tensors):
    """The tensors with the first dtypes that `call` takes: floats, or integers such as tokens."""
    flat, failure = keras.tree.flatten(tensors), None
    for dtypes in itertools.product(("float32", "int32"), repeat=len(flat)):
        inputs = keras.tree.pack_sequence_as(
            tensors, [keras.KerasTensor(t.shape, d) for t, d in zip(flat, dtypes, strict=True)]
        )
        try:
            trace(model, inputs)
        except Exception as error:  # `call` is the user's, and may raise anything.
            failure = failure or error
        else:
            return inputs
    raise ValueError(
        f"`call` of model '{model.name}' can be run neither on float32 nor on int32 inputs. State "
        "their dtypes by a functional model around it, such as "
        "inputs = keras.Input((10,), dtype='uint8'); keras.Model(inputs, model(inputs)). "
        f"Received: inputs of shape {[tuple(t.shape) for t in flat]}, and the error above"
    ) from failure
