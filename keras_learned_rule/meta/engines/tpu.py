"""TPUs for the TensorFlow engine, as Keras sets them up (docs/tpu.md)."""

import os

import tensorflow as tf

VARIABLES = ("PJRT_DEVICE", "NEXT_PLUGGABLE_DEVICE_USE_C_API", "TF_PLUGGABLE_DEVICE_LIBRARY_PATH")


def tpu_strategy():
    """A `TPUStrategy` over all cores of the TPU of this machine.

    Raises:
        ValueError: The environment was not prepared before TensorFlow was imported, or there is no
            TPU.
    """
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        raise ValueError(
            'strategy="tpu" needs environment variables that are set before TensorFlow is '
            f"imported; docs/tpu.md has the lines. Received: none of {missing}"
        )
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    try:
        topology = tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            'strategy="tpu" needs a TPU of this machine and TensorFlow for TPUs (docs/tpu.md). '
            f"Received: {error.message.splitlines()[0]}"
        ) from error
    cores = resolver.get_tpu_system_metadata().num_cores
    assignment = tf.tpu.experimental.DeviceAssignment.build(topology, num_replicas=cores)
    return tf.distribute.TPUStrategy(resolver, experimental_device_assignment=assignment)
