"""The cache of decoded data: hits, damage, versions, places it cannot write to."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from keras_learned_rule.data import cache
from keras_learned_rule.data.cache import cache_folder, cached_arrays, cached_image_set
from keras_learned_rule.data.glyphs import glyph_set, glyphs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_LEARNED_RULE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Builds other arrays at every call."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        arrays = {"a": np.arange(50).reshape(5, 10)[:, ::2] * self.calls, "b": np.ones(3, "uint8")}
        return arrays, {"call": self.calls, "names": ["x", "β"]}


def ask(build, version=None, **request):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays, facts = cached_arrays("some data/1:0", request, build, version)
    np.testing.assert_array_equal(arrays["a"], np.arange(0, 50, 2).reshape(5, 5) * facts["call"])
    assert arrays["b"].dtype == np.uint8 and facts["names"] == ["x", "β"]
    return facts["call"]


def test_content_is_built_once_a_request(folder):
    build = Builder()
    assert [ask(build, size=8), ask(build, size=8), ask(build, size=9), ask(build, size=8)] == [
        1,
        1,
        2,
        1,
    ]
    assert all(path.name.startswith("some-data-1-0-") for path in folder.iterdir())
    assert len(list(folder.iterdir())) == 2


def test_another_version_of_the_original_is_built_again(folder):
    build = Builder()
    assert ask(build, version="1.0") == ask(build, version="1.0") == ask(build) == 1
    assert ask(build, version="2.0") == ask(build, version=None) == 2
    assert len(list(folder.iterdir())) == 1


def test_another_format_of_the_cache_is_another_file(folder, monkeypatch):
    build = Builder()
    ask(build)
    monkeypatch.setattr(cache, "FORMAT_VERSION", cache.FORMAT_VERSION + 1)
    assert ask(build) == 2 and len(list(folder.iterdir())) == 2


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda content: b"", lambda content: b"\xff" * len(content)]
)
def test_a_damaged_file_is_built_again_with_a_warning(folder, damage):
    build = Builder()
    ask(build)
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=f"{path}.*made again"):
        assert cached_arrays("some data/1:0", {}, build)[1]["call"] == 2
    assert ask(build) == 2


def test_a_safetensors_file_of_somebody_else_is_built_again(folder):
    from safetensors.numpy import save_file

    build = Builder()
    ask(build)
    (path,) = folder.iterdir()
    save_file({"a": np.zeros(3)}, path)
    with pytest.warns(UserWarning, match="made again"):
        assert cached_arrays("some data/1:0", {}, build)[1]["call"] == 2


def test_a_cache_that_cannot_be_written_warns(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KERAS_LEARNED_RULE_CACHE", str(tmp_path / "file"))
    build = Builder()
    for call in (1, 2):
        with pytest.warns(UserWarning, match="could not be kept.*KERAS_LEARNED_RULE_CACHE"):
            assert cached_arrays("data", {}, build)[1]["call"] == call


def test_a_build_that_fails_leaves_nothing(folder):
    with pytest.raises(KeyError, match="boom"):
        cached_arrays("data", {}, lambda: {}["boom"])
    assert not folder.exists()


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("KERAS_LEARNED_RULE_CACHE", "~/own")
    assert cache_folder() == Path.home() / "own"
    monkeypatch.setenv("KERAS_LEARNED_RULE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/keras_learned_rule")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "keras_learned_rule"


def test_image_sets_come_back_equal(folder):
    made = glyph_set("AБγ")
    for _ in range(2):
        stored = cached_image_set("letters", {}, lambda: made)
        np.testing.assert_array_equal(stored.images, made.images)
        np.testing.assert_array_equal(stored.labels, made.labels)
        assert (stored.class_names, stored.name) == (made.class_names, made.name)


def test_glyphs_are_drawn_once_for_the_same_fonts(folder, tmp_path):
    from keras_learned_rule.data.fonts import find_fonts

    def files_after(**changed):
        glyphs(**{"size": 7, "channels": 1, "characters": "ABCDE", **changed})
        return len(list(folder.iterdir()))

    (tmp_path / "fonts").mkdir()
    mine = tmp_path / "fonts" / "Mine.ttf"
    mine.write_bytes(find_fonts()[0].read_bytes())
    assert [files_after(), files_after(), files_after(part="report"), files_after(size=8)] == [
        1,
        1,
        1,
        2,
    ]
    assert files_after(characters="ABCD") == 3
    assert files_after(font_folders=[tmp_path / "fonts"]) == 4
    mine.write_bytes(find_fonts()[1].read_bytes())
    assert files_after(font_folders=[tmp_path / "fonts"]) == 5


WITHOUT_TENSORFLOW = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
from keras_learned_rule.data.tfds_images import tfds_images

images = tfds_images(size=4, channels=1, name="shapes", split="train")
print(images.images.shape, images.class_names)
try:
    tfds_images(size=5, channels=1, name="shapes", split="train")
except ImportError as error:
    print(error)
"""


def test_a_copied_cache_is_read_without_tensorflow(folder, tmp_path):
    from source_cases import image_examples, image_features, random_images, save_tfds

    from keras_learned_rule.data.tfds_images import tfds_images

    examples = image_examples(random_images((6, 8, 8, 1)), [0, 0, 1, 1, 2, 2])
    save_tfds(tmp_path / "tfds", "shapes", image_features((8, 8, 1), list("abc")), train=examples)
    tfds_images(size=4, channels=1, name="shapes", data_dir=tmp_path / "tfds")
    folder.rename(tmp_path / "copied")
    environment = {
        **os.environ,
        "KERAS_LEARNED_RULE_CACHE": str(tmp_path / "copied"),
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "(6, 4, 4, 1) ('a', 'b', 'c')" in result.stdout
    assert "pip install 'keras_learned_rule[data]'" in result.stdout
    assert "copy the cache folder" in result.stdout
