"""The sample grid puts each draw where it belongs, on one shared scale."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from probgen.base import ClassGeneratorMixin, GeneratorMixin
from probgen.plots import SampleGridDisplay


class Ramp(GeneratorMixin, BaseEstimator):
    """Generator whose k-th draw is the number k in every feature, which identifies it."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        self._validate(X, reset=True)
        self._start_stream()
        return self

    def _sample(self, n_samples, generator):
        return np.repeat(np.arange(n_samples, dtype=float)[:, None], self.n_features_in_, axis=1)


class LabelPainter(ClassGeneratorMixin, BaseEstimator):
    """Generator of images painted in the number of their class."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self._validate(X, reset=True)
        self._start_stream()
        self.classes_ = np.unique(y)
        return self

    def _draw_classes(self, n_samples, generator, conditions):
        return generator.integers(len(self.classes_), size=n_samples)

    def _sample_classes(self, y, generator, conditions):
        return np.repeat(self.classes_[y].astype(float)[:, None], self.n_features_in_, axis=1)


def axes():
    return Figure().subplots()


def test_draws_are_in_reading_order_on_one_scale():
    model = Ramp().fit(np.zeros((2, 9)))
    display = SampleGridDisplay.from_estimator(model, n_samples=6, n_cols=3, ax=axes())
    picture = display.image_.get_array()
    assert picture.shape == (2 * 3 + 1, 3 * 3 + 2)
    np.testing.assert_allclose(picture[1::4, 1::4], np.arange(6).reshape(2, 3) / 5)
    assert np.ma.getmaskarray(picture)[3].all()  # the gap between the rows


def test_short_last_row_stays_empty():
    model = Ramp().fit(np.zeros((2, 4)))
    picture = SampleGridDisplay.from_estimator(
        model, n_samples=3, n_cols=2, ax=axes()
    ).image_.get_array()
    assert np.ma.getmaskarray(picture)[3:, 3:].all()


def test_pixels_keep_the_order_of_the_row():
    picture = (
        SampleGridDisplay([[0, 1, 2, 3, 4, 5]], image_shape=(2, 3)).plot(axes()).image_.get_array()
    )
    np.testing.assert_allclose(picture, np.arange(6).reshape(2, 3) / 5)


def test_channels_come_last():
    pixels = np.arange(12).reshape(2, 2, 3)
    picture = (
        SampleGridDisplay(pixels.reshape(1, -1), image_shape=(2, 2, 3))
        .plot(axes())
        .image_.get_array()
    )
    np.testing.assert_allclose(picture[:, :, :3], pixels / 11)
    np.testing.assert_allclose(picture[:, :, 3], 1.0)


def test_missing_values_stay_blank():
    grey = SampleGridDisplay([[np.nan, 1.0, 2.0, 3.0]]).plot(axes()).image_.get_array()
    assert np.ma.getmaskarray(grey).tolist() == [[True, False], [False, False]]
    colour = SampleGridDisplay([[np.nan, 1.0, 2.0, 3.0, 4.0, 5.0]], image_shape=(1, 2, 3)).plot(
        axes()
    )
    assert colour.image_.get_array()[0, :, 3].tolist() == [0.0, 1.0]


def test_each_class_has_a_row_of_its_own():
    model = LabelPainter().fit(np.zeros((3, 4)), [2, 5, 7])
    display = SampleGridDisplay.from_estimator(model, n_cols=4, value_range=(0, 10), ax=axes())
    np.testing.assert_allclose(
        display.image_.get_array()[::3, ::3], np.repeat([[0.2], [0.5], [0.7]], 4, axis=1)
    )
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["2", "5", "7"]
    np.testing.assert_allclose(display.ax_.get_yticks(), [0.5, 3.5, 6.5])


@pytest.mark.parametrize("y, labels", [(5, ["5"]), ([7, 2, 7], ["7", "2", "7"])])
def test_y_chooses_the_rows(y, labels):
    model = LabelPainter().fit(np.zeros((3, 4)), [2, 5, 7])
    display = SampleGridDisplay.from_estimator(model, n_cols=2, y=y, ax=axes())
    assert display.row_labels == labels
    np.testing.assert_allclose(display.X[::2, 0], np.atleast_1d(y))


def test_n_samples_draws_classes_in_their_own_proportions():
    model = LabelPainter().fit(np.zeros((3, 4)), [2, 5, 7])
    display = SampleGridDisplay.from_estimator(model, n_samples=7, random_state=0, ax=axes())
    np.testing.assert_array_equal(display.X, model.sample(7, random_state=0))
    assert display.row_labels is None


def test_rows_of_a_table_become_a_heat_map_scaled_by_column():
    frame = pd.DataFrame({"age": [20.0, 60.0], "income": [0.0, 1000.0], "flat": [3.0, 3.0]})
    display = SampleGridDisplay(frame).plot(axes())
    np.testing.assert_allclose(display.image_.get_array(), [[0, 0, 0], [1, 1, 0]])
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == [
        "age",
        "income",
        "flat",
    ]


def test_columns_of_a_heat_map_carry_the_names_of_the_fitted_frame():
    model = (
        Ramp()
        .fit(pd.DataFrame(np.zeros((2, 4)), columns=list("abcd")))
        .set_output(transform="pandas")
    )
    display = SampleGridDisplay.from_estimator(model, n_samples=5, image_shape=(1, 4), ax=axes())
    assert display.image_.get_array().shape == (5, 4)
    assert display.feature_names == list("abcd")


def test_values_outside_the_range_are_clipped():
    picture = (
        SampleGridDisplay([[-5.0, 0.0, 8.0, 99.0]], value_range=(0, 16))
        .plot(axes())
        .image_.get_array()
    )
    np.testing.assert_allclose(picture, [[0.0, 0.0], [0.5, 1.0]])


def test_search_shows_its_best_estimator():
    class Search(BaseEstimator):
        best_estimator_ = Ramp().fit(np.zeros((2, 4)))

    assert SampleGridDisplay.from_estimator(Search(), n_samples=3, ax=axes()).X.shape == (3, 4)


def test_parameters_reach_imshow():
    display = SampleGridDisplay([[1.0, 2.0, 3.0, 4.0]]).plot(axes(), cmap="magma")
    assert display.image_.get_cmap().name == "magma"
    assert display.figure_ is display.ax_.figure


def test_pyplot_is_not_loaded_unless_the_program_did():
    code = (
        "import sys; from probgen.plots import SampleGridDisplay as S; S([[1.0, 2.0, 3.0,"
        " 4.0]]).plot(); assert 'matplotlib.pyplot' not in sys.modules; import matplotlib;"
        " matplotlib.use('agg'); import matplotlib.pyplot as plt; d = S([[1.0, 2.0, 3.0,"
        " 4.0]]).plot(); assert plt.gcf() is d.figure_"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n_samples": 0}, "n_samples must be an integer >= 1; got 0"),
        ({"n_cols": 0}, "n_cols must be an integer >= 1; got 0"),
        ({"n_samples": 3, "y": 1}, "exclude each other"),
        ({"y": 1}, "y asks for classes, but Ramp has none"),
        ({"image_shape": (2, 3)}, r"image_shape=\(2, 3\) holds 6 numbers, but rows have 4"),
        ({"image_shape": (2, 1, 2)}, "with 1 or 3 channels; got"),
        ({"image_shape": (-2, -2)}, "image_shape must be"),
        ({"image_shape": "2x2"}, "image_shape must be"),
        ({"value_range": (3, 1)}, "low <= high"),
        ({"value_range": (0, 1, 2)}, "low <= high"),
        ({"value_range": 5}, "low <= high"),
        ({"value_range": "dark"}, "low <= high"),
    ],
)
def test_bad_arguments_get_a_sentence(arguments, message):
    model = Ramp().fit(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=message):
        SampleGridDisplay.from_estimator(model, ax=axes(), **arguments)


@pytest.mark.parametrize("X", [[1.0, 2.0], np.zeros((0, 4)), np.zeros((2, 3, 3))])
def test_rows_must_be_a_matrix(X):
    with pytest.raises(ValueError, match=r"X must be of shape \(n, n_features\)"):
        SampleGridDisplay(X)


def test_names_must_fit():
    with pytest.raises(ValueError, match="row_labels must hold 2 names; got 1"):
        SampleGridDisplay(np.zeros((4, 4)), n_cols=2, row_labels=["a"])
    with pytest.raises(ValueError, match="feature_names must hold 4 names; got 1"):
        SampleGridDisplay(np.zeros((4, 4)), feature_names=3)


def test_estimators_that_cannot_sample_are_refused():
    with pytest.raises(TypeError, match="estimator must be able to sample; got StandardScaler"):
        SampleGridDisplay.from_estimator(StandardScaler().fit([[0.0], [1.0]]))
