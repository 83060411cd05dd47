"""What lies between two unit layers of a Keras model: passive layers, then a connection."""

from keras import ops

from keras_learned_rule.network.plan import Passage


class Route:
    """Makes `UnitLayer.receive` and `UnitLayer.emit` of passive layers and a connection.

    Args:
        passives: List of `Passive`, in the order in which they run.
        connection: What holds the weights (see `register_connection`).
    """

    def __init__(self, passives, connection):
        self.passives = tuple(passives)
        self.connection = connection

    def receive(self, x):
        """See `UnitLayer`."""
        steps, y = [], x
        for passive in self.passives:
            steps.append(passive.run(y))
            y = steps[-1].y
        layout = self.connection.layout(y)
        if any(step.down is None for step in steps):
            return Passage(layout.examples, None, None)

        def down(delta):
            for through in (layout, *reversed(steps)):
                delta = through.down(delta)
            return _as_matrix(delta, x)

        def up(h):
            h = _in_natural_shape(h, x)
            for through in (*steps, layout):
                h = through.up(h)
            return h

        return Passage(layout.examples, down, up)

    def emit(self, y, x):
        """See `UnitLayer`."""
        return self.connection.emit(y, ops.shape(x))


def _as_matrix(signal, x):
    if len(x.shape) == 2:
        return signal
    return ops.reshape(signal, (-1, x.shape[-1], signal.shape[-1]))


def _in_natural_shape(signal, x):
    if len(x.shape) == 2:
        return signal
    return ops.reshape(signal, (-1, *ops.shape(x)[1:], signal.shape[-1]))
