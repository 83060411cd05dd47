"""What stays the same from meta-update to meta-update."""

import dataclasses

from keras_learned_rule.meta.estimators import TruncatedBackprop
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

    Raises:
        ValueError: clip_norm is not positive.
    """

    rule: RuleSpec
    objective: ObjectiveSpec = ObjectiveSpec()
    estimator: TruncatedBackprop = TruncatedBackprop()
    clip_norm: float = 1.0
    remat: bool = True
    vectorize: bool = False

    def __post_init__(self):
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive. Received: {self.clip_norm!r}")
