"""Variational autoencoder around any encoder, trained without labels by backprop."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from keras_learned_rule.hints import Tensor, Tensors


class VariationalAutoencoder(keras.Model):
    """Learns an encoder by maximising the evidence lower bound (ELBO) of its inputs.

    Linear layers turn the encoder's features into mean and scale of a normal posterior; the
    decoder mirrors the base model of the paper: dense layers with batch normalisation and relu.
    Inputs are taken as probabilities of independent Bernoulli variables. The encoder is trained in
    place and is afterwards a network like any other.

    Args:
        encoder: built `keras.Model` from `[batch, ...]` to features `[batch, units]`.
        latents: int, dimensions of the latent space. Defaults to `32`.
        decoder_widths: units of the hidden layers of the decoder. Defaults to four times 128.

    Raises:
        ImportError: if tensorflow-probability is missing.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule.baselines.vae import VariationalAutoencoder

    encoder = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    vae = VariationalAutoencoder(encoder, latents=8, decoder_widths=(16,))
    vae.compile(keras.optimizers.Adam(1e-3))
    vae.fit(np.random.rand(256, 64), batch_size=128, verbose=0)
    features = encoder.predict(np.random.rand(5, 64), verbose=0)
    ```

    Reference: Kingma and Welling, ICLR 2014; the baseline of Metz et al., section 5.
    """

    def __init__(
        self,
        encoder: keras.Model,
        latents: int = 32,
        decoder_widths: Sequence[int] = (128, 128, 128, 128),
    ) -> None:
        super().__init__()
        self._distributions = _distributions()
        self.encoder = encoder
        self.posterior_head = layers.Dense(2 * latents)
        self.decoder = _decoder(latents, decoder_widths, encoder.input_shape[1:])
        self.loss_tracker = keras.metrics.Mean("loss")
        self(keras.ops.zeros((1, *encoder.input_shape[1:])))

    def posterior(self, x: Tensor, training: bool = False) -> Any:
        """The approximate posterior of the latent variables.

        Args:
            x: tensor `[batch, ...]`, from 0 to 1.
            training: bool, for batch normalisation. Defaults to `False`.

        Returns:
            A TensorFlow Probability distribution over `[batch, latents]`.
        """
        features = self.encoder(x, training=training)
        mean, spread = ops.split(self.posterior_head(features), 2, axis=-1)
        return self._distributions.Normal(mean, ops.softplus(spread) + 1e-4)

    def elbo(self, x: Tensor, training: bool = False) -> Tensor:
        """Estimates the evidence lower bound with one sample of the latent variables.

        Args:
            x: tensor `[batch, ...]`, from 0 to 1.
            training: bool, for batch normalisation. Defaults to `False`.

        Returns:
            A tensor `[batch]`, in nats.
        """
        x = ops.convert_to_tensor(x, "float32")
        posterior = self.posterior(x, training)
        prior = self._distributions.Normal(0.0, 1.0)
        divergence = ops.sum(self._distributions.kl_divergence(posterior, prior), axis=-1)
        logits = self.decoder(posterior.sample(), training=training)
        # By default TensorFlow Probability truncates a NumPy array of grey values to 0 and 1.
        pixels = self._distributions.Bernoulli(logits=logits, dtype="float32").log_prob(x)
        return ops.sum(pixels, axis=tuple(range(1, len(pixels.shape)))) - divergence

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Reconstructs `x` from the mean of the posterior; tensor like `x`."""
        return ops.sigmoid(self.decoder(self.posterior(x, training).mean(), training=training))

    def train_step(self, data: Any) -> Tensors:
        """One step up the ELBO; labels are not used."""
        import tensorflow as tf

        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = -ops.mean(self.elbo(x, training=True))
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}

    def test_step(self, data: Any) -> Tensors:
        """The negative ELBO as "val_loss"."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.loss_tracker.update_state(-ops.mean(self.elbo(x)))
        return {"loss": self.loss_tracker.result()}


def _decoder(latents, widths, shape):
    decoder = keras.Sequential([keras.Input((latents,))])
    for width in widths:
        decoder.add(layers.Dense(width))
        decoder.add(layers.BatchNormalization())
        decoder.add(layers.ReLU())
    decoder.add(layers.Dense(math.prod(shape)))
    decoder.add(layers.Reshape(shape))
    return decoder


def _distributions():
    try:
        import tensorflow_probability as tfp
    except ImportError as error:
        raise ImportError(
            "The VAE needs TensorFlow Probability with TF-Keras: "
            "pip install 'keras_learned_rule[experiments]'"
        ) from error
    return tfp.distributions
