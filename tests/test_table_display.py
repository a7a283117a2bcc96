"""Pictures of tables: what stands on each panel agrees with counts of the frames."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from probgen import GaussianMixture
from probgen.plots import TableDisplay

N = 400


def table(seed=0):
    rng = np.random.default_rng(seed)
    town = rng.choice(["Oslo", "Rome", "Bonn"], size=N, p=[0.5, 0.3, 0.2])
    height = rng.normal(size=N) + 3.0 * (town == "Rome")
    return pd.DataFrame(
        {
            "town": town,
            "code": rng.permutation(N).astype(str),
            "height": height,
            "weight": 2.0 * height + 0.1 * rng.normal(size=N),
            "gain": np.where(rng.random(N) < 0.7, 0.0, rng.lognormal(3.0, 1.0, size=N)),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(300, size=N), "D"),
            "child": rng.random(N) < 0.2,
        }
    )


def bar_lengths(ax, horizontal=True):
    """Lengths of the bars of the data and of draws, by label."""
    ticks = ax.get_yticklabels() if horizontal else ax.get_xticklabels()
    labels = [label.get_text() for label in ticks]
    lengths = [bar.get_width() if horizontal else bar.get_height() for bar in ax.patches]
    return dict(zip(labels, lengths)), dict(zip(labels, lengths[len(labels) :]))


@pytest.mark.parametrize("to_frame", [lambda frame: frame, pl.from_pandas])
def test_bars_are_shares_of_categories_and_gaps(to_frame):
    real, draws = table(1), table(2)
    real.loc[:49, "town"] = None
    display = TableDisplay.from_frames(to_frame(real), to_frame(draws), figure=Figure())
    shares = [frame.town.value_counts(dropna=False) / N for frame in (real, draws)]
    of_data, of_draws = bar_lengths(display.axes_["town"][0])
    assert of_data == pytest.approx({"Oslo": shares[0]["Oslo"], "gap": 50 / N} | of_data)
    assert list(of_data) == ["Oslo", "Rome", "Bonn", "gap"]  # by frequency, gaps last
    assert of_draws == pytest.approx({name: shares[1].get(name, 0.0) for name in of_draws})


def test_rare_categories_share_a_bar_and_ordered_ones_keep_their_order():
    sizes = pd.Categorical(["S", "L", "L", "M"] * 100, ["S", "M", "L"], ordered=True)
    display = TableDisplay.from_frames(table().assign(size=sizes), figure=Figure())
    of_data, _ = bar_lengths(display.axes_["code"][0])
    assert list(of_data)[-1] == f"other ({N - 7})"
    assert of_data[f"other ({N - 7})"] == pytest.approx(1.0 - 7 / N)
    assert list(bar_lengths(display.axes_["size"][0])[0]) == ["S", "M", "L"]


def test_atoms_and_gaps_stand_beside_the_histogram():
    real = table()
    real.loc[:39, "gain"] = np.nan
    bars, histogram = TableDisplay.from_frames(real, figure=Figure()).axes_["gain"]
    of_data, _ = bar_lengths(bars, horizontal=False)
    assert of_data == {"0": pytest.approx((real.gain == 0.0).mean()), "gap": 0.1}
    area = sum(bar.get_width() * bar.get_height() for bar in histogram.patches)
    assert area == pytest.approx(1.0)
    assert histogram.get_title() == "gain"


def test_whole_numbers_and_grids_have_no_atoms():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"rings": rng.poisson(9, N), "grid": rng.normal(5, 1, N).round(1)})
    axes = TableDisplay.from_frames(frame, n_pairs=0, figure=Figure()).axes_
    assert [len(axes[name]) for name in frame] == [1, 1]
    for (rings,) in [axes["rings"]]:
        counts = frame.rings.value_counts(normalize=True)
        heights = {bar.get_x() + 0.5: bar.get_height() for bar in rings.patches}
        assert {k: v for k, v in heights.items() if v} == pytest.approx(counts.to_dict())


def test_dates_are_dates():
    (ax,) = TableDisplay.from_frames(table(), table(1), figure=Figure()).axes_["day"]
    assert isinstance(ax.xaxis.get_major_formatter(), ConciseDateFormatter)
    assert ax.get_xlim()[0] == pytest.approx(18262.0, abs=30.0)  # days from 1970 to 2020


def test_pairs_are_the_most_associated_ones():
    display = TableDisplay(table().drop(columns="code"), n_pairs=2)
    assert set(display.pairs) == {("height", "weight"), ("town", "height")}
    assert TableDisplay(table(), n_pairs=0).pairs == []
    assert TableDisplay(table()[["town"]]).pairs == []


def test_each_kind_of_pair_has_its_panel():
    rng = np.random.default_rng(0)
    town = rng.integers(3, size=N)
    frame = pd.DataFrame(
        {
            "town": np.array(list("abc"))[town],
            "east": np.where(town == 1, "yes", "no"),
            "road": np.array(list("xyz"))[(town + (rng.random(N) < 0.1)) % 3],
            "height": rng.normal(size=N) + town,
        }
    )
    display = TableDisplay.from_frames(frame, frame, n_pairs=6, figure=Figure())
    assert ("town", "east") in display.pairs
    of_data, of_draws = bar_lengths(display.axes_["town", "east"][0])
    assert of_data == of_draws == {"a": 0.0, "b": 1.0, "c": 0.0}
    (left, right) = display.axes_["town", "road"]
    heat = left.images[0].get_array()
    assert heat.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(heat, right.images[0].get_array())
    display = TableDisplay.from_frames(frame, columns=["height", "town"], figure=Figure())
    (ax,) = display.axes_["height", "town"]
    assert ax.get_title() == "height\nby town"
    box = next(bar for bar in ax.patches if bar.get_y() < 0.0)  # of the most frequent town
    low, high = frame.height[frame.town == frame.town.mode()[0]].quantile([0.25, 0.75])
    assert [box.get_x(), box.get_width()] == pytest.approx([low, high - low])


def test_draws_of_a_model_stand_before_the_data():
    frame = table()[["height", "weight"]]
    model = GaussianMixture(random_state=0).fit(frame)
    display = TableDisplay.from_estimator(model, frame, random_state=0, figure=Figure())
    left, right = display.axes_["height", "weight"]
    assert len(left.collections[0].get_offsets()) == N
    np.testing.assert_allclose(
        right.collections[0].get_offsets(), model.sample(N, random_state=0), rtol=1e-12
    )
    assert [text.get_text() for text in display.figure_.legends[0].get_texts()] == ["data", "draws"]


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(gain=np.nan, day=pd.NaT, child=False),
        lambda f: f.assign(gain=5.0, height=1e300, town=None),
        lambda f: f[:1],
    ],
)
def test_degenerate_columns_are_drawn(change):
    real, draws = change(table()), table(1)
    for pair in [(real, draws), (draws, real)]:
        TableDisplay.from_frames(*pair, figure=Figure(), n_pairs=10).figure_.canvas.draw()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"columns": ["shoe"]}, "columns must be columns of real; got 'shoe'"),
        ({"max_columns": 0}, "max_columns must be an integer >= 1"),
        ({"n_pairs": -1}, "n_pairs must be an integer >= 0"),
        ({"synthetic": table().drop(columns="gain")}, "it lacks 'gain'"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(ValueError, match=message):
        TableDisplay(table(), **settings)


def test_a_model_must_sample():
    with pytest.raises(TypeError, match="estimator must be able to sample"):
        TableDisplay.from_estimator(object(), table())
