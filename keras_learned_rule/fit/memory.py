"""What the rule remembers of a fit beside the model's own weights."""

import keras
import numpy as np

from keras_learned_rule.rule.teacher import decoder_shape, teacher_shapes

# Attribute under which a model carries the memory while it is fitted.
_ATTRIBUTE = "_learned_rule_memory"
# Sets the teacher's draw of weights apart from those of backward weights, which take small numbers.
_OF_TEACHER = 2**31


@keras.saving.register_keras_serializable(package="keras_learned_rule")
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
        decoders: The same, `[n_upper, 32]`, where there is a teacher.
        teacher: Dict of variables, the arrays of a teacher. The key has the first of the kernels
            that learn from it, the teacher's layer and the name of the array, such as "0_4_w".
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._loaded = {}
        self.steps_done = None
        self.total_steps = None
        self.backward_weights, self.competition, self.decoders, self.teacher = {}, {}, {}, {}
        self.built = True

    def allocate(self, initial):
        """Creates the variables that are missing; those there are keep their values.

        Args:
            initial: What `initial_memory` returns.
        """
        if self.steps_done is None:
            self.steps_done = self._variable("steps_done", np.int64(0), "int")
            self.total_steps = self._variable("total_steps", np.int64(0), "int")
        for name, arrays in initial.items():
            kept = getattr(self, name)
            for key, values in arrays.items():
                if key not in kept:
                    kept[key] = self._variable(f"{name}_{key}", values)

    def restart(self, initial):
        """Forgets the steps done.

        Args:
            initial: What `initial_memory` returned for `allocate`, perhaps with another seed.
        """
        self.steps_done.assign(0)
        for name, arrays in initial.items():
            for key, values in arrays.items():
                getattr(self, name)[key].assign(values)

    def _variable(self, name, values, dtype="float32"):
        variable = self.add_weight(
            shape=values.shape,
            dtype=dtype,
            initializer="zeros",
            trainable=False,
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
            raise several_rules(model)

    def detach(self, model):
        """Undoes `attach`."""
        if getattr(model, _ATTRIBUTE, None) is self:
            object.__delattr__(model, _ATTRIBUTE)


def several_rules(model):
    """The error for a fit of `model` with more than one rule."""
    return ValueError(
        "callbacks may hold one LearnedRule, once, since each would replace the training step of "
        f"the other. Received: several in a fit of model {model.name!r}"
    )


def initial_memory(spec, plan, shapes, seed):
    """What the rule starts from beside the model's own weights.

    Args:
        spec: A `RuleSpec`.
        plan: The network's `Plan`.
        shapes: See `initial_backward_weights`; bottom-up.
        seed: Likewise.

    Returns:
        Dict from the attributes of `RuleMemory` that hold arrays to dicts of float32 arrays, with
        the keys of `shapes` but for the teacher; only those that the rule has for this network.
    """
    initial = {}
    if spec.neuron_network:
        initial["backward_weights"] = initial_backward_weights(spec, shapes, seed)
    teacher = teacher_shapes(spec, plan, list(shapes.values()))
    if teacher:
        initial["decoders"] = {key: _zeros(decoder_shape(n)) for key, (_, n) in shapes.items()}
        arrays = _initial_teacher(spec, teacher, seed)
        # Another first layer has other inputs, and so another teacher.
        initial["teacher"] = {f"{next(iter(shapes))}_{key}": a for key, a in arrays.items()}
    elif spec.running_competition:
        initial["competition"] = {key: _zeros(shape) for key, shape in shapes.items()}
    return initial


def _initial_teacher(spec, shapes, seed):
    rng, arrays = np.random.default_rng(np.random.SeedSequence([seed, _OF_TEACHER])), {}
    for i, shape in enumerate(shapes):
        arrays[f"{i}_w"] = _unit_columns(rng, shape)
        arrays[f"{i}_b"] = _zeros(shape[1:])
        if spec.running_competition:
            arrays[f"{i}_competition"] = _zeros(shape)
    return arrays


def teacher_layers(variables):
    """Those of `RuleMemory.teacher` that make one teacher, as a dict for each of its layers."""
    layers = {}
    for key, variable in variables.items():
        _, layer, name = key.split("_")
        layers.setdefault(layer, {})[name] = variable
    return tuple(layers.values())


def _zeros(shape):
    return np.zeros(shape, "float32")


def _unit_columns(rng, shape):
    values = rng.standard_normal(shape).astype("float32")
    return values / np.linalg.norm(values, axis=0)


def initial_backward_weights(spec, shapes, seed):
    """Draws backward weights as they are drawn for meta-training.

    The published rule starts from a truncated normal of standard deviation 0.01, the compact one
    from columns of unit norm.

    Args:
        spec: A `RuleSpec`.
        shapes: Dict of the shapes `(n_lower, n_upper)` of the forward weights; a key is a string of
            digits and decides on the draw, whatever other weights there are.
        seed: Non-negative integer.

    Returns:
        Dict of float32 arrays with the same keys.
    """
    return {
        key: _backward_weights(spec, shape, np.random.SeedSequence([seed, int(key)]))
        for key, shape in shapes.items()
    }


def _backward_weights(spec, shape, seeds):
    if spec.merge == "published":
        seed = int(seeds.generate_state(1)[0])
        draw = keras.initializers.TruncatedNormal(stddev=0.01, seed=seed)(shape)
        return keras.ops.convert_to_numpy(draw)
    return _unit_columns(np.random.default_rng(seeds), shape)
