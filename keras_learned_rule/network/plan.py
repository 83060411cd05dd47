"""What the rule knows of a network: unit layers, bottom-up, and how signals travel between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Passage(NamedTuple):
    """The way from one unit layer to the next, for one batch.

    `E` counts examples and `n` units of the upper layer's input matrix, `E_below` and `n_below`
    those of the unit layer below, written as a matrix of examples x units.

    Attributes:
        examples: `[E, n]`, what is multiplied with the forward weights.
        down: Pulls deltas `[E, n, C]` back to `[E_below, n_below, C]`. None where something on
            the way gives no derivative (see `read_plan(deltas=True)`).
        up: Brings hidden states `[E_below, n_below, C]` into the layout of `examples`,
            `[E, n, C]`. None where `down` is None.
    """

    examples: Any
    down: Callable[[Any], Any] | None
    up: Callable[[Any], Any] | None


def same(signal):
    """The identity, as `down` or `up` where signals pass as they are."""
    return signal


@dataclass(frozen=True)
class UnitLayer:
    """Weights, optional batch normalisation and nonlinearity, taken as one layer of units.

    `z = batch_norm(examples @ w) + b` enters the nonlinearity and `x = activation(z)` leaves it.

    Attributes:
        name: Name of the layer that holds the weights, for messages.
        activation: Maps z `[E, n_upper]` to x of the same shape, written in `keras.ops`.
        epsilon: Added to the batch variance by batch normalisation, or None where there is none.
        learns_bias: Whether the rule may change the bias.
        receive: Maps the output of the unit layer below in its natural shape
            `[B, ..., n_below]` (at the bottom: the model's input) to a `Passage`.
        emit: `emit(y, x)` gives y `[E, n_upper]` its natural shape `[B, ..., n_upper]`; `x` is
            what `receive` was given.
    """

    name: str
    activation: Callable[[Any], Any]
    epsilon: float | None
    learns_bias: bool
    receive: Callable[[Any], Passage]
    emit: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Plan:
    """The unit layers of a network, bottom-up. Static: it decides the trace and holds no arrays.

    Attributes:
        layers: Tuple of `UnitLayer`; the output of the last one is the embedding.
        whole_examples: Whether all of them see an example as one row of numbers, and not as
            positions, such as those of a convolution.
    """

    layers: tuple[UnitLayer, ...]
    whole_examples: bool
