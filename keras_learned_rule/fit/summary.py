"""A table of what the rule will train of a model, and what a step keeps in memory for it."""

import shutil

from keras import activations
from rich.console import Console
from rich.table import Table

from keras_learned_rule.fit.layer_sizes import path_in
from keras_learned_rule.fit.reading import positions_limit, read_network
from keras_learned_rule.fit.replay import resolve_replay
from keras_learned_rule.fit.step_memory import (
    mebibytes,
    step_bytes,
    step_examples,
    warn_of_memory,
)
from keras_learned_rule.model.inputs import model_inputs

_COLUMNS = ("layer", "learns", "inputs x units", "normalisation", "nonlinearity", "examples")


def summarised(model, spec, freeze, replay, examples, batch_size, sizes=None):
    """The table, and what memory a step needs where that is known.

    Args:
        model: The `keras.Model`.
        spec: `RuleSpec` of the rule.
        freeze: See `LearnedRule`.
        replay: Likewise.
        examples: Likewise.
        batch_size: Positive integer, for which examples and memory are counted.
        sizes: `LayerSizes` of a fit, or None. Defaults to `None`.

    Returns:
        A string of several lines.

    Raises:
        ValueError: `fit` would refuse the model.
    """
    inputs = model_inputs(model)
    least = resolve_replay(replay, spec, model, inputs)
    filled, limit = max(batch_size, least), positions_limit(examples)
    sites, _, _ = read_network(model, spec, inputs, freeze)
    rows = _site_rows(model, sites, limit, filled)
    needed = step_bytes(spec, sites.learning, limit, filled, least, inputs)
    warn_of_memory(needed, filled)
    memory = "" if needed is None else _memory(batch_size, filled, needed)
    columns = _COLUMNS
    turned = [sizes and sizes.of(site.kernel) for site in sites.learning]
    if any(turned):
        columns, rows = (*_COLUMNS, "update size"), _with_sizes(rows, turned)
    return _table(f'The rule on model "{model.name}"', columns, rows) + memory


def _site_rows(model, sites, limit, batch_size):
    rows = [_learning_row(model, site, limit, batch_size) for site in sites.learning]
    left = [(path_in(model, layer.path), reason) for layer, reason in sites.left.items()]
    return rows + [(path, f"no: {reason}", "", "", "", "") for path, reason in left]


def _learning_row(model, site, limit, batch_size):
    lower, upper = site.matrix_shape
    groups = f"{site.kind.groups} x " if site.kind.groups > 1 else ""
    examples = step_examples(site, limit, batch_size)
    return (
        path_in(model, site.kind.layer.path),
        "yes",
        f"{groups}{lower:,} x {upper // site.kind.groups:,}",
        "" if site.norm is None else type(site.norm).__name__.removesuffix("Normalization"),
        _nonlinearity(site.activation),
        "all" if examples is None else f"{examples:,}",
    )


def _nonlinearity(activation):
    # Several nonlinearities are one function, which tells what it is made of.
    functions = getattr(activation, "functions", [activation])
    names = [_function_name(function) for function in functions]
    return ", ".join(name for name in names if name)


def _function_name(activation):
    if activation is activations.linear:
        return ""
    layer = getattr(activation, "__self__", activation)
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    return (name or getattr(layer, "__name__", None) or type(layer).__name__).lower()


def _memory(batch_size, filled, needed):
    batch = f"{batch_size:,}"
    if filled > batch_size:
        batch += f", filled up to {filled:,} by replay,"
    return (
        f" For a batch of {batch} the rule keeps {mebibytes(needed)} beside the model: the batch,\n"
        " examples, new weights, running means and replay. A teacher is not counted.\n"
    )


def _with_sizes(rows, turned):
    # What learns comes first.
    shown = ["" if size is None else f"{size:.2g}" for size in turned]
    shown += [""] * (len(rows) - len(shown))
    return [(*row, size) for row, size in zip(rows, shown, strict=True)]


def _table(title, columns, rows):
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console = Console(width=shutil.get_terminal_size((100, 24)).columns)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
