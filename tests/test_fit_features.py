"""What a user sees of a fit with the rule: features, moving statistics, logs."""

import itertools

import fit_cases as cases
import keras
import numpy as np
import pytest
from fit_cases import BATCH
from keras import layers

from keras_learned_rule.fit.callback import LearnedRule
from keras_learned_rule.fit.model import LearnedRuleModel
from keras_learned_rule.fit.probe import FewShotProbe
from keras_learned_rule.fit.readout import few_shot_accuracy
from keras_learned_rule.fit.step import effective_rank

MANY = 128 * 10


def normalised_network():
    """Batch normalisation everywhere: at the input, after a Dense with bias, at the output."""
    return keras.Sequential(
        [
            keras.Input((cases.FEATURES,)),
            layers.BatchNormalization(name="input_norm"),
            layers.Dense(16, bias_initializer="ones"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(6),
            layers.BatchNormalization(),
            layers.Activation("tanh"),
            layers.BatchNormalization(name="output_norm"),
        ]
    )


def features_on_batch_statistics(model, x):
    """Runs the layers in numpy with the statistics of all of x."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            x = (x - x.mean(0)) / np.sqrt(x.var(0) + layer.epsilon)
            x = x * layer.gamma.numpy() + layer.beta.numpy()
        else:
            x = layer(x).numpy()
    return x


def test_predict_gives_the_features_of_batch_statistics():
    model, x = normalised_network(), 5.0 + 3.0 * cases.examples(MANY)
    model.compile()
    before = features_on_batch_statistics(model, x)
    model.fit(x, batch_size=128, epochs=3, verbose=0, callbacks=[LearnedRule(cases.compact_rule())])
    expected = features_on_batch_statistics(model, x)
    error = np.linalg.norm(model.predict(x, verbose=0) - expected) / np.linalg.norm(expected)
    # 0.9 with Keras' own momentum of 0.99 after these 30 steps.
    assert error < 0.1
    assert np.linalg.norm(expected - before) > 0.2 * np.linalg.norm(before)


def test_moving_statistics_follow_the_definition():
    model, x = cases.compiled(), cases.examples()
    first, norm = model.get_layer("first"), model.get_layer("norm")
    first.bias.assign(np.arange(8.0))
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    rule = cases.compact_rule()
    for step, batch in enumerate(cases.batches(x)):
        state = cases.weights_by_hand(
            model, rule, cases.batches(x)[:step], schedule=[(i, 4) for i in range(step)]
        )
        a = batch @ state[0]["w"].numpy() + np.arange(8.0)
        keep = min(norm.momentum, (1 + step) / (10 + step))
        mean = keep * mean + (1 - keep) * a.mean(0)
        variance = keep * variance + (1 - keep) * a.var(0)
    model.fit(
        x, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[LearnedRule(rule, replay=0)]
    )
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-4, atol=1e-4)


def test_input_normalisation_moves_no_further_than_the_guard_allows():
    model, x = normalised_network(), cases.examples(2 * BATCH)
    model.compile()
    x[BATCH:] = np.nan
    with pytest.raises(ValueError, match="x must be finite"):
        model.fit(
            x,
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[LearnedRule(cases.compact_rule())],
        )
    assert all(np.isfinite(w).all() for w in model.get_weights())
    # The first of the two batches did count, with momentum 1/10.
    expected = 0.9 * x[:BATCH].mean(0)
    np.testing.assert_allclose(model.get_layer("input_norm").moving_mean, expected, rtol=1e-3)


def test_effective_rank_counts_directions():
    independent = np.random.default_rng(0).normal(size=(20000, 7)).astype("float32")
    line = np.outer(independent[:, 0], np.arange(1, 8)).astype("float32")
    for scale in (1e-12, 1.0, 1e12):
        scale = np.float32(scale)
        assert float(effective_rank(independent * scale)) == pytest.approx(7.0, rel=0.02)
        assert float(effective_rank(line * scale)) == pytest.approx(1.0)
    assert float(effective_rank(np.ones((5, 3), "float32"))) == 0.0


def test_logs_are_means_over_the_epoch():
    x, rule = cases.examples(), cases.compact_rule()
    model = cases.compiled()
    sizes = []
    schedule = [(i, 4) for i in range(4)]
    states = [
        cases.weights_by_hand(model, rule, cases.batches(x)[:n], schedule=schedule[:n])
        for n in range(5)
    ]
    for old, new in itertools.pairwise(states):
        turns = []
        for before, after in zip(old, new, strict=True):
            units = [np.array(layer["w"]) for layer in (before, after)]
            units = [w / np.linalg.norm(w, axis=0) for w in units]
            turns.append(np.sqrt(np.mean(np.sum((units[1] - units[0]) ** 2, axis=0))))
        sizes.append(turns)
    callback = LearnedRule(rule, replay=0, log_layers=True)
    logs = model.fit(x, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[callback]).history
    np.testing.assert_allclose(logs["update_size"], [np.mean(sizes)], rtol=1e-4)
    found = [logs[f"update_size/{name}"][0] for name in ("first", "embedding")]
    np.testing.assert_allclose(found, np.mean(sizes, axis=0), rtol=1e-4)


def test_layers_of_equal_names_and_layers_that_stop_learning_are_logged():
    inputs = [keras.Input((cases.FEATURES,)) for _ in "ab"]
    towers = [keras.Model(x, layers.Dense(4, name="code")(x)) for x in inputs]
    chain = keras.Model(inputs, [tower(x) for tower, x in zip(towers, inputs, strict=True)])
    x = [cases.examples()] * 2
    model = LearnedRuleModel(chain, cases.compact_rule(), log_layers=True)
    model.compile()

    def freeze(model):
        towers[1].trainable = False

    history = model.fit(
        x, epochs=2, verbose=0, callbacks=[cases.Meddler("on_epoch_end", freeze)]
    ).history
    assert len(history["update_size/code"]) == 2 and len(history["update_size/code_1"]) == 1


def test_every_layer_has_a_log_of_its_own_whatever_it_is_called():
    def tower(layer, shape):
        x = keras.Input(shape)
        return keras.Model(x, layers.Flatten()(layer(x)))

    codes = [layers.Dense(4, name=name) for name in ("code", "code", "code_1")]
    towers = [tower(code, (cases.FEATURES,)) for code in codes]
    towers.append(tower(layers.SeparableConv1D(4, 2, name="code"), (5, 3)))
    inputs = [keras.Input(tower.input_shape[1:]) for tower in towers]
    model = keras.Model(inputs, [tower(x) for tower, x in zip(towers, inputs, strict=True)])
    model.compile()
    x = [
        *[cases.examples()] * 3,
        np.random.default_rng(0).normal(size=(len(cases.examples()), 5, 3)),
    ]
    callback = LearnedRule(cases.compact_rule(), log_layers=True)
    logs = model.fit(x, verbose=0, callbacks=[callback]).history
    names = {name.partition("/")[2] for name in logs if "/" in name}
    assert names == {"code", "code_1", "code_2", "code_3"}


def test_update_size_does_not_see_the_initial_scale():
    x, sizes = cases.examples(), []
    for scale in (1.0, 5.0):
        keras.utils.set_random_seed(0)
        model = cases.compiled()
        model.get_layer("first").kernel.assign(scale * model.get_layer("first").kernel)
        rule = LearnedRule(cases.compact_rule())
        history = model.fit(x, verbose=0, shuffle=False, callbacks=[rule])
        sizes.append(history.history["update_size"][0])
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-2)
    assert sizes[0] < 0.1


def test_progress_bar_and_tensorboard_show_the_logs(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    model, x = cases.compiled(), cases.examples()
    labels = np.arange(len(x)) % 2
    probe = FewShotProbe(x, labels, shots=3, repeats=2)
    board = keras.callbacks.TensorBoard(tmp_path)
    model.fit(
        x,
        epochs=2,
        verbose=1,
        validation_data=(x,),
        callbacks=[LearnedRule(cases.compact_rule()), probe, board],
    )
    names = ("update_size", "effective_rank", "val_effective_rank", "few_shot_accuracy")
    shown = capsys.readouterr().out
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("events*"))
    for name in names:
        assert f"{name}:" in shown
        # TensorBoard shows validation under the training name, in a run of its own.
        assert f"epoch_{name.removeprefix('val_')}".encode() in written
    assert "loss" not in shown


def test_compiled_metrics_are_reported_when_there_are_labels():
    model, x = cases.compiled(metrics=["mse"], loss="mse"), cases.examples()
    y = x[:, :5]
    history = model.fit(
        x, y, validation_data=(x, y), verbose=0, callbacks=[LearnedRule(cases.compact_rule())]
    ).history
    assert "loss" not in history and "val_loss" not in history
    expected = np.mean((model.predict(x, verbose=0) - y) ** 2)
    assert history["val_mse"][-1] == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(history["mse"]).all()


def test_probe_measures_the_model_of_that_epoch():
    model, x = cases.compiled(), cases.examples()
    labels = (x[:, 0] > x[:, 0].mean()).astype(int)
    history = model.fit(
        x, epochs=2, verbose=0, callbacks=[LearnedRule(cases.compact_rule(), probe=(x, labels))]
    ).history
    accuracy = few_shot_accuracy(model, x, labels).mean
    assert history["few_shot_accuracy"][-1] == pytest.approx(accuracy, abs=1e-6)
    assert len(history["few_shot_accuracy"]) == 2


def test_probe_works_without_the_rule_and_every_few_epochs():
    model = cases.compiled(loss="mse")
    x = cases.examples()
    probe = FewShotProbe(x, np.arange(len(x)) % 2, shots=3, repeats=2, every=2)
    history = model.fit(x, x[:, :5], epochs=5, verbose=0, callbacks=[probe]).history
    assert len(history["few_shot_accuracy"]) == 2 and len(history["loss"]) == 5
