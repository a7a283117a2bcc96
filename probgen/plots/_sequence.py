"""A sequence over time, with its states behind it and its forecast after it."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count, show
from probgen.plots._axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADE = 0.2  # opacity of states and of forecasts


class SequenceDisplay:
    """Lines of the features of a sequence over its steps, states as shades, forecasts as bands.

    Make one with `from_estimator`.

    Parameters
    ----------
    steps : array-like of shape (T, d) or (T,)
        The sequence; gaps are NaN.
    states : array-like of shape (T,), default=None
        State of each step, -1 for none.
    future : array-like of shape (3, h, d) or (3, h), default=None
        Low end, middle and high end of the forecasts of the steps that follow.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        Those of the features, then those of the middle forecasts.
    spans_ : list of matplotlib Patch
        The runs of one state, in the order of time.

    Raises
    ------
    ValueError
        If an array has another shape.

    Examples
    --------
    >>> import matplotlib
    >>> from probgen.plots import SequenceDisplay
    >>> display = SequenceDisplay([0.0, 1.0, 5.0], states=[0, 0, 1]).plot()
    >>> len(display.lines_), len(display.spans_)
    (1, 2)
    """

    def __init__(
        self,
        steps: npt.ArrayLike,
        states: npt.ArrayLike | None = None,
        future: npt.ArrayLike | None = None,
    ) -> None:
        self.steps = np.asarray(steps, dtype=np.float64)
        if self.steps.ndim == 1:
            self.steps = self.steps[:, None]
        if self.steps.ndim != 2 or not self.steps.size:
            raise ValueError(f"steps must have shape (T, d) or (T,); got {self.steps.shape}.")
        n_steps, d = self.steps.shape
        self.states = None
        if states is not None:
            self.states = np.asarray(states)
            if self.states.shape != (n_steps,):
                raise ValueError(
                    f"states must hold one for each of {n_steps} steps; got shape"
                    f" {self.states.shape}."
                )
        self.future = None
        if future is not None:
            self.future = np.asarray(future, dtype=np.float64)
            if self.future.ndim == 2:
                self.future = self.future[:, :, None]
            if self.future.ndim != 3 or len(self.future) != 3 or self.future.shape[2] != d:
                raise ValueError(
                    f"future must have shape (3, h, {d}), as steps have {d} features; got"
                    f" {self.future.shape}."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: npt.ArrayLike,
        *,
        row: int = 0,
        forecast: int = 0,
        ax: "Axes | None" = None,
        **line_params: Any,
    ) -> Self:
        """Decode one of some sequences, and plot it.

        Parameters
        ----------
        estimator : HiddenMarkovModel
            Fitted, or a search whose best estimator it is.
        X : array-like of shape (n, T * d)
            Sequences.
        row : int, default=0
            Which of them to plot.
        forecast : int, default=0
            Number of steps to forecast after its end, with medians and intervals of 90 %.
        ax, **line_params :
            As in `plot`.

        Returns
        -------
        display : SequenceDisplay

        Raises
        ------
        TypeError
            If the estimator does not decode sequences.
        ValueError
            If row or forecast is out of range.
        """
        model = getattr(estimator, "best_estimator_", estimator)
        if not hasattr(model, "decode") or not hasattr(model, "forecast"):
            raise TypeError(
                f"estimator must decode sequences, as HiddenMarkovModel does; got {show(model)}."
            )
        check_is_fitted(model)
        check_count("row", row, low=0)
        check_count("forecast", forecast, low=0)
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2 or row >= len(rows):
            raise ValueError(f"row must be one of the rows of X, {show(rows)}; got {row}.")
        chosen = rows[row : row + 1]
        states = model.decode(chosen)[0]
        length = max(int(np.sum(states >= 0)), 1)
        steps = chosen.reshape(len(states), -1)
        future = None
        if forecast:
            levels = model.forecast(chosen, int(forecast), quantiles=[0.05, 0.5, 0.95])
            future = levels.reshape(3, int(forecast), -1)
        display = cls(steps[:length], states[:length], future)
        return display.plot(ax=ax, **line_params)

    def plot(self, *, ax: "Axes | None" = None, **line_params: Any) -> Self:
        """Draw the lines, shades and bands.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **line_params : dict
            Parameters of `Axes.plot` for the lines of the features.

        Returns
        -------
        display : SequenceDisplay
        """
        if ax is None:
            ax = new_axes("SequenceDisplay", (8.0, 3.0))
        n_steps, d = self.steps.shape
        times = np.arange(n_steps)
        self.spans_ = []
        if self.states is not None:
            starts = np.flatnonzero(np.diff(self.states, prepend=self.states[0] - 1))
            for start, stop in zip(starts, [*starts[1:], n_steps]):
                state = int(self.states[start])
                if state >= 0:
                    span = ax.axvspan(
                        start - 0.5, stop - 0.5, color=f"C{state % 10}", alpha=SHADE, linewidth=0.0
                    )
                    self.spans_.append(span)
        self.lines_ = []
        for j in range(d):
            settings = {"color": str(0.6 * j / max(d - 1, 1)), "label": f"feature {j}"}
            self.lines_ += ax.plot(times, self.steps[:, j], **{**settings, **line_params})
        if self.future is not None:
            ahead = n_steps + np.arange(self.future.shape[1])
            for j in range(d):
                color = self.lines_[j].get_color()
                low, middle, high = self.future[:, :, j]
                ax.fill_between(ahead, low, high, color=color, alpha=SHADE, linewidth=0.0)
                self.lines_ += ax.plot(ahead, middle, color=color, linestyle="dashed")
        ax.set_xlabel("step")
        if d > 1:
            ax.legend(handles=self.lines_[:d])
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
