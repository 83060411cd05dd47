"""Finds the sites of a Keras model: which of its weights learn, and what stands behind them."""

import re
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_learned_rule.model import kinds  # noqa: F401 (registers the kinds)
from keras_learned_rule.model.arguments import check_names
from keras_learned_rule.model.behind import end_of, look_behind
from keras_learned_rule.model.kinds.base import check_plain
from keras_learned_rule.model.places import Places
from keras_learned_rule.model.registry import kind_of, learning_layers
from keras_learned_rule.model.site import Site, Use
from keras_learned_rule.model.trace import Trace, trace

# What runs inside these cannot be watched: it may be run in a loop, or with other weights.
_CLOSED = (layers.RNN, layers.Wrapper)
# How heads are called in keras.applications, KerasHub and most code.
_HEAD = re.compile(r"(^|_)(head|logits|preds|predictions|classifier)(_|\d|$)")


@dataclass(frozen=True)
class Sites:
    """What the rule trains of a model.

    Attributes:
        learning: Tuple of `Site`, in the order in which the model calls them.
        left: Dict from a layer that has weights of its own, and stays as it is, to the reason.
        frozen: Tuple of layers that run in inference mode, so that random ones change nothing.
        around: Tuple of layers that what learns is part of, such as an attention.
        traced: `Trace` of the model.
    """

    learning: tuple[Site, ...]
    left: dict[Any, str]
    frozen: tuple
    around: tuple
    traced: Trace


def find_sites(model, inputs, freeze=()):
    """Finds what the rule trains of a model, which may be of any form.

    Args:
        model: A built `keras.Model`.
        inputs: What it is called with: a nested structure of `keras.KerasTensor`.
        freeze: Names of layers or nested models that must not change, besides those with
            `trainable=False`. Defaults to `()`.

    Returns:
        A `Sites`.

    Raises:
        ValueError: `freeze` has an unknown name, a layer has what the rule would not respect, or
            nothing learns; the message names the layer.

    Example:
    ```python
    import keras
    from keras_learned_rule.model.sites import find_sites

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3, name="first")])
    sites = find_sites(model, keras.KerasTensor((None, 8, 8, 3)))
    assert [site.matrix_shape for site in sites.learning] == [(27, 16)]
    ```
    """
    frozen = _frozen(model, freeze)
    traced = trace(model, inputs)
    weighted = _weighted(model, traced)
    left = _left(model, weighted, {id(layer) for layer in frozen}, traced.hidden)
    calls = {}
    for call in traced.calls:
        if kind_of(call.layer) and call.layer not in left:
            calls.setdefault(call.layer, []).append(call)
    consumers = traced.consumers()
    found = {layer: _kind_and_behind(ours, consumers, left) for layer, ours in calls.items()}
    found = {layer: value for layer, value in found.items() if layer not in left}
    for head in _heads(found, consumers, traced.returned):
        left[head] = "a head"
        del found[head]
    if not found:
        raise _nothing_learns(model, {**left, **_others(weighted, left)})
    for kind, _ in found.values():
        kind.check()
    places = Places(traced, {layer: kind.n_upper for layer, (kind, _) in found.items()})
    learning, taken = [], set(left)
    for layer, (kind, behind) in found.items():
        learning.append(_site(kind, calls[layer], behind, places.of(layer), taken))
        # The offset of a normalisation that is used twice learns with the first weights only.
        taken.add(learning[-1].norm)
    left |= _further_norms(found, taken)
    left |= _others(weighted, taken.union(left, found))
    return Sites(tuple(learning), left, frozen, _around(model, found), traced)


def _around(model, learning):
    return tuple(
        layer
        for layer in model._flatten_layers(include_self=False)
        if any(part in learning for part in layer._flatten_layers(include_self=False))
    )


def _further_norms(found, known):
    """Normalisations of a second or later use of weights, whose first use has another one."""
    return {
        own.norm.layer: f"normalises a further use of '{layer.name}'"
        for layer, (_, behind) in found.items()
        for own in behind
        if own.norm is not None and own.norm.layer not in known
    }


def _kind_and_behind(calls, consumers, left):
    layer = calls[0].layer
    kind_class = kind_of(layer)
    reason = kind_class.why_not(layer)
    if reason:
        left[layer] = reason
        return None
    kind = kind_class(layer)
    # With LoRA, which `Kind.check` refuses, it is a tensor.
    if isinstance(kind.kernel, keras.Variable) and not kind.kernel.trainable:
        left[layer] = "its kernel is frozen"
        return None
    _check_width(calls[0], kind)
    return kind, [look_behind(call, kind.activation, consumers) for call in calls]


