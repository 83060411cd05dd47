"""Checks that the arguments of several sources share."""


def check_at_least_one(**numbers):
    """Refuses a number below 1.

    Args:
        **numbers: numbers by the names of the arguments.

    Raises:
        ValueError: if one is below 1; names it.

    Example:
    ```python
    from keras_learned_rule.data.checks import check_at_least_one

    check_at_least_one(classes=10, examples=1)
    ```
    """
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {number}")
