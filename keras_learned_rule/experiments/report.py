"""Tables in markdown, and docs/results.md from the results files."""

import json
from pathlib import Path

import numpy as np

HEAD = """# Results

Generated from the json files in `{folder}/` by `python -m keras_learned_rule.experiments report`;
do not edit. How to run each experiment and what it measures: [experiments.md](experiments.md).

Accuracies in %, mean ± standard error over seeds (networks, initialisations, and draws of labelled
examples together). The paper shows these results as figures: its column has the finding in words,
and numbers only where its text gives them. "A against B (+d ± e)" compares the learned rule with
another method at 10 labels a class, each with its better readout, paired by seed. Our networks see
pixels in their order: a multi-layer perceptron is blind to the fixed permutation that the paper
applies.
"""


def mean_and_error(values):
    """Mean and standard error over seeds, of shares of 1, as text in per cent.

    Args:
        values: list of floats; may be empty.

    Returns:
        A str such as "78.3 ± 0.4", "78.3" for a single value, a dash for none.

    Example:
    ```python
    from keras_learned_rule.experiments.report import mean_and_error

    assert mean_and_error([0.5, 0.6]) == "55.0 ± 5.0" and mean_and_error([]) == "–"
    ```
    """
    values = 100 * np.asarray(values, np.float64)
    if len(values) == 0:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{values.mean():.1f} ± {values.std(ddof=1) / len(values) ** 0.5:.1f}"


def gain_and_error(ours, theirs):
    """Paired difference of two lists of shares of 1, and its standard error, as text in per cent.

    Args:
        ours: list of floats.
        theirs: list of as many floats, of the same tasks or seeds.

    Returns:
        A str such as "+1.9 ± 0.2", "+1.9" for a single pair.

    Example:
    ```python
    from keras_learned_rule.experiments.report import gain_and_error

    assert gain_and_error([0.5, 0.6], [0.4, 0.3]) == "+20.0 ± 10.0"
    ```
    """
    gain = 100 * (np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    error = f" ± {gain.std(ddof=1) / len(gain) ** 0.5:.1f}" if len(gain) > 1 else ""
    return f"{gain.mean():+.1f}{error}"


def accuracy_table(title, by_row, columns):
    """A markdown table of means and standard errors.

    Args:
        title: str, head of the first column.
        by_row: dict from the name of a row to a dict from a column to a list over seeds.
        columns: dict from columns to their heads.

    Returns:
        A str; a dash where nothing was measured.

    Example:
    ```python
    from keras_learned_rule.experiments.report import accuracy_table

    text = accuracy_table("MNIST", {"rule": {10: [0.5, 0.6]}}, {10: "10 a class"})
    assert text.endswith("| rule | 55.0 ± 5.0 |")
    ```
    """
    body = [
        [name, *(mean_and_error(values.get(column, [])) for column in columns)]
        for name, values in by_row.items()
    ]
    return table([title, *columns.values()], body)


def table(header, rows):
    """A markdown table.

    Args:
        header: list of str.
        rows: list of lists of str.

    Returns:
        A str.

    Example:
    ```python
    from keras_learned_rule.experiments.report import table

    assert table(["a", "b"], [["1", "2"]]).splitlines()[-1] == "| 1 | 2 |"
    ```
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def section(experiment, store, picture=None):
    """The part of the report about one experiment.

    Args:
        experiment: module of the experiment.
        store: its `CellStore`.
        picture: path of its picture as the report is to link it, or None. Defaults to `None`.

    Returns:
        Markdown.
    """
    results = store.results()
    parts = [f"## {experiment.TITLE}", experiment.ABOUT]
    parts.append(table(["paper", "ours"], experiment.findings(results)))
    parts.append(experiment.tables(results))
    if picture is not None:
        parts.append(f"![{experiment.TITLE}]({picture})")
    parts.append(_provenance(store))
    return "\n\n".join(parts) + "\n"


def document(folder, experiments):
    """The whole report.

    Args:
        folder: of the results files, NAME.json and perhaps NAME.png.
        experiments: dict from name to module, in the order of the report.

    Returns:
        Markdown, which links pictures relative to the parent of `folder`.

    Raises:
        FileNotFoundError: There is no results file.
    """
    from keras_learned_rule.experiments.cells import CellStore

    folder = Path(folder)
    parts = [HEAD.format(folder=folder.name)]
    for name, experiment in experiments.items():
        if (path := folder / f"{name}.json").exists():
            picture = folder / f"{name}.png"
            link = f"{folder.name}/{picture.name}" if picture.exists() else None
            parts.append(section(experiment, CellStore(path), link))
    if len(parts) == 1:
        raise FileNotFoundError(
            "The folder of a report must hold results such as few_shot.json. "
            f"Received: {str(folder)!r}"
        )
    return "\n".join(parts)


def _provenance(store):
    groups = store.settings()
    shared = {
        key: value
        for key, value in next(iter(groups.values()), {}).items()
        if all(settings.get(key) == value for settings in groups.values())
    }
    rules = sorted({f"{s['rule']} ({s['theta']})" for s in groups.values() if "rule" in s})
    seeds = sorted({len(cells) for cells in store.results().values()})
    lines = [f"Seeds: {', '.join(map(str, seeds))}."]
    if rules:
        lines.append(f"Rule: {', '.join(rules)}.")
    if shared:
        lines.append(f"Common settings: `{json.dumps(shared)}`.")
    return " ".join(lines)
