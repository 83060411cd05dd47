"""A built wheel, installed elsewhere, has everything in it, files added later included."""

import configparser
import json
import os
import shutil
import subprocess
import sys

import pytest
from setuptools import find_packages

from keras_learned_rule.model import kinds  # noqa: F401 (registers the kinds)
from keras_learned_rule.model.registry import learning_layers
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta
from keras_learned_rule.rule.update_rule import UpdateRule

INSPECT = """
import json, sys
import keras_learned_rule
from keras_learned_rule.configs import find_gin_file
from keras_learned_rule.model import kinds, registry
from keras_learned_rule.rule.update_rule import UpdateRule

print(json.dumps({
    "origin": keras_learned_rule.__file__,
    "layers": registry.learning_layers(),
    "gin": [open(find_gin_file(f"gin_configs/{name}")).read() for name in sys.argv[1:]],
    "presets": {n: UpdateRule.from_preset(n).spec.to_dict() for n in UpdateRule.presets()},
}))
"""

LAYER_TYPE = """
from keras import layers

from keras_learned_rule.model.kinds.dense import DenseKind
from keras_learned_rule.model.registry import register_kind

register_kind(layers.Conv1DTranspose)(DenseKind)
"""


def run(*arguments, **options):
    result = subprocess.run(arguments, capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def source(root, tmp_path_factory):
    """A copy of what a wheel is built from, so that the build leaves nothing in the checkout.

    With a preset, a gin file and a kind of layer more, which the wheel has to carry as well.
    """
    copy = tmp_path_factory.mktemp("source")
    for name in ("keras_learned_rule", "gin_configs"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(root / name, copy / name)
    spec = RuleSpec.compact()
    UpdateRule(spec, init_theta(spec)).save(copy / "keras_learned_rule/presets/new.safetensors")
    (copy / "gin_configs" / "new.gin").write_text("# new")
    (copy / "keras_learned_rule/model/kinds/new.py").write_text(LAYER_TYPE)
    return copy


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory):
    """The folder into which the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    wheels = source / "dist"
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source))
    (wheel,) = wheels.glob("*.whl")
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    return folder


def test_the_installed_wheel_has_all_that_was_put_into_it(source, installed, tmp_path):
    folder = source / "gin_configs"
    gin_files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.gin"))
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    found = json.loads(
        run(sys.executable, "-c", INSPECT, *gin_files, cwd=tmp_path, env=environment)
    )
    assert found["origin"] == str(installed / "keras_learned_rule" / "__init__.py")
    assert found["layers"] == sorted([*learning_layers(), "Conv1DTranspose"])
    assert found["gin"] == [(folder / name).read_text() for name in gin_files]
    cards = {path.name for path in (source / "keras_learned_rule" / "presets").iterdir()}
    assert {path.name for path in (installed / "keras_learned_rule" / "presets").iterdir()} == cards
    assert set(found["presets"]) == {name.split(".")[0] for name in cards if "safetensors" in name}
    assert found["presets"]["new"] == RuleSpec.compact().to_dict()
    # For type checkers.
    assert (installed / "keras_learned_rule" / "py.typed").exists()


def test_all_packages_are_listed(root):
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    listed = config["options"]["packages"].split()
    packages = find_packages(str(root), include=["keras_learned_rule*"])
    assert sorted(listed) == sorted([*packages, "keras_learned_rule.gin_configs"])
