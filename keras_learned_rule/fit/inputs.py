"""Batches as Keras passes them, brought into the form of the model's input."""

import keras
from keras import ops


def batch_input(x, input_shape):
    """Takes a batch apart and checks that it fits the model.

    Values are cast and never rescaled: whether pixels 0-255 should become 0-1 is the user's
    decision, in the data or by a Rescaling layer.

    Args:
        x: Array or tensor `[batch, ...]` of any numeric dtype, or a dict, list or tuple with one.
        input_shape: The model's input shape, None where unknown.

    Returns:
        A float32 tensor.

    Raises:
        ValueError: There is not exactly one array, or its shape does not fit.
    """
    arrays = keras.tree.flatten(x)
    if len(arrays) != 1:
        raise ValueError(
            "x must hold one array, the input of the model. "
            f"Received: {len(arrays)} arrays in {type(x).__name__}"
        )
    x = ops.cast(arrays[0], "float32")
    check_shape("x", x.shape, input_shape)
    return x


def check_shape(name, shape, input_shape):
    """Raises ValueError unless a batch of this shape fits the model.

    Args:
        name: Of the array, for the message.
        shape: Its shape, None where unknown.
        input_shape: The model's input shape, likewise.
    """
    # Keras models accept a last axis of length 1 too many or too few.
    fitting = [input_shape, (*input_shape, 1)]
    if input_shape[-1] == 1:
        fitting.append(input_shape[:-1])
    if not any(_compatible(shape, expected) for expected in fitting):
        raise ValueError(
            f"{name} must have the model's input shape {tuple(input_shape)}. "
            f"Received: shape {tuple(shape)}"
        )


def _compatible(shape, expected):
    return len(shape) == len(expected) and all(
        None in (a, b) or a == b for a, b in zip(shape, expected, strict=True)
    )
