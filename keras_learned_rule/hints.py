"""Names of types for hints.

Keras has no types of its own, so tensors and models are `Any` to a type checker. What it checks are
the package's own names, their arguments and NumPy arrays.
"""

import os
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

Arrays: TypeAlias = dict[str, np.ndarray]
# What Keras gives to the hooks of a callback.
Logs: TypeAlias = dict[str, Any] | None
PathLike: TypeAlias = str | os.PathLike[str]
PositionLimit: TypeAlias = int | Literal["auto"] | None
ReplaySize: TypeAlias = int | Literal["auto"]
Tensor: TypeAlias = Any
Tensors: TypeAlias = dict[str, Tensor]
# A source of tasks, given a size and a number of channels, returns an `ImageSet` (docs/data.md).
Source: TypeAlias = Callable[..., Any]
