"""Refuses weights from which nothing can be learned, before the first step."""

import warnings

import keras
from keras import ops


def check_initial_weights(model, sites):
    """Looks at the weights that a fit begins with.

    Args:
        model: The built model.
        sites: Tuple of `Site`, what learns in it.

    Raises:
        ValueError: A layer has weights that are not finite, or so large that sums of their squares
            are not. Units of a layer that begin alike are warned of.
    """
    _check_finite(model)
    for site in sites:
        _check_size(site.name, site.kernel_matrix())
        _warn_if_alike(site.name, site.kernel_matrix())


def _check_finite(model):
    bad = [layer for layer in model._flatten_layers() if _unfit_weights(layer)]
    if bad:
        # A model inside a model has the weights of its layers, too.
        layer = min(bad, key=lambda each: len(each.weights))
        raise ValueError(
            f"The weights of layer '{layer.name}' must be finite. Initialise them anew, or load "
            f"others. Received: NaN or infinity in {', '.join(_unfit_weights(layer))}"
        )


def _unfit_weights(layer):
    floats = (w for w in layer.weights if keras.backend.is_float_dtype(w.dtype))
    return [weight.path for weight in floats if not ops.all(ops.isfinite(weight))]


def _check_size(name, kernel):
    if not ops.all(ops.isfinite(ops.sum(ops.square(kernel), axis=0))):
        raise ValueError(
            f"The weights of layer '{name}' are too large for float32: the sum of their squares "
            "overflows. Initialise them anew, or load others. "
            f"Received: weights of up to {float(ops.max(ops.absolute(kernel))):.3g}"
        )


def _warn_if_alike(name, kernel):
    alike = bool(ops.all(ops.equal(kernel, kernel[:, :1])))
    if alike and (kernel.shape[-1] > 1 or not ops.any(kernel)):
        warnings.warn(
            f"All units of layer '{name}' begin with the same weights, so they will learn the same "
            "or nothing. Use a random kernel_initializer, such as 'glorot_uniform'.",
            stacklevel=2,
        )
