"""Losses and validation score of a fit by epoch."""

import numpy as np

from probgen.plots._axes import new_axes


class TrainingCurveDisplay:
    """Curves of the losses by epoch, and of the validation score on an axis of its own.

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
        Axes with the validation score, which share the epochs; None without a score.
    figure_ : matplotlib Figure
        Figure with both.
    lines_ : list of matplotlib Line2D
        The losses in their order, and then the validation score.

    Raises
    ------
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

    def __init__(self, history):
        if not len(history):
            raise ValueError(
                "history must have at least one epoch; got none; fit the estimator first."
            )
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, log_scale=False, **line_params):
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
                    f" {estimator!r}; fit it, or take a model that is trained by epochs."
                )
        return cls.from_history(model.history_, ax=ax, log_scale=log_scale, **line_params)

    @classmethod
    def from_history(cls, history, *, ax=None, log_scale=False, **line_params):
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

    def plot(self, ax=None, *, log_scale=False, **line_params):
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
        epochs = history["epoch"] if "epoch" in history.columns else np.arange(1, len(history) + 1)
        if ax is None:
            ax = new_axes("TrainingCurveDisplay")
        params = {"marker": "o" if len(history) == 1 else None} | line_params
        self.lines_ = [
            ax.plot(epochs, values, **({"label": name} | params))[0]
            for name, values in losses.items()
        ]
        ax.set(xlabel="Epoch", ylabel="Loss", yscale="log" if log_scale else "linear")
        ax.xaxis.get_major_locator().set_params(integer=True)
        self.score_ax_ = None
        if "validation_score" in history.columns:
            self.score_ax_ = ax.twinx()
            style = {"label": "validation score", "color": "black", "linestyle": "--"}
            self.lines_ += self.score_ax_.plot(
                epochs, history["validation_score"], **(style | params)
            )
            self.score_ax_.set_ylabel("Validation score (higher is better)")
        ax.legend(
            handles=self.lines_,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
            frameon=False,
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self
