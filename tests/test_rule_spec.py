"""Specs and starting values of theta: what is accepted, and what is said when it is not."""

import dataclasses
import json

import numpy as np
import pytest

from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.term_names import PUBLISHED_TERMS
from keras_learned_rule.rule.theta import MAX_STEP, check_theta, init_theta, theta_shapes


def size(spec):
    return sum(a.size for a in init_theta(spec).values())


def test_published_parameter_counts():
    assert size(RuleSpec.published()) == 114_670
    assert size(RuleSpec.published(identical_updates=False)) == 118_583


def test_without_a_neuron_network_only_merge_parameters_are_left():
    spec = RuleSpec.compact(size_aware=False)
    assert all(name.startswith("merge/") for name in theta_shapes(spec))
    assert size(spec) == spec.groups * (len(spec.terms) + 6)
    less = dict(shaped_bias=False), dict(running_competition=False)
    for fields in less:
        assert size(dataclasses.replace(spec, **fields)) == spec.groups * (len(spec.terms) + 5)
    assert size(RuleSpec.compact()) == 3 * size(spec)
    assert size(RuleSpec.compact(sparsity_aware=True)) == 4 * size(spec)
    assert size(RuleSpec.compact(sparsity_aware=True, sparse_by_size=True)) == 6 * size(spec)
    assert size(RuleSpec.compact(sparsity_aware=True, very_sparse=True)) == 5 * size(spec)


@pytest.mark.parametrize(
    "spec", [RuleSpec.published(), RuleSpec.compact(), RuleSpec.compact(neuron_network=True)]
)
def test_a_spec_survives_json(spec):
    read = RuleSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert read == spec and hash(read) == hash(spec)


def test_unknown_fields_are_named():
    with pytest.raises(ValueError, match=r"has the fields .* Received: unknown \['colour'\]"):
        RuleSpec.from_dict({**RuleSpec.compact().to_dict(), "colour": 1})


@pytest.mark.parametrize(
    "make, overrides, message",
    [
        ("published", {"merge": "mean"}, "merge must be .*, 'compact'.*Received: 'mean'"),
        ("published", {"terms": ("hebb", "oja")}, r"terms must be distinct.*'oja'\]"),
        ("published", {"terms": ("hebb", "hebb")}, r"distinct names.*\['hebb', 'hebb'\]"),
        ("published", {"terms": ()}, r"terms must be .*Received: \[\]"),
        ("compact", {"terms": ("hebb", "rbf")}, r"neuron_network=False\). Received: .*'rbf'"),
        ("published", {"terms": ("hebb",), "neuron_network": False}, "needs the neuron network"),
        ("compact", {"identical_updates": False}, "identical_updates must be True"),
        ("published", {"groups": 3}, "groups must be .* Received: groups=3"),
        ("published", {"shaped_bias": True}, "shaped_bias must be False .* shaped_bias=True"),
        ("compact", {"neuron_network": "yes"}, "neuron_network must be True or False.*'yes'"),
        ("compact", {"terms": 5}, "terms must be a list or tuple.*Received: 5"),
        ("published", {"top_layers": 10**6}, "top_layers must be .* to 64. Received: 1000000"),
        ("compact", {"learning_rate": 10**400}, "learning_rate must be a finite number"),
        ("compact", {"groups": 2}, "groups must be .*1, 3.*Received: 2"),
        ("published", {"terms": "hebb"}, "terms must be a list or tuple. Received: 'hebb'"),
        ("published", {"hidden_width": 0}, "hidden_width must be .* from 1 to .*Received: 0"),
        ("published", {"hidden_width": 6.5}, "hidden_width must be an integer.*Received: 6.5"),
        ("published", {"top_width": "8"}, "top_width must be an integer.* Received: '8'"),
        ("published", {"delta_channels": True}, "delta_channels must be an int.*Received: True"),
        ("published", {"readout_channels": 0}, "readout_channels .* from 1 to .*Received: 0"),
        ("compact", {"reference_steps": 0}, "reference_steps .* from 1 to .*Received: 0"),
        ("compact", {"reference_steps": 30.0}, "reference_steps .* integer.* Received: 30.0"),
        ("published", {"hidden_layers": -1}, "hidden_layers .* from 0 to .*Received: -1"),
        ("published", {"batch_kernel": 2}, "batch_kernel must be an odd width. Received: 2"),
        ("published", {"top_kernel": 0}, "top_kernel must be .* from 1 to .*Received: 0"),
        ("compact", {"unit_kernel": 3}, "unit_kernel must be 1 if pooled. Received: 3"),
        ("published", {"output_width": 0}, "output_width must be .* from 1 to .*Received: 0"),
        ("compact", {"learning_rate": float("nan")}, "learning_rate must be .* Received: nan"),
        ("compact", {"learning_rate": -0.1}, "learning_rate must be a finite.* Received: -0.1"),
        ("published", {"learning_rate": None}, "learning_rate must be a finite.* Received: None"),
        ("compact", {"length_exponent": float("inf")}, "length_exponent .* Received: inf"),
        ("compact", {"length_exponent": -1}, "length_exponent must be .* Received: -1"),
        ("compact", {"pooled": "yes"}, "pooled must be True or False. Received: 'yes'"),
        ("published", {"teacher": True}, "teacher must be False with .* merge='published'"),
        ("compact", {"teacher": True, "neuron_network": True}, "Received: .*neuron_network=True"),
        ("published", {"sparsity_aware": True}, "sparsity_aware must be False with .*=True"),
        ("compact", {"very_sparse": True}, "very_sparse .* Received: sparsity_aware=False"),
        ("compact", {"sparse_by_size": True}, "sparse_by_size .* Received: .*sparsity_aware=False"),
        (
            "compact",
            {"sparse_by_size": True, "sparsity_aware": True, "size_aware": False},
            "sparse_by_size must be False unless .* Received: size_aware=False",
        ),
    ],
)
def test_wrong_fields_are_refused(make, overrides, message):
    with pytest.raises(ValueError, match=message):
        getattr(RuleSpec, make)(**overrides)


