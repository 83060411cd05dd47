"""What `fit` promises on every backend, as checks of one process; see `test_fit_backends.py`.

    KERAS_BACKEND=jax python backend_child.py '["a_fit_is_the_rule_written_out", ...]'

prints a json dict from the names of checks to what went wrong, "" where nothing did. With a path
in place of the names it writes weights there, as npz.
"""

import functools
import json
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import fit_cases as cases
import keras
import model_cases as models
import numpy as np
import pytest
from fit_cases import BATCH, Meddler
from keras import ops

from keras_learned_rule import (
    FewShotProbe,
    LearnedRule,
    LearnedRuleModel,
    RuleBinding,
    learned_rule_step,
    stateless_learned_rule_step,
)
from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.model.sites import find_sites

BACKEND = keras.config.backend()
TOLERANCE = 1e-4
# Four batches and a ragged one.
X = cases.examples(4 * BATCH + 5)
Y = X[:, :5]
RULE = cases.compact_rule()
# What every backend must do; the first is a quick one.
CHECKS = {}
# What needs several devices of JAX.
DEVICE_CHECKS = {}
# What needs two processes of JAX, as KERAS_DISTRIBUTION_* describe them.
PROCESS_CHECKS = {}


def check(function, table=CHECKS):
    table[function.__name__] = function
    return function


def rule(**options):
    return LearnedRule(RULE, **{"replay": 0, **options})


@functools.cache
def by_hand(steps=None, count=5):
    """The state after a fit of a network from the weights of `fresh`."""
    return cases.weights_by_hand(
        fresh(), RULE, cases.batches(X)[:steps], [(i, count) for i in range(count)][:steps]
    )


def tuples(steps=None):
    return [(x,) for x in cases.batches(X)[:steps]]


def fresh(**options):
    """A network that always has the same weights."""
    keras.utils.set_random_seed(0)
    return cases.compiled(**options)


def given_back(model):
    assert cases.is_keras_own(model.train_function) and cases.is_keras_own(model.test_function)
    assert not any("learned_rule" in name for name in vars(model))


def learns_by_backprop(model):
    """The model is an ordinary one again."""
    model.compile("sgd", "mse")
    before = model.get_layer("embedding").kernel.numpy()
    model.fit(X, Y, epochs=1, batch_size=BATCH, verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 5
    assert not np.array_equal(before, model.get_layer("embedding").kernel.numpy())


@check
def a_model_is_fitted_measured_saved_and_loaded():
    model, x = fresh(), X[: 4 * BATCH]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.keras")
        probe = FewShotProbe(x, np.arange(len(x)) % 2, shots=2, repeats=2)
        history = cases.fit(model, x, rule(), [probe]).history
        model.save(path)
        loaded = keras.saving.load_model(path)
    for name in ("first", "embedding"):
        kernel, begun = (m.get_layer(name).kernel.numpy() for m in (model, fresh()))
        # The rule, and not backprop, keeps columns at unit norm.
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1.0, rtol=1e-5)
        assert np.abs(kernel - begun / np.linalg.norm(begun, axis=0)).max() > 0.01
    cases.assert_same(cases.arrays(model), cases.arrays(loaded))
    assert 0.0 <= history["few_shot_accuracy"][0] <= 1.0
    given_back(model)


@check
def a_fit_is_the_rule_written_out():
    model, callback = fresh(), rule()
    history = cases.fit(model, X, callback)
    cases.assert_model_has(model, by_hand(), TOLERANCE)
    assert set(history.history) >= {"update_size", "effective_rank"}
    assert int(callback.memory.steps_done.numpy()) == 5
    given_back(model)
    learns_by_backprop(model)


@check
def every_mode_of_compile_gives_the_same_weights():
    modes = [{"run_eagerly": True}, {"jit_compile": False}]
    modes += [{"steps_per_execution": n} for n in (2, 3) if BACKEND != "torch"]
    for options in modes:
        model = fresh(**options)
        cases.fit(model, X, rule())
        cases.assert_model_has(model, by_hand(), TOLERANCE)


