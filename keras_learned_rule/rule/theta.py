"""The parameters of a rule: a flat dict of named arrays, its shapes and starting values."""

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from keras_learned_rule.checks import check, instance_of
from keras_learned_rule.hints import Arrays
from keras_learned_rule.rule.layer_parameters import conditions, merge_arrays
from keras_learned_rule.rule.learned_hebb import learned_hebb_arrays
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.term_names import READOUTS

# Starting values of the compact merge, for the first, the middle and the last layers: the rule that
# meta-training sets out from (docs/meta_training_log.md). All other terms start at zero.
START_COEFFICIENTS = {
    "competition": (0.28, 0.34, 0.28),
    "competition_spread": (0.14, -0.14, 0.03),
    "hebb_z": (0.0, -0.05, 0.05),
    "scaled_decorrelation": (0.047, 0.14, 0.03),
}
START_BIAS_TARGET = (-0.2, 0.25, 1.0)
START_SYMMETRIC_BIAS_TARGET = -1.5
START_TEMPERATURE = 0.17
START_STEP = 0.15
START_BIAS_RATE = 0.1
START_WINDOW = 384.0
MAX_STEP = 0.3
# Of a long list of names an error shows so many.
_MOST_NAMED = 20


def theta_shapes(spec: RuleSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters of a rule, in a fixed order.

    Args:
        spec: A `RuleSpec`.

    Returns:
        A dict from name, such as "merge/coefficients", to shape tuple.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.rule.theta import theta_shapes

    shapes = theta_shapes(RuleSpec.compact(terms=("hebb", "w_base")))
    assert shapes["merge/coefficients"] == (3, 2)
    ```
    """
    shapes = {}
    if spec.neuron_network:
        shapes.update(_top_shapes(spec))
        shapes.update(_neuron_shapes(spec))
        shapes.update(_readout_shapes(spec))
    shapes.update(learned_hebb_arrays(spec))
    if spec.merge == "published":
        for direction in _directions(spec):
            shapes[f"merge/{direction}/coefficients"] = (len(spec.terms),)
            shapes[f"merge/{direction}/offset"] = ()
    else:
        own = merge_arrays(spec)
        shapes.update({f"merge/{name}": shape for name, shape in own.items()})
        for condition in conditions(spec):
            shapes.update({f"merge/{condition}/{name}": shape for name, shape in own.items()})
    return shapes


def _directions(spec):
    return ("forward",) if spec.identical_updates else ("forward", "backward")


def _conv_shapes(name, kernel, width_in, width_out, pooled, offset=True):
    inputs = 2 * width_in if pooled else width_in
    shapes = {f"{name}/kernel": (kernel, inputs, width_out), f"{name}/bias": (width_out,)}
    if offset:
        shapes[f"{name}/offset"] = (width_out,)
    return shapes


def _top_shapes(spec):
    width = spec.top_width
    shapes = _conv_shapes("top_delta/conv_0", spec.top_kernel, 1, width, spec.pooled)
    across, kernel = (
        (width, spec.unit_kernel)
        if spec.output_width is None
        else (spec.output_width, spec.batch_kernel)
    )
    for j in (1, 2):
        shapes.update(_conv_shapes(f"top_delta/conv_{j}", kernel, across, across, spec.pooled))
    last = 3 + spec.top_layers
    for j in range(3, last):
        shapes.update(
            _conv_shapes(f"top_delta/conv_{j}", spec.batch_kernel, width, width, spec.pooled)
        )
    shapes.update(
        _conv_shapes(
            f"top_delta/conv_{last}",
            spec.batch_kernel,
            width,
            spec.delta_channels,
            spec.pooled,
            offset=False,
        )
    )
    return shapes


def _neuron_shapes(spec):
    features = 2 + spec.delta_channels + (2 if spec.unit_position else 0)
    shapes = {"neuron/features/offset": (features,)}
    width, inputs = spec.hidden_width, 8 + 1 + features
    for j in range(1 + spec.hidden_layers):
        shapes.update(
            _conv_shapes(f"neuron/conv_{j}", spec.batch_kernel, inputs, width, spec.pooled)
        )
        for i in (0, 1):
            shapes.update(
                _conv_shapes(
                    f"neuron/units_{j}/conv_{i}", spec.unit_kernel, width, width, spec.pooled
                )
            )
        inputs = width
    shapes["next_delta/kernel"] = (width, spec.delta_channels)
    shapes["next_delta/bias"] = (spec.delta_channels,)
    return shapes


def _readout_shapes(spec):
    shapes = {}
    for direction in _directions(spec):
        for term in (t for t in spec.terms if t in READOUTS):
            for side in itertools.chain(*READOUTS[term].values()):
                name = f"readout/{direction}/{term}/{side}"
                shapes[f"{name}/kernel"] = (spec.hidden_width, spec.readout_channels)
                shapes[f"{name}/bias"] = (spec.readout_channels,)
    shapes["bias_readout/kernel"] = (spec.hidden_width,)
    shapes["bias_readout/bias"] = ()
    return shapes


def init_theta(spec: RuleSpec, seed: int = 0) -> Arrays:
    """Starting values of theta.

    Kernels and readouts are normal draws, cut at two standard deviations, of standard deviation
    1/sqrt(inputs), those of the learned Hebbian term the same for all places of a layer; the
    published merge starts at 0.1 for every term, the compact merge at what designs of experiments
    found (docs/meta_training_log.md).

    Args:
        spec: A `RuleSpec`.
        seed: Non-negative integer, of the draws. Defaults to `0`.

    Returns:
        A dict from name to float32 array, as `theta_shapes` lists them.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.rule.theta import init_theta

    theta = init_theta(RuleSpec.published(), seed=1)
    assert sum(array.size for array in theta.values()) == 114_670
    ```
    """
    rng = np.random.default_rng(seed)
    theta = {}
    for name, shape in theta_shapes(spec).items():
        if name.startswith("learned_hebb/") and not name.endswith("offset"):
            theta[name] = np.tile(_truncated_normal(rng, shape[1:]), (spec.groups, 1, 1))
        elif name.endswith("kernel"):
            theta[name] = _truncated_normal(rng, shape)
        elif name.startswith("merge/"):
            theta[name] = _merge_start(spec, name, shape)
        else:
            theta[name] = np.zeros(shape)
    return {name: value.astype("float32") for name, value in theta.items()}


def _truncated_normal(rng, shape):
    inputs = shape[0] if len(shape) < 3 else shape[0] * shape[1]
    draws = rng.standard_normal(shape)
    while np.any(outside := np.abs(draws) > 2):
        draws[outside] = rng.standard_normal(int(outside.sum()))
    return draws / np.sqrt(inputs)


def _merge_start(spec, name, shape):
    if spec.merge == "published":
        return np.full(shape, 0.1 if name.endswith("coefficients") else 0.0)
    if name.count("/") > 1:
        return np.zeros(shape)
    if name == "merge/coefficients":
        by_term = [START_COEFFICIENTS.get(term, (0.0, 0.0, 0.0)) for term in spec.terms]
        return _by_group(np.transpose(by_term), spec.groups)
    if name == "merge/bias_target":
        return _by_group(START_BIAS_TARGET, spec.groups)
    start = {
        "merge/log_temperature": np.log(START_TEMPERATURE),
        "merge/step": np.log(START_STEP / (MAX_STEP - START_STEP)),
        "merge/bias_rate": np.log(START_BIAS_RATE / (1 - START_BIAS_RATE)),
        "merge/symmetric_bias_target": START_SYMMETRIC_BIAS_TARGET,
        "merge/log_window": np.log(START_WINDOW),
    }
    return np.full(shape, start[name])


def _by_group(values, groups):
    """Values of the first, the middle and the last layers; for a single group the middle ones."""
    return np.array(values if groups == 3 else values[1:2])


def check_shapes(spec: RuleSpec, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Checks the names and shapes of what is to be a theta, without its arrays.

    Args:
        spec: A `RuleSpec`.
        shapes: A dict from name to shape tuple.

    Raises:
        ValueError: Arrays are missing, unknown, or of another shape.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.rule.theta import check_shapes, theta_shapes

    spec = RuleSpec.compact()
    check_shapes(spec, theta_shapes(spec))
    ```
    """
    wanted = theta_shapes(spec)
    missing = [name for name in wanted if name not in shapes]
    unknown = [name for name in shapes if name not in wanted]
    if missing or unknown:
        raise ValueError(
            f"theta must have exactly the {len(wanted)} arrays of its spec. "
            f"Received: missing {_first(missing)}, unknown {_first(unknown)}"
        )
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise ValueError(
                f"theta array {name!r} must have shape {shape}. Received: shape {shapes[name]}"
            )


def _first(names):
    more = len(names) - _MOST_NAMED
    return names if more <= 0 else f"{names[:_MOST_NAMED]} and {more} more"


def check_theta(spec: RuleSpec, theta: Mapping[str, ArrayLike]) -> None:
    """Checks that theta has exactly the arrays that the spec calls for.

    Args:
        spec: A `RuleSpec`.
        theta: A dict from name to array of numbers.

    Raises:
        ValueError: Arrays are missing, unknown, of another shape, not numbers, or not finite in
            float32.

    Example:
    ```python
    from keras_learned_rule import RuleSpec
    from keras_learned_rule.rule.theta import check_theta, init_theta

    spec = RuleSpec.compact()
    check_theta(spec, init_theta(spec))
    ```
    """
    check("theta", theta, instance_of(Mapping, "from names to arrays"))
    arrays = {name: np.asarray(array) for name, array in theta.items()}
    check_shapes(spec, {name: array.shape for name, array in arrays.items()})
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise ValueError(
                f"theta array {name!r} must hold real numbers. Received: dtype {array.dtype}"
            )
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype("float32"))
        if not np.all(finite):
            raise ValueError(
                f"theta array {name!r} must be finite in float32. Received: NaN or infinity"
            )
