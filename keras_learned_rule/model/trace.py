"""The calls that a model makes in one forward pass, and which of them passes what to which."""

import contextlib
import functools
from typing import Any, NamedTuple

import keras

from keras_learned_rule.model.registry import kind_of
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


_OF_A_CALL = ("inputs", "outputs", "inner")


class Trace(NamedTuple):
    """A forward pass.

    Attributes:
        calls: List of `Call`, in the order in which they end.
        given: Set of the keys of the model's inputs.
        returned: Set of the keys of its outputs.
        hidden: Set of the ids of layers that have a kind, and whose outputs cannot be used outside
            of the loop or function that calls them.
    """

    calls: list
    given: set
    returned: set
    hidden: set

    def consumers(self):
        """Dict from the key of a tensor to the list of `Call` that take it in."""
        found = {}
        for call in self.calls:
            # A layer made of others takes nothing in that these do not; one that returns its input
            # does nothing, such as Dropout(0).
            passed = {tensor.key for tensor in call.outputs}
            for tensor in () if call.inner else call.inputs:
                if tensor.key not in passed:
                    found.setdefault(tensor.key, []).append(call)
        return found

    def producers(self):
        """Dict from the key of a tensor to the `Call` that makes it, of layers not made of others.

        Of a layer that returns its input it is the call before.
        """
        found = {}
        for call in self.calls:
            taken = {tensor.key for tensor in call.inputs}
            for tensor in () if call.inner else call.outputs:
                if tensor.key not in taken:
                    found[tensor.key] = call
        return found


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
    passes = []

    def forward(x):
        recorder = _Recorder()
        with watched(_parts(model), recorder), _casts_watched(recorder.cast), _no_layouts():
            output = recorder.forward(model, x)
        passes.append(recorder.found)
        return output

    _Forward(forward).compute_output_spec(inputs)
    return functools.reduce(_in_common, passes)


class _Recorder:
    def __init__(self):
        self.found = Trace([], set(), set(), set())
        # As long as a tensor is kept no other can have its id.
        self._kept = []
        self._sources = {}
        self._outputs = []

    def forward(self, model, x):
        self.found.given.update(tensor.key for tensor in self._tensors(x))
        output = model(x, training=True)
        self.found.returned.update(tensor.key for tensor in self._tensors(output))
        self._kept.append((x, output))
        self.found.hidden.update(id(layer) for layer, own in self._outputs if not _in_reach(own))
        return output

    def __call__(self, layer, number, call, args, kwargs):
        begin = len(self.found.calls)
        output = call(*args, **kwargs)
        self._kept.append((args, kwargs, output))
        if kind_of(layer):
            self._outputs.append((layer, output))
        # A mask says which positions count, and is no signal.
        signals = args, {name: value for name, value in kwargs.items() if "mask" not in name}
        inputs, inner = self._tensors(signals), tuple(self.found.calls[begin:])
        self.found.calls.append(Call(layer, number, inputs, self._tensors(output), inner))
        return output

    def cast(self, x, y):
        self._kept.append((x, y))
        if y is not x:
            self._sources[id(y)] = self._key(x)

    def _key(self, tensor):
        return self._sources.get(id(tensor), id(tensor))

    def _tensors(self, values):
        tensors = [value for value in keras.tree.flatten(values) if hasattr(value, "shape")]
        return tuple(Tensor(self._key(tensor), _static(tensor.shape)) for tensor in tensors)


def _static(shape):
    # JAX has symbols for sizes that are not known.
    return tuple(size if isinstance(size, int) else None for size in shape)


def _in_common(first, second):
    """What is the same in two passes: PyTorch stands two numbers in for every unknown size."""
    calls = [_call_in_common(*pair) for pair in zip(first.calls, second.calls, strict=True)]
    return second._replace(calls=calls)


def _call_in_common(first, second):
    pairs = (zip(getattr(first, name), getattr(second, name), strict=True) for name in _OF_A_CALL)
    inputs, outputs, inner = pairs
    return second._replace(
        inputs=tuple(_tensor_in_common(*pair) for pair in inputs),
        outputs=tuple(_tensor_in_common(*pair) for pair in outputs),
        inner=tuple(_call_in_common(*pair) for pair in inner),
    )


def _tensor_in_common(first, second):
    sizes = zip(first.shape, second.shape, strict=True)
    return second._replace(shape=tuple(a if a == b else None for a, b in sizes))


def _in_reach(tensor):
    """Whether a tensor may be used where the model is called; one of a loop inside may not."""
    try:
        keras.ops.copy(tensor)
    except Exception:  # Each backend has an error of its own.
        return False
    return True


@contextlib.contextmanager
def _casts_watched(cast):
    """Tells of every input that Keras casts on its way into a layer, by `cast(before, after)`."""
    convert = keras.DTypePolicy.convert_input

    def watching(policy, x, autocast, dtype):
        y = convert(policy, x, autocast, dtype)
        cast(x, y)
        return y

    keras.DTypePolicy.convert_input = watching
    try:
        yield
    finally:
        keras.DTypePolicy.convert_input = convert


@contextlib.contextmanager
def _no_layouts():
    """Without the distribution, which may lay out the output of a layer as another tensor."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


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
