"""Mixtures of independent columns against enumeration, other libraries and published numbers."""

import itertools
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB

from probgen import (
    BayesClassifier,
    GaussianMixture,
    MixtureModel,
    RowBlocks,
    get_likelihood,
    load,
    save,
)
from probgen.tables.columns import Column

RNG = np.random.default_rng(0)
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
COLUMNS = [  # all kinds of discrete columns that a table may have
    Column("colour", "category", levels=("a", "b", "c")),
    Column("answer", "boolean", levels=(False, True), has_gaps=True),
    Column("rooms", "integer", atoms=(2.0,), step=1.0, low=0.0, high=4.0, rest="modelled"),
    Column(
        "faults",
        "integer",
        atoms=(0.0,),
        has_gaps=True,
        step=1.0,
        low=0.0,
        high=3.0,
        rest="fixed",
        center=2.0,
    ),
    Column("unit", "constant", levels=("m",)),
]
CODES = [[0, 1, 2], [0, 1, np.nan], [0, 1, 2, 3, 4], [0, 1, 2, 3, np.nan], [0]]
TABLE = np.array(list(itertools.product(*CODES)), dtype=float)


class Tabular(MixtureModel):
    """A mixture whose columns are those of a table, though rows come as arrays."""

    columns = COLUMNS

    def _array_columns(self, X):
        return self.columns


