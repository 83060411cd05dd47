"""Figure 6, left: receptive fields of the first layer, before and after."""

import functools
from pathlib import Path

import gin
import numpy as np

from keras_learned_rule.experiments.cells import Group
from keras_learned_rule.experiments.figures import weight_maps
from keras_learned_rule.experiments.networks import RuleTrainer
from keras_learned_rule.experiments.report import table
from keras_learned_rule.experiments.setting import fingerprint
from keras_learned_rule.experiments.tasks import IMAGES, TITLES, TaskSource
from keras_learned_rule.rule.update_rule import UpdateRule

TITLE = "Receptive fields of the first layer (Figure 6)"
ABOUT = (
    "Weights of the first units of the base model's first layer, before and after an inner loop. "
    "Smoothness is the correlation of weights of neighbouring pixels, mean over all units: 0 for "
    "random weights, near 1 for smooth fields. With `filters.checkpoints` the same for theta "
    "files of a meta-training run."
)
_SHOWN = 16


@gin.configurable
def filters(
    setting, data_sets=("mnist14",), seeds=3, steps=300, batch=128, widths=None, checkpoints=()
):
    """The groups of cells.

    Args:
        setting: `Setting`.
        data_sets: names of images for `TaskSource`.
        seeds: int; the first is drawn.
        steps: int, inner steps.
        batch: int, examples of a step.
        widths: units of each layer. Defaults to those of the base model.
        checkpoints: paths of theta files, earlier states of the rule.

    Returns:
        A list of `Group`.
    """
    rules = {Path(path).stem: UpdateRule.load(path) for path in checkpoints}
    rules[setting.rule_name] = setting.rule
    network = {} if widths is None else {"widths": tuple(widths)}
    loop = {"steps": steps, "batch": batch}
    return [
        Group(
            f"{data}/{name}",
            {"data": data, **loop, **network, "theta": fingerprint(rule)},
            range(seeds),
            functools.partial(_prepare, data, setting.data_dir, rule, network, **loop),
        )
        for data in data_sets
        for name, rule in rules.items()
    ]


groups = filters


def _prepare(data, data_dir, rule, network, steps, batch):
    source = TaskSource(data, data_dir=data_dir)
    trainer = RuleTrainer(rule, source.inputs, batch=batch, **network)
    _, side, channels = IMAGES[data]

    def weights():
        return trainer.network.layers[0].kernel.numpy().T

    def compute(seed):
        trainer.restart(seed, steps)
        before = weights()
        trainer.train(source.task(seed).x, 0, steps)
        after = weights()
        cell = {
            "smoothness_before": smoothness(before, side, channels),
            "smoothness_after": smoothness(after, side, channels),
        }
        if seed == 0:
            cell["before"], cell["after"] = _short(before), _short(after)
        return cell

    return compute


def _short(weights):
    return [[float(f"{w:.2g}") for w in unit] for unit in weights[:_SHOWN]]


def smoothness(weights, side, channels):
    """Correlation of the weights of neighbouring pixels, mean over units.

    Args:
        weights: array `[units, side * side * channels]`.
        side: int, height and width of the inputs.
        channels: int.

    Returns:
        A float from -1 to 1.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.filters import smoothness

    ramp = np.arange(8.0)[:, None] + np.arange(8.0)
    assert smoothness(ramp.reshape(1, 64), side=8, channels=1) > 0.7
    ```
    """
    fields = np.reshape(weights, (-1, side, side, channels))
    fields = fields - fields.mean(axis=(1, 2, 3), keepdims=True)
    power = np.square(fields).mean(axis=(1, 2, 3)) + 1e-12
    across = (fields[:, :, 1:] * fields[:, :, :-1]).mean(axis=(1, 2, 3))
    down = (fields[:, 1:] * fields[:, :-1]).mean(axis=(1, 2, 3))
    return round(float(np.mean((across + down) / (2 * power))), 4)


def _means(cells, name):
    values = np.array([cell[name] for cell in cells.values()])
    return f"{values.mean():.2f}"


def findings(results):
    """Paper and ours, side by side."""
    return [
        [
            "Shows how receptive fields change over meta-training (no numbers).",
            f"{_title(name)}: smoothness {_means(cells, 'smoothness_before')} before, "
            f"{_means(cells, 'smoothness_after')} after.",
        ]
        for name, cells in results.items()
    ]


def _title(name):
    data, rule = name.split("/", 1)
    return f"{TITLES[data]}, {rule}"


def tables(results):
    """Markdown: smoothness before and after."""
    body = [
        [_title(name), *(_means(cells, f"smoothness_{when}") for when in ("before", "after"))]
        for name, cells in results.items()
    ]
    return table(["smoothness of the fields", "before", "after"], body)


def draw(results, path):
    """The picture: fields before and after by data set and rule."""
    data = next(iter(results)).split("/")[0]
    _, side, channels = IMAGES[data]
    shown = {name: cells[0] for name, cells in results.items() if name.startswith(f"{data}/")}
    rows = {"before": np.array(next(iter(shown.values()))["before"])}
    rows.update({f"after, {name}": np.array(cell["after"]) for name, cell in shown.items()})
    weight_maps(path, rows, side, channels)
