"""`fit` with `LearnedRule` makes the steps of the pure update, whatever data and options."""

import fit_cases as cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from fit_cases import BATCH, FEATURES

from keras_learned_rule.fit import monitor
from keras_learned_rule.fit.callback import LearnedRule

# Six batches, so that executing three at a time does not run past the end of an epoch.
RAGGED = 5 * BATCH + 7


class Batches(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.batches = cases.batches(x)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return (self.batches[index],)


def generator(x):
    while True:
        for batch in cases.batches(x):
            yield (batch,)


def dataset(*arrays):
    data = arrays[0] if len(arrays) == 1 else arrays
    return tf.data.Dataset.from_tensor_slices(data).batch(BATCH)


def labels(x):
    return np.arange(len(x)) % 3


DATA = {
    "array": lambda x: dict(x=x, batch_size=BATCH),
    "labels": lambda x: dict(x=x, y=labels(x), batch_size=BATCH),
    "sample_weight": lambda x: dict(
        x=x, y=labels(x), sample_weight=np.ones(len(x)), batch_size=BATCH
    ),
    "tensor": lambda x: dict(x=tf.constant(x), batch_size=BATCH),
    "float64": lambda x: dict(x=x.astype("float64"), batch_size=BATCH),
    "tuple": lambda x: dict(x=(x,), batch_size=BATCH),
    "dict": lambda x: dict(x={"input": x}, batch_size=BATCH),
    "dataset": lambda x: dict(x=dataset(x)),
    "labelled dataset": lambda x: dict(x=dataset(x, labels(x))),
    "dict dataset": lambda x: dict(x=dataset({"input": x})),
    "generator": lambda x: dict(x=generator(x), steps_per_epoch=len(cases.batches(x))),
    "repeated dataset": lambda x: dict(
        x=dataset(x).repeat(), steps_per_epoch=len(cases.batches(x))
    ),
    "PyDataset": lambda x: dict(x=Batches(x)),
}
OPTIONS = {
    "default": {},
    "eager": dict(run_eagerly=True),
    "three steps": dict(steps_per_execution=3),
    "xla": dict(jit_compile=True),
    "three steps xla": dict(steps_per_execution=3, jit_compile=True),
}
PAIRS = [(data, "default") for data in DATA] + [
    ("array", "eager"),
    ("generator", "eager"),
    ("array", "three steps"),
    ("generator", "three steps"),
    ("array", "xla"),
    ("dataset", "three steps xla"),
]


def test_default_and_xla_are_two_ways_of_compiling():
    # Keras takes XLA by itself only where there is an accelerator, and tests see none.
    assert cases.compiled().jit_compile is False
    assert cases.compiled(**OPTIONS["xla"]).jit_compile is True


@pytest.mark.parametrize("data, option", PAIRS)
def test_equals_iterating_the_update_by_hand(data, option):
    x, rule = cases.examples(RAGGED), cases.compact_rule()
    model = cases.compiled(**OPTIONS[option])
    expected = cases.weights_by_hand(model, rule, 2 * cases.batches(x))
    history = model.fit(
        **DATA[data](x), epochs=2, shuffle=False, verbose=0, callbacks=[LearnedRule(rule, replay=0)]
    )
    cases.assert_model_has(model, expected)
    assert set(history.history) == {"update_size", "effective_rank"}


def test_backward_weights_take_part():
    x, rule = cases.examples(), cases.published_rule()
    model = cases.compiled()
    start = cases.backward_weights(model, rule, seed=3)
    expected = cases.weights_by_hand(model, rule, cases.batches(x), backward=start)
    callback = LearnedRule(rule, seed=3)
    model.fit(x, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[callback])
    cases.assert_model_has(model, expected)
    for v, layer, before in zip(
        callback.memory.backward_weights.values(), expected, start, strict=True
    ):
        np.testing.assert_allclose(v, layer["v"], rtol=2e-5, atol=2e-5)
        assert np.abs(v - before).max() > 1e-4


def test_integer_images_are_cast_and_not_rescaled():
    pixels = np.random.default_rng(0).integers(0, 256, (RAGGED, FEATURES), dtype="uint8")
    rule, model = cases.compact_rule(), cases.compiled()
    expected = cases.weights_by_hand(model, rule, cases.batches(pixels))
    model.fit(
        pixels, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[LearnedRule(rule, replay=0)]
    )
    cases.assert_model_has(model, expected)


def test_unknown_length_learns_it_in_the_first_epoch():
    x, rule = cases.examples(RAGGED), cases.compact_rule()
    model = cases.compiled()
    # The rate of the first step for an epoch, then the schedule of all 18 steps.
    total = 3 * len(cases.batches(x))
    expected = cases.weights_by_hand(
        model,
        rule,
        3 * cases.batches(x),
        schedule=[(0, 300)] * 6 + [(i, total) for i in range(6, 18)],
    )
    with pytest.warns(UserWarning, match="number of steps of this fit is unknown"):
        callback = LearnedRule(rule, replay=0)
        model.fit(cases.unknown_length(x), epochs=3, verbose=0, callbacks=[callback])
    cases.assert_model_has(model, expected)


def test_total_steps_stands_in_for_unknown_length():
    x, rule = cases.examples(RAGGED), cases.compact_rule()
    given = cases.compiled()
    expected = cases.weights_by_hand(given, rule, 2 * cases.batches(x))
    callback = LearnedRule(rule, replay=0, total_steps=12)
    given.fit(cases.unknown_length(x), epochs=2, verbose=0, callbacks=[callback])
    cases.assert_model_has(given, expected)


def test_traces_once(monkeypatch):
    traces = []
    step = monitor.learned_rule_step
    monkeypatch.setattr(monitor, "learned_rule_step", lambda *args: traces.append(1) or step(*args))
    model = cases.compiled()
    callback = LearnedRule(cases.compact_rule())
    model.fit(cases.examples(RAGGED), batch_size=BATCH, epochs=4, verbose=0, callbacks=[callback])
    assert len(traces) == 1


def test_last_batch_of_one_example_is_skipped():
    x, rule = cases.examples(2 * BATCH + 1), cases.compact_rule()
    model = cases.compiled()
    expected = cases.weights_by_hand(model, rule, cases.batches(x)[:2], schedule=[(0, 3), (1, 3)])
    history = model.fit(
        x, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[LearnedRule(rule, replay=0)]
    )
    cases.assert_model_has(model, expected)
    assert np.isfinite(history.history["update_size"]).all()


def test_labels_do_not_matter():
    x, rule = cases.examples(), cases.compact_rule()
    results = []
    for y in (None, labels(x)):
        keras.utils.set_random_seed(1)
        model = cases.compiled(loss="mse")
        model.fit(x, y, verbose=0, callbacks=[LearnedRule(rule)])
        results.append(cases.arrays(model))
    cases.assert_same(*results)


@pytest.mark.slow
def test_an_instance_can_be_used_again():
    x, rule = cases.examples(), cases.published_rule()
    callback = LearnedRule(rule)
    results = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        model = cases.compiled()
        model.fit(x, verbose=0, shuffle=False, callbacks=[callback])
        results.append(cases.arrays(model))
    cases.assert_same(*results)


def test_frozen_layers_stay():
    model = cases.compiled()
    before = model.get_layer("embedding").kernel.numpy()
    first = model.get_layer("first").kernel.numpy()
    callback = LearnedRule(cases.compact_rule(), freeze=("embedding",))
    model.fit(cases.examples(), verbose=0, callbacks=[callback])
    np.testing.assert_array_equal(before, model.get_layer("embedding").kernel)
    assert np.abs(first - model.get_layer("first").kernel).max() > 1e-3
