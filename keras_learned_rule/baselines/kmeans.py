"""k-means on patches of images: features of one layer, and filters of a convolution."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_learned_rule.checks import check, integer

# For pixels from 0 to 255 it is 10; ours are from 0 to 1.
_CONTRAST_EPSILON, _WHITENING_EPSILON = 10 / 255**2, 0.1
_IMAGES_AT_ONCE = 200


def kmeans_features(
    x: ArrayLike, centroids: int = 128, size: int = 6, patches: int = 100_000, seed: int = 0
) -> Callable[[ArrayLike], np.ndarray]:
    """Learns centroids of image patches.

    Patches are normalised in contrast and whitened (ZCA). The feature of a centroid at a position
    is by how much it is closer to the patch than centroids are on average, or 0; features are
    averaged over the four quadrants of the image.

    Args:
        x: array `[n, height, width, channels]`, unlabelled images from 0 to 1.
        centroids: int, how many. Defaults to `128`.
        size: int, height and width of a patch. Defaults to `6`.
        patches: int, how many are drawn to learn from. Defaults to `100000`.
        seed: int, of the patches and of k-means. Defaults to `0`.

    Returns:
        A function from images like `x` to float32 features `[n, 4 * centroids]`.

    Raises:
        ValueError: if `x` holds no images that have two patches side by side, or there are fewer
            patches than centroids.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.baselines.kmeans import kmeans_features

    x = np.random.rand(50, 8, 8, 1)
    features = kmeans_features(x, centroids=5, size=3, patches=1000)
    assert features(x[:7]).shape == (7, 20)
    ```

    Reference: Coates, Lee and Ng, AISTATS 2011.
    """
    check("centroids", centroids, integer(least=1, most=patches))
    found = _clustered(x, centroids, size, patches, seed)

    def features(images):
        images = np.asarray(images, np.float32)
        chunks = np.array_split(images, max(1, -(-len(images) // _IMAGES_AT_ONCE)))
        return np.concatenate([_coded(c, size, *found) for c in chunks])

    return features


def kmeans_filters(
    x: ArrayLike, filters: int = 32, size: int = 5, patches: int = 100_000, seed: int = 0
) -> np.ndarray:
    """Learns the kernel of a convolution: a filter for each centroid of `kmeans_features`.

    What a filter gives is the inner product of its centroid and the whitened patch, times the
    contrast of the patch. Whitening is linear and therefore part of the kernel. The constant that
    the mean of the patches adds is left out: batch normalisation would remove it.

    Args:
        x, patches, seed: see `kmeans_features`.
        filters: int, how many. Defaults to `32`.
        size: int, height and width of the kernel. Defaults to `5`.

    Returns:
        float32 `[size, size, channels, filters]`, each filter of unit norm.

    Raises:
        ValueError: see `kmeans_features`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.baselines.kmeans import kmeans_filters

    x = np.random.rand(50, 8, 8, 1)
    assert kmeans_filters(x, filters=4, size=3, patches=1000).shape == (3, 3, 1, 4)
    ```
    """
    check("filters", filters, integer(least=1, most=patches))
    found = _clustered(x, filters, size, patches, seed)
    kernel = found.whitening @ found.centroids.T
    kernel = kernel - kernel.mean(axis=0)  # As the mean of a patch is taken from it.
    norms = np.linalg.norm(kernel, axis=0)
    if not np.all(norms > 0):
        raise ValueError(
            "`x` must be images whose patches differ. Received: patches that give "
            f"{np.sum(norms == 0)} filters of zeros"
        )
    kernel = kernel / norms
    return kernel.reshape(size, size, -1, filters).astype(np.float32)


class _Clusters(NamedTuple):
    """Mean and whitening matrix of normalised patches, and centroids of whitened ones, in rows."""

    mean: np.ndarray
    whitening: np.ndarray
    centroids: np.ndarray


def _clustered(x, count, size, patches, seed):
    from sklearn.cluster import MiniBatchKMeans

    x = np.asarray(x)
    if x.ndim != 4 or min(x.shape[1:3]) <= size:
        raise ValueError(
            "`x` must be images [n, height, width, channels] that are larger than `size`. "
            f"Received: shape {x.shape}, size={size}"
        )
    drawn = _contrast_normalised(_drawn_patches(x, size, patches, np.random.default_rng(seed)))
    mean = drawn.mean(axis=0)
    whitening = _whitening(drawn - mean)
    kmeans = MiniBatchKMeans(count, batch_size=2048, n_init=1, random_state=seed)
    found = kmeans.fit((drawn - mean) @ whitening).cluster_centers_
    return _Clusters(mean, whitening, found.astype(np.float32))


def _drawn_patches(x, size, count, rng):
    height, width = x.shape[1:3]
    rows = rng.integers(len(x), size=count)
    top = rng.integers(height - size + 1, size=count)[:, None] + np.arange(size)
    left = rng.integers(width - size + 1, size=count)[:, None] + np.arange(size)
    drawn = x[rows[:, None, None], top[:, :, None], left[:, None, :]]
    return drawn.reshape(count, -1).astype(np.float32)


def _contrast_normalised(patches):
    centred = patches - ops.mean(patches, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return ops.convert_to_numpy(centred / ops.sqrt(variance + _CONTRAST_EPSILON))


def _whitening(centred):
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    return (axes / np.sqrt(np.maximum(variances, 0) + _WHITENING_EPSILON)) @ axes.T


def _coded(images, size, mean, whitening, centroids):
    """Triangle coding of some images, averaged over quadrants."""
    patches = ops.image.extract_patches(images, size, strides=1, padding="valid")
    rows, columns, inputs = patches.shape[1:]
    flat = _contrast_normalised(ops.reshape(patches, (-1, inputs)))
    white = ops.matmul(flat - mean, whitening)
    squares = ops.sum(ops.square(white), -1, keepdims=True) + np.square(centroids).sum(axis=1)
    distances = ops.sqrt(ops.maximum(squares - 2 * ops.matmul(white, centroids.T), 0.0))
    codes = ops.relu(ops.mean(distances, axis=-1, keepdims=True) - distances)
    codes = ops.reshape(codes, (-1, rows, columns, len(centroids)))
    halves = [slice(0, rows // 2), slice(rows // 2, None)]
    sides = [slice(0, columns // 2), slice(columns // 2, None)]
    pooled = [ops.mean(codes[:, own, side], axis=(1, 2)) for own in halves for side in sides]
    return ops.convert_to_numpy(ops.concatenate(pooled, axis=-1))
