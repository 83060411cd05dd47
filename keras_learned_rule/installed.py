"""Imports Keras, and says what to do where it or its backend is not installed."""

import os

try:
    import keras  # noqa: F401
except (ImportError, ValueError) as error:
    raise ImportError(
        "keras_learned_rule needs Keras and one backend: install keras_learned_rule[tensorflow], "
        "[cpu], [jax] or [torch], and set KERAS_BACKEND to 'tensorflow', 'jax' or 'torch' before "
        f"Python starts. Received: KERAS_BACKEND={os.environ.get('KERAS_BACKEND')!r}, {error}"
    ) from None
