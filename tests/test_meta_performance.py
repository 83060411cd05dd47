"""Rematerialisation changes the memory and not the meta-gradient; nothing is traced twice."""

import children
import numpy as np
import pytest
import rule_cases
import tensorflow as tf

from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.tasks import TaskSpec
from keras_learned_rule.meta.unroll import InnerData, unroll


@pytest.fixture(scope="module")
def report():
    """What `remat_child.py` found out on JAX."""
    pytest.importorskip("jax")
    return children.finish(children.start_script("remat_child.py", {}, "jax"))


@pytest.mark.slow
def test_rematerialisation_leaves_the_meta_gradient_of_jax(report):
    kept, recomputed = (np.array(report["gradients"][name]) for name in ("kept", "recomputed"))
    assert np.all(np.abs(kept).max(axis=1) > 1e-3)
    np.testing.assert_allclose(recomputed, kept, rtol=0, atol=1e-3 * np.abs(kept).max())


@pytest.mark.slow
def test_rematerialisation_leaves_the_meta_gradient_of_tensorflow():
    """In float64, where rounding does not grow to anything over three steps."""
    engine, task = make_engine(), TaskSpec(NetworkSpec((6, 5)), ways=3, shots=2, tests=4, batch=10)
    theta, _, state, x = rule_cases.case(rule_cases.CHEAP, (7, 6, 5), 30)
    labelled = rule_cases.random_examples(3 * 18, 7, seed=5)
    data = InnerData(tf.reshape(x, (3, 10, 7)), tf.reshape(labelled, (3, 18, 7)))

    @tf.function
    def gradient(problem):
        def mean_loss(theta):
            return tf.reduce_mean(unroll(engine, problem, task, theta, state, data, 0, 9)[0]), ()

        return engine.value_and_gradient(mean_loss, theta)[2]

    kept, recomputed = (gradient(Problem(rule_cases.CHEAP, remat=remat)) for remat in (False, True))
    assert max(np.abs(g).max() for g in kept.values()) > 1e-3
    for name, expected in kept.items():
        np.testing.assert_allclose(recomputed[name], expected, rtol=1e-6, atol=1e-10)


@pytest.mark.slow
def test_updates_after_the_first_trace_nothing(report):
    assert report["tracings"] == {"kept": 1, "recomputed": 1}


@pytest.mark.slow
def test_rematerialised_memory_grows_by_less_than_a_fifth(report):
    """Of what it grows otherwise. TensorFlow does not tell what XLA sets aside."""
    kept, recomputed = (np.diff(report["reserved"][name])[0] for name in ("kept", "recomputed"))
    assert kept > 0
    assert recomputed < kept / 5
