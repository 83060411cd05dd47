"""Runs one experiment from its gin file to table, json and picture; writes the report."""

from pathlib import Path

from keras_learned_rule.configs import parse_gin
from keras_learned_rule.experiments import registry
from keras_learned_rule.experiments.cells import CellStore
from keras_learned_rule.experiments.report import document, section
from keras_learned_rule.experiments.setting import Setting
from keras_learned_rule.fit.binding import resolve_rule
from keras_learned_rule.rule.files import write_atomically

QUICK = "gin_configs/experiments/quick.gin"


def run_experiment(
    name, out, gin_files=(), bindings=(), rule="compact", data_dir=None, quick=False, replace=False
):
    """Computes the cells that are missing, and draws the picture.

    Args:
        name: one of `registry.NAMES`.
        out: folder for NAME.json and NAME.png; made if missing.
        gin_files: paths, or names of packaged files. Defaults to that of the experiment,
            "gin_configs/experiments/NAME.gin".
        bindings: further gin bindings, such as "few_shot.seeds = 3".
        rule: preset, or path of a theta file. Defaults to `"compact"`.
        data_dir: folder of TFDS data sets, see `image_arrays`. Defaults to `None`.
        quick: bool, whether to read "gin_configs/experiments/quick.gin", too: the smallest sizes,
            on data that need no download. Defaults to `False`.
        replace: see `CellStore.run`. Defaults to `False`.

    Returns:
        Markdown with findings and tables.

    Raises:
        ValueError: an argument or a setting is wrong, or `out` has results with other settings.
        FileNotFoundError: a gin file, theta file or data set is missing.

    Example:
    ```python
    from keras_learned_rule.experiments.run import run_experiment

    smallest = ["filters.seeds = 1", "filters.steps = 2"]
    markdown = run_experiment("filters", "results", bindings=smallest, quick=True)
    assert "| paper | ours |" in markdown
    ```
    """
    experiment = registry.load(name)
    registry.load_all()  # Gin files may name the settings of others.
    files = [*(gin_files or [f"gin_configs/experiments/{name}.gin"]), *([QUICK] if quick else [])]
    parse_gin(files, bindings)
    groups = experiment.groups(Setting(resolve_rule(rule), Path(rule).stem, data_dir))
    store = CellStore(Path(out) / f"{name}.json")
    store.run(groups, replace)
    experiment.draw(store.results(), Path(out) / f"{name}.png")
    return section(experiment, store)


def write_report(folder):
    """Writes the report on a folder of results, beside it and with its name.

    Args:
        folder: with NAME.json and NAME.png of experiments.

    Returns:
        Path of the markdown file.

    Raises:
        FileNotFoundError: there are no results.

    Example:
    ```python
    from keras_learned_rule.experiments.run import run_experiment, write_report

    smallest = ["filters.seeds = 1", "filters.steps = 2"]
    run_experiment("filters", "outcome", bindings=smallest, quick=True)
    assert write_report("outcome").name == "outcome.md"
    ```
    """
    path = Path(folder).with_suffix(".md")
    write_atomically(path, document(folder, registry.load_all()).encode())
    return path
