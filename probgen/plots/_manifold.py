"""Images decoded from a plane of codes."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count
from probgen.plots._latent import code_names
from probgen.plots._sample_grid import SampleGridDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAIL = 0.05  # share of the codes of X beyond either end of the grid
DEFAULT_EXTENT = (-2.0, 2.0, -2.0, 2.0)


class ManifoldDisplay(SampleGridDisplay):
    """Images decoded from a grid of two-dimensional codes.

    The first dimension grows to the right, the second upwards. Make one with `from_estimator`; the
    parameters and attributes are those of SampleGridDisplay.

    Examples
    --------
    >>> import matplotlib
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from probgen.plots import ManifoldDisplay
    >>> X = load_digits().data
    >>> display = ManifoldDisplay.from_estimator(PCA(2).fit(X), X=X, n_points=5)
    >>> display.image_.get_array().shape
    (44, 44)
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        n_points: int = 15,
        extent: npt.ArrayLike | None = None,
        X: npt.ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        value_range: tuple | None = None,
        ax: "Axes | None" = None,
        **imshow_params: Any,
    ) -> Self:
        """Decode a grid of codes and plot the images.

        Parameters
        ----------
        estimator : estimator object
            Fitted, with `inverse_transform` of two-dimensional codes.
        n_points : int, default=15
            Points along each side of the grid, at least 2.
        extent : tuple (left, right, bottom, top), default=None
            Range of the codes. None covers the central nine tenths of the codes of X in each
            dimension, or -2 to 2 without X.
        X : array-like of shape (n, n_features), default=None
            Rows whose codes give the extent.
        image_shape, value_range :
            As in SampleGridDisplay.
        ax : matplotlib Axes, default=None
            As in `plot`.
        **imshow_params : dict
            As in `plot`.

        Returns
        -------
        display : ManifoldDisplay

        Raises
        ------
        TypeError
            If the estimator cannot decode.
        ValueError
            If codes do not have two dimensions, or rows are no images.
        """
        check_count("n_points", n_points, low=2)
        model = getattr(estimator, "best_estimator_", estimator)
        if not hasattr(model, "inverse_transform"):
            raise TypeError(f"estimator must have inverse_transform; got {model!r}.")
        check_is_fitted(model)
        names = code_names(model)
        if names is not None:
            _check_size(model, len(names))
        left, right, bottom, top = cls._extent(model, extent, X)
        # The first image is at the top left.
        across = np.linspace(left, right, n_points)
        down = np.linspace(top, bottom, n_points)
        codes = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
        if image_shape is None:
            image_shape = getattr(model, "image_shape", None)
        display = cls(
            np.asarray(model.inverse_transform(codes)),
            image_shape=image_shape,
            n_cols=n_points,
            value_range=value_range,
        )
        if display._is_table:
            raise ValueError(
                "a manifold needs images; give image_shape, or rows of a square number of features."
            )
        return display.plot(ax=ax, **imshow_params)

    @staticmethod
    def _extent(model: Any, extent: npt.ArrayLike | None, X: npt.ArrayLike | None) -> tuple:
        """(left, right, bottom, top) of the codes."""
        if extent is None:
            if X is None:
                return DEFAULT_EXTENT
            codes = np.asarray(model.transform(X))
            _check_size(model, codes.shape[1])
            return tuple(np.quantile(codes, [TAIL, 1.0 - TAIL], axis=0).T.ravel())
        ends = np.asarray(extent, dtype=np.float64)
        if ends.shape != (4,) or not (ends[0] < ends[1] and ends[2] < ends[3]):
            raise ValueError(f"extent must be (left, right, bottom, top) in order; got {extent!r}.")
        return tuple(ends)


def _check_size(model: Any, size: int) -> None:
    """Raise unless codes have two dimensions."""
    if size != 2:
        raise ValueError(
            f"a manifold needs codes of 2 dimensions; {type(model).__name__} has {size}."
        )
