"""The notebooks, from top to bottom, as on Colab's TPU runtime: JAX, and no TensorFlow."""

import os
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
if not NOTEBOOKS.is_dir():
    pytest.skip("the notebooks are not here", allow_module_level=True)
jupytext = pytest.importorskip("jupytext", reason="needs jupytext: pip install jupytext")
SOURCES = sorted(NOTEBOOKS.glob("*.py"))
# Sizes for a test. The install cell then asks for what is installed already.
TINY = {
    "quickstart": {"EPOCHS": 2},
    "any_model": {"DATA": "digits", "EPOCHS": 1, "UNLABELLED": 256, "TEST": 512},
    "meta_train_tpu": {
        "BINDINGS": [
            "train.updates = 6",
            "train.evaluation_steps = 10",
            "Horizon.lengths = (5, 10)",
            "Horizon.truncations = (5,)",
            "NetworkDistribution.depths = (1, 1)",
        ],
        "STOP_AFTER": 1,
    },
}
SHOWS = {
    "quickstart": ["on jax", "Accuracy with 10 labels a class:", "Correct on the rest:"],
    "any_model": ["on jax", "no: a head", "After the learned rule:"],
    "meta_train_tpu": ["CpuDevice", "All 6 meta-updates are done", "bundled:"],
}
# Python runs a module of this name when it starts.
WITHOUT_TENSORFLOW = 'import sys\nsys.modules["tensorflow"] = None\n'


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_its_source(source):
    written = jupytext.read(source.with_suffix(".ipynb"))
    expected = jupytext.read(source)
    assert [(cell.cell_type, cell.source) for cell in written.cells] == [
        (cell.cell_type, cell.source) for cell in expected.cells
    ], f"convert it: jupytext --to ipynb {source}"
    assert not any(cell.get("outputs") for cell in written.cells)


def slow(source):
    """A case for pytest: one notebook is run by `.ci/run`, the others at night."""
    marks = [pytest.mark.slow] + [pytest.mark.nightly] * (source.stem != "meta_train_tpu")
    return pytest.param(source, id=source.stem, marks=marks)


@pytest.mark.parametrize("source", [slow(path) for path in SOURCES])
def test_a_notebook_runs(source, tmp_path, monkeypatch):
    papermill = pytest.importorskip("papermill", reason="needs papermill: pip install papermill")
    pytest.importorskip("ipykernel", reason="needs ipykernel: pip install ipykernel")
    pytest.importorskip("jax", reason="needs jax: pip install jax")
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
    here = os.pathsep.join([str(tmp_path), str(NOTEBOOKS.parent)])
    monkeypatch.setenv("PYTHONPATH", here)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    result = papermill.execute_notebook(
        source.with_suffix(".ipynb"),
        tmp_path / "result.ipynb",
        {"PACKAGE": "pip", **TINY[source.stem]},
        kernel_name="python3",
        cwd=tmp_path,
        progress_bar=False,
    )
    outputs = [output for cell in result.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    missing = [shown for shown in SHOWS[source.stem] if shown not in text]
    assert not missing, text
    assert any("image/png" in output.get("data", {}) for output in outputs) or (
        source.stem == "any_model"
    )
