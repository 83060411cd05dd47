"""What meta-training holds in memory: networks, and what reverse mode keeps of an inner step."""

import itertools
import math

from keras_learned_rule.meta.products import FLOAT_BYTES, teacher_widths
from keras_learned_rule.rule.teacher import EMBEDDING, decoder_shape
from keras_learned_rule.rule.term_names import READOUTS

# How many tensors reverse mode keeps, as counted from the gradient of one update.
# Of the shape of a layer's weights: for the step, for a term, for one that reads hidden states,
# and for bounding each term, which the published merge does.
KEPT_A_STEP, KEPT_A_TERM, KEPT_A_READING_TERM, KEPT_A_BOUND = 7, 2, 4, 2
KEPT_SQUARES = 0.5  # Correlations of a layer's units, for a term.
# Of the shape of a layer's activations: for the forward pass, for the standardised signals that
# all terms share, and for a term that reads them.
KEPT_FORWARD, KEPT_STANDARDIZED, KEPT_A_TERM_ON_UNITS = 6, 5, 1
# Of a layer's hidden states, for a block of convolution, batch normalisation and relu.
KEPT_A_BLOCK = 5
# Of a layer's activations, for a hidden channel of the learned Hebbian term.
KEPT_A_LEARNED_CHANNEL = 2
# Of a layer's activations, for what it learns from a teacher.
KEPT_BY_STUDENT = 8
# Of the shapes of its decoder, of the error of what that predicts, and of the units' correlation.
KEPT_A_DECODER = 2


def state_bytes(spec, widths, activation="relu"):
    """Memory of one network's weights, biases and what else the rule keeps from step to step.

    Args:
        spec: A `RuleSpec`.
        widths: Units of each layer, the inputs first.
        activation: Name of the nonlinearity, on which it depends whether there is a teacher.
            Defaults to `"relu"`.

    Returns:
        Bytes in float32.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.meta.memory import state_bytes

    assert state_bytes(RuleSpec.compact(), (10, 4)) == 4 * (2 * 10 * 4 + 4)
    ```
    """
    teacher = teacher_widths(spec, widths, activation)
    matrices = 1 + spec.neuron_network + (spec.running_competition and not teacher)
    pairs = itertools.pairwise(widths)
    own = FLOAT_BYTES * sum(matrices * lower * upper + upper for lower, upper in pairs)
    if not teacher:
        return own
    decoders = FLOAT_BYTES * sum(math.prod(decoder_shape(units)) for units in widths[1:])
    return own + decoders + state_bytes(spec, teacher)


def activation_bytes(spec, widths, batch, labelled=0, activation="relu"):
    """Estimates the memory that reverse mode keeps for one inner step, without rematerialisation.

    Counts the tensors from which gradients are computed, at a fixed number for each term, layer
    and block (the `KEPT_` constants). A compiler that fuses operations keeps less. With
    rematerialisation an inner step keeps its `state_bytes`, and this memory is needed once instead
    of K times.

    Args:
        spec: A `RuleSpec`.
        widths: Units of each layer, the inputs first.
        batch: Number of unlabelled examples.
        labelled: Number of labelled examples that score the network after the step. Defaults to
            `0`.
        activation: Name of the nonlinearity, on which it depends whether there is a teacher.
            Defaults to `"relu"`.

    Returns:
        Bytes in float32, a whole number.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.meta.memory import activation_bytes

    step = activation_bytes(RuleSpec.compact(), (196, 128, 128, 128, 128, 32), batch=128)
    assert 5e6 < step < 20e6
    ```
    """
    teacher = teacher_widths(spec, widths, activation)
    if teacher:
        by_teacher = activation_bytes(spec, teacher, batch)
        return by_teacher + _kept_by_student(widths, batch, labelled)
    on_units = sum(term not in READOUTS for term in spec.terms)
    kept = KEPT_FORWARD + KEPT_STANDARDIZED + KEPT_A_TERM_ON_UNITS * on_units
    floats = sum(widths[1:]) * (batch * kept + labelled * KEPT_FORWARD)
    matrices = KEPT_A_STEP + sum(_matrices(spec, term) for term in spec.terms)
    squares = KEPT_SQUARES * len(spec.terms)
    pairs = itertools.pairwise(widths)
    floats += sum(matrices * lower * upper + squares * upper**2 for lower, upper in pairs)
    if "learned_hebb" in spec.terms:
        kept = KEPT_A_LEARNED_CHANNEL * spec.hidden_width + spec.readout_channels
        floats += batch * kept * (sum(widths[:-1]) + sum(widths[1:]))
    if spec.neuron_network:
        floats += batch * _neuron_channels(spec, widths)
    return int(FLOAT_BYTES * floats)


def _kept_by_student(widths, batch, labelled):
    kept = KEPT_FORWARD + KEPT_STANDARDIZED + KEPT_BY_STUDENT
    floats = sum(widths[1:]) * (batch * kept + labelled * KEPT_FORWARD)
    for lower, upper in itertools.pairwise(widths):
        decoders = EMBEDDING * (upper + batch) + min(upper, batch) ** 2
        floats += KEPT_A_STEP * lower * upper + KEPT_A_DECODER * decoders
    return int(FLOAT_BYTES * floats)


def _matrices(spec, term):
    kept = KEPT_A_READING_TERM if term in READOUTS else KEPT_A_TERM
    return kept + (KEPT_A_BOUND if spec.merge == "published" else 0)


def _neuron_channels(spec, widths):
    """Channels that the neuron network keeps for an example, over all units."""
    blocks = KEPT_A_BLOCK * 3 * (1 + spec.hidden_layers) * spec.hidden_width
    deltas = KEPT_A_BLOCK * spec.delta_channels
    top = KEPT_A_BLOCK * (3 + spec.top_layers) * spec.top_width
    channels = sum(widths) * (blocks + deltas) + widths[-1] * top
    for units, side in ((widths[:-1], "lower"), (widths[1:], "upper")):
        rows = sum(len(READOUTS[t].get(side, ())) for t in spec.terms if t in READOUTS)
        channels += sum(units) * 2 * rows * spec.readout_channels
    return channels
