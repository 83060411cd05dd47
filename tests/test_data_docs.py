"""The examples of docs/data.md work as they stand."""

import re
import sys

import gin
import numpy as np
import pytest
from source_cases import check_source

from keras_learned_rule.data import glyphs  # noqa: F401  (gin has to know it)


@pytest.fixture
def blocks(root):
    """Fenced blocks of the page, by language."""
    text = (root / "docs" / "data.md").read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return {name: [body for language, body in found if language == name] for name, _ in found}


@pytest.fixture
def clean_gin():
    yield
    gin.clear_config()


def test_the_worked_example_is_a_source(blocks, tmp_path, monkeypatch, clean_gin):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (source,), arrays = (b for b in blocks["python"] if "my_data.py" in b), np.random.default_rng(0)
    (tmp_path / "my_data.py").write_text(source)
    np.savez(
        "sounds.npz",
        spectra=arrays.exponential(size=(60, 40)),
        machines=np.array([f"machine {i % 10}" for i in range(60)]),
    )
    (config,) = blocks["gin"]
    gin.parse_config(config, skip_unknown=["TaskFamily"])
    machine_sounds = sys.modules["my_data"].machine_sounds
    assert len(machine_sounds(size=8, channels=1).class_names) == 6
    gin.clear_config()
    check_source(machine_sounds, vectors=True, file="sounds.npz")


def test_the_other_examples_run(blocks, clean_gin):
    for block in blocks["python"]:
        if "my_data.py" not in block:
            exec(compile(block, "docs/data.md", "exec"), {})
    for block in blocks[""]:
        gin.parse_config(block)
