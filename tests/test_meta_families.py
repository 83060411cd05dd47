"""Pools of images, distributions of networks, families of tasks, and how they grow."""

import dataclasses
import functools

import meta_cases
import numpy as np
import pytest

from keras_learned_rule.data.augment import brightness
from keras_learned_rule.data.image_set import ImageSet
from keras_learned_rule.data.synthetic import gaussian_mixture
from keras_learned_rule.meta.families import TaskFamily, load_families
from keras_learned_rule.meta.networks import NetworkDistribution, NetworkSpec
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.pool import load_pool
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.schedule import Horizon

RNG = np.random.default_rng


def shades(size, channels, name="shades", members=(2, 5, 9)):
    """A source of grey pictures, each of a level of its own; classes of different sizes."""
    labels = np.repeat(np.arange(len(members)), members)
    images = np.zeros((len(labels), size, size, channels), "uint8")
    images += np.arange(len(labels), dtype="uint8")[:, None, None, None]
    names = tuple(f"{name} {i}" for i in range(len(members)))
    return ImageSet(images, labels.astype("int32"), names, name)


many_shades = functools.partial(shades, name="many", members=(30, 3, 4, 17))


def test_a_pool_holds_the_images_of_each_class_in_two_halves():
    sources = load_pool([(shades, 1.0), (many_shades, 3.0)], size=4, channels=3)
    pool = sources.pool
    assert sources.names == ("shades", "many") and sources.class_counts == (3, 4)
    assert pool.images.dtype == np.uint8 and pool.images.shape == (16 + 54, 4, 4, 3)
    np.testing.assert_array_equal(pool.source_of_class, [0] * 3 + [1] * 4)
    np.testing.assert_allclose(pool.thresholds, [0.25, 1.0])
    firsts = np.cumsum([0, 2, 5, 9, 30, 3, 4])
    for row, first, count in zip(pool.class_table, firsts, (2, 5, 9, 30, 3, 4, 17), strict=True):
        one, other = np.split(row, 2)
        assert not set(one) & set(other)
        assert set(row) == set(range(first, first + count))
        for half in (one, other):
            assert np.ptp(np.unique(half, return_counts=True)[1]) <= 1


def test_a_pool_of_bytes_and_floats_has_the_inputs_that_both_stand_for():
    def signed(size, channels):
        whole = shades(size, channels)
        return dataclasses.replace(whole, images=np.float32(-3.5) * whole.images)

    images = load_pool([(shades, 1.0), (signed, 1.0)], size=4, channels=1).pool.images
    bytes_, floats = np.split(images[:, 0, 0, 0], 2)
    assert images.dtype == np.float32
    np.testing.assert_allclose(bytes_, np.arange(16) / 255, rtol=1e-6)
    np.testing.assert_array_equal(floats, -3.5 * np.arange(16))
    family = TaskFamily([(signed, 1.0)], ways=(2, 2), augmentations=(brightness(),))
    with pytest.raises(ValueError, match="augmentations distort.*Received: 1 of.*shades"):
        load_families([family], seed=0)


def test_pools_refuse_what_cannot_be_drawn_from():
    with pytest.raises(ValueError, match=r"sources must be .* at least 1 entry.*Received: \[\]"):
        load_pool([], 4, 1)
    for share in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"sources must be .* number above 0.*, {share}\\)"):
            load_pool([(shades, 1.0), (shades, share)], 4, 1)
    vectors = functools.partial(gaussian_mixture, dimensions=30)
    for other in (shades, functools.partial(gaussian_mixture, dimensions=40)):
        with pytest.raises(ValueError, match="one shape.*Received.*gaussian_mixture.*30"):
            load_pool([(other, 1.0), (vectors, 1.0)], 4, 1)


def test_images_that_families_share_are_loaded_once():
    calls = []

    def counted(size, channels):
        calls.append((size, channels))
        return shades(size, channels)

    family = functools.partial(TaskFamily, buckets=1, ways=(2, 3))
    families = [
        family([(counted, 1.0)], size=4),
        family([(counted, 1)], size=4, shots=2),
        family([(counted, 1.0)], size=5),
        family([(counted, 1.0), (many_shades, 2.0)], size=4),
        family([[counted, 1.0]], size=5),
    ]
    buckets, pools = load_families(families, seed=0)
    assert [b.pool for b in buckets] == [0, 0, 1, 2, 1] and len(pools) == 3
    assert calls == [(4, 1), (5, 1), (4, 1)]
    assert [b.spec.shape for b in buckets] == [
        p.pool.images.shape[1:] for p in (pools[0], pools[0], pools[1], pools[2], pools[1])
    ]


