"""Generative adversarial networks, for tables and for images."""

import functools
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from sklearn.utils.validation import check_is_fitted

from probgen._validation import (
    check_choice,
    check_count,
    check_hidden_layer_sizes,
    check_image_shape,
    check_real,
)
from probgen._warnings import warn
from probgen.base import DecoderMixin
from probgen.estimators._code_density import latest_rows
from probgen.estimators.adversarial.augmentation import AUGMENTATIONS
from probgen.estimators.adversarial.blurred_draws import BlurredDraws
from probgen.estimators.adversarial.networks import (
    ConvDiscriminator,
    ConvGenerator,
    DenseDiscriminator,
    DenseGenerator,
    batch_norms,
    n_halvings,
)
from probgen.estimators.adversarial.objective import (
    BALANCED,
    LOSSES,
    NOISES,
    PENALTIES,
    SMOOTHED,
    AdversarialObjective,
    generator_loss,
    refresh_batch_norm,
)
from probgen.metrics import frechet_distance, kernel_mmd
from probgen.networks import MLP, ConvEncoder
from probgen.training.statistics import CONSTANT
from probgen.training.trainer import Trainer

ARCHITECTURES = ("dense", "conv")
METRICS = {"mmd": kernel_mmd, "frechet": frechet_distance}  # of early stopping
HIDDEN = {"dense": (64, 64, 64), "conv": (32, 64, 128)}
EPOCHS = {"dense": 240, "conv": 10}
LEAST_BATCHES = {"dense": 4000, "conv": 3000}  # of a fit, where the rows are few
LEARNING_RATES = {"dense": 2e-3, "conv": 1e-3}
LARGEST_BATCHES = {
    "dense": 256,
    "conv": 32,
}  # draws of images get better with every update, hardly with its rows
BETAS = {"dense": (0.0, 0.99), "conv": (0.5, 0.999)}  # of Adam
PENALTY_WEIGHTS = {"dense": {"wgan_gp": 0.1}, "conv": {"r1": 0.1, "wgan_gp": 10.0}}
R1_OF_A_FEATURE = (
    0.05  # weight of "r1" in dense networks: the squared slope of a score goes with 1 / n_features
)
DROPOUT = 0.25  # in a convolutional discriminator
NOISE_ROWS = 500  # that the noise of the observation model is fitted to
STATISTICS_BATCHES, STATISTICS_ROWS = 20, 256  # of draws, for the statistics of batch norm


