"""Which weights of a model learn, what stands behind them, and where they are in the network."""

import keras
import model_cases as cases
import numpy as np
import pytest
from keras import activations, layers, ops

from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.model.sites import find_sites


def sites_of(model, freeze=()):
    return find_sites(model, model_inputs(model), freeze)


def by_name(model, **options):
    return {site.name: site for site in sites_of(model, **options).learning}


def left_of(model, **options):
    return {layer.name: reason for layer, reason in sites_of(model, **options).left.items()}


@pytest.mark.parametrize("make", cases.LEARNING)
def test_what_learns_of_models_of_every_form(make):
    found = sites_of(make())
    names = [site.name for site in found.learning]
    assert sorted(names) == sorted(cases.LEARNING[make])
    held = {*(site.kind.layer for site in found.learning), *(s.norm for s in found.learning)}
    assert not held & set(found.left)


def test_layers_that_stay_say_why():
    assert left_of(cases.residual_cnn()) == {"classes": "a head"}
    assert left_of(cases.lstm())["lstm_cell"] == "inside 'memory'"
    assert left_of(cases.text())["tokens"] == "of a kind that does not learn"
    assert left_of(cases.unet())["up"] == "of a kind that does not learn"


def test_what_stands_behind_weights():
    found = by_name(cases.residual_cnn())
    stem, inner, separable = found["stem"], found["inner"], found["separable"]
    assert stem.norm.name == "stem_norm" and stem.bias is stem.norm.beta
    assert inner.norm.name == "inner_norm" and separable.bias is separable.kind.layer.bias
    z = ops.convert_to_tensor([[-1.0, 2.0]])
    for site in (stem, inner, separable):
        np.testing.assert_array_equal(site.activation(z), [[0, 2]])
    pointwise = by_name(cases.grouped_cnn())["pointwise"]
    assert pointwise.norm.name == "layer_norm" and pointwise.bias is pointwise.norm.beta
    np.testing.assert_allclose(pointwise.activation(z), activations.gelu(z))


PRELUS = {
    "positions": (layers.Dense(2), (4, 3), None),
    "shared positions": (layers.Conv1D(2, 1), (4, 3), [1]),
    "shared units": (layers.Conv1D(2, 1), (4, 3), [2]),
    "unknown positions": (layers.Conv1D(2, 1), (None, 3), [1]),
    "heads": (layers.EinsumDense("abc,cde->abde", (4, 2, 3)), (4, 5), None),
    "channels first": (layers.Conv1D(2, 1, data_format="channels_first"), (3, 4), None),
}


