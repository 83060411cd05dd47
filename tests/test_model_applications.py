"""Published architectures by name: what the rule reads of them, and that a step of it learns."""

import keras
import numpy as np
import pytest
from fit_cases import compact_rule
from keras import layers

from keras_learned_rule import RuleBinding, learned_rule_step
from keras_learned_rule.model.inputs import model_inputs
from keras_learned_rule.model.sites import find_sites

pytestmark = pytest.mark.slow

# The smallest input; what learns, as the papers count it: of that, how many are normalised by the
# layer behind, and how many have a nonlinearity behind; layers of one unit a channel, which stay.
ARCHITECTURES = {
    "MobileNetV2": (32, 35, 35, 18, 17),
    "ResNet50": (32, 53, 53, 53, 0),
    "EfficientNetB0": (32, 65, 33, 49, 16),
    "ConvNeXtTiny": (32, 40, 1, 18, 18),
    "DenseNet121": (32, 120, 59, 59, 0),
    "NASNetMobile": (32, 196, 188, 92, 0),
    "Xception": (71, 40, 40, 35, 0),
}
NORMS = (layers.BatchNormalization, layers.LayerNormalization)


def made(name):
    size = ARCHITECTURES[name][0]
    make = getattr(keras.applications, name)
    return make(weights=None, classes=10, input_shape=(size, size, 3))


def only_follower(layer):
    """The layer that takes the output of another in, from Keras' own graph."""
    nodes = layer._outbound_nodes
    return nodes[0].operation if len(nodes) == 1 else None


def nonlinear(site):
    return not np.allclose(site.activation(z := np.linspace(-3, 3, 7, dtype="float32")), z)


def one_unit_a_channel(layer):
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    return depthwise or getattr(layer, "groups", 1) == getattr(layer, "filters", 0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_read_of_an_architecture(name):
    _, learning, normalised, functions, depthwise = ARCHITECTURES[name]
    model = made(name)
    sites = find_sites(model, model_inputs(model))
    assert len(sites.learning) == learning
    assert sum(site.norm is not None for site in sites.learning) == normalised
    assert sum(nonlinear(site) for site in sites.learning) == functions
    for site in sites.learning:
        follower = only_follower(site.kind.layer)
        if isinstance(follower, NORMS):
            assert site.norm is follower and site.bias is follower.beta, site.name
    left = {layer: reason for layer, reason in sites.left.items() if one_unit_a_channel(layer)}
    assert len(left) == depthwise and all(left.values())
    assert [layer for layer, reason in sites.left.items() if reason == "a head"] == [
        model.layers[-1]
    ]


# One with depthwise and one with separable convolutions, one with shortcuts that are projected.
NIGHTLY = [pytest.param(name, marks=pytest.mark.nightly) for name in ("ResNet50", "Xception")]


@pytest.mark.parametrize("name", ["MobileNetV2", *NIGHTLY])
def test_a_step_changes_what_learns_of_an_architecture(name):
    model = made(name)
    size = ARCHITECTURES[name][0]
    binding = RuleBinding(model, compact_rule(), examples=64, replay=0, total_steps=2)
    sites = find_sites(model, model_inputs(model))
    kernels = [site.kernel for site in sites.learning]
    kept = [w for layer in sites.left for w in layer.trainable_variables]
    before = [np.copy(variable) for variable in (*kernels, *kept)]
    x = np.random.default_rng(0).uniform(0, 255, (4, size, size, 3))
    assert learned_rule_step(binding, x)["applied"] == 1
    for variable, old in zip(kernels, before, strict=False):
        assert np.abs(variable - old).max() > 1e-3, variable.path
    for variable, old in zip(kept, before[len(kernels) :], strict=True):
        np.testing.assert_array_equal(variable, old)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
