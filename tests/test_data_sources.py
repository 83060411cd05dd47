"""Every data source by the shared checks, and what is particular to each."""

import dataclasses

import numpy as np
import pytest
from source_cases import check_source, image_examples, image_features, random_images, save_tfds

from keras_learned_rule.data.array_folder import array_folder
from keras_learned_rule.data.digits import digit_images
from keras_learned_rule.data.glyphs import glyph_set, glyphs
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.data.pink_mixture import pink_mixture
from keras_learned_rule.data.python_texts import python_texts
from keras_learned_rule.data.resize import fit_images
from keras_learned_rule.data.synthetic import gaussian_mixture, random_manifolds, sparse_counts
from keras_learned_rule.data.textured import textured
from keras_learned_rule.data.tfds_images import tfds_images

CLASSES = ["square", "disc", "star", "never", "cross", "arrow", "moon", "sun", "wave"]
LABELS = np.array([0, 1, 2, 4, 5, 6, 7, 8] * 3)
SHAPES = [(8 + i % 5, 12 - i % 3, 3) for i in range(len(LABELS))]
IMAGES = [random_images(shape, seed) for seed, shape in enumerate(SHAPES)]


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """A TFDS data set of pictures of many sizes, and one of grey pictures of one size."""
    folder = str(tmp_path_factory.mktemp("tfds"))
    features = image_features((None, None, 3), CLASSES)
    unlabelled = image_examples(IMAGES[:1], [-1])
    save_tfds(folder, "varying", features, train=image_examples(IMAGES, LABELS), none=unlabelled)
    grey = image_examples(random_images((600, 6, 6, 1)), np.arange(600) % 10)
    save_tfds(folder, "grey", image_features((6, 6, 1), list("0123456789")), test=grey)
    return folder


