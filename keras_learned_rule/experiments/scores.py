"""Few-shot accuracies as the experiments report them: readouts with chosen penalties."""

import numpy as np

from keras_learned_rule.fit.chosen_penalty import ridge_chosen
from keras_learned_rule.fit.readout import class_mean_accuracy, few_shot_accuracy, standardised

READOUTS = ("ridge", "logistic")
SHOTS = (1, 3, 5, 10, 30)
SPLITS = 20


def few_shot_scores(features, y, seed, shots=SHOTS, splits=SPLITS, readouts=READOUTS):
    """Few-shot accuracy by readout and labels a class.

    Args:
        features: array `[n, units]`.
        y: int labels `[n]`.
        seed: int, which splits: every method gets the same.
        shots: labels a class. Defaults to 1, 3, 5, 10 and 30.
        splits: int, draws of the labelled examples. Defaults to `20`.
        readouts: of "ridge" and "logistic". Defaults to both.

    Returns:
        A dict such as `{"ridge": {"1": 0.3, "3": 0.5}}`, means over the splits.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.scores import few_shot_scores

    y = np.repeat([0, 1, 2], 20)
    scores = few_shot_scores(np.eye(3)[y], y, seed=0, shots=(1, 5))
    assert scores["ridge"]["5"] == 1.0
    ```
    """
    return {
        readout: {
            str(k): rounded(
                few_shot_accuracy(
                    None, features, y, k, splits, seed, readout, penalty="chosen"
                ).mean
            )
            for k in shots
        }
        for readout in readouts
    }


def accuracy(features, y, seed, shots=10, splits=SPLITS):
    """Few-shot accuracy of the ridge readout, where an experiment reports a single number.

    Args:
        features, y, seed, splits: see `few_shot_scores`.
        shots: int, labels a class. Defaults to `10`.

    Returns:
        A float.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.scores import accuracy

    y = np.repeat([0, 1, 2], 20)
    assert accuracy(np.eye(3)[y], y, seed=0) == 1.0
    ```
    """
    return few_shot_scores(features, y, seed, (shots,), splits, ("ridge",))["ridge"][str(shots)]


def probe_accuracy(features, y, features_test, y_test):
    """Accuracy of ridge regression on all labels: a linear probe.

    Features are standardised by the labelled examples, and the penalty has the least leave-one-out
    error on them, as in few-shot readouts.

    Args:
        features: array `[n, units]`.
        y: int labels `[n]`.
        features_test: array `[m, units]`.
        y_test: int labels `[m]`.

    Returns:
        A float, mean over classes.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.scores import probe_accuracy

    y = np.repeat([0, 1, 2], 20)
    assert probe_accuracy(np.eye(3)[y], y, np.eye(3), np.arange(3)) == 1.0
    ```
    """
    known, unknown = standardised(features, features_test)
    classes, index = np.unique(y, return_inverse=True)
    predicted, _ = ridge_chosen(known[None], index[None], unknown[None])
    return rounded(class_mean_accuracy(y_test, classes[predicted[0]]))


def rounded(number, digits=4):
    """A float with as many digits as mean something, for results files."""
    return round(float(number), digits)
