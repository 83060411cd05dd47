"""Convolutional networks: what they learn by the rule, beside other rules, k-means and backprop."""

import functools

import gin

from keras_learned_rule.experiments import conv_methods as methods
from keras_learned_rule.experiments import conv_report
from keras_learned_rule.experiments.conv_networks import NETWORKS
from keras_learned_rule.experiments.conv_report import PROBE
from keras_learned_rule.experiments.groups import groups_of
from keras_learned_rule.experiments.scores import READOUTS, SHOTS, few_shot_scores, probe_accuracy

TITLE = "Convolutional networks"
ABOUT = (
    "Three convolutions (5x5, 3x3, 3x3) with batch norm, relu and max pooling. Features are those "
    "of the last relu, averaged over quadrants, or those of all three where it says so. C1 has "
    "32, 64 and 128 filters, C2 96, 384 and 1,536 as SoftHebb's network has. Few labels are "
    "readouts of the first test examples. The linear probe is ridge regression on the first "
    "`probe_labels` of the training part, on all of it if that is null. SoftHebb's rule trains the "
    "same network and sees as many images as the learned rule; its published accuracies are those "
    "of a wider network with another nonlinearity and pooling (docs/experiments.md says where it "
    "gains on C1). k-means has as many features as "
    "C1, of one layer. Backprop has the softmax layer that it was trained with, whatever the "
    "readout. "
    "Comparisons in words are of ridge regression."
)
ROWS = {
    "c1 random": "C1, random weights",
    "c1 rule": "**C1, learned rule**",
    "c1 softhebb": "C1, SoftHebb's rule",
    "kmeans": "k-means, one layer",
    "c1 backprop": "C1, backprop on these labels",
    "c2 random": "C2, random weights",
    "c2 rule": "**C2, learned rule**",
    "c2 softhebb": "C2, SoftHebb's rule",
    "c2 backprop": "C2, backprop on these labels",
}
ALL_LAYERS = ", all layers"
_SHOWN = (*READOUTS, f"ridge{ALL_LAYERS}")
# A claim: (row it is about, readout, text).
_CLAIMS = (
    (
        "c1 random",
        "ridge",
        "(not in the paper) The rule carries over to convolutions, which meta-training has not "
        "seen: better than random weights.",
    ),
    ("c1 random", f"ridge{ALL_LAYERS}", "(The same with features of all layers.)"),
    (
        "c1 softhebb",
        "ridge",
        "(not in the paper) SoftHebb's rule on C1, which has relu instead of its nonlinearity.",
    ),
    ("c1 softhebb", f"ridge{ALL_LAYERS}", "(The same with features of all layers.)"),
    ("kmeans", "ridge", "(not in the paper) k-means on patches, one layer."),
    ("c1 backprop", "ridge", "(not in the paper) Backprop on the same labels."),
)


