"""What depends on the framework that Keras runs on: an adapter each, behind one interface."""

import functools
import importlib

import keras

_ADAPTERS = {
    "tensorflow": "TensorFlowBackend",
    "jax": "JaxBackend",
    "torch": "TorchBackend",
}


def current():
    """The adapter of the backend that Keras runs on.

    Returns:
        A `Backend`.

    Raises:
        RuntimeError: There is none for this backend.
    """
    return _adapter(keras.config.backend())


@functools.cache
def _adapter(name):
    if name not in _ADAPTERS:
        raise RuntimeError(
            f"The rule trains models on the Keras backends {', '.join(map(repr, _ADAPTERS))}; set "
            f"KERAS_BACKEND to one of them. Received: backend={name!r}"
        )
    module = importlib.import_module(f"keras_learned_rule.fit.backends.{name}")
    return getattr(module, _ADAPTERS[name])()
