"""Parts of the meta-objective that the original code does not have, against scikit-learn."""

import numpy as np
import pytest
from keras import ops
from scipy.special import softmax
from sklearn.linear_model import Ridge

from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.objective import (
    ObjectiveSpec,
    coefficient_loss,
    prepared_targets,
    ridge_objective,
)
from keras_learned_rule.meta.unroll import Episode, score

TRAIN, TEST = 12, 9


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def loss_of(spec, *arrays):
    return float(coefficient_loss(spec, *map(ops.convert_to_tensor, arrays)))


@pytest.mark.parametrize("width", [5, 12, 30], ids=["narrow", "square", "wide"])
@pytest.mark.parametrize("ridge", [0.1, 3.0])
def test_coefficient_loss_is_that_of_ridge_regression(width, ridge):
    features = 2.0 + random(TRAIN, width), 2.0 + random(TEST, width, seed=1)
    targets = 0.5 + random(TRAIN, 2, seed=2), 0.5 + random(TEST, 2, seed=3)
    fitted = Ridge(alpha=ridge).fit(features[0], targets[0])
    expected = np.mean((fitted.predict(features[1]) - targets[1]) ** 2)
    computed = loss_of(ObjectiveSpec(ridge=ridge), *features, *targets)
    assert computed == pytest.approx(expected, rel=1e-8)


def labelled_clusters(spread):
    """(features, labels) of training and of test examples of three classes."""
    labels = np.arange(TRAIN) % 3, np.arange(TEST) % 3
    centres = random(3, 5, seed=4)
    parts = [centres[y] + spread * random(len(y), 5, seed=len(y)) for y in labels]
    return [ops.convert_to_tensor(part) for part in parts], labels


@pytest.mark.parametrize("sharpness", [2.0, 15.0])
def test_the_expected_error_is_that_of_a_softmax_of_ridge_predictions(sharpness):
    features, labels = labelled_clusters(1.0)
    spec = ObjectiveSpec(sharpness=sharpness)
    result = ridge_objective(spec, *features, *map(ops.convert_to_tensor, labels), 3)
    targets = np.asarray(prepared_targets(spec, ops.convert_to_tensor(labels[0]), 3, "float64"))
    fitted = Ridge(alpha=spec.ridge).fit(np.asarray(features[0]), targets)
    predicted = fitted.predict(np.asarray(features[1]))
    predicted /= np.linalg.norm(predicted, axis=1, keepdims=True)
    right = softmax(sharpness * predicted, axis=1)[np.arange(TEST), labels[1]]
    assert float(result.loss) == pytest.approx(1 - right.mean(), rel=1e-8)


def test_the_sharper_the_closer_to_the_error_rate():
    features, labels = labelled_clusters(2.0)
    errors = []
    for sharpness in (1.0, 1e4):
        spec = ObjectiveSpec(sharpness=sharpness)
        result = ridge_objective(spec, *features, *map(ops.convert_to_tensor, labels), 3)
        errors.append(abs(float(result.loss) - (1 - float(result.accuracy_test))))
    assert errors[1] < 1e-3 < errors[0]


def test_coefficients_that_are_in_the_features_cost_nothing_and_others_their_variance():
    coefficients = 3**0.5 * np.random.default_rng(0).uniform(-1, 1, (4000, 2))
    linear = coefficients @ random(2, 4) + 1.0
    spec = ObjectiveSpec()
    assert (
        loss_of(spec, linear[:2000], linear[2000:], coefficients[:2000], coefficients[2000:]) < 1e-6
    )
    blind = loss_of(
        spec, random(2000, 4), random(2000, 4), coefficients[:2000], coefficients[2000:]
    )
    assert blind == pytest.approx(1.0, abs=0.03)


def test_the_meta_loss_has_a_share_of_it():
    episode, plan = Episode(3, 2, 4), NetworkSpec((4,)).plan()
    state = ({"w": ops.convert_to_tensor(random(7, 4)), "b": ops.zeros(4, "float64")},)
    rows, coefficients = (ops.convert_to_tensor(random(18, n, seed=n)) for n in (7, 2))

    def scored(share, *coefficients):
        spec = ObjectiveSpec(coefficient_share=share)
        loss, accuracy = score(spec, episode, plan, state, episode.labels(), rows, *coefficients)
        return float(loss), float(accuracy)

    (labels, accuracy), (regression, same) = scored(0.0, coefficients), scored(1.0, coefficients)
    assert accuracy == same and abs(labels - regression) > 0.1
    mixed, _ = scored(0.3, coefficients)
    assert mixed == pytest.approx(0.7 * labels + 0.3 * regression)
    # Tasks that distort nothing have the loss of the labels alone.
    assert scored(0.3) == scored(0.0, coefficients)


@pytest.mark.parametrize("name, value", [("coefficient_share", 1.5), ("test_share", -0.1)])
def test_shares_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .* from 0 to 1. Received: {value}"):
        ObjectiveSpec(**{name: value})
