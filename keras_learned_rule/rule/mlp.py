"""A plain multi-layer perceptron as plan and state, without a Keras model.

Meta-training differentiates through many updates of such networks, so their weights are tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import activations, ops

from keras_learned_rule.checks import check, integer


@dataclass(frozen=True)
class UnitLayer:
    """Weights, optional batch normalisation and nonlinearity, taken as one layer of units.

    `z = batch_norm(x @ w) + b` enters the nonlinearity and `activation(z)` leaves it.

    Attributes:
        activation: Maps z `[E, n_upper]` to the same shape, written in `keras.ops`.
        epsilon: Added to the batch variance by batch normalisation, or None where there is none.
        learns_bias: Whether the rule may change the bias. Defaults to `True`.
    """

    activation: Callable[[Any], Any]
    epsilon: float | None
    learns_bias: bool = True


@dataclass(frozen=True)
class Plan:
    """What network the rule trains. Static: it decides the trace and holds no arrays.

    Attributes:
        layers: What learns, bottom-up, such as `UnitLayer`; the last one gives the embedding.
        whole_examples: Whether every layer sees all examples as one row of numbers each, and not
            as positions, such as those of a convolution. Defaults to `True`.
    """

    layers: tuple[Any, ...]
    whole_examples: bool = True


def mlp_plan(layers, activation="relu", batch_norm=True, epsilon=1e-3):
    """Describes a plain multi-layer perceptron, the base model of the paper (section 4.1).

    Args:
        layers: Positive integer, number of weight layers: the hidden ones and the embedding.
        activation: Name or callable of the nonlinearity of every layer. Defaults to `"relu"`.
        batch_norm: Whether pre-activations are batch-normalised. Defaults to `True`.
        epsilon: Variance epsilon of the batch normalisation. Defaults to `1e-3`.

    Returns:
        A `Plan` of `layers` unit layers for inputs of shape `[B, n]`.

    Raises:
        ValueError: If `layers` is below 1, or `activation` is unknown.

    Example:
    ```python
    from keras_learned_rule.rule.mlp import mlp_plan

    plan = mlp_plan(5)  # 4 hidden layers and the embedding, relu, batch norm
    assert len(plan.layers) == 5
    ```
    """
    check("layers", layers, integer(least=1))
    unit = activations.get(activation)
    return Plan((UnitLayer(unit, epsilon if batch_norm else None),) * layers)


def init_mlp_state(normals, backward_normals=None):
    """Makes a state from standard-normal draws; contains no randomness of its own.

    Every column of `w` (the incoming weights of one unit) is scaled to unit L2 norm; biases are
    zero.

    Args:
        normals: List of float tensors `[n_lower, n_upper]`, one a layer, bottom-up.
        backward_normals: The same for the backward weights, or None for a rule without them.
            Defaults to `None`.

    Returns:
        Tuple with one dict a layer: "w" `[n_lower, n_upper]`, "b" `[n_upper]` and, with
        `backward_normals`, "v" `[n_lower, n_upper]`.

    Raises:
        ValueError: If there are not as many `backward_normals` as `normals`.

    Example:
    ```python
    import keras
    from keras_learned_rule.rule.mlp import init_mlp_state

    widths = (196, 128, 32)
    draws = [keras.random.normal(shape) for shape in zip(widths[:-1], widths[1:])]
    state = init_mlp_state(draws)
    assert state[1]["w"].shape == (128, 32)
    ```
    """
    state = [{"w": _unit_columns(w), "b": ops.zeros_like(w[0])} for w in normals]
    if backward_normals is not None:
        for layer, v in zip(state, backward_normals, strict=True):
            layer["v"] = _unit_columns(v)
    return tuple(state)


def _unit_columns(matrix):
    return matrix * ops.rsqrt(ops.sum(ops.square(matrix), axis=0, keepdims=True))
