"""Fits of models of every form, against models of another form that must learn the same."""

import fit_cases
import keras
import model_cases as cases
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_learned_rule import LearnedRule, LearnedRuleModel, RuleBinding, learned_rule_step
from keras_learned_rule.fit.statistics import WarmMomentum
from keras_learned_rule.fit.watching import watch
from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.model.sites import find_sites

RULE = fit_cases.compact_rule()


def fitted(model, x, epochs=2, **options):
    model.compile(**options)
    model.fit(x, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[rule()])
    return model


def rule(**options):
    return LearnedRule(RULE, **{"replay": 0, **options})


def values(variables):
    return [np.array(variable) for variable in variables]


def learned(sites):
    kernels = [site.kernel for site in sites.learning]
    return kernels + [site.bias for site in sites.learning if site.bias is not None]


@pytest.mark.parametrize("make", cases.LEARNING)
def test_models_of_every_form_learn(make):
    model = make()
    sites = find_sites(model, model_inputs(model))
    left = [w for layer in sites.left for w in layer.trainable_variables if w.path]
    before, kept = values(learned(sites)), values(left)
    x = cases.batch(model_inputs(model))
    fitted(model, x)
    for variable, old in zip(learned(sites), before, strict=True):
        assert np.isfinite(variable).all() and np.abs(variable - old).max() > 1e-4, variable.path
    for variable, old in zip(left, kept, strict=True):
        np.testing.assert_array_equal(variable, old)
    assert not [layer.name for layer in model._flatten_layers() if "call" in vars(layer)]
    model.predict(x, verbose=0)


def copied(source, target):
    target.set_weights(
        [np.reshape(a, b.shape) for a, b in zip(source.get_weights(), target.weights, strict=True)]
    )
    return target


def assert_same_weights(first, second, tolerance=2e-5):
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(np.ravel(a), np.ravel(b), rtol=tolerance, atol=tolerance)


def stack(first, *above):
    norm, relu = layers.BatchNormalization(), layers.ReLU()
    return keras.Sequential([first[0], first[1], norm, relu, *above])


def test_a_convolution_over_the_whole_image_learns_what_a_dense_layer_learns():
    x = cases.batch(keras.KerasTensor((None, 3, 4, 2)), size=32)
    end = [layers.Flatten(), layers.Dense(4)]
    conv = stack([keras.Input((3, 4, 2)), layers.Conv2D(6, (3, 4))], *end)
    dense = stack([keras.Input((24,)), layers.Dense(6)], layers.Dense(4))
    copied(conv, dense)
    fitted(conv, x), fitted(dense, x.reshape(32, -1))
    assert_same_weights(conv, dense)


def test_a_pointwise_convolution_learns_what_a_dense_layer_learns_on_positions():
    x = cases.batch(keras.KerasTensor((None, 3, 4, 2)), size=32)
    conv = stack([keras.Input((3, 4, 2)), layers.Conv2D(6, 1, activation="relu")])
    dense = stack([keras.Input((3, 4, 2)), layers.Dense(6, activation="relu")])
    copied(conv, dense)
    assert_same_weights(fitted(conv, x), fitted(dense, x))


