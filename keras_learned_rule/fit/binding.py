"""Connects the rule, which knows only tensors, to the variables of a Keras model."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

import keras
from keras import ops

from keras_learned_rule.checks import check, integer
from keras_learned_rule.fit import backends, checks
from keras_learned_rule.fit.chain_network import ChainNetwork
from keras_learned_rule.fit.guard import MINIMUM_BATCH, Guard
from keras_learned_rule.fit.initial_weights import check_initial_weights
from keras_learned_rule.fit.inputs import InputForm
from keras_learned_rule.fit.memory import RuleMemory, initial_memory, teacher_layers
from keras_learned_rule.fit.reading import positions_limit, read_network
from keras_learned_rule.fit.replay import Replay, resolve_replay
from keras_learned_rule.fit.site_network import SiteNetwork
from keras_learned_rule.fit.step_memory import step_bytes, warn_of_memory
from keras_learned_rule.hints import PathLike, PositionLimit, ReplaySize, Tensor
from keras_learned_rule.rule.update import inner_rate
from keras_learned_rule.rule.update_rule import UpdateRule

# What the rule's state of a layer calls the arrays of a `RuleMemory`.
_STATE_NAMES = {"backward_weights": "v", "competition": "competition", "decoders": "decoder"}


def resolve_rule(rule: PathLike | UpdateRule) -> UpdateRule:
    """Loads an update rule.

    Args:
        rule: An `UpdateRule`, the name of a preset, or the path of a theta file (a `Path`, or a
            string with a folder or a suffix).

    Returns:
        An `UpdateRule`.

    Raises:
        ValueError: `rule` is something else, there is no such preset, or the file is not a theta
            file.
        FileNotFoundError: There is no such file.

    Example:
    ```python
    from keras_learned_rule.fit.binding import resolve_rule

    rule = resolve_rule("compact")
    ```
    """
    if isinstance(rule, UpdateRule):
        return rule
    if not isinstance(rule, (str, os.PathLike)):
        raise ValueError(
            "rule must be an UpdateRule, the name of a preset, or the path of a theta file. "
            f"Received: {rule!r}"
        )
    is_name = isinstance(rule, str) and os.path.basename(rule) == rule and "." not in rule
    return UpdateRule.from_preset(str(rule)) if is_name else UpdateRule.load(rule)


class RuleBinding:
    """An update rule bound to the variables of a model, for `learned_rule_step`.

    Which layers learn is read once, here.

    Args:
        model: A built `keras.Model`, see `LearnedRule`.
        rule: "compact" or another preset, the path of a theta file, or an `UpdateRule`.
            Defaults to `"compact"`.
        freeze: Names of layers that must not change, besides those with `trainable=False`.
            Defaults to `()`.
        total_steps: How many steps will be made; the step size of the compact rule falls to zero
            over them. Without it the step size stays that of the first step. Defaults to `None`.
        seed: Non-negative integer, of the initial weights of a teacher, of backward weights and of
            replay. Defaults to `0`.
        replay: To how many examples smaller batches are filled up, see `LearnedRule`. Defaults to
            `"auto"`.
        examples: How many positions a layer looks at in a step, see `LearnedRule`. Defaults to
            `"auto"`.
        memory: The `memory` of another binding of this model, to go on where that one stands
            (but for the examples kept for replay), or None to start afresh. Defaults to `None`.

    Attributes:
        rule: The `UpdateRule`.
        input: `InputForm`, what the model is called with.
        memory: `RuleMemory`: backward weights, running means, a teacher, steps done and their
            total.
        replay: `Replay`, earlier examples.
        guard: `Guard`, which keeps non-finite numbers out of the weights.
        kernels: List of the variables that learn, one a layer.
        network: `SiteNetwork` or, for a rule with a neuron network, `ChainNetwork`.

    Raises:
        ValueError: An argument is wrong, or the rule cannot train this model; the message names
            the argument, the layer or the size.
        FileNotFoundError: `rule` is a path, and there is no such file.
        RuntimeError: Keras runs on another backend than TensorFlow, JAX or PyTorch.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule import RuleBinding, learned_rule_step

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    binding = RuleBinding(model, total_steps=300)
    logs = learned_rule_step(binding, np.random.rand(128, 64))
    ```
    """

    def __init__(
        self,
        model: keras.Model,
        rule: PathLike | UpdateRule = "compact",
        freeze: Sequence[str] = (),
        total_steps: int | None = None,
        seed: int = 0,
        replay: ReplaySize = "auto",
        examples: PositionLimit = "auto",
        memory: RuleMemory | None = None,
    ) -> None:
        backend = backends.current()
        checks.check_freeze(freeze)
        checks.check_total_steps(total_steps)
        check("seed", seed, integer(least=0))
        checks.check_replay(replay)
        checks.check_examples(examples)
        self.rule = resolve_rule(rule)
        spec = self.rule.spec
        self.input = InputForm(model)
        sites, plan, scaled = read_network(model, spec, self.input.tensors, freeze)
        self._model, self._sites = model, sites.learning
        self.kernels = [site.kernel for site in sites.learning]
        self._trainable = _trainable_state(model)
        self.check_weights()
        least = resolve_replay(replay, spec, model, self.input.tensors)
        limit, least_batch = positions_limit(examples), max(least, MINIMUM_BATCH)
        inputs = self.input.tensors
        warn_of_memory(
            step_bytes(spec, sites.learning, limit, least_batch, least, inputs), least_batch
        )
        with backend.scope(model):
            self.guard = Guard()
            self.replay = Replay(least, self.input.tensors, seed)
            self.memory = RuleMemory() if memory is None else memory
            shapes = _shapes_by_place(model, sites.learning)
            self._initial_memory = functools.partial(initial_memory, spec, plan, shapes)
            initial = self._initial_memory(seed)
            self.memory.allocate(initial)
        remembered = {
            own: [getattr(self.memory, name)[key] for key in shapes]
            for name, own in _STATE_NAMES.items()
            if name in initial
        }
        teacher = {key: self.memory.teacher[key] for key in initial.get("teacher", ())}
        make: Callable[..., SiteNetwork] = SiteNetwork
        if spec.neuron_network:
            make = functools.partial(ChainNetwork, scaled)
        self.network = make(
            model=model,
            spec=spec,
            sites=sites,
            limit=limit,
            seed=seed,
            remembered=remembered,
            teacher=teacher_layers(teacher),
        )
        if total_steps is not None:
            self.memory.total_steps.assign(total_steps)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A RuleBinding works on the variables of its model, so it cannot be copied or pickled. "
            "Copy the model, or save it and load it, and make a binding of that one, with "
            "memory=copy.deepcopy(binding.memory) to go on where this one stands. "
            f"Received: the binding of model {self._model.name!r}"
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a step may change: the variables of the model and those of the rule."""
        own = [*self.guard.variables, *self.replay.variables]
        return [*self._model.variables, *self.memory.variables, *own]

    def state(self) -> list[Tensor]:
        """The values of all variables, for `stateless_learned_rule_step`.

        Returns:
            A list of tensors.
        """
        return [ops.copy(variable) for variable in self.variables]

    def load(self, state: Sequence[Tensor]) -> None:
        """Sets all variables: the weights of the model and what the rule remembers.

        Args:
            state: What `state` or `stateless_learned_rule_step` returned.

        Raises:
            ValueError: `state` has other arrays than this binding has variables.
        """
        shapes = [tuple(value.shape) for value in state]
        if shapes != [tuple(variable.shape) for variable in self.variables]:
            raise ValueError(
                "state must be what this binding's `state` or stateless_learned_rule_step "
                f"returned. Received: {len(shapes)} arrays"
            )
        for variable, value in zip(self.variables, state, strict=True):
            variable.assign(value)

    def check_weights(self) -> None:
        """Raises ValueError for weights from which nothing can be learned."""
        check_initial_weights(self._model, self._sites)

    def outdated(self) -> bool:
        """Whether the `trainable` of a layer or variable has changed since the binding was made."""
        return self._trainable != _trainable_state(self._model)

    def learning_rate(self) -> Tensor:
        """The inner learning rate of the next step.

        Returns:
            A scalar float32 tensor.
        """
        total, done = ops.copy(self.memory.total_steps), self.memory.steps_done
        known = ops.greater(total, 0)
        # Whoever goes on past the end keeps the step size of the last step.
        step = ops.where(known, ops.minimum(done, total - 1), 0)
        spec = self.rule.spec
        return inner_rate(spec, step, ops.where(known, total, spec.reference_steps))

    def restart(self, seed: int, total_steps: int) -> None:
        """Forgets all steps done, examples kept and failures, as if nothing had been learned yet.

        The model's own weights stay.

        Args:
            seed: Non-negative integer, as `seed` of the binding but for replay.
            total_steps: How many steps will be made, 0 if unknown.

        Raises:
            ValueError: An argument is wrong.
        """
        check("seed", seed, integer(least=0))
        check("total_steps", total_steps, integer(least=0))
        self.memory.restart(self._initial_memory(seed))
        self.memory.total_steps.assign(total_steps)
        self.guard.reset()
        self.replay.clear()

    def raise_on_failure(self) -> bool:
        """Says what went wrong in the steps so far.

        Returns:
            True if the weights would have become non-finite; a RuntimeWarning has then been given
            and no step since has changed anything. Else False.

        Raises:
            ValueError: A batch held NaN or infinite values, the first one a single example, or the
                first update was not finite.
        """
        return self.guard.raise_on_failure()


def _shapes_by_place(model, sites):
    # Names of layers differ from run to run, their places among the weights do not.
    places = {id(weight): str(place) for place, weight in enumerate(model.weights)}
    return {places[id(site.kernel)]: site.matrix_shape for site in sites}


def _trainable_state(model):
    # Variables may be frozen one by one, and layers without any run in inference mode.
    parts = [*model._flatten_layers(), *model.weights]
    return tuple(part.trainable for part in parts)
