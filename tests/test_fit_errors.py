"""Bad input to a fit with the rule: clear messages, and a model as it was before."""

import ast

import fit_cases as cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from fit_cases import BATCH, FEATURES, fit, inspected, refused
from keras import layers

from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.callback import LearnedRule
from keras_learned_rule.fit.model import LearnedRuleModel
from keras_learned_rule.fit.probe import FewShotProbe
from keras_learned_rule.fit.step import learned_rule_step
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta
from keras_learned_rule.rule.update_rule import UpdateRule


@pytest.mark.parametrize("value, jit_compile", [(np.nan, True), (np.inf, False)])
def test_bad_value_keeps_the_weights_of_the_step_before(value, jit_compile):
    model, x, rule = cases.compiled(jit_compile=jit_compile), cases.examples(), cases.compact_rule()
    expected = cases.weights_by_hand(
        model, rule, cases.batches(x)[:2], schedule=[(i, 4) for i in range(2)]
    )
    x[2 * BATCH + 3, 1] = value
    with pytest.raises(ValueError, match="x must be finite.*step 2 of the fit"):
        fit(model, x, LearnedRule(rule, replay=0))
    cases.assert_model_has(model, expected)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_bad_value_in_a_long_epoch_is_reported_before_its_end(steps):
    model, seen = cases.compiled(steps_per_execution=steps), []
    x = cases.examples(96 * BATCH)
    x[5 * BATCH] = np.nan
    count = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(batch)
    )
    with pytest.raises(ValueError, match="x must be finite.*step 5 of the fit"):
        model.fit(
            x,
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[LearnedRule(cases.compact_rule()), count],
        )
    assert max(seen) <= 5 + 16


def test_diverging_weights_stop_the_fit_with_the_last_good_ones():
    spec = RuleSpec.published(
        hidden_width=6,
        top_width=6,
        delta_channels=4,
        readout_channels=2,
        output_width=5,
        learning_rate=1e13,
    )
    model, x = cases.compiled(), cases.examples()
    with pytest.warns(RuntimeWarning, match="become non-finite in step [0-9]+ of the fit"):
        history = fit(model, x, LearnedRule(UpdateRule(spec, init_theta(spec))), epochs=10)
    assert len(history.epoch) < 10
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert model.train_function is None


def test_batches_of_one_example():
    model = cases.compiled()
    before = cases.arrays(model)
    with pytest.raises(ValueError, match="at least 2 examples. Received: a batch of 1 example"):
        model.fit(
            cases.examples(), batch_size=1, verbose=0, callbacks=[LearnedRule(cases.compact_rule())]
        )
    cases.assert_same(before, cases.arrays(model))


def test_model_not_compiled():
    with pytest.raises(ValueError, match="must call `compile"):
        fit(cases.network(), cases.examples())
    with pytest.raises(ValueError, match="must call `compile"):
        LearnedRuleModel(cases.network(), cases.compact_rule()).fit(cases.examples(), verbose=0)


def test_model_not_built():
    model = keras.Sequential([layers.Dense(4)])
    model.compile()
    refused(model, "not built")
    assert not model.built
    with pytest.raises(ValueError, match="not built"):
        LearnedRuleModel(model, cases.compact_rule())


def test_no_model():
    with pytest.raises(ValueError, match="must be a keras.Model. Received: 3"):
        LearnedRuleModel(3, cases.compact_rule())


def test_metrics_without_labels():
    refused(cases.compiled(metrics=["mse"]), "needs labels.*Received: y=None")


def test_moving_average_of_weights():
    optimizer = keras.optimizers.SGD(use_ema=True)
    refused(cases.compiled(optimizer=optimizer), "use_ema=False. Received: use_ema=True")


def test_a_layer_that_a_rule_with_a_neuron_network_does_not_support():
    model = keras.Sequential(
        [keras.Input((FEATURES,)), layers.Dense(5), layers.LayerNormalization()]
    )
    model.compile()
    refused(model, "layer_normalization.*freeze=", rule=LearnedRule(cases.published_rule()))


def test_double_precision():
    model = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(4, dtype="float64")])
    model.compile()
    refused(model, "in float32. Received: .* float64")


def test_published_theta_on_another_width():
    rule = LearnedRule(cases.published_rule(output_width=32))
    refused(cases.compiled(), "32 units only.*Received: a model with 5 output units", rule=rule)


@pytest.mark.parametrize(
    "x, match",
    [
        (np.ones((8, FEATURES + 1), "float32"), r"input shape \(None, 10\). Received: .*11"),
        (np.ones((8, 2, FEATURES), "float32"), "input shape"),
        ((np.ones((8, FEATURES)), np.ones((8, FEATURES))), "hold one array.*Received: 2 arrays"),
        (tf.ragged.constant([[1.0, 2.0], [1.0]] * 8), "of one size.*to_tensor.*Received: a ragged"),
        (cases.dataset([["a"] * FEATURES] * 8), "real numbers. Received: dtype string"),
        (
            cases.dataset({"label": np.ones(8), "pixels": np.ones((8, FEATURES))}),
            r"model's input 'input_layer.*lambda batch.*Received: keys \['label', 'pixels'\]",
        ),
        (cases.unknown_length(cases.examples(), shape=None), "known number of axes"),
    ],
)
@pytest.mark.filterwarnings("ignore:The number of steps")
def test_wrong_input(x, match):
    refused(cases.compiled(), match, x=x)


