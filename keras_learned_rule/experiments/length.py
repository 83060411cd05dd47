"""Longer inner loops, other batch sizes and unbalanced classes: does the rule fall apart?"""

import functools

import gin
import numpy as np

from keras_learned_rule.experiments.cells import Group
from keras_learned_rule.experiments.figures import curves, percent
from keras_learned_rule.experiments.networks import RuleTrainer, features
from keras_learned_rule.experiments.report import mean_and_error, table
from keras_learned_rule.experiments.scores import accuracy
from keras_learned_rule.experiments.tasks import TITLES, TaskSource

TITLE = "Length of the inner loop, batch size, unbalanced classes"
ABOUT = (
    "10-shot accuracy (ridge) of the base model. Each number of steps is an inner loop of its own, "
    "with the step size falling to zero over it. Unbalanced: of a random half of the classes "
    "only one in `ratio` unlabelled examples is kept. Batches of fewer than 128 examples are "
    "filled up with earlier ones, as in `fit`, except where it says no replay."
)
KINDS = {
    "steps": "inner steps",
    "batch": "examples a batch, equal steps",
    "examples": "examples a batch, equal examples",
    "batch_alone": "batch, equal steps, no replay",
    "examples_alone": "batch, equal examples, no replay",
    "ratio": "imbalance of the classes",
}


@gin.configurable
def length(
    setting,
    data_sets=("mnist14", "fashion14"),
    seeds=5,
    steps=(0, 30, 100, 300, 1000, 3000),
    batches=(8, 16, 32, 64, 128, 256, 512, 1024),
    ratios=(1, 10),
    base_steps=300,
    base_batch=128,
    tests=2000,
):
    """The groups of cells.

    Args:
        setting: `Setting`.
        data_sets: names for `TaskSource`.
        seeds: int.
        steps: lengths of the inner loop, at batches of `base_batch`.
        batches: batch sizes, at `base_steps` steps and at as many steps as see as many examples
            (what a number of epochs fixes); those below `base_batch` also without replay.
        ratios: how many times more unlabelled examples one half of the classes has.
        base_steps, base_batch: ints.
        tests: int, test examples.

    Returns:
        A list of `Group`.
    """
    examples = base_steps * base_batch
    base = {"steps": base_steps, "batch": base_batch, "ratio": 1, "replay": "auto"}
    cases = [
        *(("steps", n, {"steps": n}) for n in steps),
        *(("ratio", n, {"ratio": n}) for n in ratios),
        *(("batch", n, {"batch": n}) for n in batches),
        *(("examples", n, {"batch": n, "steps": max(1, examples // n)}) for n in batches),
    ]
    # Larger batches are not filled up anyway.
    cases += [
        (f"{kind}_alone", n, {**case, "replay": 0})
        for kind, n, case in cases
        if kind in ("batch", "examples") and n < base_batch
    ]
    groups = []
    for data in data_sets:
        source = functools.cache(functools.partial(TaskSource, data, tests, setting.data_dir))
        trainer = functools.lru_cache(1)(
            lambda batch, replay, source=source: RuleTrainer(
                setting.rule, source().inputs, batch=batch, replay=replay
            )
        )
        groups += [
            Group(
                f"{data}/{kind}/{value}",
                {"data": data, "tests": tests, **base, **case, **setting.rule_settings()},
                range(seeds),
                functools.partial(_prepare, source, trainer, **{**base, **case}),
            )
            for kind, value, case in cases
        ]
    return groups


groups = length


def _prepare(source, trainer, steps, batch, ratio, replay):
    source, trainer = source(), trainer(batch, replay)

    def compute(seed):
        task = source.task(seed)
        x = task.x[source.unbalanced(seed, ratio)]
        trainer.restart(seed, steps)
        trainer.train(x, 0, steps)
        return accuracy(features(trainer.network, x, task.x_test), task.y_test, seed)

    return compute


def _by_kind(results):
    """Values over seeds, by data set, kind and value."""
    found = {}
    for name, cells in results.items():
        data, kind, value = name.split("/")
        by_value = found.setdefault(data, {}).setdefault(kind, {})
        by_value[int(value)] = list(cells.values())
    return found


def _titles(by_data):
    return {
        kind: title
        for kind, title in KINDS.items()
        if any(kind in kinds for kinds in by_data.values())
    }


def findings(results):
    """Paper and ours, side by side."""
    rows = []
    for data, kinds in _by_kind(results).items():
        steps = kinds["steps"]
        best = max(steps, key=lambda n: np.mean(steps[n]))
        rows.append(
            [
                "(not in the paper; unrolls of meta-training are far shorter than use)",
                f"{TITLES[data]}: best after {best:,} steps ({mean_and_error(steps[best])}), "
                f"{mean_and_error(steps[max(steps)])} after {max(steps):,}.",
            ]
        )
    return rows


def tables(results):
    """Markdown: a table for each kind of change."""
    parts = []
    by_data = _by_kind(results)
    for kind, title in _titles(by_data).items():
        values = sorted({v for kinds in by_data.values() for v in kinds.get(kind, {})})
        body = [
            [TITLES[data], *(mean_and_error(kinds[kind].get(v, [])) for v in values)]
            for data, kinds in by_data.items()
            if kind in kinds
        ]
        parts.append(table([title, *(f"{v:,}" for v in values)], body))
    return "\n\n".join(parts)


def draw(results, path):
    """The picture."""
    by_data = _by_kind(results)
    panels = {
        title: {
            TITLES[data]: percent({v: x for v, x in kinds[kind].items() if v > 0})
            for data, kinds in by_data.items()
            if kind in kinds
        }
        for kind, title in _titles(by_data).items()
    }
    curves(path, panels, "")
