"""Takes the examples of all sites out of one forward pass of the model."""

import collections
from typing import Any, NamedTuple

import keras
from keras import activations, ops

from keras_learned_rule.model.draws import combined_seed, drawn_among, drawn_rows
from keras_learned_rule.model.tapping import watched


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


def watch(model, sites, warm, x, limit, seed, step):
    """Runs the model in training mode and records a sample of the examples of every site.

    Positions that Keras has masked, such as the padding of a text, are not among them, where the
    layer has the positions of its input.

    Args:
        model: The `keras.Model`.
        sites: `Sites` of it.
        warm: `WarmMomentum` of it, or what makes calls in place of one.
        x: The batch, in the structure of the model's inputs.
        limit: How many positions a site looks at, at most, or None for all. Whole examples are
            never left out.
        seed: Non-negative integer; equal seeds draw equal positions in equal steps.
        step: Scalar integer tensor, the number of the batch.

    Returns:
        List of `Seen`, one a site.
    """
    watcher = _Watcher(sites, warm, limit, seed, step)
    with watched(watcher.layers, watcher):
        model(x, training=True)
    return [_seen(site, watcher.records(site)) for site in sites.learning]


class _Watcher:
    """Sees the calls of layers; see `watched`."""

    def __init__(self, sites, warm, limit, seed, step):
        self._warm = warm
        self._limit, self._seed, self._step = limit, seed, step
        self._frozen = {id(layer) for layer in sites.frozen}
        self._numbers = collections.Counter()
        self._use, self._norm, self._rows, self._records = {}, {}, {}, {}
        self.layers = [*sites.frozen, *warm.layers]
        for site in sites.learning:
            self.layers.append(site.kind.layer)
            for use in site.uses:
                key = id(site.kind.layer), use.number
                self._use[key] = site.kind, use
                if use.norm is not None:
                    layer, number = use.norm
                    self._norm[id(layer), number] = site.kind, key
                    self.layers.append(layer)

    def __call__(self, layer, call, args, kwargs):
        key = id(layer), self._numbers[id(layer)]
        self._numbers[id(layer)] += 1
        if id(layer) in self._frozen and "training" in kwargs:
            kwargs = {**kwargs, "training": False}
        output = self._warm.call(self._step, layer, call, args, kwargs)
        if key in self._use:
            self._record(key, *self._use[key], keras.tree.flatten((args, kwargs))[0], output)
        if key in self._norm:
            self._record_norm(*self._norm[key], output)
        return output

    def _record(self, key, kind, use, x, output):
        z = kind.positions(output)
        rows = self._rows[key] = None if use.whole else self._drawn(z, _kept(kind, x, output))
        examples, z = kind.examples(x, output, rows), z if rows is None else ops.take(z, rows, 0)
        self._records[key] = [ops.cast(t, "float32") for t in (examples, z)]

    def _drawn(self, positions, kept):
        seed = combined_seed(self._seed, self._step, len(self._rows))
        if kept is not None:
            return drawn_among(kept, self._limit, seed)
        if self._limit is None:
            return None
        return drawn_rows(self._limit, ops.shape(positions)[0], seed)

    def _record_norm(self, kind, key, output):
        z, rows = kind.positions(output), self._rows[key]
        z = z if rows is None else ops.take(z, rows, 0)
        self._records[key][1] = ops.cast(z, "float32")

    def records(self, site):
        """[examples, z] of every use of a site."""
        return [self._records[id(site.kind.layer), use.number] for use in site.uses]


class _MaskOf(keras.layers.Layer):
    """The mask that Keras has attached to a tensor, or None."""

    def __init__(self):
        super().__init__(autocast=False)
        self.supports_masking = self.built = True

    def call(self, x, mask=None):
        del x
        return mask


_mask_of = _MaskOf()


def _kept(kind, x, output):
    """Which of the positions of an output count, flattened; None where all do."""
    mask = _mask_of(x) if kind.keeps_positions() else None
    if mask is None or len(mask.shape) != 1 + len(kind.axes(output.shape)):
        return None
    return ops.reshape(mask, (-1,))


def _seen(site, records):
    examples, z = (_joined(parts) for parts in zip(*records, strict=True))
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
