"""Distances between samples, against closed forms and sums over all pairs."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture as PlainMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probgen import GaussianMixture, make_generative_pipeline
from probgen.metrics import frechet_distance, kernel_mmd, make_sample_quality_scorer, mmd

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3)) @ RNG.standard_normal((3, 3)) + [1.0, -2.0, 5.0]
Y = 1.5 * RNG.standard_normal((45, 3)) + [0.0, 1.0, 4.0]


def with_moments(mean, root, n_rows=50):
    """Rows whose mean and covariance root root' are exact."""
    rows = RNG.standard_normal((n_rows, len(mean)))
    rows -= rows.mean(axis=0)
    rows = np.linalg.qr(rows)[0] * np.sqrt(n_rows - 1.0)
    return rows @ np.transpose(root) + mean


class TestFrechetDistance:
    def test_of_known_gaussians(self):
        root_x, root_y = RNG.standard_normal((2, 4, 4))
        mean_x, mean_y = RNG.standard_normal((2, 4))
        covariance_x, covariance_y = root_x @ root_x.T, root_y @ root_y.T
        cross = np.trace(sqrtm(covariance_x @ covariance_y).real)
        truth = np.sum((mean_x - mean_y) ** 2) + np.trace(covariance_x + covariance_y) - 2.0 * cross
        value = frechet_distance(
            with_moments(mean_x, root_x), with_moments(mean_y, root_y, n_rows=80)
        )
        assert value == pytest.approx(truth, rel=1e-10)

    def test_of_independent_columns(self):
        """Each adds (difference of means)^2 + (difference of deviations)^2."""
        x = with_moments([0.0, 1.0], np.diag([1.0, 3.0]))
        y = with_moments([2.0, 1.0], np.diag([5.0, 0.5]))
        assert frechet_distance(x, y) == pytest.approx(2.0**2 + 4.0**2 + 2.5**2)

    def test_of_singular_covariances(self):
        """On two lines at an angle the trace of the root is |a'b|, for C = a a' and b b'."""
        a, b = np.array([3.0, 4.0, 0.0]), np.array([1.0, 2.0, 2.0])
        x, y = (with_moments([0.0], [[1.0]]) * line for line in (a, b))
        assert frechet_distance(x, y) == pytest.approx(a @ a + b @ b - 2.0 * abs(a @ b), rel=1e-10)

    def test_of_fewer_rows_than_columns(self):
        x, y = RNG.standard_normal((2, 6, 40))
        roots = [np.cov(rows, rowvar=False) for rows in (x, y)]
        values, vectors = np.linalg.eigh(roots[0])
        root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ roots[1] @ root), 0.0)).sum()
        truth = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(roots[0] + roots[1]) - 2.0 * cross
        assert frechet_distance(x, y) == pytest.approx(truth, rel=1e-6)

    def test_is_zero_for_the_same_rows_in_any_order_and_symmetric(self):
        far = X + 1e6
        assert frechet_distance(far, far[::-1]) == pytest.approx(0.0, abs=1e-9)
        assert frechet_distance(X, Y) == pytest.approx(frechet_distance(Y, X), rel=1e-12)
        assert frechet_distance(np.ones((5, 2)), np.ones((7, 2))) == 0.0

    def test_bias_of_small_samples_is_the_one_of_the_notes(self):
        """Of means alone, for n = 4000: d/n + d/m."""
        rows = RNG.standard_normal((20, 2, 4000, 3))
        means = np.mean([np.sum((x.mean(0) - y.mean(0)) ** 2) for x, y in rows])
        values = np.mean([frechet_distance(x, y) for x, y in rows])
        assert means == pytest.approx(6 / 4000, rel=0.5)
        assert means < values < 3.0 * means


