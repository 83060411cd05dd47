"""A run goes on from whatever is in its folder, or says why not; then nothing has changed."""

import errno
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import run_cases
from run_cases import UPDATES, Killed, ToyTrainer, files, killed_run, records, run

from keras_learned_rule.meta.disk import only_user
from keras_learned_rule.rule.files import load_theta

pytestmark = pytest.mark.filterwarnings("error")
NAME = "update-{:09d}.0.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


def assert_as_whole(folder, whole):
    assert records(folder) == records(whole)
    assert files(folder).items() >= files(whole).items()


def test_theta_files_and_log_agree(whole):
    assert [r["update"] for r in records(whole) if "meta_loss" in r] == [2, 4, 6, 8, 10, 12]
    scores = {r["update"]: r["held_out_accuracy"] for r in records(whole) if "evaluation" in r}
    assert list(scores) == [0, 3, 6, 9, 12] and len(set(scores.values())) == 5
    best, last = (load_theta(whole / f"{name}.safetensors") for name in ("best", "last"))
    assert best[2]["meta_updates"] == max(scores, key=scores.get) > 0
    assert best[2]["held_out_accuracy"] == max(scores.values()) == run_cases.toy_score(best[1])
    assert last[2]["meta_updates"] == UPDATES


@pytest.mark.parametrize("half", [False, True])
def test_a_kill_at_any_write_changes_nothing(tmp_path, monkeypatch, half):
    run(tmp_path / "whole", updates=6)
    for moment in range(1000):
        folder = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            done = run_cases.kill_at(patch, moment, half)
            try:
                run(folder, updates=6)
            except Killed:
                assert len(done) == moment + 1
            else:
                break
        run(folder, updates=6)
        assert_as_whole(folder, tmp_path / "whole")
    assert moment == len(done) > 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(whole, tmp_path, monkeypatch, capsys, number):
    update = ToyTrainer.update

    def interrupted(trainer):
        if trainer.updates_done == 4:
            os.kill(os.getpid(), number)
        return update(trainer)

    monkeypatch.setattr(ToyTrainer, "update", interrupted)
    assert run(tmp_path).updates_done == 5
    assert "the same command continues" in capsys.readouterr().out
    monkeypatch.undo()
    assert [r["update"] for r in records(tmp_path) if "meta_loss" in r] == [2, 4, 5]
    run(tmp_path)
    assert files(tmp_path).items() >= files(whole).items()


def test_lines_newer_than_the_checkpoint_are_written_again(whole, tmp_path):
    run(tmp_path)
    newest = tmp_path / "checkpoints" / NAME.format(12)
    newest.write_bytes(newest.read_bytes()[:-1])
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text() + '{"update": 13, "me')
    with pytest.warns(UserWarning, match="passed over"):
        run(tmp_path)
    assert_as_whole(tmp_path, whole)


# What is put before the third line of the log, and which part of it is set aside.
DAMAGE = {
    "blank": (b"\n  \n\n", b""),
    "half a line": (b'{"update": 1, "meta_\n', None),
    "no update": (b'{"meta_loss": 1.0}\n', None),
    "no number of updates": (b'{"update": "1"}\n{"update": -1}\n{"update": true}\n', None),
    "no object": (b'[1]\n"update"\nnull\n1\n', None),
    "no UTF-8": (b'\xff\xfe{"update": 1}\n{"update": 1, "a": "\xe9"}\n', None),
    "zeros": (b"\0" * 100 + b"\n", None),
    "nested": (b"[" * 100_000 + b"\n", None),
}


def damaged(folder, insert, at=2):
    log = folder / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:at], insert, *lines[at:]]))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_log_is_mended_and_what_cannot_be_read_set_aside(whole, tmp_path, damage):
    insert, aside = DAMAGE[damage]
    aside = insert if aside is None else aside
    killed_run(tmp_path, after=7)
    damaged(tmp_path, insert)
    if aside:
        count = aside.count(b"\n")
        with pytest.warns(UserWarning, match=f"cannot be read.*Received: {count} such lines in '"):
            run(tmp_path)
        assert (tmp_path / "metrics.set_aside").read_bytes() == aside
        damaged(tmp_path, b"more\n")
        with pytest.warns(UserWarning, match="metrics.set_aside"):
            run(tmp_path)
        assert (tmp_path / "metrics.set_aside").read_bytes() == aside + b"more\n"
    else:
        run(tmp_path)
    assert_as_whole(tmp_path, whole)


