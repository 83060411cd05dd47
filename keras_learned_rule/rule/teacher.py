"""A teacher for networks that learn little alone: a base model beside them, by the same rule.

What competition finds for few units, or for units that saturate on both sides, tells examples apart
badly, and layers above cannot mend it. The embedding of a base model of the same examples tells
them apart well, and such units can say most of it. So it is broadcast to all layers of the network,
and each learns to predict it, by a decoder of its own. A unit sees its inputs, its response, and
the error of its layer's prediction through its own row of the decoder; nothing is sent from layer
to layer, and nobody has labels.
"""

import contextlib
import itertools

import keras
from keras import ops

from keras_learned_rule.rule.layer_parameters import REFERENCE_DEPTH, REFERENCE_WIDTH
from keras_learned_rule.rule.merge import one_sidedness
from keras_learned_rule.rule.products import product, product_over_examples
from keras_learned_rule.rule.scaling import rms_one

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
        layers see positions instead of whole examples, where a nonlinearity does not change as all
        units do (softmax), and for a network that has hidden layers, all of more than 64 units and
        with nonlinearities like relu, and an embedding of at least 32.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.rule.mlp import mlp_plan
    from keras_learned_rule.rule.teacher import teacher_shapes

    spec = RuleSpec.compact(teacher=True)
    assert teacher_shapes(spec, mlp_plan(2), [(64, 128), (128, 32)]) == ()
    assert teacher_shapes(spec, mlp_plan(2), [(64, 32), (32, 32)])[0] == (64, 128)
    ```
    """
    if not (spec.teacher and plan.whole_examples):
        return ()
    *hidden, embedding = units = [upper for _, upper in shapes]
    small = min(hidden, default=0) <= LARGEST_TAUGHT or embedding < EMBEDDING
    one_sided = [_one_sidedness(layer, n) for layer, n in zip(plan.layers, units, strict=True)]
    if None in one_sided or not (small or min(one_sided[:-1]) < _ONE_SIDED):
        return ()
    widths = (shapes[0][0], *WIDTHS)
    return tuple(itertools.pairwise(widths))


def _one_sidedness(layer, units):
    """The mean over a layer's units; None for a nonlinearity that does not rise."""
    with _outside_of_traces():
        ones = ops.ones((1, units))
        rise = layer.activation(2.0 * ones) - layer.activation(-2.0 * ones)
        one_sided = one_sidedness(layer.activation, ones)
        rises, mean = ops.any(rise != 0.0), ops.mean(one_sided)
        return float(ops.convert_to_numpy(mean)) if ops.convert_to_numpy(rises) else None


def _outside_of_traces():
    """Makes what is computed within known at once, also where a compiler traces."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    if keras.config.backend() == "jax":
        import jax

        return jax.ensure_compile_time_eval()
    return contextlib.nullcontext()


def student_direction(decoder, code, signals, activation, gain=None):
    """How a layer's weights change so that its units predict the teacher's embedding better.

    The gradient of the squared error of the layer's own prediction by its own weights, with the
    slopes of `slope`, each unit's times its own scale, and leaving out how weights change the
    scale of post-activations, which made no difference.

    Args:
        decoder: [n_upper, 32], predicts from standardized post-activations.
        code: [E, 32], the teacher's embedding, standardized.
        signals: `LayerSignals` of the layer.
        activation: Its nonlinearity, maps [E, n_upper] to the same shape.
        gain: [n_upper], scale of its batch normalisation, or None. Defaults to `None`.

    Returns:
        (direction, decoder): [n_lower, n_upper] of rms 1, to be subtracted, and the decoder after
        a step of its own.
    """
    x, y, z = signals.x_lower, signals.x_upper.values, signals.z_upper
    error = code - product(y, decoder)
    wish = product(error, ops.transpose(decoder)) * slope(activation, z)
    wish = _beside(z.values, wish)
    if gain is not None:
        wish = wish * ops.sign(gain)
    change = product_over_examples(x.values, wish) * ops.transpose(x.deviation)
    return rms_one(-change), _better_decoder(decoder, error, y)


def _beside(z, wish):
    """What of a wished change is left behind batch normalisation, which undoes shifts and scales.

    Of so few examples that nothing is left, rounding must not be taken for a wish.
    """
    left = wish - ops.mean(wish, axis=0)
    left = left - z * ops.mean(left * z, axis=0)
    enough = ops.mean(ops.square(left)) > 1e-8 * ops.mean(ops.square(wish))
    return ops.where(enough, left, 0.0)


def slope(activation, z):
    """[E, n_upper]: how much a nonlinearity rises about z, per standard deviation of z.

    Args:
        activation: See `student_direction`.
        z: `Standardized` pre-activations.
    """
    middle, reach = z.values * z.deviation + z.mean, _REACH * z.deviation
    return (activation(middle + reach) - activation(middle - reach)) / (2.0 * _REACH)


def _better_decoder(decoder, error, y):
    few = y.shape[0] is not None and y.shape[0] < y.shape[1]
    # Both have the same eigenvalues but for zeros.
    correlation = product(y, ops.transpose(y)) if few else product_over_examples(y, y)
    # Not below the largest eigenvalue, so that the step cannot overshoot.
    bound = ops.sqrt(ops.sum(ops.square(correlation)) + 1e-12)
    return decoder + product_over_examples(y, error) / bound


def decoder_shape(units):
    """Shape of a layer's decoder, by its number of units."""
    return units, EMBEDDING
