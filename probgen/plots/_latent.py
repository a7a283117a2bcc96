"""Where rows lie in the space of codes."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from probgen.plots._axes import new_axes

N_BINS = 40
POINT_AREA = 8.0  # square points


class LatentDisplay:
    """Scatter of two numbers of the codes, coloured by class; a histogram of codes of one number.

    Parameters
    ----------
    codes : array-like of shape (n, 1) or (n, 2)
    y : array-like of shape (n,), default=None
        Classes.
    names : sequence of str, default=None
        Of the columns of codes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    artists_ : list
        What was drawn for each class, in order.

    Raises
    ------
    ValueError
        If codes are of another shape, or y does not fit.

    Examples
    --------
    >>> import matplotlib
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from probgen.plots import LatentDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> len(LatentDisplay.from_estimator(PCA(2).fit(X), X, y).artists_)
    3
    """

    def __init__(self, codes, y=None, names=None):
        self.codes = np.asarray(codes, dtype=np.float64)
        if self.codes.ndim != 2 or self.codes.shape[1] not in {1, 2}:
            raise ValueError(f"codes must have shape (n, 1) or (n, 2); got {self.codes.shape}.")
        self.y = None if y is None else np.asarray(y)
        if self.y is not None and self.y.shape != (len(self.codes),):
            raise ValueError(
                f"y must hold one class for each of {len(self.codes)} rows; got shape"
                f" {self.y.shape}."
            )
        self.names = (
            [f"code {k}" for k in range(self.codes.shape[1])] if names is None else list(names)
        )

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, components=(0, 1), ax=None, **params):
        """Transform rows and plot their codes.

        Parameters
        ----------
        estimator : estimator object
            Fitted, with `transform`.
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,), default=None
            Classes.
        components : int, sequence of one or two int, or "pca", default=(0, 1)
            Columns of the codes; "pca" takes their first two principal components. One column has a
            histogram, as have codes of one number.
        ax : matplotlib Axes, default=None
            As in `plot`.
        **params : dict
            As in `plot`.

        Returns
        -------
        display : LatentDisplay

        Raises
        ------
        TypeError
            If the estimator has no codes.
        ValueError
            If components or y do not fit.
        """
        model = getattr(estimator, "best_estimator_", estimator)
        if not hasattr(model, "transform"):
            raise TypeError(f"estimator must have transform; got {model!r}.")
        check_is_fitted(model)
        codes = np.asarray(model.transform(X))
        size = codes.shape[1]
        if size > 1 and isinstance(components, str) and components == "pca":
            names = ["principal component 0", "principal component 1"]
            return cls(PCA(2).fit_transform(codes), y, names).plot(ax=ax, **params)
        chosen = [0] if size == 1 else list(components) if np.iterable(components) else [components]
        if len(chosen) not in {1, 2} or not all(
            isinstance(k, (int, np.integer)) and 0 <= k < size for k in chosen
        ):
            raise ValueError(
                f"components must be one or two columns of the codes, 0 to {size - 1}, or 'pca';"
                f" got {components!r}."
            )
        names = code_names(model) or [f"code {k}" for k in range(size)]
        return cls(codes[:, chosen], y, [names[k] for k in chosen]).plot(ax=ax, **params)

    def plot(self, ax=None, **params):
        """Draw the codes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.
        **params : dict
            Passed to matplotlib's `scatter` or `hist`.

        Returns
        -------
        display : LatentDisplay
            The object itself, with `ax_`, `figure_` and `artists_`.
        """
        ax = new_axes("LatentDisplay") if ax is None else ax
        groups = {None: self.codes}
        if self.y is not None:
            groups = {label: self.codes[self.y == label] for label in np.unique(self.y).tolist()}
        colors = [None] * len(groups)
        if len(groups) > 1:
            from matplotlib import colormaps

            palette = colormaps["tab10" if len(groups) <= 10 else "turbo"]
            colors = palette(
                np.arange(10) if len(groups) <= 10 else np.linspace(0.0, 1.0, len(groups))
            )
        self.artists_ = []
        if self.codes.shape[1] == 1:
            edges = np.histogram_bin_edges(self.codes, N_BINS)
            for (label, codes), color in zip(groups.items(), colors):
                style = {"alpha": 0.5, "color": color, "label": label} | params
                self.artists_.append(ax.hist(codes[:, 0], edges, **style)[2])
            ax.set_ylabel("rows")
        else:
            for (label, codes), color in zip(groups.items(), colors):
                style = {
                    "s": POINT_AREA,
                    "color": color,
                    "label": label,
                    "linewidths": 0.0,
                } | params
                self.artists_.append(ax.scatter(*codes.T, **style))
            ax.set_ylabel(self.names[1])
        ax.set_xlabel(self.names[0])
        if self.y is not None:
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def code_names(model):
    """Names of the numbers of a code; None where a model, or a step of a pipeline, does not
    tell."""
    try:
        return list(model.get_feature_names_out())
    except AttributeError:
        return None
