"""What `given` may say, and what it may not."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest

from probgen.conditions.given import parse_given

NAMES = ["height", "width", "depth"]
NAN, INF = np.nan, np.inf


def parse(given, n_samples=2, names=NAMES):
    return parse_given(given, n_samples=n_samples, n_features=3, feature_names=names)


class TestValues:
    @pytest.mark.parametrize(
        "given",
        [
            [1.0, NAN, 3.0],
            [[1.0, NAN, 3.0]],
            [[1.0, NAN, 3.0], [1.0, NAN, 3.0]],
            {"height": 1.0, "depth": 3.0},
            {0: 1, -1: np.float32(3.0)},
            {0: [1.0, 1.0], "depth": np.array(3.0), 1: None},
            pd.DataFrame({"depth": [3.0], "height": [1.0]}),
            pd.DataFrame({"depth": [3.0, 3.0], "height": [1, 1]}, index=[7, 7]),
            pl.DataFrame({"depth": [3.0, 3.0], "height": [1, 1], "width": [None, None]}),
        ],
    )
    def test_ways_to_say_the_same(self, given):
        conditions = parse(given)
        np.testing.assert_array_equal(conditions.values, [[1.0, NAN, 3.0]] * 2)
        assert np.isneginf(conditions.low).all()
        assert np.isposinf(conditions.high).all()
        assert conditions.categories == {}

    def test_each_row_its_own(self):
        np.testing.assert_array_equal(
            parse({"width": [1.0, NAN]}).values, [[NAN, 1.0, NAN], [NAN, NAN, NAN]]
        )

    def test_a_frame_without_fitted_names_counts_by_position(self):
        frame = pd.DataFrame({"a": [1.0, 2.0], "b": [NAN, NAN], "c": [3.0, 4.0]})
        np.testing.assert_array_equal(parse(frame, names=None).values, frame.to_numpy())


class TestIntervalsAndSets:
    def test_ends(self):
        conditions = parse({"height": (0.0, None), 1: (None, [1.0, 2.0]), "depth": (-1, INF)})
        np.testing.assert_array_equal(conditions.low, [[0.0, -INF, -1.0]] * 2)
        np.testing.assert_array_equal(conditions.high, [[INF, 1.0, INF], [INF, 2.0, INF]])
        assert np.isnan(conditions.values).all()

    def test_categories_are_sorted(self):
        np.testing.assert_array_equal(parse({"width": {3, 1}}).categories[1], [1, 3])

    def test_take(self):
        conditions = parse({0: [1.0, 2.0], 1: ([0.0, 1.0], None), 2: {1}}).take([1])
        np.testing.assert_array_equal(conditions.values, [[2.0, NAN, NAN]])
        np.testing.assert_array_equal(conditions.low, [[-INF, 1.0, -INF]])
        np.testing.assert_array_equal(conditions.high, [[INF, INF, INF]])
        assert list(conditions.categories) == [2]


class TestMessages:
    @pytest.mark.parametrize(
        "given, message",
        [
            (
                [1.0, 2.0],
                (
                    "given must have shape (3,) or (2, 3), one row for each of the n_samples=2"
                    " draws; got (2,)"
                ),
            ),
            (
                [1.0, INF, 2.0],
                "given must be finite, or NaN where the model is to draw; got an infinity",
            ),
            ("tall", "given must be an array of numbers with NaN to draw, or a dict; got 'tall'"),
            ([[1.0], [2.0, 3.0]], "given must be an array of numbers"),
            (
                {"volume": 1.0},
                "'volume', which the model does not know; known: ['height', 'width', 'depth']",
            ),
            (pd.DataFrame({"volume": [1.0]}), "'volume', which the model does not know"),
            ({3: 1.0}, "given must name features by name or by an index in [0, 2]; got 3"),
            ({True: 1.0}, "index in [0, 2]; got True"),
            ({0: 1.0, "height": 1.0}, "given names feature 'height' twice"),
            ({0: 1.0, -3: 1.0}, "given names feature -3 twice"),
            ({0: INF}, "given[0] must be finite, or NaN to draw; got inf"),
            (
                {0: "tall"},
                (
                    "given[0] must be a number, an interval as a tuple (low, high) or a set; got"
                    " 'tall'"
                ),
            ),
            ({0: [1.0, 2.0, 3.0]}, "given[0] must be one number or n_samples=2 of them"),
            ({0: (2.0, 1.0)}, "given[0] must be an interval with low < high; got (2.0, 1.0)"),
            ({0: (1.0, 1.0)}, "given[0] must be an interval with low < high; got (1.0, 1.0)"),
            ({0: ([0.0, 3.0], 1.0)}, "given[0] must be an interval with low < high"),
            ({0: (NAN, 1.0)}, "given[0] must be an interval with low < high"),
            (
                {0: (1.0, 2.0, 3.0)},
                "given[0] must be a value, a pair (low, high) or a set; got (1.0, 2.0, 3.0)",
            ),
            ({0: set()}, "given[0] must hold at least one category; got an empty set"),
            ({0: {1, "one"}}, "given[0] must hold categories of one type"),
        ],
    )
    def test_names_the_feature_and_the_value(self, given, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            parse(given)

    def test_names_that_the_model_never_had(self):
        with pytest.raises(
            ValueError, match="given names feature 'height', but the model was fitted without names"
        ):
            parse({"height": 1.0}, names=None)
