"""How long inner loops and truncations are, and how that grows over meta-training."""

import dataclasses

import gin
import numpy as np


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
        object.__setattr__(self, "first_lengths", tuple(self.first_lengths or self.lengths))
        object.__setattr__(self, "lengths", tuple(self.lengths))
        object.__setattr__(self, "truncations", tuple(sorted(self.truncations)))
        for name in ("lengths", "first_lengths"):
            pair = getattr(self, name)
            if len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
                raise ValueError(f"{name} must be (shortest, longest), from 1. Received: {pair}")
        if not self.truncations or self.truncations[0] < 1:
            raise ValueError(
                f"truncations must be numbers of at least 1. Received: {self.truncations}"
            )
        if self.grow_updates < 0:
            raise ValueError(f"grow_updates must be at least 0. Received: {self.grow_updates}")

    def _grown(self, update):
        return min(1.0, update / self.grow_updates) if self.grow_updates else 1.0

    def range_at(self, update):
        """(shortest, longest) inner loop that starts at a meta-update, as floats."""
        grown = self._grown(update)
        first, last = np.log(self.first_lengths), np.log(self.lengths)
        return tuple(float(n) for n in np.round(np.exp(first + grown * (last - first)), 6))

    def truncations_at(self, update):
        """The truncations that a meta-update draws from."""
        count = 1 + int(self._grown(update) * (len(self.truncations) - 1))
        return self.truncations[:count]
