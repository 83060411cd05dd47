"""The base models of meta-training, and distributions of them."""

import dataclasses
import itertools

import gin
import numpy as np
from keras import activations

from keras_learned_rule.checks import Kind, check_fields, flag, integer, list_of, number, span
from keras_learned_rule.rule.mlp import Plan, mlp_plan


def _is_activation(name):
    try:
        return isinstance(name, str) and callable(activations.get(name))
    except ValueError:
        return False


_ACTIVATION = Kind("the name of a Keras activation", _is_activation)
# Far beyond what anyone meta-trains, and within what NumPy draws from.
_MOST_LAYERS, _MOST_UNITS = 1000, 10**6
_NETWORK = {
    "widths": list_of(integer(1, _MOST_UNITS)),
    "activation": _ACTIVATION,
    "batch_norm": flag(),
}
_DISTRIBUTION = {
    "depths": span(0, _MOST_LAYERS),
    "widths": span(1, _MOST_UNITS),
    "embeddings": list_of(integer(1, _MOST_UNITS)),
    "activations": list_of(_ACTIVATION),
    "no_batch_norm": number(least=0, most=1),
    "multiple": integer(1, _MOST_UNITS),
}


@gin.configurable
@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A base model of meta-training: a multi-layer perceptron.

    Args:
        widths: Units of each weight layer above the inputs; the last is the embedding.
        activation: Name of the nonlinearity.
        batch_norm: Whether pre-activations are batch-normalised.

    Raises:
        ValueError: There is no width, or one below 1, or the nonlinearity is unknown.
    """

    widths: tuple = (64, 64, 32)
    activation: str = "relu"
    batch_norm: bool = True

    def __post_init__(self):
        check_fields(self, _NETWORK)

    def plan(self) -> Plan:
        """The network as a `Plan`."""
        return mlp_plan(len(self.widths), self.activation, self.batch_norm)

    def shapes(self, inputs: int) -> list[tuple[int, int]]:
        """Shapes of the weights, bottom-up, for a number of input units."""
        return list(itertools.pairwise((inputs, *self.widths)))

    def __str__(self):
        layers = "-".join(map(str, self.widths))
        return f"{layers} {self.activation}{'' if self.batch_norm else ', no batch norm'}"


@gin.configurable
@dataclasses.dataclass(frozen=True)
class NetworkDistribution:
    """A distribution of base models.

    All hidden layers of a network have one width, which is log-uniform.

    Args:
        depths: (least, most) hidden layers below the embedding.
        widths: (least, most) units of a hidden layer.
        embeddings: Widths of the embedding, each as likely.
        activations: Names of nonlinearities, each as likely; name one twice to double its share.
        no_batch_norm: Probability of a network without batch normalisation.
        multiple: Widths are rounded to multiples of it; powers of 2 suit most hardware.

    Raises:
        ValueError: A field is out of range.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.meta.networks import NetworkDistribution

    network = NetworkDistribution(depths=(2, 2)).sample(np.random.default_rng(0))
    assert len(network.widths) == 3 and network.widths[-1] == 32
    ```

    Reference: Metz et al., ICLR 2019, section 4.2.
    """

    depths: tuple = (1, 4)
    widths: tuple = (32, 128)
    embeddings: tuple = (32,)
    activations: tuple = ("relu",)
    no_batch_norm: float = 0.0
    multiple: int = 16

    def __post_init__(self):
        check_fields(self, _DISTRIBUTION)

    def sample(self, rng: np.random.Generator) -> NetworkSpec:
        """Draws a `NetworkSpec` with a NumPy random generator."""
        depth = int(rng.integers(self.depths[0], self.depths[1] + 1))
        width = self.widths[0] * (self.widths[1] / self.widths[0]) ** rng.random()
        width = max(self.multiple, self.multiple * round(width / self.multiple))
        return NetworkSpec(
            widths=(width,) * depth + (int(rng.choice(self.embeddings)),),
            activation=str(rng.choice(self.activations)),
            batch_norm=bool(rng.random() >= self.no_batch_norm),
        )
