"""The demo at tiny size: every step of it, the table and the picture."""

import importlib
import re
import subprocess
import sys

import pytest
from matplotlib import image

METHODS = {
    "random network",
    "supervised, same labels",
    "PCA to 32",
    "raw pixels",
    "learned rule, no labels",
}


@pytest.fixture
def quickstart(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "examples"))
    module = importlib.import_module("quickstart")
    for name, value in (("SEEDS", 2), ("EPOCHS", 2), ("SPLITS", 2)):
        monkeypatch.setattr(module, name, value)
    return module


def rows(text):
    """Accuracy, standard error and seconds by method of a printed table."""
    cells = re.findall(r"^\| (.+) \| ([\d.]+) ± ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    return {name: tuple(map(float, numbers)) for name, *numbers in cells}


@pytest.mark.slow
def test_the_demo(quickstart, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quickstart.main()
    table = rows(capsys.readouterr().out)
    assert set(table) == METHODS
    accuracies = [accuracy for accuracy, _, _ in table.values()]
    assert accuracies == sorted(accuracies)
    # Well known, and independent of the rule: chance is 10.
    assert 80 < table["PCA to 32"][0] < 90 and 85 < table["raw pixels"][0] < 92
    assert 30 < table["random network"][0] < 75
    picture = image.imread(tmp_path / "quickstart.png")
    assert min(picture.shape[:2]) > 500 and picture[..., :3].std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["quickstart.png"]


def test_untrained_networks_have_the_statistics_of_the_data(quickstart):
    x = quickstart.digits_split()[0]
    network = quickstart.make_network(1, x)
    first, norm = network.layers[:2]
    product = first(x).numpy()
    assert abs(norm.moving_mean.numpy() - product.mean(axis=0)).max() < 1e-4
    assert abs(norm.moving_variance.numpy() - product.var(axis=0)).max() < 1e-4
    assert norm.momentum == 0.99


@pytest.mark.slow
def test_the_picture_is_written_where_asked(quickstart, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(quickstart, "save_figure", lambda path, *_: drawn.append(path))
    rows = {quickstart.SUPERVISED: [(0.9, 1.0), (0.8, 1.0)]}
    monkeypatch.setattr(quickstart, "compare", lambda *_: rows)
    quickstart.main(tmp_path / "other.png")
    assert drawn == [tmp_path / "other.png"]


START = """
import os, sys
from quickstart_stderr import without_start_notes
with without_start_notes():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\\n")
    os.write(2, b"I0000 00:00:1.2 3 cudart_stub.cc:31] Could not find cuda drivers\\n")
    os.write(2, b"E0000 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\\n")
    os.write(2, b"E0000 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (999)\\n")
    if "abort" in sys.argv:
        os.write(2, b"the last words")
        os.abort()
print("afterwards", file=sys.stderr)
"""
OTHER_ERROR = "E0000 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (999)\n"


@pytest.mark.parametrize(("argument", "end"), [("", "afterwards\n"), ("abort", "the last words")])
def test_only_notes_of_the_start_are_kept_off_stderr(root, argument, end):
    command = [sys.executable, "-c", START, argument]
    result = subprocess.run(command, cwd=root / "examples", capture_output=True, text=True)
    assert result.stderr == OTHER_ERROR + end
    assert (result.returncode == 0) == (argument == "")
