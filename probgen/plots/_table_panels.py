"""Panels of a table: how one column is distributed, and how two go together.

Each function draws the columns of one frame, the data, or of two, the data and draws.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probgen.metrics._columns import GAP, ComparedColumn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BARS = 8  # of categories; the rarer ones share one
MAX_GROUPS = 6  # of categories beside another column
N_BINS = 30
MAX_UNIT_BINS = 40  # of whole numbers, each of which has its own
LARGEST_UNIT = 2**52  # beyond which floats have no halves
ATOM_SHARE = 0.05  # of one number among many, which then has a bar of its own
MAX_ATOMS = 2
MAX_POINTS = 1500  # of a scatter
TAIL = 0.005  # share of the data beyond either end of a long-tailed histogram
LONGEST_LABEL = 14
OTHER = "other"
GAP_LABEL = "gap"
DATA_COLOR = "#b8bec4"
DRAWS_COLOR = "#1c7ed6"
COLORS = (DATA_COLOR, DRAWS_COLOR)
WIDTHS = (0.8, 0.42)  # of bars: draws stand before the data


@dataclass(frozen=True)
class Shares:
    """Bars of some outcomes of a column.

    Attributes
    ----------
    labels : list of str
    heights : list of ndarray of shape (n_bars,)
        Shares of the rows, of each frame.
    """

    labels: list[str]
    heights: list[np.ndarray]


def short(value: Any) -> str:
    """A value as a label of an axis."""
    if value is GAP:
        return GAP_LABEL
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if len(text) > LONGEST_LABEL:
        return text[: LONGEST_LABEL - 1] + "…"
    return text


def category_shares(column: ComparedColumn, most: int = MAX_BARS) -> Shares:
    """Bars of the most frequent categories, the others together, and the gaps."""
    codes = grouped_codes(column, most)
    labels = group_labels(column, most)
    n_rows = [len(values) for values in codes]
    heights = [np.bincount(values, minlength=len(labels)) / n for values, n in zip(codes, n_rows)]
    return Shares(labels, heights)


def _groups(column: ComparedColumn, most: int) -> tuple[list, list]:
    """Codes of categories that stay apart, and of those that share a group; gaps in neither."""
    counts = np.bincount(column.values[0], minlength=len(column.levels))
    known = [code for code, level in enumerate(column.levels) if level is not GAP]
    by_count = sorted(known, key=lambda code: -counts[code])
    n_apart = len(known)
    if len(known) > most:
        n_apart = most - 1
    apart = by_count[:n_apart]
    if len(known) <= 2 or column.is_ordered:
        apart = sorted(apart)
    return apart, by_count[n_apart:]


def group_labels(column: ComparedColumn, most: int) -> list[str]:
    """Labels of the groups of a column of categories."""
    apart, others = _groups(column, most)
    labels = [short(column.levels[code]) for code in apart]
    if others:
        labels.append(f"{OTHER} ({len(others)})")
    if column.has_gaps:
        labels.append(GAP_LABEL)
    return labels


def grouped_codes(column: ComparedColumn, most: int) -> list[np.ndarray]:
    """Indices (n,) of the groups of the rows of each frame."""
    apart, others = _groups(column, most)
    group_of = np.zeros(len(column.levels), int)
    group_of[apart] = range(len(apart))
    group_of[others] = len(apart)
    if column.has_gaps:
        group_of[-1] = len(apart) + bool(others)
    return [group_of[codes] for codes in column.values]


def number_shares(column: ComparedColumn) -> tuple[Shares, list[np.ndarray]]:
    """Bars of the atoms and gaps of a column of numbers, and its other values in each frame."""
    atoms = _atoms(column.values[0][~np.isnan(column.values[0])])
    labels = [_number_label(column, atom) for atom in atoms]
    heights = [[np.mean(values == atom) for atom in atoms] for values in column.values]
    if column.has_gaps:
        labels.append(GAP_LABEL)
        for shares, values in zip(heights, column.values):
            shares.append(np.isnan(values).mean())
    rest = [values[~np.isnan(values) & ~np.isin(values, atoms)] for values in column.values]
    return Shares(labels, [np.array(shares) for shares in heights]), rest


def _atoms(data: np.ndarray) -> list[float]:
    """Numbers that many rows share, far more than share their neighbours."""
    distinct, counts = np.unique(data, return_counts=True)
    if len(distinct) < 2 or _unit_edges(data) is not None:
        return []
    around = np.pad(counts, 1)
    neighbours = np.maximum(around[:-2], around[2:])
    heavy = np.flatnonzero((counts >= ATOM_SHARE * len(data)) & (counts >= 3 * neighbours))
    heaviest = heavy[np.argsort(-counts[heavy], kind="stable")[:MAX_ATOMS]]
    return np.sort(distinct[heaviest]).tolist()


def _number_label(column: ComparedColumn, value: float) -> str:
    if column.kind == "date":
        return str(np.datetime64(round(value), "D"))
    return short(value)


def draw_shares(ax: "Axes", shares: Shares, *, horizontal: bool) -> None:
    """Bars of the data behind those of draws."""
    places = np.arange(len(shares.labels))
    for heights, color, width in zip(shares.heights, COLORS, WIDTHS):
        if horizontal:
            ax.barh(places, heights, width, color=color)
        else:
            ax.bar(places, heights, width, color=color)
    if horizontal:
        ax.set_yticks(places, shares.labels)
        ax.set_ylim(len(places) - 0.4, -0.6)
        percent_axis(ax.xaxis)
    else:
        ax.set_xticks(places, shares.labels)
        ax.set_xlim(-0.6, len(places) - 0.4)
        percent_axis(ax.yaxis)


def draw_histogram(ax: "Axes", column: ComparedColumn, values: list[np.ndarray]) -> None:
    """Densities of numbers: the data filled, draws as a line."""
    known = [each for each in values if len(each)]
    ax.set_yticks([])
    if not known:
        ax.set_xticks([])
        return
    edges = bin_edges(known[0])
    style: dict[str, Any] = {"bins": edges, "density": True}
    for k, each in enumerate(values):
        inside = np.clip(each, edges[0], edges[-1])
        if not len(inside):
            continue
        if k == 0:
            ax.hist(inside, color=DATA_COLOR, **style)
        else:
            ax.hist(inside, histtype="step", color=DRAWS_COLOR, linewidth=1.4, **style)
    ax.set_xlim(edges[0], edges[-1])
    format_values(ax.xaxis, column, 4)


def bin_edges(data: np.ndarray) -> np.ndarray:
    """Edges of a histogram of numbers, between neighbouring values where these are on a grid."""
    unit = _unit_edges(data)
    if unit is not None:
        return unit
    if not len(data):
        return np.array([0.0, 1.0])
    low, high = data.min(), data.max()
    inner = np.quantile(data, [TAIL, 1.0 - TAIL])
    if high - low > 2.0 * (inner[1] - inner[0]) > 0.0:
        low, high = inner
    if low == high:
        margin = 0.5 * max(1.0, 1e-3 * abs(low))
        return np.array([low - margin, high + margin])
    step = _step(data)
    if step is None:
        return np.linspace(low, high, N_BINS + 1)
    width = step * max(1, round((high - low) / step / N_BINS))
    n_bins = int(np.ceil((high - low) / width + 0.5))
    return low - 0.5 * step + width * np.arange(n_bins + 1)


def _unit_edges(data: np.ndarray) -> np.ndarray | None:
    """Edges around each whole number, if there are few; or None."""
    if not len(data) or np.any(data != np.round(data)) or np.ptp(data) >= MAX_UNIT_BINS:
        return None
    if np.abs(data).max() >= LARGEST_UNIT:
        return None
    return np.arange(data.min() - 0.5, data.max() + 1.0)


def _step(data: np.ndarray) -> float | None:
    """The distance of neighbouring values, if all lie on a grid that is seen; or None."""
    distinct = np.unique(data)
    if len(distinct) < 2 or len(distinct) > 0.5 * len(data):
        return None
    step = np.diff(distinct).min()
    places = (distinct - distinct[0]) / step
    if np.abs(places - np.round(places)).max() > 1e-3:
        return None
    return float(step)


def draw_points(axes: list["Axes"], a: ComparedColumn, b: ComparedColumn) -> None:
    """Points of two columns of numbers, one frame beside the other."""
    from matplotlib.ticker import NullFormatter

    limits = [_limits(column.values[0]) for column in (a, b)]
    generator = np.random.default_rng(0)
    for k, ax in enumerate(axes):
        known = np.flatnonzero(~np.isnan(a.values[k]) & ~np.isnan(b.values[k]))
        if len(known) > MAX_POINTS:
            known = generator.choice(known, MAX_POINTS, replace=False)
        color = ("#868e96", DRAWS_COLOR)[k]
        style: dict[str, Any] = {"s": 5, "alpha": 0.35, "linewidths": 0, "color": color}
        ax.scatter(a.values[k][known], b.values[k][known], rasterized=True, **style)
        ax.set(xlim=limits[0], ylim=limits[1])
        format_values(ax.xaxis, a, 3)
        format_values(ax.yaxis, b, 4)
        if k:
            ax.yaxis.set_major_formatter(NullFormatter())


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Ends of an axis that leaves long tails out."""
    low, high = bin_edges(values[~np.isnan(values)])[[0, -1]]
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def draw_boxes(ax: "Axes", group: ComparedColumn, number: ComparedColumn) -> None:
    """Quartiles, and the central nine tenths, of a number in each category."""
    labels = group_labels(group, MAX_GROUPS)
    codes = grouped_codes(group, MAX_GROUPS)
    n_frames = len(codes)
    for k in range(n_frames):
        shift = (k - 0.5 * (n_frames - 1)) * 0.36
        for place in range(len(labels)):
            values = number.values[k][codes[k] == place]
            values = values[~np.isnan(values)]
            if not len(values):
                continue
            least, low, middle, high, most = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
            y = place + shift
            ax.plot([least, most], [y, y], color=COLORS[k], linewidth=1.2)
            ax.barh(y, high - low, 0.3, left=low, color=COLORS[k])
            ax.plot([middle, middle], [y - 0.15, y + 0.15], color="white", linewidth=1.6)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    format_values(ax.xaxis, number, 4)


