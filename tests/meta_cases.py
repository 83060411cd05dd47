"""Small problems for the tests of `meta`."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_learned_rule.data.augment import AugmentRanges
from keras_learned_rule.data.digits import load_digits
from keras_learned_rule.meta.engine import Problem
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.tasks import TaskSpec
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

TASKS = TaskSpec(side=8, ways=4, shots=3, tests=3, batch=12)
RULE = RuleSpec.compact(terms=("competition", "decorrelation", "hebb_z"))
NETWORKS = (NetworkSpec((8, 6)), NetworkSpec((5,), activation="tanh", batch_norm=False))


def plain(tasks):
    """The same tasks with nothing done to the pictures."""
    untouched = AugmentRanges(rotation=0.0, log_scale=0.0, log_aspect=0.0, shear=0.0, shift=0.0)
    return dataclasses.replace(tasks, augment=untouched, invert=0.0, contrast=0.0, brightness=0.0)


def digits():
    """scikit-learn's digits as (images, class table), no longer sorted by writer."""
    x, y = load_digits()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    images = (255 * x).astype("uint8").reshape(-1, 8, 8)
    members = [np.flatnonzero(y == label) for label in range(10)]
    return images, np.stack([m[:170] for m in members]).astype("int32")


def problem(networks=NETWORKS, rule=RULE, tasks=TASKS, lengths=(4, 9), clip_norm=1.0):
    """Meta-training on digits at tiny sizes."""
    images, table = digits()
    return Problem(
        rule=rule,
        objective=ObjectiveSpec(),
        tasks=[dataclasses.replace(tasks, network=network) for network in networks],
        images=tf.constant(images),
        class_table=tf.constant(table),
        lengths=lengths,
        clip_norm=clip_norm,
    )


def start(rule=RULE):
    return {name: tf.constant(a) for name, a in init_theta(rule).items()}
