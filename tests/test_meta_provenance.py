"""A run knows what it was made with, whatever is missing on the machine."""

import json
import shutil
import subprocess

import gin
import keras
import numpy as np
import pytest

import keras_learned_rule
from keras_learned_rule.meta import provenance as module
from keras_learned_rule.meta.provenance import operative_config, provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A committed checkout with a package, which is where the package claims to be."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(module, "PACKAGE", package)
    return package


def test_versions_are_those_imported():
    versions = provenance()["versions"]
    assert versions["keras"] == keras.__version__ and versions["numpy"] == np.__version__
    assert versions["keras_learned_rule"] == keras_learned_rule.__version__
    backend = provenance()["backend"]
    assert backend == keras.backend.backend() and versions[backend]
    assert json.loads(json.dumps(provenance())) == provenance()


def test_a_checkout_tells_its_revision_and_whether_it_was_changed(checkout):
    revision = git(checkout, "rev-parse", "HEAD")
    assert len(revision) == 40
    assert provenance()["git"] == {"revision": revision, "dirty": False}
    (checkout / "run.log").write_text("files that git does not know are no change")
    assert provenance()["git"] == {"revision": revision, "dirty": False}
    (checkout / "__init__.py").write_text("# changed")
    assert provenance()["git"] == {"revision": revision, "dirty": True}


def test_a_package_installed_inside_another_checkout_has_no_revision(checkout, monkeypatch):
    installed = checkout / "site-packages"
    shutil.copytree(checkout, installed)
    monkeypatch.setattr(module, "PACKAGE", installed)
    assert provenance()["git"] is None


def test_without_git_or_a_checkout_there_is_no_revision(checkout, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert provenance()["git"] is None
    shutil.rmtree(tmp_path / ".git")
    assert provenance()["git"] is None


def test_the_operative_config_has_defaults_and_bindings():
    @gin.configurable(module="case")
    def steps(count, rate=0.5):
        return count * rate

    gin.clear_config()
    assert operative_config() == ""
    gin.parse_config("steps.count = 3")
    assert steps() == 1.5
    assert "steps.count = 3" in operative_config() and "steps.rate = 0.5" in operative_config()
    gin.clear_config()
