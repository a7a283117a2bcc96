"""Variational autoencoders, as Pyro programs that the training engine records."""

from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from probgen._validation import (
    check_choice,
    check_count,
    check_generator,
    check_hidden_layer_sizes,
    check_image_shape,
    check_real,
)
from probgen.base import DecoderMixin, Likelihood
from probgen.distributions.observation import make_observation
from probgen.estimators.variational.code_distributions import (
    FLOWS,
    GaussianPosterior,
    MixturePrior,
    NormalPrior,
    VampPrior,
    beside,
)
from probgen.estimators.variational.completion import CompletionMixin
from probgen.marginal_likelihood.importance import normal_noise
from probgen.marginal_likelihood.latent_model import log_mean_exp
from probgen.networks import MLP, ConvDecoder, ConvEncoder, activation, check_module, check_network
from probgen.options import AutoLikelihood
from probgen.options.likelihoods import LIKELIHOODS
from probgen.programs import ProgramObjective, isolated, log_weights
from probgen.programs.latents import latent_model
from probgen.programs.objective import ELBOS
from probgen.programs.terms import Terms
from probgen.programs.weights import CommonNoise
from probgen.training.trainer import Trainer

ARCHITECTURES = ("mlp", "conv")
PRIORS = ("normal", "mixture", "vamp")
POSTERIORS = ("gaussian", *FLOWS)
DRAWN_ROWS = 4096  # drawn at a time
WORK_BYTES = 2**26  # of the rows of all draws that are decoded at a time
FILLING_ROUNDS = 8  # of encoding and decoding rows with gaps, before they are asked for
N_POSTERIOR_DRAWS = 32  # behind the mean of a posterior with flows, and behind a reconstruction


