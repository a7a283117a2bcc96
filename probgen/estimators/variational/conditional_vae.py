"""Variational autoencoders of rows and their classes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyro
import pyro.distributions as dist
import pyro.infer
import torch
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count
from probgen.conditions.given import Conditions
from probgen.estimators._classes import ClassConditional, one_hot
from probgen.estimators.variational.code_distributions import concat_labels
from probgen.estimators.variational.vae import VAE
from probgen.marginal_likelihood.latent_model import log_mean_exp
from probgen.networks import ConvEncoder
from probgen.networks.architectures import Architecture
from probgen.options import Option
from probgen.training.neural_generator import FitContext
from probgen.training.rows import Rows
from probgen.training.trainer import Trainer


class ConditionalVAE(ClassConditional, VAE):
    """Variational autoencoder that is conditioned on the class of a row.

    The model draws a code z from a prior that all classes share, and a row x of class y from p(x
    given z, y). The encoder computes q(z given x, y), and training raises the lower bound on log
    p(x given y) [1]_ [2]_. Both networks take the class as a one-hot vector. With the class
    probabilities p(y) this is a joint density, which classifies by Bayes' rule.

    `model` and `guide` are Pyro programs of those names, and a subclass may override either.

    Parameters
    ----------
    n_components : int, default=16
        Size of the code, at least 1.
    priors : array-like of shape (n_classes,), default=None
        p(y) in the order of the sorted classes, adding up to one; by default the shares of the
        classes in y.
    encoder, decoder : torch.nn.Module, default=None
        As in `VAE`, but the encoder maps (n, n_features + n_classes) and the decoder maps (n,
        n_components + n_classes): the one-hot vector of the class comes last.
    hidden_layer_sizes, activation, architecture, image_shape, likelihood, categorical_features, \
