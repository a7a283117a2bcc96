"""What the code of a model learns, measured after epochs, and what to do where it learns
nothing."""

import math
from dataclasses import dataclass

import numpy as np

from probgen.training.callbacks._looks import Doctor, ask, now, takes, without_names

ACTIVE = 0.01  # variance of a posterior mean from which on its dimension is active
COLLAPSED, UNUSED = 0.1, 0.5  # shares of active dimensions
NEGATIVE = -0.01  # nats: more than rounding
NEAR_FLOOR = 10.0  # times the floor: the steps of the training hold the noise somewhat above it
GAP = 0.5  # in standard deviations of the bounds of the rows, or in nats where these hardly differ


class LatentDoctor(Doctor):
    """Watch the code of a model with latent variables, and say which parameter to move where
    something is wrong.

    After every k-th epoch it asks the model of that epoch for the codes and the bounds of the same
    rows of X, evenly spaced, and adds to the record of the epoch in `history_`:

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
        Rows of X to look at, at least 2.

    Attributes
    ----------
    epochs_ : ndarray of shape (n_looks,)
        Numbers of the epochs after which the code was looked at, from 1, in the last fit; one that
        goes on from an earlier one, such as `partial_fit`, adds to them.
    kl_per_dimension_ : ndarray of shape (n_looks, n_components)
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

    def __init__(self, every=1, n_rows=1000):
        self.every = every
        self.n_rows = n_rows

    @property
    def kl_per_dimension_(self):
        return np.array([look.kl_per_dimension for look in self._looks()])

    def _check_estimator(self, estimator):
        if not (takes(estimator, "transform", "return_std") and hasattr(estimator, "elbo_samples")):
            raise TypeError(
                "LatentDoctor needs an estimator with transform(X, return_std=True) and"
                f" elbo_samples(X), such as VAE; got {estimator!r}."
            )

    def _look(self, model, X, y, epoch, record, looks):
        """A _Look at rows."""
        if getattr(model, "dynamic_binarization", False):
            model, X = without_names(model), np.asarray(X, dtype=np.float64)
            X = np.ceil(
                X - np.random.default_rng(0).random(X.shape)
            )  # rows of 0 and 1, as the training sees them
        means, std = (
            np.asarray(part, dtype=np.float64)
            for part in ask(model, "transform", X, y, return_std=True)
        )
        bounds = ask(model, "elbo_samples", X, y)
        elbo, reconstruction, kl = (
            np.asarray(bounds[name], float) for name in ("elbo", "reconstruction", "kl")
        )
        return _Look(
            epoch=epoch,
            n_active=int(np.sum(means.var(axis=0) > ACTIVE)),
            kl_per_dimension=_divergence(means, std, getattr(model, "prior", "normal")),
            kl=float(kl.mean()),
            reconstruction=float(reconstruction.mean()),
            spread=float(elbo.std()),
            gap=float(elbo.mean()) - record.get("validation_score", math.nan),
            training_kl=record.get("kl", math.nan),
        )

    def _symptoms(self, looks, model):
        return _symptoms(looks[-1], model)


@dataclass(frozen=True)
class _Look:
    """What is found after an epoch; means over rows, in nats.

    spread is the standard deviation of the bounds, gap what the bound of held-out rows lacks (NaN
    without any).
    """

    epoch: int
    n_active: int
    kl_per_dimension: np.ndarray
    kl: float
    reconstruction: float
    spread: float
    gap: float
    training_kl: float

    def columns(self):
        """What goes into the record of the epoch."""
        return {
            "active_units": self.n_active,
            "elbo_reconstruction": self.reconstruction,
            "elbo_kl": self.kl,
            "kl_per_dimension": self.kl_per_dimension.tolist(),
        }


def _divergence(means, std, prior):
    """Mean divergence (k,) over rows of Gaussians (n, k) from a standard normal prior, NaN for
    another prior."""
    name = getattr(prior, "name", prior)  # of an option, or the string that stands for it
    if not (isinstance(name, str) and name == "normal"):
        return np.full(means.shape[1], math.nan)
    return np.mean((means**2 + std**2 - 1.0) / 2.0 - np.log(std), axis=0)


def _symptoms(look, model):
    """Sentences by the name of what is wrong."""
    k = len(look.kl_per_dimension)
    n_at_floor, n_scales = _noise_at_floor(model)
    found = {}
    active = f"After epoch {look.epoch} {look.n_active} of {k} dimensions of the code are active"
    if look.n_active <= COLLAPSED * k:
        found["collapse"] = (
            f"{active}: the posterior has collapsed onto the prior, or has not left it yet; raise"
            f" elbo__kl_warmup or elbo__free_bits, lower beta{now(model, 'beta')}, or make the"
            " decoder weaker with smaller hidden_layer_sizes."
        )
    elif look.n_active < UNUSED * k:
        found["unused"] = (
            f"{active}: the others cost time and are not used; lower n_components to about that."
        )
    if min(look.kl, look.training_kl) < NEGATIVE:
        where, parameter, value = "", "n_importance_samples", look.kl
        if not look.kl < NEGATIVE:
            where, parameter, value = "in training ", "elbo__n_particles", look.training_kl
        found["negative"] = (
            f"After epoch {look.epoch} the divergence of the posterior from the prior is"
            f" {where}estimated as {value:.3g} nats, but none is negative: it is a Monte Carlo mean"
            f" of too few draws; raise {parameter}{now(model, parameter)}."
        )
    if n_at_floor:
        found["floor"] = (
            f"After epoch {look.epoch} {n_at_floor} of {n_scales} noise scales nears the floor,"
            " which then decides the likelihood; drop features that are constant or copies of"
            " others, bring all to one range, or give likelihood__scale a number."
        )
    if look.gap > GAP * max(look.spread, 1.0):
        found["gap"] = (
            f"After epoch {look.epoch} the bound of held-out rows is {look.gap:.3g} nats below that"
            " of the rows of X, which is overfitting; keep early_stopping, take smaller"
            " hidden_layer_sizes, or raise weight_decay in the trainer."
        )
    return found


def _noise_at_floor(model):
    """How many learned noise scales are near their floor, and how many there are."""
    log_scale = getattr(getattr(model, "observation_", None), "log_scale", None)
    if log_scale is None:
        return 0, 0
    from probgen.distributions.observation import NOISE_FLOOR

    relative = np.exp(log_scale.detach().cpu().double().numpy())
    return int(np.sum(relative < NEAR_FLOOR * NOISE_FLOOR)), relative.size
