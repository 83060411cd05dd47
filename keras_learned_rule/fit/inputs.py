"""Batches as Keras passes them, brought into the form of the model's input."""

import keras
import numpy as np
from keras import ops


class InputForm:
    """What the one input of a model takes.

    Args:
        model: A built chain.

    Attributes:
        shape: The shape of a batch, None where unknown.
        names: The keys under which a dict may hold the input, the usual one first.
    """

    def __init__(self, model):
        (tensor,) = model.inputs
        self.shape = tuple(tensor.shape)
        structure = getattr(model, "input", None)
        self._keys = tuple(structure) if isinstance(structure, dict) else ()
        # Keras goes by the name of the tensor; where the user gave none, it shows the layer's.
        self.names = (*self._keys, tensor._keras_history.operation.name, tensor.name)

    def batch(self, x):
        """Takes a batch apart and checks that it fits the model.

        Values are cast and never rescaled: whether pixels 0-255 should become 0-1 is the user's
        decision, in the data or by a Rescaling layer.

        Args:
            x: Array or tensor `[batch, ...]` of any real dtype, dense or sparse; a dict with it
                under one of `names`, among others; or a dict, list or tuple with it alone.

        Returns:
            A dense float32 tensor.

        Raises:
            ValueError: There is not exactly one array, it is ragged or holds no numbers, or its
                shape does not fit.
        """
        x = self._input_of(x)
        _check_not_ragged(x)
        x = ops.convert_to_tensor(dense(x))
        _check_numbers(x)
        check_shape("x", x.shape, self.shape)
        return ops.cast(x, "float32")

    def in_structure(self, x):
        """What the model is called with: x, or a dict with it for a model that was made so."""
        return dict.fromkeys(self._keys, x) if self._keys else x

    def _input_of(self, x):
        if isinstance(x, dict):
            x = self._value_of(x)
        arrays = keras.tree.flatten(x)
        if len(arrays) != 1:
            raise ValueError(
                "x must hold one array, the input of the model. "
                f"Received: {len(arrays)} arrays in {type(x).__name__}"
            )
        return arrays[0]

    def _value_of(self, batch):
        for name in self.names:
            if name in batch:
                return batch[name]
        if len(batch) == 1:
            return batch
        raise ValueError(
            f"x is a dict, and none of its keys is the model's input {self.names[0]!r}. Name the "
            "input like its key, such as keras.Input(..., name='image'), or take the data out, "
            "such as dataset.map(lambda batch: batch['image']). "
            f"Received: keys {list(batch)}"
        )


def dense(x):
    """A sparse tensor of TensorFlow, SciPy or JAX as a dense one; anything else stays as it is."""
    if hasattr(x, "todense"):
        return np.asarray(x.todense())
    return ops.convert_to_tensor(x, sparse=False) if hasattr(x, "dense_shape") else x


def _check_not_ragged(x):
    if hasattr(x, "nested_row_splits"):
        raise ValueError(
            "x must have examples of one size. Pad them first, such as by `x.to_tensor()`. "
            f"Received: a ragged tensor of shape {tuple(x.shape)}"
        )


def _check_numbers(x):
    dtype = keras.backend.standardize_dtype(x.dtype)
    real = keras.backend.is_float_dtype(dtype) or keras.backend.is_int_dtype(dtype)
    if not (real or dtype == "bool"):
        raise ValueError(f"x must hold real numbers. Received: dtype {dtype}")


def check_shape(name, shape, input_shape):
    """Raises ValueError unless a batch of this shape fits the model.

    Args:
        name: Of the array, for the message.
        shape: Its shape, None where unknown.
        input_shape: The model's input shape, likewise.
    """
    if getattr(shape, "rank", 0) is None:
        raise ValueError(
            f"{name} must have a known number of axes. Give a data set made by from_generator an "
            f"`output_signature`, or use tf.ensure_shape. Received: shape {shape}"
        )
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
