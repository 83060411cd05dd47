"""The demo at tiny size: every step of it, the table and the picture."""

import importlib
import re

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


def test_the_picture_is_written_where_asked(quickstart, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(quickstart, "save_figure", lambda path, *_: drawn.append(path))
    monkeypatch.setattr(quickstart, "compare", lambda *_: {})
    quickstart.main(tmp_path / "other.png")
    assert drawn == [tmp_path / "other.png"]