@pytest.mark.parametrize("case", PRELUS)
def test_the_slopes_of_a_prelu_are_averaged_over_positions(case):
    layer, shape, shared = PRELUS[case]
    model = chain(layer, prelu := layers.PReLU(shared_axes=shared), shape=shape)
    alpha = np.random.default_rng(0).normal(size=prelu.alpha.shape).astype("float32")
    prelu.alpha.assign(alpha)
    (site,) = sites_of(model).learning
    # The slopes of all units at each position, by the layer itself.
    size = [n or 1 for n in model.output_shape[1:]]
    slopes = -np.array(prelu(-np.ones((1, *size), "float32")))
    rows = site.kind.positions(ops.convert_to_tensor(slopes))
    expected = -np.mean(rows, axis=0, keepdims=True)
    found = site.activation(-np.ones((1, site.kind.n_upper), "float32"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(site.activation(-found * 0 + 2), np.full_like(expected, 2))


def test_a_kernel_with_a_normalisation_for_each_use():
    inputs, dense = keras.Input((6,)), layers.Dense(4, name="shared")
    norms = [layers.BatchNormalization(name=name) for name in ("first", "second")]
    model = keras.Model(inputs, [norm(dense(inputs)) for norm in norms])
    (site,) = sites_of(model).learning
    first, further = (use.norm[0] for use in site.uses)
    assert site.norm is first and site.bias is first.beta and {first, further} == {*norms}
    assert left_of(model) == {further.name: "normalises a further use of 'shared'"}


def test_a_sum_is_normalised_for_what_comes_next():
    found = by_name(cases.transformer())
    assert found["attention_output"].norm is None and found["down_0"].norm is None


def test_places_in_a_residual_network():
    found = by_name(cases.residual_cnn())
    assert found["stem"].place == (True, False, 2, 6)
    assert found["inner"].place == (False, False, 2, 6)
    assert found["separable"].place == (False, True, 2, 6)


def test_places_in_branches_and_of_shared_weights():
    found = by_name(cases.towers())
    assert found["item_code"].place == (True, True, 1, 5)
    assert found["user_hidden"].place == (True, False, 1, 7)
    assert found["user_code"].place == (False, True, 1, 7)
    shared = by_name(cases.siamese())
    assert shared["hidden"].place == (True, False, 1, 5) and len(shared["hidden"].uses) == 2


def test_sums_outside_of_layers_come_from_all_weights_before():
    places = [site.place for site in sites_of(cases.subclassed()).learning]
    assert [(place.first, place.last) for place in places] == [
        (True, False),
        (False, False),
        (False, False),
        (False, True),
    ]
    assert places[0].hidden == 3


def test_frozen_by_name_by_attribute_and_as_part_of_a_frozen_model():
    model = cases.residual_cnn()
    model.get_layer("inner").trainable = False
    left = left_of(model, freeze=("stem",))
    assert left["inner"] == left["stem"] == "frozen" and "stem_norm" in left
    assert left_of(cases.siamese(), freeze=("hidden",)) == {"hidden": "frozen"}


def test_normalisation_that_is_frozen_offsets_nothing():
    site = by_name(cases.residual_cnn(), freeze=("stem_norm",))["stem"]
    assert site.bias is None and site.uses[0].norm is not None


def test_a_frozen_variable_inside_a_layer_that_learns():
    model = cases.residual_cnn()
    stem, separable = model.get_layer("stem"), model.get_layer("separable")
    stem.kernel.trainable = separable.bias.trainable = False
    model.get_layer("inner_norm").beta.trainable = False
    found = by_name(model)
    assert (
        left_of(model)["stem"] == "its kernel is frozen" and stem.trainable and "stem" not in found
    )
    assert found["inner"].bias is None and found["separable"].bias is None


@pytest.mark.parametrize("loop", cases.LOOPS)
def test_what_runs_in_a_loop_cannot_be_watched(loop):
    model = cases.looped(loop)
    assert list(by_name(model)) == ["last"] and "cannot be watched" in left_of(model)["inner"]


@pytest.mark.parametrize("name", ["predictions", "logits", "my_head", "classifier_2"])
def test_heads_are_known_by_name_and_by_softmax(name):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2, name=name)])
    assert left_of(model) == {name: "a head"}
    soft = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.Dense(2, name="end"), layers.Softmax()]
    )
    assert left_of(soft) == {"end": "a head"}


def test_no_head_in_the_middle_or_of_another_name():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="head"), layers.Dense(2)])
    assert left_of(model) == {}


def chain(*above, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *above])


def test_layers_that_return_their_input_are_passed():
    model = chain(layers.Dense(4), layers.Dropout(0.0), layers.Identity(), layers.ReLU())
    (site,) = sites_of(model).learning
    np.testing.assert_array_equal(site.activation(np.float32([[-1, 2]])), [[0, 2]])
    assert len(sites_of(chain(layers.Dense(4), layers.Identity())).learning) == 1


def test_every_output_may_be_a_head():
    inputs = keras.Input((6,))
    code = layers.Dense(4, name="code")(inputs)
    outputs = [layers.Dense(3, "softmax", name=name)(code) for name in "ab"]
    outputs.append(layers.Softmax()(layers.Reshape((2,))(layers.Dense(2, name="c")(code))))
    assert left_of(keras.Model(inputs, outputs)) == dict.fromkeys("abc", "a head")


def test_casts_of_mixed_precision_are_followed():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        end = layers.Activation("softmax", dtype="float32")
        model = chain(layers.Dense(4), layers.ReLU(dtype="float32"), layers.Dense(3, name="c"), end)
        towers = by_name(cases.towers())
    finally:
        keras.config.set_dtype_policy("float32")
    found = sites_of(model)
    np.testing.assert_array_equal(found.learning[0].activation(np.float32([[-1, 2]])), [[0, 2]])
    assert [layer.name for layer in found.left] == ["c"]
    assert towers["user_hidden"].place.first and towers["item_code"].place == (True, True, 1, 5)


