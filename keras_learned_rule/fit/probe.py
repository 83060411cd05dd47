"""Few-shot accuracy during a fit."""

from typing import Any

from numpy.typing import ArrayLike

from keras_learned_rule.checks import check, integer
from keras_learned_rule.fit import backends
from keras_learned_rule.fit.checks import check_lengths
from keras_learned_rule.fit.few_shot_splits import few_shot_splits
from keras_learned_rule.fit.inputs import InputForm
from keras_learned_rule.fit.readout import few_shot_accuracy
from keras_learned_rule.fit.unfitted_copies import UnfittedCopies
from keras_learned_rule.hints import Logs


class FewShotProbe(UnfittedCopies):
    """Adds `few_shot_accuracy` to the logs of an epoch; the labels teach the model nothing.

    Works in any fit, with or without `LearnedRule`. Callbacks that should see the value
    (EarlyStopping, ModelCheckpoint, TensorBoard) must be listed after this one.

    Args:
        x: Labelled examples in the model's input shape, array `[n, ...]`, dense or sparse; a list
            or dict of them for a model with several inputs.
        y: Their labels, integers `[n]`; negative ones count as unlabelled.
        shots: Labelled examples of each class that the readout learns from; all others test it.
            Defaults to `10`.
        repeats: Number of draws to average over. Defaults to `20`.
        every: Measure after every so many epochs. Defaults to `1`.
        seed: Which draws. Defaults to `0`.

    Raises:
        ValueError: An argument is wrong, or `y`, `shots` and `repeats` do not suit
            `few_shot_accuracy`; in `fit`, before training: `x` does not fit the model.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule import FewShotProbe, LearnedRule

    x, x_few, y_few = np.random.rand(256, 64), np.random.rand(40, 64), np.arange(40) % 4
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    model.compile()
    model.fit(x, callbacks=[LearnedRule(), FewShotProbe(x_few, y_few, shots=5)])
    ```
    """

    def __init__(
        self,
        x: Any,
        y: ArrayLike,
        shots: int = 10,
        repeats: int = 20,
        every: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check("seed", seed, integer(least=0))
        check("every", every, integer(least=1))
        check_lengths(x, y)
        few_shot_splits(y, shots, repeats, seed)
        self.x, self.y = x, y
        self.shots, self.repeats, self.every, self.seed = shots, repeats, every, seed

    def on_train_begin(self, logs: Logs = None) -> None:
        """Refuses examples and processes that could not measure after the first epoch."""
        backends.current().check_predicts()
        if getattr(self.model, "input_shape", None) is not None:
            InputForm(self.model).check(self.x, "x of the probe")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Measures and adds the accuracy to `logs`."""
        if (epoch + 1) % self.every == 0:
            result = few_shot_accuracy(
                self.model, self.x, self.y, self.shots, self.repeats, self.seed
            )
            logs["few_shot_accuracy"] = result.mean
