"""What each kind of argument takes and refuses, and the one error that says so."""

from pathlib import Path

import numpy as np
import pytest

from keras_learned_rule.checks import (
    check,
    check_all,
    dict_of,
    either,
    file_path,
    flag,
    function,
    instance_of,
    integer,
    list_of,
    number,
    one_of,
    optional,
    pair_of,
    span,
    text,
)

NAN = float("nan")
HUGE = [NAN, float("inf"), np.float32("-inf"), 10**309, "1", True]
# A kind, what it takes, what it refuses, and how an error puts it.
KINDS = {
    "integer": (integer(), [-3, 0, np.int8(5)], [True, 1.0, "1", None, np.bool_(1)], "an integer"),
    "from": (integer(least=2), [2, 10**30], [1, -2, NAN], "an integer of at least 2"),
    "up to": (integer(most=2), [2, -9], [3], "an integer of at most 2"),
    "both": (integer(1, 3), [1, 3], [0, 4], "an integer from 1 to 3"),
    "number": (number(), [-3, 0.5, np.float32(2)], HUGE, "a finite number"),
    "positive": (number(above=0), [1e-9, 3], [0, -1, NAN, 1j], "a finite number above 0"),
    "open": (number(above=0, below=1), [0.5], [0, 1], "a finite number above 0 and below 1"),
    "flag": (flag(), [True, False], [1, 0, "yes", None, np.bool_(1)], "True or False"),
    "text": (text(), ["a"], ["", b"a", None, 3], "a string that is not empty"),
    "path": (file_path(), ["a"], ["", 3, None], "a path"),
    "one of": (one_of((1, 3)), [1, np.int64(3)], [2, True, 1.0, [1], "1"], "one of (1, 3)"),
    "the one": (one_of(("auto",)), ["auto"], ["aut", None, {}], "'auto'"),
    "either": (either(one_of(("a",)), integer(0)), ["a", 0], [-1], "'a' or an integer of at"),
    "optional": (optional(integer()), [None, 1], ["1", 1.5], "None or an integer"),
    "instance": (instance_of(OSError, "call it"), [OSError(3)], [OSError, 3], "an OSError ("),
    "function": (function("one", arguments=2), [pow], [len, int, "len", None], "one"),
    "list": (list_of(integer(1)), [[1], (2, 3)], [[], [0], 1, "12"], "a list with at least 1"),
    "any list": (list_of(text(), least=0), [[], ["a"]], ["a", [""]], "a list, each a string"),
    "pair": (pair_of(text(), integer()), [("a", 1)], [("a",), (1, "a"), "a1", 3], "a pair of"),
    "span": (span(2), [(2, 2), [2, 9]], [(3, 2), (1, 4), 4, (2, 3, 4), "23"], "two integers"),
    "dict": (dict_of("ab", number(0)), [{}, {"a": 1}], [{"c": 1}, {"a": -1}, []], "a dict"),
}


@pytest.mark.parametrize("kind, taken, refused, words", KINDS.values(), ids=list(KINDS))
def test_kinds(kind, taken, refused, words):
    for value in taken:
        assert check("x", value, kind) == (tuple(value) if isinstance(value, list) else value)
    for value in refused:
        with pytest.raises(ValueError) as caught:
            check("x", value, kind)
        message = str(caught.value)
        assert message.startswith(f"x must be {words}")
        assert message.endswith(f". Received: {value!r}")


def test_values_become_plain():
    numbers = check("x", [np.int64(3), 4], list_of(number()))
    assert list(map(type, numbers)) == [float, float] and numbers == (3.0, 4.0)
    assert type(check("x", np.int8(3), optional(integer()))) is int
    assert check("x", Path("a"), file_path()) == "a"
    assert type(check("x", {"a": np.float32(1)}, dict_of("a", number()))["a"]) is float
    assert type(check("x", (np.int8(1), np.int8(2)), span(1))[1]) is int


def test_several_are_named_by_their_owner():
    kinds = {"shots": integer(1), "seed": integer(0)}
    assert check_all("task", {"shots": 5, "seed": 0, "of": 3}, kinds) == {"shots": 5, "seed": 0}
    with pytest.raises(ValueError, match="task.seed must be .*Received: -1"):
        check_all("task", {"shots": 5, "seed": -1}, kinds)


def test_what_was_received_is_cut_if_it_is_long_and_named_if_it_cannot_be_shown():
    endless = []
    for _ in range(10**5):
        endless = [endless]
    for value in ("a" * 10**6, endless, 10**5000):
        with pytest.raises(ValueError) as caught:
            check("x", value, number())
        assert len(str(caught.value)) < 500 and "Received: " in str(caught.value)
