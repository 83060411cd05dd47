"""What arguments and settings may be, and the one error that says that one is not.

`check` takes a value and a `Kind`. Kinds are made by the functions below, and out of each other.
"""

import inspect
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

_LONGEST = 400


class Kind(NamedTuple):
    """What a value may be.

    Attributes:
        words: Str that completes "x must be ...".
        fits: Function from any value to whether it is of this kind; raises nothing.
        plain: Function from a value that fits to the same as a plain Python object.
    """

    words: str
    fits: Callable[[Any], bool]
    plain: Callable[[Any], Any] = lambda value: value


def check(name: str, value: Any, kind: Kind) -> Any:
    """Checks an argument or setting.

    Args:
        name: Str, what the user calls it.
        value: Anything.
        kind: The `Kind` that it must be of.

    Returns:
        The value as a plain Python object: numbers of NumPy become int and float, lists tuples.

    Raises:
        ValueError: The value is of another kind.

    Example:
    ```python
    from keras_learned_rule.checks import check, integer, list_of

    assert check("widths", [64, 32], list_of(integer(least=1))) == (64, 32)
    try:
        check("shots", 0, integer(least=1))
    except ValueError as error:
        print(error)  # shots must be an integer of at least 1. Received: 0
    ```
    """
    if not kind.fits(value):
        raise ValueError(f"{name} must be {kind.words}. Received: {_shown(value)}")
    return kind.plain(value)


