"""Every experiment at its smallest size: all cells, table, picture, report; and its errors."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

from keras_learned_rule import UpdateRule
from keras_learned_rule.configs import parse_gin
from keras_learned_rule.experiments import comparison, registry
from keras_learned_rule.experiments.cells import CellStore
from keras_learned_rule.experiments.networks import base_model, features
from keras_learned_rule.experiments.report import document
from keras_learned_rule.experiments.run import run_experiment, write_report
from keras_learned_rule.experiments.scores import few_shot_scores
from keras_learned_rule.experiments.setting import Setting
from keras_learned_rule.experiments.tasks import TaskSource
from keras_learned_rule.fit.few_shot_splits import few_shot_splits

NEEDS_PROBABILITY = {"few_shot", "text", "objective_mismatch", "cost"}


def quick_runs():
    """The names; `text` does what `few_shot` does, with other words around it."""
    return [
        pytest.param(name, marks=[pytest.mark.nightly] * (name == "text"))
        for name in registry.NAMES
    ]


@pytest.fixture(scope="module", params=quick_runs())
def finished(request, tmp_path_factory):
    """Name, folder and markdown of a quick run of each experiment."""
    if request.param in NEEDS_PROBABILITY:
        pytest.importorskip("tensorflow_probability")
    folder = tmp_path_factory.mktemp(request.param) / "results"
    return request.param, folder, run_experiment(request.param, folder, quick=True)


def test_a_quick_run_leaves_table_json_and_picture(finished):
    name, folder, markdown = finished
    results = CellStore(folder / f"{name}.json").results()
    assert results and all(cells for cells in results.values())
    picture = image.imread(folder / f"{name}.png")
    assert min(picture.shape[:2]) > 80 and picture[..., :3].std() > 0.02
    assert "| paper | ours |" in markdown and markdown.count("| --- |") >= 2
    numbers = [float(n) for n in re.findall(r"\| ([\d.]+) ± [\d.]+ ", markdown)]
    assert name in ("filters", "cost") or (numbers and all(0 <= n <= 100 for n in numbers))


def test_a_second_run_computes_nothing_and_says_the_same(finished, monkeypatch):
    name, folder, markdown = finished
    before = (folder / f"{name}.json").read_bytes()
    monkeypatch.setattr("keras.utils.Progbar", None)  # Made where there is something to do.
    assert run_experiment(name, folder, quick=True) == markdown
    assert (folder / f"{name}.json").read_bytes() == before


def test_the_report_holds_what_the_experiment_says(finished):
    name, folder, markdown = finished
    path = write_report(folder)
    assert path == folder.with_suffix(".md")
    text = path.read_text()
    assert markdown.splitlines()[0] in text and f"](results/{name}.png)" in text


def test_the_committed_report_is_what_the_committed_results_generate(root):
    folder = root / "docs" / "results"
    if not folder.is_dir():
        pytest.skip("no committed results")
    assert (root / "docs" / "results.md").read_text() == document(folder, registry.load_all())


@pytest.mark.parametrize("name", registry.NAMES)
def test_the_committed_seeds_are_those_that_the_gin_file_asks_for(root, name):
    path = root / "docs" / "results" / f"{name}.json"
    if not path.exists():
        pytest.skip("no committed results")
    experiment = registry.load(name)
    parse_gin([f"gin_configs/experiments/{name}.gin"])
    rule = UpdateRule.from_preset("compact")
    asked = {group.name: set(group.seeds) for group in experiment.groups(Setting(rule, "compact"))}
    done = {group: set(cells) for group, cells in CellStore(path).results().items()}
    assert all(seeds <= asked[group] for group, seeds in done.items())
    assert any(seeds == asked[group] for group, seeds in done.items())


def test_a_report_needs_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="results such as few_shot.json. Received"):
        write_report(tmp_path)


@pytest.mark.slow
def test_all_methods_get_the_same_splits(monkeypatch):
    pytest.importorskip("tensorflow_probability")
    drawn = {}

    def recorded(y, shots, repeats, seed):
        drawn.setdefault((tuple(y), shots, repeats, seed), []).append(None)
        return few_shot_splits(y, shots, repeats, seed)

    for module in ("fit.readout", "baselines.supervised_learner"):
        monkeypatch.setattr(f"keras_learned_rule.{module}.few_shot_splits", recorded)
    tiny = {"shots": (2, 3), "splits": 2, "rule_steps": 2, "vae_steps": 2, "vae_marks": 1}
    rule = UpdateRule.from_preset("compact")
    groups = comparison.comparison(
        Setting(rule, "compact"), ("digits8",), seeds=1, supervised_steps=25, **tiny
    )
    for group in groups:
        group.prepare()(0)
    # Apart from the shots that the VAE's epochs are judged by.
    assert {key[1:] for key in drawn} == {(2, 2, 0), (3, 2, 0), (10, 2, 0)}
    assert len({key[0] for key in drawn}) == 1


def test_other_widths_are_those_of_every_network_and_kept_as_a_setting():
    setting = Setting(UpdateRule.from_preset("compact"), "compact")
    few = {"shots": (2,), "splits": 2}
    groups = comparison.comparison(setting, ("digits8",), seeds=1, widths=[12, 8], **few)
    by_name = {group.name.split("/")[1]: group for group in groups}
    of_base = comparison.comparison(setting, ("digits8",), seeds=1, **few)
    assert not any("widths" in group.settings for group in of_base)
    narrow = {name for name, group in by_name.items() if group.settings.get("widths") == (12, 8)}
    assert narrow == set(by_name) - {"pca", "raw"}
    task = TaskSource("digits8").task(0)
    embedded = features(base_model(64, (12, 8)), task.x, task.x_test)
    assert embedded.shape[1] == 8
    assert by_name["random"].prepare()(0) == few_shot_scores(embedded, task.y_test, 0, **few)


def test_versus_takes_the_better_readout_of_each_and_pairs_seeds():
    results = {
        "mnist14/rule": {
            0: {"ridge": {"10": 0.80}, "logistic": {"10": 0.70}},
            1: {"ridge": {"10": 0.90}, "logistic": {"10": 0.70}},
        },
        "mnist14/pca": {
            0: {"ridge": {"10": 0.50}, "logistic": {"10": 0.60}},
            1: {"ridge": {"10": 0.50}, "logistic": {"10": 0.80}},
        },
    }
    text = comparison.versus(results, "mnist14", "pca")
    assert text == "MNIST 14x14: 85.0 ± 5.0 against 70.0 ± 10.0 (+15.0 ± 5.0)"
    assert comparison.versus(results, "mnist14", "vae") == "MNIST 14x14: not measured"


def test_unbalanced_examples_keep_one_in_so_many_of_half_of_the_classes():
    source = TaskSource("digits8")
    assert len(source.unbalanced(0, ratio=1)) == 1197
    kept = source.unbalanced(0, ratio=10)
    y = source._data.y_train
    shares = np.bincount(y[kept], minlength=10) / np.bincount(y)
    assert sorted(shares)[5:] == [1.0] * 5 and max(sorted(shares)[:5]) < 0.25


def test_an_unknown_experiment_or_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be one of \('few_shot', .*Received: 'many_shot'"):
        run_experiment("many_shot", tmp_path)
    with pytest.raises(ValueError, match=r"must be one of \('imdb', .*Received: 'mnist'"):
        run_experiment("filters", tmp_path, bindings=["filters.data_sets = ('mnist',)"])


def test_a_missing_data_set_is_an_error_that_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_LEARNED_RULE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="tfds build"):
        run_experiment("filters", tmp_path / "results", data_dir=str(tmp_path))
    assert not (tmp_path / "results" / "filters.json").exists()


def command(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-m", "keras_learned_rule.experiments", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )


@pytest.mark.slow
def test_the_command_lists_runs_and_refuses(tmp_path):
    listed = command("list", cwd=tmp_path)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(registry.NAMES)
    smallest = ("--quick", "--gin", "filters.seeds = 1", "--gin", "filters.steps = 2")
    ran = command("filters", *smallest, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "runs/experiments_quick/filters.png").exists()
    refused = command("everything", cwd=tmp_path)
    assert refused.returncode != 0 and "Received: ['everything']" in refused.stderr + refused.stdout
