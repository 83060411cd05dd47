"""Public names have complete type hints, which type checkers of users may rely on."""

import importlib
import inspect
import typing

import pytest

# Modules whose public names are for users: what gin and programs call.
MODULES = [
    "baselines.best_weights",
    "baselines.fixed_rule",
    "baselines.pca",
    "baselines.prototypical",
    "baselines.side_by_side",
    "baselines.supervised",
    "baselines.supervised_learner",
    "baselines.vae",
    "configs",
    "data.augment",
    "data.image_set",
    "data.sources",
    "data.splits",
    "data.text",
    "fit.few_shot_splits",
    "fit.readout",
    "fit.step",
    "meta.engine",
    "meta.estimators",
    "meta.families",
    "meta.networks",
    "meta.objective",
    "meta.schedule",
    "meta.train",
    "plot_run",
    "rule.theta",
]


def public(module):
    """Functions and classes that a module exports or defines."""
    exported = getattr(module, "__all__", ())
    for name, value in vars(module).items():
        here = getattr(value, "__module__", None) == module.__name__ and name[0] != "_"
        if (here or name in exported) and (inspect.isclass(value) or inspect.isfunction(value)):
            yield inspect.unwrap(value)


def functions(owner):
    """The function itself, or the constructor and public methods of a class, inherited or not."""
    if inspect.isfunction(owner):
        return [owner]
    found = []
    for base in (b for b in owner.__mro__ if b.__module__.startswith("keras_learned_rule")):
        for name, member in vars(base).items():
            member = getattr(member, "__func__", getattr(member, "fget", member))
            made = getattr(member, "__code__", None)
            # What dataclasses and named tuples make has their hints.
            written = made and made.co_filename == inspect.getsourcefile(base)
            if written and inspect.isfunction(member) and (name[0] != "_" or name == "__init__"):
                found.append(member)
    return found


def missing(function):
    """Names of the parameters of a function without a hint, and "return"."""
    first, *others = [*inspect.signature(function).parameters, None]
    names = others if first in ("self", "cls") else [first, *others]
    return {n for n in names if n and n not in function.__annotations__} | (
        {"return"} - function.__annotations__.keys()
    )


@pytest.mark.parametrize("name", ["", *MODULES])
def test_public_names_have_complete_hints(name):
    module = importlib.import_module(f"keras_learned_rule.{name}".rstrip("."))
    checked = [f for owner in public(module) for f in functions(owner)]
    assert checked
    assert {f.__qualname__: missing(f) for f in checked if missing(f)} == {}
    for function in checked:
        typing.get_type_hints(function)


def test_missing_hints_are_seen():
    def partly(x: int, y=1, *, z: str = ""):
        return x, y, z

    class Owner:
        def method(self, x) -> None:
            """Has an argument without a hint."""

    Owner.__module__ = "keras_learned_rule.example"
    assert missing(partly) == {"y", "return"} and missing(Owner.method) == {"x"}
