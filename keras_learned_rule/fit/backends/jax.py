"""The rule on JAX: a compiled step is a pure function of the values of all variables."""

import contextlib

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from keras_learned_rule.fit.backends.base import Backend
from keras_learned_rule.fit.stateless import stateless

# The lists of values that Keras passes from step to step.
_LISTS = {
    "train": ("trainable", "non_trainable", "optimizer", "metrics"),
    "test": ("trainable", "non_trainable", "metrics"),
}


class JaxBackend(Backend):
    """See `Backend`."""

    def check_compiled(self, model):
        """See `Backend`."""
        distribution = keras.distribution.distribution()
        local = [
            variable.path
            for variable in model.variables
            if isinstance(variable.value.sharding, jax.sharding.SingleDeviceSharding)
        ]
        if distribution is not None and local:
            raise ValueError(
                "Set a distribution before the model is built: the weights of this one are on a "
                f"single device. Received: {type(distribution).__name__}, set after variable "
                f"{local[0]!r} was made"
            )
        split = [v.path for v in model.variables if not v.value.is_fully_replicated]
        if _over_processes() and split:
            raise ValueError(
                "Over several processes every device must have all weights, as under DataParallel. "
                f"Received: {type(distribution).__name__}, which splits variable {split[0]!r}"
            )

    def check_processes(self, what, number):
        """See `Backend`."""
        if not _over_processes():
            return
        by_process = np.ravel(multihost_utils.process_allgather(np.int32(number))).tolist()
        if len(set(by_process)) > 1:
            # Else some would wait for ever.
            raise ValueError(
                "All processes of a fit need batches of one size, and as many of them. Received: "
                f"{what} {by_process} in processes 0 to {len(by_process) - 1}"
            )

    def check_predicts(self):
        """See `Backend`."""
        if _over_processes():
            raise ValueError(
                "Keras' predict does not run over several processes, so neither does a probe: "
                "measure few_shot_accuracy after the fit, on a copy of the model in one process. "
                f"Received: {jax.process_count()} processes"
            )

    def check_traced(self, x, variable):
        """See `Backend`."""
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))
        if traced and not isinstance(variable.value, jax.core.Tracer):
            raise ValueError(
                "Compiled by JAX, learned_rule_step would leave the variables of the model "
                "without values. Compile stateless_learned_rule_step, which takes and returns "
                "them. Received: a traced x"
            )

    def make_function(self, model, kind, step):
        """See `Backend`."""
        return _Function(model, kind, step, self.check_processes)


class _Function:
    """A function of (state, iterator), as Keras calls it.

    Keras takes the values out of the model's variables and passes them from step to step. Here they
    are put back after each: callbacks then see them, and may change which variables are trainable.
    Only variables of ours are donated, so that no error can take the weights of the model away.
    """

    def __init__(self, model, kind, step, check_processes):
        self._model, self._kind, self._step = model, kind, step
        self._check_processes, self._known = check_processes, None

    def __call__(self, state, iterator):
        state = dict(zip(_LISTS[self._kind], state, strict=True))
        try:
            logs = self._advance(state, self._next(iterator))
            with contextlib.suppress(StopIteration):
                for _ in range(self._model.steps_per_execution - 1):
                    logs = self._advance(state, self._next(iterator))
            return logs, tuple(state.values())
        finally:
            self._give_back(state)

    def _next(self, iterator):
        """The next batch; all processes must have one, or none."""
        try:
            data = _spread(iterator)
        except StopIteration:
            self._check_processes("examples", 0)
            raise
        rows = jax.tree.leaves(data)[0].shape[0] // jax.process_count()
        self._check_processes("examples", rows)
        return data

    def _advance(self, state, data):
        """One step; puts the new values into `state`."""
        self._build_metrics(state, data)
        lists = self._lists(state)
        # Nothing of the rule changes the variables of the optimizer.
        lists.pop("optimizer", None)
        known = [variable for variables in lists.values() for variable in variables]
        if self._known is None or list(map(id, known)) != list(map(id, self._known)):
            self._known = known
            self._prepare()
        logs, values, own = self._run(
            [value for name in lists for value in state[name]],
            [variable.value for variable in self._own],
            data,
        )
        for variable, value in zip(self._own, own, strict=True):
            variable.assign(value)
        values = iter(values)
        state.update({name: [next(values) for _ in variables] for name, variables in lists.items()})
        return logs

    def _lists(self, state):
        """The variables of the model whose values are in `state`, in the same order."""
        model = self._model
        return {
            name: model.optimizer.variables
            if name == "optimizer"
            else getattr(model, f"{name}_variables")
            for name in state
        }

    def _prepare(self):
        """Compiles the step for the variables that there are."""
        theirs = {id(variable) for variable in self._known}
        self._own = [variable for variable in self._step.variables if id(variable) not in theirs]
        count, variables = len(self._known), [*self._known, *self._own]
        step = stateless(self._step.run, variables)

        def run(values, own, data):
            logs, values = step([*values, *own], data)
            return logs, values[:count], values[count:]

        model = self._model
        if model.run_eagerly or not model.jit_compile:
            self._run = run
        else:
            self._run = jax.jit(run, donate_argnums=1, out_shardings=_shardings(variables, count))

    def _build_metrics(self, state, data):
        """Metrics that were compiled in mid-fit get their variables from a batch."""
        metrics = self._model._compile_metrics
        if metrics is not None and not metrics.built:
            self._give_back(state)
            self._model._symbolic_build(data_batch=data)
            for name, variables in self._lists(state).items():
                state[name] = [variable.value for variable in variables]

    def _give_back(self, state):
        """Gives the variables of the model their values, and tells Keras so."""
        for name, variables in self._lists(state).items():
            for variable, value in zip(variables, state[name], strict=True):
                variable.assign(value)
        self._model._jax_state_synced = True


def _over_processes():
    """Whether a step is made by several processes together."""
    return keras.distribution.distribution() is not None and jax.process_count() > 1


def _spread(iterator):
    """The next batch, which Keras spreads over the devices."""
    distribution = keras.distribution.distribution()
    try:
        return next(iterator)
    except ValueError as error:
        if distribution is None:
            raise
        mesh = distribution.device_mesh
        devices = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
        raise ValueError(
            f"{type(distribution).__name__} needs batches that {devices} devices can share: choose "
            "batch_size so, and leave out the rest of the data. "
            f"Received: {str(error).splitlines()[0]}"
        ) from error


def _shardings(variables, count):
    """Where new values lie: where the variables lie, under a distribution."""
    if keras.distribution.distribution() is None:
        return None
    layouts = [variable._layout for variable in variables]
    layouts = [getattr(layout, "backend_layout", layout) for layout in layouts]
    return None, layouts[:count], layouts[count:]
