"""Where sites stand in a network, from the calls of one forward pass."""

from typing import NamedTuple

from keras_learned_rule.rule.place import Place


class _Below(NamedTuple):
    """Layers that learn below a tensor: the longest way up to it, and all of them."""

    way: tuple = ()
    all: frozenset = frozenset()


class Places:
    """The place of every layer that learns.

    A tensor that no watched call has made, such as a sum in a subclassed model, is taken to come
    from all sites called before.

    Args:
        traced: `Trace` of the model.
        widths: Dict from each layer that learns to its number of units.
    """

    def __init__(self, traced, widths):
        self._widths = widths
        self._below_tensor = dict.fromkeys(traced.given, _Below())
        self._below = dict.fromkeys(widths, _Below())
        self._called = _Below()
        for call in traced.calls:
            self._visit(call)
        self._hidden = max(len(below.way) for below in self._below.values())
        self._not_last = frozenset().union(*(below.all for below in self._below.values()))

    def of(self, layer):
        """The `Place` of a layer."""
        way, last = self._below[layer].way, layer not in self._not_last
        width = self._widths[way[-1] if last and way else layer]
        return Place(not way, last, self._hidden, width if self._hidden else None)

    def _visit(self, call):
        sources = [*call.inputs, *(tensor for part in call.inner for tensor in part.outputs)]
        below = self._joined(
            [self._below_tensor.get(tensor.key, self._called) for tensor in sources]
        )
        if call.layer in self._widths:
            below = self._learn(call.layer, below)
        for tensor in call.outputs:
            self._below_tensor[tensor.key] = below

    def _learn(self, layer, below):
        own = _without(below, layer)
        self._below[layer] = self._joined([self._below[layer], own])
        above = _Below((*own.way, layer), below.all | {layer})
        self._called = _without(self._called, layer)
        self._called = _Below((*self._called.way, layer), self._called.all | {layer})
        return above

    def _joined(self, sources):
        way = max((source.way for source in sources), key=len, default=())
        return _Below(way, frozenset().union(*(source.all for source in sources)))


def _without(below, layer):
    return _Below(tuple(b for b in below.way if b is not layer), below.all - {layer})
