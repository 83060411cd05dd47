"""The experiments by name, in the order of the report."""

import importlib

from keras_learned_rule.checks import check, one_of

NAMES = (
    "few_shot",
    "text",
    "objective_mismatch",
    "permuted_features",
    "architectures",
    "filters",
    "embeddings",
    "conv",
    "fine_tune",
    "length",
    "cost",
)


def load(name):
    """Imports one experiment.

    Args:
        name: one of `NAMES`.

    Returns:
        A module with `TITLE`, `ABOUT`, and functions `groups(setting)`, which gin configures by the
        experiment's name, `tables(results)`, `findings(results)` and `draw(results, path)`.

    Raises:
        ValueError: There is no such experiment.

    Example:
    ```python
    from keras_learned_rule.experiments.registry import load

    assert "Figure 5" in load("architectures").TITLE
    ```
    """
    check("name", name, one_of(NAMES))
    return importlib.import_module(f"keras_learned_rule.experiments.{name}")


def load_all():
    """All experiments, a dict from name to module."""
    return {name: load(name) for name in NAMES}
