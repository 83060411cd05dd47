"""The variables of a Keras model as the state that the rule works on."""

from keras import ops


class NetworkVariables:
    """Reads and writes the arrays of the layers that learn.

    Args:
        sites: Tuple of `Site`, in the order of the rule's state.
        memory: Dict from the name of an array of the rule's state, such as "v", to the variables
            that hold it, one a site; what the model itself has not.
        teacher: The variables that hold a teacher's state, in the form of that state; empty where
            there is none.
    """

    def __init__(self, sites, memory, teacher):
        self._sites = sites
        self._memory = memory
        self._teacher = teacher

    def read(self):
        """Copies the variables.

        Returns:
            The rule's state; see `unsupervised_update`.
        """
        state = tuple(_layer_state(site) for site in self._sites)
        for name, variables in self._memory.items():
            for layer, variable in zip(state, variables, strict=True):
                layer[name] = ops.copy(variable)
        if self._teacher:
            state[0]["teacher"] = tuple(
                {name: ops.copy(variable) for name, variable in layer.items()}
                for layer in self._teacher
            )
        return state

    def write(self, state, applied):
        """Puts the arrays that the rule changes back into the model.

        Args:
            state: As `read` returns it.
            applied: Scalar bool tensor; if false nothing changes.
        """
        for site, layer in zip(self._sites, state, strict=True):
            assign_if(applied, site.kernel, site.as_kernel(layer["w"]))
            if site.bias is not None:
                assign_if(applied, site.bias, ops.reshape(layer["b"], site.bias.shape))
        for name, variables in self._memory.items():
            for variable, layer in zip(variables, state, strict=True):
                assign_if(applied, variable, layer[name])
        for variables, layer in zip(self._teacher, state[0].get("teacher", ()), strict=True):
            for name, variable in variables.items():
                assign_if(applied, variable, layer[name])


def _layer_state(site):
    # Copies: converting a variable gives the variable itself, with whatever it is assigned later.
    kernel = site.kernel_matrix()
    bias = ops.zeros_like(kernel[0]) if site.bias is None else ops.copy(site.bias)
    # The projections of attention have an axis of heads.
    state = {"w": kernel, "b": ops.reshape(bias, (-1,))}
    if site.gamma is not None:
        state["gain"] = ops.copy(site.gamma)
    return state


def assign_if(condition, variable, value):
    """Sets a variable to a value where a scalar bool tensor is true."""
    variable.assign(ops.where(condition, value, ops.convert_to_tensor(variable)))
