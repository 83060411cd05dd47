"""The gin files of the package: they parse, say what they promise, and describe themselves."""

import os
import warnings

import gin
import pytest
from conftest import ROOT

from keras_learned_rule.configs import parse_gin
from keras_learned_rule.experiments import registry
from keras_learned_rule.meta.train import train

FOLDER = ROOT / "gin_configs"
INCLUDED = ["sources"]
RUNS = sorted(file.stem for file in FOLDER.glob("*.gin") if file.stem not in INCLUDED)
EXPERIMENTS = sorted(FOLDER.glob("experiments/*.gin"))
# Data that only judge: a rule that was meta-trained on them could not be judged by them.
JUDGES = ("mnist", "digit_images", "imdb", "heldout_classes", '"report"')


@pytest.fixture(autouse=True)
def clean_gin():
    yield
    gin.clear_config()


def parsed(name, *bindings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_gin([FOLDER / f"{name}.gin"], bindings)
    return gin.config_str(max_line_length=10**6)


def dry_run(name, capsys):
    parsed(name)
    assert train("nowhere", dry_run=True) is None
    return capsys.readouterr().out


def test_there_is_a_file_for_each_purpose():
    learned = ["few_classes", "learned_hebb", "texts"]
    assert RUNS == sorted([*learned, "cpu", "gpu", "paper", "preset", "quick", "tpu"])


@pytest.mark.parametrize("name", RUNS)
def test_files_parse_without_a_warning_and_say_how_to_run_them(name):
    assert "train.updates" in parsed(name)
    head = (FOLDER / f"{name}.gin").read_text().split("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"keras_learned_rule.meta_train --gin_file gin_configs/{name}.gin" in head


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_files_of_experiments_parse(path):
    registry.load_all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_gin([path])
    assert gin.config_str()


@pytest.mark.parametrize("name", RUNS)
def test_no_file_meta_trains_on_data_that_judge(name):
    config = parsed(name)
    assert [judge for judge in JUDGES if judge in config] == []
    training = gin.query_parameter("train.families")
    held_out = gin.query_parameter("train.held_out")
    assert training and held_out


def test_a_dry_run_needs_no_data_but_glyphs_for_quick(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    text = dry_run("quick", capsys)
    assert "Rule: compact" in text and "glyphs" in text and "FLOP" in text
    assert os.listdir(tmp_path) == []


# Files whose tasks have no photographs of their own.
WITHOUT = "quick", "few_classes", "texts"


@pytest.mark.slow
@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="needs TFDS_DATA_DIR")
@pytest.mark.parametrize("name", [name for name in RUNS if name not in WITHOUT])
def test_dry_runs_with_natural_images(name, capsys):
    rows = [line.split()[:4] for line in dry_run(name, capsys).splitlines()]
    assert ["tiny_imagenet16", "training", "96", "11,520"] in rows
    assert ["tiny_imagenet16", "held", "out", "32"] in rows


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, row",
    [
        ("few_classes", ["few_0", "128-128-128-128-32", "relu", "196", "2"]),
        ("texts", ["shallow_few_texts_0", "128-32", "relu", "500", "2"]),
    ],
)
def test_dry_runs_with_tasks_of_two_classes(name, row, capsys):
    rows = [line.split() for line in dry_run(name, capsys).splitlines()]
    assert row in [cells[:5] for cells in rows]


def test_a_meta_batch_of_the_paper_has_256_tasks():
    for name in ("paper", "tpu"):
        parsed(name)
        tasks, buckets = (gin.query_parameter(f"TaskFamily.{n}") for n in ("tasks", "buckets"))
        assert tasks * buckets * len(gin.query_parameter("train.families")) == 256
