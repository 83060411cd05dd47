"""Folds a chain of layers into unit layers: weights, batch normalisation, nonlinearity."""

from dataclasses import dataclass, field
from typing import Any

from keras import activations, layers, ops

from keras_learned_rule.network.passive import LooseActivation, Opaque, PassiveBatchNorm
from keras_learned_rule.network.registry import (
    connection_class,
    passive_class,
    supported_layers,
)

_ACTIVATIONS = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Softmax)
_IDENTITIES = (layers.Identity, layers.ActivityRegularization)


@dataclass
class Unit:
    """A unit layer in the making.

    Attributes:
        connection: Holds the weights (see `register_connection`).
        passives: `Passive` layers between the unit layer below and the connection.
        norm: The BatchNormalization layer between weights and nonlinearity, or None.
        activations: Callables, in the order in which they are applied.
    """

    connection: Any
    passives: list
    norm: Any = None
    activations: list = field(default_factory=list)


def fold(links):
    """Folds the layers of a chain into unit layers.

    Args:
        links: List of `Link`, from `chain_of`.

    Returns:
        (units, tail): list of `Unit`, and the list of `Passive` layers above the last of them.

    Raises:
        ValueError: If a layer is not supported, or stands where it cannot be folded.
    """
    units, waiting = [], []
    for link in links:
        _check_precision(link)
        kind = type(link.layer)
        connection = connection_class(link.layer)
        if connection is not None and not link.frozen:
            units.append(_unit(connection(link.layer, link.input_shape), waiting))
            waiting = []
        elif kind is layers.BatchNormalization:
            _fold_norm(units, waiting, link)
        elif kind in _ACTIVATIONS:
            _fold_activation(units, waiting, link)
        elif kind not in _IDENTITIES:
            waiting.append(_passive(link))
    return units, waiting


def _unit(connection, passives):
    _check_weightless(connection.layer)
    unit = Unit(connection, passives)
    if connection.activation is not activations.linear:
        _check_keeps_width(connection.layer, connection.activation, connection.kernel.shape[-1])
        unit.activations.append(connection.activation)
    return unit


def _fold_norm(units, waiting, link):
    layer = link.layer
    if not link.frozen:
        _check_norm(link)
    _check_adjacent(units, waiting, layer)
    if not units or waiting or units[-1].norm is not None or units[-1].activations:
        of_units = _over_last_axis(link)
        waiting.append((PassiveBatchNorm if of_units else Opaque)(layer, link.frozen))
    elif link.frozen:
        dense = units[-1].connection.layer.name
        raise ValueError(
            f"Layer '{layer.name}' (BatchNormalization) is frozen, but normalises layer "
            f"'{dense}', which learns. Freeze both, `freeze=('{dense}', '{layer.name}')`, or "
            f"neither. Received: only '{layer.name}' frozen"
        )
    else:
        units[-1].norm = layer


def _fold_activation(units, waiting, link):
    _check_adjacent(units, waiting, link.layer)
    if type(link.layer) is not layers.Softmax:
        _check_keeps_width(link.layer, link.layer.call, link.input_shape[-1])
    if not units or waiting:
        waiting.append(LooseActivation(link.layer, link.frozen))
    else:
        units[-1].activations.append(_callable(link))


def _callable(link):
    layer = link.layer
    _check_weightless(layer)
    if type(layer) is layers.Softmax:
        last = len(link.input_shape) - 1
        if layer.axis not in (-1, last, [-1], [last], (-1,), (last,)):
            raise ValueError(
                f"Layer '{layer.name}' (Softmax) must run over the last axis, the units. "
                f"Received: axis={layer.axis}"
            )
        return activations.softmax
    return layer.call


def _passive(link):
    layer = link.layer
    passive = passive_class(layer)
    if passive is not None:
        return passive(layer, link.frozen)
    if link.frozen:
        return Opaque(layer, frozen=True)
    learning, passing = supported_layers()
    passing += [c.__name__ for c in (*_ACTIVATIONS, *_IDENTITIES)]
    raise ValueError(
        f"Layer '{layer.name}' ({type(layer).__name__}) is not supported by the rule. It learns "
        f"{', '.join(learning)} (each with a BatchNormalization, if there is one), and passes "
        f"signals through {', '.join(sorted(passing))}. A layer that should stay as it is can "
        f"be anything and runs in inference mode: `freeze=('{layer.name}',)`. Received: {layer}"
    )


def _check_weightless(layer):
    activation = getattr(layer, "activation", None)
    if isinstance(activation, layers.Layer) and (activation.weights or not activation.built):
        raise ValueError(
            f"The activation of layer '{layer.name}' has weights of its own, which the rule "
            "cannot change. Use another one, or leave the layer as it is with "
            f"`freeze=('{layer.name}',)`. Received: activation={activation}"
        )


def _check_keeps_width(layer, activation, width):
    # Keras takes every nonlinearity for one that keeps shapes, and so builds what comes behind.
    if width is None:
        return
    shape = (2, width)
    received = tuple(activation(ops.zeros(shape)).shape)
    if received != shape:
        raise ValueError(
            f"The activation of layer '{layer.name}' must keep the number of units, since each "
            "unit has an output of its own. Use one that does, such as 'relu'. "
            f"Received: shape {received} from {shape}"
        )


def _over_last_axis(link):
    return link.layer.axis in (-1, len(link.input_shape) - 1)


def _check_adjacent(units, waiting, layer):
    between = [passive.layer for passive in waiting]
    # What comes behind such a layer is not the unit layer's own.
    through = any(isinstance(p, Opaque) and not p.training for p in waiting)
    if units and between and not through and not units[-1].activations:
        dense = units[-1].connection.layer
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}) must follow layer '{dense.name}' "
            f"directly, so that weights, batch normalisation and nonlinearity make one unit "
            f"layer. Move '{between[-1].name}' ({type(between[-1]).__name__}) behind the "
            f"nonlinearity. Received: {', '.join(p.name for p in between)} in between"
        )


def _check_norm(link):
    layer = link.layer
    if not _over_last_axis(link):
        problem = f"axis={layer.axis}; it must be the last axis"
    elif getattr(layer, "renorm", False):  # Newer than the oldest Keras we support.
        problem = "renorm=True; it is not supported"
    elif layer.beta_constraint is not None or layer.gamma_constraint is not None:
        problem = "a constraint; the rule would not keep it"
    else:
        return
    raise ValueError(
        f"Layer '{layer.name}' (BatchNormalization) has an option that the rule "
        f"does not support. Received: {problem}"
    )


def _check_precision(link):
    layer = link.layer
    if not link.frozen and layer.compute_dtype != layer.variable_dtype:
        raise ValueError(
            f"Layer '{layer.name}' uses mixed precision, which the rule does not support. Build "
            "the model with one dtype, such as keras.config.set_dtype_policy('float32'). "
            f"Received: compute_dtype={layer.compute_dtype}, "
            f"variable_dtype={layer.variable_dtype}"
        )
