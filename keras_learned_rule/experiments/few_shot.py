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
    ("random", "The rule beats random initialisation on MNIST and Fashion-MNIST."),
    ("vae", "The rule sometimes beats existing unsupervised methods, a VAE among them."),
    ("supervised", "Supervised training on the same few labels is in the figure, too."),
    ("fixed_rule", "(not in the paper) Meta-learning has to beat a fixed rule."),
    ("raw", "(not in the paper) Features have to beat the inputs they are made of."),
)


def findings(results):
    """Paper and ours, side by side."""
    return [[claim, comparison.all_versus(results, other)] for other, claim in _CLAIMS]