@check
def validation_probe_and_other_callbacks():
    model, labels = fresh(metrics=["mse"]), np.arange(len(X)) % 3
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "best.weights.h5")
        best = keras.callbacks.ModelCheckpoint(
            path, "few_shot_accuracy", mode="max", save_best_only=True, save_weights_only=True
        )
        early = keras.callbacks.EarlyStopping("few_shot_accuracy", -9, mode="max", patience=9)
        probe = FewShotProbe(X, labels, shots=2, repeats=3)
        history = cases.fit(
            model, X, rule(), [probe, best, early], y=Y, validation_data=(X, Y), epochs=3
        ).history
        best_epoch = int(np.argmax(history["few_shot_accuracy"]))
        other = fresh()
        other.load_weights(path)
    assert len(history["few_shot_accuracy"]) == 3
    names = {"update_size", "effective_rank", "mse", "few_shot_accuracy"}
    assert set(history) == names | {"val_effective_rank", "val_mse"}
    assert np.isfinite([history[name] for name in history]).all()
    assert (best_epoch == 2) == all(
        np.array_equal(a, b) for a, b in zip(other.get_weights(), model.get_weights(), strict=True)
    )
    output = np.asarray(model.predict(X, verbose=0))
    np.testing.assert_allclose(
        history["val_mse"][-1], np.mean(np.square(output - Y)), rtol=TOLERANCE
    )
    given_back(model)


@check
def a_batch_that_is_not_finite_leaves_the_last_good_weights():
    model, x = fresh(), X.copy()
    x[2 * BATCH + 3, 1] = np.nan
    with pytest.raises(ValueError, match="x must be finite.*step 2 of the fit"):
        cases.fit(model, x, rule())
    cases.assert_model_has(model, by_hand(2), TOLERANCE)
    given_back(model)


@check
def an_error_anywhere_gives_the_model_back():
    def boom(*_):
        raise ZeroDivisionError

    def broken_data():
        yield from tuples(2)
        raise ZeroDivisionError("broken data")

    def wrong_data():
        yield from tuples(2)
        yield (X[:BATCH, :3],)

    # On TensorFlow generators run inside of a data set, which has errors of its own.
    wrong = "shape" if BACKEND == "tensorflow" else "model's input shape"
    for data, match in ((broken_data, "broken data"), (wrong_data, wrong)):
        model = fresh()
        with pytest.raises(Exception, match=match), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cases.fit(model, data(), rule(total_steps=5), batch_size=None)
        cases.assert_model_has(model, by_hand(2), TOLERANCE)
        assert np.isfinite(model.predict(X, verbose=0)).all()
        learns_by_backprop(model)
    for hook in ("on_train_batch_end", "on_test_batch_end", "on_epoch_end"):
        model = fresh(optimizer="sgd", loss="mse")
        with pytest.raises(ZeroDivisionError):
            cases.fit(model, X, rule(), [Meddler(hook, boom)], y=Y, validation_data=(X, Y))
        assert np.isfinite(model.evaluate(X, Y, verbose=0))
        before = int(model.optimizer.iterations.numpy())
        model.train_on_batch(X, Y)
        assert int(model.optimizer.iterations.numpy()) == before + 1


@check
def an_interrupted_fit_goes_on_where_it_stood():
    def stop(model):
        raise KeyboardInterrupt

    whole = fresh()
    cases.fit(whole, X, LearnedRule(cases.compact_rule(teacher=True), replay=0), epochs=3)
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for meddlers in ([Epoch(1, stop)], []):
            model = fresh()
            callback = LearnedRule(cases.compact_rule(teacher=True), replay=0)
            backup = keras.callbacks.BackupAndRestore(folder)
            try:
                cases.fit(model, X, callback, [backup, *meddlers], epochs=3)
            except KeyboardInterrupt:
                models.append(None)
    assert models == [None]
    cases.assert_same(cases.arrays(whole), cases.arrays(model), 1e-5)


class Epoch(keras.callbacks.Callback):
    """Calls a function of the model at the beginning of an epoch."""

    def __init__(self, number, act):
        super().__init__()
        self._number, self._act = number, act

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._number:
            self._act(self.model)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return len(cases.batches(X))

    def __getitem__(self, index):
        return cases.batches(X)[index], np.zeros(len(cases.batches(X)[index]))


