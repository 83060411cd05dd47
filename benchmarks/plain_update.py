"""The compact update as plain TensorFlow, term by term from the definitions.

What benchmarks/meta_step.py compares with: no signal is shared between terms, none are merged
before their product. The same numbers come out.
"""

import tensorflow as tf

from keras_learned_rule.rule.layer_parameters import layer_parameters
from keras_learned_rule.rule.place import chain_place
from keras_learned_rule.rule.sparsity import adapted_theta
from keras_learned_rule.rule.theta import MAX_STEP
from keras_learned_rule.rule.update import forward


def plain_update(spec, theta, plan, state, x, learning_rate):
    """Stands in for `unsupervised_update` of a compact rule without neuron network."""
    signals = forward(plan, state, x)
    theta = adapted_theta(spec, theta, signals.pres[0])
    widths, new_state = [arrays["w"].shape[1] for arrays in state], []
    for i, old in enumerate(state):
        own = layer_parameters(spec, theta, chain_place(widths, i))
        coefficients = own["coefficients"]
        w, lower, z, y = _rms_one(old["w"]), signals.pres[i], signals.zs[i], signals.xs[i]
        competed = _won(lower, z, own)
        if spec.running_competition:
            share = z.shape[0] / (z.shape[0] + tf.exp(own["log_window"]))
            competed = (1 - share) * old["competition"] + share * competed
        own["competed"] = competed
        merged = 0.0
        for j, name in enumerate(spec.terms):
            merged += coefficients[j] * _TERMS[name](w, lower, z, y, own)
        merged *= tf.math.rsqrt(tf.reduce_mean(merged**2) + 1e-12)
        stepped = w - MAX_STEP * tf.sigmoid(own["step"]) * learning_rate * merged
        mean, variance = tf.nn.moments(z, 0)
        deviation = tf.sqrt(variance + 1e-6)
        one_sided = _one_sidedness(plan.layers[i].activation, deviation)
        target = one_sided * own["bias_target"] + (1 - one_sided) * own["symmetric_bias_target"]
        change = mean - deviation * target
        new_state.append(
            {
                "w": _rms_one(stepped) / w.shape[0] ** 0.5,
                "b": old["b"] - learning_rate * tf.sigmoid(own["bias_rate"]) * change,
                **({"competition": competed} if spec.running_competition else {}),
            }
        )
    return tuple(new_state), signals


def _one_sidedness(activation, deviation):
    rise = [
        tf.abs(activation(far * deviation[None]) - activation(near * deviation[None]))[0]
        for far, near in ((-2.0, -1.0), (2.0, 1.0))
    ]
    return tf.nn.relu(rise[1] - rise[0]) / (rise[1] + rise[0] + 1e-12)


def _rms_one(w):
    return w * tf.math.rsqrt(tf.reduce_mean(w**2, 0, keepdims=True) + 1e-6)


def _standard(x):
    mean, variance = tf.nn.moments(x, 0)
    return (x - mean) * tf.math.rsqrt(variance + 1e-6)


def _correlation(a, b):
    return tf.matmul(_standard(a), _standard(b), transpose_a=True) / a.shape[0]


def _won(lower, z, own):
    shares = tf.nn.softmax(_standard(z) / tf.exp(own["log_temperature"]))
    return tf.matmul(lower - tf.reduce_mean(lower, 0), shares, transpose_a=True) * (
        z.shape[1] / z.shape[0]
    )


def _competition(w, lower, z, y, own):
    change = own["competed"]
    return -change * tf.math.rsqrt(tf.reduce_mean(change**2, 0, keepdims=True) + 1e-12)


def _competition_spread(w, lower, z, y, own):
    x = _standard(lower)
    change = tf.matmul(x, x @ _competition(w, lower, z, y, own), transpose_a=True)
    return change * tf.math.rsqrt(tf.reduce_mean(change**2, 0, keepdims=True) + 1e-12)


def _decorr_x(w, lower, z, y, own):
    change = w @ (_correlation(y, y) / y.shape[1] ** 0.5)
    return change * tf.math.rsqrt(tf.reduce_mean(change**2 + 1e-8))


def _decorrelation(w, lower, z, y, own):
    return w @ (_correlation(z, z) * (1.0 - tf.eye(z.shape[1], dtype=z.dtype)))


_TERMS = {
    "competition": _competition,
    "competition_spread": _competition_spread,
    "decorr_x": _decorr_x,
    "decorrelation": _decorrelation,
    "hebb": lambda w, lower, z, y, own: -_correlation(lower, y),
    "hebb_z": lambda w, lower, z, y, own: -_correlation(lower, z),
    "scaled_decorrelation": lambda w, *others: (
        _decorrelation(w, *others) * (128 / w.shape[1]) ** 0.5
    ),
    "large_decay": lambda w, lower, z, y, own: w * tf.abs(w),
    "w_base": lambda w, lower, z, y, own: w,
}
