"""Reads the plan of a Keras model: which of its layers learn, and how signals travel between."""

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import activations, ops

from keras_learned_rule.network import plastic, weightless  # noqa: F401 (register layer types)
from keras_learned_rule.network.chain import chain_of
from keras_learned_rule.network.fold import fold
from keras_learned_rule.network.passive import ModelInput
from keras_learned_rule.network.plan import Plan, UnitLayer
from keras_learned_rule.network.registry import supported_layers
from keras_learned_rule.network.route import Route


@dataclass(frozen=True)
class UnitVariables:
    """The Keras variables of one unit layer.

    Attributes:
        name: Name of the layer that holds the weights, for messages.
        kernel: `[..., n_upper]`, forward weights in the layer's own shape.
        dense_bias: `[n_upper]`, the bias beside the kernel, or None. Before batch normalisation
            it only shifts the moving mean: that follows the batch mean of
            `examples @ kernel + dense_bias`.
        beta: `[n_upper]`, offset of the batch normalisation, or None.
        gamma: `[n_upper]`, scale of the batch normalisation, or None.
        moving_mean: `[n_upper]`, or None without batch normalisation.
        moving_variance: `[n_upper]`, or None without batch normalisation.
        momentum: float, of the moving statistics, or None without batch normalisation.
    """

    name: str
    kernel: Any
    dense_bias: Any = None
    beta: Any = None
    gamma: Any = None
    moving_mean: Any = None
    moving_variance: Any = None
    momentum: float | None = None

    @property
    def bias(self):
        """The variable that the state's `"b"` stands for, or None."""
        return self.dense_bias if self.moving_mean is None else self.beta

    @property
    def matrix_shape(self):
        """(n_lower, n_upper), the shape of the state's `"w"`."""
        *inputs, units = self.kernel.shape
        return math.prod(inputs), units

    def kernel_matrix(self):
        """A copy of the kernel as the state's `"w"`, `[n_lower, n_upper]`."""
        # Converting a variable alone gives the variable, with whatever it is assigned later.
        return ops.reshape(ops.copy(self.kernel), self.matrix_shape)

    def as_kernel(self, matrix):
        """A matrix such as `kernel_matrix` gives in the shape of the kernel."""
        return ops.reshape(matrix, self.kernel.shape)


@dataclass(frozen=True)
class NetworkReading:
    """A Keras model as the rule sees it.

    Attributes:
        plan: `Plan`.
        variables: Tuple of `UnitVariables`, one a unit layer, bottom-up.
        tail: Function of the embedding `[E, n]` that runs the layers above it, so that the
            moving statistics of batch normalisation there follow; None where there is none.
    """

    plan: Plan
    variables: tuple[UnitVariables, ...]
    tail: Callable[[Any], None] | None


def read_plan(model, freeze=(), deltas=False):
    """Reads a Keras model that is a chain of layers.

    Weights, the BatchNormalization after them and the nonlinearity, given as an argument or as
    layers of their own, make one unit layer; the nonlinearity must act on each unit alone or along
    the last axis. Everything between unit layers is passive. Frozen layers run in inference mode,
    so that random ones change nothing.
    The output of the last unit layer is the embedding; layers above it play no part.

    Args:
        model: A built Sequential or Functional model; nested chains are read too.
        freeze: Names of layers or nested models that must not change, besides those with
            `trainable=False`. Defaults to `()`.
        deltas: Whether the rule has a neuron network and so sends deltas down through passive
            layers. Defaults to `False`.

    Returns:
        A `NetworkReading`.

    Raises:
        ValueError: If the model is not built or not a chain, has a layer that is not supported,
            uses mixed precision, or has nothing that learns; the message names the layer.

    Example:
    ```python
    import keras
    from keras_learned_rule.network.read import read_plan

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu", name="first")])
    reading = read_plan(model)
    assert [layer.name for layer in reading.plan.layers] == ["first"]
    ```
    """
    units, tail = fold(chain_of(model, freeze))
    if not units:
        raise ValueError(
            f"Model '{model.name}' has no layer that can learn: every layer of a kind that can "
            f"({', '.join(supported_layers()[0])}) has `trainable=False` or is named in `freeze`, "
            "or there is none. "
            f"Received: layers {[layer.name for layer in model.layers]}, freeze={tuple(freeze)!r}"
        )
    for unit in units:
        _check_lengths(unit)
    _warn_of_head(units[-1])
    if deltas:
        _check_deltas(units)
    units[0].passives.insert(0, ModelInput(model.inputs[0]))
    whole_examples = not any(unit.connection.positions for unit in units)
    return NetworkReading(
        Plan(tuple(_unit_layer(unit) for unit in units), whole_examples),
        tuple(_variables(unit) for unit in units),
        _tail(units[-1].connection, tail),
    )