@check
def data_of_every_kind():
    kinds = {
        "dataset": Batches(),
        "generator": (batch for batch in tuples()),
    }
    if BACKEND == "tensorflow":
        kinds["tf.data"] = cases.dataset(X)
    if BACKEND != "torch":
        scipy = pytest.importorskip("scipy.sparse")
        kinds["sparse"] = scipy.csr_matrix(X)
    if (torch := _torch()) is not None:
        data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.zeros(len(X)))
        kinds["loader"] = torch.utils.data.DataLoader(data, batch_size=BATCH)
    for name, data in kinds.items():
        model = fresh()
        options = {} if name == "sparse" else {"batch_size": None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cases.fit(model, data, rule(total_steps=5), **options)
        cases.assert_model_has(model, by_hand(), TOLERANCE)


def _torch():
    try:
        import torch
    except ImportError:
        return None
    return torch


@check
def several_inputs_by_name():
    keras.utils.set_random_seed(0)
    model = models.towers()
    model.compile()
    x = models.batch(model_inputs(model), 40)
    before = cases.arrays(model)
    model.fit(
        {**x, "label": np.zeros(40)}, batch_size=BATCH, verbose=0, callbacks=[rule()], epochs=2
    )
    assert not any(np.array_equal(a, b) for a, b in zip(before, cases.arrays(model), strict=True))


@check
def other_callbacks_may_compile_and_freeze():
    for hook, act in (
        ("on_train_batch_end", lambda model: model.compile(metrics=["mse"])),
        ("on_test_begin", lambda model: model.compile()),
        ("on_test_batch_end", lambda model: model.test_on_batch(X, Y)),
        ("on_epoch_end", lambda model: model.evaluate(X, Y, verbose=0)),
    ):
        model = fresh(loss="mse")
        cases.fit(model, X, rule(), [Meddler(hook, act)], y=Y, validation_data=(X, Y))
        cases.assert_model_has(model, by_hand(), TOLERANCE)
        given_back(model)
    for hook in ("on_epoch_end", "on_train_batch_end", "on_train_batch_begin"):
        # Not by `callback.model`, of which Keras on JAX takes note.
        model, frozen = fresh(), []

        def freeze(*_, model=model, frozen=frozen, **__):
            if frozen:
                return
            model.get_layer("first").trainable = False
            frozen.extend(model.get_layer(name).kernel.numpy() for name in ("first", "embedding"))

        freezes = keras.callbacks.LambdaCallback(**{hook: freeze})
        model.fit(
            X, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=[freezes, rule()]
        )
        first, embedding = frozen
        np.testing.assert_array_equal(first, model.get_layer("first").kernel.numpy())
        assert not np.array_equal(embedding, model.get_layer("embedding").kernel.numpy())


@check
def a_learned_rule_model_is_saved_and_goes_on():
    keras.utils.set_random_seed(0)
    x, teaching = X[: 4 * BATCH], cases.compact_rule(teacher=True)
    model = LearnedRuleModel(cases.network(), teaching, total_steps=8, replay=0)
    whole = LearnedRuleModel(cases.twin(model.chain), teaching, total_steps=8, replay=0)
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    for each in (model, whole):
        each.compile()
    whole.fit(x, epochs=2, validation_data=(x,), **options)
    history = model.fit(x, validation_data=(x,), **options)
    assert set(history.history) == {"update_size", "effective_rank", "val_effective_rank"}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.keras")
        model.save(path)
        loaded = keras.saving.load_model(path)
    assert int(loaded.rule_memory.steps_done.numpy()) == 4
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )
    loaded.compile()
    loaded.fit(x, **options)
    cases.assert_same(cases.arrays(loaded.chain), cases.arrays(whole.chain), TOLERANCE)
    loaded.train_on_batch(x[:BATCH])
    assert int(loaded.rule_memory.steps_done.numpy()) == 9


@check
def own_loops():
    plain, pure = fresh(), fresh()
    bindings = [RuleBinding(model, RULE, total_steps=5, replay=32) for model in (plain, pure)]
    step = functools.partial(stateless_learned_rule_step, bindings[1])
    if BACKEND == "jax":
        import jax

        step = jax.jit(step)
        with pytest.raises(ValueError, match="Compile stateless_learned_rule_step"):
            jax.jit(functools.partial(learned_rule_step, bindings[0]))(X[:BATCH])
    state, before = bindings[1].state(), cases.arrays(pure)
    for x in cases.batches(X):
        logs = learned_rule_step(bindings[0], x)
        own_logs, state = step(state, x)
        for name in logs:
            np.testing.assert_allclose(_array(logs[name]), _array(own_logs[name]), TOLERANCE)
    cases.assert_same(before, cases.arrays(pure))
    bindings[1].load(state)
    assert not bindings[1].raise_on_failure()
    cases.assert_same(cases.arrays(plain), cases.arrays(pure), TOLERANCE)
    fitted = fresh()
    cases.fit(fitted, X, rule(replay=32))
    cases.assert_same(cases.arrays(plain), cases.arrays(fitted), TOLERANCE)
    with pytest.raises(ValueError, match="state must be.*Received: 2 arrays"):
        bindings[1].load(state[:2])


