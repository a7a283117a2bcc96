"""Gaussian families give the same answers in all units of the features.

For maps x -> a x + b of single features, scores move by -sum log|a|, predictions and
responsibilities stay, and draws and imputed values map.
"""

import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import load_iris, load_wine, make_moons
from sklearn.mixture import GaussianMixture as Theirs
from sklearn.naive_bayes import GaussianNB

from probgen import GaussianBayes, GaussianMixture, RowBlocks

TYPES = ["full", "tied", "diag", "spherical", "low_rank"]
SEEDS = range(4)
each = pytest.mark.parametrize
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def clusters(seed, n_rows=240, missing=0.0):
    """Rows of three clusters in four features, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_rows) % 3
    centers = 6.0 * rng.standard_normal((3, 4))
    mixing = np.eye(4) + 0.4 * rng.standard_normal((3, 4, 4))
    rows = centers[labels] + np.einsum(
        "nj,nij->ni", rng.standard_normal((n_rows, 4)), mixing[labels]
    )
    rows[2:][rng.random((n_rows - 2, 4)) < missing] = np.nan  # but in two rows, for conditions
    return rows, labels


def in_units(rows, seed, covariance_type="full", far=9.0, sign=1.0):
    """Rows in other units, and the same rows in the old ones, as far as the new ones carry them.

    Slopes (d,) are from 1e-9 to 1e9, offsets (d,) up to 10**far deviations.
    """
    rng = np.random.default_rng(100 + seed)
    d = rows.shape[1]
    size = 1 if covariance_type == "spherical" else d
    slopes = sign * np.broadcast_to(10.0 ** rng.uniform(-9.0, 9.0, size), d)
    reach = rng.choice([-1.0, 1.0], d) * 10.0 ** rng.uniform(0.0, far, d)
    offsets = reach * slopes * np.nanstd(rows, axis=0)
    mapped = slopes * rows + offsets
    return mapped, (mapped - offsets) / slopes, slopes, offsets


def assert_same(first, second, rows, mapped, slopes, offsets):
    """Fits of rows and of rows in other units give the same answers, in those units."""
    log_slopes = ~np.isnan(rows) @ np.log(np.abs(slopes))
    scores = first.score_samples(rows)
    moved = second.score_samples(mapped) + log_slopes
    np.testing.assert_allclose(moved, scores, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(second.predict(mapped), first.predict(rows))
    np.testing.assert_allclose(
        second.predict_proba(mapped), first.predict_proba(rows), rtol=1e-5, atol=1e-6
    )
    value, low = rows[0, 0], rows[1, 1]
    queries = [
        ({}, {}),
        ({"given": {0: value}}, {"given": {0: slopes[0] * value + offsets[0]}}),
        ({"given": {1: (low, None)}}, {"given": {1: (slopes[1] * low + offsets[1], None)}}),
        (
            {"given": {1: (low, None), 2: (None, rows[1, 2])}},
            {
                "given": {
                    1: (slopes[1] * low + offsets[1], None),
                    2: (None, slopes[2] * rows[1, 2] + offsets[2]),
                }
            },
        ),
    ]
    deviations = np.nanstd(rows, axis=0)
    for arguments, in_other_units in queries:
        expected = first.sample(20, random_state=1, **arguments)
        drawn = (second.sample(20, random_state=1, **in_other_units) - offsets) / slopes
        np.testing.assert_allclose(drawn / deviations, expected / deviations, atol=1e-4)


class TestMixtures:
    @unconverged
    @each("seed", [0, 1, 2, 6])  # of 3 and 5, starts tie, and rounding chooses
    @each("missing", [0.0, 0.2])
    @each("covariance_type", TYPES)
    def test_do_not_depend_on_units(self, covariance_type, missing, seed):
        rows, _ = clusters(seed, missing=missing)
        mapped, rows, slopes, offsets = in_units(rows, seed, covariance_type)
        weights = np.random.default_rng(seed).integers(1, 4, len(rows)).astype(float)
        settings = {
            "covariance_type": covariance_type,
            "n_factors": 2,
            "reg_covar": 0.0,
            "max_iter": 15,
            "tol": 0.0,
            "random_state": seed,
        }
        first = GaussianMixture(3, **settings).fit(rows, sample_weight=weights)
        second = GaussianMixture(3, **settings).fit(mapped, sample_weight=weights)
        assert second.n_repaired_ == 0
        assert_same(first, second, rows, mapped, slopes, offsets)
        if missing:
            filled = (second.impute(mapped) - offsets) / slopes
            np.testing.assert_allclose(filled, first.impute(rows), atol=1e-4)

    @unconverged
    @each("init_params", ["kmeans", "k-means++", "random_from_data", "random"])
    @each("seed", SEEDS)
    def test_do_not_depend_on_signs_or_on_the_start(self, init_params, seed):
        rows, _ = clusters(seed)
        mapped, rows, slopes, _ = in_units(
            rows, seed, far=8.0, sign=np.array([1.0, -1.0, -1.0, 1.0])
        )
        settings = {"init_params": init_params, "reg_covar": 0.0, "max_iter": 10, "tol": 0.0}
        first = GaussianMixture(3, random_state=seed, **settings).fit(rows)
        second = GaussianMixture(3, random_state=seed, **settings).fit(mapped)
        np.testing.assert_allclose(
            second.score_samples(mapped) + np.log(np.abs(slopes)).sum(),
            first.score_samples(rows),
            rtol=1e-6,
            atol=1e-5,
        )

    @each("covariance_type", TYPES)
    def test_of_blocks_and_further_rows_do_not_depend_on_units(self, covariance_type):
        rows, _ = clusters(0, n_rows=600)
        mapped, rows, slopes, offsets = in_units(rows, 0, covariance_type)
        settings = {"covariance_type": covariance_type, "n_factors": 2, "reg_covar": 0.0}
        fits = []
        for X in (rows, mapped):
            model = GaussianMixture(3, random_state=0, tol=0.01, **settings)
            model.fit(RowBlocks([X[:150], X[150:400]])).partial_fit(X[400:])
            fits.append(model)
        assert_same(*fits, rows, mapped, slopes, offsets)

    @each("seed", SEEDS)
    def test_of_wide_rows_with_holes_do_not_depend_on_units(self, seed):
        # Wide enough for matrices that are inverted as wholes, by missing and observed features.
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((200, 45)) @ (np.eye(45) + 0.1 * rng.standard_normal((45, 45)))
        rows[::2][rng.random((100, 45)) < 0.45] = np.nan
        rows[1::2][rng.random((100, 45)) < 0.6] = np.nan
        mapped, rows, slopes, offsets = in_units(rows, seed, far=6.0)
        first = GaussianMixture(covariance_type="tied", max_iter=3, tol=10.0).fit(rows)
        second = GaussianMixture(
            covariance_type="tied",
            max_iter=0,
            weights_init=[1.0],
            means_init=first.means_ * slopes + offsets,
            precisions_init=first.precisions_ / np.outer(slopes, slopes),
        ).fit(mapped)
        observed = ~np.isnan(rows)
        np.testing.assert_allclose(
            second.score_samples(mapped) + observed @ np.log(slopes),
            first.score_samples(rows),
            rtol=1e-6,
        )
        filled = (second.impute(mapped) - offsets) / slopes
        np.testing.assert_allclose(filled, first.impute(rows), atol=1e-4)


class TestLocalSpread:
    """Clusters that are narrow beside the spread of the whole."""

    @each("covariance_type", TYPES)
    @each("beside_noise", [False, True])
    def test_bursts_far_apart_keep_their_deviations(self, beside_noise, covariance_type):
        rng = np.random.default_rng(0)
        bursts = [1.7e9 + k * 30 * 86_400 + rng.normal(0.0, 1.0, 300) for k in range(6)]
        X = np.concatenate(bursts)[:, None]
        truth = np.concatenate([norm(t.mean(), t.std()).logpdf(t) for t in bursts]) - np.log(6)
        if beside_noise:
            noise = rng.standard_normal((len(X), 1))
            X = np.column_stack([X, noise])
            parts = np.split(noise[:, 0], 6)
            truth = truth + np.concatenate([norm(z.mean(), z.std()).logpdf(z) for z in parts])
        model = GaussianMixture(
            6, covariance_type=covariance_type, n_factors=1, reg_covar=0.0, random_state=0
        ).fit(X)
        assert model.n_repaired_ == 0
        np.testing.assert_allclose(
            np.sort(model.means_[:, 0]), [t.mean() for t in bursts], atol=0.1
        )
        assert model.score(X) == pytest.approx(truth.mean(), abs=0.02)

    @each("wild", [1e5, 1e7, 1e9, 1e12])
    @each("n_features", [1, 3])
    def test_a_wild_value_hides_no_clusters(self, wild, n_features):
        rng = np.random.default_rng(0)
        rows = rng.normal(0.0, 0.05, (1000, n_features))
        rows[500:, 0] += 1.0
        X = np.append(rows, np.full((1, n_features), wild), axis=0)
        model = GaussianMixture(3, random_state=0).fit(X)
        means = np.sort(model.means_[:, 0])
        np.testing.assert_allclose(means[:2], [0.0, 1.0], atol=0.01)
        assert means[2] == pytest.approx(wild)
        peer = Theirs(2, random_state=0).fit(rows)
        truth = peer.score(rows) + np.log(1000 / 1001)
        assert model.score(rows) == pytest.approx(truth, abs=1e-3)

    @each("heading", [np.pi, 3.0, -np.pi])
    def test_a_missing_value_is_no_number(self, heading):
        headings = np.r_[np.zeros(60), np.full(60, heading)]
        headings[::4] = np.nan
        model = GaussianMixture(2, random_state=0).fit(np.c_[headings, np.zeros(120)])
        np.testing.assert_allclose(np.sort(model.means_[:, 0]), np.sort([0.0, heading]), atol=1e-6)


class TestClasses:
    @unconverged
    @each("seed", SEEDS)
    @each("n_components", [1, 2])
    @each("covariance_type", TYPES)
    def test_do_not_depend_on_units_by_default(self, covariance_type, n_components, seed):
        rows, labels = clusters(seed, missing=0.1 if seed % 2 else 0.0)
        rows[:, 3] = np.where(labels == 1, 2.0, rows[:, 3])  # constant in one class
        if covariance_type in ("spherical", "tied"):
            rows[:, 3] += np.random.default_rng(seed).standard_normal(len(rows))
        mapped, rows, slopes, offsets = in_units(rows, seed, covariance_type, far=5.0)
        settings = {
            "covariance_type": covariance_type,
            "n_components": n_components,
            "n_factors": 2,
            "max_iter": 15,
            "tol": 0.0,
            "random_state": seed,
        }
        weights = np.random.default_rng(seed).integers(1, 4, len(rows)).astype(float)
        first = GaussianBayes(**settings).fit(rows, labels, weights)
        second = GaussianBayes(**settings).fit(mapped, labels, weights)
        assert_same(first, second, rows, mapped, slopes, offsets)

    @each("covariance_type", TYPES[:4])
    def test_that_come_in_parts_equal_one_fit(self, covariance_type):
        rows, labels = clusters(0)
        mapped = in_units(rows, 0, covariance_type, far=4.0)[0]
        whole = GaussianBayes(covariance_type=covariance_type).fit(mapped, labels)
        parts = GaussianBayes(covariance_type=covariance_type)
        for part in (slice(0, 90), slice(90, None)):
            parts.partial_fit(mapped[part], labels[part], classes=[0, 1, 2])
        np.testing.assert_allclose(
            parts.score_samples(mapped), whole.score_samples(mapped), rtol=1e-8
        )

    @each("scale", [1e-9, 1e-4, 1.0, 1e6])
    @each("covariance_type", ["full", "diag"])
    def test_of_moons_are_found_in_every_unit(self, covariance_type, scale):
        X, y = make_moons(400, noise=0.25, random_state=0)
        X = X * [1.0, 3.0]
        peer = GaussianNB().fit(X[::2], y[::2])
        model = GaussianBayes(covariance_type=covariance_type).fit(scale * X[::2], y[::2])
        accuracy = np.mean(model.predict(scale * X[1::2]) == y[1::2])
        assert accuracy == pytest.approx(np.mean(peer.predict(X[1::2]) == y[1::2]), abs=0.011)

    @each("load", [load_iris, load_wine])
    def test_default_regularisation_is_a_millionth_of_a_typical_class(self, load):
        X, y = load(return_X_y=True)
        within = np.array([X[y == k].var(axis=0) for k in range(3)])
        added = 1e-6 * np.median(within, axis=0)
        model = GaussianBayes(covariance_type="diag").fit(X, y)
        np.testing.assert_allclose(model.covariances_, within + added, rtol=1e-10)

    def test_of_one_wild_row_leave_the_other_classes_alone(self):
        rows, labels = clusters(0)
        wild = rows.copy()
        wild[0] = 1e9  # of class 0
        clean, spoilt = (GaussianBayes(covariance_type="diag").fit(X, labels) for X in (rows, wild))
        np.testing.assert_allclose(spoilt.covariances_[1:], clean.covariances_[1:], rtol=1e-5)

    def test_of_constant_features_are_told_apart_by_them(self):
        rng = np.random.default_rng(0)
        y = np.arange(90) % 3
        X = np.column_stack(
            [rng.standard_normal(90), 1e4 + 1e-3 * y, np.zeros(90), np.full(90, 7.0)]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = GaussianBayes(covariance_type="diag").fit(X, y)
        np.testing.assert_array_equal(model.predict(X), y)
        assert np.isfinite(model.score_samples(X)).all()


def floats(rows, scale, dtype=np.float64):
    """Scaled rows, kept finite."""
    limit = np.finfo(dtype).max
    with np.errstate(over="ignore", under="ignore"):
        return np.clip(scale * rows, -limit, limit).astype(dtype)


ROWS = np.random.default_rng(0).standard_normal((60, 3))
EXTREMES = {
    "one 1e300": np.where(np.arange(180).reshape(60, 3) == 0, 1e300, ROWS),
    "one 1e140": np.where(np.arange(180).reshape(60, 3) == 0, 1e140, ROWS),
    "one 1e30": np.where(np.arange(180).reshape(60, 3) == 0, 1e30, ROWS),
    "1e300": floats(ROWS, 1e300),
    "1e308": floats(ROWS, 1e308),
    "1e150": floats(ROWS, 1e150),
    "1e-140": floats(ROWS, 1e-140),
    "1e-160": floats(ROWS, 1e-160),
    "1e-300": floats(ROWS, 1e-300),
    "5e-324": floats(ROWS, 5e-324),
    "float32 1e38": floats(ROWS, 1e38, np.float32),
    "float32 1e17": floats(ROWS, 1e17, np.float32),
    "float32 1e-16": floats(ROWS, 1e-16, np.float32),
    "float32 1e-42": floats(ROWS, 1e-42, np.float32),
    "constant": np.column_stack([ROWS[:, :2], np.full(60, 7.0)]),
    "zeros": np.zeros((60, 3)),
}


def refusal(model, rows, labels):
    """The message with which fit refuses the rows, or None."""
    try:
        model.fit(rows, labels)
    except ValueError as error:
        return str(error)
    return None


class TestExtremes:
    """Finite rows give a right number, or one sentence in its place."""

    @unconverged
    @pytest.mark.filterwarnings("ignore:EM (moved|repaired)")
    @each("name", EXTREMES)
    @each("covariance_type", TYPES)
    @each("n_components", [1, 2])
    @each("reg_covar", [None, 0.0])
    def test_never_give_nan(self, reg_covar, n_components, covariance_type, name):
        rows = EXTREMES[name]
        labels = np.arange(60) % 2
        settings = {"n_components": n_components, "covariance_type": covariance_type}
        if reg_covar is not None:
            settings["reg_covar"] = reg_covar
        for kind in (GaussianMixture, GaussianBayes):
            model = kind(n_factors=1, random_state=0, max_iter=20, **settings)
            message = refusal(model, rows, labels)
            if message is not None:
                assert "squares" in message
                assert "scale its columns" in message
                assert name not in {"constant", "zeros", "one 1e30", "one 1e140", "1e150", "1e-140"}
                continue
            assert np.isfinite(model.score_samples(rows)).all()
            assert np.isfinite(model.predict_proba(rows)).all()
            assert np.isfinite(model.sample(5)).all()

    @each("exponent", [-140, -100, 100, 150])
    @each("covariance_type", TYPES)
    def test_are_right_as_far_as_squares_reach(self, covariance_type, exponent):
        scale = 10.0**exponent
        settings = {"covariance_type": covariance_type, "n_factors": 1, "random_state": 0}
        first = GaussianMixture(**settings, reg_covar=0.0).fit(ROWS)
        second = GaussianMixture(**settings, reg_covar=0.0).fit(scale * ROWS)
        np.testing.assert_allclose(
            second.score_samples(scale * ROWS) + 3 * np.log(scale),
            first.score_samples(ROWS),
            rtol=1e-6,
        )
        labels = np.arange(60) % 2
        first = GaussianBayes(**settings).fit(ROWS, labels)
        second = GaussianBayes(**settings).fit(scale * ROWS, labels)
        np.testing.assert_allclose(
            second.predict_proba(scale * ROWS), first.predict_proba(ROWS), rtol=1e-5
        )

    def test_rows_too_small_to_square_are_constant_beside_reg_covar(self):
        scores = GaussianMixture().fit(EXTREMES["1e-160"]).score_samples(EXTREMES["1e-160"])
        np.testing.assert_allclose(scores, 3 * norm(0.0, 1e-3).logpdf(0.0), rtol=1e-9)

    def test_a_repair_is_told_with_what_helps(self):
        X = np.column_stack([ROWS, ROWS[:, 0]])
        with pytest.warns(UserWarning, match="repaired . covariances.*give reg_covar a number"):
            GaussianMixture(reg_covar=0.0).fit(X)
