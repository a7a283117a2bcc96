"""Generative adversarial networks, for tables and for images."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr, ndtri

from probgen._validation import (
    check_choice,
    check_count,
    check_hidden_layer_sizes,
    check_image_shape,
    check_real,
    show,
)
from probgen._warnings import warn
from probgen.base import DecoderMixin
from probgen.estimators._code_density import latest_rows
from probgen.estimators.adversarial.augmentation import AUGMENTATIONS
from probgen.estimators.adversarial.blurred_draws import PRIORS, BlurredDraws
from probgen.estimators.adversarial.networks import (
    ConvDiscriminator,
    ConvGenerator,
    DenseDiscriminator,
    DenseGenerator,
    OwnDiscriminator,
    OwnGenerator,
    n_feature_layers,
    n_halvings,
)
from probgen.estimators.adversarial.objective import (
    AdversarialObjective,
    check_penalty,
    generator_loss,
    refresh_batch_norm,
)
from probgen.metrics import frechet_distance, kernel_mmd
from probgen.networks import check_module, check_network, own_network
from probgen.networks.architectures import ARCHITECTURES, Architecture
from probgen.networks.batch_norm import batch_norms
from probgen.options import (
    R1,
    WGANGP,
    AnnealedImportanceSampling,
    AutoDensity,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Option,
    ParzenWindow,
    Wasserstein,
)
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective
from probgen.training.rows import Rows
from probgen.training.trainer import Trainer

METRICS = {"mmd": kernel_mmd, "frechet": frechet_distance}  # of early stopping
DROPOUT = 0.25  # in a convolutional discriminator
NOISE_ROWS = 500  # rows that the noise of the observation model is fitted to
# Draws from which the statistics of batch norm are taken.
STATISTICS_BATCHES = 20
STATISTICS_ROWS = 256


@dataclass(frozen=True)
class ArchitectureDefaults:
    """Values that None and "auto" stand for with one architecture.

    Attributes
    ----------
    hidden_layer_sizes : tuple of int
    max_iter : int
        Epochs; more where these have fewer than min_batches batches together.
    min_batches : int
    max_batch_size : int
        Rows of a batch of batch_size="auto", at most.
    learning_rate_init : float
    betas : tuple of float
        Of Adam.
    r1_weight : float
    r1_weight_per_feature : float
        The weight of "r1" is r1_weight + r1_weight_per_feature * n_features.
    wgan_gp_weight : float
    """

    hidden_layer_sizes: tuple[int, ...]
    max_iter: int
    min_batches: int
    max_batch_size: int
    learning_rate_init: float
    betas: tuple[float, float]
    r1_weight: float
    r1_weight_per_feature: float
    wgan_gp_weight: float

    def penalty_weight(self, penalty: str, n_features: int) -> float:
        """Return the weight of the penalty "r1" or "wgan_gp" for rows of n_features."""
        if penalty == "wgan_gp":
            return self.wgan_gp_weight
        return self.r1_weight + self.r1_weight_per_feature * n_features


DEFAULTS = {
    "dense": ArchitectureDefaults(
        hidden_layer_sizes=(64, 64, 64),
        max_iter=240,
        min_batches=4000,
        max_batch_size=256,
        learning_rate_init=2e-3,
        betas=(0.0, 0.99),
        # The squared gradient of a score falls like 1 / n_features in dense networks.
        r1_weight=0.0,
        r1_weight_per_feature=0.05,
        wgan_gp_weight=0.1,
    ),
    "conv": ArchitectureDefaults(
        hidden_layer_sizes=(32, 64, 128),
        max_iter=10,
        min_batches=3000,
        # Images improve with the number of updates, and hardly with the rows of each.
        max_batch_size=32,
        learning_rate_init=1e-3,
        betas=(0.5, 0.999),
        r1_weight=0.1,
        r1_weight_per_feature=0.0,
        wgan_gp_weight=10.0,
    ),
}


class GAN(DecoderMixin, BlurredDraws):
    """Generative adversarial network.

    A generator g maps random codes z to rows. A discriminator learns to distinguish rows of the
    data from generated rows, and the generator to deceive it [1]_. Both are updated on every batch.
    By default the gradients of the discriminator at the data are penalised (R1 [2]_), the learning
    rate falls to zero, and the fitted model is an average of the weights over the last batches.
    Together these make the networks converge where plain alternation cycles.

    Parameters
    ----------
    n_components : int, default=8
        Length of a code, at least 1. Shorter codes separate the modes of scattered data more
        sharply.
    hidden_layer_sizes : sequence of int, default=None
        Widths of the hidden layers of both networks. With architecture="conv", the channels of the
        discriminator's layers, each of which halves the height and the width; the generator has
        them in reverse. None takes (64, 64, 64), or with "conv" as many of (32, 64, 128) as the
        image can be halved to no less than 2 pixels.
    architecture : {"dense", "conv"}, default="dense"
        Dense networks, or convolutional ones for images [3]_: transposed convolutions with batch
        norm in the generator; strided convolutions with leaky ReLUs and dropout in the
        discriminator.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last. None
        reads a perfect square of features as a grey image, for convolutions and augmentation.
    generator, discriminator : torch.nn.Module, default=None
        Networks to use in place of those; each may be given alone. They are templates that fit
        copies. The generator maps codes (n, n_components) to scaled rows (n, n_features), the
        discriminator scaled rows to scores (n, 1), log-odds and no probabilities. A generator may
        have batch norm; a discriminator may not, as it scores each row by itself.
    loss : str or Option, default="non_saturating"
        "minimax" or "non_saturating" [1]_, "least_squares", "hinge" or "wasserstein". An object of
        `probgen.options` changes settings: `Minimax(label_smoothing)`,
        `NonSaturating(label_smoothing, balance_ratio)`, `LeastSquares(...)` with the same two.
    penalty : {"r1", "wgan_gp"}, Option or None, default="r1"
        On the gradients of the discriminator: at the data towards 0 [2]_, or between data and draws
        towards norm 1 [4]_, which goes with loss="wasserstein". None has no penalty, and needs
        spectral_norm or noise to be stable. `R1(weight)` and `WGANGP(weight)` change the weight.
    spectral_norm : bool, default=False
        Whether the weights of the discriminator are divided by their largest singular value; not
        for one of your own.
    instance_noise : float, default=0.0
        Standard deviation of Gaussian noise added to all inputs of the discriminator, in units of
        scaled rows, at least 0. It falls to 0 over the epochs.
    augmentation : sequence of str, default=None
        Random changes to the images that the discriminator gets: "brightness", "translation" and
        "cutout" [5]_. For few images.
    prior : {"normal", "uniform"}, default="normal"
        Codes are standard Gaussian, or uniform in [-1, 1].
    truncation : float, default=None
        `sample` draws the numbers of a code from [-truncation, truncation] only: rows are more
        typical and less diverse. At least 0.001. The density is that of all codes.
    n_discriminator_steps : int, default=1
        Updates of the discriminator for each of the generator.
    encoder : bool, default=False
        Whether to train an encoder too, which maps draws back to their codes, and rows to codes
        that the generator maps near them. `transform` then returns codes.
    density : {"auto", "parzen", "ais"} or Option, default="auto"
        The estimate that `score_samples` returns: a Parzen window on draws, which "auto" takes, or
        annealed importance sampling, which is more precise for rows of many features and may cost
        more than the fit. `ParzenWindow(n_draws)`,
        `AnnealedImportanceSampling(n_chains, n_temperatures)` and `AutoDensity(...)` with all three
        change how precise it is. Another density takes another fit, or a call of `partial_fit`.
    validation_metric : {"mmd", "frechet"}, default="mmd"
        Distance of held-out rows from draws that early stopping minimises: `kernel_mmd` or
        `frechet_distance`.
    max_iter : int, default=None
        Epochs. None takes 240, or 10 with architecture="conv"; more where that makes fewer than
        4000 or 3000 batches.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 256, a hundredth of the rows, or 32 with
        architecture="conv".
    learning_rate_init : float, default=None
        Learning rate at the start. None takes 2e-3, or 1e-3 with architecture="conv".
    trainer : Trainer, default=None
        All other settings of the training; None is `Trainer(schedule="cosine", ema_decay=0.999)`.
        Adam's betas are (0, 0.99), or (0.5, 0.999) with architecture="conv".
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
    generator_, discriminator_, encoder_ : torch.nn.Module
        The trained networks, on scaled rows; `encoder_` with encoder=True.
    image_shape_ : tuple of int
        (height, width, channels), where rows are images.
    noise_variance_ : ndarray of shape (n_features,)
        Of the Gaussian observation model of `score_samples`, in squared units of X.
    density_ : {"parzen", "ais"}
        The estimate that was chosen.
    history_ : History
        Per epoch: "discriminator" and "generator", the losses; "real_score" and "fake_score", mean
        scores; "penalty"; "encoder"; validation score, learning rate, seconds. With a
        balance_ratio also the skipped updates, "discriminator_skips" and "generator_skips".
    n_iter_ : int
        Number of epochs trained.
    device_ : str
        Where the networks are.

    Notes
    -----
    Columns are centred and divided by their standard deviations inside; images, which
    architecture="conv", image_shape or augmentation tell, are scaled to [-1, 1] by one range
    overall. `transform` without an encoder returns the last hidden layer of the discriminator. That
    of a discriminator of your own is what the last layer with weights of a torch.nn.Sequential
    gets; of other modules `transform` returns the scores.

    A GAN has no density of its own: its draws lie on a surface. `score_samples` estimates log p(x)
    of draws that are blurred by Gaussian noise, p(x) = E_z N(x; g(z), noise_variance_), with the
    variance under which rows have the highest Parzen density; `sample` adds no such noise. The
    estimate says little about pictures: k-means centres have a better Parzen density than the data
    themselves [6]_. To choose among models, use `kernel_mmd` or `frechet_distance` between held-out
    rows and draws.

    References
    ----------
    .. [1] I. Goodfellow et al., Generative adversarial nets, 2014.
    .. [2] L. Mescheder, A. Geiger, S. Nowozin, Which training methods for GANs do actually
       converge?, 2018.
    .. [3] A. Radford, L. Metz, S. Chintala, Unsupervised representation learning with deep
       convolutional generative adversarial networks, 2016.
    .. [4] I. Gulrajani et al., Improved training of Wasserstein GANs, 2017.
    .. [5] S. Zhao et al., Differentiable augmentation for data-efficient GAN training, 2020.
    .. [6] L. Theis, A. van den Oord, M. Bethge, A note on the evaluation of generative models,
       2016.

    Examples
    --------
    >>> from probgen import GAN
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> model = GAN(max_iter=20, random_state=0).fit(X)
    >>> model.sample(3).shape, model.transform(X).shape
    ((3, 4), (150, 64))

    A generator of your own:

    >>> from torch import nn
    >>> layers = [nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)]
    >>> model = GAN(2, generator=nn.Sequential(*layers), max_iter=20, random_state=0).fit(X)
    >>> model.sample(3).shape
    (3, 4)
    """

    generator_: torch.nn.Module
    discriminator_: Any
    encoder_: torch.nn.Module
    _kept: np.ndarray
    _needs_features = False  # of the discriminator
    _options: ClassVar = {
        "loss": {
            "minimax": Minimax,
            "non_saturating": NonSaturating,
            "least_squares": LeastSquares,
            "hinge": Hinge,
            "wasserstein": Wasserstein,
        },
        "penalty": {"r1": R1, "wgan_gp": WGANGP, None: lambda: None},
        "density": {
            "auto": AutoDensity,
            "ais": AnnealedImportanceSampling,
            "parzen": ParzenWindow,
        },
    }

    def __init__(
        self,
        n_components: int = 8,
        *,
        hidden_layer_sizes: Sequence[int] | None = None,
        architecture: str = "dense",
        image_shape: tuple[int, ...] | None = None,
        generator: torch.nn.Module | None = None,
        discriminator: torch.nn.Module | None = None,
        loss: str | Option = "non_saturating",
        penalty: str | Option | None = "r1",
        spectral_norm: bool = False,
        instance_noise: float = 0.0,
        augmentation: Sequence[str] | None = None,
        prior: str = "normal",
        truncation: float | None = None,
        n_discriminator_steps: int = 1,
        encoder: bool = False,
        density: str | Option = "auto",
        validation_metric: str = "mmd",
        max_iter: int | None = None,
        batch_size: int | str = "auto",
        learning_rate_init: float | None = None,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.generator = generator
        self.discriminator = discriminator
        self.loss = loss
        self.penalty = penalty
        self.spectral_norm = spectral_norm
        self.instance_noise = instance_noise
        self.augmentation = augmentation
        self.prior = prior
        self.truncation = truncation
        self.n_discriminator_steps = n_discriminator_steps
        self.encoder = encoder
        self.density = density
        self.validation_metric = validation_metric
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def discriminate(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the discriminator's score of each row; higher scores are more like data.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows, such as draws.

        Returns
        -------
        scores : ndarray of shape (n,)
            Log-odds of being a row of the data and not a draw, with loss="minimax" and
            "non_saturating"; with others as in
            `probgen.estimators.adversarial.objective.discriminator_loss`.
        """
        X = self._validate_query(X)
        scores = self._in_scaled_blocks(X, self.discriminator_)
        return scores.astype(X.dtype, copy=False)

    @property
    def _networks(self) -> tuple[str, ...]:
        if "encoder_" in vars(self):
            return ("generator_", "discriminator_", "encoder_")
        return ("generator_", "discriminator_")

    @property
    def _n_features_out(self) -> int:
        if "encoder_" in vars(self):
            return self._n_codes
        return self.discriminator_.n_features

    @property
    def _n_codes(self) -> int:
        return self.n_components

    @property
    def _n_classes(self) -> int:
        """Classes that generator and discriminator are conditional on; 0 for none."""
        return 0

    @property
    def _defaults(self) -> ArchitectureDefaults:
        """Defaults of the architecture."""
        return DEFAULTS[self.architecture]

    def _n_epochs(self, n_batches: int) -> int:
        if self.max_iter is not None:
            return self.max_iter
        return max(self._defaults.max_iter, -(-self._defaults.min_batches // n_batches))

    @property
    def _largest_batch(self) -> int:
        return self._defaults.max_batch_size

    @property
    def _learning_rate(self) -> float:
        if self.learning_rate_init is None:
            return self._defaults.learning_rate_init
        return self.learning_rate_init

    @property
    def _hidden(self) -> tuple[int, ...]:
        """Widths or channels of the hidden layers."""
        if self.hidden_layer_sizes is not None:
            return tuple(self.hidden_layer_sizes)
        sizes = self._defaults.hidden_layer_sizes
        if self.architecture == "conv":
            return sizes[: max(1, n_halvings(self.image_shape_))]
        return sizes

    @property
    def _penalty_weight(self) -> float | None:
        """Factor on the penalty; None without one."""
        penalty = self._option("penalty")
        if penalty is None:
            return None
        if penalty.weight is not None:
            return penalty.weight
        return self._defaults.penalty_weight(penalty.name, self.n_features_in_)

    def _default_trainer(self, n_rows: int | None = None) -> Trainer:
        return Trainer(schedule="cosine", ema_decay=0.999)

    def _check_parameters(self) -> None:
        check_choice("architecture", self.architecture, ARCHITECTURES)
        super()._check_parameters()
        check_count("n_components", self.n_components)
        check_hidden_layer_sizes(self.hidden_layer_sizes, optional=True)
        check_real("instance_noise", self.instance_noise, low=0.0)
        is_text = isinstance(self.augmentation, str)
        if is_text or not isinstance(self.augmentation, Sequence | None):
            raise ValueError(
                "augmentation must be a sequence such as ['cutout'], or None; got"
                f" {show(self.augmentation)}."
            )
        for kind in self.augmentation or ():
            check_choice("augmentation", kind, AUGMENTATIONS)
        check_choice("prior", self.prior, PRIORS)
        if self.truncation is not None:
            check_real("truncation", self.truncation, low=1e-3)
        check_count("n_discriminator_steps", self.n_discriminator_steps)
        check_choice("validation_metric", self.validation_metric, METRICS)
        if self.penalty is not None and self.trainer is not None and self.trainer.compile:
            raise ValueError(
                f"penalty={self.penalty!r} needs second derivatives, which trainer.compile="
                f"{self.trainer.compile!r} does not support; leave out one of them."
            )
        self._check_networks()
        if self.generator is not None:
            normaliser = "a generator that"
            has_batch_norm = bool(batch_norms(self.generator))
        else:
            normaliser = "architecture='conv', whose generator"
            has_batch_norm = self.architecture == "conv"
        if has_batch_norm and self.batch_size == 1:
            raise ValueError(
                f"batch_size must be at least 2 with {normaliser} normalises over it; got 1."
            )

    def _check_networks(self) -> None:
        """Raise for a network of the user's that does not suit the other parameters."""
        check_module("generator", self.generator)
        check_module("discriminator", self.discriminator)
        if self.discriminator is None:
            return
        if self.spectral_norm:
            raise ValueError(
                "spectral_norm=True is for the discriminator of hidden_layer_sizes; build your own"
                " from probgen.estimators.adversarial.networks.SpectralLinear and SpectralConv2d."
            )
        if batch_norms(self.discriminator):
            kind = type(batch_norms(self.discriminator)[0]).__name__
            raise ValueError(
                "discriminator must score each row by itself; got"
                f" {type(self.discriminator).__name__} with {kind}, which normalises over the"
                " batch; take LayerNorm or GroupNorm."
            )
        if self._needs_features and not n_feature_layers(self.discriminator):
            raise ValueError(
                "discriminator must be a torch.nn.Sequential of several layers with weights, as"
                f" {type(self).__name__} reads features before the last of them; got"
                f" {type(self.discriminator).__name__}."
            )

    def _hold_out(
        self, rows: Rows, trainer: Trainer, rng: np.random.Generator
    ) -> tuple[Rows, Rows | None]:
        rows, held_out = super()._hold_out(rows, trainer, rng)
        if held_out is not None and held_out.n_rows < 2:
            raise ValueError(
                "early_stopping needs at least 2 rows held out; got 1; raise validation_fraction."
            )
        return rows, held_out

    def _build(self, fit: FitContext) -> None:
        n_features = fit.rows.n_features
        statistics = fit.statistics
        if statistics.is_constant.all():
            warn(
                "X holds one row over and over, so that draws can be nothing but that row; give it"
                " rows that differ.",
            )
        for name in ("image_shape_", "encoder_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        if self.architecture == "conv" or self.image_shape is not None or self.augmentation:
            self.image_shape_ = check_image_shape(self.image_shape, n_features)
            # To [-1, 1], the range of the generator's hyperbolic tangent.
            half_range = 0.5 * (statistics.high - statistics.low) or 1.0
            self._center = np.full(n_features, 0.5 * (statistics.high + statistics.low))
            self._scale = np.full(n_features, half_range)
        else:
            self._center = statistics.mean
            self._scale = statistics.deviation
        dtype = fit.rows.dtype
        self.generator_ = self._make_generator(n_features, dtype)
        self.discriminator_ = self._make_discriminator(n_features, self._n_classes, dtype)
        if self.encoder:
            self.encoder_ = self._make_encoder(n_features, self.n_components)
        for name in self._networks:
            getattr(self, name).to(dtype)

    def _make_generator(self, n_features: int, dtype: torch.dtype) -> torch.nn.Module:
        """A network from codes, and labels if any, to scaled rows of n_features."""
        if self.generator is not None:
            n_inputs = self.n_components + self._n_classes
            network = own_network(self.generator, n_inputs, n_features, "generator", dtype=dtype)
            return OwnGenerator(network)
        hidden = self._hidden
        if self.architecture == "conv":
            return ConvGenerator(
                self.n_components, hidden[::-1], self.image_shape_, n_classes=self._n_classes
            )
        return DenseGenerator(self.n_components, hidden, n_features, n_classes=self._n_classes)

    def _make_discriminator(self, n_features: int, n_classes: int, dtype: torch.dtype) -> Any:
        """A network from scaled rows of n_features, and labels if any, to scores."""
        if self.discriminator is not None:
            n_inputs = n_features + n_classes
            network = check_network(self.discriminator, n_inputs, 1, "discriminator", dtype=dtype)
            discriminator = OwnDiscriminator(network, n_inputs)
            if self.penalty is not None:
                penalty = self._option("penalty").name
                check_penalty(penalty, discriminator, torch.zeros(2, n_inputs, dtype=dtype))
            return discriminator
        settings: dict[str, Any] = {"n_classes": n_classes, "spectral_norm": self.spectral_norm}
        if self.architecture == "conv":
            return ConvDiscriminator(self.image_shape_, self._hidden, dropout=DROPOUT, **settings)
        return DenseDiscriminator(n_features, self._hidden, **settings)

    def _make_encoder(self, n_features: int, n_outputs: int) -> torch.nn.Module:
        """A network from scaled rows of n_features to n_outputs."""
        image_shape = getattr(self, "image_shape_", None)
        architecture = Architecture(self.architecture, self._hidden, image_shape=image_shape)
        return architecture.encoder(n_features, n_outputs)

    def _make_objective(self, fit: FitContext) -> Objective:
        return AdversarialObjective(*self._objective_networks(), **self._objective_settings(fit))

    def _objective_networks(self) -> tuple:
        """The networks that are trained, as arguments of an objective."""
        return tuple(getattr(self, name) for name in self._networks)

    def _objective_settings(self, fit: FitContext) -> dict[str, Any]:
        """Settings of an AdversarialObjective."""
        loss = self._option("loss")
        penalty = self._option("penalty")
        return {
            "center": self._center,
            "scale": self._scale,
            "n_components": self._n_codes,
            "prior": self.prior,
            "loss": loss.name,
            **loss.get_params(),  # label_smoothing and balance_ratio, where the loss has them
            "penalty": None if penalty is None else penalty.name,
            "penalty_weight": self._penalty_weight,
            "augmentation": self.augmentation,
            "image_shape": getattr(self, "image_shape_", None),
            "instance_noise": self.instance_noise,
            "n_epochs": fit.max_iter,
            "n_discriminator_steps": self.n_discriminator_steps,
            "betas": self._defaults.betas,
            "score": functools.partial(_negative_distance, self.validation_metric),
        }

    def _finish(self, fit: FitContext, generator: np.random.Generator) -> None:
        """Set the statistics of batch norm for the final weights, and the observation noise."""
        if batch_norms(self.generator_):
            refresh_batch_norm(self.generator_, self._statistics_inputs(generator))
        rows = fit.rows if fit.held_out is None else fit.held_out
        block, *_ = next(iter(rows.batches(generator, min(NOISE_ROWS, rows.n_rows))))
        noise_rows = block.double().cpu().numpy()
        if fit.is_partial:
            noise_rows = latest_rows(getattr(self, "_kept", None), noise_rows, NOISE_ROWS)
            self._kept = noise_rows
        self._fit_noise(noise_rows)

    def _statistics_inputs(
        self, generator: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield inputs of the generator, codes and labels if any, batch by batch."""
        for _ in range(STATISTICS_BATCHES):
            codes = self._draw_codes(STATISTICS_ROWS, generator)
            yield (self._to_network_tensor(codes),)

    def _draw_codes(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        shape = (n_samples, self._n_codes)
        if self.prior == "uniform":
            return generator.uniform(-1.0, 1.0, shape)
        return generator.standard_normal(shape)

    def _truncated_codes(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        """Codes (n_samples, n_components) from the prior, within the truncation."""
        if self.truncation is None:
            return self._draw_codes(n_samples, generator)
        if self.prior == "uniform":
            return min(self.truncation, 1.0) * self._draw_codes(n_samples, generator)
        # Inverse transform sampling of the Gaussian between its quantiles at the ends.
        high = ndtr(self.truncation)
        return ndtri(generator.uniform(1.0 - high, high, (n_samples, self._n_codes)))

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        return self._inverse_transform(self._truncated_codes(n_samples, generator))

    def _inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        return self._in_blocks(Z, lambda codes: self._unscale(self.generator_(codes)))

    def _transform(self, X: np.ndarray) -> np.ndarray:
        function = self.discriminator_.features
        if "encoder_" in vars(self):
            function = self.encoder_
        return self._in_scaled_blocks(X, function)

    def _generator_gradients(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        """Norms (n_samples,) of the gradient of the generator's loss by each of new scaled draws.

        They are those of the loss summed over the draws, so that their number does not matter.
        """
        kind = self._option("loss").name

        def gradient_norms(codes: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode(False), torch.enable_grad():
                draws = self.generator_(codes.clone()).detach().requires_grad_()
                loss = len(draws) * generator_loss(kind, self.discriminator_(draws))
                (gradients,) = torch.autograd.grad(loss, draws)
                return torch.linalg.vector_norm(gradients, dim=1)

        return self._in_blocks(self._draw_codes(n_samples, generator), gradient_norms)


def _negative_distance(metric: str, rows: np.ndarray, draws: np.ndarray) -> float:
    """Minus the distance between samples; higher is better."""
    return -METRICS[metric](rows, draws)