class VAE(CompletionMixin, DecoderMixin):
    """Variational autoencoder.

    A row x has a code z of n_components numbers, z from a prior, x from p(x given z), whose
    parameters a decoder computes; an encoder computes an approximate posterior q(z given x), and
    both are trained to raise the evidence lower bound (ELBO) E_q[log p(x given z)] - KL(q(z given
    x), p(z)) [1]_ [2]_.

    `model` and `guide` are Pyro programs of those names; a subclass may replace either.

    Parameters
    ----------
    n_components : int, default=16
        Size of the code, at least 1.
    hidden_layer_sizes : sequence of int, default=(400, 400)
        Widths of the encoder's hidden layers, in the decoder reversed. With architecture="conv" the
        channels of its layers, each of which halves the height and the width.
    activation : str, default="silu"
        Of the hidden layers, as in `Autoencoder`.
    architecture : {"mlp", "conv"}, default="mlp"
        Dense or convolutional networks.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last. None
        reads a perfect square of features as a grey image.
    encoder, decoder : torch.nn.Module, default=None
        Networks of your own in place of those; templates that fit copies, each alone. The encoder
        maps (n, n_features) to (n, 2 n_components), means and what softplus makes deviations of;
        flows want 32 numbers more. The decoder maps (n, n_components) to (n, n_features times the
        numbers of the likelihood).
    likelihood : str, default="auto"
        p(x given z): "bernoulli", "continuous_bernoulli", "gaussian", "laplace",
        "gaussian_mixture", "categorical" or "discretized_logistic". "auto" takes "bernoulli" for
        rows of 0 and 1 and "gaussian" for others; fix it in a search, for likelihoods of different
        measures do not compare.
    noise_scale : {"per_feature", "learned"} or float, default="per_feature"
        Scale of "gaussian" and "laplace" noise: learned, one for each feature or one for all, which
        suits images; or given, in units of X.
    n_logistics : int, default=1
        Logistics mixed for each feature in "discretized_logistic", or Gaussians in
        "gaussian_mixture".
    n_levels : int, default=256
        Values 0 to n_levels - 1 of "categorical" and "discretized_logistic".
    dynamic_binarization : bool, default=False
        Whether values in [0, 1] are probabilities of a 1, from which rows are drawn afresh for each
        batch of the training. What is scored later has to be rows of 0 and 1.
    prior : {"normal", "mixture", "vamp"}, default="normal"
        p(z): a standard Gaussian; a mixture of Gaussians that is learned; a mixture of posteriors
        of learned pseudo-inputs.
    n_prior_components : int, default=50
        Gaussians of "mixture" and "vamp".
    posterior : {"gaussian", "iaf", "spline"}, default="gaussian"
        q(z given x): independent Gaussians, or these moved by inverse autoregressive flows or by
        splines.
    n_flows : int, default=2
        Flows of the posterior.
    elbo : {"mean_field", "trace", "iwae"} or pyro.infer.ELBO, default="mean_field"
        Bound that is trained: with the divergence in closed form where there is one; from draws
        alone; importance weighted over the particles. A bound of Pyro's own is taken as it is; one
        that branches on values costs a trace of the programs a batch.
    n_particles : int, default=1
        Draws for each row in training.
    beta : float, default=1.0
        Factor on the divergence, at least 0.
    kl_warmup : int, default=0
        Epochs over which that factor rises from 0.
    free_bits : float, default=0.0
        Nats of each code dimension's mean divergence that cost nothing, at least 0.
    n_importance_samples : int, default=100
        Draws for each row in `score_samples`, at least 2: more tighten the bound.
    max_iter : int, default=60
        Epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 128, a hundredth of the rows.
    learning_rate_init : float, default=2e-3
        Learning rate at the start.
    trainer : Trainer, default=None
        All else of the training; None is `Trainer(schedule="cosine")`.
    warm_start : bool, default=False
        Whether a further fit goes on from the last one.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Where to compute.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit and the stream of later draws.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    encoder_, prior_ : torch.nn.Module
        From rows to q(z given x), and from nothing to p(z), as Pyro's distributions.
    decoder_, observation_ : torch.nn.Module
        From codes to numbers, and from those to p(x given z).
    likelihood_ : str
        The likelihood that was chosen.
    history_ : History
        Per epoch: "loss" and its parts "reconstruction" and "kl", in nats a row; validation score,
        learning rate, seconds.
    n_iter_ : int
        Epochs that were trained.
    device_ : str
        Where the networks are.

    Notes
    -----
    `score_samples` is the importance weighted bound [3]_ of n_importance_samples draws from the
    encoder, the same quasi-random noise for every row; `elbo_samples` is the bound of one. Values
    that are missing (NaN) count for nothing in the likelihood; in training the encoder sees the
    mean of their feature, in queries what their codes decode to.

    References
    ----------
    .. [1] D. P. Kingma and M. Welling, Auto-encoding variational Bayes, 2014.
    .. [2] D. J. Rezende, S. Mohamed, D. Wierstra, Stochastic backpropagation and approximate
       inference in deep generative models, 2014.
    .. [3] Y. Burda, R. Grosse, R. Salakhutdinov, Importance weighted autoencoders, 2016.

    Examples
    --------
    >>> from probgen import VAE
    >>> from sklearn.datasets import load_digits
    >>> X = (load_digits().data > 7).astype("float32")
    >>> model = VAE(n_components=4, hidden_layer_sizes=(64,), max_iter=5, random_state=0).fit(X)
    >>> model.likelihood_, model.transform(X).shape, model.sample(3).shape
    ('bernoulli', (1797, 4), (3, 64))
    """

    _missing_values = "all"
    _networks: tuple[str, ...] = ("encoder_", "prior_", "decoder_", "observation_")
    _largest_batch = 128  # bounds of twice as many rows took more epochs to tighten
    prior_: torch.nn.Module

    def __init__(
        self,
        n_components=16,
        *,
        hidden_layer_sizes=(400, 400),
        activation="silu",
        architecture="mlp",
        image_shape=None,
        encoder=None,
        decoder=None,
        likelihood="auto",
        noise_scale="per_feature",
        n_logistics=1,
        n_levels=256,
        dynamic_binarization=False,
        prior="normal",
        n_prior_components=50,
        posterior="gaussian",
        n_flows=2,
        elbo="mean_field",
        n_particles=1,
        beta=1.0,
        kl_warmup=0,
        free_bits=0.0,
        n_importance_samples=100,
        max_iter=60,
        batch_size="auto",
        learning_rate_init=2e-3,
        trainer=None,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.architecture = architecture
        self.image_shape = image_shape
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.noise_scale = noise_scale
        self.n_logistics = n_logistics
        self.n_levels = n_levels
        self.dynamic_binarization = dynamic_binarization
        self.prior = prior
        self.n_prior_components = n_prior_components
        self.posterior = posterior
        self.n_flows = n_flows
        self.elbo = elbo
        self.n_particles = n_particles
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self.n_importance_samples = n_importance_samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def model(self, X=None, seen=None, n_rows=1):
        """Pyro program of rows: the sites "z", a code from the prior, and "x", a row given it.

        Parameters
        ----------
        X : Tensor of shape (n, n_features), default=None
            Rows that are observed; None draws them.
        seen : boolean Tensor of shape (n, n_features), default=None
            Which of their values are there; None stands for all.
        n_rows : int, default=1
            Rows to draw, without X.

        Returns
        -------
        x : Tensor of shape (n, n_features)
        """
        with pyro.plate("rows", n_rows if X is None else len(X), dim=-1):
            z = pyro.sample("z", self.prior_())
            values = self.observation_.distribution(self.decoder_(z))
            if seen is not None:
                values = values.mask(seen)
            return pyro.sample("x", values.to_event(1), obs=X)

    def guide(self, X, seen=None):
        """Pyro program of the approximate posterior of codes: the site "z".

        Parameters
        ----------
        X, seen
            As in `model`.

        Returns
        -------
        z : Tensor of shape (n, n_components)
        """
        with pyro.plate("rows", len(X), dim=-1):
            return pyro.sample("z", self.encoder_(X))

    def sample_mean(self, n_samples=1, *, random_state=None):
        """Draw codes from the prior and return the means that they decode to.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, at least 1.
        random_state : int, RandomState, Generator or None, default=None
            As in `sample`; the codes are those of `sample` with the same seed.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, low=1)
        generator = self._stream if random_state is None else check_generator(random_state)
        codes = self._draw_sites(n_samples, generator)["z"]
        return self._in_container(self._decode(codes).astype(self._dtype, copy=False))

    def transform(self, X, *, return_std=False):
        """Return the posterior means of the codes.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        return_std : bool, default=False
            Whether to return the posterior standard deviations too.

        Returns
        -------
        means : ndarray or frame of shape (n, n_components)
        std : ndarray of shape (n, n_components)
            With return_std=True.
        """
        if not return_std:
            return super().transform(X)
        check_is_fitted(self)
        X = self._validate(X)
        return tuple(part.astype(X.dtype, copy=False) for part in self._posterior_moments(X))

    def reconstruct(self, X):
        """Return the means of the posterior predictive, rows that share the codes of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; what is missing is filled in.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            Decoded means, averaged over draws from the posterior.
        """
        check_is_fitted(self)
        X = self._validate(X)
        return self._in_container(self._reconstruct(X).astype(X.dtype, copy=False))

    def score_samples(self, X, y=None, *, return_std=False):
        """Return the importance weighted bound on the log-likelihood of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score; what is missing is integrated out.
        y : object, default=None
            Ignored.
        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
        std : ndarray of shape (n,)
            With return_std=True.
        """
        check_is_fitted(self)
        X = self._validate(X)
        values, errors = (part.astype(X.dtype, copy=False) for part in self._bounds(X))
        return (values, errors) if return_std else values

    def elbo_samples(self, X):
        """Return the evidence lower bound of each row and its two parts, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.

        Returns
        -------
        bounds : Bunch
            With `elbo` = `reconstruction` - `kl`, ndarrays of shape (n,): means over
            n_importance_samples draws.
        """
        check_is_fitted(self)
        X = self._validate(X)
        reconstruction, divergence = self._elbo_parts(X).astype(X.dtype, copy=False).T
        return Bunch(elbo=reconstruction - divergence, reconstruction=reconstruction, kl=divergence)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = self._likelihood.measure == "counting"
        return tags

    @property
    def _likelihood(self):
        observation = getattr(self, "observation_", None)
        return Likelihood("lower_bound", "lebesgue" if observation is None else observation.measure)

    @property
    def _n_features_out(self):
        return self.n_components

    @property
    def _n_extra(self):
        """Numbers that the networks see beside a row or a code, such as its class."""
        return 0

    def _default_trainer(self):
        return Trainer(schedule="cosine")

    def _check_parameters(self):
        super()._check_parameters()
        check_count("n_components", self.n_components)
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        activation(self.activation)
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_choice("likelihood", self.likelihood, ("auto", *LIKELIHOODS))
        check_choice("prior", self.prior, PRIORS)
        check_choice("posterior", self.posterior, POSTERIORS)
        if not isinstance(self.elbo, ELBO):
            check_choice("elbo", self.elbo, ELBOS, hint="Or give a bound of pyro.infer.")
        for name in ("n_logistics", "n_prior_components", "n_flows", "n_particles"):
            check_count(name, getattr(self, name))
        check_count("n_importance_samples", self.n_importance_samples, low=2)
        check_count("kl_warmup", self.kl_warmup, low=0)
        check_real("beta", self.beta, low=0.0)
        check_real("free_bits", self.free_bits, low=0.0)
        check_module("encoder", self.encoder)
        check_module("decoder", self.decoder)

    def _build(self, fit):
        rows, found = fit.rows, fit.statistics
        if self.dynamic_binarization:
            found = found.binarized()
        likelihood: Any = AutoLikelihood(self.noise_scale, self.n_levels, self.n_logistics)
        if self.likelihood != "auto":
            likelihood = likelihood.chosen(self.likelihood)
        self.observation_ = make_observation(likelihood, found)
        self.likelihood_ = self.observation_.name
        self._has_missing = found.has_missing
        self._fill = torch.as_tensor(found.mean, dtype=rows.dtype)
        d, k = rows.n_features, self.n_components
        flow = None if self.posterior == "gaussian" else self.posterior
        encoder, decoder = self._make_networks(
            d, k, GaussianPosterior.n_outputs(k, flow), rows.dtype
        )
        pad, extra = torch.nn.functional.pad, (0, self._n_extra)
        center, scale = pad(self._fill, extra), pad(torch.full((d,), found.scale), extra, value=1.0)
        scaling = {} if found.is_binary else {"center": center, "scale": scale}
        self.encoder_ = GaussianPosterior(encoder, k, flow=flow, n_flows=self.n_flows, **scaling)
        self.decoder_ = decoder
        if self.prior == "vamp":
            self.prior_ = VampPrior(self.encoder_, self._some_rows(rows, self.n_prior_components))
        elif self.prior == "mixture":
            self.prior_ = MixturePrior(k, self.n_prior_components)
        else:
            self.prior_ = NormalPrior(k)
        for name in self._networks:
            getattr(self, name).to(rows.dtype)

    def _make_networks(self, d, k, n_outputs, dtype):
        """Encoder from d features to n_outputs numbers, and decoder from k to those of the
        observation model."""
        hidden, extra = tuple(self.hidden_layer_sizes), self._n_extra
        n_decoded = self.observation_.n_outputs_per_feature
        is_image = self.architecture == "conv" and (self.encoder is None or self.decoder is None)
        is_shaped = is_image or self.image_shape is not None
        shape = check_image_shape(self.image_shape, d) if is_shaped else ()
        if self.encoder is not None:
            encoder = check_network(self.encoder, d + extra, n_outputs, "encoder", dtype=dtype)
        elif is_image:
            encoder = self._make_conv_encoder(shape, hidden, n_outputs)
        else:
            encoder = MLP(d + extra, hidden, n_outputs, self.activation)
        if self.decoder is not None:
            decoder = check_network(self.decoder, k + extra, d * n_decoded, "decoder", dtype=dtype)
        elif is_image:
            height, width, channels = (*shape, 1)[:3]
            decoder = ConvDecoder(
                k + extra, hidden[::-1], (height, width, channels * n_decoded), self.activation
            )
        else:
            decoder = MLP(k + extra, hidden[::-1], d * n_decoded, self.activation)
        return encoder, decoder

    def _make_conv_encoder(self, shape, channels, n_outputs):
        return ConvEncoder(shape, channels, n_outputs, self.activation)

    def _some_rows(self, rows, n_rows):
        """Rows (n_rows, d) to start pseudo-inputs from, noise added where there are fewer."""
        block, *_ = next(iter(rows.batches(np.random.default_rng(0), min(n_rows, rows.n_rows))))
        block = torch.where(block.isnan(), self._fill.to(block.device), block).cpu()
        return block[torch.arange(n_rows) % len(block)] + 0.01 * torch.randn(
            n_rows, block.shape[1], dtype=block.dtype
        )

    def _make_objective(self, fit, kind=ProgramObjective, **settings):
        return kind(
            self.model,
            self.guide,
            [getattr(self, name) for name in self._networks],
            elbo=self.elbo,
            n_particles=self.n_particles,
            beta=self.beta,
            warmup=self.kl_warmup,
            free_bits=self.free_bits,
            prepare=(
                self._prepare_training
                if self.dynamic_binarization or self._has_missing or self._n_extra
                else None
            ),
            **settings,
        )

    def _prepare_training(self, X, *labels, generator):
        """What the programs see of a batch in training."""
        if self.dynamic_binarization:
            drawn = torch.empty_like(X).uniform_(generator=generator) < X
            X = (
                torch.where(X.isnan(), X, drawn.to(X.dtype))
                if self._has_missing
                else drawn.to(X.dtype)
            )
        return self._prepare(X, *labels) if self._has_missing else (X, *labels)

    def _prepare(self, X, *labels):
        """What the programs see of rows, of which some values may be missing."""
        missing = X.isnan()
        return torch.where(missing, self._fill.to(X.device), X), *labels, ~missing

    def _arguments(self, X, *labels):
        """The same for rows of a query, what is missing filled in by what their codes decode to."""
        if not bool(X.isnan().any()):
            return (X, *labels)
        rows, *others = self._prepare(X, *labels)
        with isolated(self.device_):
            for _ in range(FILLING_ROUNDS):
                code: Any = poutine.trace(self.guide).get_trace(rows, *others).nodes["z"]["fn"]
                while not isinstance(code, torch.distributions.Independent):  # below its flows
                    code = code.base_dist
                rows = torch.where(others[-1], rows, self._decoded_mean(code.mean, *labels))
        return rows, *others

    def _common_noise(self, n_samples):
        return torch.as_tensor(
            normal_noise(self.n_components, n_samples).astype(self._dtype), device=self.device_
        )

    def _draw_posterior(self, X, noise, *labels):
        """Codes (n_draws, n, k) of rows under common noise (n_draws, k)."""
        arguments = self._arguments(X, *labels)
        with (
            isolated(self.device_),
            CommonNoise(noise),
            pyro.plate("particles", len(noise), dim=-2),
        ):
            return poutine.trace(self.guide).get_trace(*arguments).nodes["z"]["value"]

    def _reconstruct(self, X, *labels):
        """Means (n, d) of the posterior predictive of checked rows."""
        noise = self._common_noise(N_POSTERIOR_DRAWS)

        def reconstruct(block):
            draws = self._draw_posterior(block, noise, *labels)
            return (
                self._decoded_mean(draws.flatten(0, 1), *labels)
                .unflatten(0, draws.shape[:2])
                .mean(0)
            )

        return self._in_blocks(X, reconstruct)

    def _posterior_moments(self, X, *labels):
        """Means and deviations (n, k) of the codes of checked rows."""
        noise = self._common_noise(N_POSTERIOR_DRAWS)

        def moments(block):
            with isolated(self.device_):
                posterior = (
                    poutine.trace(self.guide)
                    .get_trace(*self._arguments(block, *labels))
                    .nodes["z"]["fn"]
                )
            if isinstance(posterior, torch.distributions.Independent):
                return torch.cat([posterior.mean, posterior.stddev], dim=1)
            draws = self._draw_posterior(block, noise, *labels)
            return torch.cat([draws.mean(0), draws.std(0)], dim=1)

        return np.split(self._in_blocks(X, moments), 2, axis=1)

    def _transform(self, X):
        return self._posterior_moments(X)[0]

    def _decoded_mean(self, codes, *labels):
        return self.observation_.mean(self.decoder_(beside(codes, *labels)))

    def _decode(self, Z, *labels):
        return self._in_blocks(Z, lambda codes: self._decoded_mean(codes, *labels))

    def _inverse_transform(self, Z):
        return self._decode(Z)

    def _draw_sites(self, n_samples, generator, **known):
        """Values of the sites of the model, drawn DRAWN_ROWS rows at a time; known are tensors
        (n_samples, ...)."""
        parts = []
        with torch.inference_mode(), isolated(self.device_, int(generator.integers(2**62))):
            for start in range(0, n_samples, DRAWN_ROWS):
                part = {name: value[start : start + DRAWN_ROWS] for name, value in known.items()}
                trace = poutine.trace(self.model).get_trace(
                    n_rows=min(DRAWN_ROWS, n_samples - start), **part
                )
                values = {
                    name: torch.as_tensor(trace.nodes[name]["value"])
                    for name in trace.stochastic_nodes
                }
                parts.append({name: value.cpu().numpy() for name, value in values.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _sample(self, n_samples, generator):
        return self._draw_sites(n_samples, generator)["x"]

    def _score_samples(self, X):
        return self._bounds(X)[0]

    def _weigh(self, X, *labels):
        """Terms (n_samples, n) of rows, in double precision; so many draws at a time that memory is
        bounded."""
        noise = self._common_noise(self.n_importance_samples)
        n_outputs = X.shape[1] * self.observation_.n_outputs_per_feature
        width = max(n_outputs, *self.hidden_layer_sizes, 1)
        n_draws = max(1, WORK_BYTES // (X.element_size() * width * len(X)))
        arguments = self._arguments(X, *labels)
        with isolated(self.device_):
            parts = [
                log_weights(self.model, self.guide, arguments, part)
                for part in noise.split(n_draws)
            ]
        return Terms(
            log_likelihood=_joined([part.log_likelihood for part in parts]),
            log_prior=_joined([part.log_prior for part in parts]),
            log_posterior=_joined([part.log_posterior for part in parts]),
            divergences={},
        )

    def _latent_model(self, X, y=None):
        """The joint density of checked rows and their codes."""
        with torch.no_grad():
            rows = self._latent_rows(
                torch.as_tensor(X.astype(self._dtype, copy=False), device=self.device_), y
            )
        return latent_model(self.model, rows, self.n_components, self.device_)

    def _latent_rows(self, X, y):
        """What the model is told of rows, as tensors of which the first dimension runs over
        them."""
        return self._arguments(X)

    def _bounds(self, X, *labels):
        """Bounds and standard errors (n,) of checked rows."""

        def bound(block):
            return torch.stack(log_mean_exp(self._weigh(block, *labels).log_weights), dim=1)

        return self._in_blocks(X, bound).T

    def _elbo_parts(self, X, *labels):
        """Reconstruction and divergence (n, 2) of checked rows."""

        def parts(block):
            terms = self._weigh(block, *labels)
            divergence = terms.log_posterior - terms.log_prior
            return torch.stack([terms.log_likelihood.mean(0), divergence.mean(0)], dim=1)

        return self._in_blocks(X, parts)


def _joined(parts):
    """Numbers (n_draws, n) of several sets of draws, as of one."""
    return torch.cat([torch.atleast_2d(part).double() for part in parts])
