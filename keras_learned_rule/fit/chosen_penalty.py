"""Linear readouts whose penalty is chosen on the labelled examples alone, for many draws at once.

All draws of the labelled examples are solved together, in coordinates in which the covariance of
the labelled features is diagonal: every penalty then costs a division.
"""

import numpy as np

# Of ridge regression, a labelled example, in units of the variance of a standardised feature.
RIDGE_PENALTIES = (1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
# Of logistic regression, half of it times the sum of the squared weights; 1 is scikit-learn's.
LOGISTIC_PENALTIES = (0.3, 3.0, 30.0)
_FALLBACK_RIDGE, _FALLBACK_LOGISTIC = 0.1, 1.0
# Fewer steps rank penalties than make the final readout.
_FOLDS, _FOLD_STEPS, _FINAL_STEPS = 3, 15, 40


def ridge_chosen(train, classes, test):
    """Ridge regression of one-hot labels; the penalty has the least leave-one-out squared error.

    The error of leaving an example out follows from the one solution with all of them. With a
    single example of each class it would say nothing, and the penalty is 0.1 an example.

    Args:
        train: array `[draws, n, features]`, standardised over `n`.
        classes: int array `[draws, n]`, from 0, equally many of each class.
        test: array `[draws, m, features]`, standardised by the same numbers.

    Returns:
        Predicted classes `[draws, m]` and the penalty chosen for each draw `[draws]`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.fit.chosen_penalty import ridge_chosen

    features, classes = np.array([[[-1.0], [-1.0], [1.0], [1.0]]]), np.array([[0, 0, 1, 1]])
    predicted, penalties = ridge_chosen(features, classes, np.array([[[2.0], [-3.0]]]))
    assert predicted.tolist() == [[1, 0]]
    ```
    """
    targets = np.eye(classes.max() + 1)[classes]
    centre = targets.mean(axis=1, keepdims=True)
    rotated, rotated_test, spectrum = _rotate(train, test)
    # [draws, axes, classes]: the coordinates of the targets times the singular values.
    products = rotated.transpose(0, 2, 1) @ (targets - centre)
    candidates = _candidates(classes, RIDGE_PENALTIES, _FALLBACK_RIDGE)
    errors = [
        _left_out_error(rotated, spectrum, products, targets - centre, penalty)
        for penalty in candidates
    ]
    penalties = np.take(candidates, np.argmin(errors, axis=0))
    kernel = products / (spectrum + penalties[:, None] * classes.shape[1])[..., None]
    return np.argmax(rotated_test @ kernel + centre, axis=-1), penalties


def logistic_chosen(train, classes, test):
    """Multinomial logistic regression; the penalty has the least log loss over folds.

    Three folds, each with its share of every class; two where there are two examples of each
    class. With a single one the penalty is 1.

    Args:
        train: array `[draws, n, features]`, standardised over `n`.
        classes: int array `[draws, n]`, from 0, equally many of each class, sorted.
        test: array `[draws, m, features]`, standardised by the same numbers.

    Returns:
        Predicted classes `[draws, m]` and the penalty chosen for each draw `[draws]`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.fit.chosen_penalty import logistic_chosen

    features, classes = np.array([[[-1.0], [-1.0], [1.0], [1.0]]]), np.array([[0, 0, 1, 1]])
    predicted, penalties = logistic_chosen(features, classes, np.array([[[2.0], [-3.0]]]))
    assert predicted.tolist() == [[1, 0]]
    ```
    """
    rotated, rotated_test, spectrum = _rotate(train, test)
    rotated, rotated_test = _with_bias(rotated), _with_bias(rotated_test)
    # The column of ones is orthogonal to centred features, so the covariance stays diagonal.
    spectrum = np.append(spectrum, np.full((len(spectrum), 1), classes.shape[1]), axis=1)
    targets = np.eye(classes.max() + 1, dtype=np.float32)[classes]
    candidates = _candidates(classes, LOGISTIC_PENALTIES, _FALLBACK_LOGISTIC)
    penalties = np.full(len(train), candidates[0])
    if len(candidates) > 1:
        losses = _fold_losses(rotated, spectrum, targets, candidates)
        penalties = np.take(candidates, np.argmin(losses, axis=1))
    everything = np.ones((len(train), classes.shape[1], 1), np.float32)
    kernel = _fit(rotated, spectrum, targets, everything, penalties[:, None], _FINAL_STEPS)
    kernel = kernel[:, :, 0]
    return np.argmax(rotated_test @ kernel, axis=-1), penalties


def _candidates(classes, penalties, fallback):
    shots = classes.shape[1] // (classes.max() + 1)
    return np.array(penalties if shots > 1 else [fallback])


def _rotate(train, test):
    """Features in the principal axes of the labelled ones, and their squared singular values."""
    n, width = train.shape[1:]
    turned = train.transpose(0, 2, 1)
    if width <= n:
        axes = np.linalg.eigh(turned @ train)[1]
    else:
        spectrum, left = np.linalg.eigh(train @ turned)
        # Centred features span n - 1 directions; the others are rounding and must stay zero.
        kept = spectrum > 1e-9 * spectrum[:, -1:]
        scale = np.where(kept, 1 / np.sqrt(np.where(kept, spectrum, 1.0)), 0.0)
        axes = turned @ left * scale[:, None]
    rotated = train @ axes
    return rotated, test @ axes, np.square(rotated).sum(axis=1)


def _left_out_error(rotated, spectrum, products, targets, penalty):
    """Sum of squared errors on examples left out, `[draws]`."""
    n = rotated.shape[1]
    shrunk = rotated / (spectrum + penalty * n)[:, None]
    leverage = 1 / n + np.sum(shrunk * rotated, axis=-1, keepdims=True)
    errors = (targets - shrunk @ products) / np.maximum(1 - leverage, 1e-9)
    return np.square(errors).sum(axis=(1, 2))


def _with_bias(features):
    ones = np.ones((*features.shape[:2], 1))
    return np.concatenate([features, ones], axis=2).astype(np.float32)


def _fold_losses(features, spectrum, targets, candidates):
    """Log loss on the folds left out, `[draws, candidates]`."""
    draws, n, ways = targets.shape
    shots = n // ways
    folds = min(shots, _FOLDS)
    fold = np.tile(np.arange(shots) % folds, ways)
    held_out = (fold[:, None] == np.arange(folds)).astype(np.float32)
    # Problems side by side, folds slow and penalties fast.
    mask = np.tile(np.repeat(1 - held_out, len(candidates), axis=1), (draws, 1, 1))
    penalties = np.tile(np.tile(candidates, folds), (draws, 1))
    kernel = _fit(features, spectrum, targets, mask, penalties, _FOLD_STEPS)
    shares = np.take_along_axis(
        _softmax(_scores(features, kernel)),
        targets.argmax(axis=-1)[:, :, None, None],
        axis=-1,
    )[..., 0]
    losses = -(np.log(shares + 1e-12) * (1 - mask)).sum(axis=1)
    return losses.reshape(draws, folds, len(candidates)).sum(axis=1)


def _fit(features, spectrum, targets, mask, penalties, steps):
    """Minimises log loss by accelerated steps scaled by a bound on the curvature.

    Args:
        features: float32 `[draws, n, axes]`, the last of ones, with diagonal covariance.
        spectrum: `[draws, axes]`, that diagonal.
        targets: `[draws, n, classes]`, one-hot.
        mask: `[draws, n, problems]`, 1 for examples to learn from.
        penalties: `[draws, problems]`.
        steps: int.

    Returns:
        Weights `[draws, axes, problems, classes]`.
    """
    ridge = np.repeat(penalties[:, None, :], spectrum.shape[1], axis=1)
    ridge[:, -1] = 0  # The bias is free.
    ridge = ridge[..., None].astype(np.float32)
    # The curvature of the softmax is at most 1/2, with examples left out all the more.
    rate = (1 / (0.5 * spectrum[:, :, None, None] + ridge + 1e-6)).astype(np.float32)
    old = np.zeros(rate.shape[:3] + targets.shape[2:], np.float32)
    ahead = old
    turned = np.ascontiguousarray(features.transpose(0, 2, 1))
    for step in range(steps):
        errors = _softmax(_scores(features, ahead)) - targets[:, :, None]
        errors *= mask[..., None]
        slope = (turned @ errors.reshape(*errors.shape[:2], -1)).reshape(old.shape)
        new = ahead - rate * (slope + ridge * ahead)
        ahead = new + step / (step + 3) * (new - old)
        old = new
    return old


def _scores(features, kernel):
    flat = features @ kernel.reshape(*kernel.shape[:2], -1)
    return flat.reshape(*flat.shape[:2], *kernel.shape[2:])


def _softmax(scores):
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)
