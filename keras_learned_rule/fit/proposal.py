"""What one step of the rule would change, before it is known whether it may."""

from typing import Any, NamedTuple


class Proposal(NamedTuple):
    """What a step would change.

    Attributes:
        before: The rule's state before it, a tuple of dicts, one a set of weights.
        after: The state after it.
        statistics: Nested structure of the values of moving statistics after it.
        undone: The values, before it, of those statistics that the forward pass has moved already.
        embedding: `[E, units]`, what the last weights that learn give.
    """

    before: tuple
    after: tuple
    statistics: Any
    undone: Any
    embedding: Any
