"""Checks of the settings that gin files give to the dataclasses of meta-training."""

import numbers


def check_integer(name, value, least):
    """Checks that a setting is an integer of at least `least`.

    Raises:
        ValueError: It is not.

    Example:
    ```python
    from keras_learned_rule.meta.field_checks import check_integer

    check_integer("shots", 5, least=1)
    ```
    """
    if not _is_integer(value, least):
        raise ValueError(f"{name} must be an integer of at least {least}. Received: {value!r}")


def check_integers(name, values, least):
    """Checks that a setting is a list of integers of at least `least`, and not empty.

    Returns:
        Them as a tuple.

    Raises:
        ValueError: It is not.

    Example:
    ```python
    from keras_learned_rule.meta.field_checks import check_integers

    assert check_integers("widths", [64, 32], least=1) == (64, 32)
    ```
    """
    good = isinstance(values, (list, tuple)) and values
    if not good or not all(_is_integer(value, least) for value in values):
        raise ValueError(
            f"{name} must be a list of integers of at least {least}, one or more. "
            f"Received: {values!r}"
        )
    return tuple(values)


def check_range(name, pair, least):
    """Checks that a setting is a pair of integers (least, most), none below `least`.

    Returns:
        The pair as a tuple.

    Raises:
        ValueError: It is not.

    Example:
    ```python
    from keras_learned_rule.meta.field_checks import check_range

    assert check_range("ways", [2, 10], least=2) == (2, 10)
    ```
    """
    good = isinstance(pair, (list, tuple)) and len(pair) == 2
    if not good or not all(_is_integer(value, least) for value in pair) or pair[0] > pair[1]:
        raise ValueError(
            f"{name} must be two integers (least, most) of at least {least}. Received: {pair!r}"
        )
    return tuple(pair)


def _is_integer(value, least):
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return integer and value >= least