def test_unknown_layer_to_freeze():
    rule = LearnedRule(cases.compact_rule(), freeze=("sceond",))
    refused(cases.compiled(), "sceond", rule=rule)


@pytest.mark.parametrize(
    "options, match",
    [
        (dict(rule="no_such_preset"), "no_such_preset"),
        (dict(rule=3), "rule must be an UpdateRule.*Received: 3"),
        (dict(freeze=None), "freeze must be a list or tuple.*Received: None"),
        (dict(freeze="first"), "freeze must be a list or tuple.*Received: 'first'"),
        (dict(freeze=(3,)), r"freeze must be a list or tuple.*Received: \(3,\)"),
        (dict(seed=-1), "seed must be an integer of at least 0. Received: -1"),
        (dict(seed=None), "Received: None"),
        (dict(total_steps=0), "total_steps must be None or an integer of at least 1. Received: 0"),
        (dict(total_steps=1.5), "Received: 1.5"),
        (dict(total_steps=True), "Received: True"),
        (dict(log_layers=1), "log_layers must be True or False. Received: 1"),
        (dict(probe=np.ones(3)), "pair"),
        (dict(probe=(3, 4)), "same length. Received: None and None"),
        (dict(probe=(np.ones((4, 2)), [0, 0, 1, 1])), "more than shots=10"),
    ],
)
def test_wrong_arguments(options, match):
    options = {"rule": cases.compact_rule(), **options}
    with pytest.raises(ValueError, match=match):
        LearnedRule(**options)
    if "probe" not in options:
        makers = [LearnedRuleModel] if "log_layers" in options else [RuleBinding, LearnedRuleModel]
        for make in makers:
            with pytest.raises(ValueError, match=match):
                make(cases.network(), **options)


@pytest.mark.parametrize("same", [False, True])
def test_two_rules_in_a_fit(same):
    model = cases.compiled()
    rules = [LearnedRule(cases.compact_rule()) for _ in range(2)]
    rules = rules[:1] * 2 if same else rules
    before = inspected(model)
    with pytest.raises(ValueError, match="callbacks may hold one LearnedRule.*Received: several"):
        model.fit(cases.examples(), callbacks=rules, verbose=0)
    assert inspected(model) == before


def test_a_step_of_a_model_that_is_not_bound():
    with pytest.raises(ValueError, match="binding must be a RuleBinding.*Received: Sequential"):
        learned_rule_step(cases.network(), cases.examples())


def test_missing_theta_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.safetensors"):
        LearnedRule(tmp_path / "nothing.safetensors")


def test_rule_from_a_file(tmp_path):
    rule = cases.compact_rule()
    rule.save(tmp_path / "mine.safetensors")
    for path in (tmp_path / "mine.safetensors", str(tmp_path / "mine.safetensors")):
        assert LearnedRule(path).rule.spec == rule.spec


def test_wrong_probe():
    for name, value in [("every", 0), ("every", 0.5), ("seed", -1)]:
        with pytest.raises(ValueError, match=f"{name} must be .* Received: {value}"):
            FewShotProbe(np.ones((4, 2)), [0, 0, 1, 1], shots=1, **{name: value})
    with pytest.raises(ValueError, match="same length. Received: 5 and 4"):
        FewShotProbe(np.ones((5, 2)), [0, 0, 1, 1], shots=1)


PROBE = (np.ones((40, FEATURES + 1)), np.arange(40) % 2)
PROBE_ERROR = r"x of the probe must have the model's input shape \(None, 10\). Received: .*40, 11"


def test_probe_of_another_shape():
    refused(cases.compiled(), PROBE_ERROR, rule=LearnedRule(cases.compact_rule(), probe=PROBE))


def test_ragged_probe():
    probe = (tf.ragged.constant([[1.0] * FEATURES, [1.0]] * 20), np.arange(40) % 2)
    rule = LearnedRule(cases.compact_rule(), probe=probe)
    refused(cases.compiled(), "x of the probe .* Received: shape .*ragged", rule=rule)


@pytest.mark.parametrize("wrap", [lambda chain: chain, LearnedRuleModel])
def test_probe_callback_of_another_shape(wrap):
    model, x, seen = wrap(cases.network()), cases.examples(), []
    model.compile(loss="mse")
    spy = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    with pytest.raises(ValueError, match=PROBE_ERROR):
        model.fit(x, x[:, :5], verbose=0, callbacks=[FewShotProbe(*PROBE), spy])
    assert not seen


def test_another_backend(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "openvino")
    match = "'tensorflow', 'jax', 'torch'; set .*Received: backend='openvino'"
    refused(cases.compiled(), match, error=RuntimeError)


def test_frameworks_are_imported_only_in_their_adapters(root):
    package = root / "keras_learned_rule"
    for path in [*(package / "fit").glob("*.py"), *(package / "model").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in getattr(node, "names", []) if isinstance(a, ast.alias)]
            for name in (*names, str(getattr(node, "module", ""))):
                assert name.split(".")[0] not in ("tensorflow", "jax", "torch"), path