def test_records_with_odd_values_stay(tmp_path):
    killed_run(tmp_path, after=7)
    odd = {"update": 1, "held_out_accuracy": None, "evaluation": 3, "merge": []}
    for seconds in ("x", True, [], float("inf"), -1, 10**400):
        damaged(tmp_path, json.dumps({**odd, "seconds": seconds}).encode() + b"\n")
    run(tmp_path)
    assert records(tmp_path).count(odd) == 6
    seconds = [json.loads(line)["seconds"] for line in log_lines(tmp_path) if "meta_loss" in line]
    assert max(second for second in seconds if type(second) is float) < 60


def log_lines(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


def test_a_last_record_without_a_line_end_is_kept(whole, tmp_path):
    run(tmp_path)
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(log.read_bytes().rstrip(b"\n"))
    run(tmp_path)
    assert_as_whole(tmp_path, whole)


@pytest.mark.parametrize("after", range(2, UPDATES, 3))
def test_a_lost_log_does_not_make_a_run_forget_its_best_theta(whole, tmp_path, after):
    killed_run(tmp_path, after)
    (tmp_path / "metrics.jsonl").unlink()
    run(tmp_path)
    assert files(tmp_path) == files(whole)
    resumed = after // 2 * 2
    assert records(tmp_path) == [r for r in records(whole) if r["update"] > resumed]


FOREIGN = (
    "update-000000028.0 (copy).safetensors",
    "update-000000028 (copy).0.safetensors",
    "update-28.0.safetensors",
    "update-0000000028.0.safetensors",
    "update-00000001².0.safetensors",
    "update-.0.safetensors",
    "update-000000028.0.safetensors.bak",
    "notes.txt",
)


def test_foreign_files_among_checkpoints_are_left_alone(whole, tmp_path):
    killed_run(tmp_path, after=7)
    for name in FOREIGN:
        (tmp_path / "checkpoints" / name).write_bytes(b"?")
    (tmp_path / "checkpoints" / NAME.format(30)).mkdir()
    run(tmp_path)
    assert_as_whole(tmp_path, whole)
    assert all((tmp_path / "checkpoints" / name).read_bytes() == b"?" for name in FOREIGN)


@pytest.mark.parametrize("keeps_config", [True, False])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, keeps_config):
    """Such as one from beyond the last update."""
    folder, other = tmp_path / "run", tmp_path / "other"
    run(folder)
    run(other, updates=20)
    shutil.copy(other / "checkpoints" / NAME.format(20), folder / "checkpoints")
    if not keeps_config:
        (folder / "run.json").unlink()
    before = files(folder), log_lines(folder)
    with pytest.raises(ValueError, match=r"checkpoints.*Received: .*000020.0.saf.*other settings"):
        run(folder)
    assert (files(folder), log_lines(folder)) == before


def test_a_renamed_checkpoint_is_passed_over(whole, tmp_path):
    killed_run(tmp_path, after=7)
    checkpoints = tmp_path / "checkpoints"
    shutil.copy(checkpoints / NAME.format(4), checkpoints / NAME.format(20))
    with pytest.warns(UserWarning, match="Received: .*000020.0.saf.*passed over"):
        run(tmp_path)
    assert_as_whole(tmp_path, whole)


def test_without_checkpoints_a_run_begins_again_and_keeps_the_old_log(whole, tmp_path):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.warns(UserWarning, match="no checkpoint is left of.*metrics.set_aside"):
        run(tmp_path)
    assert_as_whole(tmp_path, whole)
    aside = (tmp_path / "metrics.set_aside").read_text()
    assert aside.splitlines() == before.splitlines()[1:]


def test_a_theta_file_that_is_missing_or_damaged_is_written_again(whole, tmp_path):
    killed_run(tmp_path, after=7)
    (tmp_path / "last.safetensors").unlink()
    (tmp_path / "best.safetensors").write_bytes(b"?")
    with pytest.warns(UserWarning, match="A theta file must be a complete.*goes on as without"):
        run(tmp_path)
    assert load_theta(tmp_path / "best.safetensors")[2]["meta_updates"] in (9, 12)
    (tmp_path / "last.safetensors").write_bytes(b"?")
    with pytest.warns(UserWarning, match="A theta file must be a complete.*goes on as without"):
        run(tmp_path)
    last = "last.safetensors"
    assert files(tmp_path)[last] == files(whole)[last] and records(tmp_path) == records(whole)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_damaged_run_json_is_named_and_can_be_removed(whole, tmp_path, content):
    killed_run(tmp_path, after=7)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match="Remove it and start again.*Received: .*run.json', damag"):
        run(tmp_path)
    (tmp_path / "run.json").unlink()
    run(tmp_path)
    assert_as_whole(tmp_path, whole)


