"""Figure 4, left: few-shot accuracy on images."""

import gin

from keras_learned_rule.experiments import comparison

TITLE = "Few-shot accuracy on images (Figure 4, left)"
ABOUT = (
    "The same base model (4 hidden layers of 128 and an embedding of 32, batch norm, relu) under "
    "every method; penalties of both readouts are chosen on the labelled examples alone. "
    "Supervised networks have the softmax layer they were trained with, whatever the readout."
)
groups = gin.external_configurable(comparison.comparison, "few_shot")
tables, draw = comparison.tables, comparison.draw

_CLAIMS = (
    ("random", "The learned rule is far better than random initialisation."),
    ("vae", "It matches or beats the VAE on MNIST and Fashion-MNIST, 10 labels a class."),
    ("supervised", "It beats supervised training on the same few labels."),
    ("fixed_rule", "(not in the paper) Meta-learning has to beat a fixed rule."),
    ("raw", "(not in the paper) Features have to beat the inputs they are made of."),
)


def findings(results):
    """Paper and ours, side by side."""
    data_sets = comparison.data_of(results)
    return [
        [claim, "; ".join(comparison.versus(results, data, other) for data in data_sets)]
        for other, claim in _CLAIMS
    ]
