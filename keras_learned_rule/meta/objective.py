"""The meta-objective: how well few labels can be read off the features (SPEC section 6)."""

import dataclasses
from typing import Any, NamedTuple

import gin
from keras import ops

from keras_learned_rule.checks import check_fields, flag, number
from keras_learned_rule.hints import Tensor

_SHARE = number(least=0, most=1)
_KINDS = {
    "ridge": number(above=0),
    "normalize_predictions": flag(),
    "center_targets": flag(),
    "plus_minus_one": flag(),
    "hinge": flag(),
    "sharpness": number(least=0),
    "test_share": _SHARE,
    "normalize_features": flag(),
    "coefficient_share": _SHARE,
}


@gin.configurable
@dataclasses.dataclass(frozen=True)
class ObjectiveSpec:
    """Settings of the ridge-regression meta-objective; the defaults are the published ones.

    Args:
        ridge: Penalty on the readout weights; the bias is not penalised.
        normalize_predictions: Whether test predictions are scaled to unit length, which makes the
            loss a cosine distance.
        center_targets: Whether the mean over all entries is taken from the targets.
        plus_minus_one: Whether labels are coded -1/+1 instead of 0/1.
        hinge: Whether test errors below 1 are free.
        sharpness: If above 0, the test error is the probability of the other classes under a
            softmax of the predictions times this factor, instead of the squared error. With
            `normalize_predictions` and a factor of about 15 it follows accuracy, which the squared
            error may not: it also falls when wrong predictions become more alike.
        test_share: Share of the test error in the loss; the rest is the training error.
        normalize_features: Whether each feature is scaled to unit length over all examples.
        coefficient_share: Share of `coefficient_loss` in the meta-loss of tasks that distort their
            images; the rest is the loss of `ridge_objective`.

    Raises:
        ValueError: A field is out of range.
    """

    ridge: float = 0.1
    normalize_predictions: bool = True
    center_targets: bool = True
    plus_minus_one: bool = False
    hinge: bool = False
    sharpness: float = 0.0
    test_share: float = 1.0
    normalize_features: bool = False
    coefficient_share: float = 0.0

    def __post_init__(self):
        check_fields(self, _KINDS)


class RidgeResult(NamedTuple):
    """Scalars of one evaluation of the meta-objective, and the readout `w` [d + 1, classes]."""

    loss: Any
    mse_test: Any
    mse_train: Any
    ridge_component: Any
    accuracy_test: Any
    accuracy_train: Any
    w: Any


def ridge_objective(
    spec: ObjectiveSpec,
    features_train: Tensor,
    features_test: Tensor,
    labels_train: Tensor,
    labels_test: Tensor,
    classes: int,
) -> RidgeResult:
    """Fits a ridge readout on the training half and scores it on the test half.

    Args:
        spec: An `ObjectiveSpec`.
        features_train: [N, d] embedding of the labelled training examples.
        features_test: [M, d] likewise of the test examples, from the same forward pass.
        labels_train: [N] int32.
        labels_test: [M] int32.
        classes: Number of classes, static.

    Returns:
        A `RidgeResult`; `loss` is what meta-training minimises. Paper, section 3.1.

    Example:
    ```python
    import keras

    from keras_learned_rule.meta.objective import ObjectiveSpec, ridge_objective

    features = keras.random.normal((40, 8))
    labels = keras.ops.arange(20) % 4
    result = ridge_objective(ObjectiveSpec(), features[:20], features[20:], labels, labels, 4)
    loss = result.loss
    ```
    """
    if spec.normalize_features:
        features_train, features_test = _unit_columns(features_train, features_test)
    dtype = features_train.dtype
    y_train = prepared_targets(spec, labels_train, classes, dtype)
    y_test = prepared_targets(spec, labels_test, classes, dtype)
    w = _ridge_solution(features_train, y_train, spec.ridge)
    penalty = spec.ridge * ops.sum(ops.square(w[:-1])) / _rows(y_train)
    predicted_train, predicted_test = _predict(w, features_train), _predict(w, features_test)
    if spec.normalize_predictions:
        length = ops.sum(ops.square(predicted_test), axis=-1, keepdims=True)
        predicted_test = predicted_test * ops.rsqrt(ops.maximum(length, 1e-12))
    errors_test = _squared_error(predicted_test, y_test)
    mse_train = ops.mean(_squared_error(predicted_train, y_train))
    mse_test = ops.mean(ops.relu(errors_test - 1.0) if spec.hinge else errors_test)
    test_loss = penalty + mse_test
    if spec.sharpness:
        test_loss = _expected_error(spec.sharpness * predicted_test, labels_test)
    share = spec.test_share
    return RidgeResult(
        loss=test_loss * share + (penalty + mse_train) * (1.0 - share),
        mse_test=mse_test,
        mse_train=mse_train,
        ridge_component=penalty,
        accuracy_test=_accuracy(predicted_test, y_test),
        accuracy_train=_accuracy(predicted_train, y_train),
        w=w,
    )


