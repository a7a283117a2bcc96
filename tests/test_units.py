"""Units of the columns do not matter: x -> a x + b divides densities by a, and maps draws."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from small_generators import GENERATORS, each

from probgen import GAN, MADE, VAE, VAEGAN, Autoencoder, Trainer
from probgen.options import AnnealedImportanceSampling, Gaussian, Laplace, VampPrior
from probgen.training import NeuralGenerator

RNG = np.random.default_rng(0)
N_ROWS = 90
y = np.arange(N_ROWS) % 2
CODES = RNG.normal(size=(N_ROWS, 2)) + 2.0 * y[:, np.newaxis]
# Skewed, correlated, of unlike spread, and away from zero.
X = np.column_stack(
    [CODES[:, 0] + 3.0, np.exp(CODES[:, 1]), CODES.sum(axis=1) + 0.3 * RNG.normal(size=N_ROWS)]
)
MAPS = {  # factors, and shifts in standard deviations of the mapped columns
    "small and large": ([1e-9, 3e2, 7e8], [0.0, 0.0, 0.0]),
    "far from zero": ([2.0, 0.1, 50.0], [1e4, -3e2, 1e5]),
    "as far as digits go": ([1.0, 1e-3, 3600.0], [1e9, 0.0, -1e7]),
}
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 10, "device": "cpu", "random_state": 0}
SETTINGS = [
    VAE(2, likelihood="laplace", **SMALL),
    VAE(2, likelihood=Gaussian(scale="learned"), prior=VampPrior(5), **SMALL),
    VAE(2, likelihood="gaussian_mixture", posterior="iaf", **SMALL),
    GAN(2, instance_noise=0.1, loss="hinge", trainer=Trainer(early_stopping=True), **SMALL),
    GAN(2, density=AnnealedImportanceSampling(16, 20), **SMALL),
    VAEGAN(2, density=AnnealedImportanceSampling(16, 20), penalty="wgan_gp", **SMALL),
    MADE((8,), n_orderings=2, max_iter=10, device="cpu", random_state=0),
    Autoencoder(2, corruption="gaussian", **SMALL),
    Autoencoder(2, corruption="masking", loss="absolute_error", **SMALL),
    Autoencoder(2, corruption="salt_and_pepper", penalty="l1", **SMALL),
]
CONDITIONAL = [
    VAE(2, n_importance_samples=50, **SMALL),
    MADE((8,), max_iter=10, n_importance_samples=64, device="cpu", random_state=0),
]


def mapped(rows, factors, shifts):
    """Rows with each column multiplied by its factor, and shifted by so many deviations."""
    factors = np.asarray(factors)
    return rows * factors + np.asarray(shifts) * factors * X.std(axis=0)


def tolerance_of(rows):
    """What rounding of values far from zero, amplified by training, may change."""
    noise = np.finfo(float).eps * np.max(np.abs(rows) / rows.std(axis=0))
    return max(1e-6, 1e3 * noise)


def without_absolute_terms(estimator):
    """A clone without the term that scikit-learn, too, adds to variances in the units of X."""
    estimator = clone(estimator)
    names = [name for name in estimator.get_params() if name.endswith("reg_covar")]
    return estimator.set_params(**dict.fromkeys(names, 0.0))


NETWORKS = [estimator for estimator in GENERATORS if isinstance(estimator, NeuralGenerator)]


@pytest.mark.parametrize("name", MAPS)
@each([*NETWORKS, *SETTINGS])
def test_units_do_not_matter(estimator, name):
    factors, shifts = MAPS[name]
    there = mapped(X, factors, shifts)
    tolerance = tolerance_of(there)
    before = without_absolute_terms(estimator).fit(X, y)
    after = without_absolute_terms(estimator).fit(there, y)
    expected = before.score_samples(X) - np.log(factors).sum()
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(after.score_samples(there), expected, **close)
    draws = mapped(before.sample(50, random_state=0), factors, shifts)
    deviations = (after.sample(50, random_state=0) - draws) / there.std(axis=0)
    np.testing.assert_allclose(deviations, 0.0, atol=10.0 * tolerance)
    close = {"rtol": 10.0 * tolerance, "atol": 10.0 * tolerance}
    np.testing.assert_allclose(after.transform(there), before.transform(X), **close)
    if is_classifier(estimator):
        np.testing.assert_array_equal(after.predict(there), before.predict(X))


@each(CONDITIONAL)
def test_units_do_not_matter_for_conditions_and_missing_values(estimator):
    factors, shifts = MAPS["far from zero"]
    there = mapped(X, factors, shifts)
    gaps = np.where(RNG.random((10, 3)) < 0.4, np.nan, X[:10])
    mapped_gaps = mapped(gaps, factors, shifts)
    low, high = np.quantile(X[:, 1], [0.3, 0.7])
    ends = mapped(np.array([[0.0, low, 0.0], [0.0, high, 0.0]]), factors, shifts)[:, 1]
    before = clone(estimator).fit(X)
    after = clone(estimator).fit(there)
    deviations = there.std(axis=0)

    def differences(rows, mapped_rows):
        return (mapped_rows - mapped(rows, factors, shifts)) / deviations

    units = np.where(np.isnan(gaps), 0.0, np.log(factors)).sum(axis=1)
    np.testing.assert_allclose(
        after.score_samples(mapped_gaps), before.score_samples(gaps) - units, rtol=1e-5
    )
    imputed = differences(before.impute(gaps), after.impute(mapped_gaps))
    np.testing.assert_allclose(imputed, 0.0, atol=1e-5)
    draws = differences(
        before.sample(20, given={1: (low, high)}, random_state=0),
        after.sample(20, given={1: tuple(ends)}, random_state=0),
    )
    np.testing.assert_allclose(draws, 0.0, atol=1e-5)


def test_pixels_share_one_unit():
    images = np.column_stack([X, X[:, :1] - X[:, 1:2]])
    model = VAE(2, image_shape=(2, 2), **SMALL).fit(images)
    overall = np.sqrt(images.var(axis=0).mean())
    np.testing.assert_allclose(model.observation_.spread, overall)
    after = VAE(2, image_shape=(2, 2), **SMALL).fit(255.0 * images)
    expected = model.score_samples(images) - 4.0 * np.log(255.0)
    np.testing.assert_allclose(after.score_samples(255.0 * images), expected, rtol=1e-6)


@pytest.mark.parametrize("likelihood", [Laplace(scale=0.5), Gaussian(scale=0.5)], ids=str)
def test_a_scale_by_number_is_in_units_of_X(likelihood):
    model = VAE(2, likelihood=likelihood, **SMALL).fit(X)
    assert model.observation_.scale == 0.5


def test_the_width_of_a_constant_column_follows_its_own_value():
    rows = np.column_stack([X, np.full(N_ROWS, 7.0)])
    factors = np.array([1e3, 1e-6, 10.0, 1.0])
    scores = VAE(2, **SMALL).fit(rows).score_samples(rows)
    there = VAE(2, **SMALL).fit(rows * factors).score_samples(rows * factors)
    np.testing.assert_allclose(there, scores - np.log(factors).sum(), rtol=1e-6)
    factors = np.array([1.0, 1.0, 1.0, 1e-5])
    there = VAE(2, **SMALL).fit(rows * factors).score_samples(rows * factors)
    np.testing.assert_allclose(there, scores - np.log(factors).sum(), rtol=1e-6)
