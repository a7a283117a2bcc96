"""Autoencoders: plain, denoising, sparse, contractive, tied or convolutional, in one class."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted

from probgen._validation import (
    check_choice,
    check_count,
    check_hidden_layer_sizes,
    check_image_shape,
    check_real,
)
from probgen.base import DecoderMixin, Likelihood
from probgen.distributions.observation import (
    BernoulliObservation,
    ObservationModel,
    bernoulli_log_prob,
    gaussian_log_prob,
)
from probgen.estimators._code_density import (
    FittedCodeDensity,
    default_density,
    gaussians_of,
    latest_rows,
)
from probgen.estimators._reconstruction import ReconstructionObjective, row_loss
from probgen.estimators.gaussian_mixture import GaussianMixture
from probgen.marginal_likelihood.importance import log_likelihood
from probgen.marginal_likelihood.modes import CodePrior, Observation
from probgen.networks import TiedMLP, activation, check_module, own_network
from probgen.networks.architectures import ARCHITECTURES, Architecture, are_images
from probgen.options import (
    L1,
    Contractive,
    GaussianCorruption,
    KLSparsity,
    MaskingCorruption,
    Option,
    SaltAndPepperCorruption,
)
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective
from probgen.training.rows import Rows, open_rows
from probgen.training.statistics import RowStatistics
from probgen.training.trainer import Trainer

SMALL_OPERATIONS = 10  # share of large products in estimates of log p(x), inverted
LOSSES = ("squared_error", "absolute_error", "bernoulli")
OBSERVATIONS = ("auto", "gaussian", "bernoulli")
READ_ROWS = 8192  # rows of a block that is read
CODED_BLOCK = 1024  # rows of a block that is encoded
CODED_ROWS = 50_000  # rows whose codes the latent density is fitted to, at most
KEPT_ROWS = 2048  # latest rows of partial_fit, which gets few at a time
LEAST_HELD_OUT = 10  # rows on which a noise can be fitted
NOISE_FLOOR = 1e-6  # share of the overall variance: exactly decoded columns need a density too
SHRINKAGES = (0.0, *np.logspace(-5.0, 0.0, 11))  # candidate weights of the mean noise variance


class Autoencoder(DecoderMixin, FittedCodeDensity):
    """Autoencoder, with a density on its codes.

    An encoder f maps a row x to a code z = f(x) of n_components numbers, a decoder g maps it back,
    and both are trained to make g(f(x)) similar to x. After that, `latent_density` is fitted to the
    codes and a noise to the residuals of held-out rows, which makes a generator: z is drawn from
    the density, and x is g(z) plus noise. The variants are parameters, so that one grid search
    covers all: a denoising autoencoder (`corruption`), which has to restore rows from damaged
    copies [1]_; a sparse one (`penalty="kl_sparsity"` or "l1") [2]_; a contractive one [3]_; one
    with tied weights.

    Each column is centred and divided by its standard deviation inside, so that the units of X do
    not matter. Pixels of images, and values of loss="bernoulli", share one scale; rows are images
    where `image_shape` is given or architecture="conv".

    Parameters
    ----------
    n_components : int, default=16
        Length of a code, at least 1.
    hidden_layer_sizes : sequence of int, default=(256,)
        Widths of the encoder's hidden layers, in the decoder reversed; () is a linear autoencoder.
        With architecture="conv" the channels of its layers, each of which halves the height and the
        width.
    activation : str, default="relu"
        Of the hidden layers: "relu", "tanh", "logistic", "identity", "leaky_relu", "elu", "selu",
        "gelu", "silu" or "softplus", or a class of torch.nn.
    architecture : {"dense", "conv"}, default="dense"
        Dense or convolutional networks.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last. It
        says that rows are images, with pixels of one unit. For convolutions None reads a perfect
        square of features as a grey image.
    encoder, decoder : torch.nn.Module, default=None
        Networks of your own instead, from (n, n_features) to (n, n_components) and back, on scaled
        rows. They are templates: each fit trains a copy, and the two copies share no weights.
        hidden_layer_sizes and activation are those of the network that is not given.
        Networks that one row alone cannot train, such as those with batch norm, skip a last batch
        of one row.
    tied_weights : bool, default=False
        Whether the decoder's weights are those of the encoder transposed; for "dense".
    loss : {"squared_error", "absolute_error", "bernoulli"}, default="squared_error"
        "absolute_error" gives sharper pictures; "bernoulli", the cross-entropy, is for values in
        [0, 1].
    observation : {"auto", "gaussian", "bernoulli"}, default="auto"
        Model of a row given its code, in scores and draws: Gaussian noise, or with loss="bernoulli"
        bits. "auto" takes "bernoulli" with loss="bernoulli" for rows of 0 and 1, else "gaussian";
        choose one in a search, as a density and a probability do not compare.
    corruption : str, Option or None, default=None
        Damage to the encoder's inputs in training: "gaussian" noise in standard deviations of each
        column, "masking" of features with their means, or "salt_and_pepper", which sets features to
        the smallest or largest value of their column. For images and loss="bernoulli", noise is in
        units of X, masked values are 0, and the extremes are those of all X. An object
        of `probgen.options` sets how much: `GaussianCorruption(scale)`,
        `MaskingCorruption(fraction)`, `SaltAndPepperCorruption(fraction)`.
    penalty : str, Option or None, default=None
        Added to the loss: "kl_sparsity", the divergence of the mean activity of each unit of a
        logistic code from a target; "l1", the mean absolute value of the code; "contractive", the
        squared Frobenius norm of the encoder's Jacobian, estimated along one random direction per
        row. `KLSparsity(weight, target)`, `L1(weight)` and `Contractive(weight)` change settings.
    latent_density : generator, default=None
        Density of the codes, cloned; None is a GaussianMixture of at most 10 components.
    noise_fraction : float, default=0.1
        Share of the rows that is held out of the training to fit the noise on, in [0, 1); with
        early_stopping, the rows held out for that. With 0, or fewer than 100 rows, the noise is
        fitted on the training rows and comes out too small.
    n_importance_samples : int, default=128
        Draws for each row in `score_samples`, at least 4: more tighten the estimate.
    max_iter : int, default=50
        Epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 256, a hundredth of the rows.
    learning_rate_init : float, default=1e-3
        Learning rate at the start.
    trainer : Trainer, default=None
        All other settings of the training; None is `Trainer()`.
    warm_start : bool, default=False
        Whether a further fit resumes from the last one.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Where to compute.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit and the stream of later draws.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        The trained networks, on scaled rows.
    latent_density_ : estimator object
        The fitted density of codes.
    noise_variance_ : ndarray of shape (n_features,)
        Of the Gaussian observation model, in squared units of X, shrunk towards their mean as far
        as held-out rows support it; None for a Bernoulli model.
    observation_ : {"gaussian", "bernoulli"}
        The observation model that was chosen.
    history_ : History
        Per epoch: "loss" and its parts, validation score, learning rate, seconds.
    n_iter_ : int
        Number of epochs trained.
    device_ : str
        Where the networks are.

    Notes
    -----
    `score_samples` estimates log p(x), p(x) = integral of p(x given z) p(z) dz, by importance
    sampling with the same quasi-random numbers for every row. Draws of z come from a mixture of
    Student's t distributions about the posterior modes, one for each component of `latent_density_`
    that matters for the row; another density is first approximated by a mixture. On average the
    estimate lies a little below; `return_std=True` returns its standard error, inf where too few
    draws are effective to know it. For loss="absolute_error", and for "bernoulli" on grey values,
    the observation model is Gaussian too. `partial_fit` keeps the centre and the scale of its first
    rows, and fits the density of codes and the noise to the last 2048 rows.

    References
    ----------
    .. [1] P. Vincent et al., Extracting and composing robust features with denoising autoencoders,
       2008.
    .. [2] A. Ng, Sparse autoencoder, CS294A lecture notes, 2011.
    .. [3] S. Rifai et al., Contractive auto-encoders: explicit invariance during feature
       extraction, 2011.

    Examples
    --------
    >>> from probgen import Autoencoder
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> model = Autoencoder(n_components=8, max_iter=5, random_state=0).fit(X)
    >>> model.transform(X).shape, model.reconstruct(X).shape, model.sample(3).shape
    ((1797, 8), (1797, 64), (3, 64))
    """

    _networks = ("encoder_", "decoder_")
    _kept: np.ndarray
    _scale: np.ndarray | float  # a number where all columns share one unit
    _range: tuple[Any, Any]
    # Weights, means and covariances of a mixture that is near latent_density_, if that is none.
    _code_gaussians: tuple[np.ndarray, ...] | None = None
    _options: ClassVar = {
        "corruption": {
            "gaussian": GaussianCorruption,
            "masking": MaskingCorruption,
            "salt_and_pepper": SaltAndPepperCorruption,
            None: lambda: None,
        },
        "penalty": {
            "kl_sparsity": KLSparsity,
            "l1": L1,
            "contractive": Contractive,
            None: lambda: None,
        },
    }

    def __init__(
        self,
        n_components: int = 16,
        *,
        hidden_layer_sizes: Sequence[int] = (256,),
        activation: Any = "relu",
        architecture: str = "dense",
        image_shape: tuple[int, ...] | None = None,
        encoder: torch.nn.Module | None = None,
        decoder: torch.nn.Module | None = None,
        tied_weights: bool = False,
        loss: str = "squared_error",
        observation: str = "auto",
        corruption: str | Option | None = None,
        penalty: str | Option | None = None,
        latent_density: Any = None,
        noise_fraction: float = 0.1,
        n_importance_samples: int = 128,
        max_iter: int = 50,
        batch_size: int | str = "auto",
        learning_rate_init: float = 1e-3,
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
        self.tied_weights = tied_weights
        self.loss = loss
        self.observation = observation
        self.corruption = corruption
        self.penalty = penalty
        self.latent_density = latent_density
        self.noise_fraction = noise_fraction
        self.n_importance_samples = n_importance_samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def sample_mean(self, n_samples: int = 1, *, random_state: Any = None) -> Any:
        """Draw codes and return the decoded rows without the noise of the observation model.

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
        means = self._inverse_transform(self._draw_codes(n_samples, generator))
        return self._in_container(means.astype(self._dtype, copy=False))

    def reconstruct(self, X: npt.ArrayLike) -> Any:
        """Return the rows of X encoded and decoded, of shape (n, n_features)."""
        rows = self._validate_query(X)
        return self._in_container(self._reconstruct(rows).astype(rows.dtype, copy=False), X)

    def reconstruction_error(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the reconstruction loss of each row, averaged over the features.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; anomalies tend to have high errors.

        Returns
        -------
        error : ndarray of shape (n,)
            For "squared_error" in squared standard deviations of the columns, for "absolute_error"
            in standard deviations; for images in squared units of X and in units of X. In nats for
            "bernoulli".
        """
        X = self._validate_query(X)
        if self.loss == "bernoulli":
            _Probabilities().check_rows(X)

        def error(block: torch.Tensor) -> torch.Tensor:
            outputs = self._decoder_outputs(self._encode(block))
            if self._has_one_scale:
                return row_loss(self.loss, block, outputs)
            scale = self._to_network_tensor(self._scale)
            return row_loss(self.loss, block / scale, outputs / scale)

        return self._in_blocks(X, error).astype(X.dtype, copy=False)

    @property
    def _likelihood(self) -> Likelihood:
        chosen = self.observation
        if chosen == "auto":
            chosen = self.loss
        is_discrete = getattr(self, "observation_", chosen) == "bernoulli"
        return Likelihood("estimate", "counting" if is_discrete else "lebesgue")

    @property
    def _n_features_out(self) -> int:
        return self.n_components

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_components", self.n_components)
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        activation(self.activation)
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_choice("loss", self.loss, LOSSES)
        check_choice("observation", self.observation, OBSERVATIONS)
        if self.observation == "bernoulli" and self.loss != "bernoulli":
            raise ValueError(
                "observation='bernoulli' needs a decoder of probabilities, loss='bernoulli'; got"
                f" loss={self.loss!r}; take that, or observation='gaussian'."
            )
        check_real("noise_fraction", self.noise_fraction, low=0.0, high=0.99)
        check_count("n_importance_samples", self.n_importance_samples, low=4)
        check_module("encoder", self.encoder)
        check_module("decoder", self.decoder)
        has_own_network = self.encoder is not None or self.decoder is not None
        if self.tied_weights and (self.architecture != "dense" or has_own_network):
            raise ValueError(
                "tied_weights=True needs architecture='dense' and no networks of your own; leave it"
                " out."
            )

    def _hold_out(
        self, rows: Rows, trainer: Trainer, rng: np.random.Generator
    ) -> tuple[Rows, Rows | None]:
        if trainer.early_stopping:
            return rows.split(trainer.validation_fraction, rng)
        if round(self.noise_fraction * rows.n_rows) < LEAST_HELD_OUT:
            return rows, None
        return rows.split(self.noise_fraction, rng)

    def _build(self, fit: FitContext) -> None:
        self._take_statistics(fit.statistics)
        if self.loss == "bernoulli":
            self.observation_ = self._chosen_observation(fit.all_statistics)
        d, k, dtype = fit.rows.n_features, self.n_components, fit.rows.dtype
        has_own_networks = self.encoder is not None and self.decoder is not None
        image_shape = None
        if self.image_shape is not None or (self.architecture == "conv" and not has_own_networks):
            image_shape = check_image_shape(self.image_shape, d)
        architecture = Architecture(
            self.architecture, tuple(self.hidden_layer_sizes), self.activation, image_shape
        )
        if self.encoder is not None:
            encoder = own_network(self.encoder, d, k, "encoder", dtype=dtype)
        else:
            encoder = architecture.encoder(d, k)
        if self.decoder is not None:
            decoder = own_network(self.decoder, k, d, "decoder", dtype=dtype)
        elif self.tied_weights:
            decoder = TiedMLP(encoder, self.activation)
        else:
            decoder = architecture.decoder(k, d)
        if isinstance(self._option("penalty"), KLSparsity):
            # The activities of sparse units are probabilities.
            encoder = torch.nn.Sequential(encoder, torch.nn.Sigmoid())
        self.encoder_ = encoder.to(dtype)
        self.decoder_ = decoder.to(dtype)

    def _take_statistics(self, statistics: RowStatistics) -> None:
        """Set centre, scale and range of the columns, or of all where they share one unit."""
        self._mean = statistics.mean
        self._scale = statistics.deviation
        self._range = (statistics.feature_low, statistics.feature_high)
        if self.loss == "bernoulli" or are_images(self.architecture, self.image_shape):
            self._scale = statistics.scale
            self._range = (statistics.low, statistics.high)
        self.observation_ = self._chosen_observation(statistics)

    def _chosen_observation(self, statistics: RowStatistics) -> str:
        """The observation model for rows of these statistics, without "auto"."""
        if self.observation != "auto":
            return self.observation
        if self.loss == "bernoulli" and statistics.is_binary:
            return "bernoulli"
        return "gaussian"

    def _choices_for(self, X: np.ndarray) -> dict[str, Any]:
        self._check_parameters()
        statistics = self._statistics_of(X)
        observation = self._chosen_observation(statistics)
        self._check_range(observation, statistics)
        return {"observation": observation}

    def _begin(self, fit: FitContext) -> None:
        self._check_range(self.observation_, fit.all_statistics)

    def _check_range(self, observation: str, statistics: RowStatistics) -> None:
        """Raise if the loss or the observation model does not allow rows of these statistics."""
        supports: list[ObservationModel] = []
        if self.loss == "bernoulli":
            supports.append(_Probabilities())
        if observation == "bernoulli":
            supports.append(_Bits())
        for support in supports:
            support.check(statistics.low, statistics.high, statistics.is_integer)

    def _check_support(self, X: np.ndarray) -> None:
        if self.observation_ == "bernoulli":
            _Bits().check_rows(X)

    def _make_objective(self, fit: FitContext) -> Objective:
        return ReconstructionObjective(
            self.encoder_,
            self.decoder_,
            center=self._to_network_tensor(self._mean),
            scale=self._to_network_tensor(self._scale),
            loss=self.loss,
            corruption=self._option("corruption"),
            extremes=self._range,
            penalty=self._option("penalty"),
        )

    def _finish(self, fit: FitContext, generator: np.random.Generator) -> None:
        """Fit the density of the codes and the noise, of the latest rows after partial_fit."""
        rows = fit.rows
        if fit.is_partial:
            blocks = [block.cpu().numpy() for block, *_ in rows.batches(None, READ_ROWS)]
            kept = getattr(self, "_kept", None)
            self._kept = latest_rows(kept, np.concatenate(blocks), KEPT_ROWS)
            rows = open_rows(self._kept, device=self.device_, dtype=rows.dtype)
        codes = self._codes_of(rows)
        self._fit_code_density(codes, generator)
        self._code_mean = codes.mean(axis=0)
        self._code_precision = _precision(codes)
        self._code_gaussians = None
        if not isinstance(self.latent_density_, GaussianMixture):
            draws = self._draw_codes(len(codes), generator)
            mixture = default_density(draws).set_params(random_state=0).fit(draws)
            self._code_gaussians = gaussians_of(mixture)
        self.noise_variance_ = None
        if self.observation_ == "gaussian":
            noise_rows = rows if fit.held_out is None else fit.held_out
            self.noise_variance_ = self._residual_variance(noise_rows)

    @property
    def _code_moments(self) -> tuple[np.ndarray, np.ndarray]:
        return self._code_mean, 1.0 / np.sqrt(np.diag(self._code_precision))

    @property
    def _has_one_scale(self) -> bool:
        """Whether all columns share one unit."""
        return np.ndim(self._scale) == 0

    def _codes_of(self, rows: Rows) -> np.ndarray:
        """Codes (n, k) in double precision, of evenly spaced batches where there are many rows."""
        every = -(-rows.n_rows // CODED_ROWS)
        codes = []
        with torch.inference_mode():
            for index, (block, *_) in enumerate(rows.batches(None, CODED_BLOCK)):
                if index % every == 0:
                    codes.append(self._encode(block).double().cpu().numpy())
        return np.concatenate(codes)

    def _residual_variance(self, rows: Rows) -> np.ndarray:
        """Mean squared residuals (n_features,) of reconstructions, shrunk to their mean.

        The mean is over columns in units of their scales.
        """
        scale = np.asarray(self._scale, dtype=np.float64)
        squares = np.zeros((2, rows.n_features))  # sums over even and over odd rows
        with torch.inference_mode():
            for block, *_ in rows.batches(None, CODED_BLOCK):
                means = self._mean_of(self._decoder_outputs(self._encode(block)))
                residuals = np.square((block - means).double().cpu().numpy() / scale)
                squares[0] += residuals[0::2].sum(axis=0)
                squares[1] += residuals[1::2].sum(axis=0)
        return _shrink(squares, rows.n_rows, NOISE_FLOOR) * scale**2

    def _encode(self, X: torch.Tensor) -> torch.Tensor:
        """Codes (n, k) of rows (n, d), both tensors."""
        offsets = X - self._to_network_tensor(self._mean)
        return self.encoder_(offsets / self._to_network_tensor(self._scale))

    def _decoder_outputs(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs (n, d) of the decoder for codes (n, k): logits, or means in units of X."""
        outputs = self.decoder_(codes)
        if self.loss == "bernoulli":
            return outputs
        scale = self._to_network_tensor(self._scale)
        return outputs * scale + self._to_network_tensor(self._mean)

    def _mean_of(self, outputs: torch.Tensor) -> torch.Tensor:
        """Means of rows from outputs of the decoder."""
        if self.loss == "bernoulli":
            return torch.sigmoid(outputs)
        return outputs

    def _transform(self, X: np.ndarray) -> np.ndarray:
        return self._in_blocks(X, self._encode)

    def _inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        return self._in_blocks(Z, lambda codes: self._mean_of(self._decoder_outputs(codes)))

    def _reconstruct(self, X: np.ndarray) -> np.ndarray:
        return self._inverse_transform(self._transform(X))

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        means = self._inverse_transform(self._draw_codes(n_samples, generator))
        if self.observation_ == "bernoulli":
            return generator.random(means.shape) < means
        deviations = np.sqrt(np.asarray(self.noise_variance_))
        return means + deviations * generator.standard_normal(means.shape)

    def _estimate(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        prior = self._code_prior()
        observation = Observation(
            self._decoder_outputs, self._observation_log_prob(), self._observation_curvature()
        )

        def estimate(block: torch.Tensor) -> torch.Tensor:
            codes = self._encode(block)
            # The search for modes is many small operations, which threads only hold up.
            with self._threads_for(len(block) * self.n_importance_samples // SMALL_OPERATIONS):
                estimates = log_likelihood(
                    block, codes, observation, prior, n_samples=self.n_importance_samples
                )
            return torch.stack(estimates, dim=1)

        values, errors = self._in_blocks(X, estimate, n_copies=self.n_importance_samples).T
        return values, errors

    def _code_prior(self) -> CodePrior:
        """The density of the codes, and Gaussians that are near it."""
        density = self.latent_density_
        if self._code_gaussians is not None:
            gaussians = self._code_gaussians
        elif isinstance(density, GaussianMixture):
            gaussians = gaussians_of(density)
        else:  # of an older version
            covariance = np.linalg.inv(self._code_precision)
            gaussians = np.ones(1), self._code_mean[np.newaxis], covariance[np.newaxis]
        return CodePrior(density.score_samples, density.sample, *gaussians)

    def _observation_log_prob(self) -> Callable:
        """log p(x given z) as a function of rows and outputs of the decoder, both (..., d)."""
        if self.observation_ == "bernoulli":
            return bernoulli_log_prob
        variance = self._to_network_tensor(self.noise_variance_)
        return lambda rows, outputs: gaussian_log_prob(rows, self._mean_of(outputs), variance)

    def _observation_curvature(self) -> Callable:
        """Gradient and expected curvature of that function by the outputs, for the proposals."""
        if self.observation_ == "bernoulli":
            return _bernoulli_curvature
        variance = self._to_network_tensor(self.noise_variance_)

        def gaussian_curvature(
            rows: torch.Tensor, outputs: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            means = self._mean_of(outputs)
            slope = torch.ones_like(means)
            if self.loss == "bernoulli":
                slope = means * (1.0 - means)  # derivative of the logistic function
            return (rows - means) / variance * slope, slope.square() / variance

        return gaussian_curvature

    def _decode_chains(self, codes: torch.Tensor) -> torch.Tensor:
        return self._decoder_outputs(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])


class _Bits(BernoulliObservation):
    """The support of observation="bernoulli"."""

    parameter = "observation"

    @property
    def _support(self) -> str:
        return "rows of 0 and 1"

    def _remedy(self, low: float, high: float, is_integer: bool) -> str:
        if low >= 0.0 and high <= 1.0:
            return "take X > 0.5, or observation='gaussian'"
        return "take loss='squared_error', which takes all values"


class _Probabilities(BernoulliObservation):
    """Values of which loss="bernoulli" is a cross-entropy."""

    parameter = "loss"
    measure = "lebesgue"

    def _supports(self, low: float, high: float, is_integer: bool) -> bool:
        return low >= 0.0 and high <= 1.0

    @property
    def _support(self) -> str:
        return "values in [0, 1]"

    def _remedy(self, low: float, high: float, is_integer: bool) -> str:
        return "scale it, or take 'squared_error'"


def _precision(codes: np.ndarray) -> np.ndarray:
    """Inverse covariance (k, k) of codes (n, k), with a ridge for codes that do not vary."""
    k = codes.shape[1]
    covariance = np.zeros((k, k))
    if len(codes) > 1:
        covariance = np.cov(codes, rowvar=False).reshape(k, k)
    ridge = 1e-6 * max(np.trace(covariance) / k, 1e-12)
    return np.linalg.inv(covariance + ridge * np.eye(k))


def _shrink(squares: np.ndarray, n_rows: int, floor: float) -> np.ndarray:
    """Noise variances (d,), shrunk to their mean by the weight that predicts best.

    squares (2, d) are sums of squared residuals over two halves of the rows; each half is predicted
    from the other. Without shrinkage, a feature that hardly varies in these rows has a variance
    near 0, and a later row in which it does vary is all but impossible.
    """
    half_sizes = np.array([[n_rows - n_rows // 2], [n_rows // 2]])

    def shrunk(variances: np.ndarray, weight: float) -> np.ndarray:
        means = variances.mean(axis=-1, keepdims=True)
        return (1.0 - weight) * variances + weight * means + floor

    def misfit(weight: float) -> float:
        # Twice the negative Gaussian log-likelihood of each half under the other's variances.
        predicted = shrunk(squares / half_sizes, weight)[::-1]
        return np.sum(half_sizes * np.log(predicted) + squares / predicted)

    weight = 0.0
    if n_rows > 1:
        weight = min(SHRINKAGES, key=misfit)
    return shrunk(squares.sum(axis=0) / n_rows, weight)


def _bernoulli_curvature(
    X: torch.Tensor, logits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the log-probability by the logits, and expected negative second derivative."""
    p = torch.sigmoid(logits)
    return X - p, p * (1.0 - p)
