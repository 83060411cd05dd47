"""Takes the examples of all sites out of one forward pass of the model."""

import collections
from typing import Any, NamedTuple

import keras
from keras import activations, ops

from keras_learned_rule.model.draws import drawn_rows
from keras_learned_rule.model.tapping import watched

# Sets the draws of one step apart from those of the next, whatever the number of sites.
_STRIDE = 1 << 16


class Seen(NamedTuple):
    """What passed a site.

    Attributes:
        examples: `[E, groups * n_lower]`, what the weights were multiplied with.
        z: `[E, n_upper]`, pre-activations.
        y: `[E, n_upper]`, post-activations.
    """

    examples: Any
    z: Any
    y: Any


def watch(model, sites, x, limit, seed):
    """Runs the model in training mode and records a sample of the examples of every site.

    Args:
        model: The `keras.Model`.
        sites: `Sites` of it.
        x: The batch, in the structure of the model's inputs.
        limit: How many positions a site looks at, at most, or None for all. Whole examples are
            never left out.
        seed: Scalar int32 tensor; equal seeds draw equal positions.

    Returns:
        List of `Seen`, one a site.
    """
    watcher = _Watcher(sites, limit, seed)
    with watched(watcher.layers, watcher):
        model(x, training=True)
    return [_seen(site, watcher.records(site)) for site in sites.learning]


class _Watcher:
    """Sees the calls of layers; see `watched`."""

    def __init__(self, sites, limit, seed):
        self._limit, self._seed = limit, seed * _STRIDE
        self._frozen = {id(layer) for layer in sites.frozen}
        self._numbers = collections.Counter()
        self._use, self._norm, self._rows, self._records = {}, {}, {}, {}
        self.layers = list(sites.frozen)
        for site in sites.learning:
            self.layers.append(site.kind.layer)
            for use in site.uses:
                self._use[id(site.kind.layer), use.number] = site, use
                if use.norm is not None:
                    layer, number = use.norm
                    self._norm[id(layer), number] = site, use
                    self.layers.append(layer)

    def __call__(self, layer, call, args, kwargs):
        key = id(layer), self._numbers[id(layer)]
        self._numbers[id(layer)] += 1
        if id(layer) in self._frozen and "training" in kwargs:
            kwargs = {**kwargs, "training": False}
        output = call(*args, **kwargs)
        if key in self._use:
            self._record(*self._use[key], keras.tree.flatten((args, kwargs))[0], output)
        if key in self._norm:
            self._record_norm(*self._norm[key], output)
        return output

    def _record(self, site, use, x, output):
        kind = site.kind
        z = kind.positions(output)
        rows = None if use.whole else self._drawn(z)
        self._rows[site.name, use] = rows
        examples, z = kind.examples(x, output, rows), z if rows is None else ops.take(z, rows, 0)
        self._records[site.name, use] = [ops.cast(t, "float32") for t in (examples, z)]

    def _drawn(self, positions):
        if self._limit is None:
            return None
        return drawn_rows(self._limit, ops.shape(positions)[0], self._seed + len(self._rows))

    def _record_norm(self, site, use, output):
        z, rows = site.kind.positions(output), self._rows[site.name, use]
        z = z if rows is None else ops.take(z, rows, 0)
        self._records[site.name, use][1] = ops.cast(z, "float32")

    def records(self, site):
        """[examples, z] of every use of a site."""
        return [self._records[site.name, use] for use in site.uses]


def _seen(site, records):
    examples, z = (
        ops.concatenate(parts) if len(parts) > 1 else parts[0]
        for parts in zip(*records, strict=True)
    )
    if site.kind.activation not in (None, activations.linear):
        # The layer gives post-activations only.
        z = _products(site, examples)
        z = z if site.kind.bias is None else z + ops.reshape(site.kind.bias, (-1,))
    return Seen(examples, z, site.activation(z))


def _joined(parts):
    return ops.concatenate(parts) if len(parts) > 1 else parts[0]


def _products(site, examples):
    parts = zip(
        ops.split(examples, site.kind.groups, axis=-1),
        ops.split(site.kernel_matrix(), site.kind.groups, axis=-1),
        strict=True,
    )
    return ops.concatenate([ops.matmul(x, w) for x, w in parts], axis=-1)
