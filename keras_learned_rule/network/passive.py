"""Passive layers: they stand between unit layers, learn nothing, and pass signals on.

Each gives its output y in natural shape `[B, ...]`, how deltas go down (its own vector-Jacobian
product, per delta channel) and how hidden states go up. Both have y's or x's shape plus a last
axis of channels.
"""

from typing import Any, NamedTuple

from keras import layers, ops

from keras_learned_rule.network.plan import same
from keras_learned_rule.network.registry import register_passive


class Step(NamedTuple):
    """What one passive layer did to one batch; `down` and `up` as in `Passage`."""

    y: Any
    down: Any
    up: Any


def reshaped(like):
    """A function that gives a signal the shape of `like` plus its own last axis of channels."""

    def reshape(signal):
        return ops.reshape(signal, (-1, *ops.shape(like)[1:], signal.shape[-1]))

    return reshape


class Passive:
    """Base of the passive layers.

    Args:
        layer: The Keras layer to run.
        frozen: Whether it runs in inference mode and leaves its statistics alone.

    Attributes:
        gives_deltas: Whether `run` returns `down` and `up`.
        keeps_shape: Whether y has the shape of x.
        keeps_statistics: Whether `run` updates moving statistics of the layer.
    """

    gives_deltas = True
    keeps_shape = True
    keeps_statistics = False

    def __init__(self, layer, frozen=False):
        self.layer = layer
        self.training = not frozen

    def run(self, x):
        """Runs the layer on x `[B, ...]`.

        Returns:
            A `Step`.
        """
        raise NotImplementedError


@register_passive(layers.Flatten, layers.Reshape)
class Reshaping(Passive):
    """Moves units to other places and changes none."""

    keeps_shape = False

    def __init__(self, layer, frozen=False):
        super().__init__(layer, frozen)
        self.gives_deltas = getattr(layer, "data_format", None) != "channels_first"

    def run(self, x):
        y = self.layer(x)
        return Step(y, reshaped(x), reshaped(y)) if self.gives_deltas else Step(y, None, None)


@register_passive(
    layers.Dropout,
    layers.GaussianDropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)
class Mask(Passive):
    """Multiplies with a random mask; the same mask scales the deltas."""

    def run(self, x):
        mask = self.layer(ops.ones_like(x), training=self.training)
        return Step(x * mask, lambda delta: delta * mask[..., None], same)


@register_passive(layers.GaussianNoise)
class Noise(Passive):
    """Adds noise that does not depend on x."""

    def run(self, x):
        return Step(self.layer(x, training=self.training), same, same)


@register_passive(layers.Rescaling, layers.Normalization)
class Affine(Passive):
    """Scales and shifts each element by constants."""

    def run(self, x):
        def down(delta):
            ones = ops.ones_like(x)
            slope = self.layer(ones) - self.layer(ops.zeros_like(ones))
            return delta * slope[..., None]

        return Step(self.layer(x), down, same)


class PassiveBatchNorm(Passive):
    """Batch normalisation that does not stand between weights and their nonlinearity.

    Its moving statistics follow the batch, its scale and offset do not learn, and deltas take
    the batch statistics as constants.
    """

    def __init__(self, layer, frozen=False):
        super().__init__(layer, frozen)
        self.keeps_statistics = not frozen

    def run(self, x):
        def down(delta):
            slope = ops.rsqrt(self._variance(x) + self.layer.epsilon)
            slope = slope if self.layer.gamma is None else slope * self.layer.gamma
            return delta * slope[..., None]

        return Step(self.layer(x, training=self.training), down, same)

    def _variance(self, x):
        if not self.training:
            return ops.convert_to_tensor(self.layer.moving_variance)
        return ops.var(x, axis=tuple(range(len(x.shape) - 1)))


class LooseActivation(Passive):
    """A nonlinearity that belongs to no unit layer; it gives no derivative."""

    gives_deltas = False

    def run(self, x):
        return Step(self.layer(x), None, None)


class Opaque(Passive):
    """Any layer or nested model with nothing to learn, or frozen; it gives no derivative."""

    gives_deltas = False
    keeps_shape = False

    def run(self, x):
        return Step(self.layer(x, training=self.training), None, None)


class ModelInput(Passive):
    """Gives a batch the dtype and rank of the model's input, as calling the model would.

    Args:
        tensor: The model's symbolic input.
    """

    def __init__(self, tensor):
        super().__init__(None)
        self.dtype = tensor.dtype
        self.rank = len(tensor.shape)

    def run(self, x):
        y = ops.cast(x, self.dtype)
        if len(y.shape) == self.rank - 1:
            y = ops.expand_dims(y, -1)
        elif len(y.shape) == self.rank + 1 and y.shape[-1] == 1:
            y = ops.squeeze(y, -1)
        return Step(y, reshaped(x), reshaped(y))