DISTRIBUTION = NetworkDistribution(
    depths=(0, 3),
    widths=(16, 256),
    embeddings=(8, 32),
    activations=("relu", "relu", "tanh"),
    no_batch_norm=0.25,
    multiple=8,
)


def test_networks_come_from_their_distribution():
    rng, n = RNG(0), 2000
    sample = [DISTRIBUTION.sample(rng) for _ in range(n)]

    def share(condition):
        return np.mean([condition(network) for network in sample])

    # Bounds of four standard errors of a share.
    bound = 4 * 0.5 / n**0.5
    depths = np.bincount([len(s.widths) for s in sample], minlength=5) / n
    assert np.all(np.abs(depths[1:5] - 1 / 4) < bound)
    assert abs(share(lambda s: s.widths[-1] == 8) - 1 / 2) < bound
    assert abs(share(lambda s: s.activation == "relu") - 2 / 3) < bound
    assert abs(share(lambda s: s.batch_norm) - 3 / 4) < bound
    hidden = np.array([s.widths[0] for s in sample if len(s.widths) > 1])
    assert np.all(hidden % 8 == 0) and hidden.min() == 16 and hidden.max() == 256
    assert abs(np.mean(hidden < 64) - 1 / 2) < 0.08
    for network in sample:
        assert len(set(network.widths[:-1])) <= 1


def test_a_network_knows_its_shapes_and_its_name():
    network = NetworkSpec([5, 3], activation="tanh", batch_norm=False)
    assert network.shapes(7) == [(7, 5), (5, 3)]
    assert str(network) == "5-3 tanh, no batch norm" and str(NetworkSpec((4,))) == "4 relu"
    assert len(network.plan().layers) == 2


def test_buckets_are_drawn_from_the_seed_within_what_the_family_allows():
    family = TaskFamily(
        [(many_shades, 1.0)],
        DISTRIBUTION,
        buckets=30,
        tasks=3,
        size=4,
        ways=(2, 4),
        shots=2,
        tests=6,
        batches=(8, 16),
        permute=False,
        name="grey",
    )
    buckets, _ = load_families([family, family], seed=1)
    assert load_families([family, family], seed=1)[0] == buckets
    assert load_families([family], seed=1)[0] == buckets[:30]
    assert len({str(b.spec.network) for b in buckets}) > 40
    assert [b.spec for b in load_families([family], seed=2)[0]] != [b.spec for b in buckets[:30]]
    specs = [b.spec for b in buckets]
    assert {s.ways for s in specs} == {2, 3, 4} and {s.batch for s in specs} == {8, 16}
    for bucket in buckets:
        assert bucket.tasks == 3 and bucket.spec.shape == (4, 4, 1)
        assert bucket.spec.episode == (bucket.spec.ways, 2, 6) and not bucket.spec.permute
    assert [b.name for b in buckets[:2]] == ["grey_0", "grey_1"]


def test_a_family_of_one_network_has_it_in_every_bucket():
    buckets, _ = load_families([meta_cases.family(buckets=3)], seed=0)
    assert [b.spec.network for b in buckets] == 3 * [meta_cases.NETWORK]


def test_families_refuse_more_ways_than_classes():
    with pytest.raises(ValueError, match=r"ways.*'shades', 3.*Received: ways=\(2, 4\)"):
        load_families([TaskFamily([(shades, 1.0)], size=4, ways=(2, 4))], seed=0)
    with pytest.raises(ValueError, match="families.*Received: none"):
        load_families([], seed=0)


