"""`UpdateRule`: presets, files, and theta that does not fit."""

import numpy as np
import pytest

from keras_learned_rule.rule import update_rule
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta
from keras_learned_rule.rule.update_rule import UpdateRule

SPEC = RuleSpec.compact()


def test_saved_rule_is_loaded(tmp_path):
    rule = UpdateRule(SPEC, init_theta(SPEC), {"data": "glyphs"})
    rule.save(tmp_path / "rule.safetensors")
    loaded = UpdateRule.load(tmp_path / "rule.safetensors")
    assert loaded.spec == SPEC and loaded.provenance == {"data": "glyphs"}
    for name, value in rule.theta.items():
        np.testing.assert_array_equal(loaded.theta[name], value)


def test_theta_is_copied():
    theta = init_theta(SPEC)
    rule = UpdateRule(SPEC, theta)
    name = next(iter(theta))
    theta[name] += 1
    np.testing.assert_array_equal(rule.theta[name] + 1, theta[name])


def test_theta_that_does_not_fit():
    with pytest.raises(ValueError, match="Received: missing .*neuron"):
        UpdateRule(RuleSpec.published(), init_theta(SPEC))


@pytest.mark.parametrize("provenance", [[1, 2], "glyphs", {"data": {1, 2}}])
def test_provenance_that_is_no_json_object(provenance):
    with pytest.raises(ValueError, match="provenance must be .*a dict.*Received: "):
        UpdateRule(SPEC, init_theta(SPEC), provenance)


def test_a_spec_of_another_kind():
    with pytest.raises(ValueError, match="spec must be a RuleSpec. Received: {'merge'"):
        UpdateRule(SPEC.to_dict(), init_theta(SPEC))


def test_presets_are_listed_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(update_rule, "_preset_folder", lambda: tmp_path)
    for name in ("wide", "deep"):
        UpdateRule(SPEC, init_theta(SPEC), {"name": name}).save(tmp_path / f"{name}.safetensors")
    (tmp_path / "wide.md").write_text("A card.")
    assert UpdateRule.presets() == ["deep", "wide"]
    assert UpdateRule.from_preset("wide").provenance == {"name": "wide"}
    with pytest.raises(ValueError, match=r"\['deep', 'wide'\].*Received: 'missing'"):
        UpdateRule.from_preset("missing")


def test_every_bundled_preset_loads():
    for name in UpdateRule.presets():
        assert f"merge='{UpdateRule.from_preset(name).spec.merge}'" in repr(
            UpdateRule.from_preset(name)
        )
