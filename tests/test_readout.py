"""Few-shot readout on frozen features."""

import keras
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from keras_learned_rule.data.digits import load_digits
from keras_learned_rule.fit.few_shot_splits import few_shot_splits
from keras_learned_rule.fit.readout import (
    FewShotResult,
    class_mean_accuracy,
    few_shot_accuracy,
    ridge_readout,
)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits()
    return x[:500], y[:500]


@pytest.mark.parametrize("examples, width", [(40, 7), (10, 30)])
def test_ridge_readout_equals_sklearn(examples, width):
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(examples, width)) + 3, rng.normal(size=(examples, 4))
    kernel, bias = ridge_readout(features, targets, penalty=1.7)
    oracle = Ridge(alpha=1.7).fit(features, targets)
    np.testing.assert_allclose(kernel, oracle.coef_.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(bias, oracle.intercept_, rtol=1e-8)


def oracle_accuracies(x, y, shots, repeats, seed, readout):
    labels = np.unique(y)
    accuracies = []
    for train, test in few_shot_splits(y, shots, repeats, seed):
        scaler = StandardScaler().fit(x[train])
        features, judged = scaler.transform(x[train]), scaler.transform(x[test])
        if readout == "logistic":
            predicted = LogisticRegression(max_iter=1000).fit(features, y[train]).predict(judged)
        else:
            ridge = Ridge(alpha=0.1 * len(train)).fit(features, np.eye(len(labels))[y[train]])
            predicted = labels[ridge.predict(judged).argmax(axis=1)]
        accuracies.append(balanced_accuracy_score(y[test], predicted))
    return accuracies


@pytest.mark.parametrize("readout", ["ridge", "logistic"])
def test_accuracy_equals_sklearn(digits, readout):
    x, y = digits[0].astype(np.float64), digits[1]
    result = few_shot_accuracy(None, x, y, shots=5, repeats=4, seed=2, readout=readout)
    expected = oracle_accuracies(x, y, 5, 4, 2, readout)
    np.testing.assert_allclose(result.accuracies, expected, atol=1e-12)
    assert result.mean == pytest.approx(np.mean(expected))
    assert result.standard_error == pytest.approx(np.std(expected, ddof=1) / 2)


def test_labels_may_be_any_integers(digits):
    x, y = digits
    plain = few_shot_accuracy(None, x, y, repeats=3)
    np.testing.assert_array_equal(
        few_shot_accuracy(None, x, 7 * y + 20, repeats=3).accuracies, plain.accuracies
    )


def test_useless_features_give_chance():
    x, y = np.random.default_rng(0).normal(size=(2000, 8)), np.arange(2000) % 10
    result = few_shot_accuracy(None, x, y)
    assert abs(result.mean - 0.1) < 0.02


def test_constant_features_do_no_harm(digits):
    x, y = digits
    padded = np.concatenate([x, np.full((len(x), 3), 0.1) + 1e-15 * x[:, 20:23]], axis=1)
    few, same = few_shot_accuracy(None, padded, y), few_shot_accuracy(None, x, y)
    np.testing.assert_array_equal(few.accuracies, same.accuracies)


def test_models_callables_and_features_agree(digits):
    x, y = digits
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(20), keras.layers.ReLU()])
    features = keras.ops.convert_to_numpy(model(x))
    expected = few_shot_accuracy(None, features, y, repeats=3).accuracies
    for source in (model, lambda inputs: model(inputs), lambda inputs: features[:, :, None]):
        result = few_shot_accuracy(source, x, y, repeats=3, batch_size=64)
        np.testing.assert_allclose(result.accuracies, expected, atol=3e-3)


