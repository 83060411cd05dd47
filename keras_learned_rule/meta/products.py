"""The matrix products that a forward pass and an update step cannot do without."""

import itertools
from typing import NamedTuple

from keras_learned_rule.rule.learned_hebb import OF_EXAMPLE
from keras_learned_rule.rule.mlp import mlp_plan
from keras_learned_rule.rule.teacher import EMBEDDING, teacher_shapes
from keras_learned_rule.rule.theta import theta_shapes

FLOAT_BYTES = 4


class Product(NamedTuple):
    """A product of [rows, inner] and [inner, columns], or a convolution with `taps` of them."""

    rows: int
    inner: int
    columns: int
    taps: int = 1

    @property
    def flop(self):
        """Floating-point operations: a multiplication and an addition each."""
        return 2 * self.rows * self.inner * self.columns * self.taps

    @property
    def bytes(self):
        """Bytes of the operands and the result in float32."""
        kernel = self.inner * self.columns * self.taps
        return FLOAT_BYTES * (self.rows * (self.inner + self.columns) + kernel)


def forward_products(widths, batch):
    """Products of a forward pass through a multi-layer perceptron.

    Args:
        widths: Units of each layer, the inputs first.
        batch: Number of examples.

    Returns:
        A list of `Product`.
    """
    return [Product(batch, lower, upper) for lower, upper in itertools.pairwise(widths)]


def update_products(spec, widths, batch, activation="relu"):
    """Products of one step of an update rule.

    Args:
        spec: A `RuleSpec` with `identical_updates`.
        widths: Units of each layer, the inputs first.
        batch: Number of examples.
        activation: Name of the nonlinearity, on which it depends whether there is a teacher.
            Defaults to `"relu"`.

    Returns:
        A list of `Product`.
    """
    products = forward_products(widths, batch)
    teacher = teacher_widths(spec, widths, activation)
    if teacher:
        for lower, upper in itertools.pairwise(widths):
            products += _student_products(lower, upper, batch)
        return products + update_products(spec, teacher, batch)
    if spec.neuron_network:
        products += _neuron_products(spec, widths, batch)
    for lower, upper in itertools.pairwise(widths):
        products += _term_products(spec, lower, upper, batch)
    return products


def teacher_widths(spec, widths, activation):
    """Units of each layer of a network's teacher, the inputs first; empty where there is none."""
    plan = mlp_plan(len(widths) - 1, activation)
    shapes = teacher_shapes(spec, plan, list(itertools.pairwise(widths)))
    return tuple(lower for lower, _ in shapes) + tuple(upper for _, upper in shapes[-1:])


def _student_products(lower, upper, batch):
    decode, back = Product(batch, upper, EMBEDDING), Product(batch, EMBEDDING, upper)
    few, many = sorted((upper, batch))
    decoder = [Product(few, many, few), Product(upper, batch, EMBEDDING)]
    return [decode, back, *decoder, Product(lower, batch, upper)]


def _neuron_products(spec, widths, batch):
    rows = {
        "top_delta": widths[-1] * batch,
        "neuron": sum(widths) * batch,
        "next_delta": sum(widths[1:]) * batch,
    }
    products = [
        Product(lower, upper, batch * spec.delta_channels)
        for lower, upper in itertools.pairwise(widths)
    ]
    for name, shape in theta_shapes(spec).items():
        network = name.split("/")[0]
        if not name.endswith("kernel") or network not in rows:
            continue
        taps, inner, columns = shape if len(shape) == 3 else (1, *shape)
        # Half of the inputs of a pooled convolution are means, which are few.
        inner = inner // 2 if spec.pooled and len(shape) == 3 else inner
        across_units = spec.output_width and name.split("/")[1] in ("conv_1", "conv_2")
        mixes_units = network == "top_delta" and across_units
        count = spec.top_width * batch if mixes_units else rows[network]
        products.append(Product(count, inner, columns, taps))
    return products


def _term_products(spec, lower, upper, batch):
    summed = batch * spec.readout_channels
    low_rank = 1, 1, [Product(lower, summed, upper)]
    on_lower = [Product(lower, summed, lower), Product(lower, lower, upper)]
    on_upper = [Product(upper, summed, upper), Product(lower, upper, upper)]
    hebbian = 0, 0, [Product(lower, batch, upper)]
    # Starts from the change by competition, which is computed once.
    competed = [] if "competition" in spec.terms else hebbian[2]
    spread = 0, 0, [*competed, Product(batch, lower, upper), Product(lower, batch, upper)]
    correlated = 0, 0, [Product(upper, batch, upper), Product(lower, upper, upper)]
    of_examples = Product(batch, len(OF_EXAMPLE), spec.hidden_width)
    learned = 0, 0, [of_examples, of_examples, Product(lower, summed, upper)]
    # How many readouts of the units below and above, and which products.
    terms = {
        "0_order": low_rank,
        "1_order": low_rank,
        "rbf": low_rank,
        "lin_lower_symm": (2, 0, on_lower),
        "sqr_lower_symm": (2, 0, on_lower),
        "lin_upper_symm": (0, 2, on_upper),
        "sqr_upper_symm": (0, 2, on_upper),
        "lin_upper_psd": (0, 1, on_upper),
        "hebb": hebbian,
        "hebb_z": hebbian,
        "competition": hebbian,
        "competition_spread": spread,
        "decorr_x": correlated,
        "decorrelation": correlated,
        "scaled_decorrelation": correlated,
        "large_decay": (0, 0, []),
        "learned_hebb": learned,
        "w_base": (0, 0, []),
    }
    # The two are linear in what they correlate the inputs with, and share a product.
    shared = "hebb_z" if "hebb" in spec.terms else None
    below, above, products = zip(
        *(terms[name] for name in spec.terms if name != shared), strict=True
    )
    readouts = [
        Product(units * batch, spec.hidden_width, sum(count) * spec.readout_channels)
        for units, count in ((lower, below), (upper, above))
        if sum(count)
    ]
    return [*readouts, *itertools.chain(*products)]
