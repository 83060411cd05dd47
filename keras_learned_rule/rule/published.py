"""Reads theta as the authors of the paper saved it: a TensorFlow 1 checkpoint with Sonnet names."""

import glob
import os
import re

from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import theta_shapes

SCOPE = "MoreLocalWeightUpdateProcess/"
READOUTS = {
    "0_order": "weight_readout_0",
    "1_order": "weight_readout_1",
    "rbf": "weight_readout_rbf",
}


def read_published(checkpoint_prefix):
    """Reads a checkpoint of the published code.

    Args:
        checkpoint_prefix: Path of the checkpoint without `.index` or `.data-00000-of-00001`.

    Returns:
        `(spec, theta)`: a `RuleSpec` of the sizes found, and a dict from name to float32 array.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It is damaged, or arrays are missing from it or have the wrong shape.

    Example:
    ```python
    from keras_learned_rule.rule.published import read_published

    # The authors' archive, unpacked.
    spec, theta = read_published("200_tf_graph/tf_graph_data.ckpt")
    ```
    """
    prefix = _existing_prefix(os.fspath(checkpoint_prefix))
    try:
        return convert_published(_read_scope(prefix))
    except ValueError as error:
        raise ValueError(f"Cannot import the checkpoint {prefix!r}. {error}") from error


def convert_published(arrays):
    """Turns arrays under the authors' names into a spec and a theta.

    Moving statistics, which the published code never reads, and anything else that is not part
    of theta are left out.

    Args:
        arrays: A dict from the authors' name, "MoreLocalWeightUpdateProcess/...", to array.

    Returns:
        `(spec, theta)`: a `RuleSpec` of the sizes found, and a dict from name to float32 array.

    Raises:
        ValueError: Arrays are missing or have the wrong shape.

    Example:
    ```python
    import tensorflow as tf
    from keras_learned_rule.rule.published import convert_published

    reader = tf.train.load_checkpoint("200_tf_graph/tf_graph_data.ckpt")
    spec, theta = convert_published(
        {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    )
    assert spec.merge == "published"
    ```
    """
    spec = _infer_spec({name: tuple(array.shape) for name, array in arrays.items()})
    names, shapes = published_names(spec), theta_shapes(spec)
    _require(arrays, names.values())
    for name, shape in shapes.items():
        _check_shape(names[name], arrays[names[name]].shape, _published_shape(name, shape))
    theta = {n: arrays[names[n]].astype("float32").reshape(s) for n, s in shapes.items()}
    return spec, theta


def published_names(spec):
    """The authors' variable name of every array of theta.

    Args:
        spec: A `RuleSpec` of the published rule, of any sizes.

    Returns:
        A dict from our name to theirs. Their arrays have further axes of length 1 in places.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.rule.published import published_names

    names = published_names(RuleSpec.published())
    assert names["next_delta/bias"] == "MoreLocalWeightUpdateProcess/linear/b"
    ```
    """
    return {name: SCOPE + _published_name(name) for name in theta_shapes(spec)}


def _published_name(name):
    module, _, array = name.rpartition("/")
    room, *rest = module.split("/")
    leaf = {"kernel": "w", "coefficients": "w", "bias": "b", "offset": "b"}[array]
    if room == "merge":
        return f"{rest[0]}_weight_readout_coeffs/{leaf}"
    if room == "readout":
        direction, term, side = rest
        return f"{direction}{READOUTS.get(term, term)}_{side}/linear/{leaf}"
    if room == "bias_readout":
        return f"bias_readout/{leaf}"
    if room == "next_delta":
        return f"linear/{leaf}"
    return _conv_name(room, rest, array)


def _conv_name(room, path, array):
    """The name of an array of a convolution, or of the batch normalisation that follows it."""
    if path == ["features"]:
        return "batch_norm/beta"
    index = int(path[-1].split("_")[1])
    scope = "compute_top_delta/" if room == "top_delta" else ""
    if len(path) == 2:
        scope = _numbered("ConcatUnitConv", int(path[0].split("_")[1])) + "/"
    if array != "offset":
        return scope + _numbered("conv_1d", index) + ("/w" if array == "kernel" else "/b")
    # The features' batch normalisation took the first number of the process's own scope.
    return scope + _numbered("batch_norm", index if scope else index + 1) + "/beta"


def _numbered(name, index):
    return f"{name}_{index}" if index else name


def _published_shape(name, shape):
    if name.endswith("/offset") and shape:
        return (1, 1, *shape)
    column = name in ("bias_readout/kernel", "bias_readout/bias") or name.startswith("merge/")
    return (*shape, 1) if column else shape


def _infer_spec(shapes):
    top, neuron = (f"{SCOPE}{s}conv_1d" for s in ("compute_top_delta/", ""))
    units, embedding, delta = f"{SCOPE}ConcatUnitConv/conv_1d/w", f"{top}_1/w", f"{SCOPE}linear/w"
    readout = f"{SCOPE}forwardlin_upper_psd_top/linear/w"
    ranks = {f"{top}/w": 3, f"{neuron}/w": 3, units: 3, embedding: 3, delta: 2, readout: 2}
    _require(shapes, ranks)
    for name, rank in ranks.items():
        if len(shapes[name]) != rank:
            raise ValueError(f"{name} must have {rank} axes. Received: shape {shapes[name]}")
    return RuleSpec.published(
        hidden_width=shapes[delta][0],
        hidden_layers=_last_number(shapes, neuron),
        top_width=shapes[f"{top}/w"][2],
        # Of the convolutions of the top delta, the first three and the last are not counted.
        top_layers=max(_last_number(shapes, top) - 3, 0),
        delta_channels=shapes[delta][1],
        readout_channels=shapes[readout][1],
        batch_kernel=shapes[f"{neuron}/w"][0],
        unit_kernel=shapes[units][0],
        top_kernel=shapes[f"{top}/w"][0],
        output_width=shapes[embedding][2],
        identical_updates=not any(name.startswith(f"{SCOPE}backward") for name in shapes),
    )


def _last_number(names, module):
    pattern = re.compile(re.escape(module) + r"_(\d+)/")
    return max((int(found[1]) for found in map(pattern.match, names) if found), default=0)


def _require(arrays, names):
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f"A published theta must have the arrays {missing}. "
            f"Received: {len(arrays)} arrays without them"
        )


def _check_shape(name, received, expected):
    if tuple(received) != expected:
        raise ValueError(f"{name} must have shape {expected}. Received: shape {tuple(received)}")


def _existing_prefix(path):
    if os.path.isfile(f"{path}.index"):
        return path
    hint = "Give the path without .index or .data-00000-of-00001."
    if os.path.isdir(path):
        found = sorted(p.removesuffix(".index") for p in glob.glob(os.path.join(path, "*.index")))
        hint = f"This is a folder, in which there are {found or 'no checkpoints'}."
    raise FileNotFoundError(
        f"checkpoint_prefix must name a TensorFlow checkpoint. {hint} "
        f"Received: checkpoint_prefix={path!r}"
    )


def _read_scope(prefix):
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
        return {name: reader.get_tensor(name) for name in names if name.startswith(SCOPE)}
    except (tf.errors.OpError, IndexError, RuntimeError) as error:
        raise ValueError(f"It is damaged or incomplete. Received: {error}") from error
