"""Figure 2, right: what permuted inputs do to a meta-learned network, and to a rule."""

import functools

import gin
import keras
import numpy as np
import tensorflow as tf

from keras_learned_rule.baselines.prototypical import PrototypicalNetwork
from keras_learned_rule.data.digits import load_digits
from keras_learned_rule.data.glyphs import DEFAULT_CHARACTERS  # noqa: F401
from keras_learned_rule.experiments.cells import Group
