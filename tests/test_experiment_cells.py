"""Cells of experiments: computed once, kept through interruptions, checked against settings."""

import json

import pytest

from keras_learned_rule.experiments.cells import CellStore, Group


class Work:
    """A group of cells that notes what it computes, and can be interrupted at one of them."""

    def __init__(self, name="square", settings=(), seeds=range(3), stop_at=None):
        self.computed, self.prepared, self.stop_at = [], 0, stop_at
        self.group = Group(name, dict(settings), seeds, self.prepare)

    def prepare(self):
        self.prepared += 1
        return self.compute

    def compute(self, seed):
        if seed == self.stop_at:
            raise KeyboardInterrupt
        self.computed.append(seed)
        return {"value": seed**2}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "squares.json"


def test_an_interrupted_run_goes_on_where_it_stopped(path):
    other, stopped = Work("other"), Work(stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        CellStore(path).run([other.group, stopped.group])
    assert CellStore(path).results() == {
        "other": {seed: {"value": seed**2} for seed in range(3)},
        "square": {0: {"value": 0}},
    }
    other, resumed = Work("other"), Work()
    CellStore(path).run([other.group, resumed.group])
    assert resumed.computed == [1, 2] and resumed.prepared == 1
    assert other.computed == [] and other.prepared == 0
    assert CellStore(path).results()["square"] == {seed: {"value": seed**2} for seed in range(3)}


def test_more_seeds_keep_the_finished_ones(path):
    CellStore(path).run([Work(seeds=range(2)).group])
    more = Work(seeds=range(4))
    CellStore(path).run([more.group])
    assert more.computed == [2, 3]
    assert len(CellStore(path).results()["square"]) == 4


def test_other_settings_are_refused_before_anything_is_computed(path):
    CellStore(path).run([Work(settings={"steps": (1, 2), "rule": "a"}).group])
    before = path.read_text()
    fresh, changed = Work("fresh"), Work(settings={"steps": (1, 2), "rule": "b"})
    with pytest.raises(
        ValueError, match=r"--replace .*Received: '.*squares.json' with other values of \['rule'\]"
    ):
        CellStore(path).run([fresh.group, changed.group])
    assert fresh.computed == [] and path.read_text() == before


def test_replace_computes_groups_with_other_settings_again_and_no_others(path):
    same, old = Work("same"), Work(settings={"rule": "a"})
    CellStore(path).run([same.group, old.group])
    same, new = Work("same"), Work(settings={"rule": "b"})
    CellStore(path).run([same.group, new.group], replace=True)
    assert same.computed == [] and new.computed == [0, 1, 2]
    assert CellStore(path).settings()["square"] == {"rule": "b"}


def test_a_replaced_group_that_is_interrupted_keeps_no_old_cell(path):
    CellStore(path).run([Work(settings={"rule": "a"}).group])
    with pytest.raises(KeyboardInterrupt):
        CellStore(path).run([Work(settings={"rule": "b"}, stop_at=1).group], replace=True)
    assert list(CellStore(path).results()["square"]) == [0]


@pytest.mark.parametrize("content", ["not json", "[1]", '{"group": 3}', '{"group": {"cells": {}}}'])
def test_a_file_of_another_kind_is_refused_and_kept(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(ValueError, match="json file written by this command. Received: '.*squares"):
        CellStore(path)
    assert path.read_text() == content


def test_the_file_says_what_the_cells_were_made_with(path):
    CellStore(path).run([Work(settings={"rule": "a"}).group])
    group = json.loads(path.read_text())["square"]
    assert {"python", "keras", "tensorflow"} <= group["made_with"].keys()
    assert group["settings"] == {"rule": "a"}
