"""Chains of Dense layers, which are what rules with a neuron network train."""

import itertools

from keras import layers

from keras_learned_rule.model.behind import FACTORS, NOISE, NOTHING, look_behind, nonlinearity
from keras_learned_rule.model.kinds.dense import DenseKind

_SCALING = (*FACTORS, layers.BatchNormalization)
_HAND_ON = (*_SCALING, *NOTHING, *NOISE, layers.Flatten, layers.Reshape)


def scaled_on_the_way(model, sites):
    """Checks that sites are a chain of Dense layers, and says what scales their units.

    Each must see whole examples, be called once, and be fed by the one before and nothing else.
    Between two of them come, in this order, a BatchNormalization and nonlinearities if there are
    any, and layers that hand the same units on: Dropout, GaussianDropout, GaussianNoise,
    BatchNormalization, and Flatten or Reshape that change nothing. What stands before the first
    and behind the last is up to the model, and so are branches from these layers to others: the
    rule sends deltas down the chain alone.

    Args:
        model: The `keras.Model`.
        sites: `Sites` of it.

    Returns:
        List of lists, one a site, of the calls (layer, number) between the nonlinearity below and
        the site that multiply units: those of dropout and of batch normalisation.

    Raises:
        ValueError: They are no such chain; the message names the layer.

    Example:
    ```python
    import keras
    from keras_learned_rule.model.chain import scaled_on_the_way
    from keras_learned_rule.model.sites import find_sites

    parts = [keras.layers.Dense(5), keras.layers.ReLU(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input((4,)), *parts, keras.layers.Dense(3)])
    sites = find_sites(model, keras.KerasTensor((None, 4)))
    assert scaled_on_the_way(model, sites) == [[], [(parts[-1], 0)]]
    ```
    """
    for site in sites.learning:
        _check_site(model, site)
    calls = {call.layer: call for call in sites.traced.calls}
    consumers, producers = sites.traced.consumers(), sites.traced.producers()
    found = [[]]
    for below, above in itertools.pairwise(site.kind for site in sites.learning):
        call = calls[below.layer]
        way = _way(model, call, calls[above.layer], producers)
        behind = look_behind(call, below.activation, consumers)
        found.append(_handed_on(model, call, behind, way))
    return found


def _check_site(model, site):
    layer = site.kind.layer
    if not isinstance(site.kind, DenseKind):
        raise _no_chain(model, layer, "is no Dense layer")
    if len(site.uses) > 1:
        raise _no_chain(model, layer, f"is called {len(site.uses)} times")
    if not site.whole:
        raise _no_chain(model, layer, "sees several positions of an example")
    norm = site.uses[0].norm
    if norm is not None and type(norm[0]) is not layers.BatchNormalization:
        raise _no_chain(model, norm[0], f"normalises layer '{layer.name}'")


def _way(model, below, above, producers):
    """The calls between those of two Dense layers."""
    way, tensor = [], above.inputs[0]
    while tensor.key != below.outputs[0].key:
        call = producers.get(tensor.key)
        if call is None:
            raise _no_chain(model, above.layer, f"layer '{below.layer.name}' does not feed")
        if not _hands_on(call):
            others = f"gives layer '{above.layer.name}' other units than '{below.layer.name}' has"
            raise _no_chain(model, call.layer, others)
        way.append(call)
        tensor = call.inputs[0]
    return way[::-1]


def _hands_on(call):
    """Whether each unit comes out as itself."""
    if len(call.inputs) != 1 or [t.shape for t in call.outputs] != [call.inputs[0].shape]:
        return False
    return type(call.layer) in _HAND_ON or nonlinearity(call.layer) is not None


def _handed_on(model, below, behind, way):
    """The calls of dropout and batch normalisation behind the nonlinearity of a Dense layer."""
    for call in behind.calls:
        if call not in way:
            branch = f"stands behind layer '{below.layer.name}' on a branch that leaves the chain"
            raise _no_chain(model, call.layer, branch)
    # Behind its nonlinearity a batch normalisation hands on what it gets.
    complete = behind.norm is not None or behind.functions
    scaled, passed = [], below.layer
    for call in way:
        kind = type(call.layer)
        own = nonlinearity(call.layer) or (kind is layers.BatchNormalization and not complete)
        if call in behind.calls and passed is below.layer:
            continue
        if call in behind.calls or own:
            raise _no_chain(model, call.layer, _behind(passed, below))
        if kind not in NOTHING:
            passed = call.layer
            if kind in _SCALING:
                scaled.append((call.layer, call.number))
    return scaled


def _behind(passed, below):
    if passed is below.layer:
        return f"is not all that layer '{passed.name}' feeds"
    return f"stands behind layer '{passed.name}'"


def _no_chain(model, layer, problem):
    return ValueError(
        "Rules with a neuron network train chains of Dense layers. Between two of them may stand a "
        "BatchNormalization, then nonlinearities, then layers that hand the same units on, such as "
        f"Dropout. In model '{model.name}' layer '{layer.name}' does not fit in. Use "
        "rule='compact', which trains models of any form, or leave layers as they are with "
        f"`freeze=`. Received: '{layer.name}' ({type(layer).__name__}), which {problem}"
    )
