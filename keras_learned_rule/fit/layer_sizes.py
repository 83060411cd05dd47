"""How far the weights of each layer turn, as a metric over an epoch."""

import itertools

import keras
from keras import ops


class LayerSizes(keras.metrics.Metric):
    """Means over steps of the update size of each set of weights, and their mean over layers.

    Which weights learn may change between steps: there is room for all of a model.

    Args:
        model: The built model.
        by_layer: Whether `result` has the means of single layers, too.
    """

    def __init__(self, model, by_layer):
        super().__init__(name="update_size")
        weights = model.weights
        self._by_layer = by_layer
        self._paths = _layer_paths(model)
        self._places = {id(weight): place for place, weight in enumerate(weights)}
        self._sum = self.add_variable((len(weights),), "zeros", name="sum")
        self._steps = self.add_variable((len(weights),), "zeros", name="steps")
        self._learning = {}

    def update_state(self, kernels, sizes, sample_weight):
        """Adds a step.

        Args:
            kernels: List of the variables that learn.
            sizes: Tensor `[len(kernels)]` of their update sizes.
            sample_weight: Scalar, 1 where the step was made and else 0.
        """
        places = [self._places[id(kernel)] for kernel in kernels]
        self._learning = {self._paths[place]: place for place in places}
        weights = ops.broadcast_to(ops.cast(sample_weight, "float32"), (len(places),))
        rows = ops.convert_to_tensor([[place] for place in places], "int32")
        for variable, values in ((self._sum, weights * sizes), (self._steps, weights)):
            variable.assign_add(ops.scatter(rows, values, variable.shape))

    def result(self):
        """Dict with "update_size" and, on request, "update_size/" with the path of each layer."""
        means = self._sum / ops.maximum(self._steps, 1.0)
        layers = ops.sum(ops.cast(self._steps > 0, "float32"))
        results = {self.name: ops.sum(means) / ops.maximum(layers, 1.0)}
        if self._by_layer:
            results |= {f"{self.name}/{path}": means[i] for path, i in self._learning.items()}
        return results

    def of(self, kernel):
        """The mean of one set of weights, None where it has not learned. Not for compiled steps."""
        place = self._places.get(id(kernel))
        steps = 0.0 if place is None else float(self._steps[place])
        return float(self._sum[place]) / steps if steps else None


def path_in(model, path):
    """The path of a layer without the name of the whole model, which differs from run to run."""
    return path.removeprefix(f"{model.name}/")


def _layer_paths(model):
    """The path of the layer of each weight, with a number where several layers have equal ones."""
    owners = {
        id(weight): id(layer)
        for layer in model._flatten_layers()
        for weight in (*layer._trainable_variables, *layer._non_trainable_variables)
    }
    own = [
        (path_in(model, weight.path.rpartition("/")[0]), owners.get(id(weight)))
        for weight in model.weights
    ]
    real, named = {path for path, _ in own}, {}
    for path, owner in own:
        if (path, owner) not in named:
            named[path, owner] = _free(path, real, set(named.values()))
    return [named[key] for key in own]


def _free(path, real, given):
    if path not in given:
        return path
    numbered = (f"{path}_{number}" for number in itertools.count(1))
    return next(name for name in numbered if name not in real | given)
