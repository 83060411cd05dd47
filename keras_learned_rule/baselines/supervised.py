"""Supervised training of the same network on the same few labels."""

import keras
import numpy as np
from keras import ops

from keras_learned_rule.baselines.side_by_side import side_by_side, start_copies
from keras_learned_rule.fit.readout import FewShotResult, class_mean_accuracy, few_shot_splits

_STEPS_AT_ONCE = 25


def supervised_accuracy(
    model,
    x,
    y,
    shots=10,
    repeats=20,
    seed=0,
    steps=400,
    batch_size=32,
    learning_rate=1e-3,
    early_stopping=False,
):
    """Measures the accuracy of a network trained by backprop on a few labels a class.

    A softmax layer is put on a copy of `model`, and all of it is trained by Adam. The labelled
    and the test examples are those of `few_shot_accuracy` with the same `y`, `shots`, `repeats`
    and `seed`, and accuracy is again the mean over classes. Each repeat starts from the weights
    of `model`, which itself stays as it is, and from a softmax layer of zeros. All repeats train
    side by side.

    Args:
        model: built `keras.Model` that makes features `[n, ...]`, usually freshly initialised: a
            chain of Dense, BatchNormalization and layers without weights.
        x: array `[n, ...]`, what `model` takes.
        y: integer labels `[n]`.
        shots: int, labelled examples of each class. Defaults to `10`.
        repeats: int, how many draws. Defaults to `20`.
        seed: int, which draws. Defaults to `0`.
        steps: int, Adam steps, a multiple of 25. Defaults to `400`.
        batch_size: int, examples of a step, drawn from the labelled ones. Defaults to `32`.
        learning_rate: float, of Adam. Defaults to `1e-3`.
        early_stopping: bool, whether to learn from half of the labelled examples of each class
            (one more than the other half where `shots` is odd) and to end with the weights that
            had the least loss on the other half, looked at every 25 steps. Defaults to `False`.

    Returns:
        A `FewShotResult`.

    Raises:
        ValueError: if `steps` is not a positive multiple of 25, if `early_stopping` is asked for
            with a single labelled example of each class, if `model` has a layer of another kind,
            or if `y`, `shots` and `repeats` do not suit `few_shot_splits`.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_learned_rule.baselines.supervised import supervised_accuracy

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16, "relu")])
    x, y = np.repeat(np.eye(3), 20, axis=0), np.repeat([0, 1, 2], 20)
    result = supervised_accuracy(model, x, y, shots=5, repeats=2, learning_rate=0.01)
    assert result.mean == 1.0
    ```
    """
    check_supervised(steps, shots, early_stopping)
    few_shot_splits(y, shots, repeats, seed)
    learner = SupervisedLearner(model, x, len(np.unique(y)), repeats, learning_rate)
    return learner.accuracy(model, x, y, shots, seed, steps, batch_size, early_stopping)


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
    from keras_learned_rule.baselines.supervised import SupervisedLearner

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16, "relu")])
    x, y = np.repeat(np.eye(3), 20, axis=0), np.repeat([0, 1, 2], 20)
    learner = SupervisedLearner(model, x, classes=3, copies=2)
    results = [learner.accuracy(model, x, y, shots=shots) for shots in (1, 5)]
    ```
    """

    def __init__(self, model, x, classes, copies, learning_rate=1e-3):
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
        self, model, x, y, shots=10, seed=0, steps=400, batch_size=32, early_stopping=False
    ):
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
        trained, held_out = zip(*[_parts(train, shots, early_stopping) for train, _ in splits])
        rng = np.random.default_rng(seed)
        rows = np.stack([_batches(rng, part, steps, batch_size) for part in trained], axis=1)
        held_out = np.stack(held_out, axis=1)
        callbacks = [_BestWeights(held_out, classes[held_out])] if early_stopping else []
        self._network.fit(
            rows, classes[rows], batch_size, shuffle=False, verbose=0, callbacks=callbacks
        )
        return FewShotResult.of(self._test(classes, [test for _, test in splits]))

    def _restart(self, model, x):
        # Putting the values back, rather than building anew, keeps the compiled step.
        self._lookup.table.assign(x)
        start_copies(self._body, model)
        for variable, value in self._start:
            variable.assign(value)

    def _test(self, classes, tests):
        everything = np.tile(np.arange(len(classes), dtype=np.int32)[:, None], self.copies)
        chunks = np.array_split(everything, -(-len(classes) // 500))
        scores = np.concatenate([self._network(chunk, training=False) for chunk in chunks])
        predicted = scores.argmax(axis=-1)
        return [
            class_mean_accuracy(classes[test], predicted[test, copy])
            for copy, test in enumerate(tests)
        ]


def check_supervised(steps, shots, early_stopping):
    """Refuses settings of `supervised_accuracy` that cannot be followed."""
    if steps < 1 or steps % _STEPS_AT_ONCE:
        raise ValueError(
            f"`steps` must be a positive multiple of {_STEPS_AT_ONCE}. Received: {steps}"
        )
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


class _BestWeights(keras.callbacks.Callback):
    """Ends with the weights of each copy that had the least loss on its held-out examples."""

    def __init__(self, rows, classes):
        super().__init__()
        self._rows, self._classes = rows, classes

    def on_train_begin(self, logs=None):
        # The table of examples is no weight of any copy.
        self._variables = [v for v in self.model.variables if v.path.split("/")[-1] != "table"]
        self._best = [v.numpy() for v in self._variables]
        self._least = np.full(self._rows.shape[1], np.inf)

    def on_train_batch_end(self, batch, logs=None):
        scores = self.model(self._rows, training=False)
        losses = ops.sparse_categorical_crossentropy(self._classes, scores, from_logits=True)
        losses = np.mean(losses, axis=0)
        better = losses < self._least
        self._least = np.where(better, losses, self._least)
        for best, variable in zip(self._best, self._variables):
            by_copy = best.reshape(len(better), -1)
            by_copy[better] = variable.numpy().reshape(by_copy.shape)[better]

    def on_train_end(self, logs=None):
        for variable, value in zip(self._variables, self._best):
            variable.assign(value)


def _parts(train, shots, early_stopping):
    """The rows to learn from, and those held out to say when to stop."""
    by_class = train.reshape(-1, shots)
    learned = -(-shots // 2) if early_stopping else shots
    return by_class[:, :learned].ravel(), by_class[:, learned:].ravel()


def _batches(rng, train, steps, batch_size):
    """Lists the rows of all steps one after the other: passes over the labelled examples."""
    passes = -(-steps * batch_size // len(train))
    rows = np.concatenate([rng.permutation(train) for _ in range(passes)])
    return rows[: steps * batch_size].astype(np.int32)
