"""Frames of mixed columns: their kinds, their way to codes and back, and conditions by names."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tables import dice, mixed_frame, mixed_polars

from probgen.conditions.table_given import parse_table_given
from probgen.tables import TableEncoder
from probgen.tables.columns import Column, join_features, log_fixed, split_codes
from probgen.tables.table import Table

KINDS = {
    "day": "datetime",
    "time": "datetime",
    "stay": "duration",
    "flag": "boolean",
    "answer": "boolean",
    "zero_one": "boolean",
    "count": "integer",
    "size": "ordered",
    "code": "category",
    "city": "category",
    "single": "real",
    "rain": "real",
    "small": "integer",
    "fixed": "constant",
    "word": "constant",
    "object": "datetime",
}


def infer(**columns):
    return Table.infer(pd.DataFrame(columns))


class TestKinds:
    def test_are_read_from_dtypes_and_values(self):
        words = Table.infer(mixed_frame()).describe()
        assert dict(zip(words["column"], words["kind"], strict=True)) == KINDS

    def test_whole_floats_are_integers(self):
        column = infer(x=[1.0, 2.0, np.nan, 7.0] * 5).columns[0]
        assert (column.kind, column.has_gaps) == ("integer", True)

    def test_can_be_named(self):
        frame = pd.DataFrame({"quality": [3, 4, 5] * 9, "age": [1.0, 2.0, 3.0] * 9})
        table = Table.infer(frame, {"quality": "category", "age": "real"})
        assert [column.kind for column in table.columns] == ["category", "real"]
        assert table.columns[0].levels == (3.0, 4.0, 5.0)
        pd.testing.assert_frame_equal(table.decode(table.encode(frame)), frame)

    def test_atoms_stand_out(self):
        rng = np.random.default_rng(0)
        income = np.where(rng.random(5000) < 0.9, 0, rng.integers(1, 10**6, 5000))
        rounded = rng.normal(3.0, 0.2, 5000).round(2)
        table = infer(income=income, rounded=rounded)
        assert table.columns[0].atoms == (0.0,)
        assert table.columns[1].atoms == ()

    def test_few_whole_numbers_are_atoms_each(self):
        column = infer(eyes=np.arange(1, 7).repeat(100)).columns[0]
        assert (column.atoms, column.rest) == ((1, 2, 3, 4, 5, 6), "fixed")

    def test_few_real_numbers_are_atoms_each(self):
        column = infer(x=np.arange(1, 7).repeat(100) / 8.0).columns[0]
        assert (column.kind, len(column.atoms), column.rest) == ("real", 6, "fixed")

    def test_a_value_at_the_end_of_the_support_is_an_atom(self):
        column = infer(x=[0.0, *np.linspace(0.1, 3.0, 999)]).columns[0]
        assert (column.low, column.atoms) == (0.0, (0.0,))

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ([None, None], "column 'x' has no value in any row"),
            ([1, "a"], "column 'x' holds values of several types, int, str"),
            ([f"text {k}" for k in range(200)], "holds text with 200 different values in 200 rows"),
            ([1.0, np.inf], "finite numbers; got an infinity in column 'x'"),
            (pd.interval_range(0, 2), "column 'x' holds intervals"),
            (pd.period_range("2020", periods=2, freq="D"), "column 'x' holds periods"),
            ([2**60, 1], "whole numbers as large as 1152921504606846976"),
            ([{}, {}], "objects of type dict"),
        ],
    )
    def test_of_no_kind_is_told_by_name(self, values, sentence):
        with pytest.raises(ValueError, match=sentence):
            infer(x=values)

    @pytest.mark.parametrize(
        ("kinds", "sentence"),
        [
            ({"z": "real"}, "kinds names column 'z', which X does not have"),
            ({"x": "number"}, "kinds must name one of category, ordered"),
            ({"x": "integer"}, "column 'x' cannot be of kind 'integer': it holds 0.5"),
            ({"x": "datetime"}, "column 'x' cannot be of kind 'datetime'"),
            ("real", "kinds must be a dict"),
        ],
    )
    def test_that_do_not_fit_are_refused(self, kinds, sentence):
        with pytest.raises(ValueError, match=sentence):
            Table.infer(pd.DataFrame({"x": [0.5, 1.5]}), kinds)

    def test_words_are_a_frame_of_the_same_library(self):
        assert isinstance(Table.infer(mixed_polars()).describe(), pl.DataFrame)
        assert list(Table.infer(mixed_frame()).describe().columns) == ["column", "kind", "values"]


N = 60
DAY = datetime.date(2020, 1, 1)
ODD = {
    "blanks": [" a", "a", "a "] * 20,
    "no text": ["", "a"] * 30,
    "booleans as objects": [True, False, None] * 20,
    "large whole": np.arange(N) + 2**52,
    "float16": np.linspace(0.0, 1.0, N).astype("float16"),
    "huge": np.linspace(1e300, 1.7e308, N),
    "tiny": np.linspace(1e-310, 1e-300, N),
    "far": 1e9 + np.random.default_rng(0).random(N),
    "change of clocks": pd.date_range("2020-03-28", periods=N, freq="h", tz="Europe/Berlin"),
    "nanoseconds": pd.to_datetime(np.arange(N)),
    "ends of time": pd.to_datetime(["1677-09-22", "2262-04-10"] * 30),
    "durations as objects": [datetime.timedelta(days=k) for k in range(N)],
    "one duration and gaps": pd.to_timedelta([None, "1h"] * 30),
    "text with NA": pd.array(["a", None, "b"] * 20, dtype="string"),
    "Float64": pd.array([1.5, None, 2.5] * 20, dtype="Float64"),
    "categories of booleans": pd.Categorical([True, False] * 30),
    "categories not seen": pd.Categorical([None, "a"] * 30, categories=["a", "b"]),
    "sparse": pd.arrays.SparseArray([0.0, 0.0, 1.5] * 20),
    "Arrow dates": pd.Series([DAY, None] * 30).astype("date32[pyarrow]"),
    "Arrow booleans": pd.array([True, None] * 30, dtype="bool[pyarrow]"),
    "whole floats and gaps": [1.0, np.nan, 2.0] * 20,
}


class TestCodes:
    @pytest.mark.parametrize("name", ODD)
    @pytest.mark.filterwarnings("error")
    def test_of_odd_columns_come_back(self, name):
        frame = pd.DataFrame({"odd": ODD[name], "z": np.arange(N) / 7.0})
        encoder = TableEncoder(random_state=0)
        encoded = encoder.fit_transform(frame)
        pd.testing.assert_frame_equal(encoder.inverse_transform(encoded), frame)
        pd.testing.assert_frame_equal(encoder._table.decode(encoder._table.encode(frame)), frame)
        rng = np.random.default_rng(0)
        drawn = encoder.inverse_transform(3.0 * rng.standard_normal((200, encoded.shape[1])))
        assert list(drawn.dtypes) == list(frame.dtypes)

    def test_of_pandas_come_back(self):
        frame = mixed_frame()
        table = Table.infer(frame)
        pd.testing.assert_frame_equal(table.decode(table.encode(frame)), frame)

    def test_of_polars_come_back(self):
        frame = mixed_polars()
        table = Table.infer(frame)
        assert_frame_equal(table.decode(table.encode(frame)), frame)

    def test_keep_an_index(self):
        frame = mixed_frame().iloc[::-7]
        table = Table.infer(frame)
        pd.testing.assert_frame_equal(table.decode_like(table.encode(frame), frame), frame)

    def test_of_text_and_of_categories_are_the_same(self):
        texts = pd.DataFrame({"city": ["Ulm", "Bonn", "Ulm"]})
        table = Table.infer(texts)
        X = table.encode(texts.astype(pd.CategoricalDtype(["Ulm", "Rom", "Bonn"])))
        np.testing.assert_array_equal(X, table.encode(texts))

    def test_of_a_category_not_seen_are_one_level(self):
        table = Table.infer(pd.DataFrame({"city": ["Ulm", "Bonn"]}))
        X = table.encode(pd.DataFrame({"city": ["Rom", "Ulm", "Paris"]}))
        np.testing.assert_array_equal(X[:, 0], [2, 1, 2])

    def test_of_a_category_not_seen_are_refused_on_request(self):
        table = Table.infer(pd.DataFrame({"city": ["Ulm", "Bonn"]}), handle_unknown="error")
        with pytest.raises(ValueError, match="column 'city' has 'Rom'"):
            table.encode(pd.DataFrame({"city": ["Rom"]}))

    @pytest.mark.parametrize(
        ("frame", "sentence"),
        [
            ({"a": [1]}, "X lacks column 'b'"),
            ({"a": [1], "b": ["x"], "c": [1]}, "X has column 'c'"),
            ({"b": ["x"], "a": [1]}, "X must have its columns in the order of fit"),
            ({"a": [-1], "b": ["x"]}, "column 'a' must hold values between 0 and inf"),
            ({"a": [1.5], "b": ["x"]}, "column 'a' must hold whole numbers; got 1.5"),
            ({"a": ["y"], "b": ["x"]}, "column 'a' must hold numbers; got text"),
            ({"a": [1], "b": [pd.Timestamp("2020")]}, "column 'b' must hold categories"),
        ],
    )
    def test_of_another_table_are_refused(self, frame, sentence):
        table = Table.infer(pd.DataFrame({"a": range(100), "b": ["x", "y"] * 50}))
        with pytest.raises(ValueError, match=sentence):
            table.encode(pd.DataFrame(frame))

    def test_of_dates_between_units_are_refused(self):
        table = infer(day=pd.date_range("2020-01-01", periods=9))
        with pytest.raises(ValueError, match="times of whole days"):
            table.encode(pd.DataFrame({"day": [pd.Timestamp("2020-01-01 12:00")]}))

    def test_of_means_are_rounded_to_whole_numbers(self):
        frame = pd.DataFrame({"x": range(100), "day": pd.date_range("2020-01-01", periods=100)})
        table = Table.infer(frame)
        rows = table.decode(np.array([[2.6, 0.7]]))
        assert rows["x"][0] == 3
        assert rows["day"][0] == pd.Timestamp("2020-01-02")


class TestFeatures:
    @pytest.mark.parametrize("frame", [mixed_frame(), dice()])
    def test_split_and_join(self, frame):
        table = Table.infer(frame)
        X = table.encode(frame)
        features = split_codes(table.columns, X)
        rng = np.random.default_rng(0)
        is_fixed = [column.rest == "fixed" for column in table.columns]
        joined = join_features(table.columns, features, rng)
        np.testing.assert_array_equal(joined[:, np.invert(is_fixed)], X[:, np.invert(is_fixed)])

    @pytest.mark.parametrize("low", [0.0, -np.inf])
    def test_fixed_whole_numbers_add_up_to_one(self, low):
        column = Column("x", "integer", (), (3.0, 5.0), step=1.0, low=low, rest="fixed", center=4.0)
        codes = np.arange(max(low, -200.0), 200.0)
        codes = codes[~np.isin(codes, column.atoms)]
        total = np.exp(log_fixed([column], codes[:, None])).sum()
        np.testing.assert_allclose(total, 1.0, rtol=1e-9)

    def test_fixed_real_numbers_integrate_to_one(self):
        column = Column("x", "real", (), (0.0,), low=0.0, rest="fixed", center=2.0, scale=1.0)
        x = np.linspace(0.0, 60.0, 200_001)[1:]
        total = np.exp(log_fixed([column], x[:, None])).sum() * (x[1] - x[0])
        np.testing.assert_allclose(total, 1.0, rtol=1e-3)

    def test_fixed_draws_follow_their_probabilities(self):
        column = Column("x", "integer", (), (3.0,), step=1.0, low=0.0, rest="fixed", center=4.0)
        draws = column.draw_fixed(100_000, np.random.default_rng(0))
        values, counts = np.unique(draws, return_counts=True)
        expected = np.exp(log_fixed([column], values[:, None]))
        np.testing.assert_allclose(counts / 1e5, expected, atol=0.006)
        assert 3.0 not in values


class TestGiven:
    table = Table.infer(mixed_frame())

    def parse(self, given):
        return parse_table_given(self.table, given, 2)

    def index(self, name):
        return self.table.names.index(name)

    def test_values_by_name(self):
        given = {"city": "Ulm", "flag": True, "rain": 0.0, "day": "2020-01-03", "small": [1, 2]}
        values = self.parse(given).values
        names = [self.index(name) for name in given]
        np.testing.assert_array_equal(values[:, names], [[1, 1, 0, 2, 1], [1, 1, 0, 2, 2]])

    def test_dates_may_be_objects(self):
        for date in (datetime.date(2020, 1, 3), pd.Timestamp("2020-01-03"), "2020-01-03"):
            assert self.parse({"day": date}).values[0, self.index("day")] == 2

    def test_intervals(self):
        conditions = self.parse({"day": ("2020-01-03", None), "stay": (None, pd.Timedelta("2h"))})
        assert conditions.low[0, self.index("day")] == 2
        assert conditions.high[0, self.index("stay")] == 2

    def test_intervals_of_ordered_categories_are_sets(self):
        categories = self.parse({"size": ("m", None)}).categories
        np.testing.assert_array_equal(categories[self.index("size")], [1, 2, 3])

    def test_none_is_a_gap(self):
        categories = self.parse({"city": {"Bonn", None}}).categories[self.index("city")]
        np.testing.assert_array_equal(categories, [0, np.nan])

    def test_frames_give_rows(self):
        values = self.parse(pd.DataFrame({"city": ["Ulm", None]})).values
        np.testing.assert_array_equal(values[:, self.index("city")], [1, np.nan])

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"town": "Ulm"}, "given names feature 'town', which the model does not know"),
            ({"city": "Rom"}, "column 'city' has 'Rom', which is none of its 2 categories"),
            ({"city": ("Bonn", "Ulm")}, "must be a value or a set, as column 'city' holds categ"),
            ({"rain": -1.0}, "column 'rain' must hold values between 0 and inf"),
            ({"rain": {0.5}}, "must be a value or an interval, as column 'rain' holds real"),
            ({"rain": (-3, -1)}, "must be an interval that holds values of column 'rain'"),
            ({"small": 1.5}, "column 'small' must hold whole numbers"),
            ({"flag": None}, "asks for a gap, but column 'flag' had none in fit"),
            ({"day": "tomorrow"}, "must be a date, such as '2024-01-31'; got 'tomorrow'"),
            ({"day": 3}, "must be a date"),
            ({"day": "2020-01-01 12:00"}, "times of whole days"),
            ({"size": ("l", "s")}, "must be an interval with low before high"),
            ({"city": set()}, "must hold at least one value"),
            ([1.0], "given must be a dict by the names of columns, or a frame"),
        ],
    )
    def test_that_no_row_can_meet_is_refused(self, given, sentence):
        with pytest.raises(ValueError, match=sentence):
            self.parse(given)
