"""The published rule computes what the original code was recorded to compute."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden import FOLDER, SIZES, load, objective_spec, recordings, replay

from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.step import learned_rule_step
from keras_learned_rule.meta.objective import ObjectiveSpec, prepared_targets, ridge_objective
from keras_learned_rule.rule.merge import published_bias_change, published_change
from keras_learned_rule.rule.published import published_names
from keras_learned_rule.rule.term_names import PUBLISHED_TERMS
from keras_learned_rule.rule.terms import weight_change_terms
from keras_learned_rule.rule.update import forward
from keras_learned_rule.rule.update_rule import UpdateRule

# What single precision left of the recorded arrays, as a share of their largest entry (NAMES.md).
TOLERANCE = {
    "signals": 5e-6,
    "top_delta": 1e-5,
    "d": 3e-4,
    "h": 2.5e-4,
    "terms": 1e-4,
    "change_w": 1e-5,
    "change_b": 3e-5,
    "after1": 1e-7,
    "unroll3": 3e-7,
    "after5": 5e-7,
    "step": 1.6e-3,
    # Of features that a batch of 80 normalises, this package in double precision is 1.8e-5 away.
    "features": 2e-5,
    "meta": 1e-5,
    # Twice as much: the normal equations have condition numbers up to 4000, and a recording that
    # inverts them in single precision is itself off by the figure of NAMES.md.
    "ridge_w": 2e-4,
}
DIRECTIONS = {"forward": "change_w", "backward": "change_w_backward"}


def every(*keys):
    return pytest.mark.parametrize("name", recordings(*keys))


def assert_close(computed, recorded, tolerance):
    difference = np.max(np.abs(np.asarray(computed, "float64") - recorded))
    assert difference <= tolerance * np.max(np.abs(recorded))


@every("info_json")
def test_sizes_are_inferred_from_the_arrays(name):
    run = replay(name)
    arguments = {**run.info["learner"], **run.info["theta"]}
    for argument, field in SIZES.items():
        if argument in arguments:
            assert getattr(run.spec, field) == arguments[argument]
    assert run.spec.identical_updates == arguments.get("identical_updates", True)
    assert run.spec.output_width == arguments.get("output_size", 32)


@every("zs/0")
def test_forward_signals(name):
    run = replay(name)
    computed = {"xs": [run.signals.pres[0], *run.signals.xs], "zs": run.signals.zs}
    for key, values in computed.items():
        for i, array in run.recorded.layers(key).items():
            assert_close(values[i], array, TOLERANCE["signals"])


@every("top_delta")
def test_top_delta(name):
    run = replay(name)
    _, deltas = run.hidden
    assert_close(deltas[-1], run.recorded["top_delta"], TOLERANCE["top_delta"])


@every("h/1", "d/1")
def test_hidden_states_and_deltas(name):
    run = replay(name)
    for key, values in zip("hd", run.hidden, strict=True):
        for i, array in run.recorded.layers(key).items():
            assert_close(values[i], array, TOLERANCE[key])


@pytest.mark.parametrize(
    "name, direction",
    [(n, d) for d in DIRECTIONS for n in recordings(f"{d}_terms/0/hebb")],
)
def test_terms(name, direction):
    run = replay(name)
    for i in run.weight_layers:
        terms = weight_change_terms(PUBLISHED_TERMS, run.layer_signals(i, direction))
        for term, value in zip(PUBLISHED_TERMS, terms, strict=True):
            recorded = run.recorded[f"{direction}_terms/{i}/{term}"]
            assert_close(value, recorded, TOLERANCE["terms"])


@pytest.mark.parametrize(
    "name, direction", [(n, d) for d, key in DIRECTIONS.items() for n in recordings(f"{key}/0")]
)
def test_weight_changes(name, direction):
    run = replay(name)
    for i, recorded in run.recorded.layers(DIRECTIONS[direction]).items():
        change = published_change(run.spec, run.theta, direction, run.layer_signals(i, direction))
        assert_close(change, recorded, TOLERANCE["change_w"])


@every("change_b/0")
def test_bias_changes(name):
    run = replay(name)
    for i, recorded in run.recorded.layers("change_b").items():
        h = run.layer_signals(i, "forward").h_upper
        assert_close(published_bias_change(run.theta, h), recorded, TOLERANCE["change_b"])


@every("f64_change_w/0")
def test_changes_in_double_precision(name):
    run = replay(name, "float64")
    for direction, key in DIRECTIONS.items():
        for i, recorded in run.recorded.layers(f"f64_{key}").items():
            signals = run.layer_signals(i, direction)
            change = published_change(run.spec, run.theta, direction, signals)
            assert_close(change, recorded, 1e-6)
    for i, recorded in run.recorded.layers("f64_change_b").items():
        h = run.layer_signals(i, "forward").h_upper
        assert_close(published_bias_change(run.theta, h), recorded, 1e-6)


@every("after1/forward_w/0")
def test_one_step(name):
    run = replay(name)
    assert_states_close(run, run.after(1), "after1")
    before, recorded = run.before, run.state("after1")
    for old, new, expected in zip(before, run.after(1), recorded, strict=True):
        for key in old:
            assert_close(new[key] - old[key], (expected[key] - old[key]).numpy(), TOLERANCE["step"])


@every("after1/forward_w/0")
def test_one_step_on_a_keras_model(name):
    run = replay(name)
    model, binding = fitted(run)
    learned_rule_step(binding, run.rows(run.recorded["image"]))
    kernels, offsets = model.get_weights()[0::4], model.get_weights()[1::4]
    after = zip(kernels, offsets, binding.memory.backward_weights.values(), strict=True)
    after = [dict(zip("wbv", arrays, strict=True)) for arrays in after]
    assert_states_close(run, after, "after1")
    for old, new, expected in zip(run.before, after, run.state("after1"), strict=True):
        for key in old:
            assert_close(new[key] - old[key], (expected[key] - old[key]).numpy(), TOLERANCE["step"])


def fitted(run):
    """A Keras model with the arrays of a recording, and a binding of it."""
    model = keras.Sequential([keras.Input((run.before[0]["w"].shape[0],))])
    for arrays, layer in zip(run.before, run.plan.layers, strict=True):
        model.add(keras.layers.Dense(arrays["w"].shape[1], use_bias=False))
        model.layers[-1].kernel.assign(arrays["w"])
        model.add(keras.layers.BatchNormalization(epsilon=layer.epsilon, scale=False))
        model.layers[-1].beta.assign(arrays["b"])
        model.add(keras.layers.Activation(layer.activation))
    binding = RuleBinding(model, UpdateRule(run.spec, run.theta))
    variables = binding.memory.backward_weights.values()
    for variable, arrays in zip(variables, run.before, strict=True):
        variable.assign(arrays["v"])
    return model, binding


@every("after5/forward_w/0")
def test_five_steps_on_one_batch(name):
    run = replay(name)
    assert_states_close(run, run.after(5), "after5")


@every("unroll3/forward_w/0")
def test_three_steps_on_other_batches(name):
    run = replay(name)
    assert_states_close(run, run.unrolled(3), "unroll3")


def assert_states_close(run, state, prefix):
    for computed, recorded in zip(state, run.state(prefix), strict=True):
        for key, value in recorded.items():
            assert_close(computed[key], value.numpy(), TOLERANCE[prefix])


@pytest.mark.parametrize("name", recordings("meta0/loss"))
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_meta_objective_after_steps(name, steps):
    if steps > 1 and "unroll_images" not in load(name):
        pytest.skip("the batches of these steps were not recorded")
    recorded = load(name).under(f"meta{steps}")
    for dtype in ("float32", "float64"):
        run = replay(name, dtype)
        features = forward(run.plan, run.unrolled(steps), run.labelled()).xs[-1]
        assert_close(features, recorded["features_both"], TOLERANCE["features"])
    # In double precision only the recording's own rounding is seen, whatever kernels a CPU has.
    assert_result_close(meta_objective(run, features), recorded, TOLERANCE)


@pytest.mark.parametrize("name", recordings("f64_meta3/loss", "unroll_images"))
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_meta_objective_in_double_precision(name, steps):
    run = replay(name, "float64")
    features = forward(run.plan, run.unrolled(steps), run.labelled()).xs[-1]
    recorded = run.recorded.under(f"f64_meta{steps}")
    assert_result_close(meta_objective(run, features), recorded, {"meta": 1e-6, "ridge_w": 1e-6})


def meta_objective(run, features):
    cut = run.labels("train").size
    return ridge_objective(
        ObjectiveSpec(), features[:cut], features[cut:], run.labels("train"), run.labels("test"), 10
    )


def assert_result_close(result, recorded, tolerance):
    for key in ("loss", "mse_test", "mse_train", "ridge_component"):
        assert_close(getattr(result, key), recorded[key], tolerance["meta"])
    for key in ("accuracy_test", "accuracy_train"):
        np.testing.assert_allclose(getattr(result, key), recorded[key], atol=1e-6)
    total = result.mse_test + result.ridge_component
    assert_close(total, recorded["total_loss"], tolerance["meta"])
    assert_close(result.w, recorded["ridge_w"], tolerance["ridge_w"])


@pytest.mark.parametrize("name", recordings("f64_meta3/loss", "unroll_images"))
def test_meta_gradients(name):
    run = replay(name, "float64")
    for steps, gradient in zip((1, 3), run.meta_gradients(1, 3), strict=True):
        recorded = run.recorded.under(f"f64_metagrad{steps}")
        names = {n: theirs for n, theirs in published_names(run.spec).items() if theirs in recorded}
        assert len(names) == len(recorded)
        assert_gradients_close(
            {n: gradient[n] for n in names},
            {n: recorded[theirs].reshape(gradient[n].shape) for n, theirs in names.items()},
        )


def assert_gradients_close(computed, recorded):
    """Each array to a relative L2 error of 1e-6.

    Biases before a batch normalisation have no gradient but rounding, 1e-19 in the recordings.
    """
    whole = np.sqrt(sum(np.sum(np.square(g, dtype="float64")) for g in recorded.values()))
    assert whole > 0
    for name, expected in recorded.items():
        error = np.linalg.norm(computed[name] - np.asarray(expected, "float64"))
        assert error <= 1e-6 * np.linalg.norm(expected) + 1e-13 * whole, name


def ridge_cases():
    file = np.load(FOLDER / "lr.npz")
    variants = json.loads(str(file["variants_json"]))
    groups = sorted({key.split("/")[0] for key in file.files if "/" in key})
    return [
        pytest.param(file, group, name, arguments, id=f"{group}-{name}")
        for group in groups
        for name, arguments in variants.items()
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("file, group, variant, arguments", ridge_cases())
def test_ridge_objective_and_its_feature_gradients(file, group, variant, arguments, dtype):
    spec = objective_spec(arguments)
    train, test = (
        tf.constant(file[f"{group}/features_{part}"], dtype) for part in ("train", "test")
    )
    labels = [file[f"{group}/labels_{part}"] for part in ("train", "test")]
    with tf.GradientTape() as tape:
        tape.watch([train, test])
        result = ridge_objective(spec, train, test, *labels, 10)
    gradients = tape.gradient(result.loss, [train, test])
    prefix = f"{group}/{variant}/"
    recorded = {k.removeprefix(prefix): file[k] for k in file.files if k.startswith(prefix)}
    assert_result_close(result, recorded, {"meta": 1e-5, "ridge_w": 1e-4})
    assert_close(prepared_targets(spec, labels[0], 10, dtype), recorded["y_train"], 1e-6)
    for part, gradient in zip(("train", "test"), gradients, strict=True):
        assert_close(gradient, recorded[f"dloss_dfeatures_{part}"], 2e-5)
