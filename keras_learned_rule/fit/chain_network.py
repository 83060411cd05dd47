"""A chain of layers under a rule with a neuron network, which sends deltas from layer to layer."""

import functools

import keras

from keras_learned_rule.fit.proposal import Proposal
from keras_learned_rule.fit.statistics import MovingStatistics, UnitStatistics, WarmMomentum
from keras_learned_rule.fit.variables import NetworkVariables
from keras_learned_rule.model.tapping import watched
from keras_learned_rule.rule.update import unsupervised_update


class ChainNetwork:
    """The unit layers of a chain and the variables that they change.

    Args:
        model: The `keras.Model`.
        spec: `RuleSpec` of the rule.
        reading: `NetworkReading` of the model.
        remembered: See `NetworkVariables`.
    """

    def __init__(self, model, spec, reading, remembered):
        self._spec, self._plan, self._tail = spec, reading.plan, reading.tail
        self._variables = NetworkVariables(reading.variables, remembered, ())
        self._units = UnitStatistics(reading.variables)
        self._others = MovingStatistics(model, self._units.variables)
        self._warm = WarmMomentum(model)

    def propose(self, theta, x, learning_rate, step):
        """See `SiteNetwork`."""
        (x,) = keras.tree.flatten(x)
        old, state = self._others.read(), self._variables.read()
        with watched(self._warm.layers, functools.partial(self._warm.call, step)):
            after, signals = unsupervised_update(
                self._spec, theta, self._plan, state, x, learning_rate
            )
            if self._tail is not None:
                self._tail(signals.xs[-1])
        others = self._others.read()
        units = self._units.moved(signals.means, signals.variances, step)
        return Proposal(state, after, (units, others), old, signals.xs[-1])

    def write(self, proposal, applied):
        """See `SiteNetwork`."""
        self._variables.write(proposal.after, applied)
        units, others = proposal.statistics
        self._units.write(units, applied)
        self._others.write(others, proposal.undone, applied)
