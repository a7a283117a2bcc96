"""Variational autoencoders of mixed rows, against quadrature over their codes."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare

from probgen import VAE, ConditionalVAE, SemiSupervisedVAE, get_likelihood, load, save
from probgen.distributions.mixed import MixedObservation
from probgen.options import VampPrior
from probgen.tables.coder import RowCoder
from probgen.tables.columns import Column

QUICK = {"hidden_layer_sizes": (16,), "random_state": 0, "device": "cpu"}
TOP = 30.0
COLUMNS = [
    Column("a", "category", levels=("x", "y", "z"), has_gaps=True),
    Column("n", "integer", atoms=(0.0, 3.0), step=1.0, low=0.0, high=6.0, rest="modelled"),
    Column("b", "category", levels=("u", "v")),
    Column("r", "real", atoms=(0.0,), low=0.0, rest="modelled"),
]


class OfColumns(VAE):
    """A VAE of arrays whose columns are known."""

    def _array_columns(self, X):
        return COLUMNS


def mixed_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, n).astype(float)
    k = np.clip(rng.poisson(0.5 + 1.5 * a), 0, 6)
    b = (rng.random(n) < 0.1 + 0.13 * k).astype(float)
    r = np.where(rng.random(n) < 0.2 + 0.5 * b, 0.0, rng.gamma(2.0, 1.0 + b, n))
    a[a == 3.0] = np.nan
    return np.column_stack([a, k, b, r])


def grid():
    """All rows, of which the real column has an atom and a quadrature, and their weights."""
    points, weights = np.polynomial.legendre.leggauss(60)
    values = np.concatenate([[0.0], 0.5 * TOP * (points + 1.0)])
    weights = np.concatenate([[1.0], 0.5 * TOP * weights])
    rows = np.array(list(itertools.product([0.0, 1.0, 2.0, np.nan], range(7), [0.0, 1.0], values)))
    return rows, np.tile(weights, len(rows) // len(weights))


ROWS, WEIGHTS = grid()


def log_prob(model, rows):
    """Log-densities (n,) of rows, by quadrature over a code of one number."""
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    with torch.no_grad():
        codes = torch.as_tensor(points, dtype=torch.float32)[:, None]
        X = torch.as_tensor(model._coder.encode(rows))
        each = [
            model.observation_.distribution(outputs[None].double()).log_prob(X).sum(1).numpy()
            for outputs in model.decoder_(codes)
        ]
    return logsumexp(each, axis=0, b=weights[:, None] / np.sqrt(2.0 * np.pi))


@pytest.fixture(scope="module")
def model():
    settings = {"likelihood": "mixed", "max_iter": 12, "learning_rate_init": 0.02, **QUICK}
    return OfColumns(1, **settings).fit(mixed_rows(300))


@pytest.fixture(scope="module")
def cells(model):
    """Probabilities (4, 7, 2, 61) of all rows."""
    return (np.exp(log_prob(model, ROWS)) * WEIGHTS).reshape(4, 7, 2, -1)


def with_atom(cells):
    return np.stack([cells[..., 0], cells[..., 1:].sum(axis=-1)], axis=-1)


def assert_follow(draws, table):
    """Pearson's test of draws against probabilities (4, 7, 2, 2); rare cells are together."""
    places = np.where(np.isnan(draws), 3.0, draws)
    places[:, 3] = draws[:, 3] > 0.0
    counts = np.zeros(table.shape)
    np.add.at(counts, tuple(places.astype(int).T), 1)
    assert counts[table == 0.0].sum() == 0
    expected = len(draws) * table.ravel() / table.sum()
    often = expected >= 5.0
    observed = np.append(counts.ravel()[often], counts.ravel()[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    assert chisquare(observed[expected > 0.0], expected[expected > 0.0]).pvalue > 1e-3


def test_all_rows_together_have_probability_one(cells):
    assert cells.sum() == pytest.approx(1.0, abs=1e-3)


def test_draws_follow_the_density(model, cells):
    draws = model.sample(10_000, random_state=0)
    assert draws[:, 3].min() == 0.0
    assert_follow(draws, with_atom(cells))


def test_scores_are_bounds_on_the_density(model):
    X = mixed_rows(100, seed=1)
    scores, errors = model.score_samples(X, return_std=True)
    np.testing.assert_allclose(scores, log_prob(model, X), atol=5.0 * errors.max() + 0.02)
    assert get_likelihood(model).measure == "mixed"
    assert np.all(model.elbo_samples(X).elbo < log_prob(model, X) + 0.05)


def test_missing_values_are_integrated_out(model, cells):
    # A gap among the categories is an outcome, and known.
    X = np.array([[1.0, np.nan, 1.0, np.nan], [np.nan, 2.0, np.nan, np.nan]])
    scores, errors = model.score_samples(X, return_std=True)
    truth = np.log([cells[1, :, 1].sum(), cells[3, 2].sum()])
    np.testing.assert_allclose(scores, truth, atol=5.0 * errors.max() + 0.02)


def test_draws_under_conditions_follow_the_density(model, cells):
    table = with_atom(cells).copy()
    table[[0, 2]] = 0.0
    table[:, [0, 5, 6]] = 0.0
    table[:, :, 0] = 0.0
    given = {0: {1.0, np.nan}, 1: (0.5, 4.5), 2: 1.0}
    assert_follow(model.sample(600, given=given, random_state=0), table)


def test_an_interval_may_hold_an_atom_and_numbers(model, cells):
    draws = model.sample(600, given={3: (-1.0, 2.0)}, random_state=0)
    assert draws[:, 3].max() <= 2.0
    points, weights = np.polynomial.legendre.leggauss(30)
    below = 0.0
    for point, weight in zip(points + 1.0, weights):
        X = ROWS[:: cells.shape[-1]].copy()
        X[:, 3] = point
        below += weight * np.exp(log_prob(model, X)).sum()
    share = cells[..., 0].sum() / (cells[..., 0].sum() + below)
    assert (draws[:, 3] == 0.0).mean() == pytest.approx(share, abs=0.06)


def test_imputed_values_are_the_likeliest_categories_and_means_of_numbers(model, cells):
    X = np.array([[2.0, 6.0, np.nan, 0.0], [0.0, 0.0, np.nan, 2.0], [np.nan, 5.0, 1.0, 0.0]])
    filled = model.impute(X)
    of_atom = cells[2, 6, :, 0]
    assert of_atom.max() > 0.6 * of_atom.sum()
    assert filled[0, 2] == of_atom.argmax()
    no_gap = cells[:3, 5, 1, 0]
    assert filled[2, 0] in (0.0, 1.0, 2.0)
    assert no_gap[int(filled[2, 0])] > 0.8 * no_gap.max()
    X = np.array([[1.0, 2.0, 0.0, np.nan]])
    values = ROWS[: cells.shape[-1], 3]
    truth = cells[1, 2, 0] @ values / cells[1, 2, 0].sum()
    assert model.impute(X)[0, 3] == pytest.approx(truth, rel=0.05)
    draws = model.impute(np.repeat(X, 300, axis=0), method="draw", random_state=0)[:, 3]
    assert draws.mean() == pytest.approx(truth, abs=5.0 * draws.std() / np.sqrt(300))


def test_decoded_rows_hold_levels_and_whole_numbers(model):
    X = mixed_rows(20, seed=2)
    for rows in (
        model.reconstruct(X),
        model.inverse_transform(model.transform(X)),
        model.sample_mean(5, random_state=0),
    ):
        assert np.isin(rows[:, 0], [0.0, 1.0, 2.0, np.nan]).all()
        assert np.isin(rows[:, 1], np.arange(7.0)).all()
        assert (rows[:, 3] >= 0.0).all()


@pytest.mark.parametrize("n_mixture", [1, 4])
def test_means_of_values_are_those_of_their_distribution(n_mixture):
    X = mixed_rows(200)
    coder = RowCoder.of_rows(COLUMNS, X)
    observation = MixedObservation(coder, n_mixture)
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(1, observation.n_outputs, dtype=torch.float64, generator=generator)
    distribution = observation.distribution(outputs)
    whole = np.array([1.0, 2.0, 4.0, 5.0, 6.0])
    points, weights = np.polynomial.legendre.leggauss(400)
    real = 40.0 * (points + 1.0)
    for k, values, steps in ((1, whole, 1.0), (3, real, 40.0 * weights)):
        rows = np.tile(X[0], (len(values), 1))
        rows[:, k] = values
        features = observation.features_of_column(k)
        value = observation.places_of_column(k)[1]
        each = distribution.log_prob(torch.as_tensor(coder.encode(rows)))[:, features[1]]
        masses = each.exp().numpy() * steps
        assert masses.sum() == pytest.approx(1.0, abs=1e-4)
        mean = coder.center[features[1]] + coder.scale[features[1]] * float(
            distribution.mean_of_value(value)
        )
        # The mean of whole numbers is that of their cells' mixture, but for its rounding.
        assert mean == pytest.approx(masses @ values, abs=0.25 if k == 1 else 1e-3)


def test_rows_with_missing_numbers_are_learned_from():
    X = mixed_rows(200)
    X[::3, 1] = np.nan
    X[1::5, 3] = np.nan
    model = OfColumns(1, likelihood="mixed", max_iter=6, learning_rate_init=0.02, **QUICK).fit(X)
    whole = mixed_rows(30, seed=3)
    scores, errors = model.score_samples(whole, return_std=True)
    np.testing.assert_allclose(scores, log_prob(model, whole), atol=5.0 * errors.max() + 0.05)
    assert np.isfinite(model.score_samples(X)).all()


def labelled_rows(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    category = np.where(rng.random(n) < 0.9, y, 2)
    number = 3.0 * y + rng.standard_normal(n)
    return np.column_stack([category, number, rng.integers(0, 4, n)]), y


@pytest.mark.parametrize("kind", [ConditionalVAE, SemiSupervisedVAE])
def test_classes_are_told_by_categories_and_numbers(kind, tmp_path):
    X, y = labelled_rows()
    if kind is SemiSupervisedVAE:
        y = np.where(np.arange(len(y)) % 2, y, -1)
    settings = {"max_iter": 6, "learning_rate_init": 0.02, "n_importance_samples": 20, **QUICK}
    model = kind(2, categorical_features=[0, 2], **settings).fit(X, y)
    assert model.likelihood_ == "mixed"
    known = y >= 0
    assert (model.predict(X)[known] == y[known]).mean() > 0.85
    draws = model.sample(200, y=1, random_state=0)
    assert np.isin(draws[:, 0], [0.0, 1.0, 2.0]).all()
    assert (draws[:, 0] == 1.0).mean() > 0.6
    bounded = model.sample(20, y=0, given={0: {0.0, 2.0}}, random_state=0)
    assert np.isin(bounded[:, 0], [0.0, 2.0]).all()
    rows = model.reconstruct(X, y=None)
    assert np.isin(rows[:, 0], [0.0, 1.0, 2.0]).all()
    save(model, tmp_path / "model.probgen")
    loaded = load(tmp_path / "model.probgen")
    np.testing.assert_array_equal(loaded.score_samples(X[:10]), model.score_samples(X[:10]))
    np.testing.assert_array_equal(loaded.sample(3), model.sample(3))


@pytest.mark.parametrize(
    "settings", [{"prior": VampPrior(5)}, {"posterior": "iaf"}, {"elbo": "iwae"}]
)
def test_priors_posteriors_and_bounds_take_mixed_rows(settings):
    X, _ = labelled_rows(100)
    model = VAE(2, categorical_features=[0, 2], max_iter=1, **QUICK, **settings).fit(X)
    assert np.isfinite(model.score_samples(X[:5])).all()
    assert np.isin(model.sample(5)[:, 2], np.arange(4.0)).all()


def test_images_have_no_mixed_columns():
    X, _ = labelled_rows(50)
    with pytest.raises(ValueError, match="architecture='conv' and image_shape are for images"):
        VAE(2, categorical_features=[0], image_shape=(1, 3), **QUICK).fit(X)
