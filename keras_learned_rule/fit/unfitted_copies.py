"""Copies and pickles of callbacks: as if no fit had been."""

from typing import Any, ClassVar

import keras


class UnfittedCopies(keras.callbacks.Callback):
    """A callback that is copied, deep-copied and pickled without what belongs to a fit.

    That is bound to the variables of a model, and a copy of them would learn beside the model.

    Attributes:
        of_a_fit: Names of the attributes that belong to a fit; they are None before the first.
    """

    of_a_fit: ClassVar[tuple[str, ...]] = ()

    def __getstate__(self) -> dict[str, Any]:
        """The attributes but for those of a fit, which are as at the beginning."""
        kept = {name: value for name, value in vars(self).items() if name not in self.of_a_fit}
        return {**kept, **dict.fromkeys(self.of_a_fit), **vars(keras.callbacks.Callback())}
