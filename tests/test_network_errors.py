"""Models that cannot be read are refused with a message that names the layer and the way out."""

import warnings

import keras
import pytest
from keras import layers
from test_network_read import sequential

from keras_learned_rule.network.read import read_plan


def refuse(model, *fragments, **options):
    with pytest.raises(ValueError) as refusal:
        read_plan(model, **options)
    message = str(refusal.value)
    for fragment in (*fragments, "Received: "):
        assert fragment in message, message


def test_an_unsupported_layer():
    model = sequential((8, 8, 1), layers.Conv2D(2, 3, name="conv"), layers.Dense(3))
    refuse(model, "'conv' (Conv2D)", "not supported", "learns Dense", "freeze=('conv',)")
    refuse(model, "BatchNormalization", "Dropout", "Flatten", "LeakyReLU", "Rescaling")
    read_plan(model, freeze=("conv",))


def test_a_subclass_of_a_supported_layer():
    class Squared(layers.Dense):
        def call(self, inputs, training=None):
            return super().call(inputs) ** 2

    refuse(sequential((4,), Squared(3, name="square")), "'square' (Squared)", "freeze=('square',)")


def test_a_nonlinearity_with_weights():
    model = sequential((4,), layers.Dense(3), layers.PReLU(name="prelu"), layers.Dense(3))
    refuse(model, "'prelu' (PReLU)", "not supported", "freeze=('prelu',)")
    inside = sequential((4,), layers.Dense(3, activation=layers.PReLU(), name="dense"))
    refuse(inside, "activation of layer 'dense'", "weights of its own", "freeze=('dense',)")
    wrapped = sequential((4,), layers.Dense(3), layers.Activation(layers.PReLU(), name="act"))
    refuse(wrapped, "activation of layer 'act'", "weights of its own")


def test_branches():
    inputs = keras.Input((4,))
    x = layers.Dense(4)(inputs)
    refuse(keras.Model(inputs, layers.Add(name="add")([x, inputs])), "'add' (Add) has 2 inputs")
    refuse(keras.Model(inputs, x + inputs), "(Add) has 2 inputs", "not a chain")
    refuse(keras.Model(inputs, [x, inputs]), "it has 1 inputs and 2 outputs")
    other = keras.Input((4,))
    both = layers.Concatenate()([inputs, other])
    refuse(keras.Model([inputs, other], both), "it has 2 inputs and 1 outputs")


def test_an_operation_outside_of_layers():
    inputs = keras.Input((4,))
    refuse(keras.Model(inputs, layers.Dense(3)(inputs / 2.0)), "(TrueDivide)", "operation outside")


def test_a_call_with_further_arguments():
    class Scaled(layers.Dense):
        def call(self, inputs, scale=1.0, training=None):
            return super().call(inputs) * scale

    inputs = keras.Input((4,))
    model = keras.Model(inputs, Scaled(3, name="scaled")(inputs, scale=2.0))
    refuse(model, "'scaled' (Scaled) is called with further arguments")


def test_a_layer_used_twice():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    refuse(keras.Model(inputs, shared(shared(inputs))), "'shared' is used twice")


def test_a_nested_model_used_twice():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="inner")])
    refuse(keras.Model(inputs, inner(inner(inputs))), "'inner' is used twice")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def test_a_subclassed_model():
    model = Subclassed()
    model(keras.ops.zeros((1, 4)))
    refuse(model, "`call` of its own", "Sequential", "LearnedRuleModel", "Subclassed")


def test_a_chain_with_a_call_of_its_own():
    class Doubled(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training=training, mask=mask)

    inputs = keras.Input((4,))
    refuse(Doubled(inputs, layers.Dense(3)(inputs)), "`call` of its own", "Doubled")


def test_a_nested_subclassed_model():
    inner = Subclassed()
    inner(keras.ops.zeros((1, 4)))
    model = sequential((4,), layers.Dense(4), inner)
    refuse(model, "(Subclassed)", f"freeze=('{inner.name}',)")


def test_a_model_that_is_not_built():
    refuse(keras.Sequential([layers.Dense(3)]), "is not built", "keras.Input", "model.build")
    refuse(Subclassed(), "is not built")


def test_something_else_than_a_model():
    refuse(layers.Dense(3), "keras.Model")


def test_nothing_that_learns():
    model = sequential((4,), layers.Flatten(), layers.Dense(3, name="only"))
    refuse(model, "no layer that can learn", freeze=("only",))
    model.trainable = False
    refuse(model, "no layer that can learn", "trainable=False")
    refuse(sequential((4,), layers.Flatten()), "no layer that can learn")


