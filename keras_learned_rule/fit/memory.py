"""What the rule remembers of a fit beside the model's own weights."""

import keras
import numpy as np

# Attribute under which a model carries the memory while it is fitted.
_ATTRIBUTE = "_learned_rule_memory"


class RuleMemory(keras.layers.Layer):
    """What the rule carries from step to step, in a form that Keras saves with a model.

    As a layer it takes part in `save_weights`, so that `BackupAndRestore` writes it into the same
    file as the weights. It may be loaded before it has variables (callbacks listed before ours
    restore first, and frozen layers may learn later): what was loaded then waits for `allocate`.

    Attributes:
        steps_done: Variable, the number of steps done; None before `allocate`.
        total_steps: Variable, the steps over which the step size falls to zero, 0 if unknown;
            None before `allocate`.
        backward_weights: Dict of variables `[n_lower, n_upper]`; the key says which of the
            model's weights is the kernel they belong to.
        competition: The same, running means of competition.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._loaded = {}
        self.steps_done = None
        self.total_steps = None
        self.backward_weights, self.competition = {}, {}
        self.built = True

    def allocate(self, initial):
        """Creates the variables that are missing; those there are keep their values.

        Args:
            initial: What `initial_memory` returns.
        """
        if self.steps_done is None:
            self.steps_done = self._variable("steps_done", np.int64(0))
            self.total_steps = self._variable("total_steps", np.int64(0))
        for name, matrices in initial.items():
            kept = getattr(self, name)
            for key, values in matrices.items():
                if key not in kept:
                    kept[key] = self._variable(f"{name}_{key}", values)

    def restart(self, initial):
        """Forgets the steps done.

        Args:
            initial: What `initial_memory` returns, of the kernels that there are.
        """
        self.steps_done.assign(0)
        for name, matrices in initial.items():
            for key, values in matrices.items():
                getattr(self, name)[key].assign(values)

    def _variable(self, name, values):
        variable = self.add_weight(
            shape=values.shape, dtype=str(values.dtype), initializer="zeros", trainable=False,
            name=name,
        )
        variable.assign(self._loaded.get(name, values))
        return variable

    def save_own_variables(self, store):
        """Writes all variables by name, and what was loaded and has not been needed yet."""
        own = {variable.name: variable.numpy() for variable in self.variables}
        for name, array in {**self._loaded, **own}.items():
            store[name] = array

    def load_own_variables(self, store):
        """Takes what `save_own_variables` wrote; a file that holds nothing of ours is fine."""
        self._loaded.update({name: np.array(store[name]) for name in store.keys()})
        for variable in self.variables:
            if variable.name in self._loaded:
                variable.assign(self._loaded[variable.name])

    def attach(self, model):
        """Makes saving `model` save the memory too, without making it one of its layers."""
        # By the usual way Keras would count our variables among the model's weights.
        object.__setattr__(model, _ATTRIBUTE, self)

    def check_alone(self, model):
        """Raises ValueError if another memory has been attached to `model` since."""
        other = getattr(model, _ATTRIBUTE, None)
        if other not in (None, self):
            other.detach(model)
            raise ValueError(
                "callbacks may hold one LearnedRule, since each would replace the training step of "
                f"the other. Received: several in a fit of model {model.name!r}"
            )

    def detach(self, model):
        """Undoes `attach`."""
        if getattr(model, _ATTRIBUTE, None) is self:
            object.__delattr__(model, _ATTRIBUTE)


def initial_memory(spec, kernels, seed):
    """What the rule starts from beside the model's own weights.

    Args:
        spec: A `RuleSpec`.
        kernels: See `initial_backward_weights`.
        seed: Likewise.

    Returns:
        Dict from the attributes of `RuleMemory` that hold matrices to dicts of float32 arrays with
        the keys of `kernels`; only those that the rule has.
    """
    initial = {}
    if spec.neuron_network:
        initial["backward_weights"] = initial_backward_weights(spec, kernels, seed)
    if spec.running_competition:
        initial["competition"] = {
            key: np.zeros(tuple(kernel.shape), "float32") for key, kernel in kernels.items()
        }
    return initial


def initial_backward_weights(spec, kernels, seed):
    """Draws backward weights as they are drawn for meta-training.

    The published rule starts from a truncated normal of standard deviation 0.01, the compact one
    from columns of unit norm.

    Args:
        spec: A `RuleSpec`.
        kernels: Dict of the forward weights `[n_lower, n_upper]`; a key is a string of digits and
            decides on the draw, whatever other kernels there are.
        seed: Non-negative integer.

    Returns:
        Dict of float32 arrays with the same keys.
    """
    return {
        key: _backward_weights(spec, tuple(kernel.shape), np.random.SeedSequence([seed, int(key)]))
        for key, kernel in kernels.items()
    }


def _backward_weights(spec, shape, seeds):
    if spec.merge == "published":
        seed = int(seeds.generate_state(1)[0])
        draw = keras.initializers.TruncatedNormal(stddev=0.01, seed=seed)(shape)
        return keras.ops.convert_to_numpy(draw)
    values = np.random.default_rng(seeds).standard_normal(shape).astype("float32")
    return values / np.linalg.norm(values, axis=0)