@gin.configurable("conv")
def groups(
    setting,
    data_sets=("mnist28", "fashion28", "cifar32"),
    networks=("c1",),
    seeds=3,
    shots=SHOTS,
    splits=10,
    tests=5000,
    few_shot_tests=2000,
    probe_labels=10_000,
    rule_steps=300,
    rule_batch=128,
    rule_examples=1024,
    softhebb_steps=3840,
    softhebb_batch=10,
    centroids=128,
    backprop_splits=1,
    backprop_steps=200,
    backprop_batch=32,
    backprop_rate=1e-3,
):
    """The groups of cells.

    Args:
        setting: `Setting`.
        data_sets: names of images for `TaskSource`.
        networks: names for `conv_network`; `"c2"` takes hours.
        seeds: int, networks, initialisations and sets of splits.
        shots: labels a class.
        splits: int, draws of labelled examples for each seed.
        tests: int, test examples of the probe.
        few_shot_tests: int, how many of them few-shot readouts use.
        probe_labels: int, labelled examples of the linear probe, or None for all.
        rule_steps, rule_batch: ints, inner steps and unlabelled examples of a step.
        rule_examples: `examples` of `LearnedRule`.
        softhebb_steps, softhebb_batch: likewise for SoftHebb's rule.
        centroids: int, of k-means.
        backprop_splits: int, draws for each of which a network is trained by backprop.
        backprop_steps, backprop_batch, backprop_rate: steps, labelled examples of a step and
            learning rate of Adam.

    Returns:
        A list of `Group`.
    """
    few = {"shots": tuple(shots), "splits": splits}
    readout = {**few, "few_shot_tests": few_shot_tests, "probe_labels": probe_labels}
    rule = {"steps": rule_steps, "batch": rule_batch, "examples": rule_examples}
    softhebb = {"steps": softhebb_steps, "batch": softhebb_batch}
    backprop = {
        "few_shot_tests": few_shot_tests,
        "shots": tuple(shots),
        "splits": backprop_splits,
        "steps": backprop_steps,
        "batch": backprop_batch,
        "learning_rate": backprop_rate,
    }
    train = functools.partial(methods.rule_trained, rule=setting.rule, **rule)
    hebb = functools.partial(methods.softhebb_trained, **softhebb)
    of_network = {
        "random": _of_start(methods.random_weights, {}, readout),
        "rule": _of_start(train, {**rule, **setting.rule_settings()}, readout),
        "backprop": (backprop, functools.partial(_of_backprop, backprop)),
        "softhebb": _of_start(hebb, softhebb, readout),
    }

    # The claim first: a run that is cut short has the rule and random weights on all data.
    plans = {
        **_of_networks(networks, of_network, "random", "rule"),
        "kmeans": (
            {**readout, "centroids": centroids},
            functools.partial(_of_kmeans, centroids, readout),
        ),
        **_of_networks(networks, of_network, "backprop", "softhebb"),
    }
    return groups_of(plans, data_sets, tests, seeds, setting.data_dir)


def _of_networks(networks, methods_of, *names):
    """The named methods on every network."""
    return {
        f"{network} {name}": (settings, functools.partial(prepare, network))
        for name in names
        for settings, prepare in [methods_of[name]]
        for network in networks
    }


def _of_start(start, settings, readout):
    """Settings of a method that makes weights, and how its cells are prepared."""
    return {**readout, **settings}, functools.partial(_of_weights, start, readout)


def _of_weights(start, readout, network, source):
    embedding = methods.of_weights(start(source(), network), source())
    width = 4 * NETWORKS[network][-1][0]
    return functools.partial(_scores, embedding, width, source(), **readout)


def _of_kmeans(centroids, readout, source):
    embedding = methods.of_kmeans(source(), centroids)
    return functools.partial(_scores, embedding, 4 * centroids, source(), **readout)


def _of_backprop(backprop, network, source):
    start = methods.random_weights(source(), network)
    return methods.fine_tuned(start, source(), network, **backprop)


def _scores(embedding, width, source, seed, shots, splits, few_shot_tests, probe_labels):
    """Accuracies with the last `width` features, and with all of them."""
    task, embed = source.task(seed), embedding(seed)
    learned, y = embed(task.x[:probe_labels]), task.y[:probe_labels]
    tested, few_y = embed(task.x_test), task.y_test[:few_shot_tests]
    cell = {}
    for suffix, part in (("", slice(-width, None)), (ALL_LAYERS, slice(None))):
        few = tested[:few_shot_tests, part]
        scores = few_shot_scores(few, few_y, seed, shots, splits)
        probe = probe_accuracy(learned[:, part], y, tested[:, part], task.y_test)
        scores["ridge"][PROBE] = probe
        cell.update({f"{readout}{suffix}": values for readout, values in scores.items()})
    return cell


def findings(results):
    """Paper and ours, side by side."""
    return [
        [claim, conv_report.versus(results, "c1 rule", row, readout)]
        for row, readout, claim in _CLAIMS
    ]


def tables(results):
    """Markdown: gains over random weights, and a table for each data set and readout."""
    networks = dict.fromkeys(row.split()[0] for row in conv_report.rows_of(results) if " " in row)
    gains = [
        conv_report.gains(
            results, f"{name} rule", f"{name} random", f"{name.upper()}, {readout}", readout
        )
        for name in networks
        for readout in _SHOWN
    ]
    return "\n\n".join([*gains, conv_report.accuracies(results, ROWS, _SHOWN)])


def draw(results, path):
    """The picture: accuracy over labels a class, a panel for each data set."""
    conv_report.draw(results, path, ROWS, "ridge")