def check_all(owner: str, values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Checks several settings of one class or function.

    Args:
        owner: Its name, as gin files spell it.
        values: Dict of the settings by name; may hold more than are checked.
        kinds: Dict from names to `Kind`.

    Returns:
        A dict from the names in `kinds` to plain values, as `check` returns them.

    Raises:
        ValueError: A value is of another kind. The message names it as "owner.name".

    Example:
    ```python
    from keras_learned_rule.checks import check_all, integer, number

    kinds = {"pairs": integer(least=1), "deviation": number(above=0)}
    check_all("PersistentES", {"pairs": 4, "deviation": 0.05}, kinds)
    ```
    """
    return {name: check(f"{owner}.{name}", values[name], kind) for name, kind in kinds.items()}


def check_fields(settings: Any, kinds: Mapping[str, Kind]) -> None:
    """Checks the fields of a frozen dataclass, and makes them plain.

    Args:
        settings: An instance, in its `__post_init__`.
        kinds: Dict from names of fields to `Kind`.

    Raises:
        ValueError: See `check_all`.
    """
    for name, value in check_all(type(settings).__name__, vars(settings), kinds).items():
        object.__setattr__(settings, name, value)


def integer(least: int | None = None, most: int | None = None) -> Kind:
    """An integer within bounds, both of which it may take. True and False are none."""
    words = "an integer" + _bounds(least, most)
    return Kind(words, lambda v: _is(numbers.Integral, v) and _within(v, least, most), int)


def number(
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Kind:
    """A finite number; it may take the values of `least` and `most`, not of the others."""
    words = "a finite number" + _bounds(least, most, above, below)

    def fits(value):
        return (
            _is(numbers.Real, value)
            and _is_finite(value)
            and _within(value, least, most)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return Kind(words, fits, float)


def flag() -> Kind:
    """True or False, and nothing that only counts as such."""
    return Kind("True or False", lambda value: isinstance(value, bool))


def text() -> Kind:
    """A string with at least one character."""
    return Kind("a string that is not empty", lambda value: isinstance(value, str) and value != "")


def file_path() -> Kind:
    """The path of a file or folder, as str or `os.PathLike`; as str it is plain."""
    kinds = (str, os.PathLike)
    return Kind("a path", lambda v: isinstance(v, kinds) and os.fspath(v) != "", os.fspath)


def one_of(values: Iterable[str | int]) -> Kind:
    """One of a few strings or integers."""
    known = tuple(values)
    # A list as a value is no member, and True is not the member 1.
    words = f"one of {known}" if len(known) > 1 else repr(*known)
    return Kind(words, lambda v: _is((str, numbers.Integral), v) and v in known)


def instance_of(classes: type | tuple[type, ...], way_out: str = "") -> Kind:
    """An instance of a class, or of one of a tuple of classes.

    Args:
        classes: A class, or a tuple of classes.
        way_out: How to get one, such as "in gin, call it: @Horizon()". Defaults to nothing.
    """
    classes = classes if isinstance(classes, tuple) else (classes,)
    names = [c.__name__ for c in classes]
    words = " or ".join(f"{'an' if name[0] in 'AEIOU' else 'a'} {name}" for name in names)
    return Kind(words + (f" ({way_out})" if way_out else ""), lambda v: isinstance(v, classes))


def function(words: str, arguments: int) -> Kind:
    """A function that takes a number of arguments by place.

    Args:
        words: Str that completes "x must be ...", such as "a source of images".
        arguments: How many it is called with.
    """

    def fits(value):
        try:
            inspect.signature(value).bind_partial(*range(arguments))
        except (TypeError, ValueError):  # No function, or too many arguments for it.
            return False
        return not isinstance(value, type)

    return Kind(words, fits)


def either(*kinds: Kind) -> Kind:
    """A value of one of several kinds; the first that fits makes it plain."""

    def plain(value):
        return next(kind for kind in kinds if kind.fits(value)).plain(value)

    words = " or ".join(kind.words for kind in kinds)
    return Kind(words, lambda value: any(kind.fits(value) for kind in kinds), plain)


def optional(kind: Kind) -> Kind:
    """None, or a value of a kind."""
    return either(Kind("None", lambda value: value is None), kind)


def list_of(kind: Kind, least: int = 1) -> Kind:
    """A list or tuple of at least `least` entries of a kind."""
    size = f" with at least {least} entry" if least == 1 else f" with at least {least} entries"

    def fits(values):
        return (
            isinstance(values, (list, tuple))
            and len(values) >= least
            and all(kind.fits(value) for value in values)
        )

    words = f"a list{size if least else ''}, each {kind.words}"
    return Kind(words, fits, lambda values: tuple(map(kind.plain, values)))


def pair_of(first: Kind, second: Kind) -> Kind:
    """A list or tuple of one entry of each of two kinds."""

    def fits(values):
        pair = isinstance(values, (list, tuple)) and len(values) == 2
        return pair and first.fits(values[0]) and second.fits(values[1])

    words = f"a pair of {first.words} and {second.words}"
    return Kind(words, fits, lambda values: (first.plain(values[0]), second.plain(values[1])))


def span(least: int, most: int | None = None) -> Kind:
    """A pair of integers in order, both within bounds, which they may take."""
    ends = pair_of(integer(least, most), integer(least, most))
    words = f"two integers (least, most){_bounds(least, most)}, in that order"
    return ends._replace(words=words, fits=lambda pair: ends.fits(pair) and pair[0] <= pair[1])


def dict_of(names: Iterable[str], kind: Kind) -> Kind:
    """A dict from some of `names` to values of a kind; it may be empty."""
    known = tuple(names)

    def fits(values):
        return isinstance(values, dict) and all(
            name in known and kind.fits(value) for name, value in values.items()
        )

    def plain(values):
        return {name: kind.plain(value) for name, value in values.items()}

    return Kind(f"a dict of which each value is {kind.words}, by names out of {known}", fits, plain)


def _is(classes, value):
    # To Python True is 1, to whoever passes it it is not.
    return isinstance(value, classes) and not isinstance(value, bool)


def _is_finite(value):
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer beyond the largest float.
        return False


def _within(value, least, most):
    return (least is None or value >= least) and (most is None or value <= most)


def _bounds(least=None, most=None, above=None, below=None):
    if least is not None and most is not None:
        return f" from {least} to {most}"
    known = {"of at least": least, "above": above, "of at most": most, "below": below}
    words = " and ".join(f"{word} {bound}" for word, bound in known.items() if bound is not None)
    return f" {words}" if words else ""


def _shown(value):
    """A value for an error, cut if it is long."""
    try:
        shown = repr(value)
    except (RecursionError, ValueError):  # Lists in lists without end, numbers of 5,000 digits.
        shown = f"one of type {type(value).__name__}"
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}... (cut)"