def test_numbers_of_other_libraries_become_plain_ones():
    spec = RuleSpec.published(hidden_width=np.int64(6), learning_rate=np.float32(0.5))
    assert spec == RuleSpec.published(hidden_width=6, learning_rate=0.5)
    json.dumps(spec.to_dict())


def test_a_spec_of_another_kind():
    with pytest.raises(ValueError, match=r"must be a dict of its fields. Received: \['hebb'\]"):
        RuleSpec.from_dict(["hebb"])


def test_specs_list_their_terms():
    assert RuleSpec.published().terms == tuple(sorted(PUBLISHED_TERMS))
    cheap, full = RuleSpec.compact().terms, RuleSpec.compact(neuron_network=True).terms
    assert set(full) == set(PUBLISHED_TERMS) | set(cheap)
    assert cheap == ("competition", "competition_spread", "hebb_z", "scaled_decorrelation")


@pytest.mark.parametrize("spec", [RuleSpec.published(), RuleSpec.compact(neuron_network=True)])
def test_starting_values_are_as_the_paper_draws_them(spec):
    theta = init_theta(spec)
    assert {name: a.shape for name, a in theta.items()} == theta_shapes(spec)
    for name, value in theta.items():
        assert value.dtype == np.float32
        if name.endswith("kernel"):
            inputs = value.shape[:2] if value.ndim == 3 else value.shape[0]
            scaled = value * np.sqrt(np.prod(inputs))
            assert np.max(np.abs(scaled)) <= 2 + 1e-6
            if value.size > 1000:
                # The standard deviation of a normal draw that is cut at two of them.
                assert abs(scaled.std() - 0.88) < 0.05 and abs(scaled.mean()) < 0.1
        elif not name.startswith("merge/"):
            assert not value.any()


def test_published_merge_starts_at_one_tenth():
    theta = init_theta(RuleSpec.published())
    np.testing.assert_allclose(theta["merge/forward/coefficients"], 0.1, rtol=1e-6)
    assert theta["merge/forward/offset"] == 0


def test_compact_merge_starts_at_competition_its_spread_and_decorrelation():
    spec = RuleSpec.compact()
    theta = init_theta(spec)
    used = {spec.terms[i] for i in np.flatnonzero(theta["merge/coefficients"].all(axis=0))}
    assert used == {"competition", "competition_spread", "scaled_decorrelation"}
    np.testing.assert_allclose(np.exp(theta["merge/log_temperature"]), 0.17, rtol=1e-6)
    np.testing.assert_allclose(MAX_STEP / (1 + np.exp(-theta["merge/step"])), 0.15, rtol=1e-6)


def test_a_single_group_starts_as_the_middle_layers():
    one, three = (init_theta(RuleSpec.compact(groups=groups)) for groups in (1, 3))
    for name, array in three.items():
        np.testing.assert_array_equal(one[name][0], array[1])


def test_specs_from_before_shaped_bias():
    fields = RuleSpec.compact().to_dict()
    del fields["shaped_bias"]
    spec = RuleSpec.from_dict(fields)
    assert not spec.shaped_bias and "merge/symmetric_bias_target" not in theta_shapes(spec)


def test_seeds():
    spec = RuleSpec.published()
    one, same, other = init_theta(spec, 1), init_theta(spec, 1), init_theta(spec, 2)
    name = "neuron/conv_0/kernel"
    np.testing.assert_array_equal(one[name], same[name])
    assert np.mean(one[name] == other[name]) < 0.01


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("merge/step"), r"missing \['merge/step'\], unknown \[\]"),
        (lambda t: t.update(extra=np.ones(3)), r"missing \[\], unknown \['extra'\]"),
        (
            lambda t: t.update({"merge/step": np.ones(4)}),
            r"'merge/step' must have shape \(3,\). Received: shape \(4,\)",
        ),
        (
            lambda t: t.update({"merge/step": np.array(["a", "b", "c"])}),
            "'merge/step' must hold real numbers. Received: dtype <U1",
        ),
        (
            lambda t: t.update({"merge/step": np.array([0, np.nan, 0])}),
            "'merge/step' must be finite",
        ),
        (
            lambda t: t.update({"merge/step": np.array([0, np.inf, 0])}),
            "'merge/step' must be finite",
        ),
    ],
)
def test_wrong_theta_is_refused(change, message):
    spec = RuleSpec.compact()
    theta = init_theta(spec)
    check_theta(spec, theta)
    change(theta)
    with pytest.raises(ValueError, match=message):
        check_theta(spec, theta)