def _site(kind, calls, behind, place, left):
    first = behind[0]
    norm = None if first.norm is None or first.norm.layer in left else first.norm.layer
    shape = calls[0].outputs[0].shape
    bias = kind.bias if first.norm is None else _of_units(norm, "beta", kind, shape)
    bias = bias if bias is not None and bias.trainable else None
    if norm is not None and bias is not None:
        check_plain(norm)
    return Site(
        name=kind.layer.name,
        kind=kind,
        uses=tuple(
            Use(
                call.number,
                _norm_call(own),
                kind.whole(call.outputs[0].shape),
                kind.axes(call.outputs[0].shape),
            )
            for call, own in zip(calls, behind, strict=True)
        ),
        norm=norm,
        activation=first.activation(kind),
        bias=bias,
        gamma=_of_units(norm, "gamma", kind, shape),
        place=place,
    )


def _norm_call(behind):
    return None if behind.norm is None else (behind.norm.layer, behind.norm.number)


def _of_units(norm, name, kind, shape):
    """A variable of a normalisation, if it has one number a unit of an output of this shape."""
    axis = getattr(norm, "axis", None)
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    if [axis % len(shape) for axis in axes] != [kind.unit_axis(shape)]:
        return None
    return getattr(norm, name, None)


def _heads(found, consumers, returned):
    """Layers that give outputs of the model and are heads."""
    heads = []
    for layer, (_, behind) in found.items():
        for own in behind:
            key, is_softmax = end_of(own, consumers)
            if key in returned and (is_softmax or _HEAD.search(layer.name)):
                heads.append(layer)
                break
    return heads


def _left(model, weighted, frozen, hidden):
    """Layers with weights that stay as they are whatever the model does, and why."""
    inside = {
        id(part): layer
        for layer in model._flatten_layers()
        if isinstance(layer, _CLOSED)
        for part in layer._flatten_layers(include_self=False)
    }
    left = {}
    for layer in weighted:
        if id(layer) in frozen:
            left[layer] = "frozen"
        elif id(layer) in inside:
            left[layer] = f"inside '{inside[id(layer)].name}'"
        elif id(layer) in hidden:
            left[layer] = "called in a loop or function, where it cannot be watched"
    return left


def _others(weighted, known):
    """Layers that nothing has been said of yet, and why they stay as they are."""
    return {layer: _why_other(layer) for layer in weighted if layer not in known}


def _why_other(layer):
    if kind_of(layer) is None:
        return "of a kind that does not learn"
    # Keras runs another function in place of `call`.
    return "quantised" if getattr(layer, "quantization_mode", None) else "not called"


def _weighted(model, traced):
    """Layers that hold weights of their own, in the order of their calls."""
    order = {}
    for call in traced.calls:
        order.setdefault(id(call.layer), len(order))
    found = [
        layer
        for layer in model._flatten_layers()
        if layer._trainable_variables or layer._non_trainable_variables
    ]
    return sorted(found, key=lambda layer: order.get(id(layer), len(order)))


def _frozen(model, freeze):
    parts = list(model._flatten_layers(include_self=False))
    known = {}
    for layer in parts:
        known.setdefault(layer.name, []).append(layer)
    check_names(model, freeze, known)
    named = [layer for name in freeze for layer in known[name]]
    named += [layer for layer in parts if not layer.trainable]
    found = {id(part): part for layer in named for part in layer._flatten_layers()}
    return tuple(part for part in found.values() if not isinstance(part, keras.Model))


def _check_width(call, kind):
    shape = call.outputs[0].shape
    width = kind.units(shape)
    if width != kind.n_upper:
        raise ValueError(
            f"The nonlinearity of layer '{call.layer.name}' must keep the number of units. Move it "
            "to a layer of its own behind it, or leave the layer as it is with "
            f"`freeze=('{call.layer.name}',)`. Received: {kind.n_upper} units in, {width} out"
        )


def _nothing_learns(model, left):
    reasons = ", ".join(f"'{layer.name}' ({why})" for layer, why in left.items())
    return ValueError(
        f"Model '{model.name}' has nothing that can learn. The rule trains layers of the kinds "
        f"{', '.join(learning_layers())} that are not frozen and no head. "
        f"Received: {reasons or 'no layer with weights'}"
    )
