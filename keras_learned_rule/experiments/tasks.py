"""What the experiments learn from and are judged by: a data set, or classes of it, by seed."""

from typing import NamedTuple

import numpy as np

from keras_learned_rule.checks import check, one_of
from keras_learned_rule.data.splits import image_arrays
from keras_learned_rule.data.text import imdb_bag_of_words

WAYS = 10
# Name: (data set, height and width, channels).
IMAGES = {
    "digits8": ("digits", 8, 1),
    "mnist14": ("mnist", 14, 1),
    "mnist28": ("mnist", 28, 1),
    "fashion14": ("fashion_mnist", 14, 1),
    "fashion28": ("fashion_mnist", 28, 1),
    "cifar16": ("cifar10", 16, 3),
    "cifar32": ("cifar10", 32, 3),
    "tiny16": ("tiny_imagenet16", 16, 3),
}
TITLES = {
    "digits8": "digits 8x8",
    "mnist14": "MNIST 14x14",
    "mnist28": "MNIST 28x28",
    "fashion14": "Fashion-MNIST 14x14",
    "fashion28": "Fashion-MNIST 28x28",
    "cifar16": "CIFAR-10 16x16",
    "cifar32": "CIFAR-10 32x32",
    "tiny16": "Tiny-ImageNet 16x16, 10 held-out classes",
    "imdb": "IMDB, 1,000 words",
}


class Task(NamedTuple):
    """Data of one run.

    Attributes:
        x: float32 `[n, inputs]`, unlabelled, from 0 to 1.
        y: int `[n]`, its classes, for a readout of all labels.
        x_test: float32 `[m, inputs]`, few labelled examples are drawn from it, the others test.
        y_test: int `[m]`.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class TaskSource:
    """Gives the task of each seed of one data set.

    Of a data set of more than 10 classes, a task is 10 of them drawn by its seed; of the others,
    every seed has the same data.

    Args:
        name: `"imdb"`, where inputs say whether a word occurs, or a name in `IMAGES`.
        tests: int, how many test examples are used, from the start of the test part. Defaults to
            `2000`.
        data_dir: folder of TFDS data sets, see `image_arrays`.

    Attributes:
        inputs: int, number of inputs.
        shape: (height, width, channels), None where the inputs are no images.

    Raises:
        ValueError: there is no such name.
        FileNotFoundError: the data set is not on this machine; says how to get it.

    Example:
    ```python
    from keras_learned_rule.experiments.tasks import TaskSource

    task = TaskSource("digits8").task(seed=0)
    assert task.x.shape == (1197, 64) and task.x_test.shape == (600, 64)
    ```
    """

    def __init__(self, name, tests=2000, data_dir=None):
        self._data = _load(name, data_dir)
        self._tests = tests
        self.inputs = self._data.x_train.shape[1]
        self.shape = None
        if name in IMAGES:
            _, side, channels = IMAGES[name]
            self.shape = (side, side, channels)

    def task(self, seed):
        """The `Task` of a seed."""
        _, _, x_test, y_test = self._data[:4]
        chosen = np.isin(y_test, self._classes(seed))
        x_test, y_test = x_test[chosen][: self._tests], y_test[chosen][: self._tests]
        return Task(*self._unlabelled(seed), x_test, y_test)

    def unbalanced(self, seed, ratio):
        """Unlabelled examples such that half of the classes have fewer of them.

        Args:
            seed: int, which half, and of which task.
            ratio: int, one in so many is kept of that half; 1 keeps all.

        Returns:
            Rows of the task's `x`.
        """
        _, y = self._unlabelled(seed)
        rng = np.random.default_rng(seed)
        classes = np.unique(y)
        scarce = rng.choice(classes, len(classes) // 2, replace=False)
        return np.flatnonzero(~np.isin(y, scarce) | (rng.random(len(y)) < 1 / ratio))

    def _classes(self, seed):
        classes = np.unique(self._data.y_train)
        if len(classes) <= WAYS:
            return classes
        return np.random.default_rng(seed).choice(classes, WAYS, replace=False)

    def _unlabelled(self, seed):
        chosen = np.isin(self._data.y_train, self._classes(seed))
        if chosen.all():
            return self._data.x_train, self._data.y_train
        return self._data.x_train[chosen], self._data.y_train[chosen]


def _load(name, data_dir):
    if name == "imdb":
        data = imdb_bag_of_words(1000, data_dir)
        return data._replace(
            x_train=np.minimum(data.x_train, 1.0), x_test=np.minimum(data.x_test, 1.0)
        )
    check("A data set", name, one_of(("imdb", *IMAGES)))
    return image_arrays(*IMAGES[name], data_dir)
