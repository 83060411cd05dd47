"""Several inputs or outputs, outputs without units, and inputs of dtypes that are not stated."""

import fit_cases
import keras
import model_cases as cases
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_learned_rule import (
    FewShotProbe,
    LearnedRule,
    LearnedRuleModel,
    RuleBinding,
    few_shot_accuracy,
)
from keras_learned_rule.fit import inputs
from keras_learned_rule.fit.replay import Replay
from keras_learned_rule.fit.step import effective_rank, learned_rule_step
from keras_learned_rule.model.inputs import model_inputs

RULE = fit_cases.compact_rule()
LABELS = np.arange(32) % 2


def fitted(model, x, **options):
    model.compile()
    callbacks = [LearnedRule(RULE, replay=0), *options.pop("callbacks", ())]
    return model.fit(x, batch_size=16, verbose=0, callbacks=callbacks, **options).history


def ranks(outputs):
    """Participation ratios by eigenvalues, in float64."""
    for output in keras.tree.flatten(outputs):
        rows = np.reshape(output, (-1, np.shape(output)[-1] if np.ndim(output) > 1 else 1))
        covariance = np.atleast_2d(np.cov(np.asarray(rows, "float64"), rowvar=False))
        values = np.linalg.eigvalsh(covariance)
        yield values.sum() ** 2 / (values**2).sum()


def scores():
    """A model of two inputs whose output has no axis of units."""
    user, item = keras.Input((6,)), keras.Input((4,))
    u, i = layers.Dense(5, "relu")(user), layers.Dense(5)(item)
    return keras.Model([user, item], ops.sum(u * i, axis=-1))


@pytest.mark.parametrize("make", [cases.siamese, cases.towers, scores])
def test_validation_of_several_inputs_and_outputs(make):
    model = make()
    x = cases.batch(model_inputs(model), size=16)
    logs = fitted(model, x, validation_data=(x,))
    expected = np.mean(list(ranks(model.predict(x, verbose=0))))
    assert logs["val_effective_rank"] == [pytest.approx(expected, rel=1e-3)]


def test_validation_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu")])
    finally:
        keras.config.set_dtype_policy("float32")
    x = 3000 * cases.batch(model_inputs(model), size=1024)
    logs = fitted(model, x, validation_data=(x,), validation_batch_size=1024)
    (expected,) = ranks(model.predict(x, batch_size=1024, verbose=0))
    assert logs["val_effective_rank"] == [pytest.approx(expected, rel=1e-3)]


def test_the_effective_rank_of_half_precision_is_that_of_its_numbers():
    x = (1000 * np.random.default_rng(0).normal(size=(5000, 8))).astype("float16")
    rank = effective_rank(ops.convert_to_tensor(x))
    assert rank.dtype == "float32" and float(rank) == pytest.approx(*ranks(x), rel=1e-3)


def by_name():
    left, right = keras.Input((6,), name="left"), keras.Input((4,), name="right")
    code = layers.Dense(3)(layers.Concatenate()([layers.Dense(5, "relu")(left), right]))
    return keras.Model({"left": left, "right": right}, code)


@pytest.mark.parametrize("make", [cases.siamese, by_name])
def test_few_shot_accuracy_of_several_inputs(make):
    model = make()
    x = cases.batch(model_inputs(model), size=32)
    expected = few_shot_accuracy(None, model.predict(x, verbose=0), LABELS, shots=5, repeats=4)
    for source in (model, lambda given: model(given)):
        found = few_shot_accuracy(source, x, LABELS, shots=5, repeats=4)
        np.testing.assert_allclose(found.accuracies, expected.accuracies, atol=1e-9)
    probe = FewShotProbe(x, LABELS, shots=5, repeats=4)
    assert len(fitted(model, x, callbacks=[probe])["few_shot_accuracy"]) == 1


def test_lists_of_rows_are_features():
    rows = list(np.random.default_rng(0).normal(size=(32, 3)))
    expected = few_shot_accuracy(None, np.stack(rows), LABELS, shots=5, repeats=2)
    for given in (rows, [row.tolist() for row in rows]):
        found = few_shot_accuracy(None, given, LABELS, shots=5, repeats=2)
        np.testing.assert_array_equal(found.accuracies, expected.accuracies)


