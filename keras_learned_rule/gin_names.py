"""The names that gin files may use, and which of them a misspelt one is nearest to.

Each function returns None where a name is good, and otherwise says what is wrong with it.
"""

import dataclasses
import difflib
import importlib
import inspect
import pkgutil

import gin

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# gin has no public way to list these; setup.cfg keeps its version below 0.6.
_CONFIGURABLES, _CONSTANTS = gin.config._REGISTRY, gin.config._CONSTANTS


def configurable_problem(selector):
    """What is wrong with the name of a configurable, such as "train" or "data.tfds_images".

    Args:
        selector: The name without scopes and parameter.

    Returns:
        None, or a phrase with the nearest name of a configurable.

    Example:
    ```python
    import gin
    from keras_learned_rule.gin_names import configurable_problem

    @gin.register(module="example")
    def my_images():
        return []

    assert configurable_problem("my_images") is None
    assert "did you mean 'my_images'?" in configurable_problem("my_image")
    ```
    """
    matching = _CONFIGURABLES.matching_selectors(selector)
    if len(matching) == 1:
        return None
    if matching:
        return f"{selector!r} may be each of {', '.join(map(repr, sorted(matching)))}"
    # gin's own, such as gin.macro, are nobody's typo.
    selectors = [name for name, _ in _CONFIGURABLES.items() if not name.startswith("gin.")]
    parts = selector.count(".") + 1
    known = {".".join(name.split(".")[-parts:]) for name in selectors}
    return f"no function or class is configurable as {selector!r}; {nearest(selector, known)}"


def parameter_problem(selector, parameter):
    """What is wrong with the name of a parameter of a configurable.

    Args:
        selector: A name for which `configurable_problem` returns None.
        parameter: The parameter's name.

    Returns:
        None, or a phrase with the nearest parameter. Of a class method that makes a dataclass and
        takes `**overrides`, the dataclass's fields are parameters too.

    Example:
    ```python
    import gin
    from keras_learned_rule.gin_names import parameter_problem

    @gin.register(module="example")
    def my_sounds(folder, share=1.0):
        return []

    assert parameter_problem("my_sounds", "share") is None
    assert "did you mean 'folder'?" in parameter_problem("my_sounds", "floder")
    ```
    """
    known = _parameters(_CONFIGURABLES.get_match(selector))
    if known is None or parameter in known:
        return None
    return f"{selector} has no parameter {parameter!r}; {nearest(parameter, known)}"


def macro_problem(name, defined):
    """What is wrong with a macro or constant that a file uses as %name.

    Args:
        name: The name after the percent sign.
        defined: Names of the macros that gin files define.

    Returns:
        None, or a phrase with the nearest macro or constant.
    """
    if name in defined or _CONSTANTS.matching_selectors(name):
        return None
    known = [*defined, *(constant for constant, _ in _CONSTANTS.items())]
    return f"no macro is called %{name}; {nearest(name, known)}"


def module_problem(name):
    """What is wrong with a module that a file imports; a good one is then imported.

    Args:
        name: Dotted name of the module.

    Returns:
        None, or a phrase with the nearest module or the reason why its import failed.
    """
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(missing + "."):
            return f"module {name!r} cannot be imported: {error}"
        parent, _, _ = missing.rpartition(".")
        path = getattr(importlib.import_module(parent), "__path__", []) if parent else None
        known = [module.name for module in pkgutil.iter_modules(path, parent and parent + ".")]
        return f"there is no module {missing!r}{_close(missing, known)}"
    except Exception as error:  # Whatever the user's module does.
        return f"module {name!r} cannot be imported: {type(error).__name__}: {error}"
    return None


def nearest(name, known):
    """Points from a misspelt name to the nearest of the known ones, or else to all of them.

    Args:
        name: The misspelt name.
        known: Iterable of the names that would do.

    Returns:
        A phrase.

    Example:
    ```python
    from keras_learned_rule.gin_names import nearest

    assert nearest("epocs", ["epochs", "updates"]) == "did you mean 'epochs'?"
    assert nearest("zzz", ["epochs", "updates"]) == "known are 'epochs', 'updates'."
    ```
    """
    known = sorted(known)
    close = _close(name, known)
    return close.removeprefix("; ") or f"known are {', '.join(map(repr, known)) or 'none'}."


def _close(name, known):
    by_lower_case = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f"; did you mean {by_lower_case[close[0]]!r}?" if close else ""


def _parameters(configurable):
    """Names that may be bound; None where any may."""
    try:
        parameters = inspect.signature(configurable.wrapped).parameters.values()
    except (TypeError, ValueError):
        return None
    names = {p.name for p in parameters if p.kind not in VARIADIC}
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        made = getattr(configurable.wrapped, "__self__", None)
        if not (inspect.isclass(made) and dataclasses.is_dataclass(made)):
            return None
        names |= {field.name for field in dataclasses.fields(made) if field.init}
    if configurable.allowlist:
        names &= set(configurable.allowlist)
    return names - set(configurable.denylist or ())
