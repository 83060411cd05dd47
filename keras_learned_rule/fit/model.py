"""`LearnedRuleModel`: a model that learns by a rule whenever it is fitted."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_learned_rule.checks import check, flag
from keras_learned_rule.fit import backends, checks
from keras_learned_rule.fit.backends.base import Step
from keras_learned_rule.fit.binding import RuleBinding, resolve_rule
from keras_learned_rule.fit.inputs import InputForm
from keras_learned_rule.fit.memory import RuleMemory
from keras_learned_rule.fit.monitor import COMPILED_METRICS, Monitor
from keras_learned_rule.fit.watch import FitWatch
from keras_learned_rule.hints import Logs, PathLike, PositionLimit, ReplaySize, Tensor, Tensors
from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.update_rule import UpdateRule


@keras.saving.register_keras_serializable(package="keras_learned_rule")
class LearnedRuleModel(keras.Model):
    """A model whose training step is the learned rule, to use as it is or to subclass.

    What `LearnedRule` does for one fit, this does for every one; `call` may be overridden, the
    rule trains `chain`. The rule and what it remembers (running means, a teacher, backward weights,
    the number of steps done) are part of the model and saved with it, so that a loaded one goes on
    where it stopped. Which layers learn may change between fits and in mid-fit, by their
    `trainable`. Batches may have the forms that `LearnedRule` takes.

    Args:
        chain: A built `keras.Model` of any form, not a chain of layers alone; see `LearnedRule`.
        rule: "compact" or another preset, the path of a theta file, or an `UpdateRule`.
            Defaults to `"compact"`.
        total_steps: Number of steps, over all fits, in which the step size falls to zero; without
            it the step size stays that of the first step. Defaults to `None`.
        freeze: Names of layers that must not change, besides those with `trainable=False`.
            Defaults to `()`.
        seed: Non-negative integer, of the initial weights of a teacher, of backward weights and of
            replay. Defaults to `0`.
        replay: To how many examples smaller batches are filled up, see `LearnedRule`; the examples
            kept for it are not saved. Defaults to `"auto"`.
        examples: How many positions a layer looks at in a step, see `LearnedRule`. Defaults to
            `"auto"`.
        log_layers: Whether logs hold the update size of each layer, see `LearnedRule`. Defaults to
            `False`.

    Raises:
        ValueError: An argument is wrong, or the rule cannot train `chain` or its weights; the
            message names the layer. If no layer is trainable only `fit` raises it.
        FileNotFoundError: `rule` is a path, and there is no such file.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule import LearnedRuleModel

    chain = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    model = LearnedRuleModel(chain, total_steps=2 * 4)
    model.compile()
    model.fit(np.random.rand(512, 64), epochs=2, batch_size=128)
    ```
    """

    # Keras makes them, and has no types.
    train_function: Any
    test_function: Any

    def __init__(
        self,
        chain: keras.Model,
        rule: PathLike | UpdateRule = "compact",
        total_steps: int | None = None,
        freeze: Sequence[str] = (),
        seed: int = 0,
        replay: ReplaySize = "auto",
        examples: PositionLimit = "auto",
        log_layers: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        checks.check_freeze(freeze)
        check("log_layers", log_layers, flag())
        self.chain = chain
        self._rule, self._log_layers = resolve_rule(rule), log_layers
        self._settings = {
            "total_steps": total_steps,
            "freeze": list(freeze),
            "seed": seed,
            "replay": replay,
            "examples": examples,
        }
        self.rule_memory = RuleMemory()
        # None as long as the chain is frozen altogether: that still predicts, after loading say.
        self._binding: Any = None
        frozen = getattr(chain, "weights", None) and not chain.trainable_variables
        if not frozen:
            self._bind()
        form = InputForm(self.chain) if self._binding is None else self._binding.input
        self._monitor = Monitor(self, self.chain, form, log_layers)

    @property
    def input_shape(self) -> Any:
        """The shape, or structure of shapes, that the chain is called with; None where unknown."""
        return keras.tree.map_structure(lambda t: tuple(t.shape), model_inputs(self.chain))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The output of the chain."""
        return self.chain(inputs, training=training)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Like `keras.Model.fit`; ends on a batch or an update that is not finite."""
        if not self.compiled:
            return super().fit(*args, **kwargs)  # Which says so.
        checks.check_compiled(self)
        if not self.built:
            self(keras.tree.map_structure(_symbolic, model_inputs(self.chain)))
        self.make_train_function()
        self._binding.check_weights()
        self._binding.replay.clear()
        given = inspect.signature(super().fit).bind(*args, **kwargs)
        others = keras.tree.flatten(given.arguments.get("callbacks") or [])
        given.arguments["callbacks"] = [_Watch(), *others]
        return super().fit(*given.args, **given.kwargs)

    def make_train_function(self, force: bool = False) -> Callable[..., Tensors]:
        """Makes the training step, anew if other layers are to learn than before."""
        changed = self._binding is None or self._binding.outdated()
        if changed:
            self._bind()
        if force or changed or self.train_function is None:
            variables = [*self._binding.variables, *self._monitor.variables]
            step = Step(self.train_step, variables)
            self.train_function = backends.current().make_function(self, "train", step)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[..., Tensors]:
        """Makes the validation step."""
        if force or self.test_function is None:
            step = Step(self.test_step, self._monitor.variables)
            self.test_function = backends.current().make_function(self, "test", step)
        return self.test_function

    def _bind(self):
        self._binding = RuleBinding(
            self.chain, self._rule, memory=self.rule_memory, **self._settings
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The rule's means, the metrics given to `compile`, and nothing that Keras leaves at 0."""
        compiled = [m for m in super().metrics if m.name == COMPILED_METRICS]
        return self._monitor.metrics + compiled

    def train_step(self, data: Any) -> Tensors:
        """One step of the rule, of this form on every backend; see `Monitor.train_step`."""
        return self._monitor.train_step(self._binding, data)

    def test_step(self, data: Any) -> Tensors:
        """The effective rank of the output; see `Monitor.test_step`."""
        return self._monitor.test_step(data)

    def get_config(self) -> dict[str, Any]:
        """Chain, rule with all its numbers, and settings, so that no other file is needed."""
        rule = {
            "spec": self._rule.spec.to_dict(),
            "theta": {name: array.tolist() for name, array in self._rule.theta.items()},
            "provenance": self._rule.provenance,
        }
        chain = keras.saving.serialize_keras_object(self.chain)
        own = {"name": self.name, "chain": chain, "rule": rule, "log_layers": self._log_layers}
        return {**own, **self._settings}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LearnedRuleModel":
        """Makes the model that `get_config` described."""
        rule = dict(config["rule"])
        rule["spec"] = RuleSpec.from_dict(rule["spec"])
        chain = keras.saving.deserialize_keras_object(config["chain"])
        return cls(**{**config, "chain": chain, "rule": UpdateRule(**rule)})


def _symbolic(tensor):
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype)


class _Watch(FitWatch):
    def on_train_begin(self, logs: Logs = None) -> None:
        self.guard = self.model._binding.guard
        super().on_train_begin(logs)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.model.make_test_function()

    def go_on(self) -> None:
        if self.model._binding.outdated():
            self.check()
        self.model.make_train_function()
        self.guard = self.model._binding.guard