def _array(tensor):
    return ops.convert_to_numpy(tensor)


@check
def equal_seeds_give_equal_weights():
    fitted = []
    for _ in range(2):
        model = fresh()
        cases.fit(model, X, rule(replay=64, seed=3), shuffle=True, epochs=2)
        fitted.append(cases.arrays(model))
    cases.assert_same(*fitted)


@check
def a_rule_with_a_neuron_network():
    published = cases.published_rule()
    model = fresh()
    backward = cases.backward_weights(model, published, seed=0)
    expected = cases.weights_by_hand(model, published, cases.batches(X), backward=backward)
    cases.fit(model, X, LearnedRule(published))
    cases.assert_model_has(model, expected, TOLERANCE)


@check
def models_of_every_form():
    for make, learning in models.LEARNING.items():
        keras.utils.set_random_seed(0)
        model = make()
        # Keras' own fit cannot train recurrent layers with NNX (3.15.1, flax 0.12.8).
        recurrent = any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())
        if recurrent and "KERAS_NNX_ENABLED" in os.environ:
            continue
        inputs = model_inputs(model)
        sites = find_sites(model, inputs)
        assert sorted(site.name for site in sites.learning) == sorted(learning), make
        before = {w.path: w.numpy() for w in model.weights}
        model.compile()
        model.fit(models.batch(inputs, 32), batch_size=BATCH, verbose=0, callbacks=[rule()])
        kernels = {site.kernel.path for site in sites.learning}
        left = {w.path for layer in sites.left for w in layer.trainable_variables}
        for weight in model.weights:
            assert np.isfinite(weight.numpy()).all(), weight.path
            same = np.array_equal(before[weight.path], weight.numpy())
            assert not (same and weight.path in kernels), weight.path
            assert same or weight.path not in left, weight.path


def twenty_steps(make, shape, batch_size):
    """Weights before and after 20 steps; NumPy draws the former and the data."""
    rng, model = np.random.default_rng(1), make()
    model.set_weights(
        [
            rng.normal(size=w.shape, scale=1 / np.sqrt(max(np.prod(w.shape[:-1]), 1)))
            if w.path.endswith("kernel")
            else w.numpy()
            for w in model.weights
        ]
    )
    model.compile()
    before = model.get_weights()
    x = rng.normal(size=(20 * batch_size, *shape)).astype("float32")
    options = {"batch_size": batch_size, "shuffle": False, "verbose": 0}
    model.fit(x, callbacks=[LearnedRule()], **options)
    return before, model.get_weights()


def base_model():
    parts = [keras.Input((196,))]
    for width in (128, 128, 128, 128, 32):
        parts += [keras.layers.Dense(width, use_bias=False), keras.layers.BatchNormalization()]
        parts += [keras.layers.ReLU()]
    return keras.Sequential(parts)


def write_weights(path):
    """Writes what all backends must agree on."""
    found = {}
    for make, shape, size in ((base_model, (196,), 64), (models.residual_cnn, (8, 8, 3), 32)):
        for when, weights in zip(("before", "after"), twenty_steps(make, shape, size), strict=True):
            found.update({f"{make.__name__}_{when}_{i}": w for i, w in enumerate(weights)})
    np.savez(path, **found)


def on_devices(distribution, x, make, **options):
    """Weights after a fit under a distribution."""
    keras.distribution.set_distribution(distribution)
    try:
        keras.utils.set_random_seed(0)
        model = make()
        model.compile()
        options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
        model.fit(x, callbacks=[rule(replay=32)], validation_data=(x,), **options)
        return cases.arrays(model)
    finally:
        keras.distribution.set_distribution(None)


def model_parallel(shape):
    """A layout with pieces of the first kernel on each column of devices."""
    mesh = keras.distribution.DeviceMesh(
        shape, ("batch", "model"), keras.distribution.list_devices("cpu")
    )
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*first/kernel"], layouts[".*first/bias"] = (None, "model"), ("model",)
    # Those of variables, and of the output.
    layouts[".*norm/.*"] = ("model",)
    return keras.distribution.ModelParallel(
        layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
    )


