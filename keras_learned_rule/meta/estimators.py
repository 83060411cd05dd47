"""Estimators of the meta-gradient from K inner steps of one task.

An inner loop, for an estimator, is a function `run(theta, state) -> (losses [S], (state, extra))`
that takes its state K steps further. Nothing here knows what the state is.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import gin
from keras import ops, tree

from keras_learned_rule.checks import check_fields, integer, number, one_of
from keras_learned_rule.hints import Tensor, Tensors
from keras_learned_rule.meta.engines.base import Engine


class Estimate(NamedTuple):
    """What an estimator makes of K inner steps.

    Attributes:
        carried: What the inner loop carries to the next K steps.
        gradient: Estimate of the gradient of the mean loss, as theta.
        losses: [S], of the scored ones of the K steps.
        extra: What `run` returned beside the state; the mean, if it ran several times.
        slopes: [pairs] differences of the mean losses of antithetic copies, over 2 deviation^2;
            empty from an estimator without them.
    """

    carried: Any
    gradient: Any
    losses: Any
    extra: Any
    slopes: Any = ()


@gin.configurable
@dataclasses.dataclass(frozen=True)
class TruncatedBackprop:
    """Backpropagation through the K steps, with the state before them taken as given.

    Cheap and of low variance, but blind to what theta did to the steps before: biased.

    Example:
    ```python
    from keras_learned_rule.meta.estimators import TruncatedBackprop

    estimator = TruncatedBackprop()
    assert estimator.start(theta={}, state=1.0) == 1.0
    ```

    Reference: Metz et al., ICLR 2019, section 4.2.
    """

    def start(self, theta: Tensors, state: Any) -> Any:
        """What a new inner loop carries, from its first state."""
        del theta
        return state

    def __call__(
        self,
        engine: Engine,
        run: Callable[[Tensors, Any], tuple[Tensor, Any]],
        theta: Tensors,
        carried: Any,
        seed: Tensor,
    ) -> Estimate:
        """Estimates the meta-gradient.

        Args:
            engine: An `Engine`.
            run: See the module.
            theta: Dict of tensors.
            carried: From `start` or the last call.
            seed: [2] int32.

        Returns:
            An `Estimate`.
        """
        del seed

        def mean_loss(theta):
            losses, (state, extra) = run(theta, carried)
            return ops.mean(losses), (losses, state, extra)

        _, (losses, state, extra), gradient = engine.value_and_gradient(mean_loss, theta)
        return Estimate(state, gradient, losses, extra)


_PES_KINDS = {
    "deviation": number(above=0),
    "pairs": integer(least=1),
    "exchange": one_of(("gradients", "losses")),
}


@gin.configurable
@dataclasses.dataclass(frozen=True)
class PersistentES:
    """Persistent evolution strategies: antithetic perturbations of theta that add up over time.

    Each of `pairs` pairs of copies of the inner loop runs with theta plus and minus a normal
    perturbation, drawn anew every K steps; the loss difference is credited to the sum of all
    perturbations since the inner loop began. That makes the estimate unbiased for the loss
    smoothed by the perturbations, at a variance that grows with the number of truncations.

    Args:
        deviation: Standard deviation of a perturbation.
        pairs: Antithetic pairs a task.
        exchange: What replicas and processes send each other: "gradients", or "losses", from which
            each of them makes the gradient of all tasks again (docs/scaling.md).

    Raises:
        ValueError: A number is not positive, or there is no such exchange.

    Example:
    ```python
    from keras_learned_rule.meta.estimators import PersistentES

    estimator = PersistentES(deviation=0.01, pairs=2)
    ```

    Reference: Vicol, Metz, Sohl-Dickstein, ICML 2021, algorithm 2.
    """

    deviation: float = 0.05
    pairs: int = 4
    exchange: str = "gradients"

    def __post_init__(self):
        check_fields(self, _PES_KINDS)

    def start(self, theta: Tensors, state: Any) -> Any:
        """What a new inner loop carries: a state for each copy, and no perturbation yet."""
        copies = 2 * self.pairs
        return {
            "states": tree.map_structure(lambda a: ops.repeat(a[None], copies, axis=0), state),
            "sums": tree.map_structure(lambda a: ops.zeros((self.pairs, *a.shape), a.dtype), theta),
        }

    def __call__(
        self,
        engine: Engine,
        run: Callable[[Tensors, Any], tuple[Tensor, Any]],
        theta: Tensors,
        carried: Any,
        seed: Tensor,
    ) -> Estimate:
        """Estimates the meta-gradient; see `TruncatedBackprop`."""
        noise = self.noise(engine, theta, seed)
        sums = {name: carried["sums"][name] + noise[name] for name in theta}
        thetas = {n: a + ops.concatenate([noise[n], -noise[n]]) for n, a in theta.items()}
        copies = thetas, carried["states"]
        losses, (states, extra) = engine.each(lambda copy: run(*copy), copies)
        means = ops.mean(losses, axis=1)
        slopes = (means[: self.pairs] - means[self.pairs :]) / (2.0 * self.deviation**2)
        gradient = self.gradient(slopes, sums)
        carried = {"states": states, "sums": sums}
        extra = tree.map_structure(lambda a: ops.mean(a, axis=0), extra)
        return Estimate(carried, gradient, ops.mean(losses, axis=0), extra, slopes)

    def noise(self, engine: Engine, theta: Tensors, seed: Tensor) -> Tensors:
        """The perturbations of K steps, a dict of [pairs, ...]: a function of the seed."""
        return {
            name: self.deviation * engine.normal(engine.fold_in(seed, i), (self.pairs, *a.shape))
            for i, (name, a) in enumerate(theta.items())
        }

    def gradient(self, slopes: Tensor, sums: Tensors) -> Tensors:
        """The gradient of [pairs] slopes, each credited to the sum of all its perturbations."""
        return {name: ops.tensordot(slopes, s, axes=1) / self.pairs for name, s in sums.items()}
