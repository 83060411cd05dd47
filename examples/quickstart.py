"""A Keras network learns from unlabelled handwritten digits, without backprop.

    python examples/quickstart.py [picture.png]

Trains a network on scikit-learn's digits with `LearnedRule`, measures how well 10 labels a class
then suffice, and compares with a random network, supervised training on the same labels, PCA and
raw pixels. Prints a table and draws a picture, quickstart.png unless another name is given. The
rule was meta-trained on letters and digits of computer fonts, never on handwriting.
"""

import itertools
import logging
import os
import sys
import time

from quickstart_stderr import without_start_notes

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Many small networks are used once each; TensorFlow warns that it compiles all of them.
logging.getLogger("tensorflow").setLevel(logging.ERROR)
# Matplotlib says that its first use takes longer.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

with without_start_notes():
    import keras
    import numpy as np
    from quickstart_figure import save_figure

    from keras_learned_rule import LearnedRule, few_shot_accuracy
    from keras_learned_rule.baselines.pca import pca_features
    from keras_learned_rule.baselines.supervised import supervised_accuracy
    from keras_learned_rule.data.digits import digits_split

    keras.ops.zeros(())  # TensorFlow now looks for devices.

SEEDS, EPOCHS, SPLITS = 3, 15, 5
SUPERVISED = "supervised, same labels"


def make_network(seed, x):
    """64 pixels -> 4 hidden layers of 128 units -> an embedding of 32 units, untrained."""
    keras.utils.set_random_seed(seed)
    network = keras.Sequential([keras.Input((64,))])
    norms = [keras.layers.BatchNormalization(momentum=0.0) for _ in range(5)]
    for width, norm in zip((128, 128, 128, 128, 32), norms, strict=True):
        network.add(keras.layers.Dense(width))
        network.add(norm)
        network.add(keras.layers.Activation("relu"))
    network(x, training=True)  # Without a momentum, the statistics become those of x at once.
    for norm in norms:
        norm.momentum = 0.99
    return network


def train_without_labels(network, x, probe=None):
    """The lines that matter; returns what `fit` logged."""
    network.compile()
    rule = LearnedRule(probe=probe)
    return network.fit(x, epochs=EPOCHS, batch_size=128, verbose=0, callbacks=[rule]).history


def compare(x_train, x_test, y_test):
    """Few-shot accuracy and seconds by method, one pair a seed; all get the same labels."""

    def few_shot(features, seed, readout="ridge"):
        return few_shot_accuracy(
            features, x_test, y_test, repeats=SPLITS, seed=seed, readout=readout
        ).mean

    def learned_rule(seed):
        network = make_network(seed, x_train)
        train_without_labels(network, x_train)
        return few_shot(network, seed)

    def supervised(seed):
        network = make_network(seed, x_train)
        return supervised_accuracy(network, x_test, y_test, repeats=SPLITS, seed=seed).mean

    methods = {
        "random network": lambda seed: few_shot(make_network(seed, x_train), seed),
        SUPERVISED: supervised,
        "PCA to 32": lambda seed: few_shot(pca_features(x_train), seed),
        "raw pixels": lambda seed: few_shot(None, seed, readout="logistic"),
        "learned rule, no labels": learned_rule,
    }
    rows = {name: [] for name in methods}
    progress = keras.utils.Progbar(SEEDS * len(methods), unit_name="run")
    progress.update(0)
    for seed, name in itertools.product(range(SEEDS), methods):
        rows[name].append(timed(methods[name], seed))
        progress.add(1)
    return rows


def timed(method, seed):
    """What a method returns, and seconds."""
    start = time.time()
    result = method(seed)
    return result, time.time() - start


def print_table(rows):
    """Mean and standard error over seeds, in per cent, best last."""
    print(f"\n| 10 labels a class, {SEEDS} seeds | accuracy % | seconds |\n| --- | --- | --- |")
    for name, runs in sorted(rows.items(), key=lambda row: np.mean([r[0] for r in row[1]])):
        accuracies, seconds = np.transpose(runs)
        error = accuracies.std(ddof=1) / len(runs) ** 0.5
        accuracy = f"{100 * accuracies.mean():.1f} ± {100 * error:.1f}"
        # Supervised training needs a network for each draw of the labels, the others one in all.
        networks = SPLITS if name == SUPERVISED else 1
        print(f"| {name} | {accuracy} | {seconds.mean() / networks:.1f} |")
    print("\nSeconds: to train and measure one network.")


def main(picture="quickstart.png"):
    """The demo."""
    x_train, _, x_test, y_test = digits_split()
    rows = compare(x_train, x_test, y_test)
    print_table(rows)
    network = make_network(0, x_train)
    before = keras.models.clone_model(network)
    before.set_weights(network.get_weights())
    history = train_without_labels(network, x_train, probe=(x_test, y_test))
    accuracies = history["few_shot_accuracy"]
    supervised = np.mean([accuracy for accuracy, _ in rows[SUPERVISED]])
    save_figure(picture, before, network, accuracies, supervised, x_test, y_test)
    print(f"Learning curve, receptive fields and embedding: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