def rows_of_table(n=600, seed=1):
    """Dependent rows, by two classes of unlike probabilities."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * np.linspace(-1.0, 1.0, len(TABLE)) ** 2 + 0.2 * TABLE[:, 0] * TABLE[:, 2]
    weights = np.exp(logits - 0.5 * (TABLE[:, 2] - 2.0) ** 2)
    return TABLE[rng.choice(len(TABLE), n, p=weights / weights.sum())]


@pytest.fixture(scope="module")
def table_model():
    return Tabular(2, tol=1e-4, random_state=0).fit(rows_of_table())


def probabilities(model):
    """Of all rows of the table."""
    return np.exp(model.score_samples(TABLE))


class TestTables:
    def test_probabilities_add_up_to_one(self, table_model):
        p = probabilities(table_model)
        assert p.min() > 0.0
        assert p.sum() == pytest.approx(1.0, abs=1e-10)
        assert get_likelihood(table_model).measure == "counting"

    def test_draws_follow_the_probabilities(self, table_model):
        draws = table_model.sample(20_000, random_state=0)
        check_draws(draws, probabilities(table_model))

    @pytest.mark.parametrize(
        "given, keeps",
        [
            ({0: 1.0}, lambda x: x[:, 0] == 1.0),
            ({2: 2.0, 3: 3.0}, lambda x: (x[:, 2] == 2.0) & (x[:, 3] == 3.0)),
            ({2: (1.0, 3.0)}, lambda x: (x[:, 2] >= 1.0) & (x[:, 2] <= 3.0)),
            ({2: (None, 1.5), 3: (0.5, None)}, lambda x: (x[:, 2] <= 1.5) & (x[:, 3] >= 0.5)),
            ({3: (-1.0, 1.0)}, lambda x: x[:, 3] <= 1.0),
            ({0: {0, 2}}, lambda x: x[:, 0] != 1.0),
            ({1: {1, np.nan}}, lambda x: x[:, 1] != 0.0),
            ({2: {0, 2, 4}, 3: {0, 3}}, lambda x: (x[:, 2] % 2 == 0.0) & (x[:, 3] % 3 == 0.0)),
            ({0: (0.5, None), 3: {np.nan}}, lambda x: (x[:, 0] >= 1.0) & np.isnan(x[:, 3])),
        ],
    )
    def test_conditions_are_those_of_enumeration(self, table_model, given, keeps):
        kept = probabilities(table_model) * keeps(TABLE)
        n = 4000
        conditions = table_model._parse_given(given, n)
        log_given = table_model._log_given(conditions)
        np.testing.assert_allclose(np.exp(log_given), kept.sum(), rtol=1e-9)
        draws = table_model.sample(n, given=given, random_state=1)
        check_draws(draws, kept / kept.sum())

    def test_conditions_may_differ_from_row_to_row(self, table_model):
        n = 400
        low = np.where(np.arange(n) % 2, 2.0, -np.inf)
        value = np.where(np.arange(n) % 4 < 2, 1.0, np.nan)
        draws = table_model.sample(n, given={2: (low, 4.0), 0: value}, random_state=1)
        assert np.all(draws[:, 2] >= low)
        assert np.all(draws[:, 0][~np.isnan(value)] == 1.0)
        p = probabilities(table_model)
        conditions = table_model._parse_given({2: (low, 4.0), 0: value}, n)
        log_given = table_model._log_given(conditions)
        for i in range(4):
            kept = ~(TABLE[:, 2] < low[i]) & (np.isnan(value[i]) | (TABLE[:, 0] == value[i]))
            assert np.exp(log_given[i]) == pytest.approx(p[kept].sum(), rel=1e-9)

    def test_missing_values_are_summed_over(self, table_model):
        p = probabilities(table_model)
        rows = np.array([[np.nan, 1.0, np.nan, 0.0, 0.0], [2.0, np.nan, np.nan, np.nan, np.nan]])
        # A gap is an outcome in the columns that model it, and unknown in others.
        truth = [
            p[(TABLE[:, 1] == 1.0) & (TABLE[:, 3] == 0.0)].sum(),
            p[(TABLE[:, 0] == 2.0) & np.isnan(TABLE[:, 1]) & np.isnan(TABLE[:, 3])].sum(),
        ]
        np.testing.assert_allclose(np.exp(table_model.score_samples(rows)), truth, rtol=1e-10)

    def test_imputed_values_are_those_of_enumeration(self, table_model):
        rows = np.array([[np.nan, 1.0, np.nan, 0.0, 0.0], [1.0, np.nan, 3.0, 2.0, 0.0]])
        p = probabilities(table_model)
        filled = table_model.impute(rows)
        q = p * ((TABLE[:, 1] == 1.0) & (TABLE[:, 3] == 0.0))
        by_level = [q[TABLE[:, 0] == level].sum() for level in range(3)]
        assert filled[0, 0] == np.argmax(by_level)
        assert filled[0, 2] == np.rint(q @ TABLE[:, 2] / q.sum())
        # What would be there in place of a gap, given that there is one.
        posterior = table_model.predict_proba(rows[1:])[0]
        answers = table_model.parameters_["answer"]["probabilities"][:, :2]
        answers = posterior @ (answers / answers.sum(axis=1, keepdims=True))
        assert filled[1, 1] == np.argmax(answers)
        np.testing.assert_array_equal(filled[~np.isnan(rows)], rows[~np.isnan(rows)])
        many = table_model.impute(np.repeat(rows[1:], 4000, axis=0), method="draw", random_state=0)
        assert np.mean(many[:, 1]) == pytest.approx(answers[1], abs=0.04)

    def test_integer_weights_are_repeats(self):
        rows = rows_of_table(300)
        weights = RNG.integers(0, 3, len(rows))
        settings = {"n_components": 2, "max_iter": 6, "tol": 0.0, "random_state": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            weighted = Tabular(**settings).fit(rows, sample_weight=weights)
            repeated = Tabular(**settings).fit(np.repeat(rows, weights, axis=0))
        np.testing.assert_allclose(
            weighted.score_samples(TABLE), repeated.score_samples(TABLE), rtol=1e-8
        )

    def test_one_component_continues_exactly(self):
        rows = rows_of_table(400)
        whole = Tabular(smoothing=0.5).fit(rows)
        parts = Tabular(smoothing=0.5).fit(rows[:150])
        parts.partial_fit(rows[150:310]).partial_fit(rows[310:])
        for model in (whole, parts):
            for _ in range(30):  # the numbers between ends need several M-steps
                model._mixture = _one_more_m_step(model)
        np.testing.assert_allclose(
            parts.score_samples(TABLE), whole.score_samples(TABLE), rtol=1e-7
        )

    def test_blocks_are_an_array(self):
        rows = rows_of_table(500)
        settings = {"n_components": 2, "random_state": 0}
        whole = Tabular(**settings).fit(rows)
        blocks = BlockTabular(**settings).fit(RowBlocks([rows[:200], rows[200:]]))
        # Starts differ by the order of the sample alone.
        assert blocks.lower_bound_ == pytest.approx(whole.lower_bound_, abs=0.2)
        assert blocks.score_samples(TABLE).shape == (len(TABLE),)

    @unconverged
    def test_likelihoods_rise(self):
        model = Tabular(3, smoothing=0.0, tol=0.0, max_iter=25, random_state=0)
        bounds = np.array(model.fit(rows_of_table()).lower_bounds_)
        assert np.all(np.diff(bounds) >= -1e-10)
        assert bounds[-1] == pytest.approx(model.score(rows_of_table()), abs=1e-3)

    def test_files_hold_the_model(self, table_model, tmp_path):
        model = MixtureModel(2)
        vars(model).update(vars(table_model))
        save(model, tmp_path / "model.probgen")
        copy = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(copy.score_samples(TABLE), model.score_samples(TABLE))
        np.testing.assert_array_equal(
            copy.sample(9, random_state=0), model.sample(9, random_state=0)
        )
        assert copy._columns == COLUMNS


class BlockTabular(Tabular):
    """The same for blocks, whose columns come from their greatest numbers."""

    def _columns_up_to(self, highest):
        return self.columns


def _one_more_m_step(model):
    from probgen.mixtures.em import maximisation

    return maximisation(model._mixture, model._state["statistics"], model.smoothing)[0]


def check_draws(draws, p):
    """Pearson's test of rows of the table against their probabilities, rare rows pooled."""
    keys = np.nan_to_num(TABLE, nan=9.0) @ 10.0 ** np.arange(TABLE.shape[1])
    drawn = np.nan_to_num(draws, nan=9.0) @ 10.0 ** np.arange(TABLE.shape[1])
    counts = np.array([np.sum(drawn == key) for key in keys])
    assert counts.sum() == len(draws)
    assert counts[p == 0.0].sum() == 0
    often = p * len(draws) >= 5.0
    observed = np.append(counts[often], counts[~often].sum())
    expected = np.append(p[often], p[~often].sum()) * len(draws)
    used = expected > 0.0
    assert stats.chisquare(observed[used], expected[used]).pvalue > 1e-4


