"""Whether sites see the examples of a batch one by one."""

import keras

from keras_learned_rule.model.trace import trace

_EXAMPLES = 6


def one_row_an_example(model, inputs, sites):
    """Whether every site has one row for each example of the batch, in every call.

    Shapes alone do not tell: a model may make positions to examples, by
    `ops.reshape(x, (-1, width))`.

    Args:
        model: The built `keras.Model`.
        inputs: Nested structure of the `keras.KerasTensor` that it is called with.
        sites: List of `Site` of the model.

    Returns:
        A bool; False, too, where the model takes no batch of 6 examples.
    """
    if not all(site.whole for site in sites):
        return False
    batch = keras.tree.map_structure(
        lambda tensor: keras.KerasTensor((_EXAMPLES, *tensor.shape[1:]), tensor.dtype), inputs
    )
    try:
        calls = trace(model, batch).calls
    except Exception:  # `call` is the user's, and may raise anything.
        return False
    learning = {id(site.kind.layer) for site in sites}
    return all(
        call.outputs[0].shape[0] == _EXAMPLES for call in calls if id(call.layer) in learning
    )
