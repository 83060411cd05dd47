"""Networks trained side by side on few labels: what `supervised_accuracy` is made of."""

import functools

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_learned_rule.baselines.best_weights import BestWeights
from keras_learned_rule.baselines.side_by_side import side_by_side, start_copies
from keras_learned_rule.checks import Kind, check, integer
from keras_learned_rule.fit.few_shot_splits import few_shot_splits
from keras_learned_rule.fit.readout import FewShotResult, class_mean_accuracy
from keras_learned_rule.fit.statistics import take_statistics

_STEPS_AT_ONCE = 25


def _in_whole_calls(steps):
    return integer(least=1).fits(steps) and steps % _STEPS_AT_ONCE == 0


_STEPS = Kind(f"a positive multiple of {_STEPS_AT_ONCE}", _in_whole_calls)


class SupervisedLearner:
    """The networks of `supervised_accuracy`, compiled once and used again and again.

    Args:
        model: built `keras.Model`, see `supervised_accuracy`.
        x: array `[n, ...]`, of the shape of all later ones.
        classes: int, how many there are.
        copies: int, how many networks train side by side.
        learning_rate: float, of Adam. Defaults to `1e-3`.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule.baselines.supervised_learner import SupervisedLearner

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16, "relu")])
    x, y = np.repeat(np.eye(3), 20, axis=0), np.repeat([0, 1, 2], 20)
    learner = SupervisedLearner(model, x, classes=3, copies=2)
    results = [learner.accuracy(model, x, y, shots=shots) for shots in (1, 5)]
    ```
    """

    def __init__(
        self,
        model: keras.Model,
        x: ArrayLike,
        classes: int,
        copies: int,
        learning_rate: float = 1e-3,
    ) -> None:
        self.copies = copies
        self._lookup = _Lookup(np.shape(x))
        rows = keras.Input((copies,), dtype="int32")
        self._body = side_by_side(model, copies)
        features = keras.layers.Reshape((copies, -1))(self._body(self._lookup(rows)))
        head = keras.layers.EinsumDense(
            "bri,rio->bro", (copies, classes), bias_axes="ro", kernel_initializer="zeros"
        )
        self._network = keras.Model(rows, head(features))
        self._network.compile(
            keras.optimizers.Adam(learning_rate),
            _sum_over_copies,
            steps_per_execution=_STEPS_AT_ONCE,
        )
        self._network.optimizer.build(self._network.trainable_variables)
        variables = [*head.variables, *self._network.optimizer.variables]
        self._start = [(variable, variable.numpy()) for variable in variables]

    def accuracy(
        self,
        model: keras.Model,
        x: ArrayLike,
        y: ArrayLike,
        shots: int = 10,
        seed: int = 0,
        steps: int = 400,
        batch_size: int = 32,
        early_stopping: bool = False,
    ) -> FewShotResult:
        """Trains all copies afresh, each on its own draw of labels, and tests them.

        Args:
            model: what every copy starts from, of the architecture given at first.
            x, y, shots, seed, steps, batch_size, early_stopping: see `supervised_accuracy`.

        Returns:
            A `FewShotResult` of as many draws as there are copies.

        Raises:
            ValueError: see `supervised_accuracy`.
        """
        check_supervised(steps, shots, early_stopping)
        splits = few_shot_splits(y, shots, self.copies, seed)
        classes = np.unique(y, return_inverse=True)[1].astype(np.int32)
        self._restart(model, x)
        parts = [_parts(train, shots, early_stopping) for train, _ in splits]
        rng = np.random.default_rng(seed)
        rows = np.stack([batch_rows(rng, part, steps, batch_size) for part, _ in parts], axis=1)
        learned, held_out = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
        # Moving statistics lag behind the weights after so few steps, by points of accuracy.
        calibrate = functools.partial(self._take_statistics, learned)
        stopping = [BestWeights(held_out, classes[held_out], calibrate)] if early_stopping else []
        self._network.fit(
            rows, classes[rows], batch_size, shuffle=False, verbose=0, callbacks=stopping
        )
        calibrate()
        return FewShotResult.of(self._test(classes, [test for _, test in splits]))

    def _restart(self, model, x):
        # Putting the values back, rather than building anew, keeps the compiled step.
        self._lookup.table.assign(x)
        start_copies(self._body, model)
        for variable, value in self._start:
            variable.assign(value)

    def _take_statistics(self, rows):
        take_statistics(self._network, lambda: self._network(rows, training=True))

    def _test(self, classes, tests):
        everything = np.tile(np.arange(len(classes), dtype=np.int32)[:, None], self.copies)
        chunks = np.array_split(everything, -(-len(classes) // 500))
        scores = np.concatenate([self._network(chunk, training=False) for chunk in chunks])
        predicted = scores.argmax(axis=-1)
        return [
            class_mean_accuracy(classes[test], predicted[test, copy])
            for copy, test in enumerate(tests)
        ]


def check_supervised(steps: int, shots: int, early_stopping: bool) -> None:
    """Refuses settings of `supervised_accuracy` that cannot be followed."""
    check("steps", steps, _STEPS)
    check("shots", shots, integer(least=1))
    if early_stopping and shots < 2:
        raise ValueError(
            "`shots` must be at least 2 for `early_stopping`, which holds out half of them. "
            f"Received: {shots}"
        )


def _sum_over_copies(classes, scores):
    return ops.sum(ops.sparse_categorical_crossentropy(classes, scores, from_logits=True), axis=-1)


class _Lookup(keras.layers.Layer):
    """Turns rows of the data into the examples there, so that a fit passes row numbers only."""

    def __init__(self, shape):
        super().__init__()
        self.table = self.add_weight(
            shape=shape, trainable=False, initializer="zeros", name="table"
        )

    def call(self, rows):
        return ops.take(self.table, rows, axis=0)


def _parts(train, shots, early_stopping):
    """The rows to learn from, and those held out to say when to stop."""
    by_class = train.reshape(-1, shots)
    learned = -(-shots // 2) if early_stopping else shots
    return by_class[:, :learned].ravel(), by_class[:, learned:].ravel()


def batch_rows(
    rng: np.random.Generator, train: np.ndarray, steps: int, batch_size: int
) -> np.ndarray:
    """Lists the rows of all steps one after the other: passes over the labelled examples.

    Args:
        rng: of the order in each pass.
        train: int rows of the labelled examples.
        steps, batch_size: ints.

    Returns:
        int32 `[steps * batch_size]`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.baselines.supervised_learner import batch_rows

    rows = batch_rows(np.random.default_rng(0), np.array([3, 5]), steps=3, batch_size=2)
    assert sorted(rows) == [3, 3, 3, 5, 5, 5]
    ```
    """
    passes = -(-steps * batch_size // len(train))
    rows = np.concatenate([rng.permutation(train) for _ in range(passes)])
    return rows[: steps * batch_size].astype(np.int32)