MIXED = {
    "n": "normal",
    "t": "student_t",
    "l": "lognormal",
    "e": "exponential",
    "g": "gamma",
    "b": "beta",
    "p": "poisson",
    "nb": "negative_binomial",
    "bit": "bernoulli",
    "c": "categorical",
}


def mixed_rows(n=900, missing=0.0):
    """Rows of two clusters in columns of each family, and their clusters."""
    rng = np.random.default_rng(2)
    k = rng.integers(2, size=n)
    X = np.column_stack(
        [
            rng.normal(4.0 * k, 1.0 + k),
            3.0 * k + rng.standard_t(3.0, n),
            rng.lognormal(k, 0.5),
            rng.exponential(1.0 + 3.0 * k),
            rng.gamma(2.0 + 3.0 * k, 2.0),
            rng.beta(1.0 + 3.0 * k, 2.0),
            rng.poisson(1.0 + 5.0 * k),
            rng.negative_binomial(1.5, 0.2 + 0.5 * k),
            rng.random(n) < 0.2 + 0.6 * k,
            rng.integers(0, 3 + k),
        ]
    )
    X[rng.random(X.shape) < missing] = np.nan
    return X, k


DISTRIBUTIONS = dict(enumerate(MIXED.values()))


@pytest.fixture(scope="module")
def model():
    X, _ = mixed_rows()
    return MixtureModel(2, distributions=DISTRIBUTIONS, random_state=0).fit(X)


