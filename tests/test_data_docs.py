"""The examples of docs/data.md work as they stand."""

import copy
import re
import sys

import gin
import numpy as np
import pytest
from augment_cases import check_augmentation, distorted
from source_cases import check_source

from keras_learned_rule.data import digits, glyphs  # noqa: F401  (gin has to know them)
from keras_learned_rule.meta import train  # noqa: F401
from keras_learned_rule.meta.families import load_families


@pytest.fixture
def blocks(root):
    """Fenced blocks of the page, by language."""
    text = (root / "docs" / "data.md").read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return {name: [body for language, body in found if language == name] for name, _ in found}


@pytest.fixture
def worked(blocks, tmp_path, monkeypatch):
    """Makes the module of a worked example importable, and gives (module, gin file)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def example(name):
        (source,) = (body for body in blocks["python"] if f"# {name}.py" in body)
        (config,) = (body for body in blocks["gin"] if f"import {name}" in body)
        (tmp_path / f"{name}.py").write_text(source)
        gin.parse_config(config)
        return sys.modules[name]

    yield example
    gin.clear_config()


def gin_value(name):
    """What a function gets for a parameter: gin calls what a binding names when it copies it."""
    return copy.deepcopy(gin.query_parameter(name))


def test_the_worked_example_is_a_source(worked, tmp_path):
    arrays = np.random.default_rng(0)
    np.savez(
        tmp_path / "sounds.npz",
        spectra=arrays.exponential(size=(60, 40)),
        machines=np.array([f"machine {i % 10}" for i in range(60)]),
    )
    machine_sounds = worked("my_data").machine_sounds
    assert len(machine_sounds(size=8, channels=1).class_names) == 6
    buckets, pools = load_families(gin_value("train.families"), seed=0)
    assert {b.spec.shape for b in buckets} == {(14, 14, 1), (1, 40, 1)}
    assert [p.names for p in pools] == [("glyphs", "digits"), ("machine_sounds",)]
    gin.clear_config()
    check_source(machine_sounds, vectors=True, file="sounds.npz")


def test_the_worked_example_is_an_augmentation(worked):
    module = worked("my_distortions")
    kinds = gin_value("TaskFamily.augmentations")
    assert [kind.name for kind in kinds] == ["shift_right", "shift_down", "gradation"]
    levels = np.full((1, 2, 2, 1), 0.25, "float32")
    np.testing.assert_allclose(distorted(kinds[2:], levels, 1.0), 0.25 ** np.exp(0.3), rtol=1e-5)
    check_augmentation(module.gradation())


def test_the_other_examples_run(blocks):
    for block in blocks["python"]:
        if "# my_" not in block:
            exec(compile(block, "docs/data.md", "exec"), {})
    try:
        for block in [*blocks[""], *(b for b in blocks["gin"] if "import my_" not in b)]:
            gin.parse_config(block)
        assert [a.name for a in gin_value("TaskFamily.augmentations")][-1] == "inversion"
        assert gin_value("train.objective").coefficient_share == 0.2
    finally:
        gin.clear_config()
