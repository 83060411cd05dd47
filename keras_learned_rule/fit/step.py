"""One step of the learned rule on a Keras model."""

import functools
from collections.abc import Sequence

import keras
from keras import ops

from keras_learned_rule.fit import backends
from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.guard import MINIMUM_BATCH
from keras_learned_rule.fit.replicas import all_replicas, any_replica, mean_over_replicas
from keras_learned_rule.fit.stateless import stateless
from keras_learned_rule.hints import Tensor, Tensors


def learned_rule_step(binding: RuleBinding, x: Tensor) -> Tensors:
    """Changes the weights of a model by one step of the rule, for training loops of your own.

    Works eagerly, in a `tf.function` and under XLA; `stateless_learned_rule_step` is the form that
    `jax.jit` compiles. Nothing changes for a batch with NaN or
    infinite values, for one that would make the weights so, and after either has happened:
    `binding.raise_on_failure()` then says what went wrong. A batch of a single example, as the
    last of an epoch may be, has no batch statistics and is skipped. A small batch is filled up
    with earlier examples, see `replay` of `RuleBinding`.

    Args:
        binding: A `RuleBinding` of the model.
        x: One batch `[batch, ...]` in the model's input shape, or a list or dict of them for a
            model with several inputs. Any real dtype: see `InputForm.batch` for what is cast.
            Nothing is rescaled, and what is sparse is made dense. Of a dict the keys with the
            names of the inputs count, or the only one.

    Returns:
        A dict of float32 tensors, scalars but for one: "update_size", how far the step turned the
        weights of a unit (see `turn`), mean over layers; "update_sizes", the same of each layer,
        in the order of `binding.kernels`; "effective_rank", the participation ratio of the
        embedding's covariance in this batch, as filled up, between 1 and the number of output
        units; and "applied", 1 if the weights were changed and else 0.

    Raises:
        ValueError: `binding` is none, or `x` does not fit the model's inputs.

    Example:
    ```python
    import keras
    import numpy as np
    import tensorflow as tf
    from keras_learned_rule import RuleBinding, learned_rule_step

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    batches = np.random.rand(10, 128, 64)
    binding = RuleBinding(model, total_steps=len(batches))
    step = tf.function(learned_rule_step)
    for x in batches:
        logs = step(binding, x)
    binding.raise_on_failure()
    ```
    """
    _bound(binding)
    backend = backends.current()
    backend.check_traced(x, binding.memory.steps_done)
    return backend.make_step(_step, binding, x)


def stateless_learned_rule_step(
    binding: RuleBinding, state: Sequence[Tensor], x: Tensor
) -> tuple[Tensors, list[Tensor]]:
    """`learned_rule_step` as a pure function, to compile it with JAX.

    Args:
        binding: A `RuleBinding` of the model. No variable of it changes.
        state: `binding.state()`, or what the step before returned.
        x: See `learned_rule_step`.

    Returns:
        (logs, state): what `learned_rule_step` returns, and the state after it. `binding.load`
        puts the state into the model.

    Raises:
        ValueError: See `learned_rule_step`.

    Example:
    ```python
    import functools

    import keras
    import numpy as np
    from keras_learned_rule import RuleBinding, stateless_learned_rule_step

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    batches = np.random.rand(10, 128, 64)
    binding = RuleBinding(model, total_steps=len(batches))
    step = functools.partial(stateless_learned_rule_step, binding)
    if keras.config.backend() == "jax":
        import jax

        step = jax.jit(step)
    state = binding.state()
    for x in batches:
        logs, state = step(state, x)
    binding.load(state)
    binding.raise_on_failure()
    ```
    """
    run = stateless(functools.partial(learned_rule_step, binding), _bound(binding).variables)
    return run(state, x)


def _bound(binding):
    if not isinstance(binding, RuleBinding):
        raise ValueError(
            f"binding must be a RuleBinding, made of the model. Received: {type(binding).__name__}"
        )
    return binding


