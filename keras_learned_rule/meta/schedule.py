"""How long inner loops and truncations are, and how that grows over meta-training."""

import dataclasses

import gin
import numpy as np

from keras_learned_rule.checks import check_fields, integer, list_of, optional, span

# Inner steps are counted in int32 on devices.
_MOST = 2**31 - 1
_KINDS = {
    "lengths": span(1, _MOST),
    "truncations": list_of(integer(1, _MOST)),
    "first_lengths": optional(span(1, _MOST)),
    "grow_updates": integer(least=0),
}


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Horizon:
    """The distribution of inner loops' lengths N and of truncations K.

    N is log-uniform in a range that moves, on a logarithmic scale, from `first_lengths` to
    `lengths` over the first `grow_updates` meta-updates. K is one of `truncations`, the same for
    all tasks of a meta-update; at first only the shortest, then, at even intervals, one more.

    Args:
        lengths: (shortest, longest) inner loop.
        truncations: Numbers K of inner steps between meta-updates. Each is compiled on its own.
        first_lengths: As `lengths`, at the start. Defaults to `lengths`.
        grow_updates: Meta-updates over which both grow. Defaults to `0`.

    Raises:
        ValueError: A field is out of range.

    Example:
    ```python
    from keras_learned_rule.meta.schedule import Horizon

    horizon = Horizon((100, 400), (10, 20), first_lengths=(10, 40), grow_updates=1000)
    assert horizon.range_at(0) == (10.0, 40.0) and horizon.truncations_at(0) == (10,)
    assert horizon.range_at(2000) == (100.0, 400.0) and horizon.truncations_at(2000) == (10, 20)
    ```

    Reference: Metz et al., ICLR 2019, section 4.2 and appendix D.
    """

    lengths: tuple = (30, 300)
    truncations: tuple = (20,)
    first_lengths: tuple | None = None
    grow_updates: int = 0

    def __post_init__(self):
        check_fields(self, _KINDS)
        object.__setattr__(self, "first_lengths", self.first_lengths or self.lengths)
        object.__setattr__(self, "truncations", tuple(sorted(self.truncations)))

    def _grown(self, update):
        return min(1.0, update / self.grow_updates) if self.grow_updates else 1.0

    def range_at(self, update: int) -> tuple[float, float]:
        """(shortest, longest) inner loop that starts at a meta-update, as floats."""
        grown = self._grown(update)
        first, last = np.log(np.array([self.first_lengths, self.lengths]))
        shortest, longest = np.round(np.exp(first + grown * (last - first)), 6)
        return float(shortest), float(longest)

    def truncations_at(self, update: int) -> tuple[int, ...]:
        """The truncations that a meta-update draws from."""
        count = 1 + int(self._grown(update) * (len(self.truncations) - 1))
        return self.truncations[:count]
