"""Variational autoencoders, as Pyro programs that the training engine records."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyro
import pyro.infer
import torch
from pyro import poutine
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from probgen._validation import (
    check_choice,
    check_count,
    check_hidden_layer_sizes,
    check_image_shape,
    check_real,
    show,
)
from probgen.base import DecoderMixin, GeneratorTags, Likelihood
from probgen.estimators._mixed import MixedRowsMixin
from probgen.estimators.variational.code_distributions import (
    CodePosterior,
    GaussianMixtureCodes,
    PosteriorMixtureCodes,
    StandardNormalCodes,
    concat_labels,
)
from probgen.estimators.variational.completion import CompletionMixin
from probgen.marginal_likelihood.effective_draws import checked_estimates
from probgen.marginal_likelihood.importance import normal_noise
from probgen.marginal_likelihood.latent_model import LatentModel, log_mean_exp
from probgen.networks import RowNetwork, activation, check_module, least_rows, own_network
from probgen.networks.architectures import ARCHITECTURES, Architecture, are_images
from probgen.options import (
    ELBO,
    AutoLikelihood,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    GaussianMixtureLikelihood,
    GaussianPosterior,
    InverseAutoregressiveFlow,
    Laplace,
    Mixed,
    MixturePrior,
    NormalPrior,
    Option,
    SplineFlow,
    VampPrior,
)
from probgen.programs import ElboTerms, ProgramObjective, isolated_pyro_state, log_weights
from probgen.programs.latents import latent_model
from probgen.programs.terms import check_parameters, elbo_terms
from probgen.programs.weights import CommonNoise
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective
from probgen.training.rows import Rows
from probgen.training.trainer import Trainer

SAMPLING_BATCH = 4096  # rows
WORK_BYTES = 2**26  # bound on the decoded rows of all importance draws in memory at a time
FILLING_ROUNDS = 8  # rounds of encoding and decoding that fill in missing values of a query
N_TRIAL = 2  # rows that the programs of a subclass are tried on
MOST_EPOCHS = 60  # where max_iter is None
# Numbers of rows that networks learn by heart in as many epochs, a tenth of which can choose fewer.
FEW_ROWS = range(2000, 10_000)
N_POSTERIOR_DRAWS = 32  # draws behind a reconstruction, and behind the moments of a flow posterior


class VAE(MixedRowsMixin, CompletionMixin, DecoderMixin):
    """Variational autoencoder.

    A row x has a code z of n_components numbers. The model draws z from a prior p(z) and x from
    p(x given z), whose parameters a decoder computes. An encoder computes an approximate posterior
    q(z given x). Training raises the evidence lower bound (ELBO) of both networks [1]_ [2]_,
    E_q[log p(x given z)] - KL(q(z given x), p(z)).

    `model` and `guide` are Pyro programs of those names, and a subclass may override either.

    Parameters
    ----------
    n_components : int, default=16
        Size of the code, at least 1.
    hidden_layer_sizes : sequence of int, default=(400, 400)
        Widths of the encoder's hidden layers; the decoder has them in reverse. With
        architecture="conv", the channels of its layers, each of which halves height and width.
    activation : str, default="silu"
        Activation of the hidden layers, as in `Autoencoder`.
    architecture : {"dense", "conv"}, default="dense"
        Dense or convolutional networks.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last. None
        takes a perfect square of features as a grey image.
    encoder, decoder : torch.nn.Module, default=None
        Networks to use in place of those; each may be given alone, and hidden_layer_sizes and
        activation are then those of the other. They are templates that fit copies. The encoder maps
        (n, n_features) to (n, 2 n_components), means and pre-softplus deviations; flows need 32
        more outputs. The decoder maps (n, n_components) to (n, n_features times the likelihood's
        outputs per feature). Both are called with rows of two axes, always. Networks that one row
        alone cannot train, such as those with batch norm, skip a last batch of one row.
    likelihood : str or Option, default="auto"
        p(x given z): "bernoulli", "continuous_bernoulli", "gaussian", "laplace",
        "gaussian_mixture", "categorical", "discretized_logistic", or "mixed" for columns each with
        a distribution of its own. "auto" takes "mixed" where a column is a category, "bernoulli"
        for rows of 0 and 1 and "gaussian" for others; choose one in a search, as likelihoods of
        different measures do not compare. An object of `probgen.options` has the settings of one
        likelihood: `Gaussian(scale="per_feature")`, `Laplace(scale="per_feature")`,
        `GaussianMixtureLikelihood(n_mixture=1)`, `Categorical(n_levels=256)`,
        `DiscretizedLogistic(n_levels=256, n_mixture=1)` and `Mixed(n_mixture=1)` are what the
        strings stand for.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Columns that are categories: those of a frame by their dtype, or for an array a mask,
        indices or names. Such columns of an array hold 0, 1, 2 and so on, each its own number of
        levels.
    kinds : dict or None, default=None
        Kinds of the columns of a frame by name, where they should not be inferred: "real",
        "integer", "category", "ordered", "boolean", "datetime", "duration" or "constant".
    missing : {"model", "marginalise"}, default="model"
        Whether gaps of mixed columns are outcomes, so that draws have gaps too, or are integrated
        out.
    handle_unknown : {"level", "error"}, default="level"
        Whether categories that `fit` did not see are one more level, or refused.
    dynamic_binarization : bool, default=False
        Whether values in [0, 1] are probabilities of a 1, from which each training batch draws new
        rows of 0 and 1. Queries take rows of 0 and 1.
    prior : {"normal", "mixture", "vamp"} or Option, default="normal"
        p(z): a standard Gaussian, a learned mixture of Gaussians, or a mixture of the posteriors of
        learned pseudo-inputs. `MixturePrior(n_components=50)` and `VampPrior(n_components=50)` set
        the size of the mixture.
    posterior : {"gaussian", "iaf", "spline"} or Option, default="gaussian"
        q(z given x): independent Gaussians, or these transformed by inverse autoregressive flows or
        by splines. `InverseAutoregressiveFlow(n_flows=2)` and `SplineFlow(n_flows=2)` set the
        number of flows.
    elbo : {"mean_field", "trace", "iwae"}, ELBO or pyro.infer.ELBO, default="mean_field"
        The bound that is trained: with the divergence in closed form where there is one, estimated
        from draws alone, or importance weighted over 5 particles. `ELBO(kind="mean_field",
        n_particles=1, kl_warmup=0, free_bits=0.0)` has its settings. An object of Pyro is used as
        it is, without beta; one that branches on values costs a trace of the programs for each
        batch.
    beta : float, default=1.0
        Factor on the divergence, at least 0.
    n_importance_samples : int, default=100
        Draws for each row in `score_samples`, at least 2. More draws tighten the bound.
    max_iter : int, default=None
        Epochs. None takes 60, or with trainer=None and 2,000 to 9,999 rows as many as held-out rows
        choose, at most 60.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 128, a hundredth of the rows.
    learning_rate_init : float, default=2e-3
        Learning rate at the start.
    trainer : Trainer, default=None
        All other settings of the training; None is `Trainer(schedule="cosine")`. With 2,000 to
        9,999 rows, which networks learn by heart, but which can spare some, and max_iter=None it is
        `Trainer(schedule="plateau", early_stopping=True, n_iter_no_change=6)`.
    warm_start : bool, default=False
        Whether a further fit resumes from the last one.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Device of the networks.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit and the stream of later draws.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    encoder_, prior_ : torch.nn.Module
        Modules that return q(z given x) for rows, and p(z), as Pyro distributions.
    decoder_, observation_ : torch.nn.Module
        The decoder, whose `network` is your own if you gave one, and the observation model that
        turns its outputs into p(x given z).
    likelihood_ : str
        The likelihood that was chosen.
    history_ : History
        Per epoch: "loss" and its parts "reconstruction" and "kl", in nats per row; validation
        score, learning rate, seconds.
    n_iter_ : int
        Epochs that were trained.
    device_ : str
        Device of the networks.

    Notes
    -----
    Each feature is centred and divided by its standard deviation for the networks, so that the
    units of X do not matter. Pixels share one unit: with image_shape or architecture="conv", and
    for likelihoods of levels and of values in [0, 1], all are divided by the root of their mean
    variance.

    `score_samples` is the importance weighted bound [3]_ of n_importance_samples draws from the
    encoder, with the same quasi-random noise for every row; `elbo_samples` is the ELBO. Missing
    values (NaN) do not enter the likelihood. The encoder sees the mean of their feature in
    training, and in queries the values that the row's code decodes to.

    Of mixed columns the encoder sees one-hot levels, standardised numbers, and for each number
    whether it is there, which is all zeros for a missing value; the networks have single precision.
    `reconstruct`, `inverse_transform` and `impute` return the likeliest categories and the means of
    numbers. Networks of your own then map as many numbers as `observation_` has of each.

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
    _largest_batch = 128  # with 256 rows the bound needed more epochs
    _options: ClassVar = {
        "likelihood": {
            "auto": partial(AutoLikelihood, n_levels=256, n_mixture=1),
            "bernoulli": Bernoulli,
            "continuous_bernoulli": ContinuousBernoulli,
            "gaussian": Gaussian,
            "laplace": Laplace,
            "gaussian_mixture": partial(GaussianMixtureLikelihood, n_mixture=1),
            "categorical": partial(Categorical, n_levels=256),
            "discretized_logistic": partial(DiscretizedLogistic, n_levels=256, n_mixture=1),
            "mixed": partial(Mixed, n_mixture=1),
        },
        "prior": {"normal": NormalPrior, "mixture": MixturePrior, "vamp": VampPrior},
        "posterior": {
            "gaussian": GaussianPosterior,
            "iaf": InverseAutoregressiveFlow,
            "spline": SplineFlow,
        },
        "elbo": {
            "mean_field": ELBO,
            "trace": partial(ELBO, "trace"),
            "iwae": partial(ELBO, "iwae", n_particles=5),
        },
    }
    encoder_: CodePosterior
    prior_: torch.nn.Module

    def __init__(
        self,
        n_components: int = 16,
        *,
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
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.architecture = architecture
        self.image_shape = image_shape
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.categorical_features = categorical_features
        self.kinds = kinds
        self.missing = missing
        self.handle_unknown = handle_unknown
        self.dynamic_binarization = dynamic_binarization
        self.prior = prior
        self.posterior = posterior
        self.elbo = elbo
        self.beta = beta
        self.n_importance_samples = n_importance_samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def model(
        self,
        X: torch.Tensor | None = None,
        seen: torch.Tensor | None = None,
        n_rows: int = 1,
    ) -> torch.Tensor:
        """Pyro program of rows: the sites "z", a code from the prior, and "x", a row given it.

        Parameters
        ----------
        X : Tensor of shape (n, n_features), default=None
            Observed rows; None draws them.
        seen : boolean Tensor of shape (n, n_features), default=None
            Mask of the values that are not missing; None stands for all.
        n_rows : int, default=1
            Rows to draw where X is None.

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

    def guide(self, X: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
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

    def sample_mean(self, n_samples: int = 1, *, random_state: Any = None) -> Any:
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
        generator = self._generator_of(random_state)
        codes = self._draw_sites(n_samples, generator)["z"]
        X = self._codes_of_means(self._decode(codes))
        return self._in_container(X.astype(self._dtype, copy=False))

    def transform(self, X: npt.ArrayLike, *, return_std: bool = False) -> Any:
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
        X = self._validate_query(X)
        return tuple(part.astype(X.dtype, copy=False) for part in self._posterior_moments(X))

    def reconstruct(self, X: npt.ArrayLike) -> Any:
        """Return the means of the posterior predictive distribution, given the codes of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; missing values are filled in.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            Decoded means, averaged over draws from the posterior; a frame as in `impute`.
        """
        rows = self._validate_query(X)
        means = self._codes_of_means(self._reconstruct(rows))
        return self._in_container(means.astype(rows.dtype, copy=False), X)

    def score_samples(self, X: npt.ArrayLike, y: Any = None, *, return_std: bool = False) -> Any:
        """Return the importance weighted bound on the log-likelihood of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score; missing values are integrated out.
        y : object, default=None
            Ignored.
        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
        std : ndarray of shape (n,)
            With return_std=True. It is inf where fewer than 5 of the draws are effective: the bound
            may then be nats too low.

        Warns
        -----
        UserWarning
            If that is so for more than one row in ten.
        """
        X = self._validate_query(X)
        return checked_estimates(
            self._bounds(X), X.dtype, return_std=return_std, remedy=self._estimate_remedy
        )

    def elbo_samples(self, X: npt.ArrayLike) -> Bunch:
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
        X = self._validate_query(X)
        reconstruction, divergence = self._elbo_parts(X).astype(X.dtype, copy=False).T
        return Bunch(elbo=reconstruction - divergence, reconstruction=reconstruction, kl=divergence)

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        is_mixed = self._coder is not None
        tags.input_tags.categorical = is_mixed or self._likelihood.measure == "counting"
        return tags

    @property
    def _likelihood(self) -> Likelihood:
        observation = getattr(self, "observation_", None)
        measure = "lebesgue" if observation is None else observation.measure
        return Likelihood("lower_bound", measure)

    @property
    def _n_features_out(self) -> int:
        return self.n_components

    @property
    def _n_labels(self) -> int:
        """Width of the label vectors that the networks take after a row or a code."""
        return 0

    def _n_epochs(self, n_batches: int) -> int:
        if self.max_iter is None:
            return MOST_EPOCHS
        return self.max_iter

    def _default_trainer(self, n_rows: int | None = None) -> Trainer:
        if self.max_iter is None and n_rows is not None and n_rows in FEW_ROWS:
            return Trainer(schedule="plateau", early_stopping=True, n_iter_no_change=6)
        return Trainer(schedule="cosine")

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_components", self.n_components)
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        activation(self.activation)
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_count("n_importance_samples", self.n_importance_samples, low=2)
        check_real("beta", self.beta, low=0.0)
        if isinstance(self.elbo, pyro.infer.ELBO) and self.beta != 1.0:
            raise ValueError(
                f"beta must be 1 with a bound of pyro.infer, which has no such factor; got"
                f" {show(self.beta)}; take elbo='mean_field', or scale the divergence in `model`."
            )
        check_module("encoder", self.encoder)
        check_module("decoder", self.decoder)

    def _accepts(self, name: str, value: Any) -> bool:
        return name == "elbo" and isinstance(value, pyro.infer.ELBO)

    def _build(self, fit: FitContext) -> None:
        rows = fit.rows
        statistics = self._statistics(fit)
        has_images = are_images(self.architecture, self.image_shape)
        self.observation_ = self._make_observation(statistics, shared_unit=has_images)
        self.likelihood_ = self.observation_.name
        self._has_missing = statistics.has_missing
        self._fill = torch.as_tensor(statistics.mean, dtype=rows.dtype)
        if self._coder is not None:
            self._fill = torch.full_like(self._fill, torch.nan)  # which is encoded as zeros

        posterior = self._option("posterior")
        settings: dict[str, Any] = {}
        if posterior.name != "gaussian":
            settings |= {"flow": posterior.name, "n_flows": posterior.n_flows}
        n_outputs = CodePosterior.n_outputs(self.n_components, settings.get("flow"))
        encoder, self.decoder_ = self._make_networks(rows.n_features, n_outputs, rows.dtype)
        if self._coder is not None:
            settings["encoding"] = self.observation_
        elif not statistics.is_binary:
            # The networks see centred and scaled rows, and labels as they are.
            padding = (0, self._n_labels)
            # Levels, and values in [0, 1], have one unit whatever the rows are.
            shared = has_images or self.observation_.has_fixed_unit
            units = torch.as_tensor(statistics.units(shared=shared), dtype=rows.dtype)
            settings["center"] = torch.nn.functional.pad(self._fill, padding)
            settings["scale"] = torch.nn.functional.pad(units, padding, value=1.0)
        self.encoder_ = CodePosterior(encoder, self.n_components, **settings)
        self.prior_ = self._make_prior(rows)
        for name in self._networks:
            getattr(self, name).to(rows.dtype)

    def _begin(self, fit: FitContext) -> None:
        super()._begin(fit)
        self._has_missing = self._has_missing or self._statistics(fit).has_missing

        if not all(_is_ours(program) for program in (self.model, self.guide)):
            self._check_programs(fit)

    def _check_programs(self, fit: FitContext) -> None:
        """Raise unless the programs of a subclass use parameters of the networks alone."""
        networks = [getattr(self, name).eval() for name in self._networks]
        device = next(self.encoder_.parameters()).device
        batch = [part.to(device) for part in next(iter(fit.rows.batches(None, N_TRIAL)))]
        arguments = self._prepare_training(*batch, generator=torch.Generator(device))
        with isolated_pyro_state(str(device)):
            terms = elbo_terms(self.model, self.guide, arguments)
        check_parameters(terms, networks)

    def _make_prior(self, rows: Rows) -> torch.nn.Module:
        prior = self._option("prior")
        if prior.name == "vamp":
            if prior.n_components < least_rows(self.encoder_):
                raise ValueError(
                    "prior must have at least 2 pseudo-inputs, for an encoder that one row alone"
                    f" cannot train, such as one with batch norm; got {show(prior)}."
                )
            return PosteriorMixtureCodes(
                self.encoder_, self._pseudo_inputs(rows, prior.n_components)
            )
        if prior.name == "mixture":
            return GaussianMixtureCodes(self.n_components, prior.n_components)
        return StandardNormalCodes(self.n_components)

    def _architecture(self, n_features: int) -> Architecture:
        """The Architecture of networks for rows of n_features."""
        shape = None
        if are_images(self.architecture, self.image_shape):
            shape = check_image_shape(self.image_shape, n_features)
        return Architecture(
            self.architecture, tuple(self.hidden_layer_sizes), self.activation, shape
        )

    def _make_networks(self, d: int, n_outputs: int, dtype: torch.dtype) -> tuple[Any, Any]:
        """Encoder from rows of d features to n_outputs numbers, and decoder from codes to rows."""
        n_decoded = self.observation_.n_outputs_per_feature
        n_inputs = self.n_components + self._n_labels
        architecture = self._architecture(d)
        if self._coder is not None:
            # The decoder has all outputs of the observation model, as if each were a feature.
            d, d_decoded, n_decoded = self._coder.n_inputs, self.observation_.n_outputs, 1
        else:
            d_decoded = d
        if self.encoder is None:
            encoder = self._make_encoder(architecture, d, n_outputs)
        else:
            encoder = own_network(
                self.encoder, d + self._n_labels, n_outputs, "encoder", dtype=dtype
            )
        if self.decoder is None:
            decoder = architecture.decoder(n_inputs, d_decoded, n_decoded)
        else:
            decoder = RowNetwork(
                own_network(self.decoder, n_inputs, d_decoded * n_decoded, "decoder", dtype=dtype)
            )
        return encoder, decoder

    def _check_mixed(self, X: np.ndarray) -> None:
        super()._check_mixed(X)
        if are_images(self.architecture, self.image_shape):
            raise ValueError(
                "architecture='conv' and image_shape are for images, but X has columns that are"
                " categories; leave them out."
            )

    def _make_encoder(self, architecture: Architecture, d: int, n_outputs: int) -> Any:
        """Encoder of the architecture, from rows of d features and their labels."""
        return architecture.encoder(d, n_outputs)

    def _pseudo_inputs(self, rows: Rows, n_rows: int) -> torch.Tensor:
        """Noisy rows (n_rows, d) to start pseudo-inputs from, repeated where there are fewer."""
        block, *_ = next(iter(rows.batches(np.random.default_rng(0), min(n_rows, rows.n_rows))))
        block = torch.where(block.isnan(), self._fill.to(block.device), block).cpu()
        if self._coder is not None:
            return block[torch.arange(n_rows) % len(block)]
        noise = torch.randn(n_rows, block.shape[1], dtype=block.dtype)
        if self.encoder_.is_scaled:
            noise = noise * self.encoder_.scale[: block.shape[1]]
        return block[torch.arange(n_rows) % len(block)] + 0.01 * noise

    def _make_objective(
        self, fit: FitContext, kind: Callable[..., Objective] = ProgramObjective, **settings: Any
    ) -> Objective:
        prepare = None
        if self.dynamic_binarization or self._has_missing or self._n_labels:
            prepare = self._prepare_training
        return kind(
            self.model,
            self.guide,
            [getattr(self, name) for name in self._networks],
            elbo=self._option("elbo"),
            beta=self.beta,
            prepare=prepare,
            **settings,
        )

    def _prepare_training(
        self, X: torch.Tensor, *labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, ...]:
        """Arguments of the programs for a training batch."""
        if self.dynamic_binarization:
            drawn = self._draw_bits(X, generator)
            X = torch.where(X.isnan(), X, drawn) if self._has_missing else drawn
        if not self._has_missing:
            return (X, *labels)
        return self._with_mask(X, *labels)

    def _with_mask(self, X: torch.Tensor, *labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows filled with the means of the features, labels, and the mask of observed values."""
        missing = X.isnan()
        return torch.where(missing, self._fill.to(X.device), X), *labels, ~missing

    def _arguments(self, X: torch.Tensor, *labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Arguments of the programs for rows of a query.

        Missing values are filled in by what the codes of their rows decode to.
        """
        if not bool(X.isnan().any()):
            return (X, *labels)
        rows, *others = self._with_mask(X, *labels)
        seen = others[-1]
        if self._coder is not None and self._has_missing:
            return rows, *others  # of which the encoder has learned
        with isolated_pyro_state(self.device_):
            for _ in range(FILLING_ROUNDS):
                trace = poutine.trace(self.guide).get_trace(rows, *others)
                code: Any = trace.nodes["z"]["fn"]
                while isinstance(code, torch.distributions.TransformedDistribution):
                    code = code.base_dist  # flows have no mean, but the Gaussian below has
                decoded = self.decoder_(concat_labels(code.mean, *labels))
                rows = torch.where(seen, rows, self.observation_.mean(decoded))
        return rows, *others

    def _common_noise(self, n_samples: int) -> torch.Tensor:
        """Quasi-random normal numbers (n_samples, n_components), always the same."""
        return self._to_network_tensor(normal_noise(self.n_components, n_samples))

    def _draw_posterior(self, X: torch.Tensor, noise: torch.Tensor, *labels: torch.Tensor) -> Any:
        """Codes (n_draws, n, k) of rows (n, d) from common noise (n_draws, k)."""
        arguments = self._arguments(X, *labels)
        with (
            isolated_pyro_state(self.device_),
            CommonNoise(noise),
            pyro.plate("particles", len(noise), dim=-2),
        ):
            return poutine.trace(self.guide).get_trace(*arguments).nodes["z"]["value"]

    def _reconstruct(self, X: np.ndarray, *labels: torch.Tensor) -> np.ndarray:
        """Means (n, d) of the posterior predictive distribution of validated rows."""
        noise = self._common_noise(N_POSTERIOR_DRAWS)

        def reconstruct(block: torch.Tensor) -> torch.Tensor:
            draws = self._draw_posterior(block, noise, *labels)
            means = self._decoded_mean(draws.flatten(0, 1), *labels)
            return means.unflatten(0, draws.shape[:2]).mean(0)

        X = self._encoded(X)
        return self._in_blocks(X, reconstruct, n_copies=N_POSTERIOR_DRAWS)

    def _posterior_moments(self, X: np.ndarray, *labels: torch.Tensor) -> Sequence[np.ndarray]:
        """Means and standard deviations, both (n, k), of the codes of validated rows."""
        noise = self._common_noise(N_POSTERIOR_DRAWS)

        def moments(block: torch.Tensor) -> torch.Tensor:
            arguments = self._arguments(block, *labels)
            with isolated_pyro_state(self.device_):
                posterior = poutine.trace(self.guide).get_trace(*arguments).nodes["z"]["fn"]
            if isinstance(posterior, torch.distributions.Independent):
                return torch.cat([posterior.mean, posterior.stddev], dim=1)
            draws = self._draw_posterior(block, noise, *labels)
            return torch.cat([draws.mean(0), draws.std(0)], dim=1)

        return np.split(self._in_blocks(self._encoded(X), moments), 2, axis=1)

    def _transform(self, X: np.ndarray) -> np.ndarray:
        return self._posterior_moments(X)[0]

    def _decoded_mean(self, codes: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Means of the features that codes decode to, or the moments of mixed columns."""
        decoded = self.decoder_(concat_labels(codes, *labels))
        if self._coder is not None:
            return self.observation_.distribution(decoded).moments
        return self.observation_.mean(decoded)

    def _decode(self, Z: np.ndarray, *labels: torch.Tensor) -> np.ndarray:
        return self._in_blocks(Z, lambda codes: self._decoded_mean(codes, *labels))

    def _inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        return self._codes_of_means(self._decode(Z))

    def _draw_sites(
        self, n_samples: int, generator: np.random.Generator, **known: torch.Tensor
    ) -> dict[str, np.ndarray]:
        """Arrays (n_samples, ...) of all sites of the model, by name.

        `known` holds tensors (n_samples, ...) that the model takes as arguments.
        """
        batches = []
        with (
            torch.inference_mode(),
            isolated_pyro_state(self.device_, int(generator.integers(2**62))),
        ):
            for start in range(0, n_samples, SAMPLING_BATCH):
                stop = min(start + SAMPLING_BATCH, n_samples)
                arguments = {name: value[start:stop] for name, value in known.items()}
                trace = poutine.trace(self.model).get_trace(n_rows=stop - start, **arguments)
                batch = {}
                for name in trace.stochastic_nodes:
                    batch[name] = torch.as_tensor(trace.nodes[name]["value"]).cpu().numpy()
                batches.append(batch)
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        return self._decoded(self._draw_sites(n_samples, generator)["x"], generator)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return self._bounds(X)[0]

    def _importance_terms(self, X: torch.Tensor, *labels: torch.Tensor) -> ElboTerms:
        """ElboTerms (n_samples, n) of rows under common noise, in double precision."""
        noise = self._common_noise(self.n_importance_samples)
        # So many draws at a time that their decoded rows fit into WORK_BYTES.
        n_draws = max(1, WORK_BYTES // (X.element_size() * self._largest_width * len(X)))
        arguments = self._arguments(X, *labels)
        with isolated_pyro_state(self.device_):
            parts = [
                log_weights(self.model, self.guide, arguments, part)
                for part in noise.split(n_draws)
            ]
        return ElboTerms(
            log_likelihood=_concat_draws([part.log_likelihood for part in parts]),
            log_prior=_concat_draws([part.log_prior for part in parts]),
            log_posterior=_concat_draws([part.log_posterior for part in parts]),
            divergences={},
        )

    def _latent_model(self, X: np.ndarray, y: Any = None) -> LatentModel:
        """The joint density of validated rows and their codes, a LatentModel."""
        with torch.no_grad():
            arguments = self._latent_arguments(self._to_network_tensor(self._encoded(X)), y)
        return latent_model(self.model, arguments, self.n_components, self.device_)

    def _latent_arguments(self, X: torch.Tensor, y: Any) -> tuple[torch.Tensor, ...]:
        """Arguments of the model for rows: tensors whose first dimension runs over the rows."""
        return self._arguments(X)

    def _bounds(self, X: np.ndarray, *labels: torch.Tensor) -> np.ndarray:
        """Bounds and standard errors, both (n,), of validated rows."""

        def bound(block: torch.Tensor) -> torch.Tensor:
            weights = self._importance_terms(block, *labels).log_weights
            return torch.stack(log_mean_exp(weights), dim=1)

        rows = self._encoded(X)
        bounds, errors = self._in_blocks(rows, bound, n_copies=self.n_importance_samples).T
        return np.stack([bounds + self._log_fixed(X), errors])

    def _elbo_parts(self, X: np.ndarray, *labels: torch.Tensor) -> np.ndarray:
        """Reconstruction and divergence (n, 2) of validated rows."""

        def parts(block: torch.Tensor) -> torch.Tensor:
            terms = self._importance_terms(block, *labels)
            divergence = terms.log_posterior - terms.log_prior
            return torch.stack([terms.log_likelihood.mean(0), divergence.mean(0)], dim=1)

        both = self._in_blocks(self._encoded(X), parts, n_copies=self.n_importance_samples)
        both[:, 0] += self._log_fixed(X)
        return both


def _is_ours(program: Any) -> bool:
    """Whether a method is one of this package, and not of a subclass elsewhere."""
    return getattr(program, "__module__", "").startswith("probgen.")


def _concat_draws(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Log-probabilities (n_draws, n) of several sets of draws, as one tensor."""
    return torch.cat([torch.atleast_2d(part).double() for part in parts])
