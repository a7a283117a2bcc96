"""Losses and validation score by epoch."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from probgen.plots._axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probgen.training import History


class TrainingCurveDisplay:
    """Curves of the losses by epoch, and of the validation score on a second axis.

    Make one with `from_estimator` or `from_history`.

    Parameters
    ----------
    history : History
        Records of the epochs, at least one.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the losses.
    score_ax_ : matplotlib Axes or None
        Axes with the validation score, over the same epochs; None without a score.
    figure_ : matplotlib Figure
        Figure with both.
    lines_ : list of matplotlib Line2D
        The losses in order, then the validation score.

    Raises
    ------
    TypeError
        If history is no History.
    ValueError
        If history has no epochs.

    Examples
    --------
    >>> import matplotlib
    >>> from probgen.plots import TrainingCurveDisplay
    >>> from probgen.training import History
    >>> history = History([{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 2.0}])
    >>> display = TrainingCurveDisplay.from_history(history)
    >>> display.lines_[0].get_ydata()
    array([2.5, 2. ])
    """

    def __init__(self, history: "History") -> None:
        if not hasattr(history, "loss_names"):
            raise TypeError(
                f"history must be a History, such as `history_` of an estimator; got {history!r}."
            )
        if not len(history):
            raise ValueError(
                "history must have at least one epoch; got none; fit the estimator first."
            )
        self.history = history

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: "Axes | None" = None,
        log_scale: bool = False,
        **line_params: Any,
    ) -> Self:
        """Plot the history of a fitted estimator.

        Parameters
        ----------
        estimator : estimator object
            Fitted estimator with a `history_`, or a pipeline or search that ends in one.
        ax, log_scale, **line_params :
            As in `plot`.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        TypeError
            If the estimator keeps no history, or is not fitted.
        """
        model = estimator
        while not hasattr(model, "history_"):
            if hasattr(model, "best_estimator_"):
                model = model.best_estimator_
            elif getattr(model, "steps", None):
                model = model.steps[-1][1]
            else:
                raise TypeError(
                    "estimator must be fitted and keep a history_ of its epochs; got"
                    f" {estimator!r}; fit it, or choose a model that is trained in epochs."
                )
        return cls.from_history(model.history_, ax=ax, log_scale=log_scale, **line_params)

    @classmethod
    def from_history(
        cls,
        history: "History",
        *,
        ax: "Axes | None" = None,
        log_scale: bool = False,
        **line_params: Any,
    ) -> Self:
        """Plot a history.

        Parameters
        ----------
        history : History
            Records of the epochs, at least one.
        ax, log_scale, **line_params :
            As in `plot`.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        return cls(history).plot(ax=ax, log_scale=log_scale, **line_params)

    def plot(
        self, ax: "Axes | None" = None, *, log_scale: bool = False, **line_params: Any
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure, through pyplot if the program has imported it,
            so that `plt.show()` shows it.
        log_scale : bool, default=False
            Whether the axis of the losses is logarithmic.
        **line_params : dict
            Passed to matplotlib's `plot` for every curve, such as `linewidth`.

        Returns
        -------
        display : TrainingCurveDisplay
            The object itself, with its attributes.

        Raises
        ------
        ValueError
            With log_scale, if a loss is not above 0.
        """
        history = self.history
        losses = {name: np.array(history[name], dtype=float) for name in history.loss_names}
        for name, values in losses.items():
            if log_scale and np.any(values <= 0.0):
                raise ValueError(
                    f"log_scale=True needs losses above 0; got {name} = {np.nanmin(values):g}; set"
                    " log_scale=False."
                )
        epochs = np.arange(1, len(history) + 1)
        if "epoch" in history.columns:
            epochs = history["epoch"]
        if ax is None:
            ax = new_axes("TrainingCurveDisplay")
        if len(history) == 1:  # A line through one point is invisible.
            line_params = {"marker": "o"} | line_params
        self.lines_ = []
        for name, values in losses.items():
            self.lines_ += ax.plot(epochs, values, **({"label": name} | line_params))
        ax.set(xlabel="Epoch", ylabel="Loss")
        if log_scale:
            ax.set_yscale("log")
        ax.locator_params(axis="x", integer=True)
        self.score_ax_ = None
        if "validation_score" in history.columns:
            self.score_ax_ = ax.twinx()
            style = {"label": "validation score", "color": "black", "linestyle": "--"}
            self.lines_ += self.score_ax_.plot(
                epochs, history["validation_score"], **(style | line_params)
            )
            self.score_ax_.set_ylabel("Validation score (higher is better)")
        ax.legend(
            handles=self.lines_,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
            frameon=False,
        )
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