def _step(binding, x):
    x, even = _even(binding.input.batch(x))
    rule, memory, network = binding.rule, binding.memory, binding.network
    step, rate = ops.copy(memory.steps_done), binding.learning_rate()
    theta = {name: ops.convert_to_tensor(array) for name, array in rule.theta.items()}
    proposal = network.propose(theta, binding.replay.fill(x, step), rate, step)
    enough = ops.shape(keras.tree.flatten(x)[0])[0] >= MINIMUM_BATCH
    after, moved = mean_over_replicas((proposal.after, proposal.statistics), enough)
    applied = binding.guard.admit(
        even=all_replicas(even),
        enough=any_replica(enough),
        clean_batch=all_replicas(_all_finite(x)),
        finite_update=_all_finite((after, moved)),
        step=step,
    )
    network.write(proposal._replace(after=after, statistics=moved), applied)
    binding.replay.keep(x, applied)
    # Not simply 1: where TensorFlow runs ahead of the end of the data, that would still be added.
    memory.steps_done.assign_add(ops.cast(binding.guard.healthy(), memory.steps_done.dtype))
    turns = [turn(old["w"], new["w"]) for old, new in zip(proposal.before, after, strict=True)]
    sizes = ops.stack(turns)
    logs = {
        "update_size": ops.mean(sizes),
        "update_sizes": sizes,
        "effective_rank": effective_rank(proposal.embedding),
    }
    logs = {name: ops.where(applied, value, 0.0) for name, value in logs.items()}
    return {**logs, "applied": ops.cast(applied, "float32")}


def effective_rank(embedding: Tensor) -> Tensor:
    """How many directions of the embedding carry its variance.

    The participation ratio (tr C)^2 / tr(C^2) of the covariance C over the batch: 1 if all
    examples lie on a line, n if they are spread equally over n uncorrelated units.

    Args:
        embedding: Tensor `[examples, units]` of any real dtype.

    Returns:
        A scalar float32 tensor.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.fit.step import effective_rank

    effective_rank(np.random.normal(size=(1000, 32)).astype("float32"))  # Nearly 32.
    ```
    """
    # Sums over a batch leave the range of float16.
    embedding = ops.cast(embedding, "float32")
    centred = embedding - ops.mean(embedding, axis=0)
    # Scaled first, so that neither large nor tiny embeddings leave the range of float32.
    centred = centred / (ops.max(ops.absolute(centred), initial=0.0) + 1e-30)
    covariance = ops.matmul(ops.transpose(centred), centred)
    total = ops.trace(covariance)
    return ops.square(total) / (ops.sum(ops.square(covariance)) + 1e-30)


def turn(old: Tensor, new: Tensor) -> Tensor:
    """How far the weights of a unit have turned, in radians if it is not far.

    The length of the way between unit vectors, and so indifferent to their former length: the
    compact rule brings columns to unit norm in its first step, which changes no feature behind
    batch normalisation.

    Args:
        old: Tensor `[n_lower, n_upper]`, a column for each unit.
        new: The same after the step.

    Returns:
        A scalar tensor, the root mean square over the units.
    """
    way = ops.normalize(new, axis=0) - ops.normalize(old, axis=0)
    return ops.sqrt(ops.mean(ops.sum(ops.square(way), axis=0)))


def _even(x):
    """A batch cut to the input with the fewest examples, and whether none has more."""
    sizes = [ops.shape(array)[0] for array in keras.tree.flatten(x)]
    # Sizes that are known have been compared already.
    if len(sizes) == 1 or all(isinstance(size, int) for size in sizes):
        return x, ops.convert_to_tensor(True)
    sizes = ops.stack(sizes)
    least = ops.min(sizes)
    return keras.tree.map_structure(lambda array: array[:least], x), ops.all(sizes == least)


def _all_finite(tensors):
    # Integers always are; of them, Keras builds an answer that needs a static shape.
    floats = [
        tensor
        for tensor in keras.tree.flatten(tensors)
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))
    ]
    if not floats:
        return ops.convert_to_tensor(True)
    return ops.all(ops.stack([ops.all(ops.isfinite(tensor)) for tensor in floats]))
