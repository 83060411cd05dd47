"""Mixed precision: features as good as those of float32."""

import keras
import pytest
from keras import layers

from keras_learned_rule import LearnedRule, few_shot_accuracy
from keras_learned_rule.data.digits import digits_split


def block(layer):
    return [layer, layers.BatchNormalization(), layers.ReLU()]


def dense():
    return [*block(layers.Dense(128)), *block(layers.Dense(128)), *block(layers.Dense(32))]


def convolutional():
    first, second = (layers.Conv2D(width, 3, padding="same") for width in (16, 32))
    pools = layers.MaxPooling2D(), layers.MaxPooling2D()
    image = layers.Reshape((8, 8, 1))
    return [image, *block(first), pools[0], *block(second), pools[1], layers.Flatten()]


def accuracies(make, policy):
    """10-shot accuracy before and after a fit, on equal draws."""
    x, _, x_test, y_test = digits_split()
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential([keras.Input((64,)), *make()])
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(jit_compile=False)
    scores = [few_shot_accuracy(model, x_test, y_test, shots=10, repeats=20).mean]
    model.fit(x, epochs=5, batch_size=128, verbose=0, callbacks=[LearnedRule()])
    return [*scores, few_shot_accuracy(model, x_test, y_test, shots=10, repeats=20).mean]


@pytest.mark.slow
@pytest.mark.parametrize("make", [dense, convolutional])
def test_features_are_as_good_as_in_float32(make):
    before, after = accuracies(make, "float32")
    assert after > before + 0.01
    for policy in ("mixed_float16", "mixed_bfloat16"):
        # Measured over three seeds: at most 0.0002 few-shot, 0.002 with all labels.
        assert accuracies(make, policy)[1] == pytest.approx(after, abs=0.01)
