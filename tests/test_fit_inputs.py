"""Batches and outputs in other forms than one dense array learn what that array would."""

import functools

import fit_cases as cases
import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from fit_cases import BATCH, FEATURES
from keras import layers

from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.callback import LearnedRule
from keras_learned_rule.fit.model import LearnedRuleModel
from keras_learned_rule.fit.step import learned_rule_step

CLASSES = np.arange(4 * BATCH) % 2


def bcoo(x):
    return pytest.importorskip("jax.experimental.sparse").BCOO.fromdense(x)


def sparse_examples():
    return np.maximum(cases.examples(), 0)


def chain(outputs=lambda tensor: tensor, name=None, inputs=lambda tensor: tensor, **options):
    """A chain of two layers; the functions put its input and output into structures."""
    keras.utils.set_random_seed(3)
    tensor = keras.Input((FEATURES,), name=name)
    hidden = layers.Dense(8, "relu")(tensor)
    model = keras.Model(inputs(tensor), outputs(layers.Dense(5, "tanh")(hidden)))
    model.compile(**options)
    return model


def learned(model, x, **options):
    """The weights after a fit on x, and the logs of it."""
    rule = LearnedRule(cases.compact_rule())
    history = cases.fit(model, x, rule, **options).history
    return cases.arrays(model), history


def assert_same_fit(first, second):
    cases.assert_same(first[0], second[0], tolerance=1e-6)
    assert first[1] == {name: pytest.approx(values) for name, values in second[1].items()}


@pytest.mark.parametrize(
    "sparse", [tf.sparse.from_dense, scipy.sparse.csr_array, scipy.sparse.csr_matrix, bcoo]
)
def test_sparse_examples(sparse):
    x = sparse_examples()
    assert_same_fit(learned(chain(), sparse(x)), learned(chain(), x))


def test_sparse_validation_and_probe():
    x = sparse_examples()
    logs = []
    for given in (x, scipy.sparse.csr_array(x)):
        rule = LearnedRule(cases.compact_rule(), probe=(given, CLASSES))
        logs.append(cases.fit(chain(), x, rule, validation_data=(given, CLASSES)).history)
    assert {"val_effective_rank", "few_shot_accuracy"} < set(logs[0])
    assert logs[0] == {name: pytest.approx(values) for name, values in logs[1].items()}


@pytest.mark.parametrize("sparse", [tf.sparse.from_dense, scipy.sparse.csr_array])
def test_sparse_steps(sparse):
    x, models = sparse_examples(), [chain(), chain()]
    for model, given in zip(models, (x, sparse(x)), strict=True):
        learned_rule_step(RuleBinding(model, cases.compact_rule()), given)
    cases.assert_same(cases.arrays(models[0]), cases.arrays(models[1]), tolerance=1e-6)


def test_ragged_validation_gives_the_model_back():
    model = chain()
    ragged = tf.ragged.constant([[1.0] * FEATURES, [1.0]] * 8)
    with pytest.raises(ValueError, match="examples of one size"):
        cases.fit(model, cases.examples(), validation_data=(ragged,))
    assert model.train_function is None and model.test_function is None


@pytest.mark.parametrize(
    "key, options",
    [
        ("image", {"name": "image"}),
        ("keras", {"inputs": lambda tensor: {"keras": tensor}}),
        (None, {}),
    ],
)
@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict", "error:The structure of")
def test_the_input_is_found_by_its_name(key, options):
    x, model = cases.examples(), chain(**options)
    batch = {"label": CLASSES, "zebra": x[:, :3], key or model.inputs[0].name: x}
    data = cases.dataset(batch)
    found = learned(model, data, validation_data=data)
    assert_same_fit(found, learned(chain(), x, validation_data=(x,)))


def test_the_input_of_a_learned_rule_model_is_found_by_its_name():
    x, models = cases.examples(), []
    for given in (x, {"image": x, "label": CLASSES}):
        models.append(LearnedRuleModel(chain(name="image"), cases.compact_rule()))
        models[-1].compile()
        models[-1].fit(given, batch_size=BATCH, shuffle=False, verbose=0)
    cases.assert_same(cases.arrays(models[0]), cases.arrays(models[1]), tolerance=1e-6)


@pytest.mark.slow
def test_an_output_in_a_structure():
    x, logs = cases.examples(), []
    for structure in (lambda y: y, lambda y: {"features": y}, lambda y: [y]):
        model = chain(structure, metrics=structure(["mse"]))
        labels = structure(x[:, :5])
        rule = LearnedRule(cases.compact_rule(), probe=(x, CLASSES))
        history = cases.fit(model, x, rule, y=labels, validation_data=(x, labels)).history
        logs.append(list(history.values()))
    assert len(logs[0]) == 6
    np.testing.assert_allclose(logs[1:], [logs[0]] * 2, rtol=1e-5)


def compiled_step(binding):
    step = tf.function(functools.partial(learned_rule_step, binding))
    return step.get_concrete_function(tf.TensorSpec((None, FEATURES)))


def eager_step(binding):
    return functools.partial(learned_rule_step, binding)


@pytest.mark.parametrize("make, replay", [(compiled_step, "auto"), (eager_step, 0)])
def test_an_empty_batch_changes_nothing(make, replay):
    model, x = chain(), tf.constant(cases.examples())
    binding = RuleBinding(model, cases.compact_rule(), replay=replay)
    step = make(binding)
    step(x)
    before = cases.arrays(model)
    assert float(step(x[:0])["applied"]) == 0
    cases.assert_same(before, cases.arrays(model))
    assert not binding.raise_on_failure()
    assert float(step(x)["applied"]) == 1
