"""Rows and their reconstructions."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count
from probgen.plots._sample_grid import SampleGridDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ReconstructionDisplay(SampleGridDisplay):
    """Rows above their reconstructions, as images or as heat maps one above the other.

    Make one with `from_estimator`; the parameters and attributes are those of SampleGridDisplay.

    Examples
    --------
    >>> import matplotlib
    >>> from sklearn.datasets import load_digits
    >>> from probgen import Autoencoder
    >>> from probgen.plots import ReconstructionDisplay
    >>> X = load_digits().data
    >>> model = Autoencoder(8, max_iter=2, random_state=0).fit(X)
    >>> ReconstructionDisplay.from_estimator(model, X).row_labels
    ['data', 'reconstruction']
    """

    # Draws need no rows, which reconstructions do.
    @classmethod
    def from_estimator(  # type: ignore[override]
        cls,
        estimator: Any,
        X: Any,
        *,
        damaged: Any = None,
        n_rows: int = 10,
        image_shape: tuple[int, ...] | None = None,
        value_range: tuple | None = None,
        ax: "Axes | None" = None,
        **imshow_params: Any,
    ) -> Self:
        """Reconstruct rows and plot both.

        Parameters
        ----------
        estimator : estimator object
            Fitted, with a method `reconstruct`, or with `transform` and `inverse_transform`; or a
            pipeline that ends in such an estimator.
        X : array-like of shape (n, n_features)
            Rows; the first n_rows are drawn.
        damaged : array-like of shape (n, n_features), default=None
            Corrupted copies of the rows, to reconstruct in place of X and to draw between.
        n_rows : int, default=10
            Rows to draw, at least 1.
        image_shape, value_range :
            As in SampleGridDisplay.
        ax : matplotlib Axes, default=None
            As in `plot`.
        **imshow_params : dict
            As in `plot`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        TypeError
            If the estimator cannot reconstruct.
        ValueError
            If an argument is out of range.
        """
        check_count("n_rows", n_rows)
        model = getattr(estimator, "best_estimator_", estimator)
        last = model
        if isinstance(model, Pipeline):
            last = model[-1]
        if not hasattr(last, "reconstruct") and not hasattr(model, "inverse_transform"):
            raise TypeError(
                "estimator must have reconstruct, or transform and inverse_transform; got"
                f" {model!r}."
            )
        check_is_fitted(model)
        rows = X[:n_rows]
        bands = {"data": rows}
        inputs = rows
        if damaged is not None:
            inputs = damaged[:n_rows]
            bands["damaged"] = inputs
            if np.shape(inputs) != np.shape(rows):
                raise ValueError(
                    f"damaged must have the shape of X, {np.shape(X)}; got {np.shape(damaged)}."
                )
        bands["reconstruction"] = _reconstruct(model, last, inputs)
        if image_shape is None:
            image_shape = getattr(model, "image_shape", None)
        display = cls(
            np.concatenate([np.asarray(band, dtype=np.float64) for band in bands.values()]),
            image_shape=image_shape,
            n_cols=len(rows),
            row_labels=list(bands),
            value_range=value_range,
            feature_names=getattr(X, "columns", None),
        )
        return display.plot(ax=ax, **imshow_params)


def _reconstruct(model: Any, last: Any, X: Any) -> Any:
    """Reconstructions of rows by a model, whose last step is the model itself or of a pipeline."""
    if not hasattr(last, "reconstruct"):
        return model.inverse_transform(model.transform(X))
    steps = []
    if last is not model:
        steps = [step for _, step in model.steps[:-1] if step not in (None, "passthrough")]
    for step in steps:
        X = step.transform(X)
    X = last.reconstruct(X)
    for step in reversed(steps):
        X = step.inverse_transform(X)
    return X
