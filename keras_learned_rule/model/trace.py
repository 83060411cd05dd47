"""The calls that a model makes in one forward pass, and which of them passes what to which."""

import collections
from typing import Any, NamedTuple

import keras

from keras_learned_rule.model.tapping import watched


class Tensor(NamedTuple):
    """A tensor of the pass: what it is known by, and its static shape, None where unknown."""

    key: int
    shape: tuple


class Call(NamedTuple):
    """One call of a layer or operation.

    Attributes:
        layer: The layer.
        number: How many calls of this layer came before, in this pass.
        inputs: Tuple of `Tensor`, what went in.
        outputs: The same of what came out.
        inner: Tuple of `Call`, those of the layers that it is made of.
    """

    layer: Any
    number: int
    inputs: tuple
    outputs: tuple
    inner: tuple


class Trace(NamedTuple):
    """A forward pass.

    Attributes:
        calls: List of `Call`, in the order in which they end.
        given: Set of the keys of the model's inputs.
        returned: Set of the keys of its outputs.
    """

    calls: list
    given: set
    returned: set


def trace(model, inputs):
    """Runs a model once without computing anything, and lists its calls.

    Works for Sequential, Functional, nested and subclassed models alike, since tensors that pass
    from call to call are the same objects. Nothing of the model changes.

    Args:
        model: A built `keras.Model`.
        inputs: What the model is called with: a nested structure of `keras.KerasTensor`.

    Returns:
        A `Trace`.

    Example:
    ```python
    import keras
    from keras_learned_rule.model.trace import trace

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.ReLU()])
    calls = trace(model, keras.KerasTensor((None, 4))).calls
    assert calls[1].inputs == calls[0].outputs
    ```
    """
    found, kept, numbers = Trace([], set(), set()), [], collections.Counter()

    def forward(x):
        found.given.update(tensor.key for tensor in _tensors(x))
        with watched(_parts(model), watcher):
            output = model(x, training=True)
        found.returned.update(tensor.key for tensor in _tensors(output))
        # As long as a tensor is kept no other can have its id.
        kept.append((x, output))
        return output

    def watcher(layer, call, args, kwargs):
        number, begin = numbers[id(layer)], len(found.calls)
        numbers[id(layer)] += 1
        output = call(*args, **kwargs)
        kept.append((args, kwargs, output))
        inputs, inner = _tensors((args, kwargs)), tuple(found.calls[begin:])
        found.calls.append(Call(layer, number, inputs, _tensors(output), inner))
        return output

    _Forward(forward).compute_output_spec(inputs)
    return found


class _Forward(keras.Operation):
    """Keras runs the `call` of an operation without computing anything, to learn its shapes."""

    def __init__(self, function):
        super().__init__()
        self._function = function

    def call(self, x):
        """The function of x."""
        return self._function(x)


def _parts(model):
    """All layers that are no models, and operations outside of layers, of nested models too."""
    found = []
    for layer in model._flatten_layers():
        if isinstance(layer, keras.Model):
            operations = getattr(layer, "operations", ())
            found += [op for op in operations if not isinstance(op, keras.layers.Layer)]
        else:
            found.append(layer)
    return found


def _tensors(values):
    tensors = [value for value in keras.tree.flatten(values) if hasattr(value, "shape")]
    return tuple(Tensor(id(tensor), tuple(tensor.shape)) for tensor in tensors)
