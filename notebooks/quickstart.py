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
# # Learn from unlabelled images, without backprop
#
# A network learns from images without labels. Ten labels a class then suffice.
# Runs on any Colab runtime: CPU, GPU or TPU. Takes about two minutes on a CPU.

# %% tags=["parameters"]
PACKAGE = "keras_learned_rule"  # Or a wheel, or "git+https://..." of the repository.
EPOCHS = 15

# %% [markdown]
# ## 1. Install
#
# TPU runtimes have JAX and no TensorFlow. The cell takes the framework that is there.

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

print("Keras", keras.__version__, "on", keras.config.backend())
if keras.config.backend() == "jax":
    import jax

    print(jax.devices())

# %% [markdown]
# ## 2. Images without labels
#
# Handwritten digits of scikit-learn, 8x8 pixels. The labels of the test part measure the result.

# %%
from keras_learned_rule.data.digits import digits_split

x, _, x_test, y_test = digits_split()
print(x.shape, x.dtype, x.min(), x.max())

# %% [markdown]
# ## 3. Learn
#
# `LearnedRule` replaces backprop for one `fit`. `probe` measures accuracy with 10 labels a class
# after each epoch.

# %%
import numpy as np

from keras_learned_rule import LearnedRule, few_shot_accuracy

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input(x.shape[1:])])
for width in (128, 128, 128, 128, 32):
    model.add(keras.layers.Dense(width))
    model.add(keras.layers.BatchNormalization())
    model.add(keras.layers.Activation("relu"))
model.compile()

LearnedRule().summary(model)
kernel_before = keras.ops.convert_to_numpy(model.layers[0].kernel)
history = model.fit(
    x,
    epochs=EPOCHS,
    batch_size=128,
    callbacks=[LearnedRule(probe=(x_test, y_test))],
    verbose=0,
)
print("Accuracy with 10 labels a class:", few_shot_accuracy(model, x_test, y_test, shots=10))

# %% [markdown]
# ## 4. Look
#
# Accuracy over epochs, and what the first layer looks at, before and after.

# %%
import matplotlib.pyplot as plt

accuracy = 100 * np.array(history.history["few_shot_accuracy"])
figure = plt.figure(figsize=(9, 3.2), layout="constrained")
curve, *grids = figure.subfigures(1, 3, width_ratios=(1.4, 1, 1))
axes = curve.subplots()
axes.plot(range(1, len(accuracy) + 1), accuracy, marker="o", ms=4)
axes.set(xlabel="epoch, no labels used", ylabel="accuracy in %, 10 labels a class")
kernel_after = keras.ops.convert_to_numpy(model.layers[0].kernel)
for grid, kernel, title in zip(
    grids, (kernel_before, kernel_after), ("before", "after"), strict=True
):
    grid.suptitle(f"first layer, {title}")
    for axis, field in zip(grid.subplots(5, 5).flat, kernel.T[:25], strict=True):
        axis.imshow(field.reshape(8, 8), cmap="RdBu_r")
        axis.set_axis_off()
plt.show()

# %% [markdown]
# ## 5. Your own data
#
# Put unlabelled examples into `x_own`, one row an example, scaled to about [0, 1]. Put a few
# labelled ones into `x_few` and `y_few`. The classifier is a plain ridge regression on features.

# %%
from sklearn.linear_model import RidgeClassifierCV

x_own = x  # Yours: an array [examples, features], or a folder of images read into one.
x_few, y_few = x_test[:100], y_test[:100]  # Yours: about 10 examples a class.

features = keras.Sequential([keras.Input(x_own.shape[1:]), *keras.models.clone_model(model).layers])
features.compile()
features.fit(x_own, epochs=EPOCHS, batch_size=128, callbacks=[LearnedRule()], verbose=0)

classifier = RidgeClassifierCV(alphas=np.logspace(-3, 3, 7))
classifier.fit(features.predict(x_few, verbose=0), y_few)
guess = classifier.predict(features.predict(x_test[100:], verbose=0))
print(f"Correct on the rest: {np.mean(guess == y_test[100:]):.3f}")

# %% [markdown]
# Next: [any_model.ipynb](any_model.ipynb) trains convolutional and subclassed models,
# [meta_train_tpu.ipynb](meta_train_tpu.ipynb) learns a rule of your own.