def draw_rates(ax: "Axes", group: ComparedColumn, binary: ComparedColumn) -> str:
    """Share of the rarer of two categories in each category of another column; its label."""
    labels = group_labels(group, MAX_GROUPS)
    codes = grouped_codes(group, MAX_GROUPS)
    known = [code for code, level in enumerate(binary.levels) if level is not GAP]
    counts = np.bincount(binary.values[0], minlength=len(binary.levels))
    chosen = min(known, key=lambda code: counts[code])
    heights = []
    for of_group, of_binary in zip(codes, binary.values):
        totals = np.bincount(of_group, minlength=len(labels))
        hits = np.bincount(of_group[of_binary == chosen], minlength=len(labels))
        heights.append(hits / np.maximum(totals, 1))
    draw_shares(ax, Shares(labels, heights), horizontal=True)
    return short(binary.levels[chosen])


def draw_heats(axes: list["Axes"], a: ComparedColumn, b: ComparedColumn) -> None:
    """Shares of the pairs of categories, one frame beside the other."""
    labels = [group_labels(column, MAX_GROUPS) for column in (a, b)]
    codes = [grouped_codes(column, MAX_GROUPS) for column in (a, b)]
    shape = (len(labels[1]), len(labels[0]))
    pictures = []
    for k in range(len(axes)):
        cells = codes[1][k] * shape[1] + codes[0][k]
        counts = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        pictures.append(counts / counts.sum())
    for k, (ax, picture, colors) in enumerate(zip(axes, pictures, ("Greys", "Blues"))):
        ax.imshow(picture, cmap=colors, vmin=0.0, vmax=pictures[0].max(), aspect="auto")
        ax.set_xticks(range(shape[1]), labels[0], rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(shape[0]), labels[1] if k == 0 else [""] * shape[0])


def percent_axis(axis: Any) -> None:
    """Ticks of shares in percent, few of them."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axis.set_major_locator(MaxNLocator(3))
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def format_values(axis: Any, column: ComparedColumn, n_ticks: int) -> None:
    """Ticks of numbers, or of dates."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import EngFormatter, MaxNLocator

    if column.kind == "date":
        locator = AutoDateLocator(minticks=2, maxticks=n_ticks)
        axis.set_major_locator(locator)
        axis.set_major_formatter(ConciseDateFormatter(locator))
        return
    axis.set_major_locator(MaxNLocator(n_ticks - 1))
    if max(map(abs, axis.get_view_interval())) >= 1e4:
        axis.set_major_formatter(EngFormatter(sep=""))
