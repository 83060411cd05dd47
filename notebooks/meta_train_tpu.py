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
# # Meta-train a learning rule on a TPU
#
# Learns the parameters theta of a rule on many small tasks, and trains a network with it.
# Choose a TPU runtime (v5e). The same cells run on a GPU or CPU.

# %% tags=["parameters"]
PACKAGE = "keras_learned_rule[jax]"  # Or a wheel, or "git+https://..." of the repository.
GIN_FILE = "gin_configs/quick.gin"
BINDINGS = []  # Such as ["train.updates = 1000"].
RUN_DIR = "runs/notebook"
DRIVE = ""  # Such as "/content/drive/MyDrive/rules": where the rule is copied to.
STOP_AFTER = 60  # Seconds to the interruption that this notebook shows.

# %% [markdown]
# ## 1. Install
#
# TPU runtimes have no TensorFlow: meta-training runs on JAX. The backend is chosen before Keras is
# imported.

# %%
# %pip install --quiet {PACKAGE}

# %%
import os

os.environ["KERAS_BACKEND"] = "jax"

import jax

print(jax.devices())

# %% [markdown]
# ## 2. What will run
#
# A gin file says everything: the rule, the tasks, the networks, the length of inner loops.
# `dry_run` counts programs, steps and memory before anything is compiled.

# %%
from keras_learned_rule.configs import find_gin_file, parse_gin
from keras_learned_rule.meta.train import train

with open(find_gin_file(GIN_FILE)) as file:
    print(file.read())
parse_gin([GIN_FILE], BINDINGS)
train(RUN_DIR, dry_run=True)

# %% [markdown]
# ## 3. Meta-train, stop, go on
#
# Interrupt the cell whenever you like: the run stops after the update that it is at. Running the
# cell again continues it, with the numbers that it would have had. A killed runtime loses at most
# what came after the last checkpoint. Here a timer interrupts.

# %%
import signal
import threading

threading.Timer(STOP_AFTER, signal.raise_signal, [signal.SIGINT]).start()
try:
    train(RUN_DIR)
except KeyboardInterrupt:
    print("Interrupted before the first update")

# %%
trainer = train(RUN_DIR)

# %% [markdown]
# ## 4. Curves
#
# Few-shot accuracy on tasks that took no part should rise above random initialisation (dashed).

# %%
from IPython.display import Image

from keras_learned_rule.plot_run import plot_run

Image(str(plot_run(RUN_DIR)))

# %% [markdown]
# ## 5. Use the new rule
#
# The best theta is a file. `LearnedRule` takes its path. The digits took no part in meta-training.

# %%
import keras

from keras_learned_rule import LearnedRule, few_shot_accuracy
from keras_learned_rule.data.digits import digits_split

x, _, x_test, y_test = digits_split()


def network():
    """64 pixels -> 3 hidden layers of 64 units -> an embedding of 32."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,))])
    for width in (64, 64, 64, 32):
        model.add(keras.layers.Dense(width))
        model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation("relu"))
    model.compile()
    return model


for name, rule in {"yours": f"{RUN_DIR}/best.safetensors", "bundled": "compact"}.items():
    model = network()
    model.fit(x, epochs=10, batch_size=128, verbose=0, callbacks=[LearnedRule(rule)])
    print(f"{name}: {few_shot_accuracy(model, x_test, y_test, shots=10)}")

# %% [markdown]
# ## 6. Keep it
#
# Runtimes are deleted. With `DRIVE` set, the folder of the run goes to your Drive; copied back to
# `RUN_DIR`, it continues there.

# %%
import shutil

if DRIVE:
    if DRIVE.startswith("/content/drive"):
        from google.colab import drive

        drive.mount("/content/drive")
    shutil.copytree(RUN_DIR, DRIVE, dirs_exist_ok=True)
    print(sorted(os.listdir(DRIVE)))