class GAN(DecoderMixin, BlurredDraws):
    """Generative adversarial network.

    A generator g maps codes z of random noise to rows; a discriminator learns to tell rows of the
    data from those, and the generator to deceive it [1]_. Both take a step on every batch. By
    default slopes of the discriminator at the data are penalised (R1 [2]_), the learning rate falls
    to zero, and the fitted model is an average of the weights over the last batches, which together
    make the two converge where plain alternation goes round in circles.

    Parameters
    ----------
    n_components : int, default=8
        Numbers of a code, at least 1. With fewer of them the modes of scattered data are told apart
        more sharply.
    hidden_layer_sizes : sequence of int, default=None
        Widths of the hidden layers of both networks. With architecture="conv" the channels of the
        discriminator's layers, each of which halves the height and the width, and of the
        generator's in reverse. None takes (64, 64, 64), or with "conv" as many of (32, 64, 128) as
        the image can be halved to no less than 2 pixels.
    architecture : {"dense", "conv"}, default="dense"
        Dense networks, or convolutional ones for images [3]_: transposed convolutions with batch
        norm in the generator; strided ones with leaky ReLUs and dropout in the discriminator; Adam
        with beta_1 = 0.5.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last. None
        reads a perfect square of features as a grey image, for convolutions and augmentation.
    loss : str, default="non_saturating"
        "minimax" or "non_saturating" [1]_, "least_squares", "hinge" or "wasserstein", as in
        `probgen.estimators.adversarial.objective.discriminator_loss`.
    penalty : {"r1", "wgan_gp"}, default="r1"
        On slopes of the discriminator: at the data towards 0 [2]_; between data and draws towards 1
        [4]_, which goes with loss="wasserstein". None leaves it out, and takes spectral_norm or
        noise to be stable.
    penalty_weight : float, default=None
        Factor on the penalty, at least 0; of scaled rows. None takes n_features / 20 for "r1" and
        0.1 for "wgan_gp", or 0.1 and 10 with architecture="conv".
    spectral_norm : bool, default=False
        Whether the weights of the discriminator are divided by their largest singular value.
    label_smoothing : float, default=0.0
        The discriminator's target for data is 1 minus this, in [0, 0.5]; for losses with a target.
    instance_noise : float, default=0.0
        Standard deviation of Gaussian noise added to all that the discriminator is shown, in units
        of scaled rows, at least 0; it falls to 0 over the epochs.
    augmentation : sequence of str, default=None
        Random changes to the images that the discriminator is shown, of "brightness", "translation"
        and "cutout" [5]_; for few images.
    noise : {"normal", "uniform"}, default="normal"
        Codes are standard Gaussian, or uniform in [-1, 1].
    truncation : float, default=None
        `sample` draws the numbers of a code from within [-truncation, truncation] alone, above 0:
        more typical rows, less diverse. The density is that of all codes.
    balance_ratio : float, default=None
        A network's update is left out while its loss, times this, is below the other's; at least 1,
        such as 2. For losses above 0, "non_saturating" and "least_squares".
    n_discriminator_steps : int, default=1
        Updates of the discriminator for one of the generator.
    encoder : bool, default=False
        Whether to train an encoder beside both, which maps draws back to their codes and rows to
        codes that the generator maps near to them. `transform` then gives codes.
    density : {"auto", "ais", "parzen"}, default="auto"
        What `score_samples` is an estimate by: annealed importance sampling, or a Parzen window on
        draws. "auto" takes a window for rows of up to 4 features and for codes of more than 64
        numbers.
    n_chains, n_temperatures : int, default=16 and 50
        Of annealed importance sampling, at least 2 and 1: more tighten the estimate.
        `likelihood_bounds` tells whether they are enough.
    n_density_draws : int, default=10_000
        Draws in the Parzen window.
    validation_metric : {"mmd", "frechet"}, default="mmd"
        What early stopping holds rows held out and draws apart by: `kernel_mmd` or
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
        All else of the training; None is `Trainer(schedule="cosine", ema_decay=0.999)`. Adam's
        betas are (0, 0.99), or (0.5, 0.999) with architecture="conv".
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
    generator_, discriminator_, encoder_ : torch.nn.Module
        The trained networks, on scaled rows; `encoder_` with encoder=True.
    image_shape_ : tuple of int
        (height, width, channels), where rows are images.
    noise_variance_ : ndarray of shape (n_features,)
        Of the Gaussian observation model of `score_samples`, in squared units of X.
    density_ : {"ais", "parzen"}
        The estimate that was chosen.
    history_ : History
        Per epoch: "discriminator" and "generator", the losses; "real_score" and "fake_score", mean
        scores; "penalty"; with balance_ratio the updates that were left out, "discriminator_skips"
        and "generator_skips"; "encoder"; validation score, learning rate, seconds.
    n_iter_ : int
        Epochs that were trained.
    device_ : str
        Where the networks are.

    Notes
    -----
    Columns are centred and divided by their deviations inside; where rows are images, by one
    overall range.

    A GAN has no density of its own: its draws lie on a surface. `score_samples` estimates log p(x)
    of draws that are blurred by Gaussian noise, p(x) = E_z N(x; g(z), noise_variance_), whose
    variance is the one under which rows have the highest Parzen density; `sample` adds no such
    noise. It is worth what it says about blurred draws, which is little about pictures: k-means
    centres score better on Parzen windows than the data themselves [6]_. To choose among models
    take `kernel_mmd` or `frechet_distance` of held-out rows and draws.

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
    """

    generator_: torch.nn.Module
    discriminator_: Any
    encoder_: torch.nn.Module
    _kept: np.ndarray

    def __init__(
        self,
        n_components=8,
        *,
        hidden_layer_sizes=None,
        architecture="dense",
        image_shape=None,
        loss="non_saturating",
        penalty="r1",
        penalty_weight=None,
        spectral_norm=False,
        label_smoothing=0.0,
        instance_noise=0.0,
        augmentation=None,
        noise="normal",
        truncation=None,
        balance_ratio=None,
        n_discriminator_steps=1,
        encoder=False,
        density="auto",
        n_chains=16,
        n_temperatures=50,
        n_density_draws=10_000,
        validation_metric="mmd",
        max_iter=None,
        batch_size="auto",
        learning_rate_init=None,
        trainer=None,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.loss = loss
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.spectral_norm = spectral_norm
        self.label_smoothing = label_smoothing
        self.instance_noise = instance_noise
        self.augmentation = augmentation
        self.noise = noise
        self.truncation = truncation
        self.balance_ratio = balance_ratio
        self.n_discriminator_steps = n_discriminator_steps
        self.encoder = encoder
        self.density = density
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures
        self.n_density_draws = n_density_draws
        self.validation_metric = validation_metric
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def discriminate(self, X):
        """Return the discriminator's scores of rows, high for those that it takes for data.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to judge, such as draws.

        Returns
        -------
        scores : ndarray of shape (n,)
            Log-odds of being a row of the data and not a draw, with loss="minimax" and
            "non_saturating"; with others as in
            `probgen.estimators.adversarial.objective.discriminator_loss`.
        """
        check_is_fitted(self)
        X = self._validate(X)
        scores = self._in_scaled_blocks(X, self.discriminator_)
        return scores.astype(X.dtype, copy=False)

    @property
    def _networks(self):  # type: ignore[override]
        return (
            ("generator_", "discriminator_", "encoder_")
            if self.encoder
            else ("generator_", "discriminator_")
        )

    @property
    def _n_features_out(self):
        return self.n_components if self.encoder else self.discriminator_.n_features

    @property
    def _n_codes(self):
        return self.n_components

    def _n_epochs(self, n_batches):
        if self.max_iter is not None:
            return self.max_iter
        return max(EPOCHS[self.architecture], -(-LEAST_BATCHES[self.architecture] // n_batches))

    @property
    def _largest_batch(self):  # type: ignore[override]
        return LARGEST_BATCHES[self.architecture]

    @property
    def _learning_rate(self):
        return (
            LEARNING_RATES[self.architecture]
            if self.learning_rate_init is None
            else self.learning_rate_init
        )

    @property
    def _hidden(self):
        if self.hidden_layer_sizes is not None:
            return tuple(self.hidden_layer_sizes)
        sizes = HIDDEN[self.architecture]
        return (
            sizes[: max(1, n_halvings(self.image_shape_))] if self.architecture == "conv" else sizes
        )

    @property
    def _penalty_weight(self):
        if self.penalty is None or self.penalty_weight is not None:
            return self.penalty_weight
        return PENALTY_WEIGHTS[self.architecture].get(
            self.penalty, R1_OF_A_FEATURE * self.n_features_in_
        )

    @property
    def _betas(self):
        return BETAS[self.architecture]

    @property
    def _n_classes(self):
        """Classes that the networks are told."""
        return 0

    def _default_trainer(self):
        return Trainer(schedule="cosine", ema_decay=0.999)

    def _check_parameters(self):
        check_choice("architecture", self.architecture, ARCHITECTURES)
        super()._check_parameters()
        check_count("n_components", self.n_components)
        check_hidden_layer_sizes(self.hidden_layer_sizes, optional=True)
        check_choice("loss", self.loss, LOSSES)
        if self.penalty is not None:
            check_choice("penalty", self.penalty, PENALTIES, hint="Or None.")
        if self.penalty_weight is not None:
            check_real("penalty_weight", self.penalty_weight, low=0.0)
        check_real("label_smoothing", self.label_smoothing, low=0.0, high=0.5)
        if self.label_smoothing and self.loss not in SMOOTHED:
            raise ValueError(
                f"label_smoothing needs a loss with a target, {_either(SMOOTHED)}; got"
                f" {self.loss!r}."
            )
        check_real("instance_noise", self.instance_noise, low=0.0)
        if isinstance(self.augmentation, str):
            raise ValueError(
                f"augmentation must be a sequence, such as [{self.augmentation!r}]; got a string."
            )
        for kind in self.augmentation or ():
            check_choice("augmentation", kind, AUGMENTATIONS)
        check_choice("noise", self.noise, NOISES)
        if self.truncation is not None:
            check_real("truncation", self.truncation, low=1e-3)
        if self.balance_ratio is not None:
            check_real("balance_ratio", self.balance_ratio, low=1.0)
            if self.loss not in BALANCED:
                raise ValueError(
                    f"balance_ratio needs losses above 0, those of {_either(BALANCED)}; got"
                    f" {self.loss!r}."
                )
        check_count("n_discriminator_steps", self.n_discriminator_steps)
        check_choice("validation_metric", self.validation_metric, METRICS)
        if self.penalty is not None and self.trainer is not None and self.trainer.compile:
            raise ValueError(
                f"penalty={self.penalty!r} needs second derivatives, which trainer.compile="
                f"{self.trainer.compile!r} cannot take; leave out one of them."
            )
        if self.architecture == "conv" and self.batch_size == 1:
            raise ValueError(
                "batch_size must be at least 2 with architecture='conv', whose generator normalises"
                " over it; got 1."
            )

    def _hold_out(self, rows, trainer, rng):
        rows, held_out = super()._hold_out(rows, trainer, rng)
        if held_out is not None and held_out.n_rows < 2:
            raise ValueError(
                "early_stopping needs at least 2 rows held out; got 1; raise validation_fraction."
            )
        return rows, held_out

    def _build(self, fit):
        d = fit.rows.n_features
        found = fit.statistics
        if np.all(found.deviation <= CONSTANT * found.scale) and found.scale == 1.0:
            warn(
                "X holds one row over and over, so that draws can be nothing but that row; give it"
                " rows that differ.",
            )
        is_image = (
            self.architecture == "conv" or self.image_shape is not None or bool(self.augmentation)
        )
        for name in ("image_shape_", "encoder_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        if is_image:
            self.image_shape_ = check_image_shape(self.image_shape, d)
            half = 0.5 * (found.high - found.low) or 1.0
            self._center, self._scale = np.full(d, 0.5 * (found.high + found.low)), np.full(d, half)
        else:
            self._center, self._scale = found.mean, found.deviation
        self._make_networks(d)
        for name in self._networks:
            getattr(self, name).to(fit.rows.dtype)

    def _make_networks(self, d):
        """Set the networks for rows of d features."""
        k, hidden, told = self.n_components, self._hidden, {"n_classes": self._n_classes}
        if self.architecture == "conv":
            self.generator_ = ConvGenerator(k, hidden[::-1], self.image_shape_, **told)
        else:
            self.generator_ = DenseGenerator(k, hidden, d, **told)
        self.discriminator_ = self._make_discriminator(d, **told)
        if self.encoder:
            self.encoder_ = self._make_encoder(d, k)

    def _make_discriminator(self, d, *, n_classes):
        """A network of scores for rows of d features, told their classes if there are any."""
        settings = {"n_classes": n_classes, "spectral_norm": self.spectral_norm}
        if self.architecture == "conv":
            return ConvDiscriminator(self.image_shape_, self._hidden, dropout=DROPOUT, **settings)
        return DenseDiscriminator(d, self._hidden, **settings)

    def _make_encoder(self, d, n_outputs):
        """A network of n_outputs numbers for rows of d features."""
        if self.architecture == "conv":
            return ConvEncoder(self.image_shape_, self._hidden, n_outputs)
        return MLP(d, self._hidden, n_outputs)

    def _make_objective(self, fit):
        return AdversarialObjective(*self._objective_networks(), **self._objective_settings(fit))

    def _objective_networks(self):
        """The networks that are trained, as arguments of an objective."""
        return tuple(getattr(self, name) for name in self._networks)

    def _objective_settings(self, fit):
        """Settings of an AdversarialObjective."""
        return {
            "center": self._center,
            "scale": self._scale,
            "n_components": self.n_components,
            "prior": self.noise,
            "loss": self.loss,
            "label_smoothing": self.label_smoothing,
            "balance_ratio": self.balance_ratio,
            "penalty": self.penalty,
            "penalty_weight": self._penalty_weight,
            "augmentation": self.augmentation,
            "image_shape": getattr(self, "image_shape_", None),
            "instance_noise": self.instance_noise,
            "n_epochs": fit.max_iter,
            "n_discriminator_steps": self.n_discriminator_steps,
            "betas": self._betas,
            "score": functools.partial(_negative_distance, self.validation_metric),
        }

    def _finish(self, fit, generator):
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

    def _statistics_inputs(self, generator):
        """Yield batches of codes, and labels if there are any, for the statistics of batch norm."""
        for _ in range(STATISTICS_BATCHES):
            yield (self._to_network_tensor(self._draw_codes(STATISTICS_ROWS, generator)),)

    def _draw_codes(self, n_samples, generator):
        if self.noise == "uniform":
            return generator.uniform(-1.0, 1.0, (n_samples, self.n_components))
        return generator.standard_normal((n_samples, self.n_components))

    def _truncated_codes(self, n_samples, generator):
        if self.truncation is None:
            return self._draw_codes(n_samples, generator)
        if self.noise == "uniform":
            return min(self.truncation, 1.0) * self._draw_codes(n_samples, generator)
        end = ndtr(self.truncation)
        return ndtri(generator.uniform(1.0 - end, end, (n_samples, self.n_components)))

    def _sample(self, n_samples, generator):
        return self._inverse_transform(self._truncated_codes(n_samples, generator))

    def _inverse_transform(self, Z):
        return self._in_blocks(Z, lambda codes: self._unscale(self.generator_(codes)))

    def _transform(self, X):
        function = self.encoder_ if self.encoder else self.discriminator_.features
        return self._in_scaled_blocks(X, function)

    def _generator_gradients(self, n_samples, generator):
        """Lengths (n_samples,) of the gradient of the generator's loss by each of new draws, in
        scaled units."""

        def lengths(codes):
            with torch.inference_mode(False), torch.enable_grad():
                draws = self.generator_(codes.clone()).detach().requires_grad_()
                loss = len(draws) * generator_loss(self.loss, self.discriminator_(draws))
                return torch.linalg.vector_norm(torch.autograd.grad(loss, draws)[0], dim=1)

        return self._in_blocks(self._draw_codes(n_samples, generator), lengths)


def _negative_distance(metric, rows, draws):
    """Minus the distance between samples; higher is better."""
    return -METRICS[metric](rows, draws)


def _either(names):
    return " or ".join([", ".join(map(repr, names[:-1])), repr(names[-1])])
