"""Watching layers: what is seen, and that nothing of it is left behind."""

import itertools
import threading

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_learned_rule.model.draws import combined_seed, drawn_among, drawn_rows
from keras_learned_rule.model.tapping import watched
from keras_learned_rule.model.trace import trace


def dense(name="dense"):
    layer = layers.Dense(3, name=name)
    layer.build((None, 2))
    return layer


def names_seen(layer, seen):
    def watcher(layer, number, call, args, kwargs):
        seen.append(layer.name)
        return call(*args, **kwargs)

    with watched([layer], watcher):
        return layer(np.ones((1, 2), "float32"))


def test_a_watched_layer_computes_the_same_and_is_given_back():
    layer, seen = dense(), []
    expected = layer(np.ones((1, 2), "float32"))
    np.testing.assert_array_equal(names_seen(layer, seen), expected)
    assert seen == ["dense"] and "call" not in vars(layer)


def test_a_call_that_was_on_the_instance_is_put_back():
    layer = dense()
    own = vars(layer)["call"] = lambda x: x + 1
    np.testing.assert_array_equal(names_seen(layer, []), [[2, 2]])
    assert vars(layer)["call"] is own


def test_an_error_inside_gives_the_layer_back():
    layer = dense()
    with pytest.raises(ZeroDivisionError), watched([layer], lambda *_: 1 / 0):
        layer(np.ones((1, 2), "float32"))
    assert "call" not in vars(layer)


def test_threads_see_their_own_calls_alone():
    layer, outer, inner = dense(), [], []

    def watcher(layer, number, call, args, kwargs):
        if not outer:
            outer.append(layer.name)
            thread = threading.Thread(target=names_seen, args=(layer, inner))
            thread.start()
            thread.join()
        return call(*args, **kwargs)

    with watched([layer], watcher):
        layer(np.ones((1, 2), "float32"))
        assert "call" in vars(layer)
    assert outer == ["dense"] and inner == ["dense"] and "call" not in vars(layer)


class Residual(keras.Model):
    """A subclassed model with a layer made of layers, and a sum outside of any layer."""

    def __init__(self):
        super().__init__()
        self.first, self.block, self.last = dense("first"), Block(), dense("last")

    def call(self, x, training=None):
        h = self.first(x)
        return self.last(ops.concatenate([h[:, :1], h[:, :1]], -1) + self.block(h)[:, :2])


class Block(layers.Layer):
    def __init__(self):
        super().__init__(name="block")
        self.inner = layers.Dense(3, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)


def test_the_trace_of_a_subclassed_model():
    model = Residual()
    model(np.ones((2, 2), "float32"))
    before = [np.array(weight) for weight in model.weights]
    found = trace(model, keras.KerasTensor((None, 2)))
    assert [call.layer.name for call in found.calls] == ["first", "inner", "block", "last"]
    first, inner, block, last = found.calls
    assert first.inputs[0].key in found.given and last.outputs[0].key in found.returned
    assert inner.inputs == first.outputs and block.inner == (inner,)
    assert block.outputs == inner.outputs and last.inputs[0].key != block.outputs[0].key
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_the_trace_numbers_the_calls_of_a_shared_layer():
    shared, a, b = dense(), keras.Input((2,)), keras.Input((2,))
    model = keras.Model([a, b], layers.Add()([shared(a), shared(b)]))
    found = trace(model, [keras.KerasTensor((None, 2))] * 2)
    assert [(call.layer.name, call.number) for call in found.calls[:2]] == [
        ("dense", 0),
        ("dense", 1),
    ]
    assert len(found.given) == 2


def test_drawn_rows_are_uniform_and_differ_from_seed_to_seed():
    rows = np.array([drawn_rows(4096, 10_000, ops.array(seed)) for seed in range(8)])
    assert rows.min() >= 0 and rows.max() < 10_000
    counts = np.histogram(rows, bins=20, range=(0, 10_000))[0]
    # Chi-squared of 19 degrees of freedom: above 43.8 in one of a thousand.
    assert np.sum((counts - counts.mean()) ** 2) / counts.mean() < 43.8
    overlap = [len(set(a) & set(b)) / 4096 for a, b in itertools.pairwise(rows)]
    # Two independent draws share about a third of their distinct values.
    assert max(overlap) < 0.4
    correlation = np.corrcoef(rows[0][:-1], rows[0][1:])[0, 1]
    assert abs(correlation) < 0.06


def test_seeds_of_steps_and_sites_differ():
    seeds = [int(combined_seed(*parts)) for parts in np.ndindex(2, 12, 15)]
    assert len(set(seeds)) == len(seeds)


def test_drawn_rows_are_all_where_there_are_few():
    np.testing.assert_array_equal(drawn_rows(8, 5, ops.array(3)), range(5))
    unknown = ops.convert_to_tensor(5, "int32")
    np.testing.assert_array_equal(drawn_rows(8, unknown, ops.array(3)), range(5))
    many = ops.convert_to_tensor(10_000, "int32")
    np.testing.assert_array_equal(
        drawn_rows(8, many, ops.array(3)), drawn_rows(8, 10_000, ops.array(3))
    )


def test_rows_are_drawn_among_those_kept():
    kept = np.random.default_rng(0).random(5000) < 0.3
    rows = np.array(drawn_among(ops.array(kept), 2000, ops.array(1)))
    assert len(rows) == 2000 and kept[rows].all()
    counts = np.histogram(rows, bins=20, range=(0, 5000))[0]
    expected = 2000 * np.histogram(np.flatnonzero(kept), bins=20, range=(0, 5000))[0] / kept.sum()
    assert np.sum((counts - expected) ** 2 / expected) < 43.8
    # Too few to choose from: all of them, in turn.
    for count in (5000, None):
        repeated = np.bincount(drawn_among(ops.array(kept), count, ops.array(1)), minlength=5000)
        assert set(repeated[kept]) == {5000 // kept.sum(), 5000 // kept.sum() + 1}
        assert not repeated[~kept].any()
    for count, drawn in ((2, 2), (None, 4)):
        none = drawn_among(ops.zeros(4, "bool"), count, ops.array(0))
        np.testing.assert_array_equal(none, np.zeros(drawn))
