"""The picture of the quickstart: what learning without labels did to the network."""

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from keras_learned_rule import few_shot_accuracy

FIELDS = 5  # rows and columns of receptive fields
GREY = {"color": "0.4", "ha": "right", "va": "top"}
LABEL = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "0.6"}


def save_figure(path, before, after, accuracies, supervised, x, y):
    """Draws learning curve, receptive fields and embedding before and after.

    Args:
        path: PNG file to write.
        before: The untrained network.
        after: The trained network.
        accuracies: Few-shot accuracy after each epoch.
        supervised: Accuracy of supervised training on the same labels.
        x: [n, 64] digits to embed.
        y: [n] their classes, used for colour only.
    """
    figure = plt.figure(figsize=(10.5, 5.6), layout="constrained")
    curve, fields, embeddings = figure.subfigures(1, 3, width_ratios=(1.15, 0.8, 0.95))
    _learning_curve(curve.subplots(), before, accuracies, supervised, x, y)
    fields.suptitle("First-layer weights")
    embeddings.suptitle("Embedding of test digits (t-SNE)")
    rows = zip(fields.subfigures(2, 1), embeddings.subplots(2, 1), (before, after), strict=True)
    for (grid, axes, network), name in zip(rows, ("before", "after"), strict=True):
        _receptive_fields(grid, network, name)
        _embedding(axes, network, x, y, name)
    figure.savefig(path, dpi=144)
    plt.close(figure)


def _learning_curve(axes, before, accuracies, supervised, x, y):
    percent = 100 * np.array([few_shot_accuracy(before, x, y).mean, *accuracies])
    axes.plot(percent, marker="o", ms=4)
    axes.axhline(100 * supervised, color="0.5", lw=1, ls="--")
    axes.text(len(accuracies), 100 * supervised - 0.5, "supervised, same labels", **GREY)
    axes.annotate(f"{percent[-1]:.0f} %", (len(accuracies), percent[-1] + 1), ha="right")
    axes.set(xlabel="epoch (no labels used)", ylabel="few-shot accuracy in %", ylim=(None, 100))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Accuracy with 10 labels a class")
    axes.spines[["top", "right"]].set_visible(False)


def _receptive_fields(grid, network, name):
    weights = network.layers[0].kernel.numpy()
    grid.suptitle(name, fontsize="medium")
    for axes, field in zip(grid.subplots(FIELDS, FIELDS).flat, weights.T[: FIELDS**2], strict=True):
        limit = np.quantile(np.abs(field), 0.98)
        axes.imshow(field.reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_axis_off()


def _embedding(axes, network, x, y, name):
    features = StandardScaler().fit_transform(network.predict(x, verbose=0))
    with threadpool_limits(1):  # On a busy machine, threads that wait for each other take minutes.
        points = TSNE(random_state=0).fit_transform(features)
    axes.scatter(*points.T, c=y, cmap="tab10", s=6)
    for digit in np.unique(y):
        axes.text(*_center(points[y == digit]), digit, ha="center", va="center", bbox=LABEL)
    axes.set(xticks=[], yticks=[])
    axes.set_title(name, fontsize="medium")


def _center(points):
    """The point that is the nearest to the others, and so lies in a group of them."""
    return points[pairwise_distances(points).sum(axis=0).argmin()]
