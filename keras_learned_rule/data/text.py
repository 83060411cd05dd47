"""Film reviews as bags of words."""

from typing import Any

import numpy as np

from keras_learned_rule.checks import check, integer
from keras_learned_rule.data.cache import cached_arrays
from keras_learned_rule.data.splits import DataSplit
from keras_learned_rule.data.tfds_files import open_tfds, tfds_version
from keras_learned_rule.hints import PathLike

NAME = "imdb_reviews/plain_text"
WORD = "[a-z]{2,}"


def imdb_bag_of_words(words: int = 1000, data_dir: PathLike | None = None) -> DataSplit:
    """IMDB reviews as counts of the most frequent words of the training reviews.

    Words are runs of at least two letters a to z in lower case; line breaks of the original's
    HTML are none. Counted once, and cached. Paper, Figure 4 right.

    Args:
        words: int, how many words to count. Defaults to `1000`.
        data_dir: folder of TFDS data sets. Defaults to `$TFDS_DATA_DIR`, or else to
            `~/tensorflow_datasets`.

    Returns:
        A `DataSplit` with the classes `("neg", "pos")`, 25,000 reviews in either part. Inputs are
        counts, most frequent word first, as they are: scale them as the network needs it.

    Raises:
        FileNotFoundError: if the reviews are neither prepared on this machine nor cached.
        ImportError: if they are not cached and tensorflow-datasets or TensorFlow is missing.
        ValueError: if `words` is below 1.

    Example:
    ```python
    from keras_learned_rule.data.text import imdb_bag_of_words

    try:
        reviews = imdb_bag_of_words(words=100)
        assert reviews.x_train.shape == (25000, 100)
    except (FileNotFoundError, ImportError) as error:
        print(error)
    ```
    """
    check("words", words, integer(least=1))
    arrays, facts = cached_arrays(
        f"imdb-{words}-words",
        {"source": "imdb_bag_of_words", "words": words},
        lambda: _count(words, data_dir),
        version=tfds_version(NAME, data_dir),
    )
    return DataSplit(
        x_train=arrays["x_train"].astype(np.float32),
        y_train=arrays["y_train"],
        x_test=arrays["x_test"].astype(np.float32),
        y_test=arrays["y_test"],
        name="imdb",
        class_names=tuple(facts["class_names"]),
    )


def _count(words, data_dir):
    from sklearn.feature_extraction.text import CountVectorizer

    builder = open_tfds(NAME, data_dir)
    (train, y_train), (test, y_test) = (_reviews(builder, split) for split in ("train", "test"))
    counter = CountVectorizer(
        preprocessor=_plain, token_pattern=WORD, max_features=words, dtype=np.int32
    )
    x_train = counter.fit_transform(train)
    order = most_frequent_first(x_train)
    arrays = {
        "x_train": _dense(x_train, order),
        "y_train": y_train,
        "x_test": _dense(counter.transform(test), order),
        "y_test": y_test,
    }
    vocabulary = counter.get_feature_names_out()[order].tolist()
    return arrays, {"class_names": builder.info.features["label"].names, "words": vocabulary}


def most_frequent_first(counts: Any) -> np.ndarray:
    """Columns of sparse counts [texts, words], in the order of their sums; ties as they are."""
    return np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")


def _reviews(builder, split):
    examples = list(builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator())
    texts = [example["text"].decode() for example in examples]
    return texts, np.array([example["label"] for example in examples], np.int32)


def _plain(text):
    return text.replace("<br />", " ").lower()


def _dense(counts, order):
    """Counts as bytes: no review has one of the 1,000 most frequent words 255 times."""
    return np.minimum(counts[:, order].toarray(), 255).astype(np.uint8)
