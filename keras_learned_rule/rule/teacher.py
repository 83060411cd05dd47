"""A teacher for networks that learn little alone: a base model beside them, by the same rule.

What competition finds for few units, or for units that saturate on both sides, tells examples apart
badly, and layers above cannot mend it. The embedding of a base model of the same examples tells
them apart well, and such units can say most of it. So it is broadcast to all layers of the network,
and each learns to predict it, by a decoder of its own. A unit sees its inputs, its response, and
the error of its layer's prediction through its own row of the decoder; nothing is sent from layer
to layer, and nobody has labels.
"""

import contextlib

import keras
from keras import ops

from keras_learned_rule.rule.layer_parameters import REFERENCE_DEPTH, REFERENCE_WIDTH
from keras_learned_rule.rule.merge import one_sidedness
from keras_learned_rule.rule.products import product, product_over_examples
from keras_learned_rule.rule.scaling import example_count, rms_one

EMBEDDING = 32
# Units of the teacher's layers: the base model of the experiments.
WIDTHS = (REFERENCE_WIDTH,) * REFERENCE_DEPTH + (EMBEDDING,)
# Hidden layers of more units learn as much by themselves.
LARGEST_TAUGHT = 64
# Below it a nonlinearity is less like relu than like tanh.
_ONE_SIDED = 0.25
# Over how many standard deviations a slope is taken: steps have none at a point.
_REACH = 0.5


def teacher_shapes(spec, plan, shapes):
    """Shapes of the weights of a network's teacher.

    Args:
        spec: A `RuleSpec`.
        plan: The network's `Plan`.
        shapes: [(n_lower, n_upper)] of its weights, bottom-up.

    Returns:
        The same of the teacher; empty where there is none: for a rule without teachers, where
        layers see positions instead of whole examples, and for a network that has hidden layers,
        all of more than 64 units and with nonlinearities like relu, and an embedding of at least
        32.

    Example:

    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.network.mlp import mlp_plan
    from keras_learned_rule.rule.teacher import teacher_shapes

    spec = RuleSpec.compact(teacher=True)
    assert teacher_shapes(spec, mlp_plan(2), [(64, 128), (128, 32)]) == ()
    assert teacher_shapes(spec, mlp_plan(2), [(64, 32), (32, 32)])[0] == (64, 128)
    ```
    """
    *hidden, embedding = (upper for _, upper in shapes)
    if not (spec.teacher and plan.whole_examples):
        return ()
    small = min(hidden, default=0) <= LARGEST_TAUGHT or embedding < EMBEDDING
    if not (small or any(map(_two_sided, plan.layers[:-1]))):
        return ()
    widths = (shapes[0][0], *WIDTHS)
    return tuple(zip(widths, widths[1:]))


def _two_sided(layer):
    with _outside_of_traces():
        one_sided = one_sidedness(layer.activation, ops.ones((1, 1)))
        return float(ops.convert_to_numpy(one_sided)[0]) < _ONE_SIDED


def _outside_of_traces():
    """Makes what is computed within known at once, also where a compiler traces."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    if keras.config.backend() == "jax":
        import jax

        return jax.ensure_compile_time_eval()
    return contextlib.nullcontext()


def student_direction(decoder, code, signals, activation):
    """How a layer's weights change so that its units predict the teacher's embedding better.

    The gradient of the squared error of the layer's own prediction, by its own weights alone.

    Args:
        decoder: [n_upper, 32], predicts from standardized post-activations.
        code: [E, 32], the teacher's embedding, standardized.
        signals: `LayerSignals` of the layer.
        activation: Its nonlinearity, maps [E, n_upper] to the same shape.

    Returns:
        (direction, decoder): [n_lower, n_upper] of rms 1, to be subtracted, and the decoder after
        a step of its own.
    """
    x, y, z = signals.x_lower, signals.x_upper.values, signals.z_upper
    error = code - product(y, decoder)
    wish = product(error, ops.transpose(decoder)) * slope(activation, z)
    # What only shifts or scales pre-activations makes no difference behind batch normalisation.
    wish = wish - ops.mean(wish, axis=0)
    wish = wish - z.values * ops.mean(wish * z.values, axis=0)
    change = product_over_examples(x.values, wish) * ops.transpose(x.deviation)
    return rms_one(-change), _better_decoder(decoder, error, y)


def slope(activation, z):
    """[E, n_upper]: how much a nonlinearity rises about z, per standard deviation of z.

    Args:
        activation: See `student_direction`.
        z: `Standardized` pre-activations.
    """
    middle, reach = z.values * z.deviation + z.mean, _REACH * z.deviation
    return (activation(middle + reach) - activation(middle - reach)) / (2.0 * _REACH)


def _better_decoder(decoder, error, y):
    correlation = product_over_examples(y, y) / example_count(y)
    # Not below the largest eigenvalue, so that the step cannot overshoot.
    bound = ops.sqrt(ops.sum(ops.square(correlation)) + 1e-12)
    return decoder + product_over_examples(y, error) / (example_count(y) * bound)


def decoder_shape(units):
    """Shape of a layer's decoder, by its number of units."""
    return units, EMBEDDING