def _unit_layer(unit):
    route = Route(unit.passives, unit.connection)
    return UnitLayer(
        name=unit.connection.layer.name,
        activation=_composed(unit.activations),
        epsilon=None if unit.norm is None else unit.norm.epsilon,
        learns_bias=_variables(unit).bias is not None,
        receive=route.receive,
        emit=route.emit,
    )


def _composed(functions):
    if not functions:
        return activations.linear

    def activation(z):
        for function in functions:
            z = function(z)
        return z

    activation.functions = tuple(functions)
    return activation


def _variables(unit):
    kernel, bias, norm = unit.connection.kernel, unit.connection.bias, unit.norm
    name = unit.connection.layer.name
    if norm is None:
        return UnitVariables(name, kernel, bias)
    return UnitVariables(
        name,
        kernel,
        bias,
        norm.beta,
        norm.gamma,
        norm.moving_mean,
        norm.moving_variance,
        norm.momentum,
    )


def _tail(connection, passives):
    while passives and not passives[-1].keeps_statistics:
        passives = passives[:-1]
    if not passives:
        return None

    def run(embedding):
        # Where the length of an axis is not known, its positions count as examples: the same
        # statistics come out.
        x = connection.emit(embedding, (None, *(1 for _ in connection.positions)))
        for passive in passives:
            x = passive.run(x).y

    return run


def _check_lengths(unit):
    movers = [passive.layer for passive in unit.passives if not passive.keeps_shape]
    if movers and None in unit.connection.positions:
        raise ValueError(
            f"The input of layer '{unit.connection.layer.name}' has an axis of unknown length "
            f"behind layer '{movers[-1].name}', which changes shapes. Give keras.Input all sizes "
            f"but the batch size. Received: axes {unit.connection.positions} between batch and "
            "units"
        )


def _warn_of_head(unit):
    if activations.softmax in unit.activations:
        name = unit.connection.layer.name
        warnings.warn(
            f"Layer '{name}' ends in a softmax, as a classification head does; the rule does not "
            "classify, and will train it as the embedding. Leave it off, or as it is with "
            f"`freeze=('{name}',)`.",
            stacklevel=2,
        )


def _check_deltas(units):
    for below, unit in itertools.pairwise(units):
        for passive in unit.passives:
            if not passive.gives_deltas:
                layer = passive.layer
                raise ValueError(
                    f"This rule sends deltas from layer to layer, and layer '{layer.name}' "
                    f"({type(layer).__name__}) gives no derivative below layer "
                    f"'{unit.connection.layer.name}'. Use a rule without a neuron network, such "
                    "as UpdateRule.from_preset('compact'), or freeze all layers below as well. "
                    f"Received: {layer}"
                )
        _check_places(below.connection, unit.connection)


def _check_places(below, connection):
    *inputs, _ = connection.kernel.shape
    inputs, units = math.prod(inputs), below.kernel.shape[-1]
    if inputs % units and units % inputs:
        raise ValueError(
            "This rule asks each unit which weights leave it, so one of the number of inputs of "
            f"layer '{connection.layer.name}' and the number of units of layer "
            f"'{below.layer.name}' below must be a multiple of the other. Reshape otherwise, or "
            "use a rule without a neuron network, such as UpdateRule.from_preset('compact'). "
            f"Received: {inputs} inputs, {units} units"
        )
