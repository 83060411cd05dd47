"""All sources of the package; importing this makes their names known to gin (docs/data.md)."""

from keras_learned_rule.data.array_folder import array_folder
from keras_learned_rule.data.binary_features import binary_features
from keras_learned_rule.data.curves import curves
from keras_learned_rule.data.digits import digit_images
from keras_learned_rule.data.gene_expression import gene_expression
from keras_learned_rule.data.glyphs import glyphs
from keras_learned_rule.data.pink_mixture import pink_mixture
from keras_learned_rule.data.python_texts import python_texts
from keras_learned_rule.data.synthetic import gaussian_mixture, random_manifolds, sparse_counts
from keras_learned_rule.data.tabular import tabular
from keras_learned_rule.data.textured import textured
from keras_learned_rule.data.tfds_images import tfds_images

__all__ = [
    "array_folder",
    "binary_features",
    "curves",
    "digit_images",
    "gaussian_mixture",
    "gene_expression",
    "glyphs",
    "pink_mixture",
    "python_texts",
    "random_manifolds",
    "sparse_counts",
    "tabular",
    "textured",
    "tfds_images",
]
