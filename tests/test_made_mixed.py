"""Masked networks of mixed rows: each column under a distribution of its own."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import chisquare
from tables import mixed_frame

from probgen import MADE, FullyVisibleBeliefNetwork, Trainer, get_likelihood, load, save
from probgen.options import AutoLikelihood, Mixed
from probgen.row_blocks import RowBlocks
from probgen.tables.columns import Column

QUICK = {"max_iter": 8, "random_state": 0, "device": "cpu", "trainer": Trainer()}
TOP = 30.0  # above all draws of the real column
COLUMNS = [
    Column("a", "category", levels=("x", "y", "z"), has_gaps=True),
    Column("n", "integer", atoms=(0.0, 3.0), step=1.0, low=0.0, high=6.0, rest="modelled"),
    Column("b", "category", levels=("u", "v")),
    Column("r", "real", atoms=(0.0,), low=0.0, rest="modelled"),
]
SIZES = (4, 7, 2)


class OfColumns(MADE):
    """A MADE of arrays whose columns are known."""

    def _array_columns(self, X):
        return COLUMNS


class OfFixed(MADE):
    """A MADE of a category and of a count whose rare values have a fixed distribution."""

    def _array_columns(self, X):
        counts = {"atoms": (1.0, 2.0), "step": 1.0, "low": 0.0, "rest": "fixed"}
        return [
            Column("b", "category", levels=("u", "v")),
            Column("f", "integer", center=1.5, scale=1.2, **counts),
        ]


def mixed_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, n).astype(float)
    k = np.clip(rng.poisson(1.0 + a), 0, 6)
    b = (rng.random(n) < 0.2 + 0.1 * k).astype(float)
    r = np.where(rng.random(n) < 0.3 + 0.3 * b, 0.0, rng.gamma(2.0, 1.0 + b, n))
    a[a == 3.0] = np.nan
    return np.column_stack([a, k, b, r])


def grid():
    """All rows, of which the real column has an atom and a quadrature, and their weights."""
    points, weights = np.polynomial.legendre.leggauss(120)
    values = np.concatenate([[0.0], 0.5 * TOP * (points + 1.0)])
    weights = np.concatenate([[1.0], 0.5 * TOP * weights])
    levels = ([0.0, 1.0, 2.0, np.nan], range(7), [0.0, 1.0], values)
    rows = np.array(list(itertools.product(*levels)))
    return rows, np.tile(weights, len(rows) // len(weights))


ROWS, WEIGHTS = grid()
MODELS = {
    "one order": {},
    "two orders": {"n_orderings": 2},
    "any order": {"order_agnostic": True},
    "no hidden layer": {"hidden_layer_sizes": ()},
}


@pytest.fixture(scope="module", params=list(MODELS))
def fitted(request):
    settings = {"hidden_layer_sizes": (24,), "dropout": 0.0, **QUICK, **MODELS[request.param]}
    model = OfColumns(likelihood=Mixed(n_mixture=3), **settings).fit(mixed_rows(600))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probabilities = np.exp(model.score_samples(ROWS)) * WEIGHTS
    return model, probabilities.reshape(*SIZES, -1)


def places(draws):
    """Cells (n, 4) of draws: gaps last, and of the real column whether it is 0."""
    cells = np.where(np.isnan(draws), 3.0, draws)
    cells[:, 3] = draws[:, 3] > 0.0
    return cells.astype(int)


def assert_follow(draws, table):
    """Pearson's test of draws against probabilities (4, 7, 2, 2); rare cells are together."""
    counts = np.zeros(table.shape)
    np.add.at(counts, tuple(places(draws).T), 1)
    assert counts[table == 0.0].sum() == 0
    expected = len(draws) * table.ravel() / table.sum()
    often = expected >= 5.0
    observed = np.append(counts.ravel()[often], counts.ravel()[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    assert chisquare(observed[expected > 0.0], expected[expected > 0.0]).pvalue > 1e-3


def with_atom(cells):
    """Probabilities (4, 7, 2, 2), of which the last axis is whether the real column is not 0."""
    return np.stack([cells[..., 0], cells[..., 1:].sum(axis=-1)], axis=-1)


class TestDensity:
    def test_all_rows_together_have_probability_one(self, fitted):
        assert fitted[1].sum() == pytest.approx(1.0, abs=2e-4)

    def test_draws_follow_it(self, fitted):
        model, cells = fitted
        draws = model.sample(20_000, random_state=0)
        assert draws[:, 3].min() == 0.0
        assert_follow(draws, with_atom(cells))
        # The means of the real column too, by a test of 5 standard errors.
        values = ROWS[: cells.shape[-1], 3]
        share = cells.sum(axis=(0, 1, 2))
        error = draws[:, 3].std() / np.sqrt(len(draws))
        assert draws[:, 3].mean() == pytest.approx(share @ values, abs=5.0 * error)

    def test_its_measure_is_mixed(self, fitted):
        assert get_likelihood(fitted[0]).measure == "mixed"
        assert get_likelihood(fitted[0]).kind == "exact"

    def test_columns_add_up_to_it(self, fitted):
        model, _ = fitted
        X = mixed_rows(20, seed=1)
        by_column = model.conditional_log_prob(X)
        assert by_column.shape == X.shape
        if len(model.orderings_) == 1:
            np.testing.assert_allclose(by_column.sum(axis=1), model.score_samples(X), rtol=1e-5)

    def test_missing_values_are_integrated_out(self, fitted):
        model, cells = fitted
        X = np.array([[1.0, 2.0, np.nan, np.nan], [np.nan, 0.0, 1.0, np.nan]])
        scores, errors = model.score_samples(X, return_std=True)
        truth = np.log([cells[1, 2].sum(), cells[3, 0, 1].sum()])
        # A gap among the categories is an outcome, and known.
        np.testing.assert_allclose(scores, truth, atol=5.0 * errors.max() + 1e-3)
        if len(model.orderings_) == 1:
            assert not errors.any()

    def test_a_level_of_a_column_without_gaps_cannot_be_missing_in_fit(self):
        X = mixed_rows(50)
        X[3, 1] = np.nan
        with pytest.raises(ValueError, match=r"X contains NaN, which OfColumns cannot learn from"):
            OfColumns(likelihood="mixed", **QUICK).fit(X)


class TestConditions:
    def test_draws_within_intervals_and_sets_follow_the_density(self, fitted):
        model, cells = fitted
        given = {0: {1.0, np.nan}, 1: (0.5, 4.5)}
        table = with_atom(cells).copy()
        table[[0, 2]] = 0.0
        table[:, [0, 5, 6]] = 0.0
        assert_follow(model.sample(1000, given=given, random_state=0), table)

    def test_an_interval_may_hold_an_atom_and_numbers(self, fitted):
        model, cells = fitted
        draws = model.sample(1500, given={3: (-1.0, 2.0)}, random_state=0)
        assert draws[:, 3].max() <= 2.0
        assert draws[:, 3].min() == 0.0
        if model.order_agnostic:
            return  # exact under the order with this column first, which is another joint density
        shares = np.exp(model.score_samples(np.column_stack([ROWS[:, :3], 0.0 * ROWS[:, 3]])))
        assert shares[:: cells.shape[-1]].sum() == pytest.approx(cells[..., 0].sum(), rel=1e-3)
        points, weights = np.polynomial.legendre.leggauss(40)
        below = 0.0
        for point, weight in zip(points + 1.0, weights):
            X = ROWS[:: cells.shape[-1]].copy()
            X[:, 3] = point
            below += weight * np.exp(model.score_samples(X)).sum()
        share = cells[..., 0].sum() / (cells[..., 0].sum() + below)
        assert (draws[:, 3] == 0.0).mean() == pytest.approx(share, abs=0.05)

    def test_a_set_of_whole_numbers_holds_atoms_and_others(self, fitted):
        model, cells = fitted
        draws = model.sample(1000, given={1: {0.0, 3.0, 5.0}}, random_state=0)
        assert np.isin(draws[:, 1], [0.0, 3.0, 5.0]).all()
        table = with_atom(cells).copy()
        table[:, [1, 2, 4, 6]] = 0.0
        if not model.order_agnostic:
            assert_follow(draws, table)

    def test_values_are_kept_and_others_follow(self, fitted):
        model, cells = fitted
        draws = model.sample(1000, given={2: 1.0, 1: 3.0}, random_state=0)
        assert np.all(draws[:, [1, 2]] == [3.0, 1.0])
        table = np.zeros((4, 7, 2, 2))
        table[:, 3, 1] = with_atom(cells)[:, 3, 1]
        if not model.order_agnostic:
            assert_follow(draws, table)

    @pytest.mark.parametrize(
        "given, sentence",
        [
            ({0: 3.0}, "column 'a' must hold codes of its categories, 0 to 2; got 3"),
            ({1: (6.2, 9.0)}, "given must leave column 'n' a value of its distribution"),
            ({3: -1.0}, "column 'r' must hold values between 0 and inf, as in fit; got -1"),
            ({3: {2.5}}, "column 'r' must be given a value or an interval, as it holds real"),
        ],
    )
    def test_what_cannot_be_is_refused(self, fitted, given, sentence):
        with pytest.raises(ValueError, match=sentence):
            fitted[0].sample(2, given=given)

    def test_imputed_rows_have_levels_and_whole_numbers_and_no_gaps(self, fitted):
        model, _ = fitted
        X = mixed_rows(30, seed=2)
        X[::2, 1] = np.nan
        X[1::2, 3] = np.nan
        for method in ("mean", "draw"):
            filled = model.impute(X, method=method, random_state=0)
            known = ~np.isnan(X)
            assert np.array_equal(filled[known], X[known])
            assert np.isin(filled[:, 0], [0.0, 1.0, 2.0]).all()
            assert np.isin(filled[:, 1], np.arange(7.0)).all()
            assert (filled[:, 3] >= 0.0).all()


def test_a_fixed_rest_has_its_probability_and_its_draws():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 2, 300), rng.integers(1, 3, 300)]).astype(float)
    X[:3, 1] = [0.0, 5.0, 7.0]
    model = OfFixed((8,), likelihood="mixed", **QUICK).fit(X)
    rows = np.array(list(itertools.product([0.0, 1.0], range(80))))
    probabilities = np.exp(model.score_samples(rows)).reshape(2, 80)
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-4)
    assert get_likelihood(model).measure == "counting"
    # Masses of the cells of a logistic of twice the deviation, without those of the atoms.
    ends = expit((np.arange(81) - 0.5 - 1.5) / (2.4 * np.sqrt(3.0) / np.pi))
    masses = np.delete(np.diff(ends), [1, 2])
    rest = np.delete(probabilities, [1, 2], axis=1)
    np.testing.assert_allclose(
        rest / rest.sum(axis=1, keepdims=True), [masses / masses.sum()] * 2, rtol=1e-3, atol=1e-9
    )
    draws = model.sample(3000, given={1: (1.5, 6.0)}, random_state=0)
    expected = probabilities.sum(axis=0)[2:7]
    counts = np.bincount(draws[:, 1].astype(int), minlength=7)[2:7]
    assert counts.sum() == 3000
    assert chisquare(counts, 3000 * expected / expected.sum()).pvalue > 1e-3
    np.testing.assert_allclose(
        model.conditional_log_prob(rows).sum(axis=1), model.score_samples(rows), rtol=1e-5
    )


