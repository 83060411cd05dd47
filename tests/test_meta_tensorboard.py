"""What is written for TensorBoard is what TensorBoard reads, with and without TensorFlow."""

import os
import subprocess
import sys

import pytest

from keras_learned_rule.meta.tensorboard import TensorBoardLog, scalars

RECORD = {
    "update": 120,
    "seconds": 33.1,
    "inner_steps": 20,
    "by_data": {"glyphs": {"meta_loss": 1.5, "accuracy": 0.6}},
    "by_position": {"0": {"accuracy": 0.4}, "100": {"accuracy": 0.7}},
    "merge": {"coefficients/first/competition": 0.31},
    "note": "no number",
    "list": [1.0],
    "flag": True,
    "empty": {},
}
FLAT = {
    "seconds": 33.1,
    "inner_steps": 20.0,
    "by_data/glyphs/meta_loss": 1.5,
    "by_data/glyphs/accuracy": 0.6,
    "by_position/0/accuracy": 0.4,
    "by_position/100/accuracy": 0.7,
    "merge/coefficients/first/competition": 0.31,
}
WITHOUT_TENSORFLOW = """
import importlib.util, sys

source = importlib.util.spec_from_file_location("log", sys.argv[1])
log = importlib.util.module_from_spec(source)
sys.modules["tensorflow"] = None  # What import finds where it is not installed.
source.loader.exec_module(log)
writer = log.TensorBoardLog(sys.argv[2])
writer.write({"update": 3, "meta_loss": 1.5})
writer.close()
"""


def points(folder):
    """Tag to [(step, value)], as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def write(folder, *records):
    log = TensorBoardLog(folder)
    for record in records:
        log.write(record)
    log.close()


def test_a_record_is_flattened_to_numbers():
    assert scalars(RECORD) == FLAT


def test_tensorboard_reads_every_number(tmp_path):
    write(tmp_path / "new", RECORD)
    read = points(tmp_path / "new")
    assert read == {tag: [(120, pytest.approx(value))] for tag, value in FLAT.items()}


def test_records_are_on_disk_before_the_log_is_closed(tmp_path):
    log = TensorBoardLog(tmp_path)
    for update in (10, 20):
        log.write({"update": update, "meta_loss": 1.0})
    assert points(tmp_path)["meta_loss"] == [(10, 1.0), (20, 1.0)]
    log.close()


def test_a_run_that_goes_on_replaces_what_it_writes_again(tmp_path):
    write(tmp_path, *({"update": u, "meta_loss": 1.0} for u in (10, 20, 30, 40)))
    write(tmp_path, *({"update": u, "meta_loss": 2.0} for u in (30, 40, 50)))
    expected = [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]
    assert points(tmp_path)["meta_loss"] == expected
    assert len(list(tmp_path.iterdir())) == 2


def test_tensorflow_is_not_needed(root, tmp_path):
    source = root / "keras_learned_rule" / "meta" / "tensorboard.py"
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(source), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert result.returncode == 0, result.stderr
    assert points(tmp_path) == {"meta_loss": [(3, 1.5)]}


def test_a_missing_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_learned_rule\[tensorboard\]'"):
        TensorBoardLog(tmp_path)
