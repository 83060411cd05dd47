"""Small models of every form that the rule trains."""

import keras
import numpy as np
from keras import layers, ops


def residual_cnn():
    """A normalised convolution, a residual block, a head."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="stem")(x)
    x = shortcut = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    x = layers.Conv2D(6, 3, padding="same", name="inner")(x)
    x = layers.Add()([layers.BatchNormalization(name="inner_norm")(x), shortcut])
    x = ops.relu(x)
    x = layers.SeparableConv2D(8, 3, strides=2, activation="relu", name="separable")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(x))


def grouped_cnn():
    """Groups, PReLU, layer and group normalisation."""
    x = inputs = keras.Input((9, 4))
    x = layers.Conv1D(6, 3, groups=2, name="grouped")(x)
    x = layers.PReLU()(layers.GroupNormalization(2, name="group_norm")(x))
    x = layers.DepthwiseConv1D(3, name="depthwise")(x)
    x = layers.Dense(5, name="pointwise")(x)
    x = layers.Activation("gelu")(layers.LayerNormalization(name="layer_norm")(x))
    return keras.Model(inputs, layers.Dense(4, name="embedding")(layers.Flatten()(x)))


def siamese():
    """An encoder that is used twice."""
    encoder = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, "relu", name="hidden"), layers.Dense(4, name="code")],
        name="encoder",
    )
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    return keras.Model([left, right], ops.abs(encoder(left) - encoder(right)))


def towers():
    """Two inputs by name, two outputs."""
    user, item = keras.Input((6,), name="user"), keras.Input((4,), name="item")
    u = layers.Dense(5, name="user_code")(layers.Dense(7, "relu", name="user_hidden")(user))
    i = layers.Dense(5, name="item_code")(item)
    return keras.Model({"user": user, "item": item}, {"match": layers.Dot(1)([u, i]), "user": u})


def autoencoder():
    """A convolutional encoder, a code, and the way back."""
    encoded = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="encode")(encoded)
    code = layers.Dense(5, name="code")(layers.Flatten()(x))
    encoder = keras.Model(encoded, code, name="encoder")
    decoded = keras.Input((5,))
    x = layers.Reshape((4, 4, 3))(layers.Dense(48, "relu", name="decode")(decoded))
    x = layers.Conv2DTranspose(2, 3, strides=2, padding="same", name="pixels")(x)
    decoder = keras.Model(decoded, x, name="decoder")
    return keras.Sequential([keras.Input((8, 8, 2)), encoder, decoder])


def transformer():
    """Two blocks of a vision transformer."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 2, strides=2, name="patches")(x))
    for i in range(2):
        h = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(h, h)])
        h = layers.LayerNormalization()(x)
        h = layers.Dense(8, name=f"down_{i}")(layers.Dense(12, "gelu", name=f"up_{i}")(h))
        x = layers.Add()([x, h])
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalMaxPooling1D()(x)))


def text():
    """Token numbers through an embedding, convolutions and the largest of all positions."""
    x = inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(20, 4, name="tokens")(x)
    x = layers.Conv1D(5, 3, padding="causal", activation="relu", name="words")(x)
    x = layers.Conv1D(6, 3, activation="relu", name="phrases")(x)
    x = layers.Dense(2, "softmax", name="classes")(layers.GlobalMaxPooling1D()(x))
    return keras.Model(inputs, x)


def lstm():
    """A classifier of token numbers that are padded with zeros."""
    x = inputs = keras.Input((7,), dtype="int32")
    x = layers.LSTM(5, name="memory")(layers.Embedding(20, 4, mask_zero=True, name="tokens")(x))
    x = layers.Dense(6, "tanh", name="code")(x)
    return keras.Model(inputs, layers.Dense(2, activation="softmax", name="classes")(x))


def unet():
    """Down, up by a transposed convolution, and across."""
    x = inputs = keras.Input((8, 8, 2))
    x = across = layers.Conv2D(4, 3, padding="same", activation="relu", name="down")(x)
    x = layers.Conv2D(6, 3, padding="same", name="bottom")(layers.MaxPooling2D()(x))
    x = layers.Conv2DTranspose(4, 2, strides=2, name="up")(layers.ReLU()(x))
    x = layers.Concatenate()([x, across])
    return keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="out")(x))


class Subclassed(keras.Model):
    """Sums outside of layers, and a layer made of layers."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.first, self.last = layers.Dense(6, name="first"), layers.Dense(4, name="last")
        self.blocks = [Block(name=f"block_{i}") for i in range(2)]

    def call(self, x, training=None):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x, training=training)
        return self.last(x)


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(6, name="dense")
        self.norm, self.relu = layers.BatchNormalization(name="norm"), layers.ReLU()

    def build(self, shape):
        self.dense.build(shape), self.norm.build(shape)

    def call(self, x, training=None):
        return self.relu(self.norm(self.dense(x), training=training))


def subclassed():
    model = Subclassed()
    model(np.zeros((2, 5), "float32"))
    return model


class Looped(keras.Model):
    """Dense layers one after another, one of them in a loop over the examples."""

    def __init__(self, loop, beside=True):
        super().__init__(name="looped")
        self.loop = loop
        self.inner = layers.Dense(4, name="inner")
        self.inner.build((None, 4))
        self.last = layers.Dense(3, name="last") if beside else layers.ReLU()

    def call(self, x):
        return self.last(self.loop(self.inner, x))


LOOPS = {
    "map": lambda layer, x: ops.map(lambda row: layer(row[None])[0], x),
    "scan": lambda layer, x: ops.scan(lambda sum_, row: (sum_, layer(row[None])[0]), x[0], x)[1],
    "fori_loop": lambda layer, x: ops.fori_loop(0, 3, lambda _, y: layer(y), x),
    "cond": lambda layer, x: ops.cond(ops.sum(x) > 0, lambda: layer(x), lambda: x),
}


def looped(loop, **options):
    model = Looped(LOOPS[loop], **options)
    model(np.zeros((2, 4), "float32"))
    return model


# What learns of each, in the order of the calls.
LEARNING = {
    residual_cnn: ["stem", "inner", "separable"],
    grouped_cnn: ["grouped", "pointwise", "embedding"],
    siamese: ["hidden", "code"],
    towers: ["item_code", "user_hidden", "user_code"],
    autoencoder: ["encode", "code", "decode"],
    transformer: [
        "patches",
        *2 * ["query", "key", "value", "attention_output"],
        *(f"{name}_{i}" for name in ("up", "down") for i in range(2)),
    ],
    text: ["words", "phrases"],
    lstm: ["code"],
    unet: ["down", "bottom", "out"],
    subclassed: ["first", "dense", "dense", "last"],
}


def batch(inputs, size=16, seed=0):
    """Random examples in the structure of a model's inputs."""
    rng = np.random.default_rng(seed)

    def one(tensor):
        shape = (size, *tensor.shape[1:])
        if "int" in tensor.dtype:
            return rng.integers(0, 20, shape)
        return rng.normal(size=shape).astype("float32")

    return keras.tree.map_structure(one, inputs)
