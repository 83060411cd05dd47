"""Low-rank readouts: what the weight-change terms correlate of the hidden states (SPEC 4)."""

from keras import ops

from keras_learned_rule.rule.term_names import READOUTS


def readout_rows(theta, direction, terms, which, h):
    """Applies to h all readouts that terms take of it, as one product.

    Args:
        theta: Dict of tensors.
        direction: "forward" or "backward": whose readouts.
        terms: Names of weight-change terms; those that read no hidden states are passed over.
        which: "upper" or "lower": on which side of the weights h is.
        h: [units, E, hidden_width].

    Returns:
        A dict from "term/side" to [units, E x readout_channels]: one product of two such
        matrices sums over examples and channels.
    """
    names = [f"{t}/{side}" for t in terms for side in READOUTS.get(t, {}).get(which, ())]
    if not names:
        return {}
    kernel, bias = (
        ops.concatenate([theta[f"readout/{direction}/{name}/{part}"] for name in names], -1)
        for part in ("kernel", "bias")
    )
    units, examples, _ = ops.shape(h)
    read = ops.reshape(ops.matmul(h, kernel) + bias, (units, examples, len(names), -1))
    rows = ops.reshape(ops.transpose(read, (2, 0, 1, 3)), (len(names), units, -1))
    return dict(zip(names, ops.unstack(rows, len(names)), strict=True))
