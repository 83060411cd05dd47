"""Small networks, rules and data for the tests of `fit`, and a fit written out by hand."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_learned_rule.fit.callback import LearnedRule
from keras_learned_rule.fit.memory import initial_backward_weights
from keras_learned_rule.rule.mlp import Plan, UnitLayer
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta
from keras_learned_rule.rule.update import forward, inner_rate, unsupervised_update, with_memory
from keras_learned_rule.rule.update_rule import UpdateRule

FEATURES = 10
BATCH = 16
# What every fit of Keras leaves on a model.
KERAS_SETS = {"history", "stop_training", "_eval_epoch_iterator", "stop_evaluating"}


def compact_rule(**overrides):
    """The compact rule with two of its terms, which is quicker to trace."""
    spec = RuleSpec.compact(**{"terms": ("competition", "decorrelation"), **overrides})
    return UpdateRule(spec, init_theta(spec))


def learned_hebb_rule():
    """The learned Hebbian term instead of decorrelation, with coefficients that show."""
    rule = compact_rule(terms=("competition", "learned_hebb"), hidden_width=4, readout_channels=2)
    coefficients = np.full_like(rule.theta["merge/coefficients"], 0.3)
    return UpdateRule(rule.spec, {**rule.theta, "merge/coefficients": coefficients})


def published_rule(output_width=5):
    """The published rule at small sizes and a step size that shows after a few steps."""
    spec = RuleSpec.published(
        hidden_width=6,
        top_width=6,
        delta_channels=4,
        readout_channels=2,
        top_layers=0,
        output_width=output_width,
        learning_rate=0.02,
    )
    return UpdateRule(spec, init_theta(spec))


def network(dense_bias=True):
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(8, use_bias=dense_bias, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("relu"),
            layers.Dense(5, "tanh", name="embedding"),
        ]
    )


def compiled(**options):
    model = network()
    model.compile(**options)
    return model


def backward_weights(model, rule, seed):
    """What the backward weights of `network()` start from, as a list of two."""
    names = ("first", "embedding")
    kernels = [model.get_layer(name).kernel for name in names]
    # The places of the kernels in `model.weights`: 2 arrays of a Dense, 4 of the normalisation.
    places = ("0", "6")
    shapes = {place: tuple(kernel.shape) for place, kernel in zip(places, kernels, strict=True)}
    drawn = initial_backward_weights(rule.spec, shapes, seed)
    return [np.array(drawn[place]) for place in places]


def examples(count=4 * BATCH, seed=0):
    """Correlated inputs, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(FEATURES, FEATURES))
    return (rng.normal(size=(count, FEATURES)) @ mixing + 1.0).astype("float32")


def batches(x, size=BATCH):
    return [x[i : i + size] for i in range(0, len(x), size)]


def dataset(x, size=BATCH):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(x).batch(size)


def unknown_length(x, shape=(None, FEATURES)):
    """A data set of which Keras learns only at its end how long it is."""
    import tensorflow as tf

    signature = tf.TensorSpec(shape)
    return tf.data.Dataset.from_generator(lambda: iter(batches(x)), output_signature=signature)


def fit(model, x, rule=None, callbacks=(), **options):
    """A fit with a rule, in the order of the examples."""
    callbacks = [rule or LearnedRule(compact_rule()), *callbacks]
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, callbacks=callbacks, **options)


class Meddler(keras.callbacks.Callback):
    """Calls a function of the model at the first call of one of its hooks."""

    def __init__(self, hook, act):
        super().__init__()
        acts = [act]

        def run(*args, **kwargs):
            if acts:
                acts.pop()(self.model)

        setattr(self, hook, run)


def inspected(model):
    """What a refused fit must leave as it was, beside the weights."""
    variables = model.optimizer.variables if model.optimizer else []
    return {
        "optimizer": [np.array(variable).tolist() for variable in variables],
        "compiled": (model.compiled, model.get_compile_config()),
        "modes": (model.run_eagerly, model.jit_compile, model.steps_per_execution),
        "trainable": [layer.trainable for layer in model.layers],
        "evaluating": model.test_function,
        "attributes": {name for name in vars(model) if name not in KERAS_SETS},
    }


def is_keras_own(function):
    return function is None or inspect.getmodule(function).__name__.startswith("keras.")


def refused(model, match, x=None, rule=None, error=ValueError, **options):
    """Asserts that fit raises, and that nothing of the model has changed."""
    weights = arrays(model) if model.built else []
    before = inspected(model)
    with pytest.raises(error, match=match):
        fit(model, examples() if x is None else x, rule, **options)
    assert_same(weights, arrays(model) if model.built else [])
    assert inspected(model) == before
    assert is_keras_own(model.train_function)


def weights_by_hand(model, rule, steps, schedule=None, backward=(), teacher=()):
    """Iterates the pure update over `steps`, a list of batches, from the weights of `network()`.

    Args:
        schedule: List of (step, total_steps), one a batch; by default all in a row.
        backward: Initial backward weights.
        teacher: Initial weights of a teacher, bottom-up.

    Returns:
        The final state; the model is left alone.
    """
    plan = Plan((UnitLayer(ops.relu, 1e-3), UnitLayer(ops.tanh, None)))
    state = arrays_of(model)
    if not model.get_layer("first").trainable:
        below, plan = Plan(plan.layers[:1]), Plan(plan.layers[1:])
        steps = [forward(below, state[:1], ops.convert_to_tensor(x)).xs[-1] for x in steps]
        state = state[1:]
    for layer, v in zip(state, backward, strict=False):
        layer["v"] = ops.copy(v)
    state = with_memory(rule.spec, state, teacher)
    theta = {name: ops.convert_to_tensor(value) for name, value in rule.theta.items()}
    for x, position in zip(
        steps, schedule or [(i, len(steps)) for i in range(len(steps))], strict=True
    ):
        rate = inner_rate(rule.spec, *position)
        x = ops.convert_to_tensor(x, "float32")
        state, _ = unsupervised_update(rule.spec, theta, plan, state, x, rate)
    return state


def assert_model_has(model, state, tolerance=2e-5):
    for own, layer in zip(arrays_of(model)[-len(state) :], state, strict=True):
        for name in ("w", "b"):
            actual, expected = (ops.convert_to_numpy(state[name]) for state in (own, layer))
            np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def arrays_of(model):
    """The rule's state of the two layers of `network()`, but for what the rule remembers."""
    first, norm, embedding = (model.get_layer(name) for name in ("first", "norm", "embedding"))
    low = {"w": first.kernel, "b": norm.beta, "gain": norm.gamma}
    high = {"w": embedding.kernel, "b": embedding.bias}
    return [{name: ops.copy(array) for name, array in layer.items()} for layer in (low, high)]


def arrays(model):
    return [np.array(w) for w in model.get_weights()]


def assert_same(first, second, tolerance=0.0):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def twin(model):
    """An equal model with the same weights, compiled alike by the caller."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy
