"""Supervised training of the same network on the same few labels."""

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_learned_rule.baselines.supervised_learner import SupervisedLearner, check_supervised
from keras_learned_rule.fit.few_shot_splits import few_shot_splits
from keras_learned_rule.fit.readout import FewShotResult


def supervised_accuracy(
    model: keras.Model,
    x: ArrayLike,
    y: ArrayLike,
    shots: int = 10,
    repeats: int = 20,
    seed: int = 0,
    steps: int = 400,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    early_stopping: bool = False,
) -> FewShotResult:
    """Measures the accuracy of a network trained by backprop on a few labels a class.

    A softmax layer is put on a copy of `model`, and all of it is trained by Adam. The labelled
    and the test examples are those of `few_shot_accuracy` with the same `y`, `shots`, `repeats`
    and `seed`, and accuracy is again the mean over classes. Each repeat starts from the weights
    of `model`, which itself stays as it is, and from a softmax layer of zeros. All repeats train
    side by side. Batch normalisation is tested with the statistics of the examples learned from.

    Args:
        model: built `keras.Model` that makes features `[n, ...]`, usually freshly initialised: a
            chain of Dense, BatchNormalization and layers without weights.
        x: array `[n, ...]`, what `model` takes.
        y: integer labels `[n]`.
        shots: int, labelled examples of each class. Defaults to `10`.
        repeats: int, how many draws. Defaults to `20`.
        seed: int, which draws. Defaults to `0`.
        steps: int, Adam steps, a multiple of 25. Defaults to `400`.
        batch_size: int, examples of a step, drawn from the labelled ones. Defaults to `32`.
        learning_rate: float, of Adam. Defaults to `1e-3`.
        early_stopping: bool, whether to learn from half of the labelled examples of each class
            (one more than the other half where `shots` is odd) and to end with the weights that
            had the least loss on the other half, looked at every 25 steps. Defaults to `False`.

    Returns:
        A `FewShotResult`.

    Raises:
        ValueError: if `steps` is not a positive multiple of 25, if `early_stopping` is asked for
            with a single labelled example of each class, if `model` has a layer of another kind,
            or if `y`, `shots` and `repeats` do not suit `few_shot_splits`.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule.baselines.supervised import supervised_accuracy

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16, "relu")])
    x, y = np.repeat(np.eye(3), 20, axis=0), np.repeat([0, 1, 2], 20)
    result = supervised_accuracy(model, x, y, shots=5, repeats=2, learning_rate=0.01)
    assert result.mean == 1.0
    ```
    """
    check_supervised(steps, shots, early_stopping)
    few_shot_splits(y, shots, repeats, seed)
    learner = SupervisedLearner(model, x, len(np.unique(y)), repeats, learning_rate)
    return learner.accuracy(model, x, y, shots, seed, steps, batch_size, early_stopping)