class TestKernelMMD:
    @pytest.mark.parametrize("unbiased", [True, False])
    @pytest.mark.parametrize("block_numbers", [1, 500, 2**20])
    def test_by_sums_over_all_pairs(self, unbiased, block_numbers, monkeypatch):
        monkeypatch.setattr(mmd, "BLOCK_NUMBERS", block_numbers)
        sizes = [0.5, 3.0]

        def mean_kernel(a, b, leave_out):
            kernels = np.mean([np.exp(-(cdist(a, b) ** 2) / (2.0 * s**2)) for s in sizes], axis=0)
            keep = ~np.eye(len(a), dtype=bool) if leave_out else slice(None)
            return kernels[keep].mean()

        truth = (
            mean_kernel(X, X, unbiased)
            + mean_kernel(Y, Y, unbiased)
            - 2.0 * mean_kernel(X, Y, False)
        )
        assert kernel_mmd(X, Y, bandwidths=sizes, unbiased=unbiased) == pytest.approx(
            truth, rel=1e-10
        )

    def test_expectation_under_gaussians(self):
        """E k(x, y) = |C / s^2|^(-1/2) exp(-u' C^(-1) u / 2).

        C is C_X + C_Y + s^2 I, and u the difference of the means.
        """
        size, shift = 1.3, np.array([0.5, -0.25])
        root_x, root_y = np.array([[1.0, 0.0], [0.5, 0.7]]), np.array([[0.8, 0.0], [-0.3, 1.2]])

        def mean_kernel(first, second, u):
            covariance = first @ first.T + second @ second.T + size**2 * np.eye(2)
            return np.exp(-0.5 * u @ np.linalg.solve(covariance, u)) / np.sqrt(
                np.linalg.det(covariance / size**2)
            )

        zero = np.zeros(2)
        truth = mean_kernel(root_x, root_x, zero) + mean_kernel(root_y, root_y, zero)
        truth -= 2.0 * mean_kernel(root_x, root_y, shift)
        values = [
            kernel_mmd(a @ root_x.T + shift, b @ root_y.T, bandwidths=size)
            for a, b in RNG.standard_normal((400, 2, 50, 2))
        ]
        assert abs(np.mean(values) - truth) < 3.0 * np.std(values) / 20.0
        assert truth > 5.0 * np.std(values) / 20.0

    def test_bandwidths_are_factors_of_the_median_distance_in_the_first_sample(self):
        median = np.median(pdist(X))
        chosen = kernel_mmd(X, Y, bandwidths=median * np.array([0.25, 0.5, 1.0, 2.0, 4.0]))
        assert kernel_mmd(X, Y) == pytest.approx(chosen, rel=1e-10)
        assert kernel_mmd(1e3 * X, 1e3 * Y) == pytest.approx(chosen, rel=1e-9)
        many = RNG.standard_normal((5000, 2))
        assert mmd._median_distance(many) == pytest.approx(np.median(pdist(many[::3])), rel=0.05)

    def test_far_from_zero_no_digits_are_lost(self):
        assert kernel_mmd(X + 1e7, Y + 1e7) == pytest.approx(kernel_mmd(X, Y), rel=1e-6)

    def test_repeated_rows(self):
        ones = np.ones((4, 2))
        assert kernel_mmd(ones, ones) == 0.0
        assert kernel_mmd(ones, ones + 100.0) == pytest.approx(2.0)
        assert kernel_mmd(np.vstack([ones, ones[:1] + 1.0]), ones, unbiased=False) > 0.0


@pytest.mark.parametrize("distance", [frechet_distance, kernel_mmd])
def test_features_are_a_function_or_a_transformer(distance):
    pca = PCA(2).fit(X)
    truth = distance(pca.transform(X), pca.transform(Y))
    assert distance(X, Y, features=pca) == distance(X, Y, features=pca.transform) == truth
    assert distance(pd.DataFrame(X), pd.DataFrame(Y)) == pytest.approx(distance(X, Y), rel=1e-12)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_mmd])
