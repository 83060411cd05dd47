"""Chains of Dense layers, which are what rules with a neuron network train."""

import itertools

from keras import activations, layers

from keras_learned_rule.model.behind import look_behind, nonlinearity
from keras_learned_rule.model.kinds.dense import DenseKind
from keras_learned_rule.model.trace import trace

_NOTHING = (layers.Identity, layers.ActivityRegularization)
_SCALING = (layers.Dropout, layers.GaussianDropout, layers.BatchNormalization)
_HAND_ON = (*_SCALING, *_NOTHING, layers.GaussianNoise, layers.Flatten, layers.Reshape)


def scaled_on_the_way(model, inputs, sites):
    """Checks that sites are a chain of Dense layers, and says what scales their units.

    Each must see whole examples, be called once, and be fed by the one before and nothing else.
    Between two of them come, in this order, a BatchNormalization and nonlinearities if there are
    any, and layers that hand the same units on: Dropout, GaussianDropout, GaussianNoise,
    BatchNormalization, and Flatten or Reshape that change nothing. What stands before the first
    and behind the last is up to the model.

    Args:
        model: The `keras.Model`.
        inputs: What it is called with: a nested structure of `keras.KerasTensor`.
        sites: Tuple of `Site`, in the order in which the model calls them.

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
    inputs = keras.KerasTensor((None, 4))
    sites = find_sites(model, inputs).learning
    assert scaled_on_the_way(model, inputs, sites) == [[], [(parts[-1], 0)]]
    ```
    """
    for site in sites:
        _check_site(model, site)
    traced = trace(model, inputs)
    calls = {call.layer: call for call in traced.calls}
    consumers, found = traced.consumers(), [[]]
    for below, above in itertools.pairwise(sites):
        way = _way(model, calls[below.kind.layer], calls[above.kind.layer], consumers)
        found.append(_handed_on(model, below, way))
    last = sites[-1].kind
    if look_behind(calls[last.layer], last.activation, consumers).merged:
        raise _no_chain(model, last.layer, "gives units that are added to others")
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


def _way(model, below, above, consumers):
    """The calls between those of two Dense layers."""
    way, output = [], below.outputs[0]
    while True:
        calls = consumers.get(output.key, ())
        if not calls:
            raise _no_chain(model, above.layer, f"layer '{below.layer.name}' does not feed")
        if len(calls) > 1:
            raise _no_chain(model, below.layer, "feeds several layers")
        if calls[0] is above:
            return way
        way.append(calls[0])
        if not _hands_on(calls[0], output.shape):
            problem = f"stands between layers '{below.layer.name}' and '{above.layer.name}'"
            raise _no_chain(model, calls[0].layer, problem)
        output = calls[0].outputs[0]


def _hands_on(call, shape):
    """Whether each unit comes out as itself."""
    if len(call.inputs) != 1 or [output.shape for output in call.outputs] != [shape]:
        return False
    return type(call.layer) in _HAND_ON or nonlinearity(call.layer) is not None


def _handed_on(model, site, way):
    """The calls of dropout and batch normalisation behind the nonlinearity of a site."""
    scaled, passed = [], None
    # Behind its nonlinearity a batch normalisation hands on what it gets.
    complete = site.kind.activation not in (None, activations.linear)
    for call in way:
        kind = type(call.layer)
        own = nonlinearity(call.layer) is not None
        own = own or (kind is layers.BatchNormalization and not complete)
        if own and passed is not None:
            raise _no_chain(model, call.layer, f"stands behind layer '{passed.name}'")
        complete = complete or own
        if not own and kind not in _NOTHING:
            passed = call.layer
            if kind in _SCALING:
                scaled.append((call.layer, call.number))
    return scaled


def _no_chain(model, layer, problem):
    return ValueError(
        "Rules with a neuron network train chains of Dense layers. Between two of them may stand a "
        "BatchNormalization, then nonlinearities, then layers that hand the same units on, such as "
        f"Dropout. In model '{model.name}' layer '{layer.name}' does not fit in. Use "
        "rule='compact', which trains models of any form, or leave layers as they are with "
        f"`freeze=`. Received: '{layer.name}' ({type(layer).__name__}), which {problem}"
    )