def test_masks_are_no_signals():
    tokens = [keras.Input((5,), dtype="int32", name=name) for name in "ab"]
    pooled = [
        layers.GlobalAveragePooling1D()(layers.Embedding(9, 4, mask_zero=True)(t)) for t in tokens
    ]
    model = keras.Model(tokens, [layers.Dense(3)(t) for t in pooled])
    assert all(site.place == (True, True, 0, None) for site in sites_of(model).learning)


def test_offsets_of_positions_and_shared_offsets_are_left_alone():
    across = chain(layers.Dense(6), layers.BatchNormalization(axis=1), shape=(6, 6))
    assert sites_of(across).learning[0].bias is None
    inputs, norm = keras.Input((6,)), layers.BatchNormalization()
    shared = keras.Model(inputs, [norm(layers.Dense(4)(inputs)) for _ in range(2)])
    assert [site.bias is None for site in sites_of(shared).learning] == [False, True]


def changed(method, *arguments):
    """A chain of two layers, the second of which a method of its own has changed."""
    model = keras.Sequential([keras.Input((6,)), *(layers.Dense(5, name=n) for n in NAMES)])
    getattr(model.get_layer(NAMES[1]), method)(*arguments)
    return model


NAMES = "first", "second"
WRONG = {
    "a name that is not there": (
        lambda: (cases.siamese(), ("nose",)),
        r"`freeze` names a layer that model '\w+' does not have.*Received: freeze=\('nose',\)",
    ),
    "a string": (lambda: (cases.siamese(), "hidden"), "must be a list or tuple of layer names"),
    "nothing learns": (
        lambda: (cases.siamese(), ("encoder",)),
        r"nothing that can learn.*'hidden' \(frozen\), 'code' \(frozen\)",
    ),
    "nothing but a head": (
        lambda: (keras.Sequential([keras.Input((4,)), layers.Dense(2, "softmax")]), ()),
        r"nothing that can learn.*\(a head\)",
    ),
    "no weights": (
        lambda: (keras.Sequential([keras.Input((4,)), layers.ReLU()]), ()),
        "Received: no layer with weights",
    ),
    "an offset with a constraint": (
        lambda: (
            keras.Sequential(
                [
                    keras.Input((4,)),
                    layers.Dense(3),
                    layers.LayerNormalization(beta_constraint="non_neg", name="norm"),
                ]
            ),
            (),
        ),
        r"'norm' has a constraint.*freeze=\('norm',\)",
    ),
    "LoRA": (
        lambda: (changed("enable_lora", 2), ()),
        r"'second' has LoRA enabled.*freeze=\('second',\)",
    ),
    "quantised weights": (
        lambda: (changed("quantize", "int8"), ("first",)),
        r"nothing that can learn.*'first' \(frozen\), 'second' \(quantised\)",
    ),
    "units that become fewer": (
        lambda: (keras.Sequential([keras.Input((4,)), layers.Dense(6, "glu", name="gated")]), ()),
        r"layer 'gated' must keep the number of units.*Received: 6 units in, 3 out",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_the_layer(case):
    make, message = WRONG[case]
    model, freeze = make()
    with pytest.raises(ValueError, match=message):
        sites_of(model, freeze)


def test_a_model_that_is_not_built():
    with pytest.raises(ValueError, match="not built.*Received: Subclassed with built=False"):
        model_inputs(cases.Subclassed())
    with pytest.raises(ValueError, match=r"must be a keras\.Model"):
        model_inputs(layers.Dense(3))


def test_the_inputs_of_models():
    assert model_inputs(cases.subclassed()).shape == (None, 5)
    towers = model_inputs(cases.towers())
    assert {name: tensor.shape for name, tensor in towers.items()} == {
        "user": (None, 6),
        "item": (None, 4),
    }
    assert model_inputs(cases.text()).dtype == "int32"
