"""Pretraining by the rule on unlabelled images, then backprop on a few labels."""

import functools

import gin

from keras_learned_rule.experiments import conv_methods as methods
from keras_learned_rule.experiments import conv_report
from keras_learned_rule.experiments.groups import groups_of

TITLE = "Backprop on few labels, from pretrained convolutions"
ABOUT = (
    "Network C1 of `conv` and a softmax layer, all trained by backprop on the same labels for the "
    "same number of steps; only the weights that it starts from differ. They are: random ones; "
    "those after the learned rule has trained all layers; centroids of whitened patches, as long "
    "as the random filters that they replace, in the first layer and random weights above; those "
    "after SoftHebb's rule has trained all layers. Pretraining sees the "
    "images of the training part without labels. Backprop is short: `steps` of `batch` examples."
)
ROWS = {
    "random": "from scratch",
    "rule": "**pretrained by the learned rule**",
    "kmeans": "k-means filters in the first layer",
    "softhebb": "pretrained by SoftHebb's rule",
}
_CLAIMS = {
    "random": "(not in the paper) Does pretraining by the rule help backprop?",
    "kmeans": "(not in the paper) Centroids of image patches.",
    "softhebb": "(not in the paper) Filters of a fixed local rule.",
}
_COUNTS = ("1", "10", "100")


@gin.configurable("fine_tune")
def groups(
    setting,
    data_sets=("fashion28", "cifar32"),
    network="c1",
    seeds=3,
    shots=(1, 3, 10, 30, 100),
    splits=1,
    tests=2000,
    steps=200,
    batch=32,
    learning_rate=1e-3,
    rule_steps=300,
    rule_batch=128,
    rule_examples=1024,
    softhebb_steps=3840,
    softhebb_batch=10,
):
    """The groups of cells.

    Args:
        setting: `Setting`.
        data_sets: names of images for `TaskSource`.
        network: name for `conv_network`.
        seeds: int, networks, initialisations and sets of splits.
        shots: labels a class.
        splits: int, draws of labelled examples for each seed.
        tests: int, test examples, from which labelled ones are drawn.
        steps, batch, learning_rate: of backprop, by Adam.
        rule_steps, rule_batch: ints, inner steps and unlabelled examples of a step.
        rule_examples: `examples` of `LearnedRule`.
        softhebb_steps, softhebb_batch: likewise for SoftHebb's rule.

    Returns:
        A list of `Group`.
    """
    rule = {"steps": rule_steps, "batch": rule_batch, "examples": rule_examples}
    softhebb = {"steps": softhebb_steps, "batch": softhebb_batch}
    starts = {
        "random": (methods.random_weights, {}),
        "rule": (
            functools.partial(methods.rule_trained, rule=setting.rule, **rule),
            {**setting.rule_settings(), "pretraining": rule},
        ),
        "kmeans": (methods.kmeans_filtered, {}),
        "softhebb": (
            functools.partial(methods.softhebb_trained, **softhebb),
            {"pretraining": softhebb},
        ),
    }
    backprop = {"shots": tuple(shots), "splits": splits, "steps": steps, "batch": batch}
    backprop["learning_rate"] = learning_rate
    prepared = {
        name: (
            {"network": network, **backprop, **settings},
            functools.partial(_prepare, start, network, tests, backprop),
        )
        for name, (start, settings) in starts.items()
    }
    return groups_of(prepared, data_sets, tests, seeds, setting.data_dir)


def _prepare(start, network, tests, backprop, source):
    return methods.fine_tuned(start(source(), network), source(), network, tests, **backprop)


def findings(results):
    """Paper and ours, side by side."""
    return [
        [claim, conv_report.versus(results, "rule", other, counts=_COUNTS)]
        for other, claim in _CLAIMS.items()
    ]


def tables(results):
    """Markdown: gains over training from scratch, and a table for each data set."""
    gains = conv_report.gains(results, "rule", "random", "gain by the learned rule", "ridge")
    return f"{gains}\n\n{conv_report.accuracies(results, ROWS, ('softmax',))}"


def draw(results, path):
    """The picture: accuracy over labels a class, a panel for each data set."""
    conv_report.draw(results, path, ROWS, "softmax")