def test_groups_learn_what_convolutions_of_their_own_learn():
    x = cases.batch(keras.KerasTensor((None, 7, 4)), size=32)
    grouped = keras.Sequential([keras.Input((7, 4)), layers.Conv1D(6, 3, groups=2)])
    inputs = keras.Input((7, 4))
    apart = keras.Model(
        inputs,
        layers.Concatenate()(
            [layers.Conv1D(3, 3)(inputs[..., :2]), layers.Conv1D(3, 3)(inputs[..., 2:])]
        ),
    )
    kernel, bias = grouped.get_weights()
    apart.set_weights([kernel[..., :3], bias[:3], kernel[..., 3:], bias[3:]])
    fitted(grouped, x), fitted(apart, x)
    first, first_bias, second, second_bias = apart.get_weights()
    kernel, bias = grouped.get_weights()
    np.testing.assert_allclose(kernel, np.concatenate([first, second], -1), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(bias, np.concatenate([first_bias, second_bias]), atol=2e-5)


def test_shared_weights_learn_from_all_their_uses_at_once():
    model, x = cases.siamese(), cases.batch(keras.KerasTensor((None, 6)), size=32)
    encoder = keras.models.clone_model(model.get_layer("encoder"))
    copied(model, encoder)
    # Batches of 8 pairs are batches of 16 to an encoder that is used once.
    pairs = x.reshape(2, 2, 8, 6)
    fitted(model, [pairs[:, 0].reshape(16, 6), pairs[:, 1].reshape(16, 6)])
    encoder.compile()
    encoder.fit(x, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[rule()])
    assert_same_weights(model, encoder)


def test_a_head_and_branches_beside_make_no_difference():
    x = cases.batch(keras.KerasTensor((None, 10)), size=32)
    plain = fit_cases.network()
    inputs = keras.Input((10,))
    code = keras.models.clone_model(plain)(inputs)
    branched = keras.Model(inputs, [layers.Dense(3, activation="softmax")(code), code])
    branched.set_weights([*plain.get_weights(), *branched.get_weights()[-2:]])
    fitted(plain, x), fitted(branched, x)
    fit_cases.assert_same(plain.get_weights(), branched.get_weights()[:-2], 2e-5)


@pytest.mark.slow
def test_a_sample_of_positions_is_drawn_anew_each_step_and_equal_for_equal_seeds():
    x = cases.batch(keras.KerasTensor((None, 8, 8, 3)))
    ends = []
    for seed, examples in ((0, 40), (0, 40), (1, 40), (0, None)):
        keras.utils.set_random_seed(0)
        model = cases.residual_cnn()
        model.compile()
        callback = rule(seed=seed, examples=examples)
        model.fit(x, batch_size=8, shuffle=False, verbose=0, callbacks=[callback])
        ends.append(model.get_layer("inner").kernel.numpy())
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 1e-3 and np.abs(ends[0] - ends[3]).max() > 1e-3


def rows_seen(steps):
    """The first patches that a site sees in each step."""
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 1)])
    sites = find_sites(model, model_inputs(model))
    x = np.arange(64 * 16, dtype="float32").reshape(16, 8, 8, 1)
    warm = WarmMomentum(model)
    seen = [watch(model, sites, warm, x, 32, 0, step)[0].examples for step in range(steps)]
    return np.array(seen)[..., 0]


def test_every_step_draws_other_positions():
    rows = rows_seen(4)
    assert len({tuple(own) for own in rows}) == 4


MASKED = {
    "dense": lambda: layers.Dense(5, activation="relu"),
    "heads": lambda: layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"),
    "convolution": lambda: layers.Conv1D(5, 1, padding="same"),
}


