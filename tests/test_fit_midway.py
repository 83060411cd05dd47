"""Whatever other callbacks do to the model in mid-fit, the rest of the fit is the rule's."""

import fit_cases as cases
import keras
import numpy as np
import pytest
from fit_cases import BATCH, Meddler

from keras_learned_rule.fit.callback import LearnedRule
from keras_learned_rule.fit.model import LearnedRuleModel

X = cases.examples()
Y = X[:, :5]
OPTIONS = {"validation_data": (X, Y), "epochs": 2}


def new_model():
    return cases.compiled(loss="mse", optimizer=keras.optimizers.SGD(0.0))


def new_rule():
    return LearnedRule(cases.compact_rule(running_competition=False), replay=0)


@pytest.mark.parametrize(
    "hook, meddle",
    [
        ("on_train_begin", lambda model: model.make_train_function(force=True)),
        ("on_train_batch_end", lambda model: model.compile(metrics=["mse"])),
        ("on_test_begin", lambda model: model.compile()),
        ("on_test_batch_end", lambda model: model.test_on_batch(X, Y)),
        ("on_epoch_end", lambda model: model.fit(X, Y, verbose=0)),
    ],
)
def test_the_fit_goes_on_by_the_rule(hook, meddle):
    model, rule = new_model(), new_rule()
    expected = cases.weights_by_hand(model, rule.rule, 2 * cases.batches(X))
    cases.fit(model, X, rule, [Meddler(hook, meddle)], y=Y, **OPTIONS)
    cases.assert_model_has(model, expected)
    assert model.train_function is None and model.test_function is None


@pytest.mark.parametrize("trainable, compiles", [(True, False), (False, True)])
def test_layers_frozen_or_unfrozen_in_mid_fit(trainable, compiles):
    model, rule, expected = new_model(), new_rule(), []
    model.get_layer("first").trainable = not trainable

    def change(model):
        model.get_layer("first").trainable = trainable
        if compiles:
            model.compile()
        schedule = [(i, 8) for i in range(4, 8)]
        expected.extend(cases.weights_by_hand(model, rule.rule, cases.batches(X), schedule))
        expected.append(model.get_layer("first").kernel.numpy())

    cases.fit(model, X, rule, [Meddler("on_epoch_end", change)], epochs=2)
    *expected, frozen = expected
    cases.assert_model_has(model, expected)
    assert np.array_equal(model.get_layer("first").kernel, frozen) != trainable


def test_freezing_all_ends_the_fit():
    model = new_model()
    with pytest.raises(ValueError, match="nothing that can learn"):
        freeze = Meddler("on_epoch_end", lambda model: setattr(model, "trainable", False))
        cases.fit(model, X, new_rule(), [freeze], epochs=2)
    assert model.train_function is None


def test_another_number_of_steps_per_execution_ends_the_fit():
    model = cases.compiled(steps_per_execution=2)
    with pytest.raises(ValueError, match="steps_per_execution=2. Received: .*=1"):
        compiles = Meddler("on_epoch_end", lambda model: model.compile())
        cases.fit(model, X, new_rule(), [compiles], epochs=2)
    assert model.train_function is None


@pytest.mark.slow
def test_a_learned_rule_model_goes_on():
    models = [LearnedRuleModel(cases.network(), new_rule().rule, total_steps=8, replay=0)]
    models.append(LearnedRuleModel(cases.twin(models[0].chain), new_rule().rule, 8, replay=0))
    acts = (lambda model: None, lambda model: model.compile())
    for model, meddle in zip(models, acts, strict=True):
        model.compile()
        callbacks = [Meddler("on_test_begin", meddle)]
        model.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks, **OPTIONS)
    cases.assert_same(cases.arrays(models[0]), cases.arrays(models[1]), tolerance=1e-6)


def test_a_learned_rule_model_freezes_in_mid_fit():
    model, frozen = LearnedRuleModel(cases.network(), new_rule().rule), []
    model.compile()

    def freeze(model):
        model.chain.get_layer("first").trainable = False
        frozen.extend(model.chain.get_layer(name).kernel.numpy() for name in ("first", "embedding"))

    model.fit(X, epochs=2, verbose=0, callbacks=[Meddler("on_epoch_end", freeze)])
    first, embedding = frozen
    np.testing.assert_array_equal(first, model.chain.get_layer("first").kernel)
    assert not np.array_equal(embedding, model.chain.get_layer("embedding").kernel)
