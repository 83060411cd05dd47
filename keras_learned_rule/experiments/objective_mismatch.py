"""Figure 2, left: an objective that is not the few-shot accuracy wanted."""

import functools

import gin
import numpy as np

from keras_learned_rule.experiments.cells import Group
from keras_learned_rule.experiments.figures import curves, percent
from keras_learned_rule.experiments.methods import VaeTrainer
from keras_learned_rule.experiments.report import mean_and_error, table
from keras_learned_rule.experiments.scores import accuracy, rounded
from keras_learned_rule.experiments.tasks import TITLES, TaskSource

TITLE = "What the VAE learns is not what few-shot learning needs (Figure 2, left)"
ABOUT = (
    "A VAE around the base model; its ELBO on unlabelled examples that it does not learn from, "
    "and 10-shot accuracy (ridge) of its encoder, over training."
)


@gin.configurable
def objective_mismatch(
    setting,
    data_sets=("cifar16",),
    seeds=5,
    marks=(100, 200, 500, 1000, 2000, 4000, 7000, 10000),
    tests=2000,
    batch=128,
):
    """The groups of cells.

    Args:
        setting: `Setting`.
        data_sets: names for `TaskSource`.
        seeds: int.
        marks: numbers of steps after which to measure.
        tests: int, test examples.
        batch: int, examples of a step.

    Returns:
        A list of `Group`, one a data set.
    """
    settings = {"marks": tuple(marks), "tests": tests, "batch": batch}
    return [
        Group(
            data,
            settings,
            range(seeds),
            functools.partial(_prepare, data, setting.data_dir, **settings),
        )
        for data in data_sets
    ]


groups = objective_mismatch


def _prepare(data, data_dir, marks, tests, batch):
    source = TaskSource(data, tests, data_dir)
    trainer = VaeTrainer(source, batch)

    def compute(seed):
        y = source.task(seed).y_test
        return [
            [step, rounded(elbo, 2), accuracy(embedded, y, seed)]
            for step, elbo, embedded in trainer.marks(seed, marks)
        ]

    return compute


def _by_step(cells, column):
    found = {}
    for cell in cells.values():
        for row in cell:
            found.setdefault(row[0], []).append(row[column])
    return found


def findings(results):
    """Paper and ours, side by side."""
    rows = []
    for data, cells in results.items():
        scores, elbos = _by_step(cells, 2), _by_step(cells, 1)
        best = max(scores, key=lambda step: np.mean(scores[step]))
        highest = max(elbos, key=lambda step: np.mean(elbos[step]))
        last = max(scores)
        rows.append(
            [
                "The VAE's few-shot accuracy falls while its loss still improves.",
                f"{TITLES[data]}: accuracy is best after {best:,} steps "
                f"({mean_and_error(scores[best])}) and {mean_and_error(scores[last])} after "
                f"{last:,}; the ELBO is best after {highest:,}.",
            ]
        )
    return rows


def tables(results):
    """Markdown: accuracy and ELBO by step."""
    parts = []
    for data, cells in results.items():
        scores, elbos = _by_step(cells, 2), _by_step(cells, 1)
        body = [
            [f"{step:,}", f"{np.mean(elbos[step]):.1f}", mean_and_error(scores[step])]
            for step in sorted(scores)
        ]
        parts.append(table([f"{TITLES[data]}, steps", "ELBO, nats", "10-shot accuracy"], body))
    return "\n\n".join(parts)


def draw(results, path):
    """The picture."""
    panels = {}
    for data, cells in results.items():
        scores, elbos = percent(_by_step(cells, 2)), _by_step(cells, 1)
        panels[f"{TITLES[data]}: 10-shot accuracy, %"] = {"VAE": scores}
        panels[f"{TITLES[data]}: ELBO, nats"] = {"VAE": elbos}
    curves(path, panels, "steps", ylabel="")