def test_probes_of_several_inputs_that_do_not_fit():
    model = by_name()
    x = cases.batch(model_inputs(model), size=32)
    with pytest.raises(ValueError, match="same length. Received: 32 and 31 and 32"):
        FewShotProbe({**x, "right": x["right"][1:]}, LABELS, shots=5)
    for wrong, message in [
        ({**x, "right": x["right"][:, 1:]}, r"x of the probe\['right'\] must have the model's"),
        ({"left": x["left"], "wrong": x["right"]}, "x of the probe is a dict, .* input 'right'"),
        ([x["left"]] * 3, "x of the probe must hold the inputs .* Received: 3 arrays"),
    ]:
        with pytest.raises(ValueError, match=message):
            fitted(model, x, callbacks=[FewShotProbe(wrong, LABELS, shots=5)])


class Tokens(keras.Model):
    """Looks tokens up in a table, which floats cannot do."""

    def __init__(self, built=False):
        super().__init__()
        self.table = self.add_weight(shape=(20, 4))
        self.dense = layers.Dense(3)
        self.built = built

    def call(self, x):
        return self.dense(ops.mean(ops.take(self.table, x["tokens"], axis=0), 1) + x["offset"])


def test_dtypes_that_a_subclassed_model_does_not_state():
    x = {"tokens": np.arange(64).reshape(16, 4) % 20, "offset": np.ones((16, 4), "float32")}
    model = Tokens()
    model(x)
    found = keras.tree.map_structure(lambda tensor: tensor.dtype, model_inputs(model))
    assert found == {"tokens": "int32", "offset": "float32"}
    before = model.dense.kernel.numpy()
    for replay in (0, 40):
        assert learned_rule_step(RuleBinding(model, RULE, replay=replay), x)["applied"] == 1
    assert np.abs(model.dense.kernel - before).max() > 1e-4


class Rows(keras.Model):
    """An embedding, which takes floats too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.dense = layers.Embedding(5000, 4), layers.Dense(3)

    def call(self, tokens):
        return self.dense(ops.mean(self.rows(tokens), 1))


def test_integers_are_given_to_a_subclassed_model_as_they_are():
    # In half precision 4001 and 4000 are the same number.
    model = Rows(dtype="mixed_float16")
    tokens = np.array([[4001, 4003]] * 4)
    model(tokens)
    given = RuleBinding(model, RULE).input.batch(tokens)
    assert given.dtype == "int64"
    np.testing.assert_array_equal(model(given), model.predict(tokens, verbose=0))


def test_a_subclassed_model_that_says_nothing_of_its_inputs():
    x = {"tokens": np.zeros((2, 4), int), "offset": np.zeros((2, 4))}
    model = Tokens(built=True)
    model(x)
    with pytest.raises(ValueError, match="Leave `self.built` to Keras and call the model"):
        model_inputs(model)


class Picky(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        if keras.backend.standardize_dtype(x.dtype) != "uint8":
            raise TypeError("no bytes")
        return self.dense(ops.cast(x, "float32"))


def test_a_subclassed_model_that_takes_other_dtypes_is_wrapped():
    model, x = Picky(), np.ones((8, 4), "uint8")
    model(x)
    with pytest.raises(ValueError, match="State their dtypes by a functional model") as error:
        RuleBinding(model, RULE)
    assert "no bytes" in str(error.value.__cause__)
    pixels = keras.Input((4,), dtype="uint8")
    binding = RuleBinding(keras.Model(pixels, model(pixels)), RULE)
    assert learned_rule_step(binding, x)["applied"] == 1


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float16"])
def test_replay_keeps_in_what_a_gpu_can_update(dtype):
    tensors = {"a": keras.KerasTensor((None, 1), dtype), "b": keras.KerasTensor((None, 2))}
    replay = Replay(6, tensors, seed=0)
    kept = {"a": tf.ones((3, 1), dtype), "b": tf.fill((3, 2), 0.5)}
    replay.keep(kept, applied=True)
    filled = replay.fill({"a": tf.zeros((2, 1), dtype), "b": tf.zeros((2, 2))}, step=1)
    assert filled["a"].dtype == dtype and filled["b"].dtype == "float32"
    np.testing.assert_array_equal(np.array(filled["a"][:, 0], "float32"), [0, 0, 1, 1, 1, 1])
    assert {v.dtype for v in replay._kept} <= {"int64", "float32"}


def test_a_subclassed_model_is_asked_once_what_it_is_called_with(monkeypatch):
    model, asked = cases.subclassed(), []
    monkeypatch.setattr(inputs, "model_inputs", lambda m: asked.append(m) or model_inputs(m))
    x = cases.batch(model_inputs(model))
    fitted(model, x, validation_data=(x,))
    LearnedRuleModel(model, RULE)
    assert asked == [model] * 2
