"""Refuses what the rule cannot train, before anything of the model has changed."""

from numbers import Integral

import keras
import numpy as np

_STRATEGIES = ("_DefaultDistributionStrategy", "OneDeviceStrategy", "MirroredStrategy")


def check_backend():
    """Raises RuntimeError unless Keras runs on TensorFlow."""
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            "LearnedRule trains models on the Keras backend 'tensorflow' only; set "
            f"KERAS_BACKEND=tensorflow. Received: backend={keras.config.backend()!r}"
        )


def check_float32(model, kernels):
    """Raises ValueError unless the forward weights are float32, as theta is."""
    for kernel in kernels:
        if kernel.dtype != "float32":
            raise ValueError(
                f"The rule trains models in float32. Received: model {model.name!r} with weights "
                f"in {kernel.dtype}"
            )


def check_compiled(model):
    """Raises ValueError for what `compile` and `tf.distribute` offer but the rule does not obey."""
    if getattr(model.optimizer, "use_ema", False):
        raise ValueError(
            "The rule does not use the optimizer, so it cannot keep moving averages of weights: "
            "compile with use_ema=False. Received: use_ema=True"
        )
    strategy = type(model.distribute_strategy).__name__
    if strategy not in _STRATEGIES:
        raise ValueError(
            "LearnedRule works without tf.distribute, with OneDeviceStrategy and with "
            f"MirroredStrategy. Received: {strategy}"
        )
    replicated = model.distribute_strategy.num_replicas_in_sync > 1
    if replicated and (model.steps_per_execution > 1 or model.jit_compile is True):
        raise ValueError(
            "With several replicas compile with steps_per_execution=1 and without "
            f"jit_compile=True. Received: steps_per_execution={model.steps_per_execution}, "
            f"jit_compile={model.jit_compile}"
        )


def check_width(spec, width):
    """Raises ValueError if theta fits another embedding width than the model has."""
    if spec.output_width not in (None, width):
        raise ValueError(
            f"This rule fits embeddings of {spec.output_width} units only (its theta has kernels "
            f"of that size). Received: a model with {width} output units"
        )


def check_total_steps(total_steps):
    """Raises ValueError unless `total_steps` is None or a positive integer."""
    if total_steps is not None and not (_is_integer(total_steps) and total_steps > 0):
        raise ValueError(
            f"total_steps must be None or a positive integer. Received: {total_steps!r}"
        )


def check_not_negative(name, value):
    """Raises ValueError unless `value` is an integer and at least 0."""
    if not (_is_integer(value) and value >= 0):
        raise ValueError(f"{name} must be a non-negative integer. Received: {value!r}")


def check_positive(name, value):
    """Raises ValueError unless `value` is a positive integer."""
    if not (_is_integer(value) and value > 0):
        raise ValueError(f"{name} must be a positive integer. Received: {value!r}")


def check_replay(replay):
    """Raises ValueError unless `replay` is "auto" or a non-negative integer."""
    if replay != "auto" and not (_is_integer(replay) and replay >= 0):
        raise ValueError(
            "replay must be 'auto' or the number of examples to fill batches up to, 0 for never. "
            f"Received: {replay!r}"
        )


def check_lengths(x, y):
    """Raises ValueError unless there are as many examples as labels."""
    lengths = [next(iter(np.shape(array)), None) for array in (x, y)]
    if None in lengths or lengths[0] != lengths[1]:
        raise ValueError(
            f"x and y must be arrays of the same length. Received: {lengths[0]} and {lengths[1]}"
        )


def check_freeze(freeze):
    """Raises ValueError unless `freeze` is a collection of strings."""
    collection = isinstance(freeze, (list, tuple, set, frozenset))
    if not (collection and all(isinstance(name, str) for name in freeze)):
        raise ValueError(
            "freeze must be a list or tuple of layer names, such as freeze=('dense',). "
            f"Received: {freeze!r}"
        )


def _is_integer(value):
    # To Python True is 1, to whoever passes it it is not.
    return isinstance(value, Integral) and not isinstance(value, bool)
