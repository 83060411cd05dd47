"""The variables of a Keras model as the state that the rule works on."""

from keras import ops


class NetworkVariables:
    """Reads and writes the arrays of the layers that learn.

    Args:
        units: The `UnitVariables` of the unit layers, bottom-up.
        backward_weights: List of variables `[n_lower, n_upper]`, one a unit layer; empty for a
            rule without them.
    """

    def __init__(self, units, backward_weights):
        self._units = units
        self._backward_weights = backward_weights

    def read(self):
        """Copies the variables.

        Returns:
            The rule's state; see `unsupervised_update`.
        """
        state = tuple(_layer_state(unit) for unit in self._units)
        for layer, v in zip(state, self._backward_weights):
            layer["v"] = ops.copy(v)
        return state

    def write(self, state, applied):
        """Puts the arrays that the rule changes back into the model.

        Args:
            state: As `read` returns it.
            applied: Scalar bool tensor; if false nothing changes.
        """
        for unit, layer in zip(self._units, state):
            _assign_if(applied, unit.kernel, unit.as_kernel(layer["w"]))
            if unit.bias is not None:
                _assign_if(applied, unit.bias, layer["b"])
        for v, layer in zip(self._backward_weights, state):
            _assign_if(applied, v, layer["v"])


def _layer_state(unit):
    # Copies: converting a variable gives the variable itself, with whatever it is assigned later.
    kernel = unit.kernel_matrix()
    bias = ops.zeros_like(kernel[0]) if unit.bias is None else ops.copy(unit.bias)
    state = {"w": kernel, "b": bias}
    if unit.gamma is not None:
        state["gain"] = ops.copy(unit.gamma)
    return state


def _assign_if(condition, variable, value):
    variable.assign(ops.where(condition, value, variable))