@pytest.mark.parametrize("penalty", ["default", "chosen"])
def test_unlabelled_examples_are_left_out(digits, penalty):
    x, y = digits
    unlabelled = np.where(np.arange(len(y)) % 3 == 0, -1, y)
    expected = few_shot_accuracy(
        None, x[unlabelled >= 0], y[unlabelled >= 0], shots=5, repeats=3, penalty=penalty
    )
    with pytest.warns(UserWarning, match="167 of 500 labels are negative"):
        result = few_shot_accuracy(None, x, unlabelled, shots=5, repeats=3, penalty=penalty)
    np.testing.assert_array_equal(result.accuracies, expected.accuracies)


def test_sparse_features_and_a_dict_of_features(digits):
    x, y = digits
    expected = few_shot_accuracy(None, x, y, repeats=3).accuracies
    for model, given in [(None, csr_array(x)), (lambda each: {"features": each}, x)]:
        result = few_shot_accuracy(model, given, y, repeats=3)
        np.testing.assert_array_equal(result.accuracies, expected)


def test_splits_are_disjoint_balanced_complete_and_seeded():
    y = np.random.default_rng(0).integers(0, 4, 100)
    splits = few_shot_splits(y, shots=6, repeats=5, seed=1)
    for train, test in splits:
        assert np.bincount(y[train]).tolist() == [6] * 4
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(100))
    assert len({tuple(np.sort(train)) for train, _ in splits}) == 5
    for again, other in zip(few_shot_splits(y, 6, 5, 1), few_shot_splits(y, 6, 5, 2), strict=True):
        assert not np.array_equal(again[0], other[0])
    np.testing.assert_array_equal(few_shot_splits(y, 6, 5, 1)[3][0], splits[3][0])


def test_classes_count_equally():
    y, predicted = np.array([0] * 90 + [1] * 10), np.zeros(100, int)
    assert class_mean_accuracy(y, predicted) == balanced_accuracy_score(y, predicted) == 0.5


def test_one_repeat_has_no_standard_error(digits):
    assert np.isnan(few_shot_accuracy(None, *digits, repeats=1).standard_error)


def test_a_result_prints_mean_and_standard_error():
    assert str(FewShotResult.of([0.5, 0.7])) == "0.600 ± 0.100 (2 draws)"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"readout": "knn"}, "readout must be one of .*Received: 'knn'"),
        ({"shots": 0}, "shots must be an integer of at least 1. Received: 0"),
        ({"shots": 2.5}, "shots must be an integer of at least 1. Received: 2.5"),
        ({"repeats": 0}, "repeats must be an integer of at least 1. Received: 0"),
        ({"repeats": "20"}, "repeats must be an integer of at least 1. Received: '20'"),
        ({"seed": -1}, "seed must be an integer of at least 0. Received: -1"),
        ({"x": None}, "same length. Received: None and 33"),
        ({"y": np.repeat([4, 5, 6], [20, 10, 3])}, r"shots=10.*\{5: 10, 6: 3\}"),
        ({"y": np.zeros((33, 3), int)}, r"vector of integer labels.*shape \(33, 3\)"),
        ({"y": np.zeros(33)}, "vector of integer labels.*float64"),
        ({"y": np.zeros(33, int)}, r"at least two classes.*\[0\]"),
        ({"y": np.arange(33) % 2 * 2 - 1}, r"negative labels count as.*Received: \[-1, 1\]"),
        ({"model": lambda x: {"a": x, "b": x}}, "one output.*Received: 2 outputs in dict"),
        ({"y": np.arange(40) % 2}, "same length. Received: 33 and 40"),
        ({"model": lambda x: x[:5]}, r"each of the 33 examples.*\(5, 2\)"),
        ({"model": lambda x: x / np.r_[0.0, np.ones(32)][:, None]}, "finite.*of 1 examples"),
    ],
)
def test_bad_arguments(change, message):
    good = {"model": None, "x": np.ones((33, 2)), "y": np.arange(33) % 2}
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        few_shot_accuracy(**(good | change))


def test_ridge_needs_a_penalty():
    with pytest.raises(ValueError, match="penalty must be a finite number above 0. Received: 0.0"):
        ridge_readout([[1.0]], [[1.0]], 0.0)
