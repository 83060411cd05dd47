"""Figure 6, right: what the embedding looks like before and after, and how it spreads."""

import functools

import gin
import numpy as np

from keras_learned_rule.experiments import figures
from keras_learned_rule.experiments.cells import Group
from keras_learned_rule.experiments.networks import RuleTrainer, features
from keras_learned_rule.experiments.report import mean_and_error, table
from keras_learned_rule.experiments.scores import accuracy
from keras_learned_rule.experiments.tasks import TITLES, Task, TaskSource

TITLE = "Embeddings before and after (Figure 6)"
ABOUT = (
    "Two moons and images, embedded by the base model before and after an inner loop: the first "
    "three principal components of standardised features, and their cumulative explained variance."
)
MOONS = "two moons"
_SHOWN = 300


@gin.configurable
def embeddings(setting, data_sets=(MOONS, "mnist14"), seeds=3, steps=300, batch=128, tests=2000):
    """The groups of cells.

    Args:
        setting: `Setting`.
        data_sets: "two moons" and names for `TaskSource`.
        seeds: int; the first is drawn.
        steps: int, inner steps.
        batch: int, examples of a step.
        tests: int, test examples.

    Returns:
        A list of `Group`, one a data set.
    """
    return [
        Group(
            data,
            {"steps": steps, "batch": batch, "tests": tests, **setting.rule_settings()},
            range(seeds),
            functools.partial(_prepare, data, setting, steps, batch, tests),
        )
        for data in data_sets
    ]


groups = embeddings


class _Moons:
    """Two interleaved half circles, as `TaskSource`."""

    inputs = 2

    def task(self, seed):
        from sklearn.datasets import make_moons

        x, y = make_moons(4000, noise=0.1, random_state=seed)
        x = x.astype("float32")
        return Task(x[:2000], y[:2000], x[2000:], y[2000:])


def _prepare(data, setting, steps, batch, tests):
    source = _Moons() if data == MOONS else TaskSource(data, tests, setting.data_dir)
    trainer = RuleTrainer(setting.rule, source.inputs, batch=batch)

    def compute(seed):
        task = source.task(seed)
        trainer.restart(seed, steps)
        cell = {}
        for when in ("before", "after"):
            if when == "after":
                trainer.train(task.x, 0, steps)
            embedded = features(trainer.network, task.x, task.x_test)
            cell[when] = _described(embedded, task.y_test, seed)
        return cell

    return compute


def _described(embedded, y, seed):
    from sklearn.decomposition import PCA

    centred = embedded - embedded.mean(axis=0)
    pca = PCA(svd_solver="full").fit(centred / (centred.std(axis=0) + 1e-6))
    described = {
        "accuracy": accuracy(embedded, y, seed),
        "explained": np.cumsum(pca.explained_variance_ratio_).round(4).tolist(),
    }
    if seed == 0:
        points = pca.transform(centred / (centred.std(axis=0) + 1e-6))[:_SHOWN, :3]
        described["points"] = [[float(f"{v:.3g}") for v in point] for point in points]
        described["classes"] = np.asarray(y[:_SHOWN]).tolist()
    return described


def _shares(cells, when, components):
    return [cell[when]["explained"][components - 1] for cell in cells.values()]


def findings(results):
    """Paper and ours, side by side."""
    return [
        [
            "Shows how classes come apart, and cumulative explained variance (no numbers).",
            f"{TITLES.get(data, data)}: 10-shot accuracy "
            f"{mean_and_error([c['before']['accuracy'] for c in cells.values()])} before, "
            f"{mean_and_error([c['after']['accuracy'] for c in cells.values()])} after; three "
            f"components explain {mean_and_error(_shares(cells, 'before', 3))} before, "
            f"{mean_and_error(_shares(cells, 'after', 3))} after.",
        ]
        for data, cells in results.items()
    ]


def tables(results):
    """Markdown: explained variance by number of components."""
    body = [
        [
            f"{TITLES.get(data, data)}, {when}",
            *(mean_and_error(_shares(cells, when, n)) for n in (1, 3, 8)),
        ]
        for data, cells in results.items()
        for when in ("before", "after")
    ]
    return table(["variance explained by", "1", "3", "8 components"], body)


def draw(results, path):
    """The picture, of the first seed."""
    clouds, spectra = {}, {}
    for data, cells in results.items():
        for when in ("before", "after"):
            title = f"{TITLES.get(data, data)}, {when}"
            clouds[title] = (cells[0][when]["points"], cells[0][when]["classes"])
            spectra[title] = cells[0][when]["explained"]
    figures.embeddings(path, clouds, spectra)
