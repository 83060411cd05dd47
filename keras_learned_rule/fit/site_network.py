"""A model of any form under the compact rule: one forward pass, then every site by itself."""

import keras
from keras import ops

from keras_learned_rule.fit.proposal import Proposal
from keras_learned_rule.fit.statistics import MovingStatistics, WarmMomentum
from keras_learned_rule.fit.variables import NetworkVariables
from keras_learned_rule.fit.watching import watch
from keras_learned_rule.rule.local import local_signals, local_update
from keras_learned_rule.rule.sparsity import adapted_theta
from keras_learned_rule.rule.update import teacher_step


class SiteNetwork:
    """The sites of a model and the variables that they change.

    Args:
        model: The `keras.Model`.
        spec: `RuleSpec` of a compact rule without a neuron network, for which see `ChainNetwork`.
        sites: `Sites` of the model.
        limit: How many positions a site looks at, see `watch`.
        seed: Non-negative integer, of the draws of positions.
        remembered: See `NetworkVariables`.
        teacher: Likewise.
    """

    def __init__(self, model, spec, sites, limit, seed, remembered, teacher):
        self._model, self._spec, self._sites = model, spec, sites
        self._limit, self._seed = limit, seed % 2**31
        self._variables = NetworkVariables(sites.learning, remembered, teacher)
        self._statistics, self._warm = MovingStatistics(model), WarmMomentum(model)

    def propose(self, theta, x, learning_rate, step):
        """Runs the model on a batch and says what the rule would change.

        Args:
            theta: Dict of tensors.
            x: The batch, in the structure of the model's inputs.
            learning_rate: Scalar, from `inner_rate`.
            step: Scalar integer tensor, the number of the batch.

        Returns:
            A `Proposal`.
        """
        old, state = self._statistics.read(), self._variables.read()
        seen, after = self._changed(theta, state, x, learning_rate, step)
        return Proposal(state, after, self._statistics.read(), old, seen[-1].y)

    def write(self, proposal, applied):
        """Puts a proposal into the model.

        Args:
            proposal: A `Proposal`.
            applied: Scalar bool tensor; if false the model stays, or becomes, what it was.
        """
        self._variables.write(proposal.after, applied)
        self._statistics.write(proposal.statistics, proposal.undone, applied)

    def _changed(self, theta, state, x, learning_rate, step):
        seen = self._watched(self._warm, x, step)
        teacher, code = state[0].get("teacher"), None
        if teacher is not None:
            teacher, code = teacher_step(
                self._spec, theta, teacher, seen[0].examples, learning_rate
            )
        theta = adapted_theta(self._spec, theta, seen[0].examples)
        after = [
            self._update(theta, site, arrays, own, learning_rate, code)
            for site, arrays, own in zip(self._sites.learning, state, seen, strict=True)
        ]
        if teacher is not None:
            after[0]["teacher"] = teacher
        return seen, tuple(after)

    def _watched(self, warm, x, step):
        return watch(self._model, self._sites, warm, x, self._limit, self._seed, step)

    def _update(self, theta, site, arrays, seen, learning_rate, code):
        new = self._learned(theta, site, arrays, seen, learning_rate, code)
        if seen.counts is None:
            return new
        return keras.tree.map_structure(
            lambda after, before: ops.where(seen.counts, after, before), new, arrays
        )

    def _learned(self, theta, site, arrays, seen, learning_rate, code):
        tensors = arrays, seen.examples, seen.z, seen.y
        parts = [_columns(t, site.kind.groups) for t in tensors]
        new = [
            local_update(
                self._spec,
                theta,
                site.place,
                _of_group(site.activation, site.kind.groups, g),
                site.learns_bias,
                old,
                local_signals(old["w"], *own),
                learning_rate,
                code,
                skips_idle=True,
            )
            for g, (old, *own) in enumerate(zip(*parts, strict=True))
        ]
        if site.kind.groups == 1:
            return new[0]
        return {name: ops.concatenate([part[name] for part in new], axis=-1) for name in arrays}


def _columns(values, groups):
    """The parts of arrays that belong to each group of units."""
    if groups == 1:
        return [values]
    if not isinstance(values, dict):
        return ops.split(values, groups, axis=-1)
    parts = {name: ops.split(array, groups, axis=-1) for name, array in values.items()}
    return [{name: part[g] for name, part in parts.items()} for g in range(groups)]


def _of_group(activation, groups, g):
    """The nonlinearity of the units of one group; it may have parameters of each unit."""
    if groups == 1:
        return activation
    return lambda z: ops.split(activation(ops.concatenate([z] * groups, -1)), groups, axis=-1)[g]
