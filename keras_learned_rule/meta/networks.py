"""The base models of meta-training."""

import dataclasses

from keras_learned_rule.network.mlp import init_mlp_state, mlp_plan


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A base model of meta-training: a multi-layer perceptron.

    Args:
        widths: Units of each weight layer above the inputs; the last is the embedding.
        activation: Name of the nonlinearity.
        batch_norm: Whether pre-activations are batch-normalised.
    """

    widths: tuple = (64, 64, 32)
    activation: str = "relu"
    batch_norm: bool = True

    def plan(self):
        """The network as a `Plan`."""
        return mlp_plan(len(self.widths), self.activation, self.batch_norm)

    def initial_state(self, inputs, normal, backward):
        """The network's arrays at the start.

        Args:
            inputs: Number of input units.
            normal: Function shape -> standard normal tensor, another one at each call.
            backward: Whether the rule has backward weights.

        Returns:
            The state, see `unsupervised_update`.
        """
        shapes = list(zip((inputs,) + tuple(self.widths[:-1]), self.widths))
        draws = [normal(shape) for shape in shapes]
        return init_mlp_state(draws, [normal(shape) for shape in shapes] if backward else None)
