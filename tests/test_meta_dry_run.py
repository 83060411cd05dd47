"""What a dry run says, against numbers counted by hand."""

import dataclasses

import numpy as np
import pytest

from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.meta.cost import score_cost, update_cost
from keras_learned_rule.meta.dry_run import describe, step_flop, working_bytes
from keras_learned_rule.meta.estimators import PersistentES
from keras_learned_rule.meta.families import TaskFamily, load_families
from keras_learned_rule.meta.memory import activation_bytes
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.schedule import Horizon
from keras_learned_rule.rule.spec import RuleSpec

RULE = RuleSpec.compact(terms=("competition",), running_competition=False)
HORIZON = Horizon((10, 30), (2, 5), first_lengths=(4, 8), grow_updates=100)


def digits(size, channels):
    """3 classes of 4 images."""
    images = np.arange(12 * size * size * channels).reshape(12, size, size, channels)
    labels = np.repeat(np.arange(3, dtype="int32"), 4)
    return ImageSet((images % 256).astype("uint8"), labels, ("a", "b", "c"), "digits")


def letters(size, channels):
    return dataclasses.replace(digits(size, channels), name="letters")


FAMILY = TaskFamily(
    [(digits, 3.0), (letters, 1.0)],
    NetworkSpec((3, 2)),
    buckets=2,
    tasks=4,
    size=2,
    ways=(3, 3),
    shots=2,
    tests=1,
    batches=(5,),
    name="tiny",
)
WIDTHS = (4, 3, 2)


@pytest.fixture(scope="module")
def loaded():
    return load_families([FAMILY], seed=0)


def described(loaded, rule=RULE, held_out=([], []), buckets_a_update=None, **settings):
    problem = Problem(rule, **{"remat": False, **settings})
    return describe(problem, *loaded, held_out, HORIZON, 200, buckets_a_update)


def row(text, *beginning):
    (found,) = [r.split() for r in text.splitlines() if r.split()[: len(beginning)] == [*beginning]]
    return found[len(beginning) :]


def test_data_networks_and_programs(loaded):
    held_out = load_families([dataclasses.replace(FAMILY, name="other", tasks=7)], seed=1)
    text = described(loaded, held_out=held_out)
    # Coefficient, temperature, step, bias rate and two bias targets for each of three groups, and
    # as many for shallow and for narrow networks.
    assert text.startswith("Rule: compact, 1 terms, no neuron network, 54 parameters\n")
    assert row(text, "digits", "training") == ["3", "12", "75%"]
    assert row(text, "letters", "held", "out") == ["3", "12", "25%"]
    # 4 x 3 + 3 + 3 x 2 + 2 weights and biases.
    assert row(text, "tiny_1") == ["3-2", "relu", "4", "3", "2", "1", "5", "4", "23"]
    assert row(text, "other_0")[-2:] == ["7", "23"]
    assert "at most 7: 4 meta-steps (2 buckets, K = 2 or 5), the meta-update, 2 eval" in text


def test_lengths_at_both_ends(loaded):
    text = described(loaded)
    assert "The first of 200 meta-updates: inner loops of 4 to 8 steps, K = 2\n" in text
    assert "The last of 200 meta-updates: inner loops of 10 to 30 steps, K = 2 or 5\n" in text


def test_operations_counted_by_hand(loaded):
    forward = 2 * 5 * (4 * 3 + 3 * 2)
    competition = forward  # A product of the same three sizes for each layer.
    # Forward of 9 labelled examples; normal equations of 2 features from 6; predictions of 9.
    scored = 2 * 9 * (4 * 3 + 3 * 2) + 2 * 2 * 6 * 2 + 2 * 2 * 6 * 3 + 2 * 9 * 2 * 3
    elimination = 2 * 2**3 // 3 + 2 * 2**2 * 3
    step = forward + competition + scored + elimination
    spec = loaded[0][0].spec
    assert step_flop(Problem(RULE, remat=False), spec) == 3 * step
    assert step_flop(Problem(RULE, remat=True), spec) == 4 * step
    assert step_flop(Problem(RULE, estimator=PersistentES(pairs=3)), spec) == 6 * step
    # 2 buckets of 4 tasks; 100 updates with K = 2, then 100 with a mean K of 3.5.
    text = described(loaded)
    update = 3 * step * 8
    assert f"at least {2 * update / 1e3:.3g} kFLOP with K = 2, {5 * update / 1e3:.3g} k" in text
    assert f"All meta-updates compute at least {update * 550 / 1e6:.3g} MFLOP" in text
    assert f"at least {2 * update / 2e3:.3g} kFLOP" in described(loaded, buckets_a_update=1)


def test_memory_counted_by_hand(loaded):
    spec, problem = loaded[0][0].spec, Problem(RULE)
    images = 4 * 5 * (5 + 9) * 4  # float32, K = 5, examples, inputs.
    step = activation_bytes(RULE, WIDTHS, batch=5, labelled=9)
    assert working_bytes(problem, spec, 4, 5, remat=False) == images + 5 * step
    assert working_bytes(problem, spec, 4, 5, remat=True) == images + step + 5 * 4 * 23
    at_once = Problem(RULE, vectorize=True)
    assert working_bytes(at_once, spec, 4, 5, remat=False) == 4 * (images + 5 * step)
    # Two sets of 12 images of 4 bytes, a table of 6 x 4, the classes' sets and two shares.
    text = described(loaded)
    assert f"data {2 * 12 * 4 + 4 * (24 + 6 + 2)} B, networks under way {8 * 4 * 23} B" in text
    copies = described(loaded, estimator=PersistentES(pairs=3))
    assert f"networks under way {6 * 8 * 4 * 23 / 1e3:.3g} kB" in copies


def test_it_says_which_way_is_configured(loaded):
    for remat, way in ((False, "without"), (True, "with")):
        text = described(loaded, remat=remat)
        assert f", {way} rematerialisation (as configured)" in text
        assert text.count("configured") == 1


def test_the_published_rule(loaded):
    rule = RuleSpec.published(output_width=2)
    text = described(loaded, rule=rule)
    # Weights twice, forward and backward, and biases.
    assert row(text, "tiny_0")[-1] == str(2 * 18 + 5)
    assert "Rule: published, 12 terms, a neuron network" in text
    spec = loaded[0][0].spec
    cost = update_cost(rule, WIDTHS, 5) + score_cost(WIDTHS, 3, 2, 1)
    assert step_flop(Problem(rule, remat=False), spec) == 3 * cost.flop
    assert f"at least {8 * 2 * 3 * cost.flop / 1e6:.3g} MFLOP with K = 2" in text
    assert "114,670 parameters" in described(loaded, rule=RuleSpec.published())
