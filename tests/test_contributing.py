"""The examples of CONTRIBUTING.md work as they stand."""

import re
import sys

import numpy as np
import pytest
import test_rule_terms
from keras import ops

from keras_learned_rule.experiments import registry as experiments
from keras_learned_rule.experiments.run import run_experiment
from keras_learned_rule.model import registry
from keras_learned_rule.model.kinds import dense
from keras_learned_rule.rule import terms
from keras_learned_rule.rule.terms import weight_change_terms

PACKAGE = "keras_learned_rule"
layer = test_rule_terms.layer


@pytest.fixture
def example(root):
    """Gives an example by the file that it names, compiled."""
    text = (root / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return {path: compile(body, path, "exec") for path, body in blocks}


def test_the_term_is_what_its_oracle_says(example, layer, monkeypatch):
    monkeypatch.setattr(terms, "_TERMS", dict(terms._TERMS))
    exec(example[f"{PACKAGE}/rule/terms.py"], dict(vars(terms)))
    names = dict(vars(test_rule_terms))
    exec(example["tests/test_rule_terms.py"], names)
    (computed,) = weight_change_terms(["hebb_cube"], test_rule_terms.signals(layer))
    np.testing.assert_allclose(computed, names["hebb_cube"](layer), rtol=1e-4, atol=1e-5)


def test_the_layer_type_learns_from_what_its_weights_see(example, monkeypatch):
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    names = {**vars(dense), **vars(registry)}
    exec(example[f"{PACKAGE}/model/kinds/scaled.py"], names)
    layer, x = names["ScaledDense"](3), np.arange(8.0, dtype="float32").reshape(2, 4)
    output = layer(x)
    examples = registry.kind_of(layer)(layer).examples(x, output, None)
    np.testing.assert_allclose(ops.matmul(examples, layer.kernel), output, rtol=1e-5)


@pytest.mark.slow
def test_the_experiment_runs(example, tmp_path, monkeypatch):
    module = type(sys)(f"{PACKAGE}.experiments.by_seed")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(example[f"{PACKAGE}/experiments/by_seed.py"], vars(module))
    monkeypatch.setattr(experiments, "NAMES", ("by_seed",))
    (tmp_path / "by_seed.gin").write_text('by_seed.data = "digits8"\nby_seed.steps = 3\n')
    markdown = run_experiment(
        "by_seed", tmp_path, [tmp_path / "by_seed.gin"], ["by_seed.seeds = 2"]
    )
    assert "digits8" in markdown and "±" in markdown and "differ by" in markdown
    assert (tmp_path / "by_seed.png").exists()
