"""Convolutional networks of the experiments, and their features."""

import functools

import keras
from keras import layers

from keras_learned_rule.experiments.networks import calibrate

# Filters and kernel size of each layer. "c2" has those of SoftHebb's network for CIFAR-10.
NETWORKS = {"c1": ((32, 5), (64, 3), (128, 3)), "c2": ((96, 5), (384, 3), (1536, 3))}
_BATCH = 500


def conv_network(shape, name="c1", seed=0):
    """Builds a convolutional network: convolution, batch norm, relu, max pooling by 2.

    Its output is that of the last relu, averaged over the quadrants of the image.

    Args:
        shape: (height, width, channels) of the images, square ones.
        name: `"c1"` (32, 64 and 128 filters) or `"c2"` (96, 384 and 1536). Defaults to `"c1"`.
        seed: int, of the weights. Defaults to `0`.

    Returns:
        A `keras.Sequential` from images as rows of numbers to 4 features a filter of the last
        layer.

    Example:
    ```python
    from keras_learned_rule.experiments.conv_networks import conv_network

    assert conv_network((28, 28, 1)).output_shape == (None, 512)
    ```
    """
    height, width, channels = shape
    model = keras.Sequential([keras.Input((height * width * channels,)), layers.Reshape(shape)])
    for i, (filters, size) in enumerate(NETWORKS[name]):
        if i > 0:
            model.add(layers.MaxPooling2D(2))
        draw = keras.initializers.GlorotUniform(seed=1000 * seed + i)
        model.add(layers.Conv2D(filters, size, padding="same", kernel_initializer=draw))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    for layer in _quadrants(model.output_shape[1]):
        model.add(layer)
    return model


def of_all_layers(model):
    """The network with the outputs of all of its layers, in place of the last one's alone.

    Args:
        model: what `conv_network` made.

    Returns:
        A `keras.Model` of the same layers; every relu gives 4 features a filter, the last one's
        come last.

    Example:
    ```python
    from keras_learned_rule.experiments.conv_networks import conv_network, of_all_layers

    assert of_all_layers(conv_network((28, 28, 1))).output_shape == (None, 896)
    ```
    """
    outputs = [layer.output for layer in model.layers if isinstance(layer, layers.ReLU)]
    features = [keras.Sequential(_quadrants(maps.shape[1]))(maps) for maps in outputs]
    return keras.Model(model.inputs[0], layers.Concatenate()(features))


def _quadrants(side):
    return [layers.AveragePooling2D(-(-side // 2), padding="same"), layers.Flatten()]


def embedder(model, x):
    """The features of a network, with statistics of the unlabelled data.

    Args:
        model: `keras.Model`; its batch-norm statistics are set.
        x: array `[n, inputs]`, unlabelled.

    Returns:
        A function from arrays `[m, inputs]` to features `[m, units]`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.conv_networks import conv_network, embedder

    x = np.random.rand(20, 64)
    assert embedder(conv_network((8, 8, 1)), x)(x[:3]).shape == (3, 512)
    ```
    """
    calibrate(functools.partial(model, training=True), model, x)
    return functools.partial(model.predict, batch_size=_BATCH, verbose=0)
