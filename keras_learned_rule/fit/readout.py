"""Few-shot readout: how well frozen features tell classes apart from few labels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_learned_rule.checks import check, integer, number, one_of
from keras_learned_rule.fit.checks import check_lengths
from keras_learned_rule.fit.chosen_penalty import logistic_chosen, ridge_chosen
from keras_learned_rule.fit.few_shot_splits import few_shot_splits, labelled_classes
from keras_learned_rule.fit.inputs import dense

_READOUTS, _PENALTIES = ("ridge", "logistic"), ("default", "chosen")
# Per labelled example, in units of the variance of a standardised feature.
_RIDGE_PENALTY = 0.1


class FewShotResult(NamedTuple):
    """Few-shot accuracy over repeated draws of the labelled examples.

    Prints as "0.931 ± 0.002 (20 draws)".

    Attributes:
        mean: float, mean accuracy over the draws, 0 to 1.
        standard_error: float, standard error of that mean over draws of labels for the same
            features; NaN for a single draw.
        accuracies: float64 array `[repeats]`.

    Example:
    ```python
    from keras_learned_rule.fit.readout import FewShotResult

    result = FewShotResult.of([0.5, 0.7])
    assert abs(result.mean - 0.6) < 1e-9 and abs(result.standard_error - 0.1) < 1e-9
    ```
    """

    mean: float
    standard_error: float
    accuracies: np.ndarray

    def __str__(self):
        return f"{self.mean:.3f} ± {self.standard_error:.3f} ({len(self.accuracies)} draws)"

    @classmethod
    def of(cls, accuracies: ArrayLike) -> "FewShotResult":
        """Summarises the accuracies of the draws.

        Args:
            accuracies: array-like `[repeats]`.

        Returns:
            A `FewShotResult`.
        """
        accuracies = np.asarray(accuracies, np.float64)
        repeats = len(accuracies)
        error = accuracies.std(ddof=1) / np.sqrt(repeats) if repeats > 1 else np.nan
        return cls(float(accuracies.mean()), float(error), accuracies)


def few_shot_accuracy(
    model: keras.Model | Callable[[Any], ArrayLike] | None,
    x: Any,
    y: ArrayLike,
    shots: int = 10,
    repeats: int = 20,
    seed: int = 0,
    readout: str = "ridge",
    batch_size: int = 1024,
    penalty: str = "default",
) -> FewShotResult:
    """Measures the accuracy of a linear readout trained on a few labels a class.

    Each repeat draws `shots` examples of every class, standardises the features with their
    mean and standard deviation, trains the readout on them alone, and tests it on all other
    examples. Accuracy is the mean of the accuracies of the classes, so that classes count
    equally whatever their sizes.

    Args:
        model: what makes features of `x`: a built `keras.Model`, whose `predict` is used; any
            other callable, called once with `x`; or `None` if `x` holds the features already.
            The features are its one output, which may be in a dict. They are flattened to
            `[n, features]`.
        x: array-like `[n, ...]`, dense or sparse; or a list or dict of arrays `[n, ...]` for a
            model with several inputs.
        y: integer labels `[n]`, any integers from 0. Examples with a negative label count as
            unlabelled: a warning says how many, and they are left out.
        shots: int, labelled examples of each class. Defaults to `10`.
        repeats: int, how many draws. Defaults to `20`.
        seed: non-negative int, which draws. Defaults to `0`.
        readout: `"ridge"`, closed-form ridge regression of the one-hot labels, with a penalty
            of 0.1 for each labelled example, or `"logistic"`, scikit-learn's logistic
            regression with its default penalty. Defaults to `"ridge"`.
        batch_size: int, for `predict` of a Keras model. Defaults to `1024`.
        penalty: `"default"`, or `"chosen"`: the best of a few for the labelled examples of each
            draw, by leaving one out (ridge) or by folds (logistic); see `ridge_chosen` and
            `logistic_chosen`. Defaults to `"default"`.

    Returns:
        A `FewShotResult`: mean, standard error and accuracies.

    Raises:
        ValueError: if `readout` or `penalty` is unknown, `model` has several outputs, the features
            are not finite or not as many as labels, or `y`, `shots`, `repeats` and `seed` do not
            suit `few_shot_splits`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule import few_shot_accuracy

    features, y = np.repeat(np.eye(3), 20, axis=0), np.repeat([0, 1, 2], 20)
    assert few_shot_accuracy(None, features, y, shots=5).mean == 1.0
    ```
    """
    check("readout", readout, one_of(_READOUTS))
    check("penalty", penalty, one_of(_PENALTIES))
    check("batch_size", batch_size, integer(least=1))
    y = np.asarray(y)
    splits = few_shot_splits(y, shots, repeats, seed)
    # Without a model a list holds rows of features, not several inputs.
    x = np.asarray(x) if model is None and isinstance(x, (list, tuple)) else x
    check_lengths(x, y)
    features = _features(model, x, batch_size, len(y))
    predict = _chosen_predictions if penalty == "chosen" else _default_predictions
    predictions = predict(readout, features, y, splits)
    return FewShotResult.of(
        [
            class_mean_accuracy(y[test], labels)
            for (_, test), labels in zip(splits, predictions, strict=True)
        ]
    )


def class_mean_accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Averages the accuracies of the classes.

    Args:
        y: true labels `[n]`.
        predicted: predicted labels `[n]`.

    Returns:
        A float, 0 to 1: the mean over classes of the part of a class that is right.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.fit.readout import class_mean_accuracy

    assert class_mean_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])) == 0.5
    ```
    """
    return float(np.mean([np.mean(predicted[y == label] == label) for label in np.unique(y)]))


def _features(model, x, batch_size, examples):
    if isinstance(model, keras.Model):
        features = _one_array(model.predict(x, batch_size=batch_size, verbose=0))
    else:
        features = x if model is None else model(x)
        features = _one_array(features) if isinstance(features, dict) else features
    features = keras.ops.convert_to_numpy(dense(features)).astype(np.float64)
    if features.ndim < 1 or len(features) != examples:
        raise ValueError(
            f"`model` must give features for each of the {examples} examples of `x`. "
            f"Received: features of shape {features.shape}"
        )
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).reshape(len(features), -1).all(axis=1)).sum())
        raise ValueError(
            f"Features must be finite. Received: NaN or infinity in those of {bad} examples"
        )
    return features.reshape(len(features), -1)


def _one_array(outputs):
    arrays = keras.tree.flatten(outputs)
    if len(arrays) != 1:
        raise ValueError(
            "`model` must have one output, the features. Pass a model that ends there, or the "
            "features as `x` with model=None. "
            f"Received: {len(arrays)} outputs in {type(outputs).__name__}"
        )
    return arrays[0]


def ridge_readout(
    features: ArrayLike, targets: ArrayLike, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Solves ridge regression with an intercept in closed form, in float64.

    Minimises the sum over examples and targets of (features kernel + bias - targets)^2 plus
    penalty * sum(kernel^2); the bias is not penalised.

    Args:
        features: array-like `[n, features]`.
        targets: array-like `[n, targets]`.
        penalty: float, above 0.

    Returns:
        `kernel` `[features, targets]` and `bias` `[targets]`, float64.

    Raises:
        ValueError: if `penalty` is not above 0.

    Example:
    ```python
    from keras_learned_rule.fit.readout import ridge_readout

    kernel, bias = ridge_readout([[-1.0], [1.0]], [[1.0], [5.0]], penalty=2.0)
    assert kernel.tolist() == [[1.0]] and bias.tolist() == [3.0]
    ```
    """
    check("penalty", penalty, number(above=0))
    features, targets = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    centre, offset = features.mean(axis=0), targets.mean(axis=0)
    centred, residual = features - centre, targets - offset
    examples, width = features.shape
    # The two forms are equal; the smaller system is solved.
    if width <= examples:
        gram = centred.T @ centred + penalty * np.eye(width)
        kernel = np.linalg.solve(gram, centred.T @ residual)
    else:
        gram = centred @ centred.T + penalty * np.eye(examples)
        kernel = centred.T @ np.linalg.solve(gram, residual)
    return kernel, offset - centre @ kernel


