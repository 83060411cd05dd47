"""A site: weights that learn, with what stands behind them and where in the network they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops


@dataclass(frozen=True)
class Use:
    """One call of a site's weights in a forward pass.

    Attributes:
        number: How many calls of the layer come before it.
        norm: (layer, number) of the call that normalises its output, or None.
        whole: Whether every example is one row of numbers, and not one position of many.
        positions: Static sizes of the axes between batch and units of its output, None where
            unknown.
    """

    number: int
    norm: tuple | None
    whole: bool
    positions: tuple


@dataclass(frozen=True)
class Site:
    """Weights that learn.

    Attributes:
        name: Name of the layer that holds them, for messages.
        kind: How its input becomes examples (see `register_kind`).
        uses: Tuple of `Use`, in the order of the calls.
        norm: The layer that normalises its output and may learn, or None.
        activation: Maps pre-activations `[E, n_upper]` to post-activations.
        bias: The variable that offsets the pre-activations and may be changed, or None.
        gamma: The variable that scales them behind their normalisation, or None.
        place: `Place` in the network.
    """

    name: str
    kind: Any
    uses: tuple
    norm: Any
    activation: Callable[[Any], Any]
    bias: Any
    gamma: Any
    place: Any

    @property
    def matrix_shape(self):
        """(n_lower, n_upper), the shape of the weights as a matrix."""
        return self.kind.n_lower, self.kind.n_upper

    @property
    def kernel(self):
        """The variable that holds the weights."""
        return self.kind.kernel

    @property
    def learns_bias(self):
        """Whether there is an offset that may change."""
        return self.bias is not None

    @property
    def whole(self):
        """Whether every example is one row of numbers."""
        return all(use.whole for use in self.uses)

    def kernel_matrix(self):
        """A copy of the weights as a matrix `[n_lower, n_upper]`, float32."""
        # Converting a variable alone gives the variable, with whatever it is assigned later.
        return self.kind.matrix(ops.copy(self.kernel))

    def as_kernel(self, matrix):
        """A matrix such as `kernel_matrix` gives in the shape of the variable."""
        return self.kind.kernel_of(matrix)