def frame_like(n=2000, seed=0):
    """Rows like those of a census: categories, an age, and a capital gain that is mostly 0."""
    rng = np.random.default_rng(seed)
    work, country = rng.integers(0, 7, n), np.minimum(rng.geometric(0.4, n) - 1, 40)
    age = 17.0 + rng.gamma(3.0, 7.0, n)
    income = rng.random(n) < expit(0.1 * (age - 45.0) + 0.3 * (work - 3.0))
    return np.column_stack([work, country, age, income]).astype(float)


class TestArrays:
    def test_drawn_categories_are_those_of_the_data(self):
        X = frame_like()
        X[X[:, 1] == 2.0, 1] = 3.0  # no row has the level 2
        model = MADE((32,), categorical_features=[0, 1, 3], **QUICK).fit(X)
        assert model.likelihood_ == "mixed"
        draws = model.sample(5000, random_state=0)
        for j in (0, 1, 3):
            assert np.isin(draws[:, j], np.arange(X[:, j].max() + 1.0)).all()
        assert (draws[:, 1] == 2.0).mean() < 0.002

    @pytest.mark.parametrize(
        "features", [[0, 1, 3], [-4, 1, -1], np.array([True, True, False, True]), None]
    )
    def test_masks_indices_and_names_say_the_same(self, features):
        X = frame_like(60)
        if features is None:
            X = pd.DataFrame(X, columns=list("wcai"))
            features = ["w", "c", "i"]
        settings = {**QUICK, "max_iter": 1}
        model = MADE((4,), categorical_features=features, **settings).fit(X)
        assert [column.kind for column in model._columns] == ["category"] * 2 + ["real", "category"]

    def test_a_belief_network_takes_them_too(self):
        X = frame_like(100)
        model = FullyVisibleBeliefNetwork(categorical_features=[0, 1, 3], **QUICK).fit(X)
        assert np.isfinite(model.score_samples(X)).all()
        assert model.transform(X).shape == (100, model.observation_.n_outputs)

    def test_without_categories_rows_stay_as_they_were(self):
        X = frame_like(60)
        model = MADE((4,), **{**QUICK, "max_iter": 1}).fit(X)
        assert model.likelihood_ == "gaussian_mixture"
        assert model._columns is None

    def test_a_saved_model_is_the_same(self, tmp_path):
        X = frame_like(200)
        model = MADE((8,), categorical_features=[0, 1, 3], n_orderings=2, **QUICK).fit(X)
        save(model, tmp_path / "model.probgen")
        loaded = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))
        np.testing.assert_array_equal(loaded.sample(5), model.sample(5))
        epochs = loaded.n_iter_
        assert loaded.partial_fit(X).n_iter_ == epochs + 1

    def test_units_of_a_column_do_not_matter(self):
        X = frame_like(200)
        scaled = X * [1.0, 1.0, 1024.0, 1.0]
        models = [
            MADE((8,), categorical_features=[0, 1, 3], **QUICK).fit(rows) for rows in (X, scaled)
        ]
        scores = [model.score(rows) for model, rows in zip(models, (X, scaled))]
        assert scores[0] - scores[1] == pytest.approx(np.log(1024.0), abs=1e-4)

    @pytest.mark.parametrize(
        "settings, rows, sentence",
        [
            (
                {"categorical_features": [7]},
                None,
                "categorical_features must be 'from_dtype', a mask",
            ),
            ({"categorical_features": [2]}, None, "X must hold whole numbers from 0 in column 2"),
            (
                {"categorical_features": [0], "dynamic_binarization": True},
                None,
                "dynamic_binarization=True draws rows of 0 and 1, but X has columns",
            ),
            ({"likelihood": "mixed"}, "blocks", "X must be an array or a frame where columns"),
            ({"likelihood": Mixed(n_mixture=0)}, None, "n_mixture must be an integer >= 1; got 0"),
        ],
    )
    def test_what_does_not_suit_is_refused(self, settings, rows, sentence):
        X = frame_like(50)
        if rows == "blocks":
            X = RowBlocks([X[:20], X[20:]])
        with pytest.raises(ValueError, match=sentence):
            MADE((4,), **QUICK, **settings).fit(X)

    def test_a_level_that_no_row_of_the_fit_had_is_refused(self):
        X = frame_like(50)
        model = MADE(
            (4,), categorical_features=[0], likelihood=AutoLikelihood(n_mixture=2), **QUICK
        )
        model.fit(X)
        assert model.observation_.n_mixture == 2
        with pytest.raises(ValueError, match="column 0 must hold codes of its categories, 0 to 6"):
            model.score_samples(np.add(X, [7.0, 0.0, 0.0, 0.0]))


def test_conditions_on_a_frame_are_in_its_words():
    frame = mixed_frame(200)
    model = MADE((8,), **{**QUICK, "max_iter": 1}).fit(frame)
    given = {"city": {"Ulm"}, "rain": (0.5, None), "count": None, "size": {"s", "m"}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="given is hard to meet")
        draws = model.sample(30, given=given, random_state=0)
    assert (draws["city"] == "Ulm").all()
    assert (draws["rain"] >= 0.5).all()
    assert draws["count"].isna().all()
    assert draws["size"].isin(["s", "m"]).all()
    gaps = frame.head(5).assign(rain=np.nan)
    filled = model.impute(gaps)
    assert filled.notna().all().all()
    assert (filled["rain"] >= 0.0).all()
