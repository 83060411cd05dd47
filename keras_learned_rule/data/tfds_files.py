"""Finding prepared TFDS data sets on this machine; nothing is ever downloaded."""

import os


def open_tfds(name, data_dir=None):
    """Opens a TFDS data set from its files.

    Args:
        name: str, as TFDS writes it: `"cifar10"`, `"imdb_reviews/plain_text"`, `"mnist:3.0.1"`.
        data_dir: folder of TFDS data sets. Defaults to `$TFDS_DATA_DIR`, or else to
            `~/tensorflow_datasets`.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        ImportError: if tensorflow-datasets or TensorFlow is not installed.
        FileNotFoundError: if the data set is not there.

    Example:
    ```python
    from keras_learned_rule.data.tfds_files import open_tfds

    try:
        print(open_tfds("mnist").info.splits)
    except (FileNotFoundError, ImportError) as error:
        print(error)
    ```
    """
    # TFDS reads the variable once, when it is imported.
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    data_dir = os.path.expanduser(data_dir)
    try:
        from tensorflow_datasets.core.read_only_builder import builder_from_files
        from tensorflow_datasets.core.registered import DatasetNotFoundError

        # tfds.builder asks a server about a data set that is not there, in some versions.
        return builder_from_files(name, data_dir=data_dir)
    except ImportError as error:
        raise ImportError(
            "Decoding a TFDS data set needs tensorflow-datasets and TensorFlow: pip install "
            "'keras_learned_rule[data]' and tensorflow or tensorflow-cpu. Where they cannot be "
            "had, decode it on another machine and copy the cache folder (KERAS_LEARNED_RULE_CACHE"
            f"). Received: name={name!r}, {error}"
        ) from error
    except DatasetNotFoundError as error:
        raise FileNotFoundError(
            f"A TFDS data set must be prepared beforehand: `tfds build {name} --data_dir DIR`, or "
            f"tfds.load({name!r}, data_dir=DIR); then pass data_dir=DIR or set TFDS_DATA_DIR. "
            f"Received: name={name!r}, which is not in {data_dir!r}"
        ) from error


def tfds_version(name, data_dir=None):
    """Name and version of a TFDS data set, or None where it is not on this machine.

    Args:
        name: as for `open_tfds`.
        data_dir: as for `open_tfds`.

    Returns:
        Such as `"mnist/3.0.1"`, or None.

    Example:
    ```python
    from keras_learned_rule.data.tfds_files import tfds_version

    assert tfds_version("mnist", data_dir="no_such_folder") is None
    ```
    """
    try:
        return open_tfds(name, data_dir).info.full_name
    except (ImportError, FileNotFoundError):
        return None
