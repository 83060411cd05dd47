"""What stays the same from meta-update to meta-update."""

import dataclasses

from keras_learned_rule.meta.estimators import TruncatedBackprop
from keras_learned_rule.meta.field_checks import check_integer
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.rule.spec import RuleSpec


@dataclasses.dataclass(frozen=True)
class Problem:
    """The rule to learn, and how its meta-gradient is computed.

    Args:
        rule: A `RuleSpec`.
        objective: An `ObjectiveSpec`.
        estimator: What makes a meta-gradient out of K inner steps (`meta/estimators.py`).
        clip_norm: Largest global norm of one task's meta-gradient.
        remat: Whether inner steps are computed again in reverse mode instead of kept: memory
            then grows with K by little more than the network's weights, for about a third more
            arithmetic. On CPUs JAX is the faster for it (docs/performance.md).
        vectorize: Whether the tasks of a bucket are computed as one, instead of one after the
            other: faster on accelerators, slower on CPUs.
        scored: Of the K inner steps, how many of the last are scored and so count in the
            meta-loss; None for all.

    Raises:
        ValueError: clip_norm is not positive, or scored not a positive integer or None.
    """

    rule: RuleSpec
    objective: ObjectiveSpec = ObjectiveSpec()
    estimator: TruncatedBackprop = TruncatedBackprop()
    clip_norm: float = 1.0
    remat: bool = True
    vectorize: bool = False
    scored: int | None = None

    def __post_init__(self):
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive. Received: {self.clip_norm!r}")
        if self.scored is not None:
            check_integer("scored", self.scored, least=1)
