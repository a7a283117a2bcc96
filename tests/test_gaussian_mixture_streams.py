"""Mixtures of rows in parts: partial_fit, blocks of rows and memory-mapped arrays."""

import numpy as np
import pandas as pd
import pytest

from probgen import GaussianMixture, RowBlocks

SHARED = ["full", "tied", "diag", "spherical"]
TYPES = [*SHARED, "low_rank"]
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def make_rows(n_rows=900, n_features=3, seed=0):
    """Overlapping clusters far from the origin, in random order."""
    rng = np.random.default_rng(seed)
    centers = np.array([[0.0] * n_features, [3.0] * n_features, [-4.0] + [4.0] * (n_features - 1)])
    mixing = rng.standard_normal((3, n_features, n_features)) * 0.5 + np.eye(n_features)
    labels = rng.integers(3, size=n_rows)
    return (
        100.0
        + centers[labels]
        + np.einsum("nij,nj->ni", mixing[labels], rng.standard_normal((n_rows, n_features)))
    )


def covariance_attributes(model):
    return model.loadings_ if model.covariance_type == "low_rank" else model.covariances_


class TestPartialFit:
    @pytest.mark.parametrize("starts_with_fit", [False, True])
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_with_one_component_equals_a_fit_of_all_rows(self, covariance_type, starts_with_fit):
        X = make_rows()
        model = GaussianMixture(covariance_type=covariance_type)
        parts = np.split(X, [200, 201, 500])
        (model.fit if starts_with_fit else model.partial_fit)(parts[0])
        for part in parts[1:]:
            model.partial_fit(part)
        whole = GaussianMixture(covariance_type=covariance_type).fit(X)
        np.testing.assert_allclose(model.means_, whole.means_, rtol=1e-12)
        np.testing.assert_allclose(model.covariances_, whole.covariances_, rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_weights_count_as_in_fit(self, covariance_type):
        X = make_rows()
        weights = np.random.default_rng(1).uniform(0.0, 2.0, len(X))
        model = GaussianMixture(covariance_type=covariance_type)
        for part in np.array_split(np.arange(len(X)), 4):
            model.partial_fit(X[part], sample_weight=weights[part])
        whole = GaussianMixture(covariance_type=covariance_type).fit(X, sample_weight=weights)
        np.testing.assert_allclose(model.means_, whole.means_, rtol=1e-12)
        np.testing.assert_allclose(model.covariances_, whole.covariances_, rtol=1e-9, atol=1e-11)

    @unconverged
    @pytest.mark.parametrize("learning_decay", [1.0, 0.7])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_of_a_stream_comes_near_the_fit_of_all_rows(self, covariance_type, learning_decay):
        X, held_out = make_rows(12_000), make_rows(3000, seed=0)
        arguments = {"covariance_type": covariance_type, "n_factors": 1, "random_state": 0}
        model = GaussianMixture(3, learning_decay=learning_decay, **arguments)
        for part in np.array_split(X, 60):
            model.partial_fit(part)
        whole = GaussianMixture(3, n_init=3, max_iter=500, **arguments).fit(X)
        assert model.score(held_out) > whole.score(held_out) - 0.02
        assert len(model.lower_bounds_) == model.n_iter_ > 59

    @pytest.mark.parametrize(
        "learning_decay, mean", [(1.0, 300 * 5.0 / 400), (0.5, np.sqrt(300 / 400) * 5.0)]
    )
    def test_new_rows_weigh_as_documented(self, learning_decay, mean):
        old, new = np.zeros((100, 1)), np.full((300, 1), 5.0)
        model = GaussianMixture(learning_decay=learning_decay).partial_fit(old).partial_fit(new)
        assert model.means_[0, 0] == pytest.approx(mean, rel=1e-9)

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_goes_on_where_rows_drift(self, covariance_type):
        rng = np.random.default_rng(0)
        model = GaussianMixture(covariance_type=covariance_type, n_factors=1, learning_decay=0.5)
        for step in range(200):
            model.partial_fit(step / 20.0 + rng.standard_normal((50, 2)))
        np.testing.assert_allclose(model.means_[0], 199 / 20.0, atol=1.0)

    def test_of_rows_with_holes(self):
        X = make_rows(6000)
        X[np.random.default_rng(2).random(X.shape) < 0.2] = np.nan
        model = GaussianMixture(random_state=0)
        for part in np.array_split(X, 30):
            model.partial_fit(part)
        whole = GaussianMixture(random_state=0, tol=1e-8, max_iter=1000).fit(X)
        assert model.score(X) > whole.score(X) - 0.005

    def test_of_one_row(self):
        X = make_rows(300)
        model = GaussianMixture(2, random_state=0).fit(X)
        before = model.score(X[:1])
        for _ in range(30):
            model.partial_fit(X[:1])
        assert model.score(X[:1]) > before

    def test_of_another_width_is_refused(self):
        model = GaussianMixture().partial_fit(make_rows(20))
        with pytest.raises(
            ValueError, match="X has 2 features, but GaussianMixture is expecting 3 features"
        ):
            model.partial_fit(make_rows(20)[:, :2])

    def test_reads_blocks(self):
        X = make_rows(300)
        model = GaussianMixture().partial_fit(X[:100]).partial_fit(RowBlocks([X[100:150], X[150:]]))
        np.testing.assert_allclose(model.means_[0], X.mean(axis=0), rtol=1e-12)


def given_start(X, covariance_type):
    """A model with a given start, where the start can be given in full."""
    model = GaussianMixture(
        3, covariance_type=covariance_type, n_factors=1, random_state=0, max_iter=15, tol=0.0
    )
    start = {"weights_init": [0.2, 0.3, 0.5], "means_init": X[[0, 7, 20]]}
    if covariance_type != "low_rank":
        precision = {
            "full": np.tile(np.eye(3), (3, 1, 1)),
            "tied": np.eye(3),
            "diag": np.ones((3, 3)),
        }
        start["precisions_init"] = precision.get(covariance_type, np.ones(3))
    return model.set_params(**start)


@unconverged
class TestSources:
    """The same EM path from one start, wherever the rows lie."""

    def assert_same(self, model, twin, rtol=1e-12):
        np.testing.assert_allclose(model.lower_bounds_, twin.lower_bounds_, rtol=rtol)
        np.testing.assert_allclose(model.means_, twin.means_, rtol=1e3 * rtol)
        np.testing.assert_allclose(
            covariance_attributes(model), covariance_attributes(twin), rtol=1e4 * rtol, atol=1e-9
        )

    @pytest.mark.parametrize("n_rows", [900, 20_000])  # fewer, and more, than a start looks at
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_blocks(self, covariance_type, n_rows):
        X = make_rows(n_rows)
        model = given_start(X, covariance_type).fit(X)
        cuts = np.sort(np.random.default_rng(1).choice(n_rows, 9, replace=False))
        twin = given_start(X, covariance_type).fit(RowBlocks(np.split(X, cuts)))
        self.assert_same(model, twin)

    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_blocks_with_weights_and_holes(self, covariance_type):
        X = make_rows(900)
        holed = X.copy()
        holed[np.random.default_rng(2).random(X.shape) < 0.2] = np.nan
        weights = np.random.default_rng(3).uniform(0.0, 2.0, len(X))
        model = given_start(X, covariance_type).fit(holed, sample_weight=weights)
        twin = given_start(X, covariance_type).fit(
            RowBlocks(np.array_split(holed, 7)), sample_weight=weights
        )
        self.assert_same(model, twin, rtol=1e-11)

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_a_memory_mapped_file(self, covariance_type, dtype, tmp_path):
        X = make_rows(900).astype(dtype)
        np.save(tmp_path / "rows.npy", X)
        mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
        model, twin = (given_start(X, covariance_type).fit(rows) for rows in (X, mapped))
        np.testing.assert_array_equal(twin.lower_bounds_, model.lower_bounds_)
        np.testing.assert_array_equal(twin.means_, model.means_)
        assert twin.means_.dtype == dtype
        np.testing.assert_array_equal(twin.score_samples(mapped), model.score_samples(X))

    @pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data", "random"])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_blocks_find_a_start_of_their_own(self, covariance_type, init_params):
        X = make_rows(20_000)
        arguments = {
            "covariance_type": covariance_type,
            "n_factors": 1,
            "random_state": 0,
            "max_iter": 60,
        }
        model, twin = (
            GaussianMixture(3, init_params=init_params, **arguments).fit(rows)
            for rows in (X, RowBlocks(np.array_split(X.astype(np.float32), 11)))
        )
        assert twin.means_.dtype == np.float32
        if init_params != "random":
            assert twin.score(X) > model.score(X) - 0.05

    def test_a_fit_of_blocks_repeats(self):
        blocks = RowBlocks(np.array_split(make_rows(20_000), 5))
        first, second = (
            GaussianMixture(3, random_state=4, max_iter=5).fit(blocks) for _ in range(2)
        )
        np.testing.assert_array_equal(first.means_, second.means_)


def test_partial_fit_says_that_its_layout_cannot_change():
    model = GaussianMixture(2, random_state=0).partial_fit(np.arange(12.0).reshape(6, 2))
    model.set_params(n_components=3)
    with pytest.raises(
        ValueError, match=r"partial_fit must keep the .* \('full', 2, 2, None\); got \('full', 3"
    ):
        model.partial_fit(np.ones((4, 2)))


def test_partial_fit_goes_on_from_a_start_alone():
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = GaussianMixture(1, max_iter=0, random_state=0).fit(X)
    model.partial_fit(X[:20] + 5.0)
    np.testing.assert_allclose(model.means_[0], X[:20].mean(axis=0) + 5.0)


def test_a_refit_of_blocks_forgets_the_names_of_columns():
    frame = pd.DataFrame(make_rows(), columns=["height", "width", "depth"])
    model = GaussianMixture().fit(frame)
    model.fit(RowBlocks([frame.to_numpy()[:, :2]]))
    assert not hasattr(model, "feature_names_in_")
    assert model.score_samples(frame.to_numpy()[:, :2]).shape == (900,)


def test_one_row_in_blocks_is_too_few():
    with pytest.raises(ValueError, match="X must have at least 2 rows"):
        GaussianMixture().fit(RowBlocks([np.ones((1, 2))]))
