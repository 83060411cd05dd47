"""SoftHebb: soft winner-take-all plasticity, a fixed local rule of convolutional networks."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_learned_rule.checks import check, number
from keras_learned_rule.fit.statistics import WarmMomentum
from keras_learned_rule.fit.watching import watch
from keras_learned_rule.hints import Tensor
from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.model.sites import find_sites

# Of the published network for CIFAR-10, from its first layer to its last.
RATES, INVERSE_TEMPERATURES, START_NORM = (0.08, 0.005, 0.01), (1.0, 0.65, 0.25), 25.0
_EPSILON = 1e-5


class SoftHebb:
    """Trains all layers of a model at once by the rule of SoftHebb, step by step.

    The units at a position compete by a softmax. Each moves its weights towards the input by its
    share; all but the winner move away from it. Weights come to unit norm, and the step size of a
    unit falls as they do. As in the published network, the rule sees inputs that are standardised
    over the batch, each by itself.

    What learns is what `LearnedRule` trains, see `find_sites`. Biases stay as they are.

    Args:
        model: built `keras.Model`. Its kernels are rescaled at once, see `restart`.
        rates: step size of each layer; further layers have the last one. Defaults to those of the
            published network of three layers.
        inverse_temperatures: of the softmax of each layer, likewise.

    Raises:
        ValueError: if a number is not above 0, or nothing of the model can learn.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule.baselines.softhebb import SoftHebb

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3)])
    rule = SoftHebb(model)
    for batch in np.random.rand(20, 10, 8, 8, 3):
        rule(batch)
    ```

    Reference: Journé et al., ICLR 2023, "Hebbian deep learning without feedback".
    """

    def __init__(
        self,
        model: keras.Model,
        rates: Sequence[float] = RATES,
        inverse_temperatures: Sequence[float] = INVERSE_TEMPERATURES,
    ) -> None:
        for name, values in (("rates", rates), ("inverse_temperatures", inverse_temperatures)):
            for value in values:
                check(name, value, number(above=0))
        self._model = model
        self._sites = find_sites(model, model_inputs(model))
        self._warm = WarmMomentum(model)
        self._rates = _for_layers(rates, len(self._sites.learning))
        self._inverse = _for_layers(inverse_temperatures, len(self._sites.learning))
        self._steps = keras.Variable(0, trainable=False, dtype="int32", name="steps")
        self.restart()

    def restart(self) -> None:
        """Begins afresh from the model's present weights, each unit rescaled to a norm of 25."""
        self._steps.assign(0)
        for site in self._sites.learning:
            w = site.kernel_matrix()
            site.kernel.assign(site.as_kernel(w * START_NORM / (_norm(w) + _EPSILON)))

    def __call__(self, x: Tensor) -> None:
        """Changes the weights by one step; works in a `tf.function`.

        Args:
            x: batch in the model's input shape, float32. The published network learns from 10
                examples a step.
        """
        x = ops.convert_to_tensor(x, "float32")
        seen = watch(self._model, self._sites, self._warm, x, None, 0, ops.copy(self._steps))
        for site, own, rate, inverse in zip(
            self._sites.learning, seen, self._rates, self._inverse, strict=True
        ):
            w = site.kernel_matrix()
            delta = soft_hebb_update(w, _standardised(own.examples), inverse)
            step = rate * ops.sqrt(ops.abs(_norm(w) - 1.0))
            site.kernel.assign(site.as_kernel(w + step * delta))
        self._steps.assign_add(1)


def soft_hebb_update(w: Tensor, x: Tensor, inverse_temperature: float = 1.0) -> Tensor:
    """The change of weights from one batch, before the step size.

    Args:
        w: float32 `[n_lower, n_upper]`.
        x: float32 `[examples, n_lower]`, patches of a convolution.
        inverse_temperature: float, of the softmax over units. Defaults to `1.0`.

    Returns:
        float32 `[n_lower, n_upper]`: the sum over examples of y (x - u w), where u = x w, and y is
        softmax(inverse_temperature * u), negated for all units but the one with the largest u;
        divided by its largest absolute value.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.baselines.softhebb import soft_hebb_update

    delta = soft_hebb_update(np.eye(2, dtype="float32"), np.array([[0.0, 2.0]], "float32"))
    assert np.abs(delta).max() == 1.0
    ```
    """
    u = ops.matmul(x, w)
    y = ops.softmax(inverse_temperature * u, axis=-1)
    winner = ops.one_hot(ops.argmax(u, axis=-1), w.shape[-1], dtype=y.dtype)
    y = y * (2.0 * winner - 1.0)
    delta = ops.matmul(ops.transpose(x), y) - w * ops.sum(y * u, axis=0)
    return delta / (ops.max(ops.abs(delta)) + 1e-30)


def _norm(w):
    return ops.sqrt(ops.sum(ops.square(w), axis=0))


def _standardised(x):
    mean, variance = ops.moments(x, axes=0)
    return (x - mean) / ops.sqrt(variance + _EPSILON)


def _for_layers(values, layers):
    return [values[min(i, len(values) - 1)] for i in range(layers)]
