"""Watches the calls of layers while a model runs: their `call` is replaced for that time."""

import collections
import contextlib
import threading

_lock = threading.Lock()
_watching = threading.local()


@contextlib.contextmanager
def watched(layers, watcher):
    """Lets `watcher` see every call of the layers within the block.

    Replicas of `tf.distribute` run in threads of their own, which take turns: each sees its own
    calls alone.

    Args:
        layers: Keras layers or operations.
        watcher: `watcher(layer, number, call, args, kwargs)` makes the call and returns its output;
            `number` is how many calls of the layer came before within the block.
    """
    layers = list({id(layer): layer for layer in layers}.values())
    with _lock:
        for layer in layers:
            _install(layer)
    outer, _watching.now = getattr(_watching, "now", None), _Numbered(watcher)
    try:
        yield
    finally:
        _watching.now = outer
        with _lock:
            for layer in layers:
                _remove(layer)


class _Numbered:
    """Counts the calls of each layer for a watcher."""

    def __init__(self, watcher):
        self._watcher = watcher
        self._numbers = collections.Counter()

    def __call__(self, layer, call, args, kwargs):
        number = self._numbers[id(layer)]
        self._numbers[id(layer)] += 1
        return self._watcher(layer, number, call, args, kwargs)


def _install(layer):
    tap = vars(layer).get("call")
    if isinstance(tap, _Tap):
        tap.users += 1
    else:
        # Past the layer's own `__setattr__`, which keeps account of attributes for saving.
        vars(layer)["call"] = _Tap(layer, tap)


def _remove(layer):
    tap = vars(layer)["call"]
    tap.users -= 1
    if tap.users:
        return
    if tap.replaced is None:
        del vars(layer)["call"]
    else:
        vars(layer)["call"] = tap.replaced


class _Tap:
    """Stands in place of a bound `call`; `replaced` is one that was on the instance before."""

    def __init__(self, layer, replaced):
        self.users = 1
        self.replaced = replaced
        self._layer = layer
        self._call = layer.call

    def __call__(self, *args, **kwargs):
        watcher = getattr(_watching, "now", None)
        if watcher is None:
            return self._call(*args, **kwargs)
        return watcher(self._layer, self._call, args, kwargs)
