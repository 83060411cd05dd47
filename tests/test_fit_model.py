"""`LearnedRuleModel`: every fit learns by the rule, also after saving and freezing."""

import fit_cases as cases
import keras
import numpy as np
import pytest
from fit_cases import BATCH

from keras_learned_rule.fit.model import LearnedRuleModel


def rule_model(chain, rule=None, **options):
    model = LearnedRuleModel(chain, rule or cases.compact_rule(), replay=0, **options)
    model.compile()
    return model


@pytest.mark.filterwarnings("error:.*unbuilt state")
def test_model_equals_the_update_by_hand():
    rule, chain, x = cases.compact_rule(), cases.network(), cases.examples()
    expected = cases.weights_by_hand(chain, rule, 2 * cases.batches(x))
    model = rule_model(chain, rule, total_steps=8)
    history = model.fit(
        x, epochs=2, batch_size=BATCH, shuffle=False, verbose=0, validation_data=(x,)
    )
    cases.assert_model_has(chain, expected)
    assert set(history.history) == {"update_size", "effective_rank", "val_effective_rank"}
    np.testing.assert_array_equal(model.predict(x, verbose=0), chain.predict(x, verbose=0))


@pytest.mark.parametrize("rule", [cases.published_rule(), cases.compact_rule(teacher=True)])
def test_loaded_model_goes_on_where_it_stopped(rule, tmp_path):
    x = cases.examples()
    model = rule_model(cases.network(), rule, total_steps=8, freeze=("first",))
    options = dict(batch_size=BATCH, shuffle=False, verbose=0)
    model.fit(x, **options)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    cases.assert_same(cases.arrays(model), cases.arrays(loaded))
    for each in (model, loaded):
        each.fit(x, **options)
    assert int(loaded.rule_memory.steps_done) == 8
    cases.assert_same(cases.arrays(model), cases.arrays(loaded))


def test_model_reports_bad_batches():
    model, x = rule_model(cases.network()), cases.examples()
    x[BATCH] = np.nan
    with pytest.raises(ValueError, match="x must be finite"):
        model.fit(x, batch_size=BATCH, shuffle=False, verbose=0)
    # The next fit starts afresh.
    model.fit(cases.examples(), batch_size=BATCH, verbose=0)


@keras.saving.register_keras_serializable(package="tests")
class Classifier(LearnedRuleModel):
    """A subclass with a layer above the chain that the rule trains."""

    def __init__(self, chain, **options):
        super().__init__(chain, **options)
        self.head = keras.layers.Dense(3, name="head")

    def call(self, inputs, training=None):
        return self.head(super().call(inputs, training=training))


def test_subclass_with_a_call_of_its_own(tmp_path):
    chain, x = cases.network(), cases.examples()
    rule = cases.compact_rule()
    expected = cases.weights_by_hand(chain, rule, cases.batches(x))
    model = Classifier(chain, rule=rule, total_steps=4, replay=0)
    model.compile()
    model.fit(x, batch_size=BATCH, shuffle=False, verbose=0)
    cases.assert_model_has(chain, expected)
    assert model.predict(x, verbose=0).shape == (len(x), 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    cases.assert_same(cases.arrays(model), cases.arrays(loaded))
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


def freeze_first(model):
    model.chain.get_layer("first").trainable = False


def freeze_first_and_compile(model):
    freeze_first(model)
    model.compile()


def changes(model, **options):
    """Names of the Dense layers whose kernels one more epoch changes."""
    dense = [model.chain.get_layer(name) for name in ("first", "embedding")]
    before = [layer.kernel.numpy() for layer in dense]
    model.fit(cases.examples(), batch_size=BATCH, shuffle=False, verbose=0, **options)
    return [
        layer.name
        for layer, kernel in zip(dense, before, strict=True)
        if not np.array_equal(kernel, layer.kernel)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [freeze_first, freeze_first_and_compile])
def test_layers_frozen_later_stay(freeze):
    rule, chain = cases.compact_rule(running_competition=False), cases.network()
    model = rule_model(chain, rule, total_steps=12)
    assert changes(model) == ["first", "embedding"]
    freeze(model)
    steps = cases.batches(cases.examples())
    expected = cases.weights_by_hand(chain, rule, steps, [(i, 12) for i in range(4, 8)])
    assert changes(model) == ["embedding"]
    cases.assert_model_has(chain, expected)
    chain.get_layer("first").trainable = True
    assert changes(model) == ["first", "embedding"]
    assert int(model.rule_memory.steps_done) == 12


@pytest.mark.slow
def test_a_frozen_model_does_not_learn_but_predicts_after_loading(tmp_path):
    model, x = rule_model(cases.network(), cases.published_rule()), cases.examples()
    changes(model)
    model.trainable = False
    model.compile()
    with pytest.raises(ValueError, match="nothing that can learn"):
        changes(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    assert loaded.evaluate(x, verbose=0) == pytest.approx(model.evaluate(x, verbose=0))
    for each in (model, loaded):
        for layer in each.chain.layers:
            layer.trainable = True
        each.compile()
        assert changes(each) == ["first", "embedding"]
    assert int(loaded.rule_memory.steps_done) == 8
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


def test_backward_weights_outlast_freezing_and_saving(tmp_path):
    model = rule_model(cases.network(), cases.published_rule())
    changes(model)
    kept = {k: v.numpy() for k, v in model.rule_memory.backward_weights.items()}
    freeze_first_and_compile(model)
    for name in ("once.keras", "twice.keras"):
        model.save(tmp_path / name)
        model = keras.saving.load_model(tmp_path / name)
    assert list(model.rule_memory.backward_weights) == ["6"]
    model.chain.get_layer("first").trainable = True
    model.make_train_function()
    assert sorted(model.rule_memory.backward_weights) == sorted(kept) == ["0", "6"]
    for key, values in kept.items():
        np.testing.assert_array_equal(model.rule_memory.backward_weights[key], values)


@pytest.mark.parametrize("count", [6, 7])
def test_positional_arguments(count):
    model, x, seen = rule_model(cases.network()), cases.examples(), []
    spy = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    model.fit(*(x, None, BATCH, 2, 0, [spy], 0.25)[:count])
    assert seen == [0, 1]
    x[0] = np.nan
    with pytest.raises(ValueError, match="x must be finite"):
        model.fit(*(x, None, BATCH, 2, 0, [spy], 0.25)[:count])
