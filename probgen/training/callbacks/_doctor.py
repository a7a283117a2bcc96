"""Callback that measures what the code of a model learns, with advice where it learns nothing."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen._validation import show
from probgen.training.callbacks._monitor import (
    Doctor,
    accepts,
    as_in_training,
    call_with_labels,
    current_value,
)

ACTIVE = 0.01  # least variance of the posterior mean of an active dimension
COLLAPSED = 0.1  # largest share of active dimensions in a collapsed posterior
UNUSED = 0.5  # share of active dimensions below which the others are reported
NEGATIVE = -0.01  # nats: more than rounding
NEAR_FLOOR = 10.0  # times the floor; training steps keep the noise somewhat above it
GAP = 0.5  # in standard deviations of the bounds of the rows, or in nats if that is more


class LatentDoctor(Doctor):
    """Monitor the code of a model with latent variables, and advise on parameters.

    After every k-th epoch it computes the codes and the bounds of the same, evenly spaced rows of X
    under the model of that epoch, and adds to the record of the epoch in `history_`:

    - "active_units": the dimensions of the code whose posterior mean varies over the rows, by more
      than 0.01 [1]_;
    - "elbo_reconstruction" and "elbo_kl": means over the rows of the two parts of `elbo_samples`,
      in nats. Those of the training, "reconstruction" and "kl", are means over an epoch in which
      the weights move;
    - "kl_per_dimension": the latter by dimension of the code, a list.

    From the middle of a fit on, and at its end, it warns of each of these once: posterior collapse
    (a tenth of the dimensions is active, or less), unused dimensions (fewer than half are active),
    a negative divergence, a learned noise scale near its floor, and held-out rows whose bound lies
    far below that of the rows of X (by half the standard deviation of their bounds).

    It serves every estimator with `transform(X, return_std=True)` and `elbo_samples(X)`, and moves
    none of the fit's random numbers. X has to be an array, a frame or a list of rows: of blocks and
    data sets nothing is measured.

    Parameters
    ----------
    every : int, default=1
        Epochs from one measurement to the next, at least 1. One takes as long as `elbo_samples` of
        these rows.
    n_rows : int, default=1000
        Rows of X to measure on, at least 2.

    Attributes
    ----------
    epochs_ : ndarray of shape (n_measurements,)
        Numbers of the epochs after which the code was measured, from 1, in the last fit; a fit that
        resumes an earlier one, such as `partial_fit`, adds to them.
    kl_per_dimension_ : ndarray of shape (n_measurements, n_components)
        Mean over the rows of the divergence of each dimension of the posterior from a standard
        normal prior, in nats: (mean^2 + std^2 - 1) / 2 - log(std), exact for a Gaussian posterior
        with independent dimensions, and less than the divergence for any other. NaN where the
        estimator's `prior` is another than "normal", which has no divergence by dimension.

    Raises
    ------
    TypeError
        At the beginning of a fit, if the estimator lacks one of the two methods.
    ValueError
        At the beginning of a fit, if a parameter is out of range.

    References
    ----------
    .. [1] Y. Burda, R. Grosse, R. Salakhutdinov, Importance weighted autoencoders, 2016, section
       5.2.

    Examples
    --------
    >>> from probgen import VAE, Trainer
    >>> from probgen.training import LatentDoctor
    >>> from sklearn.datasets import load_digits
    >>> X = (load_digits().data > 7).astype("float32")
    >>> doctor = LatentDoctor(every=5)
    >>> trainer = Trainer(callbacks=[doctor])
    >>> model = VAE(4, hidden_layer_sizes=(64,), max_iter=10, trainer=trainer, random_state=0)
    >>> model.fit(X).history_[-1]["active_units"], doctor.kl_per_dimension_.shape
    (4, (2, 4))
    """

    def __init__(self, every: int = 1, n_rows: int = 1000) -> None:
        self.every = every
        self.n_rows = n_rows

    @property
    def kl_per_dimension_(self) -> np.ndarray:
        return np.array([measurement.kl_per_dimension for measurement in self._measurements()])

    def _check_estimator(self, estimator: Any) -> None:
        has_codes = accepts(estimator, "transform", "return_std")
        if not (has_codes and hasattr(estimator, "elbo_samples")):
            raise TypeError(
                "LatentDoctor needs an estimator with transform(X, return_std=True) and"
                f" elbo_samples(X), such as VAE; got {show(estimator)}."
            )

    def _measure(
        self,
        model: Any,
        X: np.ndarray,
        y: np.ndarray | None,
        epoch: int,
        record: dict,
        former: list,
    ) -> "_Measurement":
        """The _Measurement of a model on rows."""
        model, X = as_in_training(model, X)
        means, std = call_with_labels(model, "transform", X, y, return_std=True)
        means = np.asarray(means, dtype=np.float64)
        std = np.asarray(std, dtype=np.float64)
        bounds = call_with_labels(model, "elbo_samples", X, y)
        elbo = np.asarray(bounds["elbo"], dtype=np.float64)
        reconstruction = np.asarray(bounds["reconstruction"], dtype=np.float64)
        kl = np.asarray(bounds["kl"], dtype=np.float64)
        return _Measurement(
            epoch=epoch,
            n_active=int(np.sum(means.var(axis=0) > ACTIVE)),
            kl_per_dimension=_divergence(means, std, getattr(model, "prior", "normal")),
            kl=float(kl.mean()),
            reconstruction=float(reconstruction.mean()),
            spread=float(elbo.std()),
            gap=float(elbo.mean()) - record.get("validation_score", math.nan),
            training_kl=record.get("kl", math.nan),
        )

    def _symptoms(self, measurements: list, model: Any) -> dict[str, str]:
        return _symptoms(measurements[-1], model)


@dataclass(frozen=True)
class _Measurement:
    """Numbers measured after an epoch; means over rows, in nats.

    `spread` is the standard deviation of the bounds, and `gap` the mean bound minus the mean bound
    of held-out rows (NaN without any).
    """

    epoch: int
    n_active: int
    kl_per_dimension: np.ndarray
    kl: float
    reconstruction: float
    spread: float
    gap: float
    training_kl: float

    def columns(self) -> dict[str, Any]:
        """Numbers for the record of the epoch."""
        return {
            "active_units": self.n_active,
            "elbo_reconstruction": self.reconstruction,
            "elbo_kl": self.kl,
            "kl_per_dimension": self.kl_per_dimension.tolist(),
        }


def _divergence(means: np.ndarray, std: np.ndarray, prior: str) -> np.ndarray:
    """Mean divergence (k,) of Gaussians (n, k) from a standard normal; NaN for another prior."""
    name = getattr(prior, "name", prior)  # of an option, or the string that stands for it
    if not (isinstance(name, str) and name == "normal"):
        return np.full(means.shape[1], math.nan)
    return np.mean((means**2 + std**2 - 1.0) / 2.0 - np.log(std), axis=0)


def _symptoms(last: _Measurement, model: Any) -> dict[str, str]:
    """Sentences by the name of what is wrong in the last measurement."""
    k = len(last.kl_per_dimension)
    n_at_floor, n_scales = _noise_at_floor(model)
    symptoms = {}
    active = f"After epoch {last.epoch} {last.n_active} of {k} dimensions of the code are active"
    if last.n_active <= COLLAPSED * k:
        symptoms["collapse"] = (
            f"{active}: the posterior has collapsed onto the prior, or has not left it yet; raise"
            f" elbo__kl_warmup or elbo__free_bits, lower beta{current_value(model, 'beta')}, or"
            " make the decoder weaker with smaller hidden_layer_sizes."
        )
    elif last.n_active < UNUSED * k:
        symptoms["unused"] = (
            f"{active}: the others cost time and are not used; lower n_components to about that."
        )
    if last.kl < NEGATIVE:
        symptoms["negative"] = _negative_divergence(
            last.epoch, last.kl, "", "n_importance_samples", model
        )
    elif last.training_kl < NEGATIVE:
        symptoms["negative"] = _negative_divergence(
            last.epoch, last.training_kl, "in training ", "elbo__n_particles", model
        )
    if n_at_floor:
        symptoms["floor"] = (
            f"After epoch {last.epoch} {n_at_floor} of {n_scales} noise scales nears the floor,"
            " which then decides the likelihood; drop features that are constant or copies of"
            " others, bring all to one range, or give likelihood__scale a number."
        )
    if last.gap > GAP * max(last.spread, 1.0):
        symptoms["gap"] = (
            f"After epoch {last.epoch} the bound of held-out rows is {last.gap:.3g} nats below that"
            " of the rows of X, which is overfitting; keep early_stopping, take smaller"
            " hidden_layer_sizes, or raise weight_decay in the trainer."
        )
    return symptoms


def _negative_divergence(epoch: int, value: float, where: str, parameter: str, model: Any) -> str:
    """A sentence on an estimated divergence below 0."""
    return (
        f"After epoch {epoch} the divergence of the posterior from the prior is {where}estimated as"
        f" {value:.3g} nats, but none is negative: it is a Monte Carlo mean of too few draws; raise"
        f" {parameter}{current_value(model, parameter)}."
    )


def _noise_at_floor(model: Any) -> tuple[int, int]:
    """Number of learned noise scales near their floor, and number of all of them."""
    log_scale = getattr(getattr(model, "observation_", None), "log_scale", None)
    if log_scale is None:
        return 0, 0
    from probgen.distributions.observation import NOISE_FLOOR

    relative = np.exp(log_scale.detach().cpu().double().numpy())
    return int(np.sum(relative < NEAR_FLOOR * NOISE_FLOOR)), relative.size
