"""The comparison of Figure 4: the learned rule and all that it is measured against."""

import functools

import numpy as np

from keras_learned_rule.baselines.fixed_rule import fixed_rule
from keras_learned_rule.experiments import methods
from keras_learned_rule.experiments.figures import curves, percent
from keras_learned_rule.experiments.groups import data_of, groups_of
from keras_learned_rule.experiments.report import accuracy_table, gain_and_error, mean_and_error
from keras_learned_rule.experiments.scores import READOUTS, SHOTS, SPLITS
from keras_learned_rule.experiments.setting import fingerprint
from keras_learned_rule.experiments.tasks import TITLES

ROWS = {
    "random": "random initialisation",
    "rule": "**learned rule**",
    "fixed_rule": "fixed rule, retuned on glyphs",
    "vae": "VAE, epoch of its best ELBO",
    "vae_oracle": "VAE, best few-shot epoch (oracle)",
    "supervised_stopped": "supervised, early stopping on half",
    "supervised": "supervised, no early stopping",
    "pca": "PCA to 32",
    "raw": "raw inputs",
}
# Method: (group of cells, part of a cell).
_SOURCES = {
    **{method: (method, None) for method in ROWS},
    "vae": ("vae", "best_elbo"),
    "vae_oracle": ("vae", "best_few_shot"),
}


def comparison(
    setting,
    data_sets,
    seeds=10,
    shots=SHOTS,
    splits=SPLITS,
    tests=2000,
    rule_steps=300,
    vae_steps=10_000,
    vae_marks=10,
    supervised_steps=75,
    supervised_batch=64,
    supervised_rate=5e-3,
    batch=128,
    widths=None,
):
    """The groups of cells of the comparison.

    Args:
        setting: `Setting`.
        data_sets: names for `TaskSource`.
        seeds: int, networks, initialisations and sets of splits.
        shots: labels a class.
        splits: int, draws of labelled examples for each seed.
        tests: int, test examples.
        rule_steps: int, inner steps of both rules.
        vae_steps: int, steps of the VAE.
        vae_marks: int, epochs of equal length into which they are cut, to choose from.
        supervised_steps: int, steps of supervised training, a multiple of 25.
        supervised_batch: int, labelled examples of such a step.
        supervised_rate: float, its learning rate.
        batch: int, unlabelled examples of a step.
        widths: units of each layer of the network, the last being the embedding. Defaults to those
            of the base model.

    Returns:
        A list of `Group`.
    """
    common = {"shots": tuple(shots), "splits": splits}
    network = {} if widths is None else {"widths": tuple(widths)}
    rule = {"rule_steps": rule_steps, "batch": batch}
    fixed = fixed_rule()
    vae = {"steps": vae_steps, "marks": vae_marks, "batch": batch}
    learn = {
        "steps": supervised_steps,
        "batch_size": supervised_batch,
        "learning_rate": supervised_rate,
    }
    # Whose statistics batch norm has in tests; before, moving averages, which lag behind.
    learned = {**learn, "statistics": "labelled"}
    train = functools.partial(methods.rule_trained, steps=rule_steps, batch=batch)
    # Of each method: what it does on a network, and its settings.
    networks = {
        "random": (methods.random_network, {}),
        "rule": (functools.partial(train, rule=setting.rule), {**rule, **setting.rule_settings()}),
        "fixed_rule": (functools.partial(train, rule=fixed), {**rule, "theta": fingerprint(fixed)}),
        "vae": (functools.partial(methods.vae, **vae), vae),
        "supervised": (
            functools.partial(methods.supervised, early_stopping=False, **learn),
            learned,
        ),
        "supervised_stopped": (
            functools.partial(methods.supervised, early_stopping=True, **learn),
            learned,
        ),
    }
    plans = {"pca": (methods.pca, {}), "raw": (methods.raw_inputs, {})}
    plans |= {
        name: (functools.partial(method, network=network), {**network, **settings})
        for name, (method, settings) in networks.items()
    }
    # Cheap methods first: a run that is cut short has a picture of all data.
    prepared = {
        name: ({**common, **settings}, functools.partial(_prepare, method, common))
        for name, (method, settings) in plans.items()
    }
    return groups_of(prepared, data_sets, tests, seeds, setting.data_dir)


def _prepare(method, common, source):
    return method(source(), **common)


def scores_of(results, data, readout):
    """Few-shot accuracies of all methods on one data set.

    Args:
        results: as `CellStore.results` returns them.
        data: name of the data set.
        readout: "ridge" or "logistic"; supervised networks have one of their own.

    Returns:
        A dict from method to a dict from shots to a list over seeds.
    """
    found = {}
    for method, (group, part) in _SOURCES.items():
        by_shots = {}
        for cell in results.get(f"{data}/{group}", {}).values():
            scores = cell[part] if part else cell
            for k, value in scores.get(readout, scores.get("softmax", {})).items():
                by_shots.setdefault(int(k), []).append(value)
        if by_shots:
            found[method] = by_shots
    return found


def tables(results):
    """Markdown: a table for each data set and readout."""
    parts = []
    for data in data_of(results):
        for readout in READOUTS:
            by_method = scores_of(results, data, readout)
            shots = sorted({k for scores in by_method.values() for k in scores})
            rows = {ROWS[method]: scores for method, scores in by_method.items()}
            title = f"{TITLES[data]}, {readout} readout"
            parts.append(accuracy_table(title, rows, {k: f"{k} a class" for k in shots}))
    return "\n\n".join(parts)


def draw(results, path):
    """The picture: accuracy over labels a class, a panel for each data set."""
    panels = {
        TITLES[data]: {
            ROWS[method].strip("*"): percent(scores)
            for method, scores in scores_of(results, data, "logistic").items()
        }
        for data in data_of(results)
    }
    curves(path, panels, "labels a class")


def versus(results, data, other, shots=10):
    """How the learned rule compares with another method, in words, by the better readout of each.

    Args:
        results: as `CellStore.results` returns them.
        data: name of the data set.
        other: method, a key of `ROWS`.
        shots: int. Defaults to `10`.

    Returns:
        A str.
    """
    ours, theirs = (_best(results, data, method, shots) for method in ("rule", other))
    if not ours or not theirs:
        return f"{TITLES[data]}: not measured"
    seeds = min(len(ours), len(theirs))
    return (
        f"{TITLES[data]}: {mean_and_error(ours)} against {mean_and_error(theirs)} "
        f"({gain_and_error(ours[:seeds], theirs[:seeds])})"
    )


def all_versus(results, other):
    """`versus` for every data set in which both were measured, a line each."""
    lines = [versus(results, data, other) for data in data_of(results)]
    return "<br>".join(line for line in lines if not line.endswith("not measured")) or "–"


def _best(results, data, method, shots):
    """Accuracies over seeds with the readout whose mean is higher."""
    found = [
        scores_of(results, data, readout).get(method, {}).get(shots, []) for readout in READOUTS
    ]
    return max(found, key=lambda values: np.mean(values) if values else -1.0)
