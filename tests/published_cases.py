"""Checkpoints such as the original code wrote them, at any sizes."""

import numpy as np
import tensorflow as tf

PROCESS = "MoreLocalWeightUpdateProcess"


class Graph:
    """Names variables as TensorFlow 1 does: the n-th `conv_1d` of a scope is called `conv_1d_n`."""

    def __init__(self):
        self.arrays = {"global_step": np.array(5, "int64")}
        self.counts = {}

    def module(self, scope, kind):
        n = self.counts.get((scope, kind), 0)
        self.counts[scope, kind] = n + 1
        return f"{scope}/{kind}_{n}" if n else f"{scope}/{kind}"

    def variable(self, name, *shape):
        rng = np.random.default_rng(len(self.arrays))
        self.arrays[name] = rng.standard_normal(shape).astype("float32")

    def linear(self, name, width_in, width_out):
        self.variable(f"{name}/w", width_in, width_out)
        self.variable(f"{name}/b", width_out)

    def norm(self, scope, channels):
        name = self.module(scope, "batch_norm")
        for array in ("moving_mean", "moving_variance", "beta"):
            self.variable(f"{name}/{array}", 1, 1, channels)

    def conv(self, scope, kernel, width_in, width_out):
        name = self.module(scope, "conv_1d")
        self.variable(f"{name}/w", kernel, width_in, width_out)
        self.variable(f"{name}/b", width_out)

    def conv_norm(self, scope, kernel, width_in, width_out):
        self.conv(scope, kernel, width_in, width_out)
        self.norm(scope, width_out)


def published_variables(spec):
    """The variables of the original process, made in the order in which its code makes them."""
    graph = Graph()
    top, h, cd = f"{PROCESS}/compute_top_delta", spec.hidden_width, spec.delta_channels
    graph.conv_norm(top, 5, 1, spec.top_width)
    for _ in range(2):
        graph.conv_norm(top, 3, spec.output_width, spec.output_width)
    for _ in range(spec.top_layers):
        graph.conv_norm(top, 3, spec.top_width, spec.top_width)
    graph.conv(top, 3, spec.top_width, cd)
    graph.norm(PROCESS, 4 + cd)
    for layer in range(1 + spec.hidden_layers):
        graph.conv_norm(PROCESS, 3, h if layer else 13 + cd, h)
        unit = graph.module(PROCESS, "ConcatUnitConv")
        for _ in range(2):
            graph.conv_norm(unit, 3, h, h)
    graph.linear(f"{PROCESS}/linear", h, cd)
    both = [f"weight_readout_{kind}" for kind in ("0", "rbf", "1")]
    both += ["lin_upper_symm", "lin_lower_symm", "sqr_upper_symm", "sqr_lower_symm"]
    sides = [f"{name}_{side}" for name in both for side in ("top", "bottom")]
    for direction in ("forward",) if spec.identical_updates else ("forward", "backward"):
        for name in [*sides, "lin_upper_psd_top"]:
            graph.linear(f"{PROCESS}/{direction}{name}/linear", h, spec.readout_channels)
        graph.linear(f"{PROCESS}/{direction}_weight_readout_coeffs", 12, 1)
    graph.linear(f"{PROCESS}/bias_readout", h, 1)
    return graph.arrays


def save_checkpoint(prefix, arrays):
    names = list(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(arrays[name]) for name in names],
    )
    return prefix
