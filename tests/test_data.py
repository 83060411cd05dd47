"""Glyphs and digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits as sklearn_digits

from keras_learned_rule.data.digits import digits_split, load_digits
from keras_learned_rule.data.fonts import available_characters, draw_characters, find_fonts
from keras_learned_rule.data.glyphs import DEFAULT_CHARACTERS, glyph_set
from keras_learned_rule.data.image_set import ImageSet


@pytest.fixture(scope="module")
def glyphs():
    return glyph_set()


def font(name):
    return next(path for path in find_fonts() if path.stem == name)


def test_glyphs_have_the_documented_form(glyphs):
    assert glyphs.images.dtype == np.uint8 and glyphs.images.shape[1:] == (28, 28, 1)
    assert glyphs.labels.dtype == np.int32 and len(glyphs.labels) == len(glyphs.images)
    assert set(glyphs.labels) == set(range(len(glyphs.class_names)))
    assert len(glyphs.class_names) > 150 and len(glyphs.images) > 2500


def test_every_glyph_fills_a_centred_box_of_20_pixels(glyphs):
    for image in glyphs.images[::7, ..., 0]:
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 19 <= max(height, width) <= 20
        assert abs(rows[0] + rows[-1] - 27) <= 2 and abs(columns[0] + columns[-1] - 27) <= 2
        assert image.max() > 128


def test_default_characters_are_letters_and_digits_of_five_scripts():
    assert all(character.isalnum() for character in DEFAULT_CHARACTERS)
    assert len(set(DEFAULT_CHARACTERS)) == len(DEFAULT_CHARACTERS) == 62 + 49 + 64 + 76 + 33


def test_look_alikes_are_one_class(glyphs):
    for alike in ("AΑА", "oOοОо", "cCсС", "xXх", "sS", "il"):
        assert sum(character in glyphs.class_names for character in alike) == 1
    assert set("ABQRabgemr0123456789ΓΔΨЖЮԳჰ") < set(glyphs.class_names)


def test_no_two_classes_look_alike_in_the_first_font(glyphs):
    classes = len(glyphs.class_names)
    np.testing.assert_array_equal(glyphs.labels[:classes], np.arange(classes))
    correlation = np.corrcoef(glyphs.images[:classes].reshape(classes, -1))
    np.fill_diagonal(correlation, 0.0)
    assert correlation.max() < 0.88


def test_only_characters_of_the_font_are_drawn():
    assert available_characters(font("cmr10"), "AБΓ") == {"A"}
    assert available_characters(font("DejaVuSans"), "AБΓ\uffff") == set("AБΓ")
    names = [path.stem for path in find_fonts()]
    assert not [name for name in names if name.startswith(("LastResort", "STIXSiz", "cmex"))]


def test_a_font_with_one_glyph_for_many_characters_draws_none_of_them():
    last_resort = font("DejaVuSans").with_name("LastResortHE-Regular.ttf")
    if not last_resort.exists():
        pytest.skip("this matplotlib ships no font of placeholders")
    assert available_characters(last_resort, "ABC") == set()


def test_glyphs_are_deterministic(glyphs):
    again = glyph_set()
    np.testing.assert_array_equal(again.images, glyphs.images)
    assert again.class_names == glyphs.class_names


def test_class_table_lists_each_image_of_its_class_in_one_half_of_the_row(glyphs):
    table = glyphs.class_table()
    assert table.dtype == np.int32 and len(table) == len(glyphs.class_names)
    for label, row in enumerate(table):
        np.testing.assert_array_equal(np.unique(row), np.flatnonzero(glyphs.labels == label))
        first, second = np.split(row, 2)
        assert not set(first) & set(second)
        for half in (first, second):
            assert np.ptp(np.unique(half, return_counts=True)[1]) <= 1


def test_class_table_needs_two_images_a_class():
    one = ImageSet(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, np.int32), ("A",), "one")
    with pytest.raises(ValueError, match="at least 2 images of each class.*Received.*'A'"):
        one.class_table()


def test_split_is_by_class_and_loses_nothing(glyphs):
    train, held_out = glyphs.split(0.2, seed=3)
    assert not set(train.class_names) & set(held_out.class_names)
    assert set(train.class_names) | set(held_out.class_names) == set(glyphs.class_names)
    assert len(held_out.class_names) == round(0.2 * len(glyphs.class_names))
    assert len(train.images) + len(held_out.images) == len(glyphs.images)
    for part in (train, held_out):
        for character in part.class_names[:5]:
            mine = part.images[part.labels == part.class_names.index(character)]
            theirs = glyphs.images[glyphs.labels == glyphs.class_names.index(character)]
            np.testing.assert_array_equal(mine, theirs)
    assert glyphs.split(0.2, seed=3)[1].class_names == held_out.class_names
    assert glyphs.split(0.2, seed=4)[1].class_names != held_out.class_names


@pytest.mark.parametrize("fraction", [-0.1, 0.0, 1.0, 1.5])
def test_split_refuses_an_empty_part(glyphs, fraction):
    with pytest.raises(ValueError, match=f"held_out_fraction.*Received: {fraction}"):
        glyphs.split(fraction, seed=0)


def test_own_fonts_are_added(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "Mine.ttf").write_bytes(font("DejaVuSerif").read_bytes())
    (tmp_path / "DejaVuSans.ttf").write_bytes(font("DejaVuSans").read_bytes())
    plain, more = glyph_set("ABC"), glyph_set("ABC", font_folders=[tmp_path])
    assert len(more.images) == len(plain.images) + 3


def test_size_is_respected():
    assert glyph_set("AB", size=14).images.shape[1:] == (14, 14, 1)


def test_bad_glyph_arguments(tmp_path):
    with pytest.raises(ValueError, match=f"font_folders.*Received: '{tmp_path}'"):
        glyph_set("AB", font_folders=[tmp_path])
    with pytest.raises(ValueError, match="missing"):
        glyph_set("AB", font_folders=[tmp_path / "missing"])
    with pytest.raises(ValueError, match="font_folders must be a list.*Received: "):
        glyph_set("AB", font_folders=str(tmp_path))
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    with pytest.raises(ValueError, match="readable TrueType.*broken.ttf"):
        glyph_set("AB", font_folders=[tmp_path])
    with pytest.raises(ValueError, match="readable TrueType.*broken.ttf"):
        draw_characters(tmp_path / "broken.ttf", "AB", 28)
    with pytest.raises(ValueError, match="some font.*uffff"):
        glyph_set("A\uffff")
    with pytest.raises(ValueError, match="different single characters"):
        glyph_set("ABA")
    with pytest.raises(ValueError, match="different single characters"):
        glyph_set(["AB", "C"])
    with pytest.raises(ValueError, match="size.*Received: 1"):
        glyph_set("AB", size=1)


def test_digits_are_scaled_and_split_without_overlap():
    x, y = load_digits()
    np.testing.assert_allclose(x * 16, sklearn_digits().data)
    assert x.dtype == np.float32 and y.dtype == np.int32 and x.min() == 0 and x.max() == 1
    x_train, y_train, x_test, y_test = digits_split(test_size=500, seed=1)
    assert len(x_train) == len(y_train) == 1297 and len(x_test) == len(y_test) == 500
    together = np.concatenate([x_train, x_test])
    np.testing.assert_array_equal(np.sort(together.sum(1)), np.sort(x.sum(1)))
    assert not {row.tobytes() for row in x_train} & {row.tobytes() for row in x_test}
    np.testing.assert_array_equal(digits_split(500, 1)[2], x_test)
    assert not np.array_equal(digits_split(500, 2)[2], x_test)


def test_digits_split_refuses_an_empty_part():
    with pytest.raises(ValueError, match="test_size.*Received: 1797"):
        digits_split(test_size=1797)
