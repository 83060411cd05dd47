"""A table of what the rule will train of a model, and what a step keeps in memory for it."""

import math
import shutil

from keras import activations
from rich.console import Console
from rich.table import Table

_FLOAT_BYTES = 4
_COLUMNS = ("layer", "learns", "inputs x units", "normalisation", "nonlinearity", "examples")


def print_summary(model, sites, limit, batch_size, print_fn=None):
    """Prints the table, as `model.summary()` prints the model's.

    Args:
        model: The `keras.Model`.
        sites: `Sites` of it.
        limit: How many positions a site looks at, at most, or None for all.
        batch_size: Positive integer, for which examples and memory are counted.
        print_fn: Function of a string. Defaults to `print`.
    """
    rows = [_learning_row(site, limit, batch_size) for site in sites.learning]
    rows += [(layer.path, f"no: {reason}", "", "", "", "") for layer, reason in sites.left.items()]
    text = _table(f'The rule on model "{model.name}"', rows)
    memory = sum(_bytes(site, limit, batch_size) for site in sites.learning)
    text += f" For a batch of {batch_size} the rule keeps {_mebibytes(memory)} beside the model.\n"
    (print_fn or print)(text)


def step_examples(site, limit, batch_size):
    """How many examples a step looks at, None where the size of an axis is unknown.

    Args:
        site: A `Site`.
        limit: How many positions at most, or None for all.
        batch_size: Positive integer.
    """
    counts = []
    for use in site.uses:
        positions = math.prod(use.positions) if None not in use.positions else None
        total = None if positions is None else batch_size * positions
        counts.append(total if use.whole or limit is None else min(limit, total or limit))
    return None if None in counts else sum(counts)


def _learning_row(site, limit, batch_size):
    lower, upper = site.matrix_shape
    groups = f"{site.kind.groups} x " if site.kind.groups > 1 else ""
    examples = step_examples(site, limit, batch_size)
    return (
        site.kind.layer.path,
        "yes",
        f"{groups}{lower:,} x {upper // site.kind.groups:,}",
        "" if site.norm is None else type(site.norm).__name__.removesuffix("Normalization"),
        _nonlinearity(site.activation),
        "all" if examples is None else f"{examples:,}",
    )


def _nonlinearity(activation):
    if activation is activations.linear:
        return ""
    layer = getattr(activation, "__self__", activation)
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    return (name or getattr(layer, "__name__", None) or type(layer).__name__).lower()


def _bytes(site, limit, batch_size):
    lower, upper = site.matrix_shape
    examples = step_examples(site, limit, batch_size) or batch_size
    # Examples with pre- and post-activations; new weights and the running competition.
    numbers = examples * (lower * site.kind.groups + 2 * upper) + 2 * lower * upper
    return _FLOAT_BYTES * numbers


def _mebibytes(count):
    return f"{count / 2**20:,.1f} MiB"


def _table(title, rows):
    table = Table(title=title, title_justify="left")
    for column in _COLUMNS:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console = Console(width=shutil.get_terminal_size((100, 24)).columns)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
