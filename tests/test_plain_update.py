"""The update against the one that benchmarks/meta_step.py compares with, written term by term."""

import importlib.util

import numpy as np
import pytest
import rule_cases as cases

from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.update import unsupervised_update

TERMS = (
    "competition competition_spread decorr_x decorrelation hebb hebb_z large_decay "
    "scaled_decorrelation w_base"
)


@pytest.fixture
def plain_update(root):
    path = root / "benchmarks" / "plain_update.py"
    if not path.exists():
        pytest.skip("the benchmarks are not here")
    spec = importlib.util.spec_from_file_location("plain_update", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.plain_update


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("terms", [None, tuple(TERMS.split())], ids=["default", "all"])
@pytest.mark.parametrize("running", [True, False])
def test_both_make_the_same_network(plain_update, terms, activation, running):
    spec = RuleSpec.compact(running_competition=running, **({"terms": terms} if terms else {}))
    theta, plan, state, x = cases.case(spec, (7, 6, 5, 4), activation=activation)
    plain, compact = state, state
    for rate in (1.0, 0.5):
        plain = plain_update(spec, theta, plan, plain, x, rate)[0]
        compact = unsupervised_update(spec, theta, plan, compact, x, rate)[0]
    for a, b in zip(cases.arrays(plain), cases.arrays(compact), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-8, err_msg=name)
