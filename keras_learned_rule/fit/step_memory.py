"""What a step of the rule keeps in memory beside the model, and whether the machine has that."""

import math
import pathlib
import warnings

import keras

from keras_learned_rule.fit.replay import kept_bytes

_FLOAT_BYTES = 4
_MEBIBYTE = 2**20
# Beside what is counted a step holds standardised copies, and the activations of the model.
_SHARE = 0.5
_MEMINFO = pathlib.Path("/proc/meminfo")


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


def step_bytes(spec, sites, limit, batch_size, least, inputs):
    """Bytes of the batch, examples, new weights and running means of a step, and of replay.

    None for a rule with a neuron network, for which they are not known.

    Args:
        spec: `RuleSpec` of the rule.
        sites: List of `Site`.
        limit: How many positions a site looks at, at most, or None for all.
        batch_size: Positive integer, the examples of a batch that is filled up.
        least: To how many examples batches are filled up, 0 for never.
        inputs: Nested structure of the `keras.KerasTensor` that the model is called with.
    """
    if spec.neuron_network:
        return None
    # An axis of unknown size counts once.
    shapes = [tensor.shape[1:] for tensor in keras.tree.flatten(inputs)]
    batch = batch_size * sum(math.prod(n or 1 for n in shape) for shape in shapes)
    numbers = batch + sum(_numbers(site, limit, batch_size) for site in sites)
    return _FLOAT_BYTES * numbers + kept_bytes(least, inputs)


def _numbers(site, limit, batch_size):
    lower, upper = site.matrix_shape
    examples = step_examples(site, limit, batch_size) or batch_size
    # Examples with pre- and post-activations; new weights and the running competition.
    return examples * (lower * site.kind.groups + 2 * upper) + 2 * lower * upper


def mebibytes(count):
    """Bytes as a text in MiB."""
    return f"{count / _MEBIBYTE:,.1f} MiB"


def available_bytes():
    """Memory that the machine, not an accelerator, has left; None where that is not known."""
    if not _MEMINFO.is_file():
        return None
    lines = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0]) if "MemAvailable" in lines else None


def warn_of_memory(needed, batch_size):
    """Warns if a step needs more than half of what the machine has left.

    Args:
        needed: What `step_bytes` returned.
        batch_size: For which batch.
    """
    available = available_bytes()
    if None not in (needed, available) and needed > _SHARE * available:
        warnings.warn(
            f"A step of the rule on {batch_size:,} examples keeps {mebibytes(needed)} beside the "
            f"model, and the machine has {mebibytes(available)} left. Let it look at fewer "
            "positions (`examples=1024`), keep no earlier examples (`replay=0`), make batches "
            "smaller, or make the inputs smaller. `LearnedRule.summary` lists the layers.",
            stacklevel=3,
        )
