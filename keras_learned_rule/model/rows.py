"""Whether sites see the examples of a batch one by one."""

import warnings

import keras

from keras_learned_rule.model.trace import trace

_EXAMPLES = 6


def one_row_an_example(model, inputs, sites):
    """Whether every site has one row for each example of the batch, in every call.

    Shapes alone do not tell: a model may make positions to examples, by
    `ops.reshape(x, (-1, width))`. So the model is traced with a batch of known size: the one that
    its inputs state, or else 6.

    Args:
        model: The built `keras.Model`.
        inputs: Nested structure of the `keras.KerasTensor` that it is called with.
        sites: List of `Site` of the model.

    Returns:
        A bool; False, with a UserWarning, where `call` takes no such batch.
    """
    size = keras.tree.flatten(inputs)[0].shape[0] or _EXAMPLES
    batch = keras.tree.map_structure(
        lambda tensor: keras.KerasTensor((size, *tensor.shape[1:]), tensor.dtype), inputs
    )
    try:
        calls = trace(model, batch).calls
    except Exception as error:  # `call` is the user's, and may raise anything.
        _warn(model, size, error)
        return False
    learning = {id(site.kind.layer) for site in sites}
    return all(call.outputs[0].shape[0] == size for call in calls if id(call.layer) in learning)


def _warn(model, size, error):
    reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    warnings.warn(
        f"No teacher learns beside model '{model.name}', since its `call` takes no batch of {size} "
        "examples. Write it for batches of any size, such as with -1 or `ops.shape(x)[0]` in "
        f"place of a number. Received: {reason}",
        stacklevel=6,
    )
