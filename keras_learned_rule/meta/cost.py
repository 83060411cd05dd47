"""What meta-training computes, in operations and bytes moved, before anything runs.

Of the arithmetic only matrix products are counted, and of the bytes only their operands and
results, each read or written once: both are lower bounds.
"""

import dataclasses

from keras_learned_rule.meta.products import (
    FLOAT_BYTES,
    Product,
    forward_products,
    update_products,
)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Floating-point operations and bytes moved, as integers; costs add and multiply.

    Example:
    ```python
    from keras_learned_rule.meta.cost import Cost

    assert 3 * (Cost(1, 2) + Cost(10, 20)) == Cost(33, 66)
    ```
    """

    flop: int
    bytes: int

    @classmethod
    def of(cls, products):
        """The cost of a list of `Product`."""
        return cls(sum(p.flop for p in products), sum(p.bytes for p in products))

    def __add__(self, other):
        return Cost(self.flop + other.flop, self.bytes + other.bytes)

    def __rmul__(self, times):
        return Cost(times * self.flop, times * self.bytes)


def update_cost(spec, widths, batch, activation="relu"):
    """The cost of one inner step of an update rule.

    Args:
        spec: A `RuleSpec` with `identical_updates`.
        widths: Units of each layer, the inputs first.
        batch: Number of examples.
        activation: Name of the nonlinearity, on which it depends whether there is a teacher.
            Defaults to `"relu"`.

    Returns:
        A `Cost`.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.meta.cost import update_cost

    base_model = (196, 128, 128, 128, 128, 32)
    published = update_cost(RuleSpec.published(), base_model, batch=128)
    compact = update_cost(RuleSpec.compact(), base_model, batch=128)
    assert published.flop > 100 * compact.flop
    ```
    """
    return Cost.of(update_products(spec, widths, batch, activation))


def score_cost(widths, ways, shots, tests):
    """The cost of scoring a network by the meta-objective on one few-shot episode.

    A forward pass of all labelled examples, the normal equations of the ridge regression, their
    solution by elimination, and the predictions.

    Args:
        widths: Units of each layer, the inputs first.
        ways: Number of classes.
        shots: Training examples a class.
        tests: Test examples a class.

    Returns:
        A `Cost`.

    Example:
    ```python
    from keras_learned_rule.meta.cost import score_cost

    assert score_cost((196, 128, 32), ways=10, shots=5, tests=10).flop > 8 * 10**6
    ```
    """
    width, training, examples = widths[-1], ways * shots, ways * (shots + tests)
    products = [
        *forward_products(widths, examples),
        Product(width, training, width),
        Product(width, training, ways),
        Product(examples, width, ways),
    ]
    elimination = 2 * width**3 // 3 + 2 * width**2 * ways
    return Cost.of(products) + Cost(elimination, FLOAT_BYTES * (width**2 + 2 * width * ways))


def gradient_cost(cost, rematerialize=False):
    """The cost of computing something and its gradient, from the cost of computing it.

    Reverse mode needs two products for every product C = A B: the gradients dA = dC B' and
    dB = A' dC, each as large as C. With the forward pass that makes three; rematerialisation
    computes the forward pass once more.

    Args:
        cost: The `Cost` of the forward computation.
        rematerialize: Whether inner steps are recomputed in the backward pass. Defaults to `False`.

    Returns:
        A `Cost`.

    Example:
    ```python
    from keras_learned_rule.meta.cost import Cost, gradient_cost

    assert gradient_cost(Cost(5, 7)) == Cost(15, 21)
    ```
    """
    return (4 if rematerialize else 3) * cost
