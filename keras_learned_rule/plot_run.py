"""Draws the course of a meta-training run: `python -m keras_learned_rule.plot_run RUN_DIR`."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from keras_learned_rule.hints import PathLike
from keras_learned_rule.meta.run_log import LOG, finite_number, read_log

PICTURE = "run.png"
SMOOTHED = 25  # A training curve is smoothed over its length by this.
NAMED_COEFFICIENTS = 10
BESIDE = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}


def plot_run(run_dir: PathLike, out: PathLike | None = None) -> Path:
    r"""Draws what a run has logged so far, as figure 3 of the paper and beyond.

    Panels: meta-loss and few-shot accuracy of the tasks trained on, few-shot accuracy on held-out
    tasks (bands: standard errors; dashed: random initialisation), accuracy by position in the
    inner loop, gradient norm with the shares of clipped and skipped gradients, and merge
    coefficients. Training curves are running medians; what they smooth is drawn faintly. Lines of
    the log that cannot be read are left out, with a warning.

    Args:
        run_dir: Folder of the run, with the file metrics.jsonl. The run may still be going on.
        out: File to write, in any format that matplotlib knows by its ending. Defaults to run.png
            in `run_dir`.

    Returns:
        The `Path` of the picture.

    Raises:
        FileNotFoundError: There is no such folder, or no log in it.
        ValueError: The log has no line that can be read, or matplotlib does not know the ending
            of `out`.

    Example:
    ```python
    import json
    from keras_learned_rule.plot_run import plot_run

    with open("metrics.jsonl", "w") as log:
        for update in range(10, 60, 10):
            record = {"update": update, "meta_loss": 2 / update, "gradient_norm": 1.0}
            log.write(json.dumps(record) + "\n")
    assert plot_run(".").name == "run.png"
    ```
    """
    records = _records(Path(run_dir))
    path = Path(run_dir, PICTURE) if out is None else Path(out)
    figure = Figure(figsize=(15, 8), layout="constrained")
    known = FigureCanvasAgg(figure).get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(f"out must end in one of {sorted(known)}. Received: {str(path)!r}")
    axes = figure.subplots(2, 3, sharex=True)
    panels = (_meta_loss, _training_accuracy, _held_out, _positions, _gradients, _coefficients)
    for panel, draw in zip(axes.flat, panels, strict=True):
        draw(panel, records)
        _finish(panel, **(BESIDE if draw is _coefficients else {}))
    for panel in axes[-1]:
        panel.set_xlabel("meta-updates")
    figure.suptitle(_title(run_dir, records))
    figure.savefig(path, dpi=110)
    return path


def _records(run_dir):
    """The log as a list of dicts by update."""
    path = run_dir / LOG
    if not path.is_file():
        raise FileNotFoundError(
            f"RUN_DIR must be the folder of a run, with {LOG} in it. Received: {str(run_dir)!r}"
        )
    records, unreadable = read_log(path)
    if not records:
        raise ValueError(
            "The run must have logged something. Received: "
            f"{str(path)!r}, which is empty or damaged ({unreadable} lines that cannot be read)"
        )
    if unreadable:
        warnings.warn(
            f"Lines of the log that cannot be read are left out. Received: {unreadable} such "
            f"lines in {str(path)!r}",
            stacklevel=3,
        )
    return sorted(records, key=lambda record: record["update"])


def _curve(records, *keys):
    """Updates and values, as arrays, of the records that have a finite number under the keys."""
    points = {}
    for record in records:
        value = record
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        value = finite_number(value)
        if value is not None:
            points[record["update"]] = value  # The last of two at one update.
    return np.array(list(points)), np.array(list(points.values()), float)


def _names(records, key):
    """The keys of the dicts that records have under a key, in the order of their appearance."""
    dicts = (record[key] for record in records if isinstance(record.get(key), dict))
    return list(dict.fromkeys(name for one in dicts for name in one))


def _smooth(values, average=np.median):
    """Running average over a share of the curve, shorter towards its ends."""
    reach = len(values) // SMOOTHED // 2
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return np.array([average(window) for window in windows])


def _draw(axes, curve, **style):
    """A training curve: smoothed, over what it smooths."""
    updates, values = curve
    if len(values):
        (line,) = axes.plot(updates, _smooth(values), **style)
        axes.plot(updates, values, color=line.get_color(), alpha=0.2, linewidth=0.7)


def _colours(records):
    """A colour for each data set, the same in every panel."""
    names = sorted({*_names(records, "by_data"), *_names(records, "evaluation")})
    return {name: colormaps["tab10"](i % 10) for i, name in enumerate(names)}


def _by_data(axes, records, quantity):
    colours = _colours(records)
    for name in _names(records, "by_data"):
        _draw(axes, _curve(records, "by_data", name, quantity), color=colours[name], label=name)
    _draw(axes, _curve(records, quantity), color="black", label="all", linewidth=2)


def _meta_loss(axes, records):
    axes.set_title("Meta-loss, training tasks")
    _by_data(axes, records, "meta_loss")


def _training_accuracy(axes, records):
    axes.set_title("Few-shot accuracy, training tasks")
    _by_data(axes, records, "accuracy")


def _held_out(axes, records):
    axes.set_title("Few-shot accuracy, held-out tasks\n(dashed: random initialisation)")
    colours = _colours(records)
    for name in _names(records, "evaluation"):
        for quantity, style in (("accuracy", "-"), ("random", "--")):
            error = "standard_error" if quantity == "accuracy" else "random_standard_error"
            updates, values = _curve(records, "evaluation", name, quantity)
            label = name if quantity == "accuracy" else None
            axes.plot(updates, values, style, color=colours[name], label=label, marker=".")
            errors = dict(zip(*_curve(records, "evaluation", name, error), strict=True))
            band = np.array([errors.get(update, 0.0) for update in updates])
            axes.fill_between(
                updates, values - band, values + band, color=colours[name], alpha=0.15, linewidth=0
            )
    updates, values = _curve(records, "held_out_accuracy")
    if len(values):
        axes.plot(updates, values, color="black", label="all", linewidth=2, marker=".")


def _positions(axes, records):
    axes.set_title("Few-shot accuracy by inner step")
    names = [name for name in _names(records, "by_position") if name.isdecimal()]
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(names)))
    for name, colour in zip(sorted(names, key=int), colours, strict=True):
        curve = _curve(records, "by_position", name, "accuracy")
        _draw(axes, curve, color=colour, label=f"from step {name}")


def _gradients(axes, records):
    axes.set_title("Meta-gradient")
    axes.set_ylabel("norm")
    _draw(axes, _curve(records, "gradient_norm"), color="black", label="norm")
    if axes.lines:
        axes.set_yscale("log")
    shares = {name: _curve(records, name) for name in ("clipped", "skipped", "restarted")}
    shares = {name: curve for name, curve in shares.items() if len(curve[1])}
    if not shares:
        return
    right = axes.twinx()
    right.set(ylabel="share, %", ylim=(-2, 102))
    for name, (updates, values) in shares.items():
        # The median would hide what happens seldom.
        (line,) = right.plot(updates, 100 * _smooth(values, np.mean), color=f"C{len(right.lines)}")
        axes.plot([], [], color=line.get_color(), label=f"{name}, %")


def _coefficients(axes, records):
    axes.set_title("Merge coefficients, most moved in colour")
    curves = {name: _curve(records, "merge", name) for name in _names(records, "merge")}
    curves = {name: curve for name, curve in curves.items() if len(curve[1])}
    moved = sorted(curves, key=lambda name: -np.ptp(curves[name][1]))[:NAMED_COEFFICIENTS]
    for name, curve in curves.items():
        if name not in moved:
            axes.plot(*curve, color="0.8", linewidth=0.8)
    for name in moved:
        axes.plot(*curves[name], label=name.removeprefix("coefficients/"))


def _finish(axes, **legend):
    axes.grid(alpha=0.3)
    axes.tick_params(labelbottom=True)
    if axes.lines:
        axes.legend(fontsize="x-small", **legend)
    else:
        axes.text(0.5, 0.5, "nothing logged yet", ha="center", transform=axes.transAxes)


def _title(run_dir, records):
    seconds = max(_curve(records, "seconds")[1], default=0.0)
    name, last = Path(run_dir).resolve().name, records[-1]["update"]
    return f"{name}: {last} meta-updates, {seconds / 3600:.1f} h"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="plot_run", description="Draws a meta-training run.")
    parser.add_argument("run_dir", metavar="RUN_DIR", help="folder of the run")
    parser.add_argument("--out", metavar="FILE.png", help=f"default: RUN_DIR/{PICTURE}")
    options = parser.parse_args(arguments)
    try:
        print(plot_run(options.run_dir, options.out))
    except (OSError, ValueError) as error:
        sys.exit(f"plot_run: {error}")


if __name__ == "__main__":
    main()
