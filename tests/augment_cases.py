"""What every augmentation must do.

The test of a new augmentation is

    def test_my_augmentation():
        check_augmentation(my_augmentation())
"""

import numpy as np
from keras import ops

from keras_learned_rule.data.augment import Augmentation, augmented
from keras_learned_rule.meta.engine import make_engine


def distorted(kinds, images, coefficients, noise=None):
    """`augmented` of NumPy arrays; coefficients may be broadcast."""
    coefficients = np.broadcast_to(np.float32(coefficients), (len(images), len(kinds)))
    arrays = images, coefficients, noise
    tensors = [None if a is None else ops.convert_to_tensor(a) for a in arrays]
    return ops.convert_to_numpy(augmented(kinds, *tensors))


def check_augmentation(kind, no_change=0.0):
    """Checks an augmentation; at the coefficient `no_change` it must leave images as they are."""
    assert isinstance(kind, Augmentation) and kind.name
    assert (kind.matrix is None) != (kind.pixels is None)
    for shape in ((9, 9, 1), (6, 8, 3)):
        rng = np.random.default_rng(0)
        images = rng.random((5, *shape), "float32")
        noise = rng.standard_normal(images.shape, "float32") if kind.needs_noise else None
        coefficients = np.float32([[-1.0], [-0.4], [no_change], [0.6], [1.0]])
        result = distorted([kind], images, coefficients, noise)
        assert result.shape == images.shape and result.dtype == np.float32
        assert result.min() >= 0 and result.max() <= 1
        np.testing.assert_allclose(result[2], images[2], atol=1e-5)
        assert np.abs(result - images).max() > 0.01
        _check_images_are_independent(kind, images, coefficients, noise, result)
        _check_compiled(kind, images, coefficients, noise, result)


def _check_images_are_independent(kind, images, coefficients, noise, result):
    for i in range(len(images)):
        one = slice(i, i + 1)
        alone = distorted(
            [kind], images[one], coefficients[one], None if noise is None else noise[one]
        )
        np.testing.assert_allclose(alone, result[one], atol=1e-5)


def _check_compiled(kind, images, coefficients, noise, result):
    engine, arrays = make_engine(), [images, coefficients]
    arrays += [] if noise is None else [noise]
    compiled = engine.compile_shared(lambda *tensors: augmented([kind], *tensors))
    compiled = engine.fetch_shared(compiled(*map(engine.share, arrays)))
    np.testing.assert_allclose(compiled, result, atol=2e-5)
