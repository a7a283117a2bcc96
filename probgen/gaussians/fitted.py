"""Fitted components as the public attributes of an estimator."""

from typing import Any

import numpy as np

from probgen._devices import resolve_device
from probgen._warnings import warn
from probgen.gaussians.low_rank import LowRankComponents
from probgen.gaussians.starts import FAMILIES


class FittedComponentsMixin:
    """Attributes of fitted components.

    They are stored in the precision of the data (`_dtype`) and read back in float64.
    """

    covariance_type: str
    device: str
    n_components: int
    n_factors: int
    n_features_in_: Any
    n_reseeded_: int
    n_repaired_: int
    reg_covar: Any
    _dtype: Any

    @property
    def precisions_(self) -> np.ndarray:
        """Inverse covariances, in the shape of `covariances_`."""
        if self.covariance_type in ("diag", "spherical"):
            return self.precisions_cholesky_**2
        factors = self.precisions_cholesky_
        return factors @ np.swapaxes(factors, -1, -2)

    def _layout(self) -> tuple:
        """The settings that fix the shapes of the statistics."""
        n_factors = None
        if self.covariance_type == "low_rank":
            n_factors = min(self.n_factors, self.n_features_in_)
        return self.covariance_type, self.n_components, self.n_features_in_, n_factors

    def _store(self, components: Any) -> None:
        """Set the fitted attributes, in the precision of the data."""
        self.weights_ = components.weights.astype(self._dtype)
        self.means_ = components.means.astype(self._dtype)
        if isinstance(components, LowRankComponents):
            self.loadings_ = components.loadings.astype(self._dtype)
            self.noise_variances_ = components.noise.astype(self._dtype)
        else:
            self.covariances_ = components.covariances.astype(self._dtype)
            self.precisions_cholesky_ = components.precisions_cholesky.astype(self._dtype)

    def _components(self) -> Any:
        """The fitted components, from the public attributes."""

        def read(name: str) -> np.ndarray:
            return np.asarray(getattr(self, name), dtype=np.float64)

        family = FAMILIES[self.covariance_type]
        weights = read("weights_")
        means = read("means_")
        if self.covariance_type == "low_rank":
            return family(weights, means, read("loadings_"), read("noise_variances_"))
        if self.covariance_type in ("diag", "spherical"):
            return family(weights, means, read("covariances_"))
        return family(weights, means, read("covariances_"), read("precisions_cholesky_"))

    def _query_device(self) -> str:
        """Where queries run: on the CPU if the model was fitted on CUDA and there is none here."""
        try:
            return resolve_device(self.device)
        except ValueError:
            return "cpu"

    def _warn_of_repairs(self) -> None:
        sentences = []
        if self.n_reseeded_:
            sentences.append(
                f"EM moved {self.n_reseeded_} empty components to rows that the others explain"
                " worst; ask for fewer components if the fit is not what you expect."
            )
        if self.n_repaired_:
            if self.reg_covar == 0.0:
                remedy = "give reg_covar a number above 0, in squared units of X"
            else:
                remedy = f"raise reg_covar above {self.reg_covar!r}, in squared units of X"
            sentences.append(
                f"EM repaired {self.n_repaired_} covariances that were not positive definite, as of"
                " constant or dependent features or of components of few different rows;"
                f" {remedy}, drop such features, or ask for fewer components."
            )
        if sentences:
            warn(" ".join(sentences))
