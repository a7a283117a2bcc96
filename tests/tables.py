"""Small frames of mixed columns, for tests of tables."""

import numpy as np
import pandas as pd
import polars as pl


def mixed_frame(n=600, seed=0):
    """A pandas frame with a column of each kind and dtype."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2020-01-01")
    return pd.DataFrame(
        {
            "day": pd.date_range(start, periods=n).tz_localize("Europe/Berlin"),
            "time": pd.Series(pd.date_range(start, periods=n, freq="7min")).where(
                rng.random(n) > 0.1
            ),
            "stay": pd.to_timedelta(rng.integers(0, 1000, n), unit="h"),
            "flag": rng.random(n) > 0.5,
            "answer": pd.array(np.where(rng.random(n) > 0.5, True, None), dtype="boolean"),
            "zero_one": rng.integers(0, 2, n),
            "count": pd.array(np.where(rng.random(n) > 0.5, rng.poisson(3, n), None), "Int64"),
            "size": pd.Categorical(
                rng.choice(list("sml"), n), categories=["s", "m", "l", "xl"], ordered=True
            ),
            "code": pd.Categorical(rng.integers(0, 3, n)),
            "city": np.where(rng.random(n) > 0.2, rng.choice(["Ulm", "Bonn"], n), None),
            "single": rng.normal(size=n).astype("float32"),
            "rain": np.maximum(rng.normal(size=n), 0.0),
            "small": rng.integers(0, 9, n).astype("uint8"),
            "fixed": 1,
            "word": "same",
            "object": [start.date() + pd.Timedelta(days=k % 5) for k in range(n - 1)] + [None],
        }
    )


def mixed_polars(n=600, seed=0):
    """A polars frame with a column of each kind and dtype."""
    rng = np.random.default_rng(seed)
    days = pl.Series(pd.date_range("2020-01-01", periods=n))
    return pl.DataFrame(
        {
            "time": days,
            "zoned": days.dt.replace_time_zone("UTC"),
            "day": days.cast(pl.Date),
            "stay": pl.Series(pd.to_timedelta(rng.integers(0, 1000, n), unit="h")),
            "enum": pl.Series(["a", "b", None] * (n // 3), dtype=pl.Enum(["b", "a", "z"])),
            "category": pl.Series(["a", "b", None] * (n // 3), dtype=pl.Categorical),
            "text": ["x", "y", "z"] * (n // 3),
            "flag": [True, None, False] * (n // 3),
            "tiny": pl.Series(rng.integers(0, 9, n), dtype=pl.Int8),
            "real": pl.Series(rng.normal(size=n)),
        }
    )


def dice(n=2000, seed=0):
    """A frame of a category, a whole number with an atom, and a real number with an atom at 0."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    rain = np.where(rng.random(n) < 0.4, 0.0, rng.gamma(2.0, 1.0 + (kind == "a")))
    return pd.DataFrame({"kind": kind, "eyes": rng.integers(1, 7, n), "rain": rain})
