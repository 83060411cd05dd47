"""A step that changes variables as a pure function of their values."""

import keras


def stateless(function, variables):
    """Makes a pure function of one that changes variables.

    Args:
        function: Any function; all variables that it changes are among `variables`.
        variables: List of `keras.Variable`.

    Returns:
        `run(values, *args) -> (result, values)`: calls `function(*args)` as if the variables had
        `values`, a list in their order, and returns what they would have become.
    """

    def run(values, *args):
        mapping = zip(variables, values, strict=True)
        with keras.StatelessScope(state_mapping=mapping) as scope:
            result = function(*args)
        return result, [scope.get_current_value(variable) for variable in variables]

    return run