@pytest.mark.parametrize("case", MASKED)
@pytest.mark.filterwarnings("error:Layer '_mask_of")
def test_masked_positions_are_no_examples(case):
    x = cases.batch(keras.KerasTensor((None, 4, 3)), size=32)
    # Two of the four positions count, so that each counts twice.
    masked = np.argsort(np.random.default_rng(0).random((32, 4)), axis=1) < 2
    kept = x[~masked].reshape(32, 2, 3)
    model = keras.Sequential([keras.Input((4, 3)), layers.Masking(), MASKED[case]()])
    plain = keras.Sequential([keras.Input((2, 3)), MASKED[case]()])
    copied(model, plain)
    for each, given in ((model, np.where(masked[..., None], 0, x)), (plain, kept)):
        each.compile()
        own = fit_cases.compact_rule(running_competition=False)
        callback = LearnedRule(own, replay=0)
        each.fit(given, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
    assert_same_weights(model, plain)


@pytest.mark.parametrize("make", [cases.text, cases.lstm])
def test_integers_in_a_last_batch_that_is_smaller(make):
    model, other = make(), make()
    x = cases.batch(model_inputs(model), size=20)
    copied(model, other)
    fitted(model, x, epochs=1)
    binding = RuleBinding(other, RULE, total_steps=3, replay=0)
    for batch in (x[:8], x[8:16], x[16:]):
        assert learned_rule_step(binding, batch)["applied"] == 1
    assert_same_weights(model, other)


ATTENTION = {
    "heads": lambda: layers.MultiHeadAttention(2, 3),
    "groups": lambda: layers.GroupQueryAttention(3, 2, 1),
}


@pytest.mark.parametrize("case", ATTENTION)
def test_attention_learns_from_what_it_would_see_without_padding(case):
    tokens, images = keras.Input((None,), dtype="int32"), keras.Input((5, 4))
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    x = ATTENTION[case]()(embedded, embedded)
    x = ATTENTION[case]()(x, images)
    model = keras.Model([tokens, images], [x, layers.Dense(3)(embedded)])
    sites = find_sites(model, model_inputs(model))
    texts = np.random.default_rng(0).integers(1, 9, (16, 2))
    images = cases.batch(images)
    padded, plain = (
        watch(model, sites, WarmMomentum(model), [x, images], None, 0, 0)
        for x in (np.pad(texts, [(0, 0), (0, 3)]), texts)
    )
    assert [len(own.examples) for own in plain].count(16 * 2) == 7
    for own, other in zip(padded, plain, strict=True):
        # Those kept are repeated in turn.
        expected = np.resize(other.examples, own.examples.shape)
        np.testing.assert_allclose(own.examples, expected, rtol=1e-5, atol=1e-6)


def masked_tokens(shared):
    inputs = [keras.Input((6,), dtype="int32") for _ in range(1 + shared)]
    embed, code = layers.Embedding(9, 4, mask_zero=True), layers.Dense(5, name="code")
    return keras.Model(inputs, [code(embed(tokens)) for tokens in inputs])


def test_weights_stay_where_all_positions_are_masked():
    model = masked_tokens(shared=0)
    before = values(model.weights)
    fitted(model, np.zeros((16, 6), "int32"))
    fit_cases.assert_same(values(model.weights), before)


def test_a_use_whose_positions_are_all_masked_adds_nothing():
    twice, once = masked_tokens(shared=1), masked_tokens(shared=0)
    copied(twice, once)
    x = np.random.default_rng(0).integers(1, 9, (16, 6))
    # Running competition goes by the number of examples, and these count twice.
    own = fit_cases.compact_rule(running_competition=False)
    for model, given in ((twice, [x, 0 * x]), (once, x)):
        learned_rule_step(RuleBinding(model, own, replay=0), given)
    assert_same_weights(twice, once)


def test_towers_of_equal_names_see_their_own_examples():
    inputs = [keras.Input((6,), name=name) for name in "ab"]
    towers = [keras.Sequential([keras.Input((6,)), layers.Dense(4, name="hidden")]) for _ in inputs]
    model = keras.Model(inputs, [tower(x) for tower, x in zip(towers, inputs, strict=True)])
    x = cases.batch(model_inputs(model))
    apart = [keras.Sequential([keras.Input((6,)), layers.Dense(4)]) for _ in inputs]
    weights = model.get_weights()
    apart[0].set_weights(weights[:2]), apart[1].set_weights(weights[2:])
    fitted(model, x)
    for i, own in enumerate(apart):
        fitted(own, x[i])
        fit_cases.assert_same(model.get_weights()[2 * i : 2 * i + 2], own.get_weights(), 2e-5)


def test_statistics_of_a_normalisation_that_is_called_several_times():
    encoder = stack([keras.Input((6,)), layers.Dense(5)])
    left, right = keras.Input((6,)), keras.Input((6,))
    shared = keras.Model([left, right], layers.Subtract()([encoder(left), encoder(right)]))
    frames = keras.Input((12, 6))
    timed = keras.Sequential([frames, layers.TimeDistributed(encoder), layers.Dense(4)])
    pairs = 0.1 * cases.batch(model_inputs(timed), size=32)
    for model, x in ((shared, [pairs[:, 0], pairs[:, 1]]), (timed, pairs)):
        fitted(model, x, epochs=3)
        norm = encoder.layers[1]
        # Batch variances are near that of the units of unit norm, and there was a start of 1.
        assert 0 < norm.moving_variance.numpy().min() and norm.moving_variance.numpy().max() < 1
        assert np.abs(norm.moving_mean).max() < 1


def test_a_teacher_stays_away_where_layers_see_other_examples():
    model = cases.siamese()
    joint = keras.Model(model.inputs, layers.Dense(8, "relu")(model.output))
    x, start = cases.batch(model_inputs(joint)), joint.get_weights()
    joint.compile()
    joint.fit(
        x, batch_size=8, verbose=0, callbacks=[LearnedRule(fit_cases.compact_rule(teacher=True))]
    )
    assert not any(np.array_equal(a, b) for a, b in zip(start, joint.get_weights(), strict=True))


def test_a_teacher_stays_away_where_positions_become_examples():
    inputs = keras.Input((24,))
    rows = ops.reshape(layers.Dense(12, "tanh")(inputs), (-1, 4))
    x, learns = cases.batch(keras.KerasTensor((None, 24))), []
    for model in (keras.Model(inputs, rows), keras.Model(inputs, layers.Dense(4, "tanh")(rows))):
        binding = RuleBinding(model, fit_cases.compact_rule(teacher=True), replay=0)
        learns.append(bool(binding.memory.teacher))
        assert learned_rule_step(binding, x)["applied"] == 1
    assert learns == [True, False]


class ForSixteen(keras.Model):
    def __init__(self):
        super().__init__()
        self.low, self.top = layers.Dense(6, "relu"), layers.Dense(4)

    def call(self, x):
        return self.top(ops.reshape(self.low(x), (16, 6)))


def test_batches_of_one_size_and_teachers(recwarn):
    rule = fit_cases.compact_rule(teacher=True)
    stated = keras.Sequential([keras.Input((10,), batch_size=16), layers.Dense(4)])
    assert RuleBinding(stated, rule, replay=0).memory.teacher and not recwarn
    model = ForSixteen()
    model(np.zeros((16, 10), "float32"))
    RuleBinding(model, fit_cases.compact_rule(), replay=0)
    assert not recwarn
    with pytest.warns(UserWarning, match="No teacher.*no batch of 6 .*-1.*Received: ") as warned:
        assert not RuleBinding(model, rule, replay=0).memory.teacher
    assert warned[0].filename == __file__


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": True}])
def test_eager_and_compiled_fits_agree(options):
    x = cases.batch(keras.KerasTensor((None, 8, 8, 3)))
    model, other = cases.residual_cnn(), cases.residual_cnn()
    copied(model, other)
    assert_same_weights(fitted(model, x, 1, jit_compile=False), fitted(other, x, 1, **options))


@pytest.mark.slow
def test_own_loops_and_steps_per_execution_do_what_fit_does():
    x = cases.batch(keras.KerasTensor((None, 8, 8, 3)))
    model, looped, several = (cases.residual_cnn() for _ in range(3))
    copied(model, looped), copied(model, several)
    fitted(model, x, 1), fitted(several, x, 1, steps_per_execution=2)
    binding = RuleBinding(looped, RULE, total_steps=2, replay=0)
    step = tf.function(learned_rule_step)
    for batch in (x[:8], x[8:]):
        assert step(binding, batch)["applied"] == 1
    assert_same_weights(model, several)
    assert_same_weights(model, looped)


@pytest.mark.parametrize("make", [cases.towers, cases.subclassed])
def test_a_model_that_is_wrapped_learns_the_same(make):
    chain, other = make(), make()
    x = cases.batch(model_inputs(chain))
    copied(chain, other)
    model = LearnedRuleModel(chain, RULE, total_steps=4, replay=0)
    model.compile()
    model.fit(x, batch_size=8, epochs=2, shuffle=False, verbose=0)
    assert_same_weights(chain, fitted(other, x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns_nearly_the_same(policy):
    x = cases.batch(keras.KerasTensor((None, 8, 8, 3)), size=64)
    model = cases.residual_cnn()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = cases.residual_cnn()
    finally:
        keras.config.set_dtype_policy("float32")
    assert mixed.get_layer("stem").compute_dtype != "float32"
    copied(model, mixed)
    start = model.get_layer("stem").kernel.numpy()
    fitted(model, x), fitted(mixed, x)
    kernel, expected = (m.get_layer("stem").kernel for m in (mixed, model))
    assert kernel.dtype == "float32"
    moved = np.linalg.norm(expected - start)
    assert np.linalg.norm(kernel - expected) < 0.1 * moved


def test_non_finite_batches_leave_the_model_as_it_was():
    x = cases.batch(keras.KerasTensor((None, 8, 8, 3)))
    x[3, 2, 1, 0] = np.nan
    model = cases.residual_cnn()
    before = model.get_weights()
    with pytest.raises(ValueError, match="x must be finite"):
        fitted(model, x, run_eagerly=True)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not [layer.name for layer in model._flatten_layers() if "call" in vars(layer)]


def test_frozen_parts_run_in_inference_mode():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.GaussianNoise(1.0, name="noise"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(4, 3),
        ]
    )
    frozen = keras.models.clone_model(model)
    copied(model, frozen)
    x = cases.batch(keras.KerasTensor((None, 8, 8, 3)))
    frozen.compile()
    frozen.fit(x, verbose=0, callbacks=[rule(freeze=("noise", "norm"))])
    np.testing.assert_array_equal(frozen.get_layer("norm").moving_mean, np.zeros(3))
    plain = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)])
    plain.set_weights([model.layers[-1].kernel, model.layers[-1].bias])
    # At its beginning batch normalisation in inference mode divides by sqrt(1 + epsilon).
    plain.compile()
    plain.fit(x / np.sqrt(1.001), verbose=0, callbacks=[rule()])
    assert_same_weights(plain, keras.Sequential([frozen.layers[-1]]))


def test_inputs_by_name_among_other_keys():
    model, x = cases.towers(), cases.batch(model_inputs(cases.towers()))
    other = copied(model, cases.towers())
    fitted(model, x)
    data = tf.data.Dataset.from_tensor_slices({**x, "label": np.arange(16)}).batch(8)
    other.compile()
    other.fit(data, epochs=2, verbose=0, callbacks=[rule()])
    assert_same_weights(model, other)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda x: {"user": x["user"]}, r"none of its keys is the model's input 'item'|'item'"),
        (lambda x: {**x, "item": x["item"][:, :3]}, r"x\['item'\] must have the model's input"),
    ],
)
def test_inputs_that_do_not_fit(spoil, message):
    model = cases.towers()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        fitted(model, spoil(cases.batch(model_inputs(model))))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_inputs_of_different_batch_sizes():
    x = cases.batch(model_inputs(cases.towers()))
    binding = RuleBinding(cases.towers(), RULE)
    with pytest.raises(ValueError, match="as many examples.*{'item': 8, 'user': 16}"):
        learned_rule_step(binding, {**x, "item": x["item"][:8]})
