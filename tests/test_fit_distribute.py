"""`fit` under MirroredStrategy, on two logical CPUs in a process of its own."""

import os
import subprocess
import sys

import pytest

START = """
import warnings

import keras
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import fit_cases as cases
import model_cases as models
from fit_cases import BATCH
from keras_learned_rule.fit.callback import LearnedRule

# The last global batch of 3 gives one replica a single example, which it must leave out.
x = cases.examples(3 * BATCH + 3)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    model = cases.network()
    model.compile()
single = cases.twin(model)
"""

QUICK = """
rule = cases.compact_rule()
step = x[:BATCH]
model.fit(step, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[LearnedRule(rule)])
halves = [cases.weights_by_hand(single, rule, [half]) for half in np.array_split(step, 2)]
for i, name in enumerate(("first", "embedding")):
    expected = np.mean([half[i]["w"] for half in halves], axis=0)
    kernel = model.get_layer(name).kernel
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=2e-5, atol=2e-5)
    copies = [copy.numpy() for copy in kernel.value.values]
    np.testing.assert_array_equal(copies[0], copies[1])
"""

PROGRAM = """
rule = cases.published_rule()
callback = LearnedRule(rule)
history = model.fit(
    x, batch_size=BATCH, epochs=1, shuffle=False, verbose=0, callbacks=[callback],
    validation_data=(x,),
)
for variable in [*model.variables, *callback.memory.variables]:
    copies = [copy.numpy() for copy in variable.value.values]
    np.testing.assert_array_equal(copies[0], copies[1], err_msg=variable.path)
assert callback.memory.steps_done.numpy() == 4
assert np.isfinite(list(history.history.values())).all()
assert set(history.history) == {"update_size", "effective_rank", "val_effective_rank"}

# By hand: the mean of the updates of both halves, from the same weights.
names = ("first", "embedding")
vs = cases.backward_weights(single, rule, seed=0)
for batch in cases.batches(x):
    halves = np.array_split(batch, 2)
    states = [
        cases.weights_by_hand(single, rule, [half], backward=vs) for half in halves if len(half) > 1
    ]
    for i, name in enumerate(names):
        layer = single.get_layer(name)
        bias = layer.bias if name == "embedding" else single.get_layer("norm").beta
        layer.kernel.assign(np.mean([s[i]["w"] for s in states], axis=0))
        bias.assign(np.mean([s[i]["b"] for s in states], axis=0))
        vs[i] = np.mean([s[i]["v"] for s in states], axis=0)
for name in names:
    np.testing.assert_allclose(
        model.get_layer(name).kernel.numpy(), single.get_layer(name).kernel.numpy(),
        rtol=2e-5, atol=2e-5,
    )

# A teacher is the same on both, and learns.
teacher = LearnedRule(cases.compact_rule(teacher=True))
model.fit(x, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[teacher])
assert len(teacher.memory.teacher) == 15
for variable in [*model.variables, *teacher.memory.variables]:
    copies = [copy.numpy() for copy in variable.value.values]
    np.testing.assert_array_equal(copies[0], copies[1], err_msg=variable.path)
assert all(np.any(values) for values in teacher.memory.decoders.values())

# Convolutions: with equal halves the replicas propose the same, which is what one device does.
images = models.batch(keras.KerasTensor((None, 8, 8, 3)), size=8)
with strategy.scope():
    cnn = models.residual_cnn()
    cnn.compile()
alone = models.residual_cnn()
alone.set_weights(cnn.get_weights())
alone.compile()
for net, data, size in ((cnn, np.concatenate([images, images]), 16), (alone, images, 8)):
    net.fit(
        data, batch_size=size, epochs=2, shuffle=False, verbose=0,
        callbacks=[LearnedRule(cases.compact_rule(), replay=0)],
    )
for a, b in zip(cnn.get_weights(), alone.get_weights()):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)

bad = x.copy()
bad[0] = np.nan  # On one replica only.
before = model.get_weights()
try:
    model.fit(
        bad, batch_size=BATCH, shuffle=False, verbose=0,
        callbacks=[LearnedRule(cases.compact_rule())],
    )
except ValueError as error:
    assert "x must be finite" in str(error), error
else:
    raise AssertionError("no error")
for a, b in zip(before, model.get_weights()):
    np.testing.assert_array_equal(a, b)

with strategy.scope():
    model.compile(steps_per_execution=2)
try:
    model.fit(x, verbose=0, callbacks=[LearnedRule(rule)])
except ValueError as error:
    assert "steps_per_execution=1" in str(error), error
else:
    raise AssertionError("no error")

with strategy.scope():
    model.compile()
with warnings.catch_warnings(record=True) as given:
    warnings.simplefilter("always")
    model.fit(x, verbose=0, callbacks=[LearnedRule(cases.compact_rule(), replay=64)])
assert any("replay=64 has no effect" in str(w.message) for w in given)
"""


def run(root, program):
    paths = os.pathsep.join([str(root), str(root / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START + program],
        env=environment,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_devices_make_the_mean_of_their_updates(root):
    run(root, QUICK)


@pytest.mark.slow
def test_replicas_agree_on_the_mean_of_their_updates(root):
    run(root, PROGRAM)
