"""The groups of cells of an experiment that runs several methods on several data sets.

They are named "data set/method".
"""

import functools

from keras_learned_rule.experiments.cells import Group
from keras_learned_rule.experiments.tasks import TaskSource


def groups_of(methods, data_sets, tests, seeds, data_dir):
    """A group of cells for each method and data set.

    Args:
        methods: dict from name to (settings, prepare), cheap and important methods first: a run
            that is cut short then has them on all data. `prepare` is a function of a function
            without arguments that gives the `TaskSource`; see `Group`.
        data_sets: names for `TaskSource`.
        tests: int, test examples.
        seeds: int.
        data_dir: see `TaskSource`.

    Returns:
        A list of `Group`.
    """
    sources = {
        data: functools.cache(functools.partial(TaskSource, data, tests, data_dir))
        for data in data_sets
    }
    return [
        Group(
            f"{data}/{name}",
            {"data": data, "tests": tests, **settings},
            range(seeds),
            functools.partial(prepare, source),
        )
        for name, (settings, prepare) in methods.items()
        for data, source in sources.items()
    ]


def data_of(results):
    """The data sets in results, as `CellStore.results` returns them, in their order."""
    return list(dict.fromkeys(name.split("/")[0] for name in results))
