"""Takes the examples of all sites out of one forward pass of the model."""

from typing import Any, NamedTuple

import keras
from keras import activations, ops

from keras_learned_rule.fit.masks import Masks
from keras_learned_rule.fit.site_call import SiteCall
from keras_learned_rule.model.draws import combined_seed, drawn_among
from keras_learned_rule.model.tapping import watched


class Seen(NamedTuple):
    """What passed a site.

    Attributes:
        examples: `[E, groups * n_lower]`, what the weights were multiplied with.
        z: `[E, n_upper]`, pre-activations.
        y: `[E, n_upper]`, post-activations.
        counts: Scalar bool tensor, false if all positions were masked: the weights must stay.
            None where nothing is masked.
    """

    examples: Any
    z: Any
    y: Any
    counts: Any


def watch(model, sites, warm, x, limit, seed, step):
    """Runs the model in training mode and records a sample of the examples of every site.

    Positions that Keras has masked, such as the padding of a text, are not among them, where the
    layer has the positions of its input. The mask is that of its input, or else of its output.

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
    watcher.finish()
    return [_seen(site, watcher.calls(site)) for site in sites.learning]


class _Watcher:
    """Sees the calls of layers; see `watched`."""

    def __init__(self, sites, warm, limit, seed, step):
        self._warm = warm
        self._limit, self._seed, self._step = limit, seed, step
        self._frozen = {id(layer) for layer in sites.frozen}
        self._use, self._norm, self._calls = {}, {}, {}
        self._masks, self._later = Masks(), []
        self._around = {id(layer) for layer in sites.around}
        self.layers = [*sites.frozen, *warm.layers, *sites.around]
        for site in sites.learning:
            self.layers.append(site.kind.layer)
            for use in site.uses:
                key = id(site.kind.layer), use.number
                self._use[key] = site.kind, use
                if use.norm is not None:
                    layer, number = use.norm
                    self._norm[id(layer), number] = key
                    self.layers.append(layer)

    def __call__(self, layer, number, call, args, kwargs):
        key = id(layer), number
        if id(layer) in self._frozen and "training" in kwargs:
            kwargs = {**kwargs, "training": False}
        if id(layer) in self._around:
            self._masks.remember((args, kwargs))
        output = self._warm.call(self._step, layer, number, call, args, kwargs)
        if key in self._use:
            self._record(key, *self._use[key], keras.tree.flatten((args, kwargs))[0], output)
        if key in self._norm:
            self._calls[self._norm[key]].normalise(output)
        return output

    def _record(self, key, kind, use, x, output):
        seed = combined_seed(self._seed, self._step, len(self._calls))
        call = self._calls[key] = SiteCall(kind, use.whole, x, output)
        if use.whole or not self._masks.come_later(x):
            call.sample(self._masks, self._limit, seed)
        else:
            self._later.append((call, seed))

    def finish(self):
        """Samples the calls whose masks may have come after them."""
        for call, seed in self._later:
            call.sample(self._masks, self._limit, seed)

    def calls(self, site):
        """`SiteCall` of every use of a site."""
        return [self._calls[id(site.kind.layer), use.number] for use in site.uses]


def _seen(site, calls):
    examples, z, counts = _joined_calls(calls)
    if site.kind.activation not in (None, activations.linear):
        # The layer gives post-activations only.
        z = _products(site, examples)
        z = z if site.kind.bias is None else z + ops.reshape(site.kind.bias, (-1,))
    return Seen(examples, z, site.activation(z), counts)


def _joined_calls(calls):
    """Examples, z, and whether any position counts, None where nothing is masked."""
    examples, z = _joined([call.examples for call in calls]), _joined([call.z for call in calls])
    if all(call.kept is None for call in calls):
        return examples, z, None
    # A call without a kept position has given masked ones.
    kept = _joined([call.all_kept() for call in calls])
    if len(calls) > 1:
        rows = drawn_among(kept, None, seed=0)
        examples, z = ops.take(examples, rows, 0), ops.take(z, rows, 0)
    return examples, z, ops.any(kept)


def _joined(parts):
    return ops.concatenate(parts) if len(parts) > 1 else parts[0]


def _products(site, examples):
    parts = zip(
        ops.split(examples, site.kind.groups, axis=-1),
        ops.split(site.kernel_matrix(), site.kind.groups, axis=-1),
        strict=True,
    )
    return ops.concatenate([ops.matmul(x, w) for x, w in parts], axis=-1)
