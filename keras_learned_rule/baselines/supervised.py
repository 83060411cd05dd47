"""Supervised training of the same network on the same few labels."""

import keras
import numpy as np

from keras_learned_rule.fit.readout import FewShotResult, class_mean_accuracy, few_shot_splits

_STEPS_AT_ONCE = 25


def supervised_accuracy(
    model, x, y, shots=10, repeats=20, seed=0, steps=400, batch_size=32, learning_rate=1e-3
):
    """Measures the accuracy of a network trained by backprop on a few labels a class.

    A softmax layer is put on a copy of `model`, and all of it is trained by Adam. The labelled
    and the test examples are those of `few_shot_accuracy` with the same `y`, `shots`, `repeats`
    and `seed`, and accuracy is again the mean over classes. Each repeat starts from the weights
    of `model`, which itself stays as it is, and from a softmax layer of zeros.

    Args:
        model: built `keras.Model` that makes features `[n, ...]`, usually freshly initialised.
        x: array `[n, ...]`, what `model` takes.
        y: integer labels `[n]`.
        shots: int, labelled examples of each class. Defaults to `10`.
        repeats: int, how many draws. Defaults to `20`.
        seed: int, which draws. Defaults to `0`.
        steps: int, Adam steps, a multiple of 25. Defaults to `400`.
        batch_size: int, examples of a step, drawn from the labelled ones. Defaults to `32`.
        learning_rate: float, of Adam. Defaults to `1e-3`.

    Returns:
        A `FewShotResult`.

    Raises:
        ValueError: if `steps` is not a positive multiple of 25, or `y`, `shots` and `repeats`
            do not suit `few_shot_splits`.

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
    if steps < 1 or steps % _STEPS_AT_ONCE:
        raise ValueError(
            f"`steps` must be a positive multiple of {_STEPS_AT_ONCE}. Received: {steps}"
        )
    splits = few_shot_splits(y, shots, repeats, seed)
    labels, classes = np.unique(y, return_inverse=True)
    classifier = _classifier(model, len(labels), learning_rate)
    variables = [*classifier.variables, *classifier.optimizer.variables]
    start = [variable.numpy() for variable in variables]
    rng = np.random.default_rng(seed)
    accuracies = []
    for train, test in splits:
        # Putting the values back, rather than building anew, keeps the compiled step.
        for variable, value in zip(variables, start):
            variable.assign(value)
        rows = _batches(rng, train, steps, batch_size)
        classifier.fit(x[rows], classes[rows], batch_size=batch_size, shuffle=False, verbose=0)
        scores = classifier.predict(x[test], batch_size=1024, verbose=0)
        accuracies.append(class_mean_accuracy(classes[test], np.argmax(scores, axis=1)))
    return FewShotResult.of(accuracies)


def _classifier(model, classes, learning_rate):
    body = keras.models.clone_model(model)
    body.set_weights(model.get_weights())
    head = keras.layers.Dense(classes, kernel_initializer="zeros")
    inputs = keras.Input(model.input_shape[1:])
    features = keras.layers.Flatten()(body(inputs))
    classifier = keras.Model(inputs, head(features))
    classifier.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=_STEPS_AT_ONCE,
    )
    classifier.optimizer.build(classifier.trainable_variables)
    return classifier


def _batches(rng, train, steps, batch_size):
    """Lists the rows of all steps one after the other: passes over the labelled examples."""
    passes = -(-steps * batch_size // len(train))
    rows = np.concatenate([rng.permutation(train) for _ in range(passes)])
    return rows[: steps * batch_size]
