"""Pictures of codes and of what is decoded from them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from probgen.plots import LatentDisplay, ManifoldDisplay, ReconstructionDisplay

X, Y = load_digits(return_X_y=True)
MODEL = PCA(2).fit(X)


class StandIn(TransformerMixin, BaseEstimator):
    """Turned principal components, and a reconstruction that is none."""

    image_shape = (4, 16)

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        self.pca_ = PCA(3).fit(X)
        self.turn_ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
        return self

    def transform(self, X):
        return self.pca_.transform(X) @ self.turn_

    def reconstruct(self, X):
        return 16.0 - X


class TestReconstruction:
    def test_rows_are_above_their_reconstructions(self):
        display = ReconstructionDisplay.from_estimator(MODEL, X, n_rows=3)
        truth = np.concatenate([X[:3], MODEL.inverse_transform(MODEL.transform(X[:3]))])
        np.testing.assert_allclose(display.X, truth)
        low, high = truth.min(), truth.max()
        picture = display.image_.get_array()
        np.testing.assert_allclose(picture[:8, 9:17], (X[1].reshape(8, 8) - low) / (high - low))
        np.testing.assert_allclose(picture[9:, 9:17], (truth[4].reshape(8, 8) - low) / (high - low))

    def test_damaged_rows_are_between(self):
        damaged = X * 0.5
        display = ReconstructionDisplay.from_estimator(MODEL, X, damaged=damaged, n_rows=2)
        assert display.row_labels == ["data", "damaged", "reconstruction"]
        np.testing.assert_allclose(display.X[2:4], damaged[:2])
        np.testing.assert_allclose(
            display.X[4:], MODEL.inverse_transform(MODEL.transform(damaged[:2]))
        )

    def test_the_models_own_reconstruction_and_shape_are_taken(self):
        display = ReconstructionDisplay.from_estimator(StandIn().fit(X), X, n_rows=3)
        np.testing.assert_array_equal(display.X, np.concatenate([X[:3], 16.0 - X[:3]]))
        assert display.image_.get_array().shape == (2 * 4 + 1, 3 * 16 + 2)

    def test_a_pipeline_takes_the_reconstruction_of_its_last_step(self):
        half = FunctionTransformer(lambda X: X / 2.0, lambda X: 2.0 * X)
        model = make_pipeline(half, "passthrough", StandIn()).fit(X)
        assert not hasattr(model, "reconstruct")
        display = ReconstructionDisplay.from_estimator(model, X, n_rows=3)
        np.testing.assert_allclose(display.X, np.concatenate([X[:3], 32.0 - X[:3]]))

    def test_a_table_is_a_heat_map(self):
        table = pd.DataFrame(X[:, 20:23], columns=["a", "b", "c"])
        display = ReconstructionDisplay.from_estimator(PCA(2).fit(table), table, n_rows=4)
        assert display.image_.get_array().shape == (8, 3)
        assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["a", "b", "c"]

    def test_damaged_rows_of_another_shape(self):
        with pytest.raises(
            ValueError, match=r"damaged must have the shape of X, \(1797, 64\); got \(1797, 3\)"
        ):
            ReconstructionDisplay.from_estimator(MODEL, X, damaged=X[:, :3])

    def test_a_model_that_cannot(self):
        with pytest.raises(
            TypeError, match="estimator must have reconstruct, or transform and inverse_transform"
        ):
            ReconstructionDisplay.from_estimator(object(), X)


class TestManifold:
    def test_the_grid_goes_right_and_up(self):
        display = ManifoldDisplay.from_estimator(
            MODEL, n_points=3, extent=(-10.0, 10.0, -20.0, 20.0)
        )
        codes = [
            [-10, 20],
            [0, 20],
            [10, 20],
            [-10, 0],
            [0, 0],
            [10, 0],
            [-10, -20],
            [0, -20],
            [10, -20],
        ]
        np.testing.assert_allclose(display.X, MODEL.inverse_transform(np.array(codes, dtype=float)))

    def test_the_extent_is_that_of_nine_tenths_of_the_codes(self):
        display = ManifoldDisplay.from_estimator(MODEL, X=X, n_points=2)
        low, high = np.quantile(MODEL.transform(X), [0.05, 0.95], axis=0)
        corners = [[low[0], high[1]], [high[0], high[1]], [low[0], low[1]], [high[0], low[1]]]
        np.testing.assert_allclose(display.X, MODEL.inverse_transform(np.array(corners)))

    @pytest.mark.parametrize(
        "model, parameters, message",
        [
            (PCA(3).fit(X), {}, "a manifold needs codes of 2 dimensions; PCA has 3"),
            (PCA(2).fit(X[:, :3]), {}, "a manifold needs images; give image_shape"),
            (
                MODEL,
                {"extent": (1, 0, 0, 1)},
                "extent must be .left, right, bottom, top. in order; got .1, 0, 0, 1.",
            ),
            (MODEL, {"n_points": 1}, "n_points must be an integer >= 2; got 1"),
            (
                make_pipeline(PCA(3), FunctionTransformer(inverse_func=np.copy)).fit(X),
                {"X": X},
                "a manifold needs codes of 2 dimensions; Pipeline has 3",
            ),
        ],
    )
    def test_bad_input(self, model, parameters, message):
        with pytest.raises(ValueError, match=message):
            ManifoldDisplay.from_estimator(model, **parameters)


class TestLatent:
    def test_each_class_has_its_points_and_its_name(self):
        display = LatentDisplay.from_estimator(MODEL, X, Y)
        codes = MODEL.transform(X)
        for label, points in enumerate(display.artists_):
            np.testing.assert_allclose(points.get_offsets(), codes[label == Y])
        assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
            str(k) for k in range(10)
        ]
        assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("pca0", "pca1")

    def test_columns_can_be_chosen(self):
        model = PCA(4).fit(X)
        (points,) = LatentDisplay.from_estimator(model, X, components=(3, 1)).artists_
        np.testing.assert_allclose(points.get_offsets(), model.transform(X)[:, [3, 1]])

    def test_principal_components_of_the_codes(self):
        model = StandIn().fit(X)
        display = LatentDisplay.from_estimator(model, X, components="pca")
        truth = MODEL.transform(X)
        signs = np.sign(np.sum(truth * display.codes, axis=0))
        np.testing.assert_allclose(signs * display.codes, truth, atol=1e-8)
        assert display.ax_.get_xlabel() == "principal component 0"

    def test_a_pipeline_whose_codes_have_no_names(self):
        model = make_pipeline(FunctionTransformer(np.negative, np.negative), PCA(2)).fit(X)
        display = LatentDisplay.from_estimator(model, X)
        assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("code 0", "code 1")
        grid = ManifoldDisplay.from_estimator(model, n_points=2, extent=(-1.0, 1.0, -1.0, 1.0))
        np.testing.assert_allclose(grid.X[0], model.inverse_transform([[-1.0, 1.0]])[0])

    def test_one_of_several_dimensions_gives_a_histogram(self):
        display = LatentDisplay.from_estimator(MODEL, X, components=1)
        np.testing.assert_allclose(display.codes, MODEL.transform(X)[:, [1]])
        assert display.ax_.get_xlabel() == "pca1"

    def test_one_dimension_gives_a_histogram(self):
        display = LatentDisplay.from_estimator(PCA(1).fit(X), X, Y > 4)
        counts = [sum(bar.get_height() for bar in bars) for bars in display.artists_]
        assert counts == [np.sum(Y <= 4), np.sum(Y > 4)]

    @pytest.mark.parametrize("components", [(0, 2), (0, 1, 0), (), "pcb", 2, None], ids=str)
    def test_components_out_of_range(self, components):
        with pytest.raises(
            ValueError,
            match="components must be one or two columns of the codes, 0 to 1, or 'pca'; got",
        ):
            LatentDisplay.from_estimator(MODEL, X, components=components)

    def test_bad_input(self):
        with pytest.raises(
            ValueError, match=r"y must hold one class for each of 1797 rows; got shape \(3,\)"
        ):
            LatentDisplay.from_estimator(MODEL, X, Y[:3])
        with pytest.raises(ValueError, match="names must hold 2 names; got 1"):
            LatentDisplay(X[:, :2], names=["one"])
