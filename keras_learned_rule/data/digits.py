"""The handwritten digits that come with scikit-learn."""

import gin
import numpy as np

from keras_learned_rule.checks import check, check_all, integer, one_of
from keras_learned_rule.data.image_set import PART_KINDS, ImageSet
from keras_learned_rule.data.resize import fit_images


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Loads the 1797 digits of 8 x 8 pixels; needs no network.

    Returns:
        Images as float32 `[1797, 64]` from 0 to 1 and labels as int32 `[1797]`.

    Example:
    ```python
    from keras_learned_rule.data.digits import load_digits

    x, y = load_digits()
    assert x.shape == (1797, 64) and y.shape == (1797,)
    ```
    """
    from sklearn import datasets

    x, y = datasets.load_digits(return_X_y=True)
    return (x / 16.0).astype(np.float32), y.astype(np.int32)


def digits_split(
    test_size: int = 600, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Splits the digits at random into a part to learn from and a part to judge by.

    Args:
        test_size: int, examples in the test part. Defaults to `600`.
        seed: int. Defaults to `0`.

    Returns:
        `x_train, y_train, x_test, y_test`, in the form that `load_digits` returns.

    Raises:
        ValueError: if one of the parts would be empty.

    Example:
    ```python
    from keras_learned_rule.data.digits import digits_split

    x_train, y_train, x_test, y_test = digits_split()
    assert len(x_train) == 1197 and len(x_test) == 600
    ```
    """
    x, y = load_digits()
    check("test_size", test_size, integer(least=1, most=len(x) - 1))
    check("seed", seed, integer(least=0))
    order = np.random.default_rng(seed).permutation(len(x))
    test, train = order[:test_size], order[test_size:]
    return x[train], y[train], x[test], y[test]


_KINDS = {"size": integer(least=1), "channels": one_of((1, 3)), **PART_KINDS}


@gin.configurable
def digit_images(
    size: int, channels: int, part: str = "all", held_out_fraction: float = 0.2
) -> ImageSet:
    """All 1797 digits as a source of tasks.

    Args:
        size: int, height and width of the result; the 8 x 8 pixels are resized by area.
        channels: 1 for grey or 3 for three equal channels.
        part: `"all"`, `"train"`, `"choose"` or `"report"`, as for `ImageSet.part`. Defaults to
            `"all"`.
        held_out_fraction: float, as for `ImageSet.part`. Defaults to `0.2`.

    Returns:
        An `ImageSet`.

    Raises:
        ValueError: if `size` or `channels` is out of range, or as `ImageSet.part` does.

    Example:
    ```python
    from keras_learned_rule.data.digits import digit_images

    digits = digit_images(size=8, channels=1)
    assert digits.images.shape == (1797, 8, 8, 1) and len(digits.class_names) == 10
    ```
    """
    check_all("digit_images", locals(), _KINDS)
    x, y = load_digits()
    images = np.rint(255 * x).astype(np.uint8).reshape(-1, 8, 8, 1)
    names = tuple(str(digit) for digit in range(10))
    whole = ImageSet(fit_images(images, size, channels), y, names, "digits")
    return whole.part(part, held_out_fraction)
