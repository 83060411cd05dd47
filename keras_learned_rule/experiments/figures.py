"""Pictures of the experiments."""

import numpy as np

_COLUMNS = 4


def curves(path, panels, xlabel, ylabel="few-shot accuracy, %"):
    """Draws lines with standard errors, in as many panels as needed.

    An x axis is logarithmic where it spans more than a factor of ten.

    Args:
        path: PNG file to write.
        panels: dict from title to dict from label to dict from x to a list over seeds.
        xlabel, ylabel: str.

    Example:
    ```python
    from keras_learned_rule.experiments.figures import curves

    curves("curves.png", {"MNIST": {"rule": {1: [30.0, 40.0], 10: [70.0]}}}, "labels a class")
    ```
    """
    figure, all_axes = _panels(len(panels))
    lines = {}
    for axes, (title, by_label) in zip(all_axes, panels.items(), strict=True):
        for label, points in by_label.items():
            x = sorted(points)
            values = [np.asarray(points[k]) for k in x]
            errors = [v.std(ddof=1) / len(v) ** 0.5 if len(v) > 1 else 0.0 for v in values]
            colour = f"C{list(lines).index(label) if label in lines else len(lines)}"
            lines[label] = axes.errorbar(
                x, [v.mean() for v in values], errors, marker="o", ms=3, lw=1.2, color=colour
            )
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        places = [x for points in by_label.values() for x in points]
        if max(places) > 10 * min(places) > 0:
            axes.set_xscale("log")
        axes.grid(alpha=0.3)
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=3, fontsize="small")
    _save(figure, path)


def percent(points):
    """Shares of 1 in per cent, for `curves`; a dict from x to a list in either case."""
    return {x: [100 * value for value in values] for x, values in points.items()}


def weight_maps(path, rows, side, channels):
    """Draws first-layer weights as images, a row of images for each network.

    Args:
        path: PNG file to write.
        rows: dict from title to array `[units, inputs]`.
        side: int, height and width of the inputs.
        channels: int, of the inputs; weights are averaged over them.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.figures import weight_maps

    weight_maps("fields.png", {"before": np.random.randn(3, 64)}, side=8, channels=1)
    ```
    """
    import matplotlib.pyplot as plt

    units = len(next(iter(rows.values())))
    size = (0.6 * units, 0.85 * len(rows))
    figure = plt.figure(figsize=size, layout="constrained")
    for part, (title, weights) in zip(
        np.atleast_1d(figure.subfigures(len(rows), 1)), rows.items(), strict=True
    ):
        part.suptitle(title, fontsize="small")
        for axes, unit in zip(np.atleast_1d(part.subplots(1, units)), weights, strict=True):
            limit = np.quantile(np.abs(unit), 0.98) or 1.0
            field = np.reshape(unit, (side, side, channels)).mean(-1)
            axes.imshow(field, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set_axis_off()
    _save(figure, path)


def embeddings(path, clouds, spectra):
    """Draws embeddings in two of their principal axes, and their explained variance.

    Args:
        path: PNG file to write.
        clouds: dict from title to (points `[n, 3]`, classes `[n]`).
        spectra: dict from title to cumulative explained variances, shares of 1.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.figures import embeddings

    cloud = (np.random.randn(20, 3), np.arange(20) % 2)
    embeddings("embeddings.png", {"before": cloud}, {"before": [0.5, 0.8, 1.0]})
    ```
    """
    figure, all_axes = _panels(len(clouds) + 1)
    for axes, (title, (points, classes)) in zip(all_axes[:-1], clouds.items(), strict=True):
        points = np.asarray(points)
        axes.scatter(points[:, 0], points[:, 1], c=classes, cmap="tab10", s=6)
        axes.set(title=title, xticks=[], yticks=[])
    axes = all_axes[-1]
    for title, shares in spectra.items():
        axes.plot(range(1, len(shares) + 1), 100 * np.asarray(shares), label=title)
    axes.set(xlabel="components", ylabel="explained variance, %", ylim=(0, 102))
    axes.legend(fontsize="x-small")
    _save(figure, path)


def _panels(count):
    import matplotlib.pyplot as plt

    rows = -(-count // _COLUMNS)
    columns = -(-count // rows)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(max(3.4 * columns + 1, 8.0), 2.9 * rows + 0.8),
        layout="constrained",
        squeeze=False,
    )
    for unused in axes.flat[count:]:
        unused.set_axis_off()
    return figure, list(axes.flat[:count])


def _save(figure, path):
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=80)
    plt.close(figure)
