"""Comparisons of tables, against distances known by hand, SciPy and scikit-learn."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import contingency, wasserstein_distance
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression

from probgen.metrics import (
    association_error,
    classifier_two_sample_test,
    closest_record_share,
    column_distances,
    train_on_synthetic,
)
from probgen.metrics import tables as metrics_of_tables
from probgen.metrics._columns import associations, read_columns

RNG = np.random.default_rng(0)


def mixed(n, seed=0):
    """Rows of all kinds of columns, some of them dependent."""
    rng = np.random.default_rng(seed)
    group = rng.integers(3, size=n)
    age = rng.normal(40.0, 10.0, size=n) + 5.0 * group
    return pd.DataFrame(
        {
            "group": np.array(["a", "b", "c"])[group],
            "size": pd.Categorical.from_codes(rng.integers(2, size=n), ["small", "large"]),
            "age": age,
            "pay": np.where(rng.random(n) < 0.2, np.nan, 2.0 * age + rng.normal(size=n)),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(99, size=n), "D"),
            "old": age > 45.0,
        }
    )


def to_polars(frame):
    objects = frame.astype(object).where(frame.notna(), None)
    return pl.DataFrame({name: objects[name].to_list() for name in frame})


FRAMES = {
    "pandas": lambda frame: frame,
    "polars": to_polars,
    "objects": lambda frame: frame.astype(object),
    "nullable": lambda frame: frame.convert_dtypes(),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_table_is_at_no_distance_from_itself_in_any_frame(kind):
    frame = mixed(50)
    frame.loc[3, "group"] = None
    other = FRAMES[kind](frame)
    distances = column_distances(other, frame[frame.columns[::-1]])
    assert distances.total_variation == {"group": 0.0, "size": 0.0, "old": 0.0}
    assert distances.wasserstein == dict.fromkeys(["age", "pay", "since"], 0.0)
    assert distances.gaps == {"pay": 0.0}
    assert association_error(frame, other) == 0.0


def test_distances_of_columns():
    real, draws = mixed(200, 1), mixed(300, 2).assign(since=lambda f: f.since + pd.Timedelta("3D"))
    real.loc[:9, "size"] = None
    distances = column_distances(real, draws)
    shares = [frame["size"].value_counts(dropna=False, normalize=True) for frame in (real, draws)]
    assert distances.total_variation["size"] == pytest.approx(
        0.5 * shares[0].sub(shares[1], fill_value=0.0).abs().sum()
    )
    for name in ["age", "pay"]:
        truth = wasserstein_distance(real[name].dropna(), draws[name].dropna())
        assert distances.wasserstein[name] == pytest.approx(truth / real[name].std(ddof=0))
    days = [(frame.since - real.since[0]) / pd.Timedelta(days=1) for frame in (real, draws)]
    assert distances.wasserstein["since"] == pytest.approx(
        wasserstein_distance(*days) / days[0].std(ddof=0)
    )
    assert distances.gaps["pay"] == pytest.approx(
        abs(real.pay.isna().mean() - draws.pay.isna().mean())
    )


def test_codes_are_categories_on_request_and_new_levels_count():
    real, draws = np.array([[0, 1], [1, 1], [0, 1]]), np.array([[0, 3], [5, 3], [6, 3]])
    distances = column_distances(real, draws, categorical_features=[0])
    assert distances.total_variation == {0: pytest.approx(0.5 * 4 / 3)}
    assert distances.wasserstein == {1: 2.0}  # in its own units, because it is constant


def test_associations_are_those_of_scipy_and_scikit_learn():
    frame = mixed(300)
    columns = read_columns({"real": frame})
    A = associations(columns, 0)
    at = {name: j for j, name in enumerate(frame)}
    table = pd.crosstab(frame.group, frame.old)
    assert A[at["group"], at["old"]] == pytest.approx(contingency.association(table))
    # F = (between / (k - 1)) / (within / (n - k))
    f = f_classif(frame[["age"]], frame.group)[0][0]
    ratio = np.sqrt(2 * f / (2 * f + 297))
    assert A[at["group"], at["age"]] == A[at["age"], at["group"]] == pytest.approx(ratio)
    assert A[at["age"], at["pay"]] == pytest.approx(frame.age.corr(frame.pay))
    numbers = RNG.normal(size=(40, 5)) @ RNG.normal(size=(5, 5))
    numbers[RNG.random(numbers.shape) < 0.3] = np.nan
    np.testing.assert_allclose(
        associations(read_columns({"real": numbers}), 0), pd.DataFrame(numbers).corr(), rtol=1e-10
    )


def test_association_error_is_the_mean_over_pairs():
    x, z = np.array([0.0, 1.0, 2.0]), np.array([1.0, -2.0, 1.0])
    real, draws = np.column_stack([x, x, x]), np.column_stack([x, -x, z])
    assert association_error(real, draws) == pytest.approx((2.0 + 1.0 + 1.0) / 3)
    assert association_error(real[:, :1], draws[:, :1]) == 0.0
    constant = pd.DataFrame({"a": ["x", "x"], "b": [1.0, 1.0], "c": [1, 2]})
    assert association_error(constant, constant) == 0.0


def gower(a, b, ranges):
    """The distance of two rows, written out."""
    total = 0.0
    for name in a.index:
        if pd.isna(a[name]) or pd.isna(b[name]):
            total += pd.isna(a[name]) != pd.isna(b[name])
        elif name in ranges:
            total += abs(a[name] - b[name]) / ranges[name]
        else:
            total += a[name] != b[name]
    return total


@pytest.mark.parametrize("block", [1, 2**22])
def test_closest_records_are_those_of_all_pairs(monkeypatch, block):
    monkeypatch.setattr(metrics_of_tables, "BLOCK_NUMBERS", block)
    training, holdout, draws = mixed(30, 1), mixed(30, 2), mixed(40, 3)
    for frame in (training, holdout, draws):
        frame.loc[:3, "group"] = None
    known = pd.concat([training, holdout])
    ranges = {name: known[name].max() - known[name].min() for name in ["age", "pay", "since"]}
    share = []
    for _, draw in draws.iterrows():
        to_train, to_holdout = (
            min(gower(draw, row, ranges) for _, row in part.iterrows())
            for part in (training, holdout)
        )
        share.append(0.5 if np.isclose(to_train, to_holdout) else to_train < to_holdout)
    assert closest_record_share(training, holdout, draws) == pytest.approx(np.mean(share))


def test_closest_records_tell_copies_from_new_rows():
    training, holdout = mixed(400, 1), mixed(200, 2)
    assert closest_record_share(holdout, training, holdout) == 1.0
    assert closest_record_share(training, holdout, holdout) == 0.0
    fresh = closest_record_share(training, holdout, mixed(2000, 3))
    assert abs(fresh - 0.5) < 0.1
    assert closest_record_share(training, training, holdout, random_state=0) == 0.5


def test_rows_that_teach_the_truth_and_its_opposite():
    real, draws = mixed(300, 1), mixed(300, 2)
    scores = train_on_synthetic(draws, real, "old")
    assert scores.roc_auc > 0.99
    assert scores.f1 > 0.95
    assert train_on_synthetic(draws.assign(old=~draws.old), real, "old").roc_auc < 0.01
    one_class = draws.assign(old=True)
    assert train_on_synthetic(one_class, real, "old").roc_auc == 0.5
    several = train_on_synthetic(draws[draws.group != "c"], real, "group")
    assert 0.5 < several.roc_auc < 0.9
    assert several.f1 < 2 / 3  # of a class without draws it is 0
    assert train_on_synthetic(draws, real, "age").r2 > 0.9


@pytest.mark.parametrize("kind", FRAMES)
def test_an_estimator_of_ones_own_gets_standard_units_and_indicators(kind):
    real, draws = mixed(300, 1), mixed(300, 2)
    model = LogisticRegression(C=1e6, max_iter=1000)
    scores = train_on_synthetic(FRAMES[kind](draws), real, "old", estimator=model)
    assert scores.roc_auc > 0.999
    assert not hasattr(model, "coef_")


def test_draws_that_cannot_be_told_and_others():
    real = mixed(600, 1)
    assert abs(classifier_two_sample_test(real, mixed(700, 2)) - 0.5) < 0.07
    shifted = mixed(600, 2).assign(pay=lambda frame: RNG.permutation(frame.pay))
    assert classifier_two_sample_test(real, shifted) > 0.8


def test_many_levels_do_not_break_trees():
    n = 900
    frames = [
        pd.DataFrame({"name": RNG.permutation(n).astype(str), "x": RNG.normal(size=n)})
        for _ in range(2)
    ]
    assert abs(classifier_two_sample_test(*frames) - 0.5) < 0.1


FRAME = mixed(20)
BAD = {
    "synthetic must have the columns of real; it lacks 'age'": (
        lambda: column_distances(FRAME, FRAME.drop(columns="age"))
    ),
    "it has 'new' too; drop that column": lambda: association_error(FRAME, FRAME.assign(new=1)),
    "holdout must have at least one row": lambda: closest_record_share(FRAME, FRAME[:0], FRAME),
    "synthetic must hold numbers in column 'age'": (
        lambda: column_distances(FRAME, FRAME.assign(age="x"))
    ),
    "categorical_features must name columns of real; got 'shoe'": (
        lambda: column_distances(FRAME, FRAME, categorical_features=["shoe"])
    ),
    "target must be a column; got 'shoe'": lambda: train_on_synthetic(FRAME, FRAME, "shoe"),
    "gap in the target 'pay'; got one in row": lambda: train_on_synthetic(FRAME, FRAME, "pay"),
    "two classes of 'old' or more": (
        lambda: train_on_synthetic(FRAME, FRAME.assign(old=True), "old")
    ),
    "cv must be at most the number of rows of either table, 2; got 3": (
        lambda: classifier_two_sample_test(FRAME[:2], FRAME)
    ),
    "real must be a frame, or an array of two axes": lambda: column_distances([1, 2], [1, 2]),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


def test_dates_and_durations_of_python_and_polars():
    days = [datetime.date(2020, 1, 1), datetime.date(2020, 1, 3), None]
    spans = [datetime.timedelta(hours=h) for h in (0, 48, 96)]
    frames = [
        pl.DataFrame({"day": days, "span": spans}),
        pd.DataFrame({"day": days, "span": spans}),
    ]
    columns = read_columns(dict(zip(["a", "b"], frames)))
    assert [column.kind for column in columns] == ["date", "duration"]
    for frame in (0, 1):
        np.testing.assert_allclose(columns[0].values[frame], [18262.0, 18264.0, np.nan])
        np.testing.assert_allclose(columns[1].values[frame], [0.0, 2.0, 4.0])
