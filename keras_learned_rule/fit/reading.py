"""Reads a model as a rule trains it: for a fit, and for its summary."""

import keras

from keras_learned_rule.fit import checks
from keras_learned_rule.model.chain import scaled_on_the_way
from keras_learned_rule.model.rows import one_row_an_example
from keras_learned_rule.model.sites import find_sites
from keras_learned_rule.rule.mlp import Plan
from keras_learned_rule.rule.teacher import teacher_shapes

# Examples of a convolution, or of another layer that sees positions, that a step looks at.
EXAMPLES = 4096


def positions_limit(examples):
    """How many positions a layer looks at in a step, at most; None for all."""
    return EXAMPLES if examples == "auto" else examples


def read_network(model, spec, inputs, freeze):
    """Reads a model as the rule trains it.

    Args:
        model: The built `keras.Model`.
        spec: `RuleSpec` of the rule.
        inputs: Nested structure of the `keras.KerasTensor` that the model is called with.
        freeze: See `LearnedRule`.

    Returns:
        (sites, plan, scaled): `Sites`; a `Plan` of them; and what `scaled_on_the_way` says of them
        for a rule with a neuron network, else None.

    Raises:
        ValueError: The rule cannot train the model.
    """
    sites = find_sites(model, inputs, freeze)
    learning, scaled = sites.learning, None
    if spec.neuron_network:
        scaled = scaled_on_the_way(model, sites)
    checks.check_float32(model, [site.kernel for site in learning])
    checks.check_width(spec, learning[-1].kernel.shape[-1])
    return sites, _plan(model, spec, inputs, learning), scaled


def _plan(model, spec, inputs, sites):
    # A teacher learns from the examples of the first weights, and all others see the same ones.
    alone = len(keras.tree.flatten(inputs)) == 1
    alone = alone and sum(site.place.first for site in sites) == 1
    plan = Plan(sites, alone and all(site.whole and len(site.uses) == 1 for site in sites))
    if teacher_shapes(spec, plan, [site.matrix_shape for site in sites]):
        return Plan(sites, one_row_an_example(model, inputs, sites))
    return plan