def test_unknown_names_in_freeze():
    model = sequential((4,), layers.Dense(3, name="one"), layers.Dense(2, name="two"))
    refuse(model, "does not have", "one, two", "('three',)", freeze=("three",))
    refuse(model, "list or tuple", "freeze=('dense',)", freeze="one")


def test_mixed_precision():
    model = sequential((4,), layers.Dense(3, dtype="mixed_bfloat16", name="mixed"))
    refuse(model, "'mixed'", "mixed precision", "compute_dtype=bfloat16")


def test_dense_layers_that_are_more_than_dense():
    lora = sequential((4,), layers.Dense(3, name="dense"))
    lora.layers[0].enable_lora(1)
    refuse(lora, "'dense'", "LoRA", "freeze=('dense',)")
    refuse(sequential((4,), layers.Dense(3, kernel_constraint="unit_norm")), "constraint")
    refuse(sequential((4,), layers.Dense(3, bias_constraint="non_neg")), "constraint")
    quantised = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    quantised.quantize("int8")
    refuse(quantised, "quantised (int8)")


@pytest.mark.parametrize(
    "options, received",
    [
        ({"axis": 1}, "axis=1"),
        ({"beta_constraint": "non_neg"}, "constraint"),
    ],
)
def test_options_of_batch_normalisation(options, received):
    norm = layers.BatchNormalization(name="norm", **options)
    model = sequential((5, 4), layers.Dense(3), norm, layers.ReLU())
    refuse(model, "'norm' (BatchNormalization)", received)


def test_batch_renormalisation():
    model = sequential((4,), layers.Dense(3), layers.BatchNormalization(name="norm"))
    model.layers[1].renorm = True  # The argument is newer than the oldest Keras we support.
    refuse(model, "'norm' (BatchNormalization)", "renorm=True")


def test_batch_normalisation_frozen_behind_a_layer_that_learns():
    norm = layers.BatchNormalization(name="norm")
    model = sequential((4,), layers.Dense(3, name="dense"), norm, layers.Dense(2))
    refuse(model, "'norm'", "freeze=('dense', 'norm')", freeze=("norm",))
    norm.trainable = False
    refuse(model, "'norm'", "frozen", "'dense'")
    model.layers[0].trainable = False
    read_plan(model)


def test_softmax_over_another_axis_than_the_units():
    model = sequential((5, 4), layers.Dense(3), layers.Softmax(axis=1, name="soft"))
    refuse(model, "'soft' (Softmax)", "last axis", "axis=1")


def test_a_head_is_warned_of_unless_it_is_frozen():
    model = sequential((4,), layers.Dense(3), layers.Dense(2, "softmax", name="head"))
    with pytest.warns(UserWarning, match=r"'head' ends in a softmax.*freeze=\('head',\)"):
        read_plan(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_plan(model, freeze=("head",))


@pytest.mark.parametrize("above", [layers.BatchNormalization, layers.ReLU])
def test_something_between_weights_and_nonlinearity(above):
    model = sequential(
        (4,), layers.Dense(3, name="dense"), layers.Dropout(0.1, name="drop"), above(name="above")
    )
    refuse(model, "'above'", "must follow layer 'dense'", "Move 'drop' (Dropout)")


def test_an_axis_of_unknown_length_behind_a_reshape():
    model = sequential(
        (None, 6), layers.Dense(6), layers.Reshape((-1, 3), name="split"), layers.Dense(2, name="d")
    )
    refuse(model, "'d'", "unknown length", "'split'")


@pytest.mark.parametrize(
    "between, freeze",
    [
        ([layers.Dense(3, name="x")], ("x",)),
        ([layers.LayerNormalization(name="x")], ("x",)),
        ([layers.Dropout(0.1), layers.ReLU(name="x")], ()),
    ],
)
def test_no_deltas_through_layers_without_derivative(between, freeze):
    model = sequential((4,), layers.Dense(3, "tanh"), *between, layers.Dense(2, name="top"))
    refuse(model, "'x'", "no derivative", "'top'", "compact", freeze=freeze, deltas=True)


def test_places_that_mix_the_units_below():
    model = sequential(
        (2, 3), layers.Dense(12, name="low"), layers.Reshape((3, 8)), layers.Dense(4, name="top")
    )
    assert len(read_plan(model).plan.layers) == 2
    refuse(model, "'low'", "'top'", "compact", "Received: 8 inputs, 12 units", deltas=True)


def test_layers_below_the_first_unit_layer_need_no_derivative():
    model = sequential((4,), layers.Dense(3, name="x"), layers.ReLU(), layers.Dense(2))
    assert len(read_plan(model, freeze=("x",), deltas=True).plan.layers) == 1
