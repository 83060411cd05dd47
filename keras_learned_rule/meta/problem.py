"""What stays the same from meta-update to meta-update."""

import dataclasses

from keras_learned_rule.checks import (
    check,
    check_fields,
    dict_of,
    flag,
    instance_of,
    integer,
    number,
    optional,
)
from keras_learned_rule.meta.estimators import PersistentES, TruncatedBackprop
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import theta_shapes

KINDS = {
    "objective": instance_of(ObjectiveSpec),
    "clip_norm": number(above=0),
    "remat": flag(),
    "vectorize": flag(),
    "scored": optional(integer(least=1)),
}


# Equal only to itself: what was compiled for one problem must not serve another that differs in the
# arrays of `frozen`.
@dataclasses.dataclass(frozen=True, eq=False)
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
        scales: Dict from names of theta's arrays to positive numbers, how far a typical change of
            each goes. Meta-training works on theta divided by them, so that a perturbation or a
            step of Adam is as much larger. Defaults to 1 for all.
        frozen: Dict of those arrays of theta that stay as they are. Defaults to none.

    Raises:
        ValueError: clip_norm is not positive, scored not a positive integer or None, scales not
            of arrays of theta and positive, or frozen not of arrays of theta or of all of them.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.meta.problem import Problem

    problem = Problem(RuleSpec.compact(), scales={"merge/bias_target": 10.0})
    assert problem.scaled({"merge/bias_target": 5.0}) == {"merge/bias_target": 0.5}
    ```
    """

    rule: RuleSpec
    objective: ObjectiveSpec = ObjectiveSpec()
    estimator: TruncatedBackprop | PersistentES = TruncatedBackprop()
    clip_norm: float = 1.0
    remat: bool = True
    vectorize: bool = False
    scored: int | None = None
    scales: dict = dataclasses.field(default_factory=dict)
    frozen: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check("Problem.rule", self.rule, instance_of(RuleSpec))
        known = theta_shapes(self.rule)
        check_fields(self, KINDS | {"scales": dict_of(known, number(above=0))})
        if not set(self.frozen) < set(known):
            raise ValueError(
                f"frozen must be some arrays of theta, out of {list(known)}. "
                f"Received: {list(self.frozen)}"
            )

    @property
    def exchanges_losses(self):
        """Whether replicas send each other losses in place of gradients."""
        return getattr(self.estimator, "exchange", "gradients") == "losses"

    def scaled(self, theta):
        """What meta-training works on: theta over its scales, without frozen arrays."""
        learned = {name: a for name, a in theta.items() if name not in self.frozen}
        return {name: a / self.scales.get(name, 1.0) for name, a in learned.items()}

    def theta(self, scaled):
        """The inverse of `scaled`."""
        learned = {name: a * self.scales.get(name, 1.0) for name, a in scaled.items()}
        return {**learned, **self.frozen}
