"""Refuses what the rule cannot train, before anything of the model has changed."""

import numpy as np

from keras_learned_rule.checks import check, either, integer, one_of, optional
from keras_learned_rule.fit import backends
from keras_learned_rule.fit.inputs import arrays_of
from keras_learned_rule.model.arguments import LAYER_NAMES


def check_float32(model, kernels):
    """Raises ValueError unless the forward weights are float32, as theta is."""
    for kernel in kernels:
        if kernel.dtype != "float32":
            raise ValueError(
                f"The rule trains models in float32. Received: model {model.name!r} with weights "
                f"in {kernel.dtype}"
            )


def check_compiled(model):
    """Raises ValueError for what `compile` and distributions offer but the rule does not obey."""
    if getattr(model.optimizer, "use_ema", False):
        raise ValueError(
            "The rule does not use the optimizer, so it cannot keep moving averages of weights: "
            "compile with use_ema=False. Received: use_ema=True"
        )
    backends.current().check_compiled(model)


def check_width(spec, width):
    """Raises ValueError if theta fits another embedding width than the model has."""
    if spec.output_width not in (None, width):
        raise ValueError(
            f"This rule fits embeddings of {spec.output_width} units only (its theta has kernels "
            f"of that size). Received: a model with {width} output units"
        )


def check_total_steps(total_steps):
    """Raises ValueError unless `total_steps` is None or a positive integer."""
    check("total_steps", total_steps, optional(integer(least=1)))


def check_replay(replay):
    """Raises ValueError unless `replay` is "auto" or a non-negative integer."""
    words = "'auto' or the number of examples to fill batches up to, 0 for never"
    check("replay", replay, either(one_of(("auto",)), integer(least=0))._replace(words=words))


def check_examples(examples):
    """Raises ValueError unless `examples` is "auto", None or a positive integer."""
    words = "'auto', None for all, or a positive number of positions"
    kind = either(one_of(("auto",)), optional(integer(least=1)))
    check("examples", examples, kind._replace(words=words))


def check_lengths(x, y):
    """Raises ValueError unless every array of `x` has as many examples as there are labels."""
    lengths = [next(iter(np.shape(array)), None) for array in (*arrays_of(x), y)]
    if None in lengths or len(set(lengths)) > 1:
        raise ValueError(
            "x and y must be arrays of the same length. "
            f"Received: {' and '.join(map(str, lengths))}"
        )


def check_freeze(freeze):
    """Raises ValueError unless `freeze` is a collection of strings."""
    check("freeze", freeze, LAYER_NAMES)
