"""Figure 4, right: few-shot accuracy on text, which no meta-training has seen."""

import gin

from keras_learned_rule.experiments import comparison

TITLE = "Few-shot accuracy on text (Figure 4, right)"
ABOUT = (
    "IMDB reviews, two ways: whether each of the 1,000 most frequent words occurs. Networks, "
    "methods and readouts are those of `few_shot`."
)
groups = gin.external_configurable(comparison.comparison, "text")
tables, draw = comparison.tables, comparison.draw


def findings(results):
    """Paper and ours, side by side."""
    return [
        [
            "After 30 hours of meta-training on images the rule beats random initialisation by "
            "almost 10 points; later it overfits to images.",
            comparison.all_versus(results, "random"),
        ],
        ["(not in the paper) A fixed rule.", comparison.all_versus(results, "fixed_rule")],
        ["(not in the paper) The VAE.", comparison.all_versus(results, "vae")],
        ["(not in the paper) Raw inputs.", comparison.all_versus(results, "raw")],
    ]
