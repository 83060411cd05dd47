"""Prototypical networks: an encoder meta-trained by backprop on few-shot episodes."""

from typing import Any

import keras
from keras import ops

from keras_learned_rule.checks import check, integer
from keras_learned_rule.hints import Tensor, Tensors


class PrototypicalNetwork(keras.Model):
    """Learns an encoder in which examples lie closest to the mean of their own class.

    A batch is one episode: for each of its classes a few support examples, whose mean features
    are the prototypes, and a few queries. The loss is cross entropy of a softmax over minus the
    squared distances. The encoder is trained in place. Unlike the learned rule it meta-learns the
    weights of one network, for inputs of one kind.

    Args:
        encoder: built `keras.Model` from `[batch, ...]` to features `[batch, units]`.
        shots: int, support examples of each class; all others are queries.

    Raises:
        ValueError: if `shots` is below 1.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule.baselines.prototypical import PrototypicalNetwork

    encoder = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32)])
    network = PrototypicalNetwork(encoder, shots=2)
    network.compile(keras.optimizers.Adam(1e-3))
    episodes = np.random.rand(4, 3, 5, 64)  # 4 episodes of 3 classes, 5 examples each
    network.fit(episodes, batch_size=1, verbose=0)
    assert network(episodes).shape == (4, 3, 3, 3)  # of each of 3 queries in 3 classes, 3 scores
    ```

    Reference: Snell et al., NIPS 2017; the baseline of Metz et al., section 2.2.
    """

    def __init__(self, encoder: keras.Model, shots: int) -> None:
        check("shots", shots, integer(least=1))
        super().__init__()
        self.encoder, self.shots = encoder, shots
        self.loss_tracker = keras.metrics.Mean("loss")
        self.accuracy_tracker = keras.metrics.Mean("accuracy")

    def call(self, episodes: Tensor, training: bool = False) -> Tensor:
        """Scores the queries of episodes.

        Args:
            episodes: tensor `[episodes, classes, examples, ...]`, the first `shots` examples of a
                class being its support.
            training: bool, for batch normalisation. Defaults to `False`.

        Returns:
            Minus squared distances to the prototypes,
            `[episodes, classes, queries, classes]`.
        """
        episodes = ops.convert_to_tensor(episodes)
        ways, examples = episodes.shape[1:3]
        flat = ops.reshape(episodes, (-1, *episodes.shape[3:]))
        features = self.encoder(flat, training=training)
        features = ops.reshape(features, (-1, ways, examples, features.shape[-1]))
        prototypes = ops.mean(features[:, :, : self.shots], axis=2)
        queries = features[:, :, self.shots :]
        differences = queries[:, :, :, None] - prototypes[:, None, None]
        return -ops.sum(ops.square(differences), axis=-1)

    def train_step(self, data: Any) -> Tensors:
        """One step on the mean loss of a batch of episodes."""
        import tensorflow as tf

        episodes, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            scores = self(episodes, training=True)
            loss, accuracy = _loss_and_accuracy(scores)
        variables = self.encoder.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return self._track(loss, accuracy)

    def test_step(self, data: Any) -> Tensors:
        """Loss and accuracy on episodes."""
        episodes, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self._track(*_loss_and_accuracy(self(episodes)))

    def _track(self, loss, accuracy):
        self.loss_tracker.update_state(loss)
        self.accuracy_tracker.update_state(accuracy)
        return {"loss": self.loss_tracker.result(), "accuracy": self.accuracy_tracker.result()}


def _loss_and_accuracy(scores):
    ways = scores.shape[1]
    own = ops.arange(ways)[None, :, None] + ops.zeros_like(scores[..., 0], "int32")
    loss = ops.sparse_categorical_crossentropy(own, scores, from_logits=True)
    hits = ops.equal(ops.cast(ops.argmax(scores, axis=-1), "int32"), own)
    return ops.mean(loss), ops.mean(ops.cast(hits, "float32"))
