"""The gin files of the package: they parse, say what they promise, and describe themselves."""

import copy
import os
import re
import warnings

import gin
import numpy as np
import pytest
from conftest import ROOT

from keras_learned_rule.configs import parse_gin
from keras_learned_rule.experiments import registry
from keras_learned_rule.meta.families import load_families
from keras_learned_rule.meta.start import starting_theta
from keras_learned_rule.meta.train import train

FOLDER = ROOT / "gin_configs"
INCLUDED = ["sources", "tasks", "worlds"]
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


def dry_run(name, capsys, *bindings):
    parsed(name, *bindings)
    assert train("nowhere", dry_run=True) is None
    return capsys.readouterr().out


def test_there_is_a_file_for_each_purpose():
    learned = ["few_classes", "learned_hebb", "texts"]
    others = ["cpu", "gpu", "paper", "preset", "published_cpu", "quick", "tpu"]
    assert RUNS == sorted([*learned, *others])


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


# Families whose data are made in little time.
MADE = "letters", "tables", "spectra", "series", "genes", "bags", "vectors"


def read_tasks():
    """(config, families to train on, families to choose by) of tasks.gin."""
    names = {"train.families": "training_tasks", "train.held_out": "choosing_tasks"}
    config = parsed("tasks", *(f"{name} = %{macro}" for name, macro in names.items()))
    # gin calls what a binding names when it copies it.
    return config, *(copy.deepcopy(gin.query_parameter(name)) for name in names)


def test_tasks_are_many_kinds_of_data_and_networks_and_none_that_judges():
    config, training, choosing = read_tasks()
    assert [judge for judge in JUDGES if judge in config] == []
    names = [family.name for family in training]
    assert len(set(names)) == len(names) == 40 and set(MADE) < set(names)
    assert {family.name.removeprefix("choose_") for family in choosing} <= set(names)
    networks = [family.networks for family in training]
    assert {len(network.widths) for network in networks} == {2, 5, 11}
    assert {network.widths[0] for network in networks} == {32, 64, 128}
    assert {network.widths[-1] for network in networks} == {8, 32}
    assert {network.activation for network in networks} == {"relu", "tanh"}
    assert {network.batch_norm for network in networks} == {True, False}
    assert {size for family in training for size in family.batches} == {32, 128, 512}
    assert {family.ways[0] for family in training} == {2, 3, 5, 7, 8, 10, 12, 26}


def test_made_tasks_that_choose_have_no_vector_of_the_others():
    _, training, choosing = read_tasks()
    pools = []
    for families, prefix in ((training, ""), (choosing, "choose_")):
        made = [family for family in families if family.name.removeprefix(prefix) in MADE]
        buckets, loaded = load_families(made, seed=0)
        assert len(buckets) == len(loaded) == len(MADE)
        pools += [[sources.pool.images[:, 0, :, 0] for sources in loaded]]
    for train_images, choose_images in zip(*pools, strict=True):
        assert not {x.tobytes() for x in train_images} & {x.tobytes() for x in choose_images}


def test_each_world_has_a_seed_of_its_own():
    text = (FOLDER / "worlds.gin").read_text()
    worlds = re.findall(r"^(\S+)/\w+\.seed = (\d+)$", text, re.MULTILINE)
    assert len({seed for _, seed in worlds}) == len(worlds) == 44
    chosen = [name for name, _ in worlds if name.endswith("/choose")]
    assert sorted(f"{name}/choose" for name, _ in worlds if name not in chosen) == sorted(chosen)


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


def test_the_small_published_rule_needs_no_photographs(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    head = (FOLDER / "published_cpu.gin").read_text().split("\n\n")[0]
    bindings = re.findall(r"--gin '(.+?)'", head)
    assert len(bindings) == 2
    text = dry_run("published_cpu", capsys, *bindings)
    assert "Rule: published, 12 terms" in text
    assert "glyphs" in text and "sparse_counts" in text and "imagenet" not in text


def test_the_small_published_rule_starts_from_hebbian_growth_against_decorrelation():
    parsed("published_cpu")
    rule = gin.get_configurable("published_rule")()
    theta = starting_theta(None, rule, 0, gin.query_parameter("train.start_values"))
    start = dict(zip(rule.terms, theta["merge/forward/coefficients"].tolist(), strict=True))
    assert (start.pop("hebb"), start.pop("decorr_x")) == (75.0, 25.0)
    assert set(start.values()) == {np.float32(0.1)}
    assert not theta["bias_readout/kernel"].any()
    assert (rule.merge, rule.output_width) == ("published", 32)
