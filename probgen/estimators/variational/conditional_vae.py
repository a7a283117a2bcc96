"""Variational autoencoders of rows and their classes."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count, check_generator
from probgen.estimators._classes import ClassConditional, one_hot
from probgen.estimators._labelled import with_parameters_of
from probgen.estimators.variational.code_distributions import beside
from probgen.estimators.variational.vae import VAE
from probgen.marginal_likelihood.latent_model import log_mean_exp
from probgen.networks import ConvEncoder


class ConditionalVAE(ClassConditional, VAE):
    """Variational autoencoder that is told the class of a row.

    A row x of class y has a code z from a prior that is the same for all classes, and comes from
    p(x given z, y); the encoder computes q(z given x, y), and the lower bound on log p(x given y)
    is raised [1]_ [2]_. Both networks see the class as one number for each class, 1 for the right
    one and 0 for the others. With the shares p(y) of the classes that makes a joint density, which
    classifies by Bayes' rule.

    `model` and `guide` are Pyro programs of those names; a subclass may replace either.

    Parameters
    ----------
    n_components : int, default=16
        Size of the code, at least 1.
    priors : array-like of shape (n_classes,), default=None
        p(y) in the order of the sorted classes, adding up to one; by default the shares of the
        classes.
    **parameters
        Those of `VAE`, all by name. An encoder of your own maps (n, n_features + n_classes) to (n,
        2 n_components), a decoder (n, n_components + n_classes) to (n, n_features times the numbers
        of the likelihood): the class stands last.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Rows of each class.
    class_prior_ : ndarray of shape (n_classes,)
        p(y); 0 for a class that `partial_fit` has not met yet.
    label_prior_ : torch.nn.Module
        The same as Pyro's distribution.
    encoder_, prior_, decoder_, observation_, likelihood_, history_, n_iter_, device_
        As in `VAE`; "reconstruction" is of rows and classes, E_q[log p(x given z, y)] + log p(y).

    Notes
    -----
    `score_samples` sums over the classes, by as many decoded draws as all of them need. `transform`
    gives codes and not p(y given x): the posterior means for the classes in y, or without y the
    mean over the classes as `predict_proba` weighs them. `inverse_transform` gives the means of
    rows for the classes in y, or without y over `class_prior_`.

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

    @with_parameters_of(VAE)
    def __init__(self, n_components=16, *, priors=None, **parameters):
        super().__init__(n_components, **parameters)
        self.priors = priors

    def model(self, X=None, y=None, seen=None, n_rows=1):  # type: ignore[override]
        """Pyro program of rows: the sites "y", a class, "z", a code, and "x", a row given both.

        Parameters
        ----------
        X : Tensor of shape (n, n_features), default=None
            Rows that are observed; None draws them.
        y : Tensor of shape (n, n_classes), default=None
            Their classes, 1 for the right one and 0 for the others; None draws them.
        seen : boolean Tensor of shape (n, n_features), default=None
            Which of the values are there; None stands for all.
        n_rows : int, default=1
            Rows to draw, without X.

        Returns
        -------
        x : Tensor of shape (n, n_features)
        """
        with pyro.plate("rows", n_rows if X is None else len(X), dim=-1):
            y = pyro.sample("y", self.label_prior_(), obs=y)
            z = pyro.sample("z", self.prior_())
            values = self.observation_.distribution(self.decoder_(beside(z, y)))
            if seen is not None:
                values = values.mask(seen)
            return pyro.sample("x", values.to_event(1), obs=X)

    def guide(self, X, y, seen=None):  # type: ignore[override]
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
            return pyro.sample("z", self.encoder_(beside(X, y)))

    def sample_mean(self, n_samples=1, *, y=None, random_state=None):
        """Draw codes from the prior and return the means that they decode to.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, at least 1.
        y : label or array-like of shape (n_samples,), default=None
            Classes to draw from; otherwise drawn from `class_prior_`.
        random_state : int, RandomState, Generator or None, default=None
            As in `sample`; the codes and classes are those of `sample` with the same seed.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, low=1)
        generator = self._stream if random_state is None else check_generator(random_state)
        indices = self._requested_classes(n_samples, generator, y)
        codes = self._draw_sites(n_samples, generator, y=self._one_hot(indices))["z"]
        labels = self._label_vectors()
        X = self._by_class(
            lambda codes, k: self._decode(codes, labels[k]), codes, self.classes_[indices]
        )
        return self._in_container(X.astype(self._dtype, copy=False))

    def transform(self, X, y=None, *, return_std=False):
        """Return the posterior means of the codes.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : label or array-like of shape (n,), default=None
            Their classes; without them the posterior is the mixture over the classes that
            `predict_proba` weighs.
        return_std : bool, default=False
            Whether to return the posterior standard deviations too.

        Returns
        -------
        means : ndarray or frame of shape (n, n_components)
        std : ndarray of shape (n, n_components)
            With return_std=True.
        """
        check_is_fitted(self)
        X = self._validate(X)
        means, std = (part.astype(X.dtype, copy=False) for part in self._posterior_moments(X, y))
        return (means, std) if return_std else means

    def inverse_transform(self, Z, y=None):
        """Return the means of the rows that codes stand for.

        Parameters
        ----------
        Z : array-like of shape (n, n_components)
            Codes.
        y : label or array-like of shape (n,), default=None
            Classes of the rows; without them the mean over the classes is taken, as `class_prior_`
            weighs them.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            A frame after `set_output`.
        """
        check_is_fitted(self)
        Z = self._validate_codes(Z)
        labels = self._label_vectors()
        if y is None:
            weights = np.broadcast_to(self.class_prior_, (len(Z), len(self.classes_)))
            X = self._class_mean(lambda k: self._decode(Z, labels[k]), weights)
        else:
            X = self._by_class(lambda codes, k: self._decode(codes, labels[k]), Z, y)
        return self._in_container(X.astype(Z.dtype, copy=False))

    def reconstruct(self, X, y=None):
        """Return the means of the posterior predictive, rows that share the codes and the classes
        of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; what is missing is filled in.
        y : label or array-like of shape (n,), default=None
            Their classes; without them the mean over the classes is taken, as `predict_proba`
            weighs them.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            Decoded means, averaged over draws from the posterior.
        """
        check_is_fitted(self)
        X = self._validate(X)
        labels = self._label_vectors()
        if y is None:
            posterior = np.exp(self._log_posterior(X))
            means = self._class_mean(lambda k: self._reconstruct(X, labels[k]), posterior)
        else:
            means = self._by_class(lambda rows, k: self._reconstruct(rows, labels[k]), X, y)
        return self._in_container(means.astype(X.dtype, copy=False))

    def score_samples(self, X, y=None, *, return_std=False):
        """Return the importance weighted bound on the log-likelihood of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score; what is missing is integrated out.
        y : label or array-like of shape (n,), default=None
            Classes of the rows.
        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
            log p(x), summed over the classes, or log p(x, y) if y is given.
        std : ndarray of shape (n,)
            With return_std=True.
        """
        check_is_fitted(self)
        X = self._validate(X)
        if y is None:
            bounds = self._joint_bounds(X)[:, -2:]
        else:
            labels = self._label_vectors()
            bounds = self._by_class(lambda rows, k: self._bounds(rows, labels[k]).T, X, y)
        values, errors = bounds.astype(X.dtype, copy=False).T
        return (values, errors) if return_std else values

    def elbo_samples(self, X, y=None):
        """Return the evidence lower bound of each row and its two parts, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : label or array-like of shape (n,), default=None
            Their classes, for the bound on log p(x, y); without them, that on log p(x), where q(y
            given x) is `predict_proba`.

        Returns
        -------
        bounds : Bunch
            With `elbo` = `reconstruction` - `kl`, ndarrays of shape (n,): means over
            n_importance_samples draws. The divergence is that of codes and classes.
        """
        check_is_fitted(self)
        X = self._validate(X)
        log_prior = np.log(np.maximum(self.class_prior_, np.finfo(np.float64).tiny))
        labels = self._label_vectors()
        if y is None:
            log_posterior = self._log_posterior(X)
            posterior = np.exp(log_posterior)
            parts = self._class_mean(lambda k: self._elbo_parts(X, labels[k]), posterior)
            divergence = np.sum(
                posterior * np.where(posterior > 0.0, log_posterior - log_prior, 0.0), axis=1
            )
            expected = posterior @ log_prior
        else:
            parts = self._by_class(lambda rows, k: self._elbo_parts(rows, labels[k]), X, y)
            expected = log_prior[self._class_indices(y, len(X))]
            divergence = -expected
        reconstruction, kl = (
            parts[:, 0] - expected,
            parts[:, 1] + divergence,
        )  # p(y) stands among the observed
        answers = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        return Bunch(**{name: part.astype(X.dtype, copy=False) for name, part in answers.items()})

    @property
    def _n_features_out(self):
        return self.n_components

    @property
    def _n_extra(self):
        return len(self.classes_)

    def _build(self, fit):
        self.label_prior_ = LabelPrior(len(self.classes_))
        super()._build(fit)

    def _begin(self, fit):
        self.label_prior_.set(self.class_prior_)

    def _make_conv_encoder(self, shape, channels, n_outputs):
        return LabelledConvEncoder(shape, self._n_extra, channels, n_outputs, self.activation)

    def _some_rows(self, rows, n_rows):
        pseudo_inputs = super()._some_rows(rows, n_rows)
        labels = self._one_hot(np.arange(n_rows) % len(self.classes_)).cpu()
        return torch.cat([pseudo_inputs, labels.to(pseudo_inputs.dtype)], dim=1)

    def _prepare_training(self, X, *labels, generator):
        return super()._prepare_training(
            X, *[one_hot(label, self._n_extra, X.dtype) for label in labels], generator=generator
        )

    def _arguments(self, X, *labels):
        return super()._arguments(X, *[label.expand(len(X), -1) for label in labels])

    def _one_hot(self, indices):
        """Classes (n,) as tensors (n, n_classes) beside the networks."""
        indices = torch.tensor(np.asarray(indices), device=getattr(self, "device_", "cpu"))
        return one_hot(
            indices, self._n_extra, torch.float64 if self._dtype == np.float64 else torch.float32
        )

    def _label_vectors(self):
        """Labels (n_classes, n_classes) of all classes; each broadcasts over rows of its class."""
        return self._one_hot(np.arange(len(self.classes_)))

    def _posterior_moments(self, X, y=None):
        """Means and deviations (n, k) of the codes of checked rows, given y or over all classes."""
        labels = self._label_vectors()

        def moments(rows, k):
            return np.hstack(VAE._posterior_moments(self, rows, labels[k]))

        def raw_moments(k):
            mean, std = VAE._posterior_moments(self, X, labels[k])
            return np.hstack([mean, std**2 + mean**2])

        if y is not None:
            return np.split(self._by_class(moments, X, y), 2, axis=1)
        posterior = np.exp(self._log_posterior(X))
        mean, square = np.split(self._class_mean(raw_moments, posterior), 2, axis=1)
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0))

    def _joint_bounds(self, X):
        """Bounds on log p(x, y) for each class, then that on log p(x) and its standard error: (n,
        n_classes + 2)."""
        labels = self._label_vectors()

        def bounds(block):
            joint, total = [], torch.tensor(-math.inf, device=block.device)
            for label, probability in zip(labels, self.class_prior_):
                weights = self._weigh(block, label).log_weights
                weights = weights if probability > 0.0 else torch.full_like(weights, -math.inf)
                joint.append(torch.logsumexp(weights, 0) - math.log(len(weights)))
                total = torch.logaddexp(total, weights)
            return torch.stack([*joint, *log_mean_exp(total)], dim=1)

        return self._in_blocks(X, bounds)

    def _joint_log_likelihood(self, X):
        return self._joint_bounds(X)[:, :-2]

    def _sample_classes(self, indices, generator, conditions):
        labels = self._one_hot(indices)
        if conditions is None:
            return self._draw_sites(len(indices), generator, y=labels)["x"]
        return self._complete(conditions, generator, "given", labels)

    def _log_joint_of_conditions(self, conditions, argument="given"):
        """Log-probabilities (n, n_classes) of conditions and classes; the same at every call."""
        n_rows = len(conditions.values)

        def log_mass(k):
            labels = [self._class_labels(k, n_rows)]
            noise = np.random.default_rng(0)
            return self._propose(conditions, noise, argument, labels).log_mass

        return self._log_joint(log_mass)

    def _latent_rows(self, X, y):
        if y is None:
            raise ValueError(
                f"y must hold the classes of the rows, on which the codes of {type(self).__name__}"
                " depend; got None."
            )
        return self._arguments(X, self._one_hot(self._class_indices(y, len(X))))


class LabelPrior(torch.nn.Module):
    """p(y) of classes that stand as rows of zeros with a single 1.

    Parameters
    ----------
    n_classes : int

    Examples
    --------
    >>> LabelPrior(3)().probs
    tensor([0.3333, 0.3333, 0.3333])
    """

    probabilities: torch.Tensor

    def __init__(self, n_classes):
        super().__init__()
        self.register_buffer(
            "probabilities", torch.full((n_classes,), 1.0 / n_classes), persistent=False
        )

    def set(self, probabilities):
        """Take probabilities (n_classes,)."""
        self.probabilities.copy_(torch.as_tensor(probabilities))

    def forward(self):
        """The distribution of a class."""
        return dist.OneHotCategorical(probs=self.probabilities)


class LabelledConvEncoder(ConvEncoder):
    """Convolutional encoder that sees the numbers after the pixels of a row as constant channels.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    n_extra : int
        Numbers after the pixels.
    channels, n_outputs, activation
        As in `ConvEncoder`.

    Examples
    --------
    >>> import torch
    >>> LabelledConvEncoder((8, 8, 1), 3, (4,), 2)(torch.zeros(5, 67)).shape
    torch.Size([5, 2])
    """

    def __init__(self, image_shape, n_extra, channels, n_outputs, activation="relu"):
        height, width, depth = image_shape
        super().__init__((height, width, depth + n_extra), channels, n_outputs, activation)
        self.n_extra = n_extra

    def forward(self, rows):
        height, width, depth = self.image_shape
        images = rows[..., : -self.n_extra].unflatten(-1, (height, width, depth - self.n_extra))
        extra = rows[..., None, None, -self.n_extra :].expand(*images.shape[:-1], self.n_extra)
        return super().forward(torch.cat([images, extra], dim=-1).flatten(-3))
