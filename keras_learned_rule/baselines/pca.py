"""Principal components as unsupervised features."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from keras_learned_rule.checks import check, integer


def pca_features(x: ArrayLike, components: int = 32) -> Callable[[ArrayLike], np.ndarray]:
    """Fits principal components to unlabelled data.

    Args:
        x: array-like `[n, ...]`, flattened.
        components: int, how many. Defaults to `32`, the width of the paper's embeddings.

    Returns:
        A function from arrays shaped like `x` to features `[n, components]`, as
        `few_shot_accuracy` accepts it for `model`.

    Raises:
        ValueError: if `components` is below 1 or above the number of examples or of inputs.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.baselines.pca import pca_features

    features = pca_features(np.random.rand(50, 8), components=2)
    assert features(np.zeros((5, 8))).shape == (5, 2)
    ```
    """
    from sklearn.decomposition import PCA

    rows = _flat(x)
    check("components", components, integer(least=1, most=min(rows.shape)))
    pca = PCA(components, svd_solver="full").fit(rows)
    return lambda x: pca.transform(_flat(x))


def _flat(x):
    x = np.asarray(x)
    return x.reshape(len(x), -1)
