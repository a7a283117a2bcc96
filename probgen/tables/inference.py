"""What the columns of a frame are: their kinds, categories, atoms and bounds, from its values."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probgen._validation import show
from probgen.tables.columns import CATEGORIES, KINDS, Column, center_and_scale
from probgen.tables.frames import Cells

MISSING = ("model", "marginalise")
UNKNOWN = ("level", "error")
# Texts with more values than this, or with a value of its own for most rows, are no categories.
MOST_LEVELS = 1000
MOST_LEVELS_BY_NAME = 2**16  # of a column that the user calls a category
FEW_LEVELS = 50
# A column of few values, each in this many rows on average, has an atom at each.
MOST_ATOMS = 256
MOST_REAL_ATOMS = 20
ROWS_OF_ATOM = 50
# Other atoms are values with this share of the rows, and this many times the mean count of a value.
SHARES = {"whole": 0.02, "real": 0.05}
TIMES_MEAN = {"whole": 5.0, "real": 10.0}
LEAST_REST = 20  # rows from which a distribution of the rest is learned
TICKS = {"D": 86_400_000_000_000, "h": 3_600_000_000_000, "m": 60_000_000_000}
TICKS |= {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
UNITS = {"D": "day", "h": "hour", "m": "minute", "s": "second", "ms": "millisecond"}
UNITS |= {"us": "microsecond", "ns": "nanosecond"}


@dataclass(frozen=True)
class Format:
    """How a column of codes is written in its frame.

    Attributes
    ----------
    dtype, zone : str, str or None
        As in `Cells`.
    unit : str
        Of dates and durations, the unit of codes, such as "D"; empty for others.
    origin : int
        Of dates, the code 0 in that unit since 1970.
    """

    dtype: str
    zone: str | None = None
    unit: str = ""
    origin: int = 0

    @property
    def is_duration(self) -> bool:
        """Whether codes are durations rather than dates."""
        return self.dtype.lower().startswith(("timedelta", "duration"))


def infer_column(
    cells: Cells, kind: str | None, missing: str, handle_unknown: str
) -> tuple[Column, Format]:
    """Return what a column is, and how it is written.

    Parameters
    ----------
    cells : Cells
    kind : str or None
        One of `KINDS` that the user names; None infers it.
    missing : {"model", "marginalise"}
        Whether gaps are an outcome.
    handle_unknown : {"level", "error"}
        Whether categories that were not seen are a level together.

    Raises
    ------
    ValueError
        If the column cannot be of that kind, holds no value, an infinity, or free text.
    """
    present = cells.data[~np.isnat(cells.data)] if _is_time(cells) else _present(cells.data)
    if not len(present):
        raise ValueError(f"column {show(cells.name)} has no value in any row; drop it.")
    if kind is None:
        kind = _infer_kind(cells, present)
    _check_kind(cells, kind, present)
    has_gaps = missing == "model" and len(present) < len(cells.data)
    format = Format(cells.dtype, cells.zone)
    if _is_time(cells):
        format = _time_format(cells, present, kind)
    if kind in CATEGORIES:
        levels = _levels(cells, kind, present)
        rest = "none"
        if kind == "category" and handle_unknown == "level":
            rest = "fixed"
        return Column(cells.name, kind, levels=levels, has_gaps=has_gaps, rest=rest), format
    codes = cells.data
    if _is_time(cells):
        codes = time_codes(cells.data, format)
    column = _number_column(cells.name, kind, _present(codes))
    return replace(column, has_gaps=has_gaps), format


def _is_time(cells: Cells) -> bool:
    return cells.data.dtype.kind in "Mm"


def _present(data: np.ndarray) -> np.ndarray:
    return data[~np.isnan(data)]


def _infer_kind(cells: Cells, present: np.ndarray) -> str:
    """The kind of a column, from the type and the values of its cells."""
    if cells.type in ("category", "ordered", "boolean"):
        return cells.type
    first = present[0]
    if np.all(present == first):
        return "constant"
    if cells.type == "text":
        n_levels = len(cells.levels)
        is_free = n_levels > FEW_LEVELS and n_levels > len(present) / 2
        if is_free or n_levels > MOST_LEVELS:
            raise ValueError(
                f"column {show(cells.name)} holds text with {n_levels} different values in"
                f" {len(present)} rows, which are no categories; drop the column, group its values,"
                " or name its kind 'category'."
            )
        return "category"
    if cells.type in ("datetime", "duration"):
        return cells.type
    if np.all(np.isin(present, (0.0, 1.0))):
        return "boolean"
    if np.all(present == np.rint(present)):
        return "integer"
    return "real"


def _check_kind(cells: Cells, kind: str, present: np.ndarray) -> None:
    """Raise unless the cells of a column can be of a kind."""
    name = show(cells.name)
    if kind not in KINDS:
        raise ValueError(
            f"kinds must name one of {', '.join(KINDS)} for column {name}; got {show(kind)}."
        )
    if cells.type in ("category", "ordered") and len(cells.levels) > MOST_LEVELS_BY_NAME:
        raise ValueError(
            f"column {name} has {len(cells.levels)} categories, more than {MOST_LEVELS_BY_NAME};"
            " group them, or drop it."
        )
    if cells.type == "number" and np.isinf(present).any():
        raise ValueError(
            f"X must hold finite numbers; got an infinity in column {name}; make it a gap, or a"
            " large number."
        )
    expected = {
        "real": "number",
        "integer": "number",
        "datetime": "datetime",
        "duration": "duration",
    }.get(kind)
    if expected not in (None, cells.type):
        raise ValueError(
            f"column {name} cannot be of kind {kind!r}, because it holds {cells.type}; convert it,"
            " or choose another kind."
        )
    if kind == "integer" and np.any(present != np.rint(present)):
        fraction = present[present != np.rint(present)][0]
        raise ValueError(f"column {name} cannot be of kind 'integer': it holds {fraction}.")
    if kind == "boolean" and cells.type == "number" and not np.isin(present, (0, 1)).all():
        other = present[~np.isin(present, (0, 1))][0]
        raise ValueError(f"column {name} cannot be of kind 'boolean': it holds {other}.")
    if kind in CATEGORIES and _is_time(cells) and kind != "constant":
        raise ValueError(
            f"column {name} holds {cells.type}, not categories; make text of it first, such as with"
            " .astype(str)."
        )


def _levels(cells: Cells, kind: str, present: np.ndarray) -> tuple:
    """The categories of a column, as Python values."""
    if cells.type == "boolean":
        return (False, True)
    if cells.levels and kind == "constant":
        return (cells.levels[int(present[0])],)
    if cells.levels:
        return cells.levels
    if kind == "boolean":
        return (0.0, 1.0)
    if kind == "constant":
        return tuple(present[:1].tolist()) if not _is_time(cells) else (0.0,)
    levels = np.unique(present)
    if len(levels) > MOST_LEVELS_BY_NAME:
        raise ValueError(
            f"column {show(cells.name)} has {len(levels)} categories, more than"
            f" {MOST_LEVELS_BY_NAME}; group them, or drop it."
        )
    return tuple(levels.tolist())


def _number_column(name: Any, kind: str, codes: np.ndarray) -> Column:
    """The Column of numbers, whose codes (n,) have no gaps."""
    is_real = kind == "real"
    low, high = -np.inf, np.inf
    if kind != "datetime":
        if codes.min() >= 0.0:
            low = 0.0
        elif codes.max() <= 0.0:
            high = 0.0
    atoms = _atoms(codes, is_real, low, high)
    center, scale = center_and_scale(codes)
    n_rest = int((~np.isin(codes, atoms)).sum())
    rest = "modelled"
    if len(atoms) and n_rest < LEAST_REST:
        rest = "fixed"
    return Column(
        name,
        kind,
        atoms=tuple(atoms.tolist()),
        step=float(not is_real),
        low=low,
        high=high,
        rest=rest,
        center=center,
        scale=scale,
    )


def _atoms(codes: np.ndarray, is_real: bool, low: float, high: float) -> np.ndarray:
    """Sorted values that carry mass by themselves."""
    values, counts = np.unique(codes, return_counts=True)
    mean_count = len(codes) / len(values)
    most = MOST_ATOMS
    if is_real:
        most = MOST_REAL_ATOMS
    if len(values) <= most and mean_count >= ROWS_OF_ATOM:
        return values
    kind = "whole"
    if is_real:
        kind = "real"
    is_atom = (counts >= SHARES[kind] * len(codes)) & (counts >= TIMES_MEAN[kind] * mean_count)
    if is_real:
        is_atom |= (values == low) | (values == high)  # where densities end
    return values[is_atom]


def _time_format(cells: Cells, present: np.ndarray, kind: str) -> Format:
    """The coarsest unit that dates or durations are whole numbers of, and the first date."""
    tick = np.datetime_data(present.dtype)[0]
    ticks = present.astype(np.int64)
    unit = tick
    for candidate, nanoseconds in TICKS.items():
        factor = nanoseconds // TICKS[tick]
        if factor >= 1 and not np.any(ticks % factor):
            unit = candidate
            ticks = ticks // factor
            break
    origin = 0
    if cells.type == "datetime" or kind == "constant":
        origin = int(ticks.min())
    return Format(cells.dtype, cells.zone, unit, origin)


def time_codes(data: np.ndarray, format: Format) -> np.ndarray:
    """Codes (n,) of dates or durations, in units since the origin, with NaN for NaT.

    They are not whole where the unit is too coarse.
    """
    tick = np.datetime_data(data.dtype)[0]
    if tick not in TICKS:  # weeks and longer, or a literal of another unit
        data = data.astype(f"{data.dtype.kind}8[D]")
        tick = "D"
    factor = TICKS[format.unit] / TICKS[tick]
    gaps = np.isnat(data)
    ticks = np.where(gaps, 0, data.astype(np.int64))
    if factor >= 1.0:
        whole, left = np.divmod(ticks, int(factor))
        codes = (whole - format.origin) + left / factor
    else:
        codes = ticks * float(round(1.0 / factor)) - format.origin
    return np.where(gaps, np.nan, codes)


def times_of(codes: np.ndarray, format: Format) -> np.ndarray:
    """Dates or durations of codes (n,), NaT for NaN, within what the dtype of the frame holds."""
    letter = "m" if format.is_duration else "M"
    gaps = np.isnan(codes)
    ticks = np.where(gaps, 0.0, codes).astype(np.int64) + format.origin
    finest = "ns" if "ns" in format.dtype else "us"
    most = (2**63 - 1) // (TICKS[format.unit] // TICKS[finest] or 1) - 1
    times = np.clip(ticks, -most, most).astype(f"{letter}8[{format.unit}]")
    times[gaps] = np.array("NaT", dtype=times.dtype)
    return times
