"""Readouts whose penalty is chosen on the labelled examples, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from keras_learned_rule.data.digits import load_digits
from keras_learned_rule.fit.chosen_penalty import (
    LOGISTIC_PENALTIES,
    RIDGE_PENALTIES,
    logistic_chosen,
    ridge_chosen,
)
from keras_learned_rule.fit.few_shot_splits import few_shot_splits
from keras_learned_rule.fit.readout import few_shot_accuracy


def drawn(shots, width=None, draws=3):
    """Standardised digits, or random features of them, in the form that the readouts take."""
    x, y = load_digits()
    x = x[:, x.std(axis=0) > 0.05]
    if width is not None:
        x = np.maximum(x @ np.random.default_rng(0).normal(size=(x.shape[1], width)), 0)
    splits = few_shot_splits(y, shots, draws, seed=1)
    train, test = (np.stack([x[split[part]] for split in splits]) for part in (0, 1))
    mean, deviation = train.mean(axis=1, keepdims=True), train.std(axis=1, keepdims=True) + 1e-3
    classes = np.stack([y[split[0]] for split in splits])
    truth = np.stack([y[split[1]] for split in splits])
    return (train - mean) / deviation, classes, (test - mean) / deviation, truth


def left_out_errors(features, classes):
    """Squared error of ridge regression on each example left out, by brute force."""
    targets, n = np.eye(10)[classes], len(classes)
    errors = []
    for penalty in RIDGE_PENALTIES:
        squares = 0.0
        for i in range(n):
            kept = np.arange(n) != i
            # The penalty of all n: what the closed form keeps, too.
            ridge = Ridge(alpha=penalty * n).fit(features[kept], targets[kept])
            squares += np.square(ridge.predict(features[[i]]) - targets[i]).sum()
        errors.append(squares)
    return np.array(errors)


@pytest.mark.parametrize("width", [16, 200])
def test_ridge_chooses_by_leaving_one_out_and_predicts_as_sklearn(width):
    train, classes, test, _ = drawn(4, width)
    predicted, penalties = ridge_chosen(train, classes, test)
    for draw in range(len(train)):
        errors = left_out_errors(train[draw], classes[draw])
        assert penalties[draw] == RIDGE_PENALTIES[int(errors.argmin())]
        ridge = Ridge(alpha=penalties[draw] * classes.shape[1])
        scores = ridge.fit(train[draw], np.eye(10)[classes[draw]]).predict(test[draw])
        assert np.mean(scores.argmax(axis=1) == predicted[draw]) > 0.999


@pytest.mark.parametrize("shots, width", [(1, 16), (5, 16), (5, 200), (20, None)])
def test_logistic_predicts_as_sklearn_with_the_same_penalty(shots, width):
    train, classes, test, truth = drawn(shots, width)
    predicted, penalties = logistic_chosen(train, classes, test)
    for draw in range(len(train)):
        oracle = LogisticRegression(C=1 / penalties[draw], max_iter=5000)
        expected = oracle.fit(train[draw], classes[draw]).predict(test[draw])
        assert np.mean(expected == predicted[draw]) > 0.96
        accuracies = [np.mean(labels == truth[draw]) for labels in (expected, predicted[draw])]
        assert abs(accuracies[0] - accuracies[1]) < 0.01


def test_logistic_chooses_by_log_loss_on_folds():
    train, classes, test, _ = drawn(6, 16)
    _, penalties = logistic_chosen(train, classes, test)
    fold = np.tile(np.arange(6) % 3, 10)
    for draw in range(len(train)):
        losses = []
        for penalty in LOGISTIC_PENALTIES:
            loss = 0.0
            for held_out in range(3):
                kept = fold != held_out
                model = LogisticRegression(C=1 / penalty, max_iter=5000)
                model.fit(train[draw][kept], classes[draw][kept])
                shares = model.predict_proba(train[draw][~kept])
                loss -= np.log(shares[np.arange(len(shares)), classes[draw][~kept]]).sum()
            losses.append(loss)
        ours = losses[LOGISTIC_PENALTIES.index(penalties[draw])]
        assert ours <= 1.02 * min(losses)


def test_useless_features_get_a_large_penalty():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 60, 40))
    noise -= noise.mean(axis=1, keepdims=True)
    classes = np.tile(np.repeat(np.arange(3), 20), (2, 1))
    assert (ridge_chosen(noise, classes, noise)[1] >= 1.0).all()
    assert (logistic_chosen(noise, classes, noise)[1] >= 10.0).all()


@pytest.mark.parametrize("readout", ["ridge", "logistic"])
def test_few_shot_accuracy_offers_it(readout):
    x, y = load_digits()
    x, y = x[:500], y[:500] + 3
    options = {"repeats": 5, "readout": readout}
    default = few_shot_accuracy(None, x, y, **options)
    chosen = few_shot_accuracy(None, x, y, penalty="chosen", **options)
    assert len(chosen.accuracies) == 5
    assert default.mean - 0.02 < chosen.mean < 0.97


def test_constant_features_are_no_better_than_chance():
    x, y = np.ones((60, 3)), np.arange(60) % 3
    result = few_shot_accuracy(None, x, y, shots=5, repeats=2, penalty="chosen")
    np.testing.assert_allclose(result.accuracies, 1 / 3)


def test_an_unknown_penalty_is_refused():
    with pytest.raises(ValueError, match=r"penalty must be one of .*Received: 'best'"):
        few_shot_accuracy(None, np.eye(20), np.arange(20) % 2, shots=2, penalty="best")
