"""Checkpoints are complete or noticed."""

import errno
import os

import numpy as np
import pytest

from keras_learned_rule.meta.adam import adam_start
from keras_learned_rule.meta.checkpoint import Checkpoints

THETA = {"b/x": np.arange(6, dtype="float32").reshape(2, 3), "a": np.float32(2.5)}
STATE = {
    "theta": THETA,
    "adam": adam_start(THETA),
    "particles": [({"w": np.ones((2, 3), "float32")}, np.array([1, 2], "int32"))],
}


def flipped(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for update in (5, 10, 15):
        checkpoints.save(update, {**STATE, "theta": {n: a + update for n, a in THETA.items()}})
    return checkpoints


def files(checkpoints):
    return sorted(checkpoints.folder.glob("*.safetensors"))


def test_the_newest_comes_back_as_it_was(checkpoints):
    assert checkpoints.newest() == 15
    loaded = checkpoints.load(15, STATE)
    assert type(loaded["adam"]) is type(STATE["adam"])
    np.testing.assert_array_equal(loaded["theta"]["b/x"], THETA["b/x"] + 15)
    assert loaded["theta"]["a"] == 17.5 and loaded["theta"]["a"].shape == ()
    assert loaded["particles"][0][1].dtype == np.int32


def test_two_are_kept(checkpoints):
    assert [file.name[:16] for file in files(checkpoints)] == [
        "update-000000010",
        "update-000000015",
    ]


def test_processes_have_their_own(checkpoints, tmp_path):
    assert Checkpoints(tmp_path, process=1).newest() == -1


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "header"])
def test_a_damaged_one_is_passed_over_with_a_warning(checkpoints, damage):
    newest = files(checkpoints)[-1]
    content = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        newest.write_bytes(b"")
    else:
        flipped(newest, -1 if damage == "flipped" else 40)
    with pytest.warns(UserWarning, match=f"complete. Received: .*{newest.name}.*It is passed over"):
        assert checkpoints.newest() == 10
    np.testing.assert_array_equal(checkpoints.load(10, STATE)["theta"]["b/x"], THETA["b/x"] + 10)


def test_all_damaged_is_none(checkpoints):
    for file in files(checkpoints):
        file.write_bytes(b"?")
    with pytest.warns(UserWarning):
        assert checkpoints.newest() == -1


def test_a_damaged_one_does_not_count_among_those_that_are_kept(checkpoints):
    files(checkpoints)[-1].write_bytes(b"?")
    for update in (11, 12, 13):
        checkpoints.save(update, STATE)
    assert [int(file.name[7:16]) for file in files(checkpoints)] == [12, 13, 15]


def test_one_of_another_type_or_update_is_damaged(checkpoints):
    newest = files(checkpoints)[-1]
    content = newest.read_bytes()
    for old, new in ((b'\\"update\\": 15', b'\\"update\\": 16'), (b'"F32"', b'"I32"')):
        assert content.count(old)
        newest.write_bytes(content.replace(old, new, 1))
        with pytest.warns(UserWarning, match="damaged"):
            assert checkpoints.newest() == 10


def test_one_that_may_not_be_opened_is_an_error(checkpoints, monkeypatch):
    def fail(path, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("keras_learned_rule.meta.checkpoint.open", fail, raising=False)
    with pytest.raises(PermissionError, match="000015.0.safetensors"):
        checkpoints.newest()


def test_another_shape_or_array_is_an_error_that_names_it(checkpoints):
    for theta in ({**THETA, "a": np.zeros(2)}, {"b/x": THETA["b/x"]}, {**THETA, "c": np.zeros(2)}):
        with pytest.raises(ValueError, match=r"of the same rule.*Received: .*theta/"):
            checkpoints.load(15, {**STATE, "theta": theta})


@pytest.mark.parametrize(
    "number, advice", [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "writable")]
)
def test_a_write_that_fails_says_why_and_leaves_the_old_ones(
    checkpoints, monkeypatch, number, advice
):
    def fail(file):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=f"{advice}.*Received: ") as caught:
        checkpoints.save(20, STATE)
    assert caught.value.errno == number
    monkeypatch.undo()
    assert checkpoints.newest() == 15 and len(list(checkpoints.folder.iterdir())) == 2
