"""After a fit with the rule, however it ended, the model trains by backpropagation again."""

import fit_cases as cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from fit_cases import BATCH, FEATURES

from keras_learned_rule.fit.callback import LearnedRule

TARGETS = 5
RATE = 0.01


class Fail(keras.callbacks.Callback):
    """Raises an error at one of its hooks."""

    def __init__(self, hook, error):
        super().__init__()

        def fail(*args, **kwargs):
            raise error("stop here")

        setattr(self, hook, fail)


def new_model():
    keras.utils.set_random_seed(3)
    return cases.compiled(optimizer=keras.optimizers.SGD(RATE), loss="mse")


def gradient_step(model, x, y):
    """The loss of the model and what a step of gradient descent would make of its weights."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
    weights = model.trainable_variables
    gradients = tape.gradient(loss, [w.value for w in weights])
    return loss.numpy(), [(w - RATE * g).numpy() for w, g in zip(weights, gradients, strict=True)]


def assert_trains_by_backprop(model):
    x = cases.examples(BATCH, seed=5)
    y = x[:, :TARGETS]
    loss, weights = gradient_step(model, x, y)
    history = model.fit(x, y, batch_size=BATCH, verbose=0).history
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)
    cases.assert_same([w.numpy() for w in model.trainable_variables], weights, tolerance=1e-5)


def fit_with_rule(model, x, *callbacks, **options):
    options = {"verbose": 0, "batch_size": BATCH, "epochs": 2, **options}
    rule = LearnedRule(cases.compact_rule())
    return model.fit(x, callbacks=[rule, *callbacks], **options)


def test_after_a_complete_fit():
    model = new_model()
    fit_with_rule(model, cases.examples())
    assert_trains_by_backprop(model)


VALIDATION_HOOKS = ["on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"]
HOOKS = [
    "on_train_begin",
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    *VALIDATION_HOOKS,
    "on_epoch_end",
    "on_train_end",
]


def interrupted(hook, error=KeyboardInterrupt, rule_first=True, **options):
    """A model whose fit with the rule, and with validation, ended by an error at a hook."""
    model, x = new_model(), cases.examples()
    callbacks = [LearnedRule(cases.compact_rule()), Fail(hook, error)]
    with pytest.raises(error, match="stop here"):
        model.fit(
            x,
            validation_data=(x, x[:, :TARGETS]),
            batch_size=BATCH,
            verbose=0,
            callbacks=callbacks if rule_first else callbacks[::-1],
            **options,
        )
    return model


@pytest.mark.parametrize(
    "hook, rule_first",
    [(hook, True) for hook in HOOKS] + [("on_train_begin", False), ("on_test_begin", False)],
)
def test_after_an_error_in_another_callback(hook, rule_first):
    assert_trains_by_backprop(interrupted(hook, ZeroDivisionError, rule_first))


@pytest.mark.parametrize("hook", [*VALIDATION_HOOKS, "on_epoch_end", "on_train_batch_end"])
def test_evaluation_after_an_interrupted_fit(hook):
    model = interrupted(hook)
    assert_evaluates_the_loss(model)
    assert_trains_by_backprop(model)


def test_test_on_batch_after_an_interrupted_validation():
    model, x = interrupted("on_test_batch_end"), cases.examples()
    residual = model.predict(x, verbose=0) - x[:, :TARGETS]
    np.testing.assert_allclose(
        model.test_on_batch(x, x[:, :TARGETS]), np.mean(residual**2), rtol=1e-4
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_all_of_the_validation_is_ours(steps):
    model, x = cases.compiled(steps_per_execution=steps), cases.examples()
    history = fit_with_rule(model, x, validation_data=(cases.unknown_length(x),), epochs=3)
    assert set(history.history) == {"update_size", "effective_rank", "val_effective_rank"}
    centred = model.predict(x, verbose=0)
    ranks = []
    for batch in cases.batches(centred):
        covariance = np.cov(batch.T)
        ranks.append(np.trace(covariance) ** 2 / np.sum(covariance**2))
    assert history.history["val_effective_rank"][-1] == pytest.approx(np.mean(ranks), rel=1e-3)


@pytest.mark.parametrize("hook, rule_first", [("on_train_begin", False), ("on_epoch_end", True)])
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_saving_after_an_interrupted_fit(hook, rule_first, suffix, tmp_path):
    model, path = interrupted(hook, rule_first=rule_first), tmp_path / f"saved{suffix}"
    if suffix == ".keras":
        model.save(path)
        loaded = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        loaded = new_model()
        loaded.load_weights(path)
    cases.assert_same(cases.arrays(model), cases.arrays(loaded))
    for each in (model, loaded):
        assert_trains_by_backprop(each)


def test_after_ctrl_c():
    model = new_model()
    with pytest.raises(KeyboardInterrupt):
        fit_with_rule(model, cases.examples(), Fail("on_train_batch_begin", KeyboardInterrupt))
    assert_trains_by_backprop(model)


def test_train_on_batch_after_an_error():
    model = new_model()
    with pytest.raises(ZeroDivisionError):
        fit_with_rule(model, cases.examples(), Fail("on_epoch_end", ZeroDivisionError))
    x = cases.examples(BATCH)
    loss, weights = gradient_step(model, x, x[:, :TARGETS])
    np.testing.assert_allclose(model.train_on_batch(x, x[:, :TARGETS]), loss, rtol=1e-5)
    cases.assert_same([w.numpy() for w in model.trainable_variables], weights, tolerance=1e-5)


def test_after_an_error_in_the_data():
    def broken():
        # Keras looks at the first few batches before the fit begins.
        for _ in range(6):
            yield (cases.examples(BATCH),)
        raise ZeroDivisionError("no more data")

    model = new_model()
    with pytest.raises(tf.errors.OpError):
        fit_with_rule(model, broken(), steps_per_epoch=9, batch_size=None)
    assert model.train_function is None
    assert_trains_by_backprop(model)


def test_after_an_error_in_the_step():
    model = new_model()
    with pytest.raises(ValueError, match="x must have the model's input shape"):
        fit_with_rule(model, np.ones((BATCH, FEATURES + 1), "float32"))
    assert model.train_function is None
    assert_trains_by_backprop(model)


def test_after_a_batch_that_is_not_finite():
    model, x = new_model(), cases.examples()
    x[BATCH + 1, 2] = np.inf
    with pytest.raises(ValueError, match="x must be finite"):
        fit_with_rule(model, x)
    assert model.train_function is None
    assert_trains_by_backprop(model)


def assert_evaluates_the_loss(model):
    x = cases.examples()
    residual = model.predict(x, verbose=0) - x[:, :TARGETS]
    results = model.evaluate(x, x[:, :TARGETS], verbose=0, return_dict=True)
    assert results == {"loss": pytest.approx(np.mean(residual**2), rel=1e-4)}


def test_evaluation_is_ours_only_inside_the_fit():
    model, x = new_model(), cases.examples()
    history = fit_with_rule(model, x, validation_data=(x, x[:, :TARGETS]))
    assert set(history.history) == {"update_size", "effective_rank", "val_effective_rank"}
    assert_evaluates_the_loss(model)


def test_evaluate_and_predict_with_the_callback_change_nothing():
    x, attributes = cases.examples(), []
    for callbacks in ([], [LearnedRule(cases.compact_rule())]):
        model = new_model()
        model.evaluate(x, x[:, :TARGETS], verbose=0, callbacks=callbacks)
        model.predict(x, verbose=0, callbacks=callbacks)
        attributes.append(set(vars(model)))
    assert attributes[0] == attributes[1]
    assert_trains_by_backprop(model)


def test_saved_model_and_weights_hold_nothing_of_the_fit(tmp_path):
    model, x = new_model(), cases.examples()
    before = [variable.path for variable in model.variables]
    fit_with_rule(model, x)
    assert [variable.path for variable in model.variables] == before
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    cases.assert_same(cases.arrays(model), cases.arrays(loaded))
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    assert_trains_by_backprop(loaded)
