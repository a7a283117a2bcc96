"""Grid of images, or heat map of rows, drawn from a generator."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count, check_image_shape
from probgen.plots._axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 1  # pixels between images
INCHES_PER_IMAGE = 0.7


class SampleGridDisplay:
    """Grid of images, or heat map of the rows of a table.

    Make one with `from_estimator`. The constructor takes any rows, such as real data to compare
    with the draws.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        Rows to draw, in reading order; NaN stays blank. An image is a row of height * width *
        channels numbers, channels last.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) with 1 or 3 channels. None reads a perfect
        square of features as a grey image, and anything else as (1, n_features), a row of a table.
        Rows of a table are stacked into one heat map with a column for each feature.
    n_cols : int, default=10
        Images in a row of the grid, at least 1.
    row_labels : sequence, default=None
        Name of each row of the grid; in a heat map, of each n_cols successive rows of the table.
    value_range : tuple (low, high), default=None
        Values that become black and white, as numbers or arrays of shape (n_features,); values
        outside are clipped. None takes the smallest and the largest value: of all images together,
        so that they share a grey scale, and of each column of a heat map.
    feature_names : sequence of str, default=None
        Names of the columns of a heat map; None takes those of a frame.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure with the picture.
    image_ : matplotlib AxesImage
        The picture, of values scaled to [0, 1].

    Raises
    ------
    ValueError
        If X does not have the shape of such images, or a range is empty.

    Examples
    --------
    >>> import matplotlib
    >>> from sklearn.datasets import load_digits
    >>> from probgen.plots import SampleGridDisplay
    >>> display = SampleGridDisplay(load_digits().data[:20], n_cols=10).plot()
    >>> display.image_.get_array().shape  # two rows of ten images of 8 x 8 pixels, one pixel apart
    (17, 89)
    """

    def __init__(
        self,
        X: npt.ArrayLike,
        *,
        image_shape: tuple[int, ...] | None = None,
        n_cols: int = 10,
        row_labels: npt.ArrayLike | None = None,
        value_range: tuple | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        check_count("n_cols", n_cols)
        if feature_names is None:
            feature_names = getattr(X, "columns", None)
        self.X = _check_rows(X)
        self.image_shape = check_image_shape(image_shape, self.X.shape[1])
        self.n_cols = n_cols
        self.row_labels: list[str] | None = None
        if row_labels is not None:
            n_rows = math.ceil(len(self.X) / n_cols)
            self.row_labels = check_names("row_labels", row_labels, n_rows)
        self.value_range = _check_range(value_range, self.X, by_column=self._is_table)
        self.feature_names: list[str] | None = None
        if feature_names is not None:
            self.feature_names = check_names("feature_names", feature_names, self.X.shape[1])

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        n_samples: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        n_cols: int = 10,
        y: npt.ArrayLike | None = None,
        value_range: tuple | None = None,
        random_state: Any = None,
        ax: "Axes | None" = None,
        **imshow_params: Any,
    ) -> Self:
        """Draw from a fitted generator and plot the draws.

        Parameters
        ----------
        estimator : estimator object
            Fitted generator, pipeline that samples, or search over such.
        n_samples : int, default=None
            Number of draws; classes come in the proportions of the model. None fills n_cols rows
            or, if the model has classes, one row for each class.
        image_shape, n_cols, value_range :
            As in the constructor.
        y : label or sequence of labels, default=None
            Classes to draw, one row of the grid for each; excludes `n_samples`.
        random_state : int, RandomState, Generator or None, default=None
            Passed to `estimator.sample`; None continues the model's stream of draws.
        ax : matplotlib Axes, default=None
            As in `plot`.
        **imshow_params : dict
            As in `plot`.

        Returns
        -------
        display : SampleGridDisplay

        Raises
        ------
        TypeError
            If the estimator cannot sample.
        ValueError
            If an argument is out of range or a class is unknown.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from probgen import GaussianMixture
        >>> from probgen.plots import SampleGridDisplay
        >>> model = GaussianMixture(n_components=10, covariance_type="diag", random_state=0)
        >>> model = model.fit(load_digits().data)
        >>> settings = {"n_samples": 50, "value_range": (0, 16), "random_state": 0}
        >>> display = SampleGridDisplay.from_estimator(model, **settings)
        >>> display.figure_.savefig("digits.png")  # doctest: +SKIP
        """
        model = getattr(estimator, "best_estimator_", estimator)
        if not hasattr(model, "sample"):
            raise TypeError(
                f"estimator must be able to sample; got {estimator!r}, which has no method of that"
                " name; put the steps into probgen.make_generative_pipeline, or pass a generator."
            )
        check_is_fitted(model)
        check_count("n_cols", n_cols)
        image_shape = check_image_shape(image_shape, model.n_features_in_)
        if n_samples is not None and y is not None:
            raise ValueError(
                f"n_samples={n_samples!r} and y={y!r} exclude each other: each class in y gets"
                " n_cols draws."
            )
        labels = getattr(model, "classes_", None)
        if y is not None:
            labels = np.atleast_1d(y)
        if n_samples is not None:
            labels = None
            X = model.sample(n_samples, random_state=random_state)
        elif labels is not None:
            repeated = np.repeat(labels, n_cols)
            X = model.sample(len(repeated), y=repeated, random_state=random_state)
        else:
            X = model.sample(n_cols**2, random_state=random_state)
        display = cls(
            np.asarray(X),
            image_shape=image_shape,
            n_cols=n_cols,
            row_labels=labels,
            value_range=value_range,
            feature_names=getattr(model, "feature_names_in_", None),
        )
        return display.plot(ax=ax, **imshow_params)

    def plot(self, ax: "Axes | None" = None, **imshow_params: Any) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure, through pyplot if the program has imported it,
            so that `plt.show()` shows it.
        **imshow_params : dict
            Passed to matplotlib's `imshow`, such as `cmap` (default "gray").

        Returns
        -------
        display : SampleGridDisplay
            The object itself, with `ax_`, `figure_` and `image_`.
        """
        params: dict[str, Any] = {
            "cmap": "gray",
            "vmin": 0.0,
            "vmax": 1.0,
            "interpolation": "nearest",
        }
        if self._is_table:
            picture = self._heat_map()
            params |= {"cmap": "viridis", "aspect": "auto"}
        else:
            picture = self._mosaic()
        if ax is None:
            ax = self._new_axes(picture.shape)
        self.image_ = ax.imshow(picture, **(params | imshow_params))
        self._label(ax, picture.shape)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @property
    def _is_table(self) -> bool:
        height, width, channels = self.image_shape
        return height == channels == 1 < width

    def _scaled(self) -> np.ndarray:
        """Values with the range mapped to [0, 1]."""
        low, high = self.value_range
        return np.clip((self.X - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)

    def _heat_map(self) -> np.ndarray:
        """Scaled rows (n, n_features)."""
        return self._scaled().reshape(len(self.X), -1)

    def _mosaic(self) -> np.ndarray:
        """Images side by side: grey with NaN between them, or RGBA that is transparent there."""
        height, width, channels = self.image_shape
        n_cols = min(self.n_cols, len(self.X))
        n_rows = math.ceil(len(self.X) / self.n_cols)
        images = self._scaled().reshape(-1, height, width, channels)
        shape = (n_rows * (height + GAP) - GAP, n_cols * (width + GAP) - GAP, channels)
        mosaic = np.full(shape, np.nan)
        for k, image in enumerate(images):
            row, column = divmod(k, n_cols)
            top = row * (height + GAP)
            left = column * (width + GAP)
            mosaic[top : top + height, left : left + width] = image
        if channels == 1:
            return mosaic[:, :, 0]
        clear = np.isnan(mosaic).any(axis=2, keepdims=True)
        return np.concatenate([np.where(clear, 0.0, mosaic), ~clear], axis=2)

    def _new_axes(self, shape: tuple[int, ...]) -> "Axes":
        """Axes of a new figure with the proportions of the picture."""
        if self._is_table:
            size = (min(max(4.0, 0.5 * shape[1]), 12.0), min(max(3.0, 0.05 * shape[0]), 8.0))
        else:
            per_pixel = INCHES_PER_IMAGE / max(self.image_shape[:2])
            size = (max(1.0, per_pixel * shape[1]), max(1.0, per_pixel * shape[0]))
        return new_axes(type(self).__name__, size)

    def _label(self, ax: "Axes", shape: tuple[int, ...]) -> None:
        """Label rows of the grid and columns of a heat map at their middles; hide the frame."""
        ax.set_xticks([])
        ax.set_yticks([])
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        if self.row_labels is not None:
            # Pixels from one label to the next, and of what it names
            step = size = self.n_cols
            if not self._is_table:
                size = self.image_shape[0]
                step = size + GAP
            middles = (size - 1) / 2 + step * np.arange(len(self.row_labels))
            ax.set_yticks(np.minimum(middles, shape[0] - 1), self.row_labels)
        if self._is_table and self.feature_names is not None:
            style: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            ax.set_xticks(np.arange(shape[1]), self.feature_names, **style)


def _check_rows(X: npt.ArrayLike) -> np.ndarray:
    """X as a float array of shape (n, d), neither of them 0."""
    X = np.asarray(X)
    if X.ndim != 2 or X.size == 0:
        raise ValueError(
            f"X must be of shape (n, n_features), at least one row; got shape {X.shape}; reshape"
            " images to (n, height * width * channels)."
        )
    return X.astype(np.float64)


def _check_range(value_range: tuple | None, X: np.ndarray, *, by_column: bool) -> tuple:
    """The user's range or that of X as (low, high), numbers or arrays of shape (d,)."""
    if value_range is None:
        axis = None
        if by_column:
            axis = 0
        return np.fmin.reduce(X, axis=axis), np.fmax.reduce(X, axis=axis)
    try:
        low, high = (np.asarray(end, dtype=np.float64) for end in value_range)
        is_range = {low.shape, high.shape} <= {(), (X.shape[1],)} and np.all(low <= high)
    except (TypeError, ValueError):  # not a pair, or not numbers
        is_range = False
    if not is_range:
        raise ValueError(
            f"value_range must be (low, high) with low <= high, numbers or {X.shape[1]} of them;"
            f" got {value_range!r}."
        )
    return low, high


def check_names(name: str, values: Any, count: int) -> list[str]:
    """Return names as strings, of which there must be count."""
    names = [values]
    if np.iterable(values):
        names = list(values)
    if len(names) != count:
        raise ValueError(f"{name} must hold {count} names; got {len(names)}.")
    return [str(each) for each in names]
