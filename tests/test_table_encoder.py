"""TableEncoder: scikit-learn's contract, densities, draws and conditions through pipelines."""

import pickle

import numpy as np
import pandas as pd
import pytest
from polars.testing import assert_frame_equal
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import dice, mixed_frame, mixed_polars

import probgen
from probgen import (
    BayesClassifier,
    GaussianMixture,
    Likelihood,
    get_likelihood,
    make_generative_pipeline,
)
from probgen.base import GeneratorMixin
from probgen.pipeline import log_abs_det_jacobian
from probgen.tables import TableEncoder


@parametrize_with_checks([TableEncoder()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


class StandardNormal(GeneratorMixin, BaseEstimator):
    """Independent standard normal columns."""

    def fit(self, X, y=None):
        self._validate(X, reset=True)
        return self

    def _sample(self, n_samples, generator):
        return generator.standard_normal((n_samples, self.n_features_in_))

    def _score_samples(self, X):
        return stats.norm.logpdf(X).sum(axis=1)


def standard(frame, **settings):
    return make_generative_pipeline(TableEncoder(random_state=0, **settings), StandardNormal()).fit(
        frame
    )


def mixture(frame, n_shifts=8, **settings):
    encoder = TableEncoder(n_shifts=n_shifts, random_state=0, **settings)
    return make_generative_pipeline(encoder, GaussianMixture(3, random_state=0)).fit(frame)


@pytest.mark.parametrize("frame", [mixed_frame(), mixed_polars(), dice()])
def test_rows_come_back(frame):
    encoder = TableEncoder(random_state=0)
    for encoded in (encoder.fit_transform(frame), encoder.transform(frame)):
        assert np.isfinite(encoded).all()
        rows = encoder.inverse_transform(encoded)
        assert type(rows) is type(frame)
        if isinstance(frame, pd.DataFrame):
            pd.testing.assert_frame_equal(rows, frame)
        else:
            assert_frame_equal(rows, frame)


def test_outputs_have_names():
    names = TableEncoder().fit(dice()).get_feature_names_out()
    assert list(names) == ["kind", "eyes", "rain_outcome", "rain"]


class TestDensity:
    def test_of_a_category_is_its_share_under_independent_normals(self):
        frame = pd.DataFrame({"kind": ["a"] * 6 + ["b"] * 3, "other": ["x", "y", "z"] * 3})
        model = standard(frame, handle_unknown="error")
        expected = np.log(6.5 / 10.0) + np.log(3.5 / 10.5)
        np.testing.assert_allclose(model.score_samples(frame[:6]), expected, rtol=1e-6)

    def test_of_an_atom_and_of_the_numbers_beside_it_add_up_to_one(self):
        frame = dice()[["rain"]]
        model = standard(frame)
        log_zero = model.score_samples(pd.DataFrame({"rain": [0.0]}))[0]
        x = np.linspace(0.0, 60.0, 60_001)[1:]
        density = np.exp(model.score_samples(pd.DataFrame({"rain": x})))
        np.testing.assert_allclose(np.exp(log_zero), (frame["rain"] == 0).mean(), atol=1e-3)
        np.testing.assert_allclose(np.trapezoid(density, x) + np.exp(log_zero), 1.0, rtol=2e-3)

    def test_of_whole_numbers_is_below_their_probability_and_close(self):
        frame = pd.DataFrame({"n": np.random.default_rng(0).poisson(60.0, 500) + 5})
        model = make_generative_pipeline(
            TableEncoder(n_shifts=64, random_state=0), GaussianMixture(random_state=0)
        ).fit(frame)
        encoder, normal = model[0], model[1]
        cells = pd.DataFrame({"n": np.arange(20, 120)})
        ends = encoder._maps[0].image(np.arange(19.5, 120.0))
        scale = np.sqrt(normal.covariances_[0, 0, 0])
        truth = np.log(np.diff(stats.norm.cdf(ends, normal.means_[0, 0], scale)))
        scores = model.score_samples(cells)
        assert np.all(scores < truth + 1e-3)  # of the mean over 64 shifts
        np.testing.assert_allclose(scores, truth, atol=0.05)

    def test_of_dependent_categories_is_below_their_probability_and_close(self):
        rng = np.random.default_rng(0)
        first = rng.choice(["a", "b", "c"], 1000)
        second = np.where(rng.random(1000) < 0.6, first, "a")
        frame = pd.DataFrame({"first": first, "second": second})
        encoder = TableEncoder(n_shifts=256, handle_unknown="error", random_state=0)
        model = make_generative_pipeline(encoder, GaussianMixture(random_state=0)).fit(frame)
        normal = stats.multivariate_normal(model[1].means_[0], model[1].covariances_[0])
        cells = pd.DataFrame([(a, b) for a in "abc" for b in "abc"], columns=["first", "second"])
        ends = [each.ends for each in model[0]._maps]
        truth = []
        for row in model[0]._encode(cells).astype(int):
            low, high = (
                stats.norm.ppf([ends[j][level + side] for j, level in enumerate(row)])
                for side in (0, 1)
            )
            truth.append(normal.cdf(np.clip(high, -9, 9), lower_limit=np.clip(low, -9, 9)))
        np.testing.assert_allclose(np.sum(truth), 1.0, rtol=1e-5)
        scores = model.score_samples(cells)
        assert np.all(scores < np.log(truth) + 0.02)  # of the mean over 256 shifts
        np.testing.assert_allclose(scores, np.log(truth), atol=0.3)

    def test_of_real_columns_is_exact(self):
        X = np.random.default_rng(0).normal(3.0, 2.0, size=(300, 2))
        frame = pd.DataFrame(X, columns=["a", "b"])
        model = make_generative_pipeline(TableEncoder(), GaussianMixture(2, random_state=0))
        assert get_likelihood(model.fit(frame)) == Likelihood("exact", "lebesgue", "input")
        plain = GaussianMixture(2, random_state=0, reg_covar=0.0).fit(X)
        model.set_params(gaussianmixture__reg_covar=0.0).fit(frame)
        np.testing.assert_allclose(model.score(frame), plain.score(X), rtol=1e-6)

    def test_marginalises_gaps_on_request(self):
        frame = dice()
        frame.loc[::5, "eyes"] = np.nan
        frame.loc[::7, "kind"] = None
        model = mixture(frame, missing="marginalise")
        row = frame.iloc[[35]]
        both = [
            np.exp(model.score_samples(row.assign(kind=kind, eyes=eyes)))[0]
            for kind in "abc"
            for eyes in range(9)
        ]
        np.testing.assert_allclose(np.log(np.sum(both)), model.score_samples(row)[0], atol=0.15)

    def test_counts_gaps_as_outcomes(self):
        frame = dice()
        frame.loc[::5, "eyes"] = np.nan
        drawn = mixture(frame).sample(5000, random_state=0)
        np.testing.assert_allclose(drawn["eyes"].isna().mean(), 0.2, atol=0.03)

    def test_scores_categories_that_were_not_seen(self):
        model = mixture(dice())
        row = dice()[:1]
        assert model.score(row.assign(kind="z")) < model.score(row) - 2.0
        assert not np.isin("z", model.sample(2000, random_state=0)["kind"])

    @pytest.mark.parametrize(
        ("columns", "measure"),
        [(["kind"], "counting"), (["kind", "eyes"], "counting"), (["eyes", "rain"], "mixed")],
    )
    def test_says_its_measure(self, columns, measure):
        likelihood = get_likelihood(mixture(dice()[columns]))
        assert likelihood == Likelihood("lower_bound", measure, "input")


class TestDraws:
    @pytest.mark.parametrize("frame", [mixed_frame(), mixed_polars()])
    def test_are_frames_like_the_fitted_one(self, frame):
        drawn = mixture(frame).sample(50, random_state=0)
        assert type(drawn) is type(frame)
        assert list(drawn.columns) == list(frame.columns)
        assert list(drawn.dtypes) == list(frame.dtypes)

    def test_keep_bounds_and_shares(self):
        frame = dice()
        drawn = mixture(frame).sample(5000, random_state=0)
        assert (drawn["rain"] >= 0.0).all()
        np.testing.assert_allclose(
            (drawn["rain"] == 0).mean(), (frame["rain"] == 0).mean(), atol=0.03
        )
        shares = frame["kind"].value_counts(normalize=True)
        np.testing.assert_allclose(
            drawn["kind"].value_counts(normalize=True)[shares.index], shares, atol=0.03
        )

    def test_under_conditions_are_the_draws_that_meet_them(self):
        model = mixture(dice())
        given = {"kind": {"a", "c"}, "eyes": (2, 5), "rain": (0.0, 2.0)}
        drawn = model.sample(4000, given=given, random_state=0)
        free = model.sample(20_000, random_state=1)
        meets = free["kind"].isin(["a", "c"]) & free["eyes"].between(2, 5) & (free["rain"] <= 2.0)
        for rows in (
            drawn["kind"].isin(["a", "c"]),
            drawn["eyes"].between(2, 5),
            drawn["rain"] <= 2,
        ):
            assert rows.all()
        expected = free[meets]
        for measured, of in (
            ((drawn["kind"] == "a").mean(), (expected["kind"] == "a").mean()),
            (drawn["eyes"].mean() / 6, expected["eyes"].mean() / 6),
            ((drawn["rain"] == 0).mean(), (expected["rain"] == 0).mean()),
        ):
            np.testing.assert_allclose(measured, of, atol=0.04)

    def test_keep_known_values(self):
        drawn = mixture(dice()).sample(
            4, given={"kind": ["a", "b", "a", "c"], "rain": [0.0, 1.25, np.nan, 0.5]}
        )
        assert list(drawn["kind"]) == ["a", "b", "a", "c"]
        assert drawn["rain"].iloc[[0, 1, 3]].tolist() == [0.0, 1.25, 0.5]

    def test_pass_a_column_transformer(self):
        frame = dice().assign(extra=np.random.default_rng(0).normal(50.0, 9.0, 2000))
        columns = ColumnTransformer(
            [("scaled", StandardScaler(), ["extra"])], remainder=TableEncoder(random_state=0)
        )
        model = make_generative_pipeline(columns, GaussianMixture(3, random_state=0)).fit(frame)
        drawn = model.sample(300, given={"kind": {"a", "b"}, "extra": (50.0, 60.0)}, random_state=0)
        assert list(drawn.columns) == list(frame.columns)
        assert set(drawn["kind"]) == {"a", "b"}
        assert drawn["extra"].between(50.0, 60.0).all()
        alone = make_generative_pipeline(
            TableEncoder(random_state=0), GaussianMixture(3, random_state=0)
        )
        np.testing.assert_allclose(model.score(frame), alone.fit(frame).score(frame), atol=0.3)


def test_the_jacobian_is_that_of_the_shift():
    encoder = TableEncoder(random_state=0).fit(dice())
    at_middle = log_abs_det_jacobian(encoder, dice())
    assert not np.allclose(log_abs_det_jacobian(encoder.at_shift(1), dice()), at_middle)


def test_searches_choose_among_pipelines_of_tables():
    search = GridSearchCV(
        make_generative_pipeline(TableEncoder(random_state=0), GaussianMixture(random_state=0)),
        {"gaussianmixture__n_components": [1, 3]},
        cv=3,
    ).fit(dice())
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_classes_share_the_kinds_of_their_columns():
    frame = dice()
    labels = np.where(frame["eyes"] > 3, "high", "low")
    pipeline = make_generative_pipeline(
        TableEncoder(random_state=0), GaussianMixture(random_state=0)
    )
    model = BayesClassifier(pipeline, random_state=0).fit(frame, labels)
    assert (model.predict(frame) == labels).mean() > 0.95
    drawn = model.sample(20, y="low", random_state=0)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert (drawn["eyes"] <= 4).mean() > 0.8


def test_survives_pickle_and_files(tmp_path):
    model = mixture(mixed_frame())
    probgen.save(model, tmp_path / "model.probgen")
    for copy in (probgen.load(tmp_path / "model.probgen"), pickle.loads(pickle.dumps(model))):
        pd.testing.assert_frame_equal(
            copy.sample(5, random_state=0), model.sample(5, random_state=0)
        )
        assert copy.score(mixed_frame()) == model.score(mixed_frame())


def test_a_table_may_be_the_kinds():
    encoder = TableEncoder(random_state=0).fit(dice())
    other = clone(encoder).set_params(kinds=encoder._table).fit(dice()[:20])
    assert other._table == encoder._table