@pytest.mark.parametrize(
    "rows, settings, sentence",
    [
        (Y[:, :2], {}, "X and Y must have the same columns; got 3 and 2"),
        (Y[:1], {}, r"minimum of 2 is required"),
        (np.where(Y > 2.0, np.nan, Y), {}, "Input Y contains NaN"),
        (
            Y,
            {"features": 3},
            "features must be a function of rows, a fitted transformer or None; got 3",
        ),
        (Y, {"features": lambda rows: rows[:1]}, r"minimum of 2 is required"),
        (
            Y,
            {"features": lambda rows: rows[:, : len(rows) // 30]},
            r"features\(X\) and features\(Y\) must have the same columns; got 2 and 1",
        ),
    ],
    ids=["columns", "rows", "nan", "features", "few-features", "other-features"],
)
def test_bad_input_is_reported(distance, rows, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        distance(X, rows, **settings)


@pytest.mark.parametrize(
    "bandwidths",
    [0.0, 1e-200, [1.0, -1.0], [1.0, np.nan], "wide"],
    ids=["0", "square-of-0", "below", "nan", "word"],
)
def test_bandwidths_are_above_zero(bandwidths):
    with pytest.raises(ValueError, match="bandwidths must be a finite number"):
        kernel_mmd(X, Y, bandwidths=bandwidths)


def test_there_is_a_bandwidth():
    with pytest.raises(ValueError, match="bandwidths must hold at least one number, or be None"):
        kernel_mmd(X, Y, bandwidths=[])


class TestScorer:
    @pytest.mark.parametrize("name, distance", [("mmd", kernel_mmd), ("frechet", frechet_distance)])
    def test_is_minus_the_distance_to_draws(self, name, distance):
        model = GaussianMixture(random_state=0).fit(X)
        scorer = make_sample_quality_scorer(name, random_state=3)
        truth = -distance(X, model.sample(len(X), random_state=3))
        assert scorer(model, X) == scorer(model, X, np.zeros(len(X))) == truth
        assert scorer(model, X.tolist()) == truth
        few = make_sample_quality_scorer(
            distance, n_samples=10, random_state=3, features=PCA(1).fit(X)
        )
        draws = model.sample(10, random_state=3)
        assert few(model, X) == -distance(X, draws, features=few.settings["features"])

    def test_finds_the_model_that_fits(self):
        rows = np.concatenate([RNG.normal(-4.0, 0.5, (150, 2)), RNG.normal(4.0, 0.5, (150, 2))])[
            RNG.permutation(300)
        ]
        search = GridSearchCV(GaussianMixture(random_state=0), {"n_components": [1, 2]}, cv=3)
        search.set_params(scoring=make_sample_quality_scorer("mmd"), n_jobs=1).fit(rows)
        assert search.best_params_ == {"n_components": 2}

    def test_through_pipelines_and_pickles(self):
        scorer = pickle.loads(
            pickle.dumps(make_sample_quality_scorer("frechet", features=PCA(1).fit(X)))
        )
        pipeline = make_generative_pipeline(StandardScaler(), GaussianMixture(random_state=0))
        scores = cross_val_score(
            pipeline, pd.DataFrame(X, columns=list("abc")), scoring=scorer, cv=2
        )
        assert np.all(scores < 0.0)

    def test_estimators_that_cannot_sample(self):
        pipeline = make_pipeline(StandardScaler(), PlainMixture()).fit(X)
        scorer = make_sample_quality_scorer()
        with pytest.raises(TypeError, match="make_generative_pipeline"):
            scorer(pipeline, X)

    @pytest.mark.parametrize(
        "settings, sentence",
        [
            ({"distance": "euclid"}, "distance must be one of 'frechet', 'mmd'; got 'euclid'"),
            ({"n_samples": 1}, "n_samples must be an integer >= 2; got 1"),
            ({"random_state": "a"}, "random_state must be None"),
        ],
    )
    def test_bad_arguments(self, settings, sentence):
        with pytest.raises(ValueError, match=sentence):
            make_sample_quality_scorer(**settings)

    def test_says_what_it_is(self):
        text = repr(make_sample_quality_scorer("frechet", n_samples=9, features=None))
        assert (
            text
            == "make_sample_quality_scorer('frechet', n_samples=9, random_state=0, features=None)"
        )
