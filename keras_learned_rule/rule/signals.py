"""What a rule sees of a network: the forward record, and one weight layer's share of it."""

from typing import Any, NamedTuple

from keras import ops

from keras_learned_rule.rule.scaling import standardize


class Signals(NamedTuple):
    """Record of one forward pass; every list runs bottom-up over the weight layers.

    Attributes:
        pres: [E, n_lower] each, what entered the weights.
        zs: [E, n_upper] each, what entered the nonlinearity.
        xs: [E, n_upper] each, what left it; the last one is the embedding.
        factors: [E, n_lower] each, by what the post-activations below were multiplied on their way
            here, such as by dropout; None where by nothing. Positive constants need not be in it.
    """

    pres: list
    zs: list
    xs: list
    factors: list


class LayerSignals(NamedTuple):
    """What the weight-change terms of one weight layer may look at.

    Attributes:
        w: [n_lower, n_upper], the weights with every column scaled to rms 1.
        x_lower: `Standardized` input of the weights, [E, n_lower].
        y_upper: [E, n_upper], post-activations.
        z_upper: `Standardized` pre-activations, [E, n_upper].
        h_upper: [n_upper, E, hidden_width] hidden states, None without a neuron network.
        rows_lower: Readouts of the hidden states below, from `readout_rows`, None likewise.
        rows_upper: Readouts of the hidden states above, likewise.
        temperature: Scalar, the softmax temperature of competition (compact merge).
        learned: Parameters of the learned Hebbian term, from `learned_functions`, None without it.
        competed: [n_lower, n_upper], what competition changes, averaged over the latest steps; None
            for a rule that does not average.
    """

    w: Any
    x_lower: Any
    y_upper: Any
    z_upper: Any
    h_upper: Any = None
    rows_lower: Any = None
    rows_upper: Any = None
    temperature: Any = None
    learned: Any = None
    competed: Any = None

    @property
    def x_upper(self):
        """`Standardized` post-activations; computed here, since most terms do without."""
        return standardize(self.y_upper)


def shares(signals):
    """[E, n_upper]: how much of each example every unit of the layer wins in soft competition."""
    return ops.softmax(signals.z_upper.values / signals.temperature, axis=-1)
