"""Where in a network a set of weights stands, which is all that it knows of the rest."""

from typing import NamedTuple


class Place(NamedTuple):
    """Where weights stand.

    Attributes:
        first: Whether no other weights that learn come before them.
        last: Whether none come after them.
        hidden: How many hidden layers of such weights the network has.
        width: Units of the hidden layer that they make or, of the last ones, of the one below;
            None in a network without hidden layers.
    """

    first: bool
    last: bool
    hidden: int
    width: int | None


def chain_place(widths, i):
    """The place of layer i in a chain.

    Args:
        widths: Units of every layer, bottom-up.
        i: Which layer.

    Returns:
        A `Place`.

    Example:
    ```python
    from keras_learned_rule.rule.place import chain_place

    assert chain_place((128, 64, 32), 2) == (False, True, 2, 64)
    ```
    """
    hidden = len(widths) - 1
    width = widths[min(i, hidden - 1)] if hidden else None
    return Place(i == 0, i == hidden, hidden, width)
