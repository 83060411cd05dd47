"""Checks all settings of a run in one place, before anything is loaded or written."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from keras_learned_rule.checks import (
    Kind,
    check,
    check_all,
    dict_of,
    file_path,
    flag,
    instance_of,
    integer,
    list_of,
    number,
    optional,
    text,
)
from keras_learned_rule.meta import problem
from keras_learned_rule.meta.estimators import TruncatedBackprop
from keras_learned_rule.meta.families import TaskFamily
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.run import Intervals
from keras_learned_rule.meta.schedule import Horizon
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import theta_shapes

# Seeds and numbers of updates are int32 on devices.
_LARGEST = 2**31 - 1


def _made_by(kind):
    return instance_of(kind, f"in gin, call it: @{kind.__name__}()")


def _is_estimator(value):
    instance = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return instance and callable(value) and callable(getattr(value, "start", None))


_FAMILY = _made_by(TaskFamily)
_ESTIMATOR = Kind("an estimator (in gin, call it: @PersistentES())", _is_estimator)
# Every parameter of `train`.
KINDS = {
    "run_dir": file_path(),
    "rule": instance_of(RuleSpec, "in gin, call @compact_rule()"),
    "families": list_of(_FAMILY),
    "updates": integer(1, _LARGEST),
    "held_out": list_of(_FAMILY, least=0),
    "horizon": optional(_made_by(Horizon)),
    "objective": optional(_made_by(ObjectiveSpec)),
    "estimator": optional(_ESTIMATOR),
    "learning_rate": number(least=0),
    "clip_norm": problem.KINDS["clip_norm"],
    "buckets_a_update": optional(integer(least=1)),
    "remat": problem.KINDS["remat"],
    "vectorize": problem.KINDS["vectorize"],
    "scored": problem.KINDS["scored"],
    "scales": optional(Kind("a dict", lambda value: isinstance(value, dict))),
    "frozen": list_of(text(), least=0),
    "evaluation_steps": integer(1, _LARGEST),
    "intervals": optional(_made_by(Intervals)),
    "max_skipped_updates": integer(least=1),
    "start_from": optional(file_path()),
    "start_values": optional(Kind("a dict", lambda value: isinstance(value, dict))),
    "tensorboard": flag(),
    "dry_run": flag(),
    "seed": integer(0, _LARGEST),
}


def checked_settings(given: Mapping[str, Any]) -> types.SimpleNamespace:
    """Checks the arguments of `train` and fills in what is made anew for each run.

    Args:
        given: Dict from all parameters of `train` to their values.

    Returns:
        The same as a namespace, of plain Python objects.

    Raises:
        ValueError: A setting is of another kind than `KINDS` says, or `scales` does not fit the
            rule. The message names the gin parameter.
    """
    settings = types.SimpleNamespace(**check_all("train", given, KINDS))
    known = dict_of(theta_shapes(settings.rule), number(above=0))
    settings.scales = check("train.scales", settings.scales, optional(known))
    # Made here rather than as default values, so that they are as gin says now.
    settings.horizon = settings.horizon or Horizon()
    settings.objective = settings.objective or ObjectiveSpec()
    settings.estimator = settings.estimator or TruncatedBackprop()
    settings.intervals = settings.intervals or Intervals()
    return settings


def check_buckets(settings: types.SimpleNamespace, buckets: int) -> None:
    """Checks what depends on the number of buckets.

    Args:
        settings: From `checked_settings`.
        buckets: Positive integer.

    Raises:
        ValueError: `buckets_a_update` is more, or the seeds derived for buckets would not be int32.
    """
    check("train.buckets_a_update", settings.buckets_a_update, optional(integer(1, buckets)))
    check("train.seed", settings.seed, integer(0, _LARGEST // buckets - 1))
