"""Distributions of the columns of a table, and of pairs of them, of data and draws."""

import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count, show
from probgen.metrics._columns import GAP, ComparedColumn, associations, read_columns
from probgen.plots._table_panels import (
    COLORS,
    category_shares,
    draw_boxes,
    draw_heats,
    draw_histogram,
    draw_points,
    draw_rates,
    draw_shares,
    number_shares,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_SIZE = (2.7, 2.1)  # inches
LABELS = ("data", "draws")
MAX_DRAWS = 10_000
MAX_ASSOCIATED = 60  # columns among which pairs are looked for
MAX_USES = 2  # of a column in pairs
N_ROWS_OF_PAIRS = 5000  # on which they are found


class TableDisplay:
    """Distributions of the columns of a table, and of its most associated pairs.

    Categories are bars of their shares; the rarest of many share one bar. Numbers are histograms,
    beside bars of gaps and of single numbers that hold 5 % of the rows or more. Draws stand in
    colour before the data in grey. Make one with `from_estimator` or `from_frames`.

    Parameters
    ----------
    real : frame or array-like of shape (n, n_columns)
        Rows of pandas, polars or NumPy.
    synthetic : frame or array-like of shape (m, n_columns), default=None
        Draws with the same columns; None shows the data alone.
    columns : iterable of str or int, default=None
        Columns to show, by names or indices of arrays. None shows the first `max_columns`.
    max_columns : int, default=24
        Most columns to show, at least 1.
    n_pairs : int, default=4
        Pairs of these columns to show, at least 0: those of the strongest association in the data,
        with no column in more than 2.
    categorical_features : iterable of str or int, default=()
        Columns of numbers, such as codes, that are categories.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with all panels.
    axes_ : dict
        From each column, and each pair (a, b) of columns, to the list of its Axes.
    pairs : list of tuple
        The pairs of columns.

    Raises
    ------
    ValueError
        If the frames have different columns or no rows, or an argument is out of range.

    Examples
    --------
    >>> import matplotlib
    >>> import pandas as pd
    >>> from probgen.plots import TableDisplay
    >>> data = pd.DataFrame({"town": ["Oslo", "Rome"] * 20, "age": range(40)})
    >>> draws = data.sample(30, replace=True, random_state=0)
    >>> display = TableDisplay.from_frames(data, draws)
    >>> list(display.axes_)
    ['town', 'age', ('town', 'age')]
    """

    def __init__(
        self,
        real: Any,
        synthetic: Any = None,
        *,
        columns: Iterable | None = None,
        max_columns: int = 24,
        n_pairs: int = 4,
        categorical_features: Iterable = (),
    ) -> None:
        check_count("max_columns", max_columns)
        check_count("n_pairs", n_pairs, low=0)
        frames = {"real": real}
        if synthetic is not None:
            frames["synthetic"] = synthetic
        read = {column.name: column for column in read_columns(frames, categorical_features)}
        if columns is None:
            columns = list(read)[:max_columns]
        unknown = [name for name in columns if name not in read]
        if unknown:
            raise ValueError(
                f"columns must be columns of real; got {show(unknown[0])}; it has"
                f" {show(list(read))}."
            )
        self.columns: list[ComparedColumn] = [read[name] for name in columns]
        self.n_frames = len(frames)
        self.pairs = [
            (self.columns[i].name, self.columns[j].name)
            for i, j in _choose_pairs(self.columns, n_pairs)
        ]

    @classmethod
    def from_frames(
        cls,
        real: Any,
        synthetic: Any = None,
        *,
        columns: Iterable | None = None,
        max_columns: int = 24,
        n_pairs: int = 4,
        categorical_features: Iterable = (),
        figure: "Figure | None" = None,
    ) -> Self:
        """Plot data, and draws before them.

        Parameters
        ----------
        real, synthetic, columns, max_columns, n_pairs, categorical_features :
            As in the constructor.
        figure : matplotlib Figure, default=None
            As in `plot`.

        Returns
        -------
        display : TableDisplay
        """
        display = cls(
            real,
            synthetic,
            columns=columns,
            max_columns=max_columns,
            n_pairs=n_pairs,
            categorical_features=categorical_features,
        )
        return display.plot(figure)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_samples: int | None = None,
        columns: Iterable | None = None,
        max_columns: int = 24,
        n_pairs: int = 4,
        categorical_features: Iterable = (),
        random_state: Any = None,
        figure: "Figure | None" = None,
    ) -> Self:
        """Draw from a fitted generator and plot the draws before the data.

        Parameters
        ----------
        estimator : estimator object
            Fitted generator, pipeline that samples, or search over such.
        X : frame or array-like of shape (n, n_columns)
            Rows of data.
        n_samples : int, default=None
            Number of draws; None draws as many as there are rows, at most 10,000.
        columns, max_columns, n_pairs, categorical_features :
            As in the constructor.
        random_state : int, RandomState, Generator or None, default=None
            Passed to `estimator.sample`; None continues the model's stream of draws.
        figure : matplotlib Figure, default=None
            As in `plot`.

        Returns
        -------
        display : TableDisplay

        Raises
        ------
        TypeError
            If the estimator cannot sample.
        ValueError
            If an argument is out of range.
        """
        model = getattr(estimator, "best_estimator_", estimator)
        if not hasattr(model, "sample"):
            raise TypeError(
                f"estimator must be able to sample; got {estimator!r}, which has no method of that"
                " name; put the steps into probgen.make_generative_pipeline, or pass a generator."
            )
        check_is_fitted(model)
        if n_samples is None:
            n_samples = min(len(X), MAX_DRAWS)
        draws = model.sample(n_samples, random_state=random_state)
        return cls.from_frames(
            X,
            draws,
            columns=columns,
            max_columns=max_columns,
            n_pairs=n_pairs,
            categorical_features=categorical_features,
            figure=figure,
        )

    def plot(self, figure: "Figure | None" = None, *, n_cols: int = 4) -> Self:
        """Draw the panels.

        Parameters
        ----------
        figure : matplotlib Figure or SubFigure, default=None
            Empty figure to draw on. None makes a new one that suits the number of panels, through
            pyplot if the program has imported it, so that `plt.show()` shows it.
        n_cols : int, default=4
            Panels side by side, at least 1.

        Returns
        -------
        display : TableDisplay
            The object itself, with `figure_` and `axes_`.
        """
        check_count("n_cols", n_cols)
        n_panels = len(self.columns) + len(self.pairs)
        n_cols = min(n_cols, n_panels)
        n_rows = math.ceil(n_panels / n_cols)
        if figure is None:
            size = (PANEL_SIZE[0] * n_cols, PANEL_SIZE[1] * n_rows + 0.3)
            figure = _new_figure((max(size[0], 4.0), size[1]))
        grid = figure.add_gridspec(n_rows, n_cols)
        cells = iter(grid[k // n_cols, k % n_cols] for k in range(n_panels))
        self.axes_: dict[Any, list[Axes]] = {}
        for column in self.columns:
            self.axes_[column.name] = _draw_column(figure, next(cells), column)
        by_name = {column.name: column for column in self.columns}
        for pair in self.pairs:
            columns = [by_name[name] for name in pair]
            self.axes_[pair] = _draw_pair(figure, next(cells), *columns)
        for axes in self.axes_.values():
            for ax in axes:
                _simplify(ax)
        if self.n_frames > 1:
            _add_legend(figure)
        self.figure_ = figure
        return self


def _choose_pairs(columns: list[ComparedColumn], n_pairs: int) -> list[tuple[int, int]]:
    """Indices of the pairs of the strongest associations in the data."""
    columns = columns[:MAX_ASSOCIATED]
    if not n_pairs or len(columns) < 2:
        return []
    n = len(columns[0].values[0])
    rows = np.arange(n)
    if n > N_ROWS_OF_PAIRS:
        rows = np.random.default_rng(0).choice(n, N_ROWS_OF_PAIRS, replace=False)
    strengths = np.abs(associations([column.rows(0, rows) for column in columns], 0))
    above = np.triu_indices(len(columns), k=1)
    uses = np.zeros(len(columns), int)
    pairs = []
    for k in np.argsort(-strengths[above], kind="stable"):
        pair = int(above[0][k]), int(above[1][k])
        if uses[list(pair)].max() < MAX_USES and len(pairs) < n_pairs:
            uses[list(pair)] += 1
            pairs.append(pair)
    return pairs


def _draw_column(figure: Any, cell: Any, column: ComparedColumn) -> list["Axes"]:
    """Bars, a histogram, or one beside the other."""
    if column.is_category:
        ax = figure.add_subplot(cell)
        draw_shares(ax, category_shares(column), horizontal=True)
        ax.set_title(str(column.name))
        return [ax]
    shares, rest = number_shares(column)
    n_bars = len(shares.labels)
    if not n_bars:
        ax = figure.add_subplot(cell)
        draw_histogram(ax, column, rest)
        ax.set_title(str(column.name))
        return [ax]
    parts = cell.subgridspec(1, 2, width_ratios=[n_bars, 3.5])
    bars, histogram = (figure.add_subplot(part) for part in parts)
    draw_shares(bars, shares, horizontal=False)
    draw_histogram(histogram, column, rest)
    histogram.set_title(str(column.name))
    return [bars, histogram]


def _draw_pair(figure: Any, cell: Any, a: ComparedColumn, b: ComparedColumn) -> list["Axes"]:
    """Points, boxes, rates or heats, by the kinds of two columns."""
    if a.is_category != b.is_category:
        group, number = (a, b) if a.is_category else (b, a)
        ax = figure.add_subplot(cell)
        draw_boxes(ax, group, number)
        ax.set_title(f"{number.name}\nby {group.name}")
        return [ax]
    binary = [column for column in (b, a) if _n_known(column) == 2]
    if a.is_category and binary:
        group = a if binary[0] is b else b
        ax = figure.add_subplot(cell)
        label = draw_rates(ax, group, binary[0])
        ax.set_title(f"{binary[0].name} {label}\nby {group.name}")
        return [ax]
    n_frames = len(a.values)
    axes = [figure.add_subplot(part) for part in cell.subgridspec(1, n_frames)]
    if a.is_category:
        draw_heats(axes, a, b)
    else:
        draw_points(axes, a, b)
    axes[0].set_title(f"{b.name}\nby {a.name}", loc="left")
    return axes


def _n_known(column: ComparedColumn) -> int:
    """Number of categories that are no gap; 0 for numbers."""
    return sum(level is not GAP for level in column.levels)


def _simplify(ax: "Axes") -> None:
    """Small letters, and no lines around the panel but those that carry ticks."""
    ax.tick_params(labelsize=8, length=2)
    for title in ("title", "_left_title"):
        getattr(ax, title).set_fontsize(9)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _add_legend(figure: Any) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=color, label=label) for color, label in zip(COLORS, LABELS)]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=9)


def _new_figure(size: tuple[float, float]) -> Any:
    """A new figure of a size in inches, through pyplot if the program has imported it."""
    if "matplotlib.pyplot" in sys.modules:
        return sys.modules["matplotlib.pyplot"].figure(figsize=size, layout="constrained")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "TableDisplay needs matplotlib; install it with `pip install 'probgen[plot]'`."
        ) from error
    return Figure(figsize=size, layout="constrained")
