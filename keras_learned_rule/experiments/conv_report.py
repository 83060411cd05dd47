"""Tables and pictures of accuracies over labels a class, for `conv` and `fine_tune`.

Groups of cells are named "data set/row"; a cell is a dict from readout to a dict from labels a
class to accuracy.
"""

import numpy as np

from keras_learned_rule.experiments.figures import curves, percent
from keras_learned_rule.experiments.groups import data_of
from keras_learned_rule.experiments.report import (
    accuracy_table,
    gain_and_error,
    mean_and_error,
    table,
)
from keras_learned_rule.experiments.tasks import TITLES

# Stands for a linear probe on many labels, in place of a number of labels a class.
PROBE = "probe"
# What networks with a softmax layer of their own have in place of a readout.
_SOFTMAX = "softmax"


def rows_of(results):
    """The rows in the results, in their order."""
    return list(dict.fromkeys(name.split("/")[1] for name in results))


def scores_of(results, data, row, readout):
    """Accuracies of one row.

    Args:
        results: as `CellStore.results` returns them.
        data: name of the data set.
        row: name of the row.
        readout: "ridge" or "logistic".

    Returns:
        A dict from labels a class, as text, to a dict from seed to accuracy.
    """
    found = {}
    for seed, cell in results.get(f"{data}/{row}", {}).items():
        for k, value in cell.get(readout, cell.get(_SOFTMAX, {})).items():
            found.setdefault(k, {})[seed] = value
    return found


def accuracies(results, rows, readouts):
    """Markdown: a table for each data set and readout.

    Args:
        results: as `CellStore.results` returns them.
        rows: dict from row to title, in the order of the tables.
        readouts: names.

    Returns:
        A str.
    """
    parts = []
    for data in data_of(results):
        for readout in readouts:
            by_row = {
                title: {k: [*values.values()] for k, values in scores.items()}
                for row, title in rows.items()
                if (scores := scores_of(results, data, row, readout))
            }
            columns = {k: _column(k) for k in _counts(by_row.values())}
            suffix = f", {readout}" if len(readouts) > 1 else ""
            parts.append(accuracy_table(f"{TITLES[data]}{suffix}", by_row, columns))
    return "\n\n".join(parts)


def gains(results, ours, theirs, title, readout):
    """Markdown: how much better one row is than another, paired by seed.

    Args:
        results: as `CellStore.results` returns them.
        ours, theirs: names of rows.
        title: str, head of the first column.
        readout: "ridge" or "logistic".

    Returns:
        A str.
    """
    by_data = {data: _paired(results, data, ours, theirs, readout) for data in data_of(results)}
    counts = _counts(by_data.values())
    body = [
        [TITLES[data], *(gain_and_error(*pairs[k]) if k in pairs else "–" for k in counts)]
        for data, pairs in by_data.items()
    ]
    return table([title, *map(_column, counts)], body)


def versus(results, ours, theirs, readout="ridge", counts=("10", PROBE)):
    """How one row compares with another, in words, a line for each data set.

    Args:
        results: as `CellStore.results` returns them.
        ours, theirs: names of rows.
        readout: "ridge" or "logistic". Defaults to `"ridge"`.
        counts: labels a class. Defaults to 10 and the linear probe.

    Returns:
        A str, a dash where nothing was measured.
    """
    lines = []
    for data in data_of(results):
        pairs = _paired(results, data, ours, theirs, readout)
        texts = [
            f"{mean_and_error(pairs[k][0])} against {mean_and_error(pairs[k][1])} "
            f"({gain_and_error(*pairs[k])}), {_column(k)}"
            for k in counts
            if k in pairs
        ]
        if texts:
            lines.append(f"{TITLES[data]}: {'; '.join(texts)}")
    return "<br>".join(lines) or "–"


def draw(results, path, rows, readout):
    """The picture: accuracy over labels a class, a panel for each data set.

    Args:
        results: as `CellStore.results` returns them.
        path: PNG file to write.
        rows: dict from row to title.
        readout: "ridge" or "logistic".
    """
    panels = {}
    for data in data_of(results):
        by_row = {row: scores_of(results, data, row, readout) for row in rows}
        panels[TITLES[data]] = {
            rows[row].strip("*"): percent(
                {int(k): [*values.values()] for k, values in scores.items() if k != PROBE}
            )
            for row, scores in by_row.items()
            if scores
        }
    curves(path, panels, "labels a class")


def _paired(results, data, ours, theirs, readout):
    """Accuracies of two rows on the seeds that both have, by labels a class."""
    first, second = (scores_of(results, data, row, readout) for row in (ours, theirs))
    pairs = {}
    for k in first.keys() & second.keys():
        seeds = sorted(first[k].keys() & second[k].keys())
        if seeds:
            pairs[k] = [np.array([scores[k][s] for s in seeds]) for scores in (first, second)]
    return pairs


def _counts(all_scores):
    counts = {k for scores in all_scores for k in scores}
    return sorted(counts, key=lambda k: (k == PROBE, int(k) if k != PROBE else 0))


def _column(count):
    return "linear probe" if count == PROBE else f"{count} a class"
