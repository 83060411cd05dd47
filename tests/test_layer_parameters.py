"""Which parameters a layer has: by its place, and by what its network is short of."""

import numpy as np
import pytest
import rule_cases as cases

from keras_learned_rule.rule.layer_parameters import (
    SHORTAGES,
    layer_blend,
    layer_parameters,
    merge_arrays,
    shortages,
)
from keras_learned_rule.rule.mlp import mlp_plan
from keras_learned_rule.rule.place import chain_place
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.update import unsupervised_update


def blend(groups, i, count):
    return layer_blend(groups, chain_place([4] * count, i), "float32")


def test_blends_of_first_middle_and_last_layers():
    np.testing.assert_allclose(
        [blend(3, i, 4) for i in range(4)], [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    )
    np.testing.assert_allclose([blend(3, i, 2) for i in range(2)], [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(blend(3, 0, 1), [0.5, 0, 0.5])
    np.testing.assert_allclose(blend(1, 2, 4), [1])


WANTING = [
    # widths, layer, shallow, narrow
    ((196, 128, 128, 128, 128, 32), 0, 0, 0),
    ((196, 128, 128, 128, 128, 32), 4, 0, 0),
    ((196, 500, 500, 500, 500, 500, 32), 2, 0, 0),
    ((196, 128, 32), 0, 0.75, 0),
    ((196, 64, 128, 32), 0, 0.5, 0.5),
    ((196, 64, 128, 32), 1, 0.5, 0),
    ((196, 128, 32, 128), 2, 0.5, 0.75),
    ((196, 16), 0, 1, 0),
]


@pytest.mark.parametrize("widths, i, shallow, narrow", WANTING)
def test_shortages_are_shares_of_the_base_model(widths, i, shallow, narrow):
    lacks = shortages(chain_place(widths[1:], i))
    assert tuple(lacks) == SHORTAGES and list(lacks.values()) == [shallow, narrow]


def test_parameters_are_linear_in_the_shortages():
    spec = RuleSpec.compact()
    theta = {n: np.asarray(a) for n, a in cases.random_theta(spec).items()}
    own = layer_parameters(spec, theta, chain_place((128, 32, 64), 1))
    assert list(own) == list(merge_arrays(spec))
    for name in own:
        expected = theta[f"merge/{name}"][1]
        for lack, share in (("shallow", 0.5), ("narrow", 0.75)):
            expected = expected + share * theta[f"merge/{lack}/{name}"][1]
        np.testing.assert_allclose(own[name], expected)


def test_where_nothing_is_short_the_rule_is_the_one_without_sizes():
    aware, plain = RuleSpec.compact(), RuleSpec.compact(size_aware=False)
    theta, plan, network, x = cases.case(aware, (9, 128, 130, 129, 200, 6), count=140)
    bare = {name: a for name, a in theta.items() if name.count("/") == 1}
    one = unsupervised_update(aware, theta, plan, network, x, 0.7)[0]
    other = unsupervised_update(plain, bare, plan, network, x, 0.7)[0]
    cases.assert_states_equal(one, other)
    shallow, plan = network[:3], mlp_plan(3)
    one = unsupervised_update(aware, theta, plan, shallow, x, 0.7)[0]
    other = unsupervised_update(plain, bare, plan, shallow, x, 0.7)[0]
    assert np.abs(cases.arrays(one)[0]["w"] - cases.arrays(other)[0]["w"]).max() > 1e-3
