"""`LearnedRule`: a Keras callback that trains a model by a learned rule instead of backprop."""

import contextlib
import functools
from collections.abc import Callable, Sequence

import keras
from numpy.typing import ArrayLike

from keras_learned_rule.checks import check, flag, integer
from keras_learned_rule.fit import checks
from keras_learned_rule.fit.backends.base import Step
from keras_learned_rule.fit.binding import RuleBinding, resolve_rule
from keras_learned_rule.fit.memory import RuleMemory, several_rules
from keras_learned_rule.fit.monitor import Monitor
from keras_learned_rule.fit.probe import FewShotProbe
from keras_learned_rule.fit.schedule import Schedule
from keras_learned_rule.fit.summary import summarised
from keras_learned_rule.fit.takeover import Takeover
from keras_learned_rule.fit.watch import FitWatch
from keras_learned_rule.hints import Logs, PathLike, PositionLimit, ReplaySize
from keras_learned_rule.rule.update_rule import UpdateRule


class LearnedRule(FitWatch):
    """Trains the model without labels and without backpropagation, for one `fit`.

    `model.compile()` without arguments is enough; loss, optimizer, regularizers and callbacks that
    change the optimizer's learning rate have no effect. Afterwards, and
    after an error, the model is an ordinary one again: `fit` without the callback is backprop.
    After an error in another callback it becomes so when it is next used, and until then a file
    saved from it may hold the state of the rule, too, which does not matter to loading it.

    - Labels and sample weights given to `fit` are not used, except for metrics in `compile`.
      Keras itself, on JAX and PyTorch, asks for labels where `compile` had a loss.
    - The model is any built `keras.Model`. Layers learn that have a kind in `model/kinds/`: Dense,
      EinsumDense, Conv1D to Conv3D, and the pointwise part of SeparableConv. A normalisation and a
      nonlinearity behind them are recognised. All else runs as the model itself runs it, frozen
      layers in inference mode. `summary` says what learns, and why other layers do not.
    - The last layer that learns is the embedding. A last layer with a softmax, or with a name such
      as "head", "logits", "predictions" or "classifier", is left as it is.
    - A rule with a neuron network, such as the published one, takes chains of Dense layers only.
    - x is cast to the dtype of the model's input and not rescaled. A subclassed model does not
      state a dtype, so integers stay as they are there. Scale integer images yourself or
      start the model with a `Rescaling` layer. Sparse batches are made dense, ragged ones refused.
      Of a batch that is a dict, the keys with the names of the model's inputs count.
    - A last batch of a single example is skipped: the rule learns from batch statistics.
    - Beside a model that has no hidden layer, one of at most 64 units or with a nonlinearity unlike
      relu, or an embedding of less than 32, a teacher learns by the same rule, if that has them
      (see `RuleSpec`; "compact" has, "compact_9" has not): a network of 4 x 128 -> 32 on the same
      inputs, which takes its time and memory. It is no part of the model.
    - Batch normalisation ends with moving statistics that fit the final weights.
    - Logs: "update_size", how far a step turned the weights of a unit, in radians (root mean
      square over units, mean over layers); "effective_rank", over how many directions the batch,
      as filled up by replay, spreads in the embedding; "few_shot_accuracy" with `probe`;
      "val_effective_rank" with validation data. EarlyStopping needs a `mode` for them. Callbacks
      that should see "few_shot_accuracy" come after this one.
    - A batch with NaN or infinite values ends the fit with a ValueError, as does a first update
      that is not finite. Weights that would become non-finite later end it with a RuntimeWarning.
      All leave the last good weights.
    - Other callbacks may compile the model in mid-fit, or change which of its layers are
      trainable: the fit obeys from the next batch on. List those that do so in
      `on_train_batch_begin` before this one.
    - A copy or pickle of the callback is as it was before its first fit.
    - Each fit is an inner loop of its own, with its own schedule, running means, teacher and, for
      a rule with a neuron network, backward weights, also with the same instance. To go on with an
      interrupted one use `BackupAndRestore`, which saves the state of the rule, too; to learn in
      several fits use `LearnedRuleModel`. `initial_epoch` alone goes on in the schedule only;
      a teacher then has what is left of it to learn.
    - Under `MirroredStrategy` each replica makes the update of its share of the batch, and the
      model takes their mean. Under `keras.distribution`, on JAX, the step is that of the whole
      batch; all devices, and all processes, must get as many examples.
    - On PyTorch steps are made eagerly, whatever `jit_compile` says.

    Args:
        rule: "compact", which is the newest preset, or another one (`UpdateRule.presets()`), the
            path of a theta file, or an `UpdateRule`. Defaults to `"compact"`.
        freeze: Names of layers that must not change, besides those with `trainable=False`.
            Defaults to `()`.
        total_steps: Number of steps over which the step size of the compact rule falls to zero,
            or None: that of the whole fit. If fit does not know it (a data set of unknown length
            without `steps_per_epoch`), the step size then falls only after the first epoch, and
            `initial_epoch` without a backup is an error. Defaults to `None`.
        probe: None or a pair `(x, y)` of labelled examples with more than 10 a class, on which
            10-shot accuracy is measured after each epoch; see `FewShotProbe` for other numbers.
            Defaults to `None`.
        seed: Non-negative integer, of the draws of replay, of the initial weights of a teacher and
            of the initial backward weights of a rule with a neuron network, which "compact" has
            not. Defaults to `0`.
        replay: Batches of fewer examples than this are filled up to it with earlier examples of
            the fit, drawn at random from the latest 8,192, or 64 MiB, or `replay` where that is
            more; they are not saved, and a fit that goes on after an interruption begins without.
            0 for never. "auto" is 128 for compact rules, which are meta-trained with batches of
            this size, and 0 for the published one, for inputs of more than 131,072 numbers or of
            unknown size and with several replicas. Defaults to `"auto"`.
        examples: How many positions a layer with several a batch example looks at in a step, such
            as a convolution: drawn anew each step. None for all; "auto" is 4,096.
            Defaults to `"auto"`.
        log_layers: Whether logs also hold "update_size/" with the path of a layer, for each that
            learns. Defaults to `False`.

    Attributes:
        rule: The `UpdateRule`.
        memory: `RuleMemory` of the last fit: what the rule carried from step to step; None before.

    Raises:
        ValueError: An argument is wrong; in `fit`: the rule cannot train this model, or its
            weights are not finite. Nothing of the model has changed then.
        FileNotFoundError: `rule` is a path, and there is no such file.
        RuntimeError: In `fit`: Keras runs on another backend than TensorFlow, JAX or PyTorch.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule import LearnedRule

    x = np.random.rand(256, 64)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    model.compile()
    model.fit(x, epochs=2, batch_size=128, callbacks=[LearnedRule()])
    features = model.predict(x)
    ```

    Reference: Metz et al., ICLR 2019, sections 3 and 4.
    """

    of_a_fit = (
        *FitWatch.of_a_fit,
        "memory",
        "_takeover",
        "_binding",
        "_monitor",
        "_schedule",
        "_begun",
    )

    def __init__(
        self,
        rule: PathLike | UpdateRule = "compact",
        freeze: Sequence[str] = (),
        total_steps: int | None = None,
        probe: tuple[ArrayLike, ArrayLike] | None = None,
        seed: int = 0,
        replay: ReplaySize = "auto",
        examples: PositionLimit = "auto",
        log_layers: bool = False,
    ) -> None:
        super().__init__()
        checks.check_freeze(freeze)
        checks.check_total_steps(total_steps)
        check("seed", seed, integer(least=0))
        checks.check_replay(replay)
        checks.check_examples(examples)
        check("log_layers", log_layers, flag())
        self.rule = resolve_rule(rule)
        self.freeze = freeze
        self.total_steps = total_steps
        self.seed = seed
        self.replay = replay
        self.examples = examples
        self.log_layers = log_layers
        self._probe = None if probe is None else _probe(probe)
        self.memory = None
        self._takeover = None
        self._monitor = None

    def summary(
        self,
        model: keras.Model,
        batch_size: int = 128,
        print_fn: Callable[[str], None] | None = None,
    ) -> None:
        """Prints what the rule will train of a model, and what stays as it is and why.

        After a fit of the model a column says how far a step turned the weights of a unit of each
        layer, mean over the last epoch, in radians.

        The memory is that of the batch, of examples, new weights and running means of the layers
        that learn, and of replay; a teacher and the forward pass of the model itself are not in
        it. It is not known for a rule with a neuron network. More than half of what the machine
        has left is warned of; `fit`, which does not know the batch size, warns where already the
        smallest batch needs so much.

        Args:
            model: A built `keras.Model`.
            batch_size: For which examples and memory are counted. Defaults to `128`.
            print_fn: Function of a string. Defaults to `print`.

        Raises:
            ValueError: `fit` would refuse the model, nothing of it can learn, or an argument is
                wrong.

        Example:
        ```python
        import keras
        from keras_learned_rule import LearnedRule

        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
        LearnedRule().summary(model)
        ```
        """
        check("batch_size", batch_size, integer(least=1))
        sizes = self._monitor and self._monitor.layer_sizes
        text = summarised(
            model, self.rule.spec, self.freeze, self.replay, self.examples, batch_size, sizes
        )
        (print_fn or print)(text)

    def set_model(self, model: keras.Model) -> None:
        """Makes room for what `BackupAndRestore` may load before `on_train_begin`."""
        super().set_model(model)
        self._takeover = None
        self.memory = RuleMemory()
        self.memory.attach(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Checks the model and takes its training step over."""
        if self._takeover is not None:
            self._takeover.release()
            raise several_rules(self.model)
        try:
            self.memory.check_alone(self.model)
            self._bind()
            super().on_train_begin(logs)
        except BaseException:
            self._detach()
            raise
        self._schedule = Schedule(self.rule.spec, self.memory, self.total_steps, self.params)
        self._begun = False
        form = self._binding.input
        self._monitor = Monitor(self.model, self.model, form, self.log_layers)
        test_step = Step(self._monitor.test_step, self._monitor.variables)
        # Inside of a step `self.model` would make JAX write values back that are no longer there.
        detach = functools.partial(self.memory.detach, self.model)
        self._takeover = Takeover(self.model, self._step(), test_step, detach)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Starts new means, and the schedule in the first epoch of this fit."""
        self._monitor.reset()
        if not self._begun:
            self._begun = True
            with self._release_on_error():
                self._schedule.begin(epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Keeps the model; see `FitWatch`."""
        with self._release_on_error():
            super().on_train_batch_begin(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Looks for failures, learns the length of an epoch, measures few-shot accuracy."""
        super().on_epoch_end(epoch, logs)
        self._schedule.end_epoch(epoch)
        if self._probe is not None:
            self._probe.on_epoch_end(epoch, logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        """Takes validation inside the fit over."""
        if self._takeover is not None:
            self._monitor.begin_validation()
            self._takeover.begin_validation()

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Keeps validation, too."""
        if self._takeover is not None and not self._takeover.holds():
            with self._release_on_error():
                self.go_on()
            self._takeover.begin_validation()

    def on_test_end(self, logs: Logs = None) -> None:
        """Gives validation back."""
        if self._takeover is not None:
            self._takeover.end_validation()
        else:
            self._detach()

    def on_predict_end(self, logs: Logs = None) -> None:
        """Leaves no trace after a `predict` that was given this callback."""
        if self._takeover is None:
            self._detach()

    def on_train_end(self, logs: Logs = None) -> None:
        """Gives the model back."""
        self._takeover.release()
        self._takeover = self._binding = None
        super().on_train_end(logs)

    def check(self) -> None:
        """Gives the model back before an error ends the fit; see `FitWatch.check`."""
        with self._release_on_error():
            super().check()

    def go_on(self) -> None:
        """Takes the model over again where it has changed hands, or other layers are to learn."""
        outdated = self._binding.outdated()
        if self._takeover.holds() and not outdated:
            return
        if outdated:
            self.check()
            self._bind()
        checks.check_compiled(self.model)
        self.memory.attach(self.model)
        self._takeover.take(self._step())

    def _bind(self):
        checks.check_compiled(self.model)
        self._binding = RuleBinding(
            self.model,
            self.rule,
            self.freeze,
            seed=self.seed,
            replay=self.replay,
            examples=self.examples,
            memory=self.memory,
        )
        self.guard = self._binding.guard
        if self._probe is not None:
            self._probe.set_model(self.model)
            self._probe.on_train_begin()

    def _step(self):
        run = functools.partial(self._monitor.train_step, self._binding)
        return Step(run, [*self._binding.variables, *self._monitor.variables])

    def _detach(self):
        self.memory.detach(self.model)

    @contextlib.contextmanager
    def _release_on_error(self):
        try:
            yield
        except BaseException:
            self._takeover.release()
            raise


def _probe(probe):
    if not isinstance(probe, (tuple, list)) or len(probe) != 2:
        raise ValueError(
            f"probe must be None or a pair (x, y) of labelled examples. Received: {type(probe)}"
        )
    return FewShotProbe(*probe)