def data_parallel(devices):
    devices = keras.distribution.list_devices("cpu")[:devices]
    return keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)


device_check = functools.partial(check, table=DEVICE_CHECKS)


@device_check
def data_parallel_gives_the_weights_of_one_device():
    images = models.batch(keras.KerasTensor((None, 8, 8, 3)), 2 * BATCH)
    for x, make in ((X[: 4 * BATCH], cases.network), (images, models.residual_cnn)):
        alone = on_devices(None, x, make)
        for devices in (2, 4):
            cases.assert_same(alone, on_devices(data_parallel(devices), x, make), 1e-5)


@device_check
def model_parallel_gives_the_weights_of_one_device():
    parallel = model_parallel((2, 2))
    alone = on_devices(None, X[: 4 * BATCH], cases.network)
    cases.assert_same(alone, on_devices(parallel, X[: 4 * BATCH], cases.network), 1e-5)
    with parallel.scope():
        assert not cases.network().get_layer("first").kernel.value.is_fully_replicated


@device_check
def what_a_distribution_cannot_do_is_refused():
    model = fresh()
    keras.distribution.set_distribution(data_parallel(2))
    with pytest.raises(ValueError, match="before the model is built.*Received: DataParallel"):
        cases.fit(model, X, rule())
    keras.distribution.set_distribution(None)
    with pytest.raises(ValueError, match="batches that 2 devices can share"):
        on_devices(data_parallel(2), X, cases.network)


process_check = functools.partial(check, table=PROCESS_CHECKS)


def own_rows(x, sizes):
    """(rows of x, batch size) of this process, which has sizes[process] of each batch."""
    own = int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])
    end = sum(sizes[: own + 1])
    return np.concatenate([b[end - sizes[own] : end] for b in cases.batches(x)]), sizes[own]


def over_processes(sizes, make=cases.network, steps=4, x=X[: 4 * BATCH], **options):
    """Weights after a fit of which this process has so many rows of each batch."""
    rows, size = own_rows(x, sizes)
    rows = rows[: steps * size]
    return on_devices(data_parallel(None), rows, make, batch_size=size, **options)


HALVES = (BATCH // 2, BATCH // 2)


@process_check
def processes_give_the_weights_of_one():
    images = models.batch(keras.KerasTensor((None, 8, 8, 3)), 2 * BATCH)
    for x, make in ((X[: 4 * BATCH], cases.network), (images, models.residual_cnn)):
        alone = on_devices(None, x, make, epochs=2)
        cases.assert_same(alone, over_processes(HALVES, make, x=x, epochs=2), 1e-5)


@process_check
def processes_with_other_batches_are_refused():
    unequal = (BATCH - 4, 4)
    own = int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])
    with pytest.raises(ValueError, match=r"batches of one size.*examples \[12, 4\]"):
        over_processes(unequal)
    with pytest.raises(ValueError, match=r"as many of them.*steps an epoch \[4, 3\]"):
        over_processes(HALVES, steps=4 - own)
    rows, size = own_rows(X[: 4 * BATCH], HALVES)
    with data_parallel(None).scope():
        model = fresh()
        data = ((batch,) for batch in cases.batches(rows, size)[: 4 - own])
        with pytest.raises(ValueError, match=r"examples \[8, 0\] in processes 0 to 1"):
            model.fit(data, verbose=0, callbacks=[rule(total_steps=4)])
    given_back(model)


@process_check
def what_several_processes_cannot_do_is_refused():
    with pytest.raises(ValueError, match="neither does a probe.*Received: 2 processes"):
        with data_parallel(None).scope():
            cases.fit(fresh(), X, rule(), [FewShotProbe(X, np.arange(len(X)) % 2, shots=2)])
    with model_parallel((1, 2)).scope():
        with pytest.raises(ValueError, match="all weights.*ModelParallel, which splits.*kernel"):
            cases.fit(fresh(), X, rule())


def outcome(name):
    try:
        {**CHECKS, **DEVICE_CHECKS, **PROCESS_CHECKS}[name]()
    except BaseException:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    if "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ:
        keras.distribution.initialize()
    what = json.loads(sys.argv[1])
    if isinstance(what, str):
        write_weights(what)
    found = {} if isinstance(what, str) else {name: outcome(name) for name in what}
    print(json.dumps(found))
