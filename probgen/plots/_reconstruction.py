"""Rows above what a model makes of them."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count
from probgen.plots._sample_grid import SampleGridDisplay


class ReconstructionDisplay(SampleGridDisplay):
    """Rows above their reconstructions, as images or as heat maps one above the other.

    Make one with `from_estimator`; parameters and attributes are those of SampleGridDisplay.

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

    @classmethod
    def from_estimator(  # type: ignore[override]
        cls,
        estimator,
        X,
        *,
        damaged=None,
        n_rows=10,
        image_shape=None,
        value_range=None,
        ax=None,
        **imshow_params,
    ):
        """Reconstruct rows and plot both.

        Parameters
        ----------
        estimator : estimator object
            Fitted, with a method `reconstruct`, or with `transform` and `inverse_transform`.
        X : array-like of shape (n, n_features)
            Rows, of which the first n_rows are shown.
        damaged : array-like of shape (n, n_features), default=None
            Copies of the rows that the model is to restore, shown between; None reconstructs X
            itself.
        n_rows : int, default=10
            Rows to show, at least 1.
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
        if not hasattr(model, "reconstruct") and not hasattr(model, "inverse_transform"):
            raise TypeError(
                "estimator must have reconstruct, or transform and inverse_transform; got"
                f" {model!r}."
            )
        check_is_fitted(model)
        names = [str(name) for name in X.columns] if hasattr(X, "columns") else None
        shown = X[:n_rows]
        seen = shown if damaged is None else damaged[:n_rows]
        if np.shape(seen) != np.shape(shown):
            raise ValueError(
                f"damaged must have the shape of X, {np.shape(X)}; got {np.shape(damaged)}."
            )
        restored = (
            model.reconstruct(seen)
            if hasattr(model, "reconstruct")
            else model.inverse_transform(model.transform(seen))
        )
        bands = {
            "data": shown,
            **({} if damaged is None else {"damaged": seen}),
            "reconstruction": restored,
        }
        display = cls(
            np.concatenate([np.asarray(band, dtype=np.float64) for band in bands.values()]),
            image_shape=getattr(model, "image_shape", None) if image_shape is None else image_shape,
            n_cols=len(shown),
            row_labels=list(bands),
            value_range=value_range,
            feature_names=names,
        )
        return display.plot(ax=ax, **imshow_params)
