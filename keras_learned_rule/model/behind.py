"""What stands behind weights: their normalisation and their nonlinearity."""

from dataclasses import dataclass, field
from typing import Any

from keras import activations, layers, ops

_NORMS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
)
_ENDS = (layers.Reshape, layers.Flatten, layers.Activation, layers.Softmax, layers.Identity)
_NONLINEAR = (layers.ReLU, layers.LeakyReLU, layers.ELU)
# Classes of `keras.ops.relu` and the like in a functional model.
_OPERATIONS = frozenset(
    "Celu Elu Gelu HardSigmoid HardSilu HardTanh LeakyRelu LogSigmoid Relu Relu6 Selu Sigmoid Silu "
    "Softplus Softsign Tanh".split()
)
# They hand units on, and change them in training: by nothing, by a factor, or by noise.
NOTHING = (layers.Identity, layers.ActivityRegularization)
FACTORS = (layers.Dropout, layers.GaussianDropout)
NOISE = (layers.GaussianNoise,)
# A nonlinearity behind them is that of the weights before them.
_PASSED = (
    layers.Add,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    *NOTHING,
    *FACTORS,
    *NOISE,
)


@dataclass
class Behind:
    """What was found behind one call of weights.

    Attributes:
        norm: `Call` of the normalisation, or None.
        functions: Callables, the nonlinearities in their order.
        calls: List of `Call`, of the normalisation and of nonlinearities that are layers or
            operations of their own.
        output: `Tensor` that leaves the last of all this.
        merged: Whether other signals were added on the way.
    """

    norm: Any
    functions: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    output: Any = None
    merged: bool = False

    def activation(self, kind):
        """The nonlinearities as one function of rows of the units of a `Kind`."""
        shape = self.output.shape
        functions = [
            function.of_units(kind, shape) if isinstance(function, _PReLU) else function
            for function in self.functions
        ]
        if not functions:
            return activations.linear
        return functions[0] if len(functions) == 1 else _Composed(functions)


class _Composed:
    def __init__(self, functions):
        self.functions = functions

    def __call__(self, z):
        for function in self.functions:
            z = function(z)
        return z


def look_behind(call, own, consumers):
    """Follows the output of weights as far as it belongs to them alone.

    Args:
        call: `Call` of the layer that has the weights.
        own: The nonlinearity that the layer itself applies, or None.
        consumers: Dict from the key of a tensor to the list of `Call` that take it in.

    Returns:
        A `Behind`.
    """
    found = Behind(None, output=call.outputs[0])
    if own not in (None, activations.linear):
        is_layer = isinstance(own, layers.Layer)
        found.functions.append((nonlinearity(own) if is_layer else None) or own)
    while (after := _next(found, consumers.get(found.output.key, ()))) is not None:
        if isinstance(after.layer, _NORMS):
            found.norm = after
        elif isinstance(after.layer, _PASSED):
            found.merged = found.merged or isinstance(after.layer, layers.Add)
        else:
            found.functions.append(nonlinearity(after.layer))
        if not isinstance(after.layer, _PASSED):
            found.calls.append(after)
        found.output = after.outputs[0]
    return found


def end_of(found, consumers):
    """Where the units go without being mixed: through reshaping and nonlinearities.

    Args:
        found: `Behind` some weights.
        consumers: See `look_behind`.

    Returns:
        (key, is_softmax): of the last tensor, and whether a softmax is on the way.
    """
    key, is_softmax = found.output.key, activations.softmax in found.functions
    while len(calls := consumers.get(key, ())) == 1 and isinstance(calls[0].layer, _ENDS):
        key = calls[0].outputs[0].key
        is_softmax = is_softmax or nonlinearity(calls[0].layer) is activations.softmax
    return key, is_softmax


def _next(found, calls):
    """The call that goes on with the same units, if there is just one."""
    ours = [call for call in calls if _belongs(found, call)]
    if not ours and len(calls) == 1:
        passed = NOTHING if found.functions else _PASSED
        ours = [call for call in calls if isinstance(call.layer, passed)]
    return ours[0] if len(ours) == 1 else None


def _belongs(found, call):
    if len(call.outputs) != 1 or call.outputs[0].shape != found.output.shape:
        return False
    if isinstance(call.layer, _NORMS):
        # A sum is normalised for what comes next.
        return not (found.norm or found.functions or found.merged)
    return nonlinearity(call.layer) is not None


def nonlinearity(layer):
    """The function from `[E, n_upper]` to the same of a layer or operation, None if it is none."""
    kind = type(layer)
    if kind is layers.Activation:
        inner = layer.activation
        return nonlinearity(inner) if isinstance(inner, layers.Layer) else inner
    if kind is layers.Softmax:
        return activations.softmax
    if kind is layers.PReLU:
        return _PReLU(layer)
    is_operation = not isinstance(layer, layers.Layer) and kind.__name__ in _OPERATIONS
    return layer.call if kind in _NONLINEAR or is_operation else None


class _PReLU:
    """A PReLU for rows of units: the slopes of a unit at all positions are averaged."""

    __name__ = "prelu"

    def __init__(self, layer, kind=None, shape=()):
        self._layer, self._kind, self._shape = layer, kind, shape

    def of_units(self, kind, shape):
        """The same for the units of a `Kind` with outputs of this static shape."""
        return _PReLU(self._layer, kind, shape)

    def __call__(self, z):
        # Where slopes are shared along an axis its size does not matter.
        shape = [1, *(size or 1 for size in self._shape[1:])]
        slopes = self._kind.positions(ops.broadcast_to(self._layer.alpha, shape))
        return ops.relu(z) - ops.mean(slopes, axis=0) * ops.relu(-z)