def _default_predictions(readout, features, y, splits):
    predict = _ridge_labels if readout == "ridge" else _logistic_labels
    return [predict(features[train], y[train], features[test]) for train, test in splits]


def _chosen_predictions(readout, features, y, splits):
    predict = ridge_chosen if readout == "ridge" else logistic_chosen
    labels = labelled_classes(y)
    classes = np.searchsorted(labels, y)
    parts = [standardised(features[train], features[test]) for train, test in splits]
    train, test = (np.stack(arrays) for arrays in zip(*parts, strict=True))
    return labels[predict(train, classes[[rows for rows, _ in splits]], test)[0]]


def _ridge_labels(train, y_train, test):
    train, test = standardised(train, test)
    labels = np.unique(y_train)
    targets = (y_train[:, None] == labels).astype(np.float64)
    kernel, bias = ridge_readout(train, targets, _RIDGE_PENALTY * len(train))
    return labels[np.argmax(test @ kernel + bias, axis=1)]


def _logistic_labels(train, y_train, test):
    from sklearn.linear_model import LogisticRegression

    train, test = standardised(train, test)
    return LogisticRegression(max_iter=1000).fit(train, y_train).predict(test)


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardises features by those of the labelled examples.

    Args:
        train: float array `[n, features]`.
        test: float array `[m, features]`.

    Returns:
        Both, minus the mean of `train`, over its standard deviation. Features that are constant in
        `train` become 0.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.fit.readout import standardised

    train, test = standardised(np.array([[0.0], [4.0]]), np.array([[6.0]]))
    assert train.tolist() == [[-1.0], [1.0]] and test.tolist() == [[2.0]]
    ```
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # A feature that is constant but for rounding would be blown up into noise.
    deviation[deviation <= 1e-6 * deviation.max()] = np.inf
    return (train - mean) / deviation, (test - mean) / deviation
