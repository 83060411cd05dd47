"""Random rows as a pure function of a seed, equal on every backend and under every compiler."""

from keras import ops

# Two rounds of multiply, shift and xor. The constants are those of the published 32-bit mixers
# with the least bias; int32 products wrap around on all backends.
_ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, None))


def drawn_rows(count, total, seed):
    """Draws rows with replacement; all of them, in order, where there are no more than wanted.

    Args:
        count: Positive integer, how many rows are wanted.
        total: How many there are, an integer or a scalar int32 tensor.
        seed: Scalar int32 tensor; equal seeds draw equally.

    Returns:
        int32 tensor `[min(count, total)]` of numbers below `total`.

    Example:
    ```python
    from keras import ops
    from keras_learned_rule.model.draws import drawn_rows

    assert list(drawn_rows(8, 3, seed=ops.array(0))) == [0, 1, 2]
    assert drawn_rows(8, 1000, seed=ops.array(0)).shape == (8,)
    ```
    """
    if isinstance(total, int):
        if total <= count:
            return ops.arange(total, dtype="int32")
        return random_rows(ops.arange(count, dtype="int32"), total, seed)
    total = ops.cast(total, "int32")
    rows = ops.arange(ops.minimum(total, count), dtype="int32")
    return ops.where(total > count, random_rows(rows, total, seed), rows)


def random_rows(numbers, total, seed):
    """One random row for each of several numbers.

    Args:
        numbers: int32 tensor; equal ones draw equally.
        total: How many rows there are, an integer or a scalar integer tensor.
        seed: Scalar int32 tensor; equal seeds draw equally.

    Returns:
        int32 tensor in the shape of `numbers`, of numbers below `total`.
    """
    return _hashed(numbers, seed) % ops.cast(total, "int32")


def drawn_among(kept, count, seed):
    """Draws rows with replacement from those that are kept.

    Where no more rows are there than wanted, those kept are repeated in turn: each counts about
    alike.

    Args:
        kept: Bool tensor `[rows]`.
        count: Positive integer, how many rows are wanted, or None for as many as there are.
        seed: Scalar int32 tensor; equal seeds draw equally.

    Returns:
        int32 tensor `[min(count, rows)]` of rows that are kept; of row 0 alone if none is.

    Example:
    ```python
    from keras import ops
    from keras_learned_rule.model.draws import drawn_among

    kept = ops.array([False, True, False, True])
    assert list(drawn_among(kept, None, seed=ops.array(0))) == [1, 3, 1, 3]
    ```
    """
    total = ops.shape(kept)[0]
    rows = ops.arange(total, dtype="int32")
    kept_first = ops.argsort(ops.where(kept, rows, rows + total))
    choices = ops.maximum(ops.sum(ops.cast(kept, "int32")), 1)
    if count is not None:
        some = rows[: min(total, count) if isinstance(total, int) else ops.minimum(total, count)]
        rows = ops.where(total > count, _hashed(some, seed), some)
    return ops.take(kept_first, rows % choices)


def combined_seed(*parts):
    """One seed of several numbers; it differs where any of them does, but for rare accidents.

    Args:
        *parts: Integers or scalar integer tensors.

    Returns:
        Scalar int32 tensor.
    """
    seed = ops.zeros((), "int32")
    for part in parts:
        seed = _mixed(seed + ops.cast(part, "int32"))
    return seed


def _hashed(numbers, seed):
    """Non-negative int32 numbers that look random, from (number, seed)."""
    return ops.bitwise_and(_mixed(numbers + _mixed(seed)), 0x7FFFFFFF)


def _mixed(x):
    for shift, factor in _ROUNDS:
        # The mask makes an arithmetic shift a logical one.
        shifted = ops.bitwise_and(ops.right_shift(x, shift), 2 ** (32 - shift) - 1)
        x = ops.bitwise_xor(x, shifted)
        x = x if factor is None else x * factor
    return x