BAD = [
    (TaskFamily, dict(sources=[3]), "sources must be .* a pair of .*Received: .3"),
    (TaskFamily, dict(sources=[("glyphs", 1.0)]), "sources must be .* a pair of .*'glyphs'"),
    (TaskFamily, dict(networks=NetworkSpec), "networks must be a NetworkDistribution or"),
    (TaskFamily, dict(buckets=0), "buckets must be an integer of at least 1. Received: 0"),
    (TaskFamily, dict(tasks=1.5), "tasks must be an integer of at least 1. Received: 1.5"),
    (TaskFamily, dict(tests=True), "tests must be an integer of at least 1. Received: True"),
    (TaskFamily, dict(ways=4), "ways must be two integers.*Received: 4"),
    (TaskFamily, dict(ways=(1, 4)), "ways must be two integers.*at least 2.*Received: .1, 4"),
    (TaskFamily, dict(batches=64), "batches must be a list with at least 1 entry.*Received: 64"),
    (TaskFamily, dict(batches=()), r"batches must be a list with at least 1 entry.*Received: \(\)"),
    (NetworkSpec, dict(widths=()), "widths must be a list .* integer from 1"),
    (NetworkSpec, dict(widths=(4, 0)), "widths must be a list.*Received: .4, 0"),
    (NetworkSpec, dict(activation="rel"), "activation must be the name of.*Received: 'rel'"),
    (NetworkDistribution, dict(depths=(3, 2)), "depths must be two.*Received: .3, 2"),
    (NetworkDistribution, dict(widths=(0, 2)), "widths must be two.*Received: .0, 2"),
    (NetworkDistribution, dict(embeddings=()), "embeddings must be a list"),
    (NetworkDistribution, dict(activations="relu"), "activations must be a list.*'relu'"),
    (NetworkDistribution, dict(activations=("rel",)), "activations must be a list.*'rel'"),
    (NetworkDistribution, dict(no_batch_norm=1.5), "no_batch_norm must be .*from 0 to 1.*1.5"),
    (NetworkDistribution, dict(multiple=0), "multiple must be an integer.*Received: 0"),
    (Horizon, dict(lengths=(300, 30)), "lengths must be two.*Received: .300, 30"),
    (Horizon, dict(first_lengths=(0, 3)), "first_lengths must be None or two.*Received: .0, 3"),
    (Horizon, dict(truncations=(0, 5)), "truncations must be a list.*Received: .0, 5"),
    (Horizon, dict(truncations=()), "truncations must be a list"),
    (Horizon, dict(grow_updates=-1), "grow_updates must be an integer.*Received: -1"),
    (Problem, dict(clip_norm=0.0), "clip_norm must be a finite number above 0. Received: 0.0"),
    (ObjectiveSpec, dict(sharpness=-1.0), "sharpness must be .*at least 0.*-1.0"),
    (Problem, dict(scored=0), "scored must be None or an integer of at least 1. Received: 0"),
    (Problem, dict(scales={"step": 2.0}), "scales must be .*merge/step.*Received: .'step'"),
    (Problem, dict(scales={"merge/step": 0.0}), "scales must be .*above 0.*'merge/step': 0.0"),
    (Problem, dict(frozen={"step": np.zeros(3)}), "frozen must be some arrays.*Received: .'step'"),
]


@pytest.mark.parametrize(
    "kind, settings, message", BAD, ids=[f"{b[0].__name__}-{b[1]}" for b in BAD]
)
def test_bad_settings_are_named(kind, settings, message):
    required = {TaskFamily: dict(sources=[(shades, 1.0)]), Problem: dict(rule=meta_cases.RULE)}
    with pytest.raises(ValueError, match=message):
        kind(**{**required.get(kind, {}), **settings})


def test_inner_loops_and_truncations_grow():
    horizon = Horizon((100, 400), (20, 5, 10), first_lengths=(4, 25), grow_updates=100)
    assert horizon.range_at(0) == (4, 25) and horizon.range_at(100) == (100, 400)
    # Half-way on a logarithmic scale.
    assert horizon.range_at(50) == (20, 100)
    assert horizon.range_at(10**6) == (100, 400)
    assert [horizon.truncations_at(u) for u in (0, 49, 50, 99, 100, 500)] == [
        (5,),
        (5,),
        (5, 10),
        (5, 10),
        (5, 10, 20),
        (5, 10, 20),
    ]
    ranges = np.array([horizon.range_at(update) for update in range(101)])
    assert np.all(np.diff(ranges, axis=0) > 0)


def test_without_growth_the_whole_range_is_used_from_the_start():
    horizon = Horizon((7, 70), (3, 6))
    assert horizon.first_lengths == (7, 70)
    for update in (0, 1, 1000):
        assert horizon.range_at(update) == (7, 70) and horizon.truncations_at(update) == (3, 6)