@pytest.fixture
def folder(tmp_path):
    """A folder of arrays: two files of pictures of different sizes."""
    for i, size in enumerate((8, 11)):
        x = random_images((40, size, size, 3), seed=i)
        np.savez(tmp_path / f"{i}.npz", x=x, y=np.arange(40) % 8 - 3)
    return tmp_path


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Eight modules in place of the standard library, and what is not to be counted."""
    rng = np.random.default_rng(0)
    for i in range(8):
        common = " ".join(rng.permutation(["the"] * 5000 + [f"word{chr(97 + i)}"] * 1000))
        (tmp_path / f"module{i}.py").write_text(f"# {common}\nX = 12\n")
    short, hidden = "x = 'seldom'\n", "y = 'never'\n" * 500
    (tmp_path / "brief.py").write_text(short)
    for name in ("_private.py", "test/case.py", "module0/tests/case.py", "site-packages/other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(hidden)
    (tmp_path / "module0" / "part.py").write_text("PARTICULAR = None\n" * 50)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    return tmp_path


def save(folder, x, y, name="0.npz"):
    np.savez(folder / name, x=x, y=y)


def test_glyphs():
    check_source(glyphs, characters="ABCDEFGHIJ")


def test_digit_images():
    check_source(digit_images)


def test_tfds_images_of_many_sizes(tfds_dir):
    check_source(tfds_images, name="varying", data_dir=tfds_dir)


def test_tfds_images_of_one_size(tfds_dir):
    check_source(tfds_images, name="grey", split="test", data_dir=tfds_dir)


def test_array_folder_of_images(folder):
    check_source(array_folder, folder=str(folder))


def test_array_folder_of_vectors(tmp_path):
    save(tmp_path, np.random.default_rng(0).normal(size=(60, 12)), np.arange(60) % 6)
    check_source(array_folder, vectors=True, folder=str(tmp_path))


@pytest.mark.parametrize("source", [gaussian_mixture, random_manifolds, sparse_counts])
def test_synthetic(source):
    check_source(source, vectors=True, classes=8, examples=16)


def test_python_texts(library):
    check_source(python_texts, vectors=True, words=3, length=100)


def test_python_texts_are_counts_of_words(library):
    made = python_texts(1, 1, words=20, length=100)
    assert made.class_names == tuple(f"module{i}" for i in range(8))
    # Words are the, worda to wordh, none and particular; what is left of the 20 stays empty.
    counts = made.images[:, 0, :, 0].astype(int)
    assert counts[:, 10].any() and not counts[:, 11:].any()
    own = [counts[made.labels == label].sum(axis=0) for label in range(8)]
    assert all((total > 0).sum() == (4 if label == 0 else 2) for label, total in enumerate(own))
    unit = np.unique(counts)[1]
    lengths = counts.sum(axis=1) / unit
    assert 80 < lengths[made.labels > 0].mean() < 120 and lengths.std() > 20
    occurs = python_texts(1, 1, words=20, length=100, binary=True).images[:, 0, :, 0]
    np.testing.assert_array_equal(occurs, 255 * (counts > 0))
    assert (np.bincount(python_texts(1, 1, words=20, length=100, most=50).labels) == 50).all()


def test_python_texts_have_the_same_modules_at_every_length(library):
    short, long = (python_texts(1, 1, length=length) for length in (20, 1500))
    assert short.class_names == long.class_names and len(short.images) > 20 * len(long.images)


def test_python_texts_begin_with_the_most_frequent_word(library):
    made = python_texts(1, 1, words=2, length=100)
    the, second = made.images[:, 0, :, 0].T
    assert set(made.labels[the > 0]) == set(range(8)) and len(set(made.labels[second > 0])) == 1


def test_lengths_of_python_texts_are_drawn(library):
    one, other = (python_texts(1, 1, words=3, length=100, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.images[:50], other.images[:50])


@pytest.mark.parametrize(
    "length, says", [(0, "length must be .*Received: 0"), (6000, "two texts of each")]
)
def test_python_texts_of_a_length_that_leaves_none(library, length, says):
    with pytest.raises(ValueError, match=says):
        python_texts(1, 1, length=length)


def test_python_texts_pass_over_what_is_no_file(library):
    (library / "module1.py").rename(library / "kept.txt")
    (library / "module1" / "folder.py").mkdir(parents=True)
    names = python_texts(1, 1, words=20, length=100).class_names
    assert names == ("module0", *(f"module{i}" for i in range(2, 8)))


def test_python_texts_without_the_sources(tmp_path, monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    (tmp_path / "brief.py").write_text("x = 'seldom'")
    with pytest.raises(FileNotFoundError, match="python_texts reads the sources .* Received: "):
        python_texts(1, 1)


def test_pink_mixture():
    check_source(pink_mixture, classes=8, examples=16)


def test_pink_mixture_has_the_spectrum_of_photographs():
    images = pink_mixture(32, 1, classes=10, examples=100, signal=0.0).images[..., 0]
    fields = np.log(np.clip(images, 1, 254) / (255.0 - np.clip(images, 1, 254)))
    window = np.hanning(32)[:, None] * np.hanning(32)
    power = (np.abs(np.fft.fft2(fields * window)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32))
    band = (frequency > 0.08) & (frequency < 0.35)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    # Power falls with the square of frequency.
    assert -2.4 < slope < -1.6


def test_pink_mixture_tells_its_classes_as_well_as_asked():
    def nearest_mean_accuracy(signal):
        made = pink_mixture(14, 1, classes=5, examples=400, signal=signal)
        x = made.images.reshape(5, 400, -1).astype("float32")
        means = x[:, :200].mean(axis=1)
        distances = ((x[:, 200:, None] - means) ** 2).sum(axis=-1)
        return (distances.argmin(axis=-1) == np.arange(5)[:, None]).mean()

    none, some, much = map(nearest_mean_accuracy, (0.0, 0.4, 2.0))
    assert none < 0.26 < 0.4 < some < 0.9 < 0.99 < much
    with pytest.raises(ValueError, match="signal must be .* at least 0. Received: -1"):
        pink_mixture(14, 1, signal=-1)


def test_glyphs_are_the_drawings_resized():
    drawn, source = glyph_set("ABCDE"), glyphs(size=14, channels=1, characters="ABCDE")
    blocks = drawn.images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(source.images[..., 0], np.floor(blocks + 0.5))
    np.testing.assert_array_equal(source.labels, drawn.labels)


def test_tfds_images_are_decoded_in_order_with_their_names(tfds_dir):
    result = tfds_images(size=6, channels=1, name="varying", data_dir=tfds_dir)
    assert result.class_names == tuple(name for name in CLASSES if name != "never")
    assert [result.class_names[i] for i in result.labels] == [CLASSES[i] for i in LABELS]
    expected = np.concatenate([fit_images(image[None], 6, 1) for image in IMAGES])
    np.testing.assert_array_equal(result.images, expected)


def test_max_examples_takes_the_first(tfds_dir):
    few = tfds_images(size=6, channels=1, name="varying", data_dir=tfds_dir, max_examples=2)
    assert few.class_names == ("square", "disc") and len(few.images) == 2
    with pytest.raises(ValueError, match="max_examples.*Received: 0"):
        tfds_images(size=6, channels=1, name="varying", data_dir=tfds_dir, max_examples=0)


def test_tfds_data_dir_of_the_environment(tfds_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_LEARNED_RULE_CACHE", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", tfds_dir)
    assert len(tfds_images(size=3, channels=1, name="grey:1.0.0", split="test[:50]").images) == 50


def test_a_missing_tfds_data_set_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"tfds build svhn_cropped.*DATA_DIR.*{tmp_path}"):
        tfds_images(size=8, channels=1, name="svhn_cropped")


def test_unsuitable_tfds_data_sets(tfds_dir):
    import tensorflow_datasets as tfds

    save_tfds(tfds_dir, "text", {"text": tfds.features.Text()}, train=[{"text": "a"}])
    with pytest.raises(ValueError, match="`image`.*`label`.*Received: 'text'"):
        tfds_images(size=8, channels=1, name="text", data_dir=tfds_dir)
    with pytest.raises(ValueError, match="must be labelled.*label -1"):
        tfds_images(size=8, channels=1, name="varying", split="none", data_dir=tfds_dir)
    with pytest.raises(ValueError, match="Unknown split 'train'"):
        tfds_images(size=8, channels=1, name="grey", data_dir=tfds_dir)


def test_array_folder_joins_its_files_in_order(folder):
    result = array_folder(size=5, channels=3, folder=folder)
    assert result.class_names == tuple(str(label) for label in range(-3, 5))
    assert result.name == folder.name
    for i, part in enumerate(np.split(result.images, 2)):
        with np.load(folder / f"{i}.npz") as file:
            np.testing.assert_array_equal(part, fit_images(file["x"], 5, 3))
    np.testing.assert_array_equal(result.labels, np.tile(np.arange(8), 10))


def test_floats_share_one_linear_scale(tmp_path):
    save(tmp_path, np.full((2, 4, 4), -1.0), np.zeros(2, int), "a.npz")
    save(tmp_path, np.linspace(-1, 3, 32).reshape(2, 4, 4), np.ones(2, int), "b.npz")
    images = array_folder(size=4, channels=1, folder=tmp_path).images
    assert not images[:2].any()
    expected = np.linspace(0, 255, 32).reshape(2, 4, 4)
    assert np.abs(images[2:, ..., 0] - expected).max() <= 0.5


def test_extreme_and_constant_floats(tmp_path):
    save(tmp_path, np.array([[[-1e308, 0.0], [0.0, 1e308]]] * 2), [0, 1])
    assert array_folder(2, 1, tmp_path).images[0].ravel().tolist() == [0, 128, 128, 255]
    save(tmp_path, np.full((2, 3, 3), 7.5), [0, 1])
    assert not array_folder(3, 1, tmp_path).images.any()


def test_vectors_of_floats_stay_as_they_are(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32") * [1.0, 1e4, 1e-4]
    save(tmp_path, x, Y)
    np.testing.assert_array_equal(array_folder(1, 1, tmp_path).images[:, 0, :, 0], np.float32(x))
    save(tmp_path, X[:, 0], Y)
    assert array_folder(1, 1, tmp_path).images.dtype == np.uint8


X, Y = np.zeros((4, 6, 6), np.uint8), np.array([0, 0, 1, 1])
BAD_ARRAYS = {
    "`x` is uint8 or float.*int64": (X.astype("int64"), Y),
    "`x` is .n, d.*of shape .4,": (X[:, 0, 0], Y),
    "1 or 3.*of shape .4, 6, 6, 2": (np.stack([X, X], axis=-1), Y),
    "`x` is .*of shape .4, 0": (X[:, :0], Y),
    "`x` is finite": (np.where(np.arange(6) == 3, np.nan, X.astype(float)), Y),
    "`y` is integers.*float64": (X, Y.astype(float)),
    "`y` is integers.*of shape .4, 1": (X, Y[:, None]),
    "of one length.*of shape .3,": (X, Y[:3]),
    "at least 1.*of shape .0,": (X[:0], Y[:0]),
}


@pytest.mark.parametrize("message", BAD_ARRAYS)
def test_bad_arrays(tmp_path, message):
    save(tmp_path, *BAD_ARRAYS[message], name="mine.npz")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        array_folder(4, 1, tmp_path)


def test_bad_files(tmp_path):
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"`folder`.*Received: '{missing}'"):
            array_folder(4, 1, missing)
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.array([{"a": 1}] * 4), y=Y)
    with pytest.raises(ValueError, match="without pickled objects.*mine.npz"):
        array_folder(4, 1, tmp_path)
    np.savez(path, images=X, y=Y)
    with pytest.raises(ValueError, match="`x` and `y`.*mine.npz.*'images'"):
        array_folder(4, 1, tmp_path)
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(ValueError, match="`x` and `y`.*mine.npz"):
        array_folder(4, 1, tmp_path)
    for content in (b"", b"PK\x03\x04 cut off", b"something else"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="complete .npz file.*mine.npz"):
            array_folder(4, 1, tmp_path)


@pytest.mark.parametrize("other", [X.astype(float), X[:, 0], X[:, 0].astype(float)])
def test_files_of_different_kinds(tmp_path, other):
    save(tmp_path, X, Y, "a.npz")
    save(tmp_path, other, Y, "b.npz")
    with pytest.raises(ValueError, match="of one kind with 'a.npz'.*b.npz"):
        array_folder(4, 1, tmp_path)


@pytest.mark.parametrize("source", [gaussian_mixture, random_manifolds, sparse_counts])
def test_synthetic_classes_can_be_told_apart_but_not_trivially(source):
    from sklearn.linear_model import RidgeClassifier

    made = source(1, 1, classes=10, examples=100)
    x, y = made.images.reshape(1000, -1) / 255.0, made.labels
    half = np.arange(1000) % 2 == 0
    accuracy = RidgeClassifier().fit(x[half], y[half]).score(x[~half], y[~half])
    assert 0.3 < accuracy < 0.999
    assert not np.array_equal(source(1, 1, classes=10, examples=100, seed=1).images, made.images)


def test_synthetic_arguments():
    with pytest.raises(ValueError, match="sparse_counts.classes must be .*Received: 0"):
        sparse_counts(1, 1, classes=0)
    with pytest.raises(ValueError, match="manifold_dimensions must be .*Received: 0"):
        random_manifolds(1, 1, manifold_dimensions=0)
    with pytest.raises(ValueError, match="`informative`.*196.*Received: 197"):
        gaussian_mixture(1, 1, informative=197)


def test_counts_are_sparse_and_manifolds_are_curved():
    assert (sparse_counts(1, 1).images == 0).mean() > 0.6
    clean = random_manifolds(1, 1, classes=1, examples=500, noise=0.0).images[:, 0, :, 0]
    spectrum = np.linalg.svd(clean - clean.mean(axis=0), compute_uv=False) ** 2
    explained = np.cumsum(spectrum) / spectrum.sum()
    # A plane of 3 dimensions would be explained by 3; the network has 12 hidden units.
    assert explained[2] < 0.95 and explained[11] > 0.99


def flat(value):
    """A source of images of one brightness."""

    def source(size, channels):
        images = np.full((5, size, size, channels), value, np.uint8)
        return ImageSet(images, np.zeros(5, np.int32), ("flat",), "flat")

    return source


def square(size, channels):
    images = np.zeros((2, size, size, channels), np.uint8)
    images[:, 3:5, 3:5] = 255
    return ImageSet(images, np.array([0, 1], np.int32), ("one", "other"), "squares")


def test_textured_shows_textures_inside_and_darker_ones_outside():
    made = textured(9, 3, shapes=square, textures=flat(100), copies=50)
    assert made.images.shape == (100, 9, 9, 3) and made.class_names == ("one", "other")
    np.testing.assert_array_equal(made.labels, np.repeat([0, 1], 50))
    inside, outside = made.images[:, 3, 3, 0], made.images[:, 0, 0, 0]
    assert inside.min() >= 100 and inside.max() <= 0.6 * 255 + 0.4 * 100 + 1 and np.ptp(inside) > 50
    assert outside.max() <= 81 and np.ptp(outside) > 50
    # Shapes are as they were, or a pixel larger on every side.
    sizes = (made.images[..., 0] == inside[:, None, None]).sum(axis=(1, 2))
    assert set(sizes) == {4, 16} and 30 < (sizes == 16).sum() < 70
    np.testing.assert_array_equal(made.images[sizes == 16][:, 2:6, 2:6].std(axis=(1, 2)), 0)


def test_textured_on_black():
    made = textured(9, 1, shapes=square, textures=flat(100), background=0.0)
    masks = made.images > 0
    assert set(masks.sum(axis=(1, 2, 3))) == {4, 16} and made.images[masks].min() >= 100
    with pytest.raises(ValueError, match="background must be .* from 0 to 1. Received: 1.5"):
        textured(9, 1, square, flat(1), background=1.5)


def test_textured_takes_images_of_bytes_only():
    def floats(size, channels):
        images = square(size, channels)
        return dataclasses.replace(images, images=images.images.astype("float32") / 255)

    with pytest.raises(ValueError, match="textured.shapes must be .*Received: float32"):
        textured(9, 1, floats, flat(1))
    with pytest.raises(ValueError, match="textured.textures must be .*Received: float32"):
        textured(9, 1, square, floats)


def test_textured_takes_parts_from_its_sources_and_repeats():
    def some(part, seed=0):
        def letters(size, channels):
            return glyphs(size, channels, part=part, characters="ABCDEFGHIJ")

        return textured(9, 1, letters, digit_images, copies=2, seed=seed)

    train, choose = some("train"), some("choose")
    assert not set(train.class_names) & set(choose.class_names)
    np.testing.assert_array_equal(train.images, some("train").images)
    assert (train.images != some("train", seed=1).images).any()
    assert len(np.unique(train.images)) > 100
    with pytest.raises(ValueError, match="copies must be an integer of at least 1. Received: 0"):
        textured(9, 1, square, flat(1), copies=0)
