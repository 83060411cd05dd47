"""Walks a Keras model that is a chain into its list of layers, input to output."""

from typing import Any, NamedTuple

import keras

from keras_learned_rule.model.arguments import check_built, check_names


class Link(NamedTuple):
    """One layer of the chain.

    Attributes:
        layer: The Keras layer or, if frozen, perhaps a whole nested model.
        input_shape: Static shape of its input, None where unknown.
        frozen: Whether it must not change.
    """

    layer: Any
    input_shape: tuple
    frozen: bool


def chain_of(model, freeze=()):
    """Lists the layers of a model from input to output; nested chains are flattened.

    Args:
        model: A built Sequential or Functional model.
        freeze: Names of layers or nested models that must not change, besides those with
            `trainable=False`. Defaults to `()`.

    Returns:
        List of `Link`, without input layers.

    Raises:
        ValueError: If the model is not built or not a chain, if a layer is used twice, or if
            `freeze` holds an unknown name.
    """
    check_built(model)
    _check_graph(model)
    check_names(model, freeze, list(_layer_names(model)))
    links = _walk(model, frozenset(freeze))
    seen = set()
    for link in links:
        if id(link.layer) in seen:
            raise _not_a_chain(model, f"layer '{link.layer.name}' is used twice")
        seen.add(id(link.layer))
    return links


def _check_graph(model):
    if not _is_graph(model):
        raise ValueError(
            f"Model '{model.name}' has a `call` of its own, so its layers cannot be read. "
            "Supported are keras.Sequential and Functional models that are chains; wrap such a "
            "chain in a LearnedRuleModel, which learns without a LearnedRule. "
            f"Received: {type(model).__name__}"
        )


def _is_graph(model):
    own_call = not type(model).call.__module__.startswith("keras.src.")
    return not own_call and getattr(model, "outputs", None) is not None


def _walk(model, freeze):
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        count = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise _not_a_chain(model, f"it has {count}")
    tensor, links = model.outputs[0], []
    while tensor is not model.inputs[0]:
        operation, node_index, _ = tensor._keras_history
        node = operation._inbound_nodes[node_index]
        _check_node(model, operation, node)
        tensor = node.input_tensors[0]
        links = _links(operation, tuple(tensor.shape), freeze) + links
    return links


def _links(layer, input_shape, freeze):
    frozen = layer.name in freeze or not layer.trainable
    if isinstance(layer, keras.Model) and _is_graph(layer) and not frozen:
        return _walk(layer, freeze)
    return [Link(layer, input_shape, frozen)]


def _check_node(model, operation, node):
    name = f"'{operation.name}' ({type(operation).__name__})"
    if len(node.input_tensors) != 1 or len(node.outputs) != 1:
        counts = f"{len(node.input_tensors)} inputs and {len(node.outputs)} outputs"
        raise _not_a_chain(model, f"{name} has {counts}")
    if not isinstance(operation, keras.layers.Layer):
        raise _not_a_chain(model, f"{name} is an operation outside of any layer")
    # `training` is overridden by the model's own, and `mask` follows from the layers below.
    extra = {k: v for k, v in node.arguments.kwargs.items() if k not in ("training", "mask")}
    if len(node.arguments.args) > 1 or any(v is not None for v in extra.values()):
        raise _not_a_chain(model, f"layer {name} is called with further arguments")


def _layer_names(model):
    for layer in model.layers:
        yield layer.name
        if isinstance(layer, keras.Model):
            yield from _layer_names(layer)


def _not_a_chain(model, reason):
    return ValueError(
        f"Model '{model.name}' is not a chain of layers: {reason}. Supported are Sequential and "
        "Functional models in which every layer is used once and passes its one output to the "
        "next; a nested model may be anything if it is left as it is with `freeze=(its name,)`. "
        f"Received: {type(model).__name__} '{model.name}'"
    )
