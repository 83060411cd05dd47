"""The base model of the experiments, the loop that trains it, and its features."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.replay import REFERENCE_BATCH
from keras_learned_rule.fit.statistics import take_statistics
from keras_learned_rule.fit.step import learned_rule_step

BASE_WIDTHS = (128, 128, 128, 128, 32)
_CALIBRATION_EXAMPLES = 2000


def _step(z):
    return ops.cast(z > 0, z.dtype)


# Activations that Keras does not have; "step" has no gradient.
_ACTIVATIONS = {"step": _step, "sin": ops.sin}


def base_model(inputs, widths=BASE_WIDTHS, activation="relu", seed=0, batch_norm=True):
    """Builds the base model of the paper (section 5): dense layers, batch norm, nonlinearity.

    Args:
        inputs: int, number of input units.
        widths: units of each layer, the last being the embedding. Defaults to four hidden layers
            of 128 and an embedding of 32.
        activation: name of a Keras activation, `"sin"` or `"step"`. Defaults to `"relu"`.
        seed: int, of the weights. Defaults to `0`.
        batch_norm: bool. Defaults to `True`.

    Returns:
        A `keras.Sequential`.

    Example:
    ```python
    from keras_learned_rule.experiments.networks import base_model

    assert base_model(64, widths=(16, 8), activation="step").output_shape == (None, 8)
    ```
    """
    nonlinearity = _ACTIVATIONS.get(activation, activation)
    model = keras.Sequential([keras.Input((inputs,))])
    for i, width in enumerate(widths):
        draw = keras.initializers.GlorotUniform(seed=1000 * seed + i)
        model.add(layers.Dense(width, kernel_initializer=draw))
        if batch_norm:
            model.add(layers.BatchNormalization())
        model.add(layers.Activation(nonlinearity))
    return model


def calibrate(run, model, x):
    """Sets the moving statistics of batch normalisation to those of the data.

    Done for every network of every method before its features are read, so that none suffers
    from statistics that lag behind its weights.

    Args:
        run: function that runs the model forward on a batch in training mode.
        model: `keras.Model` whose statistics to set.
        x: array `[n, inputs]`, unlabelled; the first 2,000 are used.

    Example:
    ```python
    import functools
    import numpy as np
    from keras_learned_rule.experiments.networks import base_model, calibrate

    model = base_model(64)
    calibrate(functools.partial(model, training=True), model, np.random.rand(100, 64))
    ```
    """
    take_statistics(model, functools.partial(run, x[:_CALIBRATION_EXAMPLES]))


def features(model, x_train, x):
    """Embeds examples with statistics of the unlabelled data.

    Args:
        model: `keras.Model`.
        x_train: array `[n, inputs]`, unlabelled.
        x: array `[m, inputs]`.

    Returns:
        An array `[m, units]`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.networks import base_model, features

    x = np.random.rand(100, 64)
    assert features(base_model(64), x, x[:10]).shape == (10, 32)
    ```
    """
    calibrate(functools.partial(model, training=True), model, x_train)
    return np.asarray(model(x, training=False))


class Loop:
    """Repeats a training step in one compiled loop, on random batches of data held in memory.

    Args:
        step: function of a batch `[batch, inputs]`.
        batch: int, examples of a step.

    Example:
    ```python
    import numpy as np
    import tensorflow as tf
    from keras_learned_rule.experiments.networks import Loop

    total = tf.Variable(0.0)
    loop = Loop(lambda x: total.assign_add(tf.reduce_mean(x)), batch=8)
    loop(np.ones((100, 3), "float32"), first=0, last=5, seed=0)
    assert total == 5.0
    ```
    """

    def __init__(self, step, batch):
        # AutoGraph is for the loop; for what a step calls it would take longer than all else.
        self._step, self._batch = tf.autograph.experimental.do_not_convert(step), batch
        self._run = tf.function(self._steps)

    def __call__(self, x, first, last, seed):
        """Does the steps from `first` to before `last`; each draws its batch by number and seed.

        Args:
            x: float32 array or tensor `[n, inputs]`.
            first, last: ints.
            seed: int.
        """
        self._run(tf.convert_to_tensor(x), *(tf.constant(i) for i in (first, last, seed)))

    def _steps(self, x, first, last, seed):
        for i in tf.range(first, last):
            rows = tf.random.stateless_uniform(
                [self._batch], tf.stack([seed, i]), 0, tf.shape(x)[0], tf.int32
            )
            self._step(tf.gather(x, rows))


class NetworkTrainer:
    """One network and its compiled step of an update rule, for many seeds and lengths.

    Args:
        rule: `UpdateRule`.
        fresh: function of `seed` that builds the network.
        batch: int. Defaults to `128`.
        replay, examples: see `LearnedRule`. Default to `"auto"`.

    Attributes:
        network: the `keras.Model` that is trained.

    Example:
    ```python
    import functools
    import numpy as np
    from keras_learned_rule import UpdateRule
    from keras_learned_rule.experiments.networks import NetworkTrainer, base_model

    fresh = functools.partial(base_model, 64, widths=(16, 8))
    trainer = NetworkTrainer(UpdateRule.from_preset("compact"), fresh)
    trainer.restart(seed=1, steps=20)
    trainer.train(np.random.rand(200, 64).astype("float32"), 0, 20)
    ```
    """

    def __init__(self, rule, fresh, batch=128, replay="auto", examples="auto"):
        self._fresh = fresh
        self.network = fresh(seed=0)
        # All batches are of one size: unless it is small, no example has to be kept.
        replay = replay if batch < REFERENCE_BATCH else 0
        self._binding = RuleBinding(self.network, rule, replay=replay, examples=examples)
        self._loop = Loop(functools.partial(learned_rule_step, self._binding), batch)

    def restart(self, seed, steps):
        """Draws new weights, for an inner loop of `steps` steps."""
        self._seed = seed
        self.network.set_weights(self._fresh(seed=seed).get_weights())
        self._binding.restart(seed, steps)

    def train(self, x, first, last):
        """Does the steps from `first` to before `last` on unlabelled data."""
        self._loop(x, first, last, self._seed)
        self._binding.raise_on_failure()


class RuleTrainer(NetworkTrainer):
    """`NetworkTrainer` of the base model.

    Args:
        rule: `UpdateRule`.
        inputs, widths, activation, batch_norm: see `base_model`.
        batch, replay: see `NetworkTrainer`.
    """

    def __init__(
        self,
        rule,
        inputs,
        widths=BASE_WIDTHS,
        activation="relu",
        batch=128,
        batch_norm=True,
        replay="auto",
    ):
        fresh = functools.partial(base_model, inputs, widths, activation, batch_norm=batch_norm)
        super().__init__(rule, fresh, batch, replay)
