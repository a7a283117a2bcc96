"""Scatter plots and histograms of codes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from probgen.plots._axes import new_axes
from probgen.plots._sample_grid import check_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_BINS = 40
POINT_AREA = 8.0  # square points
MAX_QUALITATIVE = 10  # classes with the distinct colours of tab10; more share a continuous map


class LatentDisplay:
    """Scatter plot of two-dimensional codes by class, or histogram of one-dimensional ones.

    Parameters
    ----------
    codes : array-like of shape (n, 1) or (n, 2)
    y : array-like of shape (n,), default=None
        Classes.
    names : sequence of str, default=None
        Names of the columns of codes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    artists_ : list
        The artists of the classes, in order.

    Raises
    ------
    ValueError
        If codes have another shape, or y or names have another length.

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

    def __init__(
        self,
        codes: npt.ArrayLike,
        y: npt.ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.codes = np.asarray(codes, dtype=np.float64)
        if self.codes.ndim != 2 or self.codes.shape[1] not in {1, 2}:
            raise ValueError(f"codes must have shape (n, 1) or (n, 2); got {self.codes.shape}.")
        self.y = None
        if y is not None:
            self.y = np.asarray(y)
            if self.y.shape != (len(self.codes),):
                raise ValueError(
                    f"y must hold one class for each of {len(self.codes)} rows; got shape"
                    f" {self.y.shape}."
                )
        n_codes = self.codes.shape[1]
        if names is None:
            names = [f"code {k}" for k in range(n_codes)]
        self.names = check_names("names", names, n_codes)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: npt.ArrayLike,
        y: npt.ArrayLike | None = None,
        *,
        components: Any = (0, 1),
        ax: "Axes | None" = None,
        **params: Any,
    ) -> Self:
        """Transform rows and plot their codes.

        Parameters
        ----------
        estimator : estimator object
            Fitted, with `transform`.
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,), default=None
            Classes.
        components : int, sequence of one or two int, or "pca", default=(0, 1)
            Columns of the codes to plot; "pca" takes their first two principal components. One
            column gives a histogram, as do one-dimensional codes.
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
            If the estimator has no `transform`.
        ValueError
            If components are no columns of the codes, or y has another length.
        """
        model = getattr(estimator, "best_estimator_", estimator)
        if not hasattr(model, "transform"):
            raise TypeError(f"estimator must have transform; got {model!r}.")
        check_is_fitted(model)
        codes = np.asarray(model.transform(X))
        if codes.shape[1] > 1 and isinstance(components, str) and components == "pca":
            names = ["principal component 0", "principal component 1"]
            return cls(PCA(2).fit_transform(codes), y, names).plot(ax=ax, **params)
        columns = _check_components(components, codes.shape[1])
        names = code_names(model)
        if names is None:
            names = [f"code {k}" for k in range(codes.shape[1])]
        return cls(codes[:, columns], y, [names[k] for k in columns]).plot(ax=ax, **params)

    def plot(self, ax: "Axes | None" = None, **params: Any) -> Self:
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
        if ax is None:
            ax = new_axes("LatentDisplay")
        groups: dict[Any, np.ndarray] = {None: self.codes}
        if self.y is not None:
            groups = {label: self.codes[self.y == label] for label in np.unique(self.y).tolist()}
        if self.codes.shape[1] == 1:
            self.artists_ = self._histograms(ax, groups, params)
            ax.set_ylabel("rows")
        else:
            self.artists_ = self._scatters(ax, groups, params)
            ax.set_ylabel(self.names[1])
        ax.set_xlabel(self.names[0])
        if self.y is not None:
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, markerscale=2.5)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _histograms(self, ax: "Axes", groups: dict, params: dict) -> list:
        edges: Any = np.histogram_bin_edges(self.codes, N_BINS)
        artists = []
        for (label, codes), color in zip(groups.items(), _colors(len(groups))):
            style = {"alpha": 0.5, "color": color, "label": label} | params
            artists.append(ax.hist(codes[:, 0], edges, **style)[2])
        return artists

    def _scatters(self, ax: "Axes", groups: dict, params: dict) -> list:
        artists = []
        for (label, codes), color in zip(groups.items(), _colors(len(groups))):
            style = {"s": POINT_AREA, "color": color, "label": label, "linewidths": 0.0} | params
            artists.append(ax.scatter(*codes.T, **style))
        return artists


def code_names(model: Any) -> list | None:
    """Names of the columns of codes; None if a model, or a step of a pipeline, has no names."""
    try:
        return list(model.get_feature_names_out())
    except AttributeError:
        return None


def _check_components(components: Any, size: int) -> list:
    """Columns to plot, of codes with so many columns."""
    if size == 1:
        return [0]
    if np.iterable(components):
        columns = list(components)
    else:
        columns = [components]
    are_columns = all(isinstance(k, (int, np.integer)) and 0 <= k < size for k in columns)
    if len(columns) not in {1, 2} or not are_columns:
        raise ValueError(
            f"components must be one or two columns of the codes, 0 to {size - 1}, or 'pca';"
            f" got {components!r}."
        )
    return columns


def _colors(n_classes: int) -> Any:
    """A colour for each class; None, matplotlib's default, for a single one."""
    if n_classes == 1:
        return [None]
    from matplotlib import colormaps

    if n_classes <= MAX_QUALITATIVE:
        return colormaps["tab10"](np.arange(n_classes))
    return colormaps["turbo"](np.linspace(0.0, 1.0, n_classes))
