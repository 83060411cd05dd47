"""Every example in a public docstring runs, each on its own, in a folder of its own."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import published_cases
import pytest

import keras_learned_rule
from keras_learned_rule.model import registry
from keras_learned_rule.rule.spec import RuleSpec

BLOCK = re.compile(r"^ *```python\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
# What examples may expect to find: the published checkpoint, as its archive unpacks.
PUBLISHED = "200_tf_graph/tf_graph_data.ckpt"


def is_command(path):
    """Whether a module defines flags when it is imported, which only one program may do."""
    return "flags.DEFINE_" in Path(path).read_text()


def is_there(name):
    """Whether a module can be imported: an adapter has the name of the framework that it needs."""
    package, _, framework = name.rpartition(".")
    return not package.endswith(".fit.backends") or importlib.util.find_spec(framework)


def modules():
    found = pkgutil.walk_packages(keras_learned_rule.__path__, "keras_learned_rule.")
    specs = [info.module_finder.find_spec(info.name) for info in found]
    wanted = [spec for spec in specs if is_there(spec.name) and not is_command(spec.origin)]
    return [importlib.import_module(spec.name) for spec in wanted]


def documented(owner, name, home):
    """Yields (name, docstring) of public functions, classes and methods that are defined here."""
    for member, value in vars(owner).items():
        value = getattr(value, "__func__", value)
        value = getattr(value, "__wrapped__", value)
        defined_here = getattr(value, "__module__", None) == home
        if member.startswith("_") or not defined_here or not value.__doc__:
            continue
        yield f"{name}.{member}", inspect.cleandoc(value.__doc__)
        if inspect.isclass(value):
            yield from documented(value, f"{name}.{member}", home)


def documentation():
    for module in modules():
        yield from documented(module, module.__name__, module.__name__)


DOCUMENTATION = dict(documentation())
BLOCKS = [
    pytest.param(block, id=f"{name}-{i}")
    for name, text in DOCUMENTATION.items()
    for i, block in enumerate(BLOCK.findall(text))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    prefix = folder / PUBLISHED
    prefix.parent.mkdir()
    sizes = RuleSpec.published(hidden_width=4, top_width=3, delta_channels=2, output_width=5)
    published_cases.save_checkpoint(prefix, published_cases.published_variables(sizes))
    return folder


@pytest.mark.parametrize("block", BLOCKS)
def test_example(block, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    exec(compile(block, "example", "exec"), {"__name__": "__main__"})


def test_examples_are_in_fenced_blocks_which_are_run():
    assert [name for name, text in DOCUMENTATION.items() if ">>> " in text] == []


@pytest.mark.parametrize("name", keras_learned_rule.__all__)
def test_public_names_have_an_example(name):
    value = getattr(keras_learned_rule, name)
    assert BLOCK.search(DOCUMENTATION[f"{value.__module__}.{name}"])


def test_examples_are_found_in_functions_classes_and_methods_of_every_kind():
    rule = "keras_learned_rule.rule"
    found = {param.id for param in BLOCKS}
    assert f"{rule}.update.unsupervised_update-0" in found
    assert f"{rule}.update_rule.UpdateRule-0" in found
    assert f"{rule}.update_rule.UpdateRule.from_preset-0" in found
    assert f"{rule}.update_rule.UpdateRule.presets-0" in found
    assert f"{rule}.update_rule.UpdateRule.save-0" in found
