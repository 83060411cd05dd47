"""The picture of the quickstart: what learning without labels did to the network."""

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from keras_learned_rule import few_shot_accuracy

FIELDS = 5  # rows and columns of receptive fields


def save_figure(path, before, after, accuracies, x, y):
    """Draws learning curve, receptive fields and embedding before and after.

    Args:
        path: PNG file to write.
        before: The untrained network.
        after: The trained network.
        accuracies: Few-shot accuracy after each epoch.
        x: [n, 64] digits to embed.
        y: [n] their classes, used for colour only.
    """
    figure = plt.figure(figsize=(12, 6.4), layout="constrained")
    curve, fields, embeddings = figure.subfigures(1, 3, width_ratios=(1.1, 0.75, 1))
    _learning_curve(curve.subplots(), before, accuracies, x, y)
    fields.suptitle("First-layer weights")
    embeddings.suptitle("Embedding of test digits (PCA)")
    rows = zip(fields.subfigures(2, 1), embeddings.subplots(2, 1), (before, after), strict=True)
    for (grid, axes, network), name in zip(rows, ("before", "after"), strict=True):
        _receptive_fields(grid, network, name)
        _embedding(axes, network, x, y, name)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _learning_curve(axes, before, accuracies, x, y):
    start = few_shot_accuracy(before, x, y).mean
    axes.plot(range(len(accuracies) + 1), 100 * np.array([start, *accuracies]), marker="o", ms=3)
    axes.set(xlabel="epoch, no labels used", ylabel="few-shot accuracy, %", ylim=(None, 100))
    axes.set_title("10 labels a class read from the embedding")
    axes.grid(alpha=0.3)


def _receptive_fields(grid, network, name):
    weights = network.layers[0].kernel.numpy()
    grid.suptitle(name, fontsize="medium")
    for axes, field in zip(grid.subplots(FIELDS, FIELDS).flat, weights.T[: FIELDS**2], strict=True):
        limit = np.quantile(np.abs(field), 0.98)
        axes.imshow(field.reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_axis_off()


def _embedding(axes, network, x, y, name):
    features = StandardScaler().fit_transform(network.predict(x, verbose=0))
    points = PCA(2).fit_transform(features)
    axes.scatter(*points.T, c=y, cmap="tab10", s=8)
    axes.set(xticks=[], yticks=[])
    axes.set_title(name, fontsize="medium")