kinds, missing, handle_unknown, dynamic_binarization, \
prior, posterior, elbo, beta, n_importance_samples, max_iter, batch_size, \
learning_rate_init, trainer, warm_start, device, random_state, verbose
        As in `VAE`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Rows of each class.
    class_prior_ : ndarray of shape (n_classes,)
        p(y); 0 for a class of which `partial_fit` has not had a row yet.
    label_prior_ : torch.nn.Module
        Module that returns p(y) as a Pyro distribution.
    encoder_, prior_, decoder_, observation_, likelihood_, history_, n_iter_, device_
        As in `VAE`; "reconstruction" is that of rows and classes, E_q[log p(x given z, y)] + log
        p(y).

    Notes
    -----
    `score_samples` sums over the classes, with n_importance_samples draws for each. `transform`
    returns codes, not p(y given x): the posterior means given the classes in y, or without y their
    mean over the classes, weighted by `predict_proba`. `inverse_transform` returns the means of
    rows of the classes in y, or without y their mean over `class_prior_`.

    References
    ----------
    .. [1] K. Sohn, H. Lee, X. Yan, Learning structured output representation using deep conditional
       generative models, 2015.
    .. [2] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, Semi-supervised learning with deep
       generative models, 2014.

    Examples
    --------
    >>> from probgen import ConditionalVAE
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> X = (X > 7).astype("float32")
    >>> model = ConditionalVAE(4, hidden_layer_sizes=(64,), max_iter=30, random_state=0).fit(X, y)
    >>> bool((model.predict(X) == y).mean() > 0.9)
    True
    >>> model.sample(2, y=[3, 8]).shape
    (2, 64)
    """

    _networks = (*VAE._networks, "label_prior_")
    _without_classes = "VAE"

    def __init__(
        self,
        n_components: int = 16,
        *,
        priors: npt.ArrayLike | None = None,
        hidden_layer_sizes: Sequence[int] = (400, 400),
        activation: Any = "silu",
        architecture: str = "dense",
        image_shape: tuple[int, ...] | None = None,
        encoder: torch.nn.Module | None = None,
        decoder: torch.nn.Module | None = None,
        likelihood: str | Option = "auto",
        categorical_features: Any = "from_dtype",
        kinds: Any = None,
        missing: str = "model",
        handle_unknown: str = "level",
        dynamic_binarization: bool = False,
        prior: str | Option = "normal",
        posterior: str | Option = "gaussian",
        elbo: str | Option | pyro.infer.ELBO = "mean_field",
        beta: float = 1.0,
        n_importance_samples: int = 100,
        max_iter: int | None = None,
        batch_size: int | str = "auto",
        learning_rate_init: float = 2e-3,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            n_components,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            architecture=architecture,
            image_shape=image_shape,
            encoder=encoder,
            decoder=decoder,
            likelihood=likelihood,
            categorical_features=categorical_features,
            kinds=kinds,
            missing=missing,
            handle_unknown=handle_unknown,
            dynamic_binarization=dynamic_binarization,
            prior=prior,
            posterior=posterior,
            elbo=elbo,
            beta=beta,
            n_importance_samples=n_importance_samples,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            trainer=trainer,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.priors = priors

    def model(  # type: ignore[override]
        self,
        X: torch.Tensor | None = None,
        y: torch.Tensor | None = None,
        seen: torch.Tensor | None = None,
        n_rows: int = 1,
    ) -> torch.Tensor:
        """Pyro program of rows: the sites "y", a class, "z", a code, and "x", a row given both.

        Parameters
        ----------
        X : Tensor of shape (n, n_features), default=None
            Observed rows; None draws them.
        y : Tensor of shape (n, n_classes), default=None
            Their classes, one-hot; None draws them.
        seen : boolean Tensor of shape (n, n_features), default=None
            Mask of the values that are not missing; None stands for all.
        n_rows : int, default=1
            Rows to draw where X is None.

        Returns
        -------
        x : Tensor of shape (n, n_features)
        """
        with pyro.plate("rows", n_rows if X is None else len(X), dim=-1):
            y = pyro.sample("y", self.label_prior_(), obs=y)
            z = pyro.sample("z", self.prior_())
            values = self.observation_.distribution(self.decoder_(concat_labels(z, y)))
            if seen is not None:
                values = values.mask(seen)
            return pyro.sample("x", values.to_event(1), obs=X)

    def guide(  # type: ignore[override]
        self, X: torch.Tensor, y: torch.Tensor, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pyro program of the approximate posterior of codes: the site "z".

        Parameters
        ----------
        X, y, seen
            As in `model`.

        Returns
        -------
        z : Tensor of shape (n, n_components)
        """
        with pyro.plate("rows", len(X), dim=-1):
            return pyro.sample("z", self.encoder_(concat_labels(X, y)))

    def sample_mean(
        self, n_samples: int = 1, *, y: npt.ArrayLike | None = None, random_state: Any = None
    ) -> Any:
        """Draw codes from the prior and return the means that they decode to.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, at least 1.
        y : label or array-like of shape (n_samples,), default=None
            Classes of the rows; None draws them from `class_prior_`.
        random_state : int, RandomState, Generator or None, default=None
            As in `sample`; the codes and classes are those of `sample` with the same seed.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, low=1)
        generator = self._generator_of(random_state)
        indices = self._requested_classes(n_samples, generator, y)
        codes = self._draw_sites(n_samples, generator, y=self._one_hot(indices))["z"]
        X = self._codes_of_means(self._by_class(self._decode_class, codes, self.classes_[indices]))
        return self._in_container(X.astype(self._dtype, copy=False))

    def transform(
        self, X: npt.ArrayLike, y: npt.ArrayLike | None = None, *, return_std: bool = False
    ) -> Any:
        """Return the posterior means of the codes.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : label or array-like of shape (n,), default=None
            Their classes; without them the posterior is a mixture over the classes, weighted by
            `predict_proba`.
        return_std : bool, default=False
            Whether to return the posterior standard deviations too.

        Returns
        -------
        means : ndarray or frame of shape (n, n_components)
        std : ndarray of shape (n, n_components)
            With return_std=True.
        """
        X = self._validate_query(X)
        means, std = (part.astype(X.dtype, copy=False) for part in self._posterior_moments(X, y))
        if return_std:
            return means, std
        return means

    def inverse_transform(self, Z: npt.ArrayLike, y: npt.ArrayLike | None = None) -> Any:
        """Return the means of the rows that codes decode to.

        Parameters
        ----------
        Z : array-like of shape (n, n_components)
            Codes.
        y : label or array-like of shape (n,), default=None
            Classes of the rows; without them the mean over the classes, weighted by
            `class_prior_`.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            A frame after `set_output`, with the index of a pandas frame that was given.
        """
        check_is_fitted(self)
        codes = self._validate_codes(Z)
        if y is None:
            weights = np.broadcast_to(self.class_prior_, (len(codes), len(self.classes_)))
            X = self._class_mean(lambda k: self._decode_class(codes, k), weights)
        else:
            X = self._by_class(self._decode_class, codes, y)
        X = self._codes_of_means(X)
        return self._in_container(X.astype(codes.dtype, copy=False), Z)

    def reconstruct(self, X: npt.ArrayLike, y: npt.ArrayLike | None = None) -> Any:
        """Return the means of the posterior predictive distribution, given the codes of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; missing values are filled in.
        y : label or array-like of shape (n,), default=None
            Their classes; without them the mean over the classes, weighted by `predict_proba`.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            Decoded means, averaged over draws from the posterior; a frame as in `impute`.
        """
        rows = self._validate_query(X)
        labels = self._label_vectors()
        if y is None:
            posterior = np.exp(self._log_posterior(rows))
            means = self._class_mean(lambda k: self._reconstruct(rows, labels[k]), posterior)
        else:
            means = self._by_class(lambda part, k: self._reconstruct(part, labels[k]), rows, y)
        means = self._codes_of_means(means)
        return self._in_container(means.astype(rows.dtype, copy=False), X)

    def elbo_samples(self, X: npt.ArrayLike, y: npt.ArrayLike | None = None) -> Bunch:
        """Return the evidence lower bound of each row and its two parts, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : label or array-like of shape (n,), default=None
            Their classes, for the bound on log p(x, y). Without them it is the bound on log p(x)
            where q(y given x) is `predict_proba`.

        Returns
        -------
        bounds : Bunch
            With `elbo` = `reconstruction` - `kl`, ndarrays of shape (n,): means over
            n_importance_samples draws. The divergence is that of codes and classes.
        """
        X = self._validate_query(X)
        labels = self._label_vectors()
        log_prior = np.log(np.maximum(self.class_prior_, np.finfo(np.float64).tiny))
        if y is None:
            log_posterior = self._log_posterior(X)
            posterior = np.exp(log_posterior)
            parts = self._class_mean(lambda k: self._elbo_parts(X, labels[k]), posterior)
            log_ratios = np.where(posterior > 0.0, log_posterior - log_prior, 0.0)
            divergence = np.sum(posterior * log_ratios, axis=1)
            expected_log_prior = posterior @ log_prior
        else:
            parts = self._by_class(lambda rows, k: self._elbo_parts(rows, labels[k]), X, y)
            expected_log_prior = log_prior[self._class_indices(y, len(X))]
            divergence = -expected_log_prior
        # The programs observe y, so log p(y) is part of the reconstruction; here y is latent.
        reconstruction = parts[:, 0] - expected_log_prior
        kl = parts[:, 1] + divergence
        bounds = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        return Bunch(**{name: value.astype(X.dtype, copy=False) for name, value in bounds.items()})

    @property
    def _n_features_out(self) -> int:
        return self.n_components

    @property
    def _n_labels(self) -> int:
        return len(self.classes_)

    def _build(self, fit: FitContext) -> None:
        self.label_prior_ = LabelPrior(len(self.classes_))
        super()._build(fit)

    def _begin(self, fit: FitContext) -> None:
        super()._begin(fit)
        self.label_prior_.set(self.class_prior_)

    def _make_encoder(self, architecture: Architecture, d: int, n_outputs: int) -> Any:
        if architecture.kind == "conv":
            return LabelledConvEncoder(
                architecture.image_shape,
                self._n_labels,
                architecture.hidden_layer_sizes,
                n_outputs,
                architecture.activation,
            )
        return architecture.encoder(d + self._n_labels, n_outputs)

    def _pseudo_inputs(self, rows: Rows, n_rows: int) -> torch.Tensor:
        pseudo_inputs = super()._pseudo_inputs(rows, n_rows)
        labels = self._one_hot(np.arange(n_rows) % len(self.classes_)).cpu()
        return torch.cat([pseudo_inputs, labels.to(pseudo_inputs.dtype)], dim=1)

    def _prepare_training(
        self, X: torch.Tensor, *labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, ...]:
        labels = [one_hot(indices, self._n_labels, X.dtype) for indices in labels]
        return super()._prepare_training(X, *labels, generator=generator)

    def _arguments(self, X: torch.Tensor, *labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return super()._arguments(X, *[label.expand(len(X), -1) for label in labels])

    def _one_hot(self, indices: np.ndarray) -> torch.Tensor:
        """Labels (n, n_classes) of class indices (n,), a tensor on the device of the networks."""
        device = getattr(self, "device_", "cpu")
        dtype = torch.float64 if self._network_dtype == np.float64 else torch.float32
        return one_hot(torch.tensor(np.asarray(indices), device=device), self._n_labels, dtype)

    def _label_vectors(self) -> torch.Tensor:
        """Labels (n_classes, n_classes) of all classes; each broadcasts over rows of its class."""
        return self._one_hot(np.arange(len(self.classes_)))

    def _decode_class(self, Z: np.ndarray, k: int) -> np.ndarray:
        """Means (n, d) that codes (n, n_components) decode to in class k."""
        return self._decode(Z, self._label_vectors()[k])

    def _posterior_moments(  # type: ignore[override]  # classes, not label vectors
        self, X: np.ndarray, y: Any = None
    ) -> Sequence[np.ndarray]:
        """Means and deviations (n, k) of the codes of validated rows, given y or over classes."""
        labels = self._label_vectors()

        def moments(rows: np.ndarray, k: int) -> np.ndarray:
            return np.hstack(VAE._posterior_moments(self, rows, labels[k]))

        def raw_moments(k: int) -> np.ndarray:
            mean, std = VAE._posterior_moments(self, X, labels[k])
            return np.hstack([mean, std**2 + mean**2])

        if y is not None:
            return np.split(self._by_class(moments, X, y), 2, axis=1)
        posterior = np.exp(self._log_posterior(X))
        mean, square = np.split(self._class_mean(raw_moments, posterior), 2, axis=1)
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0))

    def _joint_bounds(self, X: np.ndarray) -> np.ndarray:
        """Bounds on log p(x, y) for each class, and on log p(x): (n, n_classes + 2).

        The last two columns are the bound on log p(x) and its standard error.
        """
        labels = self._label_vectors()

        def bounds(block: torch.Tensor) -> torch.Tensor:
            joint = []
            # All classes share the noise of a draw, so a draw's weights add up over the classes.
            total = torch.tensor(-math.inf, device=block.device)
            for label, probability in zip(labels, self.class_prior_):
                weights = self._importance_terms(block, label).log_weights
                if probability == 0.0:
                    weights = torch.full_like(weights, -math.inf)
                joint.append(torch.logsumexp(weights, 0) - math.log(len(weights)))
                total = torch.logaddexp(total, weights)
            return torch.stack([*joint, *log_mean_exp(total)], dim=1)

        rows = self._encoded(X)
        bounds_of_rows = self._in_blocks(rows, bounds, n_copies=self.n_importance_samples)
        bounds_of_rows[:, :-1] += np.reshape(self._log_fixed(X), (-1, 1))
        return bounds_of_rows

    def _estimates(self, X: np.ndarray, y: Any) -> Any:
        if y is None:
            return self._joint_bounds(X)[:, -2:].T
        return super()._estimates(X, y)

    def _joint_estimate(self, X: np.ndarray, k: int) -> np.ndarray:
        return self._bounds(X, self._label_vectors()[k]).T  # the class is a site of the model

    def _joint_log_likelihood(self, X: np.ndarray) -> np.ndarray:
        return self._joint_bounds(X)[:, :-2]

    def _sample_classes(
        self, indices: np.ndarray, generator: np.random.Generator, conditions: Conditions | None
    ) -> np.ndarray:
        labels = self._one_hot(indices)
        if conditions is None:
            rows = self._draw_sites(len(indices), generator, y=labels)["x"]
            return self._decoded(rows, generator)
        return self._complete(conditions, generator, "given", labels)

    def _log_joint_of_conditions(
        self, conditions: Conditions, argument: str = "given"
    ) -> np.ndarray:
        """Log-probabilities (n, n_classes) of conditions and classes; the same at every call."""
        n_rows = len(conditions.values)

        def log_mass(k: int) -> np.ndarray:
            labels = [self._class_labels(k, n_rows)]
            noise = np.random.default_rng(0)
            return self._propose(conditions, noise, argument, labels, move=False).log_mass

        return self._log_joint(log_mass)

    def _latent_arguments(self, X: torch.Tensor, y: Any) -> tuple[torch.Tensor, ...]:
        if y is None:
            raise ValueError(
                f"y must hold the classes of the rows, on which the codes of {type(self).__name__}"
                " depend; got None."
            )
        return self._arguments(X, self._one_hot(self._class_indices(y, len(X))))


class LabelPrior(torch.nn.Module):
    """p(y) of classes as one-hot vectors.

    Parameters
    ----------
    n_classes : int
        Number of classes, which have equal probabilities at first.

    Examples
    --------
    >>> LabelPrior(3)().probs
    tensor([0.3333, 0.3333, 0.3333])
    """

    probabilities: torch.Tensor

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        probabilities = torch.full((n_classes,), 1.0 / n_classes)
        self.register_buffer("probabilities", probabilities, persistent=False)

    def set(self, probabilities: npt.ArrayLike) -> None:
        """Replace the probabilities by others (n_classes,)."""
        self.probabilities.copy_(torch.as_tensor(probabilities))

    def forward(self) -> Any:
        """Return the distribution of a class."""
        return dist.OneHotCategorical(probs=self.probabilities)


class LabelledConvEncoder(ConvEncoder):
    """Convolutional encoder whose input has the label after the pixels, as constant channels.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    n_extra : int
        Numbers after the pixels of a row.
    channels, n_outputs, activation
        As in `ConvEncoder`.

    Examples
    --------
    >>> import torch
    >>> LabelledConvEncoder((8, 8, 1), 3, (4,), 2)(torch.zeros(5, 67)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        image_shape: Any,
        n_extra: int,
        channels: Sequence[int],
        n_outputs: int,
        activation: str = "relu",
    ) -> None:
        height, width, depth = image_shape
        super().__init__((height, width, depth + n_extra), channels, n_outputs, activation)
        self.n_extra = n_extra

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return outputs (n, n_outputs) for pixels and labels (n, d + n_extra)."""
        height, width, depth = self.image_shape
        images = rows[..., : -self.n_extra].unflatten(-1, (height, width, depth - self.n_extra))
        extra = rows[..., None, None, -self.n_extra :].expand(*images.shape[:-1], self.n_extra)
        return super().forward(torch.cat([images, extra], dim=-1).flatten(-3))
