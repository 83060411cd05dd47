"""Gin files are found, and what they say wrongly is named by file, line and nearest valid name."""

import dataclasses
import os
import re

import gin
import pytest

from keras_learned_rule import configs


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A package with one gin file, laid out as a wheel does it."""
    folder = tmp_path / "package" / "gin_configs"
    folder.mkdir(parents=True)
    (folder / "quick.gin").write_text("# packaged")
    monkeypatch.setattr(configs, "__file__", str(tmp_path / "package" / "configs.py"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_the_packaged_file_is_found_from_anywhere(packaged):
    assert configs.find_gin_file("gin_configs/quick.gin") == str(packaged / "quick.gin")


def test_a_file_in_the_working_directory_wins(packaged):
    os.mkdir("gin_configs")
    with open("gin_configs/quick.gin", "w") as file:
        file.write("# own")
    assert configs.find_gin_file("gin_configs/quick.gin") == "gin_configs/quick.gin"


@pytest.mark.parametrize("path", ["gin_configs/slow.gin", "quick.gin", "runs/quick.gin"])
def test_an_unknown_file_lists_the_packaged_ones(packaged, path):
    with pytest.raises(
        FileNotFoundError, match=rf"\['gin_configs/quick.gin'\]. Received: '{path}'"
    ):
        configs.find_gin_file(path)


def test_the_files_of_a_checkout_are_the_packaged_ones(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = list((root / "gin_configs").rglob("*.gin"))
    assert any(file.parent.name == "experiments" for file in files)
    for file in files:
        assert configs.find_gin_file(file.relative_to(root).as_posix()) == str(file)


@gin.configurable(module="case")
def my_photos(name, classes=(), *, share=1.0):
    return name, classes, share


@gin.configurable(module="case", denylist=["folder"])
def learn(folder, sources=(), updates=10):
    return sources, updates


@gin.configurable(module="case")
@dataclasses.dataclass
class Shape:
    width: int = 3
    depth: int = 2

    @classmethod
    def square(cls, **overrides):
        return cls(**overrides)


gin.external_configurable(Shape.square, "square_shape", module="case")


@gin.configurable(module="case")
def anything(**options):
    return options


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gin.clear_config()


def refused(text, *bindings):
    """The message with which a file a.gin of that text, and the bindings, are refused."""
    with open("a.gin", "w") as file:
        file.write(text)
    with pytest.raises(ValueError) as info:
        configs.parse_gin(["a.gin"], bindings)
    assert gin.config_str().strip() == "", "a refused configuration leaves something behind"
    return str(info.value)


def test_files_and_bindings_override_in_order(folder):
    (folder / "a.gin").write_text("learn.updates = 1\ncifar/my_photos.name = 'cifar10'")
    (folder / "b.gin").write_text("learn.updates = 2\nlearn.sources = [@cifar/my_photos()]")
    files = configs.parse_gin(["a.gin", "b.gin"], ["my_photos.classes = (%N,)", "N = 7"])
    assert files == ["a.gin", "b.gin"]
    assert learn("folder") == ([("cifar10", (7,), 1.0)], 2)
    assert gin.config_is_locked()
    configs.parse_gin([], ["learn.updates = 3"])
    assert learn("folder") == ((), 3), "what was parsed before is forgotten"


def test_blocks_imports_and_any_keyword_of_open_functions(folder, monkeypatch):
    (folder / "users_module_ok.py").write_text("import gin\n@gin.register\ndef mine(): return 5")
    monkeypatch.syspath_prepend(folder)
    (folder / "a.gin").write_text(
        "import users_module_ok\nlearn:\n    updates = @mine()\n    sources = [1]\n"
        "anything.whatever = 1\nsquare_shape.width = 4\nShape.depth = 9"
    )
    configs.parse_gin(["a.gin"])
    assert learn("folder") == ([1], 5) and anything() == {"whatever": 1}
    assert gin.get_configurable("square_shape")() == Shape(4, 9)
    assert "import users_module_ok" in gin.config_str()


@pytest.mark.parametrize(
    "line, problem",
    [
        (
            "lern.updates = 3",
            "no function or class is configurable as 'lern'; did you mean 'learn'?",
        ),
        ("case.lern.updates = 3", "as 'case.lern'; did you mean 'case.learn'?"),
        ("a/lern.updates = 3", "as 'lern'; did you mean 'learn'?"),
        ("shape.width = 3", "as 'shape'; did you mean 'Shape'?"),
        ("learn.updatse = 3", "learn has no parameter 'updatse'; did you mean 'updates'?"),
        ("learn.zzz = 3", "learn has no parameter 'zzz'; known are 'sources', 'updates'."),
        ("learn.folder = 'x'", "learn has no parameter 'folder'; known are 'sources', 'updates'."),
        ("cifar/my_photos.nam = 'x'", "my_photos has no parameter 'nam'; did you mean 'name'?"),
        ("my_photos.shared = 1.0", "has no parameter 'shared'; did you mean 'share'?"),
        ("Shape.dept = 1", "Shape has no parameter 'dept'; did you mean 'depth'?"),
        ("square_shape.dept = 1", "square_shape has no parameter 'dept'; did you mean 'depth'?"),
        ("learn.sources = [@my_photo()]", "as 'my_photo'; did you mean 'my_photos'?"),
        ("learn.sources = {'a': @b/my_photo}", "'my_photo'; did you mean 'my_photos'?"),
        ("learn.updates = %UPDATSE", "no macro is called %UPDATSE; did you mean 'UPDATES'?"),
        ("learn.updates = %gin.REQUIERD", "called %gin.REQUIERD; did you mean 'gin.REQUIRED'?"),
        ("include 'bsae.gin'", "no file 'bsae.gin' exists; did you mean 'base.gin'?"),
        (
            "import keras_learned_rul",
            "no module 'keras_learned_rul'; did you mean 'keras_learned_rule'?",
        ),
        (
            "import keras_learned_rule.config",
            "no module 'keras_learned_rule.config'; did you mean 'keras_learned_rule.configs'?",
        ),
        ("from __gin__ import dynamic_registration", "must be registered with gin.configurable"),
        ("learn.updates = ", "syntax error, Unable to parse value."),
        ("learn.updates = 3 4", "syntax error, Expected newline."),
        ("learn updates = 3", "syntax error, Couldn't parse statement"),
        ("learn.updates = three", "syntax error, Failed to parse token 'three'."),
        ("learn.updates = {[1]: 2}", "unhashable type"),
    ],
)
def test_a_mistake_names_file_line_and_nearest_name(folder, line, problem):
    (folder / "base.gin").write_text("# nothing")
    text = f"# first\nUPDATES = 3\nlearn.updates = %UPDATES\n\n{line}\nlearn.sources = []\n"
    message = refused(text)
    assert message.startswith("a.gin, line 5: ")
    assert problem in message
    assert message.endswith(f"Received: {line.strip()}")


@pytest.mark.parametrize(
    "text, line, problem, received",
    [
        ("learn:\n  updates = 1\n  source = []", 3, "mean 'sources'?", "source = []"),
        ("lern:\n  updates = 1", 1, "mean 'learn'?", "lern:"),
        ("learn.sources = [@Shape(),\n @Shap()\n]", 2, "mean 'Shape'?", "@Shap()"),
        ("learn:\n  updates = 1\n  sources = [\n   @Shap]", 4, "mean 'Shape'?", "@Shap]"),
    ],
)  # fmt: skip
def test_the_line_is_right_in_blocks_and_long_values(folder, text, line, problem, received):
    message = refused(text)
    assert message.startswith(f"a.gin, line {line}: ")
    assert problem in message and message.endswith(f"Received: {received}")


def test_a_bracket_left_open_is_a_syntax_error(folder):
    # Python's versions disagree on the line.
    assert re.match(
        r"a.gin, line [1-3]: syntax error, .*\. Received: ", refused("learn.sources = [\n1,\n")
    )


def test_a_mistake_in_an_included_file_names_that_file(folder):
    os.mkdir("parts")
    (folder / "parts" / "b.gin").write_text("\ninclude 'c.gin'")
    (folder / "parts" / "c.gin").write_text("\n\nlearn.updatse = 1")
    message = refused("include 'parts/b.gin'")
    place = os.path.join("parts", "c.gin")
    assert message.startswith(f"{place}, line 3: ") and "did you mean 'updates'?" in message


@pytest.mark.parametrize(
    "binding, problem",
    [
        ("learn.updatse = 3", "did you mean 'updates'?"),
        ("lern.updates = 3", "did you mean 'learn'?"),
        ("learn.updates = @my_photo()", "did you mean 'my_photos'?"),
        ("learn.updates 3", "syntax error"),
        ("learn.updates = [3", "syntax error"),
    ],
)
def test_a_mistake_on_the_command_line_says_so(folder, binding, problem):
    message = refused("learn.updates = 1", "learn.sources = []", binding)
    assert message.startswith("--gin binding: ") and problem in message
    assert "Received: " in message


def test_what_is_required_and_missing_is_named(folder):
    message = refused("learn.updates = %gin.REQUIRED")
    assert "learn.updates set to `%gin.REQUIRED`" in message and "Received: files" in message


def test_a_module_that_fails_gives_its_reason(folder, monkeypatch):
    (folder / "users_module_bad.py").write_text("import no_such_dependency")
    (folder / "users_module_worse.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(folder)
    message = refused("import users_module_bad")
    assert "'users_module_bad' cannot be imported: No module named 'no_such_dependency'" in message
    assert "ZeroDivisionError: division by zero" in refused("import users_module_worse")


def test_a_name_of_two_configurables_is_refused_with_both(folder):
    for module in ("case.one", "case.two"):
        gin.external_configurable(Shape, "twin", module=module)
    message = refused("twin.width = 3")
    assert "'twin' may be each of 'case.one.twin', 'case.two.twin'. Received" in message


def test_a_file_must_not_include_itself_nor_be_binary(folder):
    (folder / "b.gin").write_text("include 'a.gin'")
    assert "must not include itself" in refused("include 'b.gin'")
    (folder / "b.gin").write_bytes(b"\xff\xfe")
    assert "UTF-8. Received: b.gin" in refused("include 'b.gin'")


def test_a_missing_file_is_not_found_before_anything_is_forgotten(folder):
    configs.parse_gin([], ["learn.updates = 3"])
    with pytest.raises(FileNotFoundError, match="Received: 'none.gin'"):
        configs.parse_gin(["none.gin"])
    assert learn("folder") == ((), 3)


def test_included_files_are_found_beside_the_packaged_one_and_by_package_name(packaged):
    (packaged / "base.gin").write_text("learn.updates = 5")
    (packaged / "quick.gin").write_text("include 'base.gin'\nlearn.sources = [1]")
    configs.parse_gin(["gin_configs/quick.gin"])
    assert learn("folder") == ([1], 5)
    with open("own.gin", "w") as file:
        file.write("include 'gin_configs/quick.gin'\nlearn.updates = 6")
    configs.parse_gin(["own.gin"])
    assert learn("folder") == ([1], 6)
    gin.clear_config()


def test_names_that_gin_takes_silently_are_warned_of(folder):
    (folder / "a.gin").write_text(
        "updates = 100\ncifra/my_photos.name = 'cifar10'\nx/Shape.width = 1"
    )
    with pytest.warns(UserWarning) as caught:
        configs.parse_gin(["a.gin"], ["learn.sources = [@cifar/my_photos]"])
    macro, scope = (str(warning.message) for warning in caught)
    assert re.match(r"a.gin, line 1: the macro 'updates' is used nowhere.*: updates = 100$", macro)
    assert re.match(
        r"a.gin, line 2: no reference has the scope 'cifra'; did you mean 'cifar'", scope
    )
