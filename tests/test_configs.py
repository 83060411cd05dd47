"""Gin files are found in the working directory and in the package."""

import os

import pytest

from keras_learned_rule import configs


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A package with one gin file, laid out as a wheel does it."""
    folder = tmp_path / "package" / "gin_configs"
    folder.mkdir(parents=True)
    (folder / "quick.gin").write_text("# packaged")
    monkeypatch.setattr(configs, "__file__", str(tmp_path / "package" / "configs.py"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_the_packaged_file_is_found_from_anywhere(packaged):
    assert configs.find_gin_file("gin_configs/quick.gin") == str(packaged / "quick.gin")


def test_a_file_in_the_working_directory_wins(packaged):
    os.mkdir("gin_configs")
    with open("gin_configs/quick.gin", "w") as file:
        file.write("# own")
    assert configs.find_gin_file("gin_configs/quick.gin") == "gin_configs/quick.gin"


@pytest.mark.parametrize("path", ["gin_configs/slow.gin", "quick.gin", "runs/quick.gin"])
def test_an_unknown_file_lists_the_packaged_ones(packaged, path):
    with pytest.raises(
        FileNotFoundError, match=rf"\['gin_configs/quick.gin'\]. Received: '{path}'"
    ):
        configs.find_gin_file(path)


def test_the_files_of_a_checkout_are_the_packaged_ones(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = list((root / "gin_configs").rglob("*.gin"))
    assert any(file.parent.name == "experiments" for file in files)
    for file in files:
        assert configs.find_gin_file(file.relative_to(root).as_posix()) == str(file)