class TestMixedColumns:
    def test_clusters_and_parameters_are_found(self, model):
        X, k = mixed_rows()
        labels = model.predict(X)
        assert max(np.mean(labels == k), np.mean(labels != k)) > 0.95
        order = np.argsort(model.parameters_[0]["mean"])
        for column, name, truth in [
            (0, "mean", [0.0, 4.0]),
            (2, "mean_log", [0.0, 1.0]),
            (3, "mean", [1.0, 4.0]),
            (6, "mean", [1.0, 6.0]),
        ]:
            np.testing.assert_allclose(model.parameters_[column][name][order], truth, atol=0.4)
        assert model.parameters_[4]["distribution"] == "gamma"
        assert get_likelihood(model).measure == "mixed"

    @unconverged
    @pytest.mark.parametrize("missing", [0.0, 0.3])
    def test_likelihoods_rise(self, missing):
        X, _ = mixed_rows(300, missing)
        settings = {"smoothing": 0.0, "tol": 0.0, "max_iter": 40, "random_state": 0}
        model = MixtureModel(3, distributions=DISTRIBUTIONS, **settings).fit(X)
        assert np.all(np.diff(model.lower_bounds_) >= -1e-10)
        last = MixtureModel(3, distributions=DISTRIBUTIONS, **{**settings, "max_iter": 39}).fit(X)
        assert model.lower_bound_ == pytest.approx(last.score(X), rel=1e-10)

    def test_densities_are_sums_of_products(self, model):
        X = mixed_rows()[0][:40]
        p = model.parameters_
        joint = np.log(model.weights_) + np.zeros((len(X), 2))
        x = X[:, :, None]
        joint += stats.norm.logpdf(x[:, 0], p[0]["mean"], p[0]["scale"])
        joint += stats.t.logpdf(x[:, 1], p[1]["df"], p[1]["mean"], p[1]["scale"])
        joint += stats.lognorm.logpdf(x[:, 2], p[2]["scale_log"], 0.0, np.exp(p[2]["mean_log"]))
        joint += stats.expon.logpdf(x[:, 3], 0.0, p[3]["mean"])
        joint += stats.gamma.logpdf(x[:, 4], p[4]["shape"], 0.0, p[4]["scale"])
        joint += stats.beta.logpdf(x[:, 5], p[5]["a"], p[5]["b"])
        joint += stats.poisson.logpmf(x[:, 6], p[6]["mean"])
        sizes = p[7]["size"]
        joint += stats.nbinom.logpmf(x[:, 7], sizes, sizes / (sizes + p[7]["mean"]))
        for column in (8, 9):
            joint += np.log(p[column]["probabilities"].T[X[:, column].astype(int)])
        np.testing.assert_allclose(model.score_samples(X), logsumexp(joint, axis=1), rtol=1e-9)
        missing = X.copy()
        missing[:, [0, 9]] = np.nan
        joint -= stats.norm.logpdf(x[:, 0], p[0]["mean"], p[0]["scale"])
        joint -= np.log(p[9]["probabilities"].T[X[:, 9].astype(int)])
        np.testing.assert_allclose(
            model.score_samples(missing), logsumexp(joint, axis=1), rtol=1e-9
        )
        np.testing.assert_allclose(
            model.predict_proba(missing),
            np.exp(joint - logsumexp(joint, axis=1, keepdims=True)),
            atol=1e-9,
        )

    def test_draws_are_in_the_support_and_follow_conditions(self, model):
        draws = model.sample(2000, given={0: (3.0, None), 6: (4.0, 9.0), 9: 3.0}, random_state=0)
        assert np.all((draws[:, 0] >= 3.0) & (draws[:, 6] >= 4.0) & (draws[:, 6] <= 9.0))
        assert np.isfinite(model.score_samples(draws)).all()
        upper = np.argmax(model.parameters_[0]["mean"])
        assert model.predict_proba(draws)[:, upper].mean() > 0.95
        free = model.sample(4000, random_state=0)
        X, _ = mixed_rows(4000)
        for j in (0, 2, 4, 5):
            assert stats.ks_2samp(free[:, j], X[:, j]).pvalue > 1e-3

    def test_more_rows_continue_the_fit(self):
        X, _ = mixed_rows()
        X = np.delete(X, 1, axis=1)  # Student's t has no sufficient statistics
        distributions = [name for name in DISTRIBUTIONS.values() if name != "student_t"]
        settings = {"distributions": dict(enumerate(distributions)), "min_categories": 4}
        whole = MixtureModel(**settings).fit(X)
        parts = MixtureModel(**settings).partial_fit(X[:400]).partial_fit(X[400:])
        np.testing.assert_allclose(parts.score_samples(X), whole.score_samples(X), rtol=1e-5)

    def test_units_of_real_columns_do_not_matter(self):
        X, _ = mixed_rows(400)
        factors = np.array([1e-9, 3e2, 7e8, 1e-3, 50.0, 1.0, 1.0, 1.0, 1.0, 1.0])
        shifts = np.array([1e-6, -1e5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        there = X * factors + shifts
        settings = {"n_components": 2, "distributions": DISTRIBUTIONS, "random_state": 0}
        before = MixtureModel(**settings).fit(X)
        after = MixtureModel(**settings).fit(there)
        np.testing.assert_allclose(
            after.score_samples(there), before.score_samples(X) - np.log(factors).sum(), rtol=1e-6
        )
        np.testing.assert_array_equal(after.predict(there), before.predict(X))
        draws = before.sample(50, random_state=0) * factors + shifts
        np.testing.assert_allclose(after.sample(50, random_state=0), draws, rtol=1e-5)

    def test_imputed_numbers_are_conditional_means(self, model):
        X = mixed_rows()[0][:5]
        rows = X.copy()
        rows[:, [0, 3, 6, 9]] = np.nan
        posterior = model.predict_proba(rows)
        p = model.parameters_
        filled = model.impute(rows)
        np.testing.assert_allclose(filled[:, 0], posterior @ p[0]["mean"], rtol=1e-9)
        np.testing.assert_allclose(filled[:, 3], posterior @ p[3]["mean"], rtol=1e-9)
        np.testing.assert_array_equal(filled[:, 6], np.rint(posterior @ p[6]["mean"]))
        levels = np.argmax(posterior @ p[9]["probabilities"], axis=1)
        np.testing.assert_array_equal(filled[:, 9], levels)


class TestAtoms:
    def test_zeros_have_a_probability_and_other_numbers_a_density(self):
        rng = np.random.default_rng(0)
        income = np.where(rng.random(800) < 0.3, 0.0, rng.gamma(2.0, 3.0, 800))
        X = np.column_stack([income, rng.normal(size=800)])
        model = MixtureModel(distributions={0: "gamma"}, atoms={0: [0.0]}, smoothing=0.0).fit(X)
        share = np.mean(income == 0.0)
        found = model.parameters_[0]
        np.testing.assert_allclose(found["probabilities"], [[share, 1.0 - share]])
        scores = model.score_samples(np.array([[0.0, np.nan], [5.0, np.nan]]))
        density = stats.gamma(found["shape"][0], 0.0, found["scale"][0]).pdf(5.0)
        np.testing.assert_allclose(np.exp(scores), [share, (1.0 - share) * density], rtol=1e-9)
        drawn = model.sample(4000, random_state=0)[:, 0]
        assert np.mean(drawn == 0.0) == pytest.approx(share, abs=0.03)
        inside = model.sample(500, given={0: (0.0, 4.0)}, random_state=0)[:, 0]
        mass = (1.0 - share) * stats.gamma(found["shape"][0], 0.0, found["scale"][0]).cdf(4.0)
        assert np.mean(inside == 0.0) == pytest.approx(share / (share + mass), abs=0.08)
        assert get_likelihood(model).measure == "mixed"
        mean = model.impute(np.array([[np.nan, 0.0]]))[0, 0]
        assert mean == pytest.approx(income.mean(), rel=1e-6)


def joint(X, y, columns, **settings):
    return BayesClassifier(MixtureModel(1, tol=1e-12, **settings), random_state=0).fit(X, y)


class TestNaiveBayes:
    X, y = load_iris(return_X_y=True)

    def test_normal_numbers(self):
        ours = BayesClassifier(MixtureModel(1, min_scale=1e-9)).fit(self.X, self.y)
        theirs = GaussianNB(var_smoothing=0.0).fit(self.X, self.y)
        np.testing.assert_allclose(
            ours.predict_proba(self.X), theirs.predict_proba(self.X), atol=1e-9
        )

    @pytest.mark.parametrize("alpha", [0.3, 1.0])
    def test_bits(self, alpha):
        bits = (self.X > np.median(self.X, axis=0)).astype(float)
        ours = BayesClassifier(MixtureModel(distributions="bernoulli", smoothing=alpha)).fit(
            bits, self.y
        )
        theirs = BernoulliNB(alpha=alpha).fit(bits, self.y)
        np.testing.assert_allclose(ours.predict_proba(bits), theirs.predict_proba(bits), atol=1e-9)

    @pytest.mark.parametrize("alpha", [0.3, 1.0])
    def test_levels(self, alpha):
        levels = np.floor(self.X)
        ours = BayesClassifier(MixtureModel(distributions="categorical", smoothing=alpha)).fit(
            levels, self.y
        )
        theirs = CategoricalNB(alpha=alpha).fit(levels, self.y)
        np.testing.assert_allclose(
            ours.predict_proba(levels), theirs.predict_proba(levels), atol=1e-9
        )

    def test_counts_are_multinomial_given_their_sum(self):
        rng = np.random.default_rng(0)
        counts = rng.poisson(1.0 + self.X)
        ours = BayesClassifier(MixtureModel(distributions="poisson")).fit(counts, self.y)
        theirs = MultinomialNB(alpha=1e-12).fit(counts, self.y)
        totals = counts.sum(axis=1)
        means = np.array([totals[self.y == k].mean() for k in range(3)])
        log_joint = theirs.predict_joint_log_proba(counts)
        log_joint = log_joint + stats.poisson.logpmf(totals[:, None], means)
        truth = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
        np.testing.assert_allclose(ours.predict_proba(counts), truth, atol=1e-9)

    def test_classes_share_their_levels_and_take_conditions(self):
        levels = np.floor(self.X)
        model = BayesClassifier(MixtureModel(distributions="categorical"), random_state=0)
        model.fit(levels, self.y)
        assert {len(m.parameters_[2]["probabilities"].T) for m in model.estimators_} == {7}
        draws, y = model.sample(200, given={2: {5, 6}}, return_y=True)
        assert np.isin(draws[:, 2], [5.0, 6.0]).all()
        assert np.isin(y, [1, 2]).mean() > 0.9


class TestAgainstOthers:
    def test_three_poissons_of_earthquakes(self):
        if not os.environ.get("PROBGEN_DATA_HOME"):
            pytest.skip("PROBGEN_DATA_HOME does not say where data are")
        path = Path(os.environ["PROBGEN_DATA_HOME"]) / "earthquakes.csv"
        counts = np.loadtxt(path, delimiter=",", skiprows=1)[:, 1:]
        settings = {"tol": 1e-9, "max_iter": 2000, "random_state": 0}
        model = MixtureModel(3, distributions="poisson", **settings).fit(counts)
        total = -model.score_samples(counts).sum()
        assert total == pytest.approx(356.8489, abs=1e-3)  # Zucchini & MacDonald, 2009, table 1.2

    @pytest.mark.parametrize(
        "name, column, family, fixed",
        [
            ("normal", 0, stats.norm, {}),
            ("student_t", 1, stats.t, {}),
            ("lognormal", 2, stats.lognorm, {"floc": 0.0}),
            ("exponential", 3, stats.expon, {"floc": 0.0}),
            ("gamma", 4, stats.gamma, {"floc": 0.0}),
            ("beta", 5, stats.beta, {"floc": 0.0, "fscale": 1.0}),
        ],
    )
    def test_one_component_is_the_fit_of_scipy(self, name, column, family, fixed):
        x = mixed_rows(300)[0][:, column]
        if name == "student_t":  # of one cluster, or EM takes long to see that it is normal
            x = np.random.default_rng(0).standard_t(4.0, 300)
        truth = family(*family.fit(x, **fixed)).logpdf(x)
        model = MixtureModel(distributions=name, tol=1e-9, max_iter=3000).fit(x[:, None])
        assert model.score(x[:, None]) == pytest.approx(truth.mean(), abs=1e-6)
        assert model.score(x[:, None]) >= truth.mean() - 1e-8

    @unconverged
    def test_normal_columns_are_a_diagonal_gaussian_mixture(self):
        X, _ = load_iris(return_X_y=True)
        settings = {"max_iter": 30, "tol": 0.0, "random_state": 0}
        ours = MixtureModel(3, **settings).fit(X)
        theirs = GaussianMixture(3, covariance_type="diag", reg_covar=0.0, **settings).fit(X)
        np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-7)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
        assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-6)
        assert ours.aic(X) == pytest.approx(theirs.aic(X), rel=1e-6)

    def test_starts_and_warm_starts(self):
        X, _ = mixed_rows(300)
        one = MixtureModel(4, distributions=DISTRIBUTIONS, random_state=0, tol=1e-2)
        several = MixtureModel(**{**one.get_params(), "n_init": 3, "n_jobs": 2}).fit(X)
        alone = MixtureModel(**{**one.get_params(), "n_init": 3}).fit(X)
        assert several.lower_bound_ == alone.lower_bound_ >= one.fit(X).lower_bound_ - 0.05
        bound = several.lower_bound_
        several.set_params(warm_start=True, tol=1e-3).fit(X)
        assert several.lower_bounds_[0] >= bound - 1e-9

    @unconverged
    def test_blocks_are_an_array(self):
        X, _ = mixed_rows(300)
        settings = {"distributions": DISTRIBUTIONS, "tol": 0.0, "max_iter": 5}
        whole = MixtureModel(**settings).fit(X)
        blocks = MixtureModel(**settings).fit(RowBlocks([X[:100], X[100:250], X[250:]]))
        np.testing.assert_allclose(blocks.score_samples(X), whole.score_samples(X), rtol=1e-5)


