"""Reads gin files statement by statement, so that every mistake can be said to be on a line."""

import difflib
import os
import re
import tokenize
import warnings
from pathlib import Path

import gin
from gin import config_parser

from keras_learned_rule.gin_names import (
    configurable_problem,
    macro_problem,
    module_problem,
    nearest,
    parameter_problem,
)

BINDING = "--gin binding"


class _Source:
    """The text of a file or binding, and where in it something is."""

    def __init__(self, name, text):
        self.name, self.text, self.lines = name, text, text.splitlines()

    def error(self, line, problem):
        place = BINDING if self.name == BINDING else f"{self.name}, line {line}"
        text = self.lines[line - 1].strip() if 0 < line <= len(self.lines) else "end of file"
        mark = "" if problem.endswith((".", "?")) else "."
        return ValueError(f"{place}: {problem}{mark} Received: {text}")

    def statement_from(self, start):
        """The first line from `start` on that is neither empty nor a comment."""
        lines = enumerate(self.lines[start - 1 :], start)
        return next((n for n, line in lines if line.strip() and line.strip()[0] != "#"), start)

    def line_of(self, name, start):
        """The first line from `start` on that has a name in it, as a whole."""
        whole = re.compile(re.escape(name) + r"(?![\w./])")
        lines = enumerate(self.lines[start - 1 :], start)
        return next((number for number, line in lines if whole.search(line)), start)


class _Delegate(gin.config.ParserDelegate):
    """Makes references as gin does, and notes which names the statement read last uses."""

    def __init__(self):
        super().__init__()
        self.references, self.macros = [], []

    def configurable_reference(self, scoped_selector, evaluate):
        self.references.append(scoped_selector)
        if configurable_problem(scoped_selector.rpartition("/")[2]):
            return None  # The reader raises, since it knows the line.
        return super().configurable_reference(scoped_selector, evaluate)

    def macro(self, name):
        self.macros.append(name)
        return super().macro(name)


class GinReader:
    """Binds what gin files and single bindings say, checking every name in them first.

    Args:
        find_included: Function from the folder of a file and the name it includes to a path;
            raises FileNotFoundError.
    """

    def __init__(self, find_included):
        self.find_included = find_included
        self.bound_scopes, self.used_scopes = {}, set()
        self.defined_macros, self.used_macros = {}, {}

    def read_binding(self, text):
        """Binds what one string says.

        Raises:
            ValueError: See `read_file`.
        """
        self._read(_Source(BINDING, text), ())

    def read_file(self, path, including=()):
        """Binds what a file and the files that it includes say.

        Args:
            path: The file.
            including: Absolute paths of the files that include it. Defaults to `()`.

        Raises:
            ValueError: A line cannot be read, or it names something that does not exist.
        """
        if os.path.abspath(path) in including:
            raise ValueError(f"A gin file must not include itself. Received: {path}")
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"A gin file must be text in UTF-8. Received: {path}") from error
        self._read(_Source(path, text), (*including, os.path.abspath(path)))

    def check_macros(self):
        """Raises ValueError if a macro is used that nothing read so far defines."""
        for name, (source, line) in self.used_macros.items():
            _check(source, line, macro_problem(name, self.defined_macros))

    def _read(self, source, including):
        for start, statement, delegate in _statements(source):
            line = statement.location.line_num
            self._note_uses(source, start, delegate)
            if isinstance(statement, config_parser.IncludeStatement):
                self._include(source, line, statement.filename, including)
            elif isinstance(statement, config_parser.ImportStatement):
                _import(source, line, statement)
            elif isinstance(statement, config_parser.BlockDeclaration):
                _check(source, line, configurable_problem(statement.selector))
            else:
                self._bind(source, line, statement)

    def _include(self, source, line, filename, including):
        try:
            path = self.find_included(Path(source.name).parent, filename)
        except FileNotFoundError as error:
            raise source.error(line, str(error)) from error
        self.read_file(path, including)

    def _note_uses(self, source, start, delegate):
        for name in delegate.references:
            scope, _, selector = name.rpartition("/")
            _check(source, source.line_of(f"@{name}", start), configurable_problem(selector))
            self.used_scopes |= set(scope.split("/"))
        for name in delegate.macros:
            self.used_macros[name] = (source, source.line_of(f"%{name}", start))

    def _bind(self, source, line, statement):
        scope, selector, parameter, value, _ = statement
        if parameter:
            problem = configurable_problem(selector) or parameter_problem(selector, parameter)
            self.bound_scopes.update(dict.fromkeys(scope.split("/"), (source, line)))
        else:
            scope = f"{scope}/{selector}" if scope else selector
            selector, parameter, problem = "gin.macro", "value", None
            self.defined_macros[scope] = (source, line)
        _check(source, line, problem)
        try:
            gin.bind_parameter((scope, selector, parameter), value)
        except Exception as error:
            raise source.error(line, str(error)) from error

    def warn_of_unused(self):
        """Warns of what gin takes silently and is most likely a typo."""
        for name, (source, line) in self.defined_macros.items():
            if name not in self.used_macros:
                advice = "a parameter is set as function.parameter = value"
                problem = f"the macro {name!r} is used nowhere as %{name}; {advice}"
                warnings.warn(str(source.error(line, problem)), stacklevel=3)
        for scope, (source, line) in self.bound_scopes.items():
            close = difflib.get_close_matches(scope, self.used_scopes, n=1)
            if scope not in self.used_scopes and close:
                problem = f"no reference has the scope {scope!r}; {nearest(scope, close)}"
                warnings.warn(str(source.error(line, problem)), stacklevel=3)


def _statements(source):
    """Yields (line from which to look for its names, statement, names it uses)."""
    line, parser = 1, None
    delegate = _Delegate()
    try:
        parser = config_parser.ConfigParser(source.text, delegate)
        while True:
            line = parser.current_token.start[0]
            statement = parser.parse_statement()
            if statement is None:
                return
            yield line, statement, delegate
            delegate.references, delegate.macros = [], []
    except tokenize.TokenError as error:
        raise source.error(error.args[1][0], f"syntax error, {error.args[0]}") from error
    except SyntaxError as error:
        # The last of gin's lines says it without Python's own words about objects and addresses.
        problem = f"syntax error, {error.msg.splitlines()[-1].strip()}"
        raise source.error(error.lineno or line, problem) from error
    except (TypeError, ValueError) as error:  # Such as a list as the key of a dict.
        raise source.error(source.statement_from(line), str(error)) from error


def _check(source, line, problem):
    if problem:
        raise source.error(line, problem)


def _import(source, line, statement):
    if statement.module.startswith("__gin__."):
        raise source.error(
            line,
            "functions must be registered with gin.configurable in a module that is imported here, "
            "not dynamically",
        )
    _check(source, line, module_problem(statement.module))
    gin.parse_config(statement.format())
