"""What TPUs need of meta-training, as far as a machine without one can tell."""

import functools
import importlib.util

import children
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from keras_learned_rule import RuleBinding, stateless_learned_rule_step
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.engines.tensorflow import TensorFlowEngine
from keras_learned_rule.meta.engines.tpu import VARIABLES
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.trainer import MetaTrainer
from keras_learned_rule.rule.spec import RuleSpec


def load_lowering():
    path = ROOT / "benchmarks" / "tpu_lowering.py"
    spec = importlib.util.spec_from_file_location("tpu_lowering", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class SameDraws(TensorFlowEngine):
    """Draws alike with and without XLA, as TensorFlow's are for integers and seeds above 0."""

    @staticmethod
    def fold_in(seed, number):
        return tf.bitwise.bitwise_and(tf.random.fold_in(seed, number), 2**31 - 1)

    @staticmethod
    def uniform(seed, shape):
        bits = tf.random.stateless_uniform(shape, seed, None, None, "int32")
        return tf.cast(tf.bitwise.right_shift(tf.bitcast(bits, "uint32"), 8), "float32") * 2.0**-24

    @staticmethod
    def normal(seed, shape):
        return tf.math.ndtri(1e-6 + (1.0 - 2e-6) * SameDraws.uniform(seed, shape))


lowering = load_lowering()
PROGRAMS = (lowering.META_STEP, lowering.META_UPDATE, lowering.EVALUATION)


def tiny_programs(engine):
    rule = RuleSpec.compact(terms=("competition", "decorrelation"))
    problem = Problem(rule, ObjectiveSpec(coefficient_share=0.3))
    network = NetworkSpec((8, 6))
    return lowering.programs(engine, problem, network, batch=12, truncation=2)


@pytest.fixture(scope="module")
def programs():
    return tiny_programs(SameDraws())


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_xla_computes_what_tensorflow_computes(programs, name):
    function, arguments = programs[name]
    plain, compiled = (
        tf.nest.flatten(tf.function(function, jit_compile=jit, autograph=False)(*arguments))
        for jit in (False, True)
    )
    assert any(np.any(np.asarray(a) != 0) for a in plain)
    for one, same in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_float64_no_dynamic_shapes_and_nothing_on_the_host(programs, name):
    hlo = lowering.lowered(*programs[name], platform="CPU")
    assert "f32[" in hlo
    assert lowering.hlo_problems(hlo) == []


@pytest.mark.parametrize(
    "function, problem",
    [
        (lambda x: tf.cast(x, "float64") * 2, "type f64"),
        (lambda x: tf.boolean_mask(x, x > 0), "dynamic shapes"),
    ],
)
def test_what_is_wrong_is_found(function, problem):
    assert problem in lowering.hlo_problems(lowering.lowered(function, (tf.ones(3),), "CPU"))


def fit_program():
    """(function, arguments) of a step of `fit` on a convolutional model with a branch."""
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(4, 3, activation="relu", padding="same")(x)
    z = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(y))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([y, z]))
    model = keras.Model(x, keras.layers.Dense(4, activation="relu")(pooled))
    binding = RuleBinding(model, total_steps=10)
    step = functools.partial(stateless_learned_rule_step, binding)
    return step, (binding.state(), np.ones((16, 8, 8, 3), "float32"))


JAX = """
import json
import jax
import test_meta_tpu
found = {}
programs = test_meta_tpu.tiny_programs(test_meta_tpu.make_engine())
programs["fit"] = test_meta_tpu.fit_program()
for name, (function, arguments) in programs.items():
    exported = jax.export.export(jax.jit(function), platforms=["tpu"])(*arguments)
    found[name] = exported.mlir_module()
print(json.dumps(found))
"""


@pytest.mark.slow
def test_jax_lowers_all_of_it_for_tpus():
    for name, module in children.report_of_jax(JAX).items():
        assert "f32>" in module, name
        for word in ("f64>", "callback", "stablehlo.send", "infeed", "outfeed", "<?"):
            assert word not in module, name


def test_vectorised_tasks_are_refused_where_xla_compiles_tensorflow():
    problem = Problem(RuleSpec.compact(terms=("competition",)), vectorize=True)
    engine = TensorFlowEngine(jit_compile=True)
    with pytest.raises(ValueError, match="vectorize must be False.*Received: vectorize=True with"):
        MetaTrainer(engine, problem, [], [], {}, updates=1)


def test_a_tpu_needs_its_environment(monkeypatch):
    for name in VARIABLES[1:]:
        monkeypatch.setenv(name, "true")
    monkeypatch.delenv(VARIABLES[0], raising=False)
    with pytest.raises(ValueError, match=r"docs/tpu.md .*Received: none of \['PJRT_DEVICE'\]"):
        make_engine(strategy="tpu")


def test_a_machine_without_a_tpu_is_told_so(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "true")
    with pytest.raises(ValueError, match="needs a TPU of this machine.*Received: TPUs not found"):
        make_engine(strategy="tpu")
