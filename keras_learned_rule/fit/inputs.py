"""Batches as Keras passes them, brought into the form of the model's input."""

import keras
import numpy as np
from keras import ops

from keras_learned_rule.model.inputs import model_inputs, states_dtypes


class InputForm:
    """What a model is called with.

    Args:
        model: A built `keras.Model`.

    Attributes:
        tensors: `keras.KerasTensor` of the input, or a list or dict of them.
    """

    def __init__(self, model):
        self.tensors = model_inputs(model)
        self._flat = keras.tree.flatten(self.tensors)
        self._names = _names(model, self.tensors)
        self._states_dtypes = states_dtypes(model)

    def batch(self, x):
        """Takes a batch apart and checks that it fits the model.

        Values are cast and never rescaled: whether pixels 0-255 should become 0-1 is the user's
        decision, in the data or by a Rescaling layer.

        Args:
            x: Array or tensor `[batch, ...]` of any real dtype, dense or sparse; a dict with the
                inputs under their names, among others; or a list or tuple with all in order.

        Returns:
            Dense tensors in the structure of `tensors`, of their dtypes. A subclassed model does
            not state them: integers then stay as they are, as in `predict`.

        Raises:
            ValueError: An input is missing, ragged or holds no numbers, or shapes do not fit.
        """
        arrays = [
            self._tensor(array, tensor.dtype)
            for array, tensor in zip(self._arrays(x, "x"), self._flat, strict=True)
        ]
        self._check_shapes([array.shape for array in arrays], "x")
        _check_batch_sizes(arrays, self._names)
        return keras.tree.pack_sequence_as(self.tensors, arrays)

    def check(self, x, name):
        """Checks that arrays fit the model, without making tensors of them.

        Args:
            x: As for `batch`, but with examples in any number.
            name: Of x, for messages.

        Raises:
            ValueError: An input is missing or ragged, or shapes do not fit.
        """
        shapes = [np.shape(array) for array in self._arrays(x, name)]
        known = [tuple("ragged" if n is None else n for n in shape) for shape in shapes]
        self._check_shapes(known, name)

    def _check_shapes(self, shapes, name):
        for shape, tensor, names in zip(shapes, self._flat, self._names, strict=True):
            own = name if len(shapes) == 1 else f"{name}[{names[0]!r}]"
            _check_shape(own, shape, tensor.shape)

    def _tensor(self, x, dtype):
        _check_not_ragged(x)
        x = ops.convert_to_tensor(dense(x))
        _check_numbers(x)
        is_float = keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))
        return ops.cast(x, dtype) if self._states_dtypes or is_float else x

    def _arrays(self, x, name):
        if isinstance(x, dict) and (len(x) > 1 or len(self._flat) > 1):
            return [_value(x, names, name) for names in self._names]
        arrays = arrays_of(x)
        if len(arrays) == len(self._flat):
            return arrays
        wanted = "one array, the input of the model"
        if len(self._flat) > 1:
            wanted = f"the inputs {[names[0] for names in self._names]} of the model"
        raise ValueError(
            f"{name} must hold {wanted}. Received: {len(arrays)} arrays in {type(x).__name__}"
        )


def arrays_of(x):
    """The arrays that x is made of: one, or those of a list, tuple or dict of inputs."""
    arrays = keras.tree.flatten(x)
    # A list of numbers, or of lists of them, is one array.
    return arrays if arrays and all(hasattr(array, "shape") for array in arrays) else [x]


def _value(batch, keys, name):
    for key in keys:
        if key in batch:
            return batch[key]
    raise ValueError(
        f"{name} is a dict, and none of its keys is the model's input {keys[0]!r}. Name the input "
        "like its key, such as keras.Input(..., name='image'), or map the data to the names "
        f"of the inputs, such as dataset.map(lambda batch: {{{keys[0]!r}: batch['image']}}). "
        f"Received: keys {list(batch)}"
    )


def _names(model, tensors):
    """For each input the keys under which a dict may hold it, the usual one first."""
    flat = keras.tree.flatten(tensors)
    keys = (
        list(keras.tree.flatten({key: key for key in tensors})) if isinstance(tensors, dict) else []
    )
    layers = [
        tensor._keras_history.operation.name for tensor in getattr(model, "inputs", None) or ()
    ]
    # Keras goes by the name of the tensor; without one of the user's, only the layer's is shown.
    columns = [names for names in (keys, layers, [t.name for t in flat]) if len(names) == len(flat)]
    return list(zip(*columns, strict=True))


def _check_batch_sizes(arrays, names):
    sizes = {name[0]: array.shape[0] for array, name in zip(arrays, names, strict=True)}
    if len({size for size in sizes.values() if size is not None}) > 1:
        raise ValueError(f"All inputs must have as many examples. Received: {sizes}")


def dense(x):
    """A sparse tensor of TensorFlow, SciPy or JAX as a dense one; anything else stays as it is."""
    if hasattr(x, "todense"):
        x = x.todense()
        return np.asarray(x) if isinstance(x, np.matrix) else x
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


def _check_shape(name, shape, input_shape):
    """Raises ValueError unless a batch of this shape, None where unknown, fits the model."""
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
