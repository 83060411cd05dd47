"""What one call of a layer that learns saw."""

from keras import ops

from keras_learned_rule.model.draws import drawn_among, drawn_rows


class SiteCall:
    """One use of the weights of a site in a forward pass.

    Args:
        kind: The `Kind` of the layer.
        whole: See `Use`.
        x: The input of the layer.
        output: Its output.

    Attributes:
        examples: `[E, groups * n_lower]`, what the weights were multiplied with, once sampled.
        z: `[E, n_upper]`, what came out, normalised where the site is.
        kept: Bool tensor `[positions]`, false where masked; None where all count.
    """

    def __init__(self, kind, whole, x, output):
        self._kind, self._whole = kind, whole
        self._x = x
        self._output = self._behind = output
        self.examples = self.z = self.kept = self._rows = None

    def normalise(self, output):
        """Takes note of the normalised output."""
        self._behind = output
        if self.z is not None:
            self.z = self._taken(output)

    def sample(self, masks, limit, seed):
        """Takes examples among the positions that are not masked.

        Args:
            masks: `Masks` of the pass.
            limit: See `watch`.
            seed: Scalar int32 tensor, of the draw.
        """
        if not self._whole:
            self.kept = masks.kept(self._kind, self._x, self._output)
            self._rows = self._drawn(limit, seed)
        examples = self._kind.examples(self._x, self._output, self._rows)
        self.examples, self.z = ops.cast(examples, "float32"), self._taken(self._behind)
        # Eagerly, nothing of the pass is kept that is not needed.
        self._x = self._output = self._behind = None

    def all_kept(self):
        """Bool tensor `[E]`: all true, or all false where every position is masked."""
        kept = ops.convert_to_tensor(True) if self.kept is None else ops.any(self.kept)
        return ops.broadcast_to(kept, ops.shape(self.z)[:1])

    def _drawn(self, limit, seed):
        if self.kept is not None:
            return drawn_among(self.kept, limit, seed)
        if limit is None:
            return None
        return drawn_rows(limit, ops.shape(self._kind.positions(self._output))[0], seed)

    def _taken(self, output):
        z = self._kind.positions(output)
        return ops.cast(z if self._rows is None else ops.take(z, self._rows, 0), "float32")