class TestBadInput:
    @pytest.mark.parametrize(
        "parameters, sentence",
        [
            ({"distributions": "gauss"}, "distributions must be one of 'auto', 'normal'"),
            ({"distributions": {5: "normal"}}, "distributions must name columns of X"),
            ({"distributions": {0: 3}}, "distributions must be one of"),
            ({"atoms": 3}, "atoms must be 'auto', None or a dict"),
            ({"atoms": {0: "x"}}, r"atoms\[0\] must be a number or a list"),
            ({"categorical_features": "all"}, "categorical_features must be 'from_dtype'"),
            ({"min_categories": -1, "distributions": "categorical"}, "min_categories must be"),
            ({"smoothing": -1.0}, "smoothing must be a finite number >= 0"),
            ({"min_scale": 0.0}, "min_scale must be a finite number in"),
            ({"distributions": "poisson"}, "needs whole numbers >= 0 and NaN in column"),
            ({"distributions": "beta"}, "needs numbers above 0 and below 1"),
            ({"distributions": "categorical"}, "needs whole numbers from 0 to"),
        ],
    )
    def test_sentences(self, parameters, sentence):
        X = RNG.normal(size=(20, 2)) * 3.0
        with pytest.raises(ValueError, match=sentence):
            MixtureModel(**parameters).fit(X)

    def test_queries_refuse_what_has_no_density(self):
        X, _ = mixed_rows(200)
        model = MixtureModel(distributions=DISTRIBUTIONS).fit(X)
        for column, value in [(2, -1.0), (5, 1.0), (6, 0.5), (8, 2.0), (9, 7.0), (3, -0.1)]:
            rows = X[:2].copy()
            rows[1, column] = value
            with pytest.raises(ValueError, match=f"in column {column}; X holds {value:g}"):
                model.score_samples(rows)
            with pytest.raises(ValueError, match=f"given .* (feature|column) {column}"):
                model.sample(1, given={column: value})
            with pytest.raises(ValueError, match="X holds"):
                model.partial_fit(rows)

    def test_impossible_conditions_are_refused(self):
        X, _ = mixed_rows(200)
        model = MixtureModel(distributions=DISTRIBUTIONS).fit(X)
        with pytest.raises(ValueError, match="impossible under the fitted model"):
            model.sample(1, given={6: (0.2, 0.8)})

    def test_empty_components_are_moved_and_counted(self):
        X = np.repeat([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], 5, axis=0)
        settings = {"distributions": "categorical", "smoothing": 0.0, "random_state": 0}
        model = MixtureModel(3, max_iter=2000, tol=1e-6, **settings).fit(X)
        assert np.isfinite(model.score_samples(X)).all()
        assert model.score(X) == pytest.approx(-np.log(3.0), abs=1e-3)
