"""A chain of Dense layers under a rule with a neuron network, which sends deltas down."""

import keras
from keras import layers, ops

from keras_learned_rule.fit.site_network import SiteNetwork
from keras_learned_rule.rule.signals import Signals
from keras_learned_rule.rule.update import network_update


class ChainNetwork(SiteNetwork):
    """The sites of a chain.

    Args:
        scaled: What `scaled_on_the_way` returns for them.
        **options: Arguments of `SiteNetwork`.
    """

    def __init__(self, scaled, **options):
        super().__init__(**options)
        self._scaled = scaled

    def _changed(self, theta, state, x, learning_rate, step):
        factors = _Factors(self._warm, self._scaled)
        seen = self._watched(factors, x, step)
        signals = Signals(
            pres=[own.examples for own in seen],
            zs=[own.z for own in seen],
            xs=[own.y for own in seen],
            factors=factors.found(),
        )
        sites = self._sites.learning
        return seen, network_update(self._spec, theta, sites, state, signals, learning_rate)


class _Factors:
    """By what units are multiplied on their way up; makes calls in place of a `WarmMomentum`.

    Deltas are scaled to one size on their way down, so that positive constants do not matter: of
    batch normalisation the sign is enough.

    Args:
        warm: The `WarmMomentum`.
        scaled: See `ChainNetwork`.
    """

    def __init__(self, warm, scaled):
        self._warm, self._scaled = warm, scaled
        self._factors = {}
        self._wanted = {(id(layer), number) for way in scaled for layer, number in way}
        self.layers = [*warm.layers, *(layer for way in scaled for layer, _ in way)]

    def call(self, step, layer, number, call, args, kwargs):
        """See `WarmMomentum`."""
        key = id(layer), number
        if key not in self._wanted:
            return self._warm.call(step, layer, number, call, args, kwargs)
        x = keras.tree.flatten((args, kwargs))[0]
        if isinstance(layer, layers.BatchNormalization):
            gamma = layer.gamma
            # Not by `*`: mixed precision leaves variables in float32.
            factor = None if gamma is None else ops.multiply(ops.sign(gamma), ops.ones_like(x))
            self._factors[key] = factor
            return self._warm.call(step, layer, number, call, args, kwargs)
        # The mask cannot be read off the output, where units that are zero are dropped, too.
        self._factors[key] = call(ops.ones_like(x), training=kwargs.get("training"))
        return x * self._factors[key]

    def found(self):
        """`Signals.factors`."""
        ways = [[self._factors[id(layer), number] for layer, number in way] for way in self._scaled]
        return [_product([f for f in way if f is not None]) for way in ways]


def _product(factors):
    if not factors:
        return None
    product = ops.cast(factors[0], "float32")
    for factor in factors[1:]:
        product = product * ops.cast(factor, "float32")
    return product