def test_a_folder_in_use_is_refused(whole, tmp_path):
    killed_run(tmp_path, after=7)
    before = files(tmp_path), log_lines(tmp_path)
    with only_user(tmp_path), pytest.raises(OSError, match="one run at a time.*Received: .*in use"):
        run(tmp_path)
    assert (files(tmp_path), log_lines(tmp_path)) == before
    run(tmp_path)
    assert_as_whole(tmp_path, whole)


WRITTEN = ("metrics.jsonl", "best.safetensors", "last.safetensors", "update-", "run.json")


@pytest.mark.parametrize("name", WRITTEN)
def test_a_full_disk_stops_a_run_that_can_go_on(whole, tmp_path, monkeypatch, name):
    folder = tmp_path / name
    if name != "run.json":
        killed_run(folder, after=4)
    replace = os.replace

    def full(path):
        if name in os.path.basename(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", lambda *paths: (full(paths[1]), replace(*paths)))
    opened = "keras_learned_rule.meta.run_log.open"
    monkeypatch.setattr(opened, lambda *a: (full(a[0]), open(*a))[1], raising=False)
    with pytest.raises(OSError, match=rf"the disk is full; .*Received: '.*{re.escape(name)}"):
        run(folder)
    monkeypatch.undo()
    run(folder)
    assert_as_whole(folder, whole)


def diverging(**settings):
    return ToyTrainer(diverges=5, **settings)


def test_a_run_that_diverges_stops_and_says_so(tmp_path, capsys):
    trainer = diverging()
    expected = r"diverged after 10 .*start_from = '.*best.saf.*Received: 5 .*updates = 4$"
    with pytest.raises(FloatingPointError, match=expected):
        run(tmp_path, trainer)
    assert trainer.updates_done == 10 and "are done" not in capsys.readouterr().out
    logged = [(r["update"], r["skipped_updates"]) for r in records(tmp_path) if "skipped" in r]
    assert logged == [(2, 0), (4, 0), (6, 1), (8, 3), (10, 5)]
    assert [r["update"] for r in records(tmp_path) if r.get("stopped") == "diverged"] == [10]
    best, last = (load_theta(tmp_path / f"{name}.safetensors") for name in ("best", "last"))
    assert best[2]["meta_updates"] in (0, 3) and last[2]["meta_updates"] == 10
    before = files(tmp_path), records(tmp_path)
    again = diverging()
    with pytest.raises(FloatingPointError, match="diverged after 10"):
        run(tmp_path, again)
    assert again.updates_done == 10 and (files(tmp_path), records(tmp_path)) == before


@pytest.mark.parametrize("after", [6, 7, 9])
def test_a_killed_run_diverges_at_the_same_update(tmp_path, after):
    for name in ("whole", "killed"):
        if name == "killed":
            with pytest.raises(Killed):
                run(tmp_path / name, diverging(killed=after))
        with pytest.raises(FloatingPointError):
            run(tmp_path / name, diverging())
    assert_as_whole(tmp_path / "killed", tmp_path / "whole")


def test_fewer_skipped_updates_are_told_at_the_end(tmp_path, capsys):
    trainer = run(tmp_path / "a", diverging(), max_skipped=8)
    assert trainer.updates_done == UPDATES
    assert "done, the last 7 without a finite meta-gradient" in capsys.readouterr().out
    with pytest.raises(FloatingPointError, match="train.held_out.*Received: 7"):
        run(tmp_path / "b", diverging(), max_skipped=7, held_out=False)


def test_the_ending_names_the_files_that_are_there(tmp_path, capsys):
    trainer = run(tmp_path, held_out=False)
    assert "Theta files: last.safetensors\n" in capsys.readouterr().out
    np.testing.assert_array_equal(
        load_theta(tmp_path / "last.safetensors")[1]["merge/step"], trainer.theta["merge/step"]
    )
