"""Made tables, curves, genes and attributes: each by the shared checks and by what it promises."""

import numpy as np
import pytest
from source_cases import check_source

from keras_learned_rule.data.binary_features import binary_features
from keras_learned_rule.data.curves import curves
from keras_learned_rule.data.gene_expression import gene_expression
from keras_learned_rule.data.made_vectors import few_shifts, loadings, scaled
from keras_learned_rule.data.tabular import tabular

SOURCES = [tabular, curves, gene_expression, binary_features]
# Without what blurs a curve or moves its baseline.
CLEAN = {"gain": 0.0, "drift": 0.0, "noise": 0.0}


def vectors(source, classes=10, examples=60, **settings):
    """Vectors [classes, examples, dimensions]."""
    images = source(1, 1, classes=classes, examples=examples, **settings).images
    return images.reshape(classes, examples, -1).astype("float64")


def ridge_accuracy(x, shots=10):
    """Of ridge regression on `shots` labels a class, of vectors [classes, examples, features]."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.preprocessing import StandardScaler

    classes, examples, features = x.shape
    train, test = (part.reshape(-1, features) for part in (x[:, :shots], x[:, shots:]))
    scaler = StandardScaler().fit(train)
    labels = [np.repeat(np.arange(classes), n) for n in (shots, examples - shots)]
    readout = RidgeClassifierCV(10.0 ** np.arange(-1, 4)).fit(scaler.transform(train), labels[0])
    return readout.score(scaler.transform(test), labels[1])


def triangle_coded(x):
    """Triangle coding (Coates, Lee & Ng 2011) by 64 centroids."""
    from sklearn.cluster import KMeans

    flat = x.reshape(-1, x.shape[-1])
    distances = KMeans(64, n_init=1, max_iter=20, random_state=0).fit_transform(flat)
    coded = np.maximum(distances.mean(axis=1, keepdims=True) - distances, 0)
    return coded.reshape(*x.shape[:2], 64)


def correlations(x):
    """Of features, those above the diagonal of the matrix."""
    matrix = np.corrcoef(x.reshape(-1, x.shape[-1]).T)
    return matrix[np.triu_indices(len(matrix), 1)]


def moment(x, power):
    """Standardised moment of each feature: 3 for skewness, 4 for kurtosis."""
    flat = x.reshape(-1, x.shape[-1])
    return (((flat - flat.mean(axis=0)) / flat.std(axis=0)) ** power).mean(axis=0)


@pytest.mark.parametrize("source", SOURCES)
def test_sources(source):
    levels = 2 if source is binary_features else 11
    check_source(source, vectors=True, levels=levels, classes=8, examples=16)


@pytest.mark.parametrize("source", SOURCES)
def test_standardized_features_and_others(source):
    x = vectors(source, standardize=True)
    np.testing.assert_allclose(x.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 1)), 1, rtol=1e-4)
    plain = vectors(source, standardize=False)
    if source is binary_features:
        assert set(np.unique(plain)) == {0, 255}
    else:
        np.testing.assert_allclose(plain.std(), 1, rtol=1e-4)
    np.testing.assert_allclose(correlations(plain), correlations(x), atol=1e-4)


def mean_curve(x):
    return x.mean(axis=(0, 1))


# Neighbours of a curve are alike in all worlds; peaks that its classes share are of a world.
@pytest.mark.parametrize("source", SOURCES)
def test_classes_share_what_is_of_their_world_and_worlds_share_nothing(source):
    common = mean_curve if source is curves else correlations
    x, other = (vectors(source, classes=24, seed=seed) for seed in (1, 2))
    one, same, different = common(x[:12]), common(x[12:]), common(other[:12])
    assert np.corrcoef(one, same)[0, 1] > 0.35
    assert np.corrcoef(one, different)[0, 1] < 0.3


@pytest.mark.parametrize("source", SOURCES)
def test_tasks_are_neither_trivial_nor_impossible(source):
    for seed in range(3):
        assert 0.2 < ridge_accuracy(vectors(source, seed=seed)) < 0.97


@pytest.mark.parametrize(
    "source, settings",
    [
        (tabular, {"uninformative": 1.0}),
        (curves, {"own_peaks": 0, "peaks": 0, "oscillations": 0}),
        (gene_expression, {"shift": 0.0}),
        (binary_features, {"shift": 0.0}),
    ],
)
def test_classes_differ_in_nothing_but_what_is_said(source, settings):
    assert ridge_accuracy(vectors(source, **settings)) < 0.16


@pytest.mark.parametrize(
    "source, settings",
    [
        (
            tabular,
            {"factors": 8, "clusters": 6, "nuisances": 0, "warped": 0.1, "uninformative": 0.0},
        ),
        (curves, {"peaks": 2, "own_peaks": 0, "oscillations": 2}),
    ],
)
def test_clusters_tell_what_a_linear_readout_of_inputs_does_not(source, settings):
    x = vectors(source, examples=128, **settings)
    assert ridge_accuracy(triangle_coded(x)) > ridge_accuracy(x) + 0.05


def test_few_factors_drive_all_features_of_a_table():
    settings = {"dimensions": 40, "factors": 5, "nuisances": 3, "warped": 0.0}
    rank = [
        np.linalg.matrix_rank(vectors(tabular, noise=n, **settings).reshape(-1, 40), 1e-3)
        for n in (0.0, 0.2)
    ]
    assert rank == [8, 40]
    none = vectors(tabular, noise=0.0, **{**settings, "nuisances": 0}).reshape(-1, 40)
    assert np.linalg.matrix_rank(none, 1e-3) == 5


def test_warped_features_are_skewed_and_of_few_values_and_linear_ones_are_not():
    def kinds(warped):
        x = vectors(tabular, dimensions=64, warped=warped).reshape(-1, 64)
        values = np.array([len(np.unique(np.round(feature, 4))) for feature in x.T])
        return np.abs(moment(x, 3)), values

    linear, warped = kinds(0.0), kinds(1.0)
    assert linear[0].max() < 0.8 and np.quantile(warped[0], 0.75) > 1
    # A sixth of the kinds are integers.
    assert linear[1].min() > 300 and 3 <= (warped[1] < 40).sum() <= 20


def test_scales_of_a_table_differ_as_much_as_asked():
    def log_scales(scales):
        x = vectors(tabular, dimensions=64, standardize=False, warped=0.0, scales=scales)
        return np.log(x.std(axis=(0, 1)))

    assert log_scales(0.0).std() < 1e-4
    assert 1.1 < log_scales(1.5).std() < 1.9


def test_clusters_of_a_class():
    from sklearn.mixture import GaussianMixture

    def several(clusters):
        settings = {"clusters": clusters, "spread": 0.1, "warped": 0.0, "nuisances": 0}
        x = vectors(tabular, classes=6, examples=150, dimensions=4, factors=3, **settings)
        fits = [[GaussianMixture(k, random_state=0).fit(c).bic(c) for k in (1, 3)] for c in x]
        return sum(one > three for one, three in fits)

    # A class draws 1 to 6 clusters.
    assert several(1) == 0 and several(6) >= 4


def test_curves_are_smooth_and_only_their_noise_is_not():
    def roughness(noise):
        x = vectors(curves, noise=noise, oscillations=0)
        return np.diff(x, 3).std() / x.std()

    assert roughness(0.0) < 0.1 < 0.3 < roughness(0.3)


def test_each_blur_of_a_curve_is_off_at_zero():
    fixed = {"oscillations": 0, "shift": 0.0, **CLEAN}
    assert np.ptp(vectors(curves, **fixed), axis=1).max() < 1e-5
    for name in ("shift", "gain", "drift", "noise"):
        assert np.ptp(vectors(curves, **{**fixed, name: 0.1}), axis=1).max() > 0.1


def test_oscillations_have_a_frequency_of_their_class_and_any_phase():
    settings = {"peaks": 0, "own_peaks": 0, "shift": 0.0, **CLEAN}
    x = vectors(curves, examples=400, **settings)
    assert np.abs(x.mean(axis=1)).max() < 0.3 * x.std()
    power = np.abs(np.fft.rfft(x)) ** 2
    one, other = power[:, :200].mean(axis=1), power[:, 200:].mean(axis=1)
    np.testing.assert_array_equal(one.argmax(axis=1), other.argmax(axis=1))
    assert len(set(one.argmax(axis=1))) >= 4


def test_genes_follow_modules_with_noise_of_heavy_tails():
    settings = {"dimensions": 100, "modules": 15}
    clean = vectors(gene_expression, noise=0.0, **settings)
    assert np.linalg.matrix_rank(clean.reshape(-1, 100), 1e-3) == 15
    assert np.median(moment(clean, 4)) < 4
    assert np.median(moment(vectors(gene_expression, noise=4.0, **settings), 4)) > 5


def test_counts_of_genes_are_logarithms_of_counts():
    x = vectors(gene_expression, counts=True, standardize=False)
    counts = np.expm1(x * np.log(2) / x[x > 0].min())
    np.testing.assert_allclose(counts, np.round(counts), rtol=1e-3)
    absent = (x == 0).mean(axis=(0, 1))
    assert absent.max() > 0.5 and absent.min() < 0.01
    # The depth of an example moves all its genes.
    assert np.corrcoef(x[0, :, ::2].mean(axis=1), x[0, :, 1::2].mean(axis=1))[0, 1] > 0.5


def test_attributes_are_as_frequent_as_asked():
    for frequency in (0.02, 0.2, 0.5):
        x = vectors(binary_features, strength=0.0, frequency=frequency) / 255
        assert abs(np.median(x.mean(axis=(0, 1))) - frequency) < 0.2 * frequency
    one = vectors(binary_features, strength=0.0, rarity_spread=0.0) / 255
    assert np.abs(one.mean(axis=(0, 1)) - 0.2).max() < 0.08


def test_attributes_go_together_by_their_factors():
    def squared(strength):
        return (correlations(vectors(binary_features, shift=0.0, strength=strength)) ** 2).mean()

    # Independent attributes have 1 / n by chance, here 1 / 600.
    assert squared(0.0) < 1.2 / 600 < 3 / 600 < squared(1.5)


def test_what_the_sources_share():
    rng = np.random.default_rng(0)
    shifts = few_shifts(rng, classes=50, factors=9, shifted=3)
    assert ((shifts != 0).sum(axis=1) == 3).all() and (shifts != 0).any(axis=0).all()
    effects = loadings(rng, factors=6, dimensions=2000, density=0.2)
    np.testing.assert_allclose((effects**2).sum(axis=0), 1)
    # One for certain, and a fifth of the five others.
    assert abs((effects != 0).sum(axis=0).mean() - 2) < 0.1
    assert not scaled(np.full((7, 2), 0.1), standardize=True).any()
    assert np.ptp(scaled(np.full((7, 2), 0.1), standardize=False)) == 0
    assert np.abs(scaled(np.full((7, 2), 0.1), standardize=False)).max() < 1
    # A feature of small numbers counts as much as one of large numbers.
    apart = rng.normal(size=(50, 2)) * [1e-12, 1.0]
    np.testing.assert_allclose(scaled(apart, standardize=True).std(axis=0), 1)


@pytest.mark.parametrize("source", SOURCES)
def test_arguments_out_of_range(source):
    name = source.__name__
    for argument, value in [("classes", 0), ("seed", -1), ("standardize", 1), ("part", "test")]:
        with pytest.raises(ValueError, match=f"{name}.{argument} must be .*Received: "):
            source(1, 1, **{argument: value})


def test_more_arguments_out_of_range():
    with pytest.raises(ValueError, match="tabular.warped must be .*Received: 1.5"):
        tabular(1, 1, warped=1.5)
    with pytest.raises(ValueError, match="curves.peaks must be .*Received: -1"):
        curves(1, 1, peaks=-1)
    with pytest.raises(ValueError, match="`shifted` must be at most `modules`, 24. Received: 25"):
        gene_expression(1, 1, shifted=25)
    with pytest.raises(ValueError, match="`shifted` must be at most `factors`, 12. Received: 13"):
        binary_features(1, 1, shifted=13)
    with pytest.raises(ValueError, match="frequency must be .*Received: 1"):
        binary_features(1, 1, frequency=1)
