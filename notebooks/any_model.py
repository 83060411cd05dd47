# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Any Keras model learns: convolutions, branches, subclasses
#
# A convolutional network learns from unlabelled images. Backprop then fine-tunes it on few labels.
# Choose a GPU or TPU runtime, or wait a few minutes on a CPU.

# %% tags=["parameters"]
PACKAGE = "keras_learned_rule"  # Or a wheel, or "git+https://..." of the repository.
DATA = "fashion_mnist"  # "digits" needs no download.
EPOCHS = 3
UNLABELLED = 10_000
TEST = 2_000

# %% [markdown]
# ## 1. Install

# %%
# %pip install --quiet {PACKAGE}

# %%
import importlib.util
import os

if "KERAS_BACKEND" not in os.environ:
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    on_tpu = "TPU_ACCELERATOR_TYPE" in os.environ or "COLAB_TPU_ADDR" in os.environ
    os.environ["KERAS_BACKEND"] = "tensorflow" if has_tensorflow and not on_tpu else "jax"

import keras
import numpy as np
from keras import layers

from keras_learned_rule import LearnedRule, few_shot_accuracy

print("Keras", keras.__version__, "on", keras.config.backend())

# %% [markdown]
# ## 2. Images

# %%
if DATA == "digits":
    from keras_learned_rule.data.digits import digits_split

    x, _, x_test, y_test = digits_split()
    x, x_test = (a.reshape(-1, 8, 8, 1) for a in (x, x_test))
else:
    (x, _), (x_test, y_test) = getattr(keras.datasets, DATA).load_data()
    x, x_test = (a.reshape(*a.shape[:3], -1).astype("float32") / 255 for a in (x, x_test))
x, x_test, y_test = x[:UNLABELLED], x_test[:TEST], np.ravel(y_test)[:TEST]
print(x.shape, x_test.shape)

# %% [markdown]
# ## 3. A convolutional network
#
# `summary` says what learns, and what stays as it is and why. A last layer with a softmax is left
# alone: it is for the labels.


# %%
def conv_network():
    """Convolutions with a residual branch, pooled to 128 features, and a head for 10 classes."""
    inputs = keras.Input(x.shape[1:])
    y = inputs
    for width in (32, 64):
        y = layers.Conv2D(width, 3, padding="same", use_bias=False)(y)
        y = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(y))
        y = layers.MaxPooling2D()(y)
    branch = layers.BatchNormalization(momentum=0.9)(
        layers.Conv2D(64, 3, padding="same", use_bias=False)(y)
    )
    y = layers.Activation("relu")(layers.Add()([y, branch]))
    y = layers.Conv2D(128, 1, use_bias=False)(y)
    y = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(y))
    features = layers.GlobalAveragePooling2D(name="features")(y)
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="head")(features))


def features_of(model):
    """The model without its head."""
    return keras.Model(model.inputs, model.get_layer("features").output)


keras.utils.set_random_seed(0)
model = conv_network()
model.compile()
LearnedRule().summary(model)

# %%
before = few_shot_accuracy(features_of(model), x_test, y_test, shots=10)
model.fit(x, epochs=EPOCHS, batch_size=128, callbacks=[LearnedRule()])
after = few_shot_accuracy(features_of(model), x_test, y_test, shots=10)
print("10 labels a class, before:", before)
print("10 labels a class, after: ", after)

# %% [markdown]
# ## 4. Fine-tune with backprop
#
# After the fit the model is an ordinary one. Here it learns 10 labels a class by backprop, beside
# the same network from scratch.

# %%
rng = np.random.default_rng(0)
few = np.concatenate([rng.choice(np.flatnonzero(y_test == c), 10, False) for c in range(10)])
rest = np.setdiff1d(np.arange(len(y_test)), few)


def fine_tuned(network):
    """Accuracy on the rest of the test images after backprop on the few."""
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(x_test[few], y_test[few], epochs=10 * EPOCHS, batch_size=32, verbose=0)
    return network.evaluate(x_test[rest], y_test[rest], verbose=0)[1]


keras.utils.set_random_seed(0)
print(f"From scratch:        {fine_tuned(conv_network()):.3f}")
print(f"After the learned rule: {fine_tuned(model):.3f}")

# %% [markdown]
# ## 5. A subclassed model
#
# The forward pass of the model itself is watched, so that its form does not matter.


# %%
class TwoViews(keras.Model):
    """An image and its mirror image go through one encoder; the sum is the embedding."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential(
            [
                layers.Conv2D(32, 3, use_bias=False),
                layers.BatchNormalization(),
                layers.Activation("relu"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(32, "relu"),
            ]
        )

    def call(self, images, training=None):
        """Images `[batch, height, width, channels]` to embeddings `[batch, 32]`."""
        mirrored = keras.ops.flip(images, axis=2)
        return self.encoder(images, training=training) + self.encoder(mirrored, training=training)


twins = TwoViews()
twins(x[:1])
twins.compile()
LearnedRule().summary(twins)
twins.fit(x, epochs=EPOCHS, batch_size=128, callbacks=[LearnedRule()])
print("10 labels a class:", few_shot_accuracy(twins, x_test, y_test, shots=10))