def coefficient_loss(
    spec: ObjectiveSpec, features_train: Tensor, features_test: Tensor, train: Tensor, test: Tensor
) -> Tensor:
    """How badly the coefficients of the augmentations can be read from the features.

    Args:
        spec: An `ObjectiveSpec`.
        features_train: [N, d] embedding of the labelled training examples.
        features_test: [M, d] likewise of the test examples.
        train: [N, c] coefficients, of mean 0 and variance 1 in the distribution of tasks.
        test: [M, c] likewise.

    Returns:
        The mean squared error of ridge regression on the test examples, a scalar; about 1 for
        features that tell nothing. Paper, section 4.2.

    Example:
    ```python
    import keras

    from keras_learned_rule.meta.objective import ObjectiveSpec, coefficient_loss

    features, shifts = keras.random.normal((40, 8)), keras.random.normal((40, 2))
    loss = coefficient_loss(ObjectiveSpec(), features[:20], features[20:], shifts[:20], shifts[20:])
    ```
    """
    w = _ridge_solution(features_train, train, spec.ridge)
    return ops.mean(ops.square(_predict(w, features_test) - test))


def prepared_targets(spec: ObjectiveSpec, labels: Tensor, classes: int, dtype: str) -> Tensor:
    """One-hot targets [N, classes], centred and scaled to unit mean square length."""
    y = ops.one_hot(labels, classes, dtype=dtype)
    if spec.plus_minus_one:
        y = 2.0 * y - 1.0
    if spec.center_targets:
        y = y - ops.mean(y)
    return y * ops.rsqrt(ops.mean(ops.sum(ops.square(y), axis=-1)))


def _ridge_solution(features, targets, ridge):
    # Centring solves for the bias, which is not penalised, and keeps the system well conditioned.
    mean, target_mean = ops.mean(features, axis=0), ops.mean(targets, axis=0)
    centred, residual = features - mean, targets - target_mean
    examples, width = features.shape
    # The two forms are equal; the smaller system is solved.
    if width <= examples:
        gram = ops.matmul(ops.transpose(centred), centred)
        w = _regularised_solve(gram, ridge, ops.matmul(ops.transpose(centred), residual))
    else:
        gram = ops.matmul(centred, ops.transpose(centred))
        w = ops.matmul(ops.transpose(centred), _regularised_solve(gram, ridge, residual))
    return ops.concatenate([w, (target_mean - ops.matmul(mean, w))[None]], axis=0)


def _regularised_solve(gram, ridge, right):
    identity = ops.eye(gram.shape[0], dtype=gram.dtype)
    gram = gram + ridge * identity
    # TensorFlow's solver raises on NaN; a diverged network shall score NaN instead.
    return ops.solve(ops.where(ops.all(ops.isfinite(gram)), gram, identity), right)


def _predict(w, features):
    return ops.matmul(features, w[:-1]) + w[-1]


def _squared_error(predicted, targets):
    return ops.sum(ops.square(predicted - targets), axis=-1)


def _expected_error(logits, labels):
    probabilities = ops.softmax(logits, axis=-1)
    hits = ops.one_hot(labels, logits.shape[1], dtype=logits.dtype)
    return 1.0 - ops.mean(ops.sum(probabilities * hits, axis=-1))


def _rows(x):
    return ops.cast(ops.shape(x)[0], x.dtype)


def _accuracy(predicted, targets):
    hits = ops.argmax(predicted, axis=-1) == ops.argmax(targets, axis=-1)
    return ops.mean(ops.cast(hits, targets.dtype))


def _unit_columns(train, test):
    squares = ops.sum(ops.square(train), axis=0) + ops.sum(ops.square(test), axis=0)
    scale = ops.rsqrt(ops.maximum(squares, 1e-12))
    return train * scale, test * scale
