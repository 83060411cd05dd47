"""A rule that knows more starts as the rule that it starts from."""

import dataclasses

import numpy as np
import pytest
import rule_cases as cases
from keras import ops

from keras_learned_rule import UpdateRule
from keras_learned_rule.meta.start import starting_theta
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import check_theta
from keras_learned_rule.rule.update import unsupervised_update

COMPACT = UpdateRule.from_preset("compact_6")
GROWN = RuleSpec.compact(terms=("hebb", *COMPACT.spec.terms, "learned_hebb"), hidden_width=8)


def updated(spec, theta):
    _, plan, state, x = cases.case(spec, (7, 6, 5), count=20)
    theta = {name: ops.convert_to_tensor(a, "float64") for name, a in theta.items()}
    return unsupervised_update(spec, theta, plan, state, x, 0.5)[0]


def test_more_terms_change_nothing_at_first():
    expected = updated(COMPACT.spec, COMPACT.theta)
    check_theta(GROWN, starting_theta("compact_6", GROWN, seed=0))
    cases.assert_states_equal(updated(GROWN, starting_theta("compact_6", GROWN, seed=0)), expected)
    for term in ("hebb", "learned_hebb"):
        theta = starting_theta("compact_6", GROWN, seed=0)
        theta["merge/coefficients"][:, GROWN.terms.index(term)] = 0.1
        with pytest.raises(AssertionError):
            cases.assert_states_equal(updated(GROWN, theta), expected)


@pytest.mark.parametrize("size", ["", "shallow/", "narrow/"])
def test_sparsity_changes_nothing_at_first(size):
    rule = dataclasses.replace(COMPACT.spec, sparsity_aware=True, sparse_by_size=True)
    theta = starting_theta("compact_6", rule, seed=0)
    expected = updated(COMPACT.spec, COMPACT.theta)
    cases.assert_states_equal(updated(rule, theta), expected)
    theta[f"merge/sparse/{size}coefficients"][:, 0] = 1.0
    with pytest.raises(AssertionError):
        cases.assert_states_equal(updated(rule, theta), expected)


def test_teachers_make_no_difference():
    for rule in (COMPACT.spec, dataclasses.replace(COMPACT.spec, teacher=True)):
        theta = starting_theta("compact_6", rule, seed=0)
        for name, array in COMPACT.theta.items():
            np.testing.assert_array_equal(theta[name], array)


def test_what_is_new_is_drawn_with_the_seed():
    one, other = (starting_theta("compact_6", GROWN, seed) for seed in (0, 1))
    name = "learned_hebb/upper/kernel"
    assert not np.any(one[name] == other[name])
    np.testing.assert_array_equal(one["merge/step"], COMPACT.theta["merge/step"])


@pytest.mark.parametrize(
    "rule",
    [
        RuleSpec.compact(terms=("competition", "learned_hebb")),
        dataclasses.replace(GROWN, groups=1),
        dataclasses.replace(GROWN, size_aware=False),
        dataclasses.replace(GROWN, sparsity_aware=True, very_sparse=True),
        RuleSpec.published(),
    ],
    ids=["fewer terms", "groups", "not size-aware", "very sparse", "published"],
)
def test_a_rule_that_knows_other_things_is_refused(rule):
    with pytest.raises(ValueError, match="of one with fewer terms, .*Received: 'compact_6'"):
        starting_theta("compact_6", rule, seed=0)


def test_functions_of_another_size_are_refused(tmp_path):
    path = str(tmp_path / "grown.safetensors")
    UpdateRule(GROWN, starting_theta("compact_6", GROWN, seed=0)).save(path)
    starting_theta(path, dataclasses.replace(GROWN, terms=(*GROWN.terms, "w_base")), seed=0)
    with pytest.raises(ValueError, match="start_from must be a theta of the same rule"):
        starting_theta(path, dataclasses.replace(GROWN, hidden_width=9), seed=0)


def test_the_published_merge_divides_by_the_number_of_terms(tmp_path):
    path = str(tmp_path / "published.safetensors")
    one = RuleSpec.published(terms=("hebb",))
    UpdateRule(one, starting_theta(None, one, seed=0)).save(path)
    starting_theta(path, one, seed=0)
    with pytest.raises(ValueError, match="start_from must be a theta of the same rule"):
        starting_theta(path, RuleSpec.published(terms=("decorr_x", "hebb")), seed=0)


@pytest.mark.parametrize("start_from", [None, "compact_6"])
def test_single_arrays_can_start_elsewhere(start_from):
    rule = COMPACT.spec
    expected = starting_theta(start_from, rule, seed=0)
    expected["merge/step"][:] = 0.25
    expected["merge/bias_rate"] = np.float32([1, 2, 3])
    values = {"merge/step": 0.25, "merge/bias_rate": [1, 2, 3.0]}
    theta = starting_theta(start_from, rule, 0, values)
    check_theta(rule, theta)
    assert list(theta) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(theta[name], array)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"step": 1.0}, "by names out of .*'merge/step'.*Received: unknown 'step'"),
        ({"merge/step": [1.0, 2.0]}, r"for all of 'merge/step'.*shape \(3,\)\. Received: "),
        ({"merge/step": "high"}, "one finite number.*Received: 'high'"),
        ({"merge/step": "0.5"}, "one finite number.*Received: '0.5'"),
        ({"merge/step": True}, "one finite number.*Received: True"),
        ({"merge/step": [[0.0], [1.0, 2.0]]}, "one finite number.*Received: "),
        ({"merge/step": [0.0, 1.0, float("nan")]}, "one finite number.*Received: .*nan"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ValueError, match=f"start_values must .*{message}"):
        starting_theta(None, COMPACT.spec, 0, values)
