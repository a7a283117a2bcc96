"""Variational autoencoders whose decoder is the generator of a GAN."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from probgen._validation import check_real, show
from probgen.estimators._code_density import FittedCodeDensity, latest_rows
from probgen.estimators.adversarial.gan import GAN
from probgen.estimators.adversarial.objective import AdversarialObjective
from probgen.estimators.variational.code_distributions import CodePosterior
from probgen.options import Option
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective, Phase
from probgen.training.trainer import Trainer

CODED_ROWS = 8192  # rows that the density of codes is fitted to, at most
KEPT_ROWS = 2048  # latest rows of partial_fit, which gets few at a time
RIDGE = 0.01  # share of the mean squared features, for batches in which features do not vary


class VAEGAN(FittedCodeDensity, GAN):
    """Variational autoencoder with a discriminator that also measures reconstructions [1]_.

    An encoder maps a row x to a Gaussian q(z given x) of codes, a generator g maps codes to rows,
    and a discriminator learns to distinguish rows of the data from generated rows. The generator is
    the decoder of the autoencoder: it has to deceive the discriminator, and to map a code of x back
    to a row similar to x. Similarity is measured on the features of the discriminator, its last
    hidden layer, and not column by column, which would favour blurred pictures. After that
    `latent_density` is fitted to codes of rows, and draws are g(z) of codes from it.

    Parameters
    ----------
    n_components : int, default=8
        Length of a code, at least 1.
    beta : float, default=0.01
        Factor on the divergence of q(z given x) from a standard Gaussian, in nats, at least 0. The
        reconstruction loss beside it is about log 2 where g(z) is the same for all rows.
    reconstruction_weight : float, default=1.0
        Factor on the reconstruction loss of the generator, at least 0, relative to its adversarial
        loss. Larger weights make reconstructions more accurate, smaller ones draws more realistic.
    latent_density : generator, default=None
        Density of the codes, cloned; None is a GaussianMixture of at most 10 components.
    generator, discriminator : torch.nn.Module, default=None
        As in `GAN`. The discriminator must be a torch.nn.Sequential; what its last layer with
        weights gets are the features that are compared.
    hidden_layer_sizes, architecture, image_shape, loss, penalty, spectral_norm, instance_noise,
    n_discriminator_steps, density, validation_metric, max_iter, batch_size, learning_rate_init,
    trainer, warm_start, device, random_state, verbose :
        As in `GAN`; a loss has no balance_ratio here.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        From scaled rows to the distribution q(z given x).
    generator_, discriminator_ : torch.nn.Module
        The other trained networks, on scaled rows.
    latent_density_ : estimator object
        The fitted density of codes.
    noise_variance_, density_, image_shape_, n_iter_, device_ :
        As in `GAN`.
    history_ : History
        That of `GAN`, and per epoch: "encoder", the loss of the encoder, and its parts
        "reconstruction" and "kl".

    Notes
    -----
    The reconstruction loss is log(1 + d / v), where d is the mean squared difference of features
    and v their variance in the batch, so that the scale of the features does not matter. Half of
    the generated rows that the discriminator gets are of codes from a standard Gaussian, half of
    codes of the data. `transform` returns the means of q(z given x), `inverse_transform` the rows
    of codes. `score_samples` is an estimate, as in `GAN`, with codes from `latent_density_`.

    References
    ----------
    .. [1] A. B. L. Larsen, S. K. Sonderby, H. Larochelle, O. Winther, Autoencoding beyond pixels
       using a learned similarity metric, 2016.

    Examples
    --------
    >>> from probgen import VAEGAN
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> model = VAEGAN(2, max_iter=20, random_state=0).fit(X)
    >>> model.sample(3).shape, model.transform(X).shape, model.inverse_transform([[0.0, 0.0]]).shape
    ((3, 4), (150, 2), (1, 4))
    """

    encoder_: CodePosterior
    _needs_features = True
    _kept_rows: np.ndarray

    def __init__(
        self,
        n_components: int = 8,
        *,
        beta: float = 0.01,
        reconstruction_weight: float = 1.0,
        latent_density: Any = None,
        hidden_layer_sizes: Sequence[int] | None = None,
        architecture: str = "dense",
        image_shape: tuple[int, ...] | None = None,
        generator: torch.nn.Module | None = None,
        discriminator: torch.nn.Module | None = None,
        loss: str | Option = "non_saturating",
        penalty: str | Option | None = "r1",
        spectral_norm: bool = False,
        instance_noise: float = 0.0,
        n_discriminator_steps: int = 1,
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
        super().__init__(
            n_components,
            hidden_layer_sizes=hidden_layer_sizes,
            architecture=architecture,
            image_shape=image_shape,
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            penalty=penalty,
            spectral_norm=spectral_norm,
            instance_noise=instance_noise,
            n_discriminator_steps=n_discriminator_steps,
            density=density,
            validation_metric=validation_metric,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            trainer=trainer,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
            encoder=True,
        )
        self.beta = beta
        self.reconstruction_weight = reconstruction_weight
        self.latent_density = latent_density

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_real("beta", self.beta, low=0.0)
        check_real("reconstruction_weight", self.reconstruction_weight, low=0.0)
        balance_ratio = getattr(self._option("loss"), "balance_ratio", None)
        if balance_ratio is not None:
            raise ValueError(
                "balance_ratio must be None for a VAEGAN, whose generator has a second loss; got"
                f" {show(balance_ratio)}."
            )
        is_own = self.discriminator is not None
        if self.architecture == "dense" and not self._hidden and not is_own:
            raise ValueError(
                "hidden_layer_sizes must hold at least one width, whose features VAEGAN compares;"
                " got ()."
            )

    def _make_encoder(self, n_features: int, n_outputs: int) -> torch.nn.Module:
        network = super()._make_encoder(n_features, CodePosterior.n_outputs(n_outputs))
        return CodePosterior(network, n_outputs)

    def _make_objective(self, fit: FitContext) -> Objective:
        return VAEGANObjective(
            *self._objective_networks(),
            **self._objective_settings(fit),
            beta=self.beta,
            reconstruction_weight=self.reconstruction_weight,
        )

    def _finish(self, fit: FitContext, generator: np.random.Generator) -> None:
        """Fit the density of the codes, of the latest rows after partial_fit."""
        n_rows = min(CODED_ROWS, fit.rows.n_rows)
        block, *_ = next(iter(fit.rows.batches(generator, n_rows)))
        rows = block.cpu().numpy()
        if fit.is_partial:
            rows = latest_rows(getattr(self, "_kept_rows", None), rows, KEPT_ROWS)
            self._kept_rows = rows
        moments = self._in_scaled_blocks(
            rows, lambda scaled: torch.cat(self.encoder_.moments(scaled), dim=1)
        )
        means, deviations = np.split(moments.astype(float), 2, axis=1)
        codes = means + deviations * generator.standard_normal(means.shape)
        self._fit_code_density(codes, generator)
        smallest = np.finfo(np.float32).tiny
        self._code_moments = (codes.mean(axis=0), np.maximum(codes.std(axis=0), smallest))
        super()._finish(fit, generator)

    def _transform(self, X: np.ndarray) -> np.ndarray:
        return self._in_scaled_blocks(X, lambda scaled: self.encoder_.moments(scaled)[0])

    def _window_codes(self, n_draws: int) -> np.ndarray:
        return self._draw_codes(n_draws, np.random.default_rng(0))


class VAEGANObjective(AdversarialObjective):
    """The losses of the three networks of a VAEGAN, one phase each.

    Parameters
    ----------
    *networks, **settings
        As in `AdversarialObjective`; the encoder is a CodePosterior.
    beta : float
        Factor on the divergence of the posterior of the codes from their prior.
    reconstruction_weight : float
        Factor on the reconstruction loss of the generator.
    """

    encoder: CodePosterior

    def __init__(
        self, *networks: torch.nn.Module, beta: float, reconstruction_weight: float, **settings: Any
    ) -> None:
        super().__init__(*networks, **settings)
        self.beta = beta
        self.reconstruction_weight = reconstruction_weight

    def phases(self) -> list[Phase]:
        """Updates of the discriminator, the generator, which is the decoder, and the encoder."""
        discriminator, generator, _ = super().phases()
        encoder = Phase(
            "encoder",
            self.encoder_loss,
            list(self.encoder.parameters()),
            optimizer={"betas": self.betas},
        )
        return [discriminator, generator, encoder]

    def codes_for(self, X: torch.Tensor) -> torch.Tensor:
        """Codes (n, n_components): posterior draws for the first half of X, then prior draws."""
        with torch.no_grad():
            codes = self.draw_codes(len(X))
            half = len(X) // 2
            if half:
                mean, scale = self.encoder.moments((X[:half] - self.center) / self.scale)
                codes[:half] = mean + scale * codes[:half]
        return codes

    def generator_loss(self, X: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        """Adversarial loss of generated rows, and reconstruction loss of a batch."""
        with torch.no_grad():
            codes, _ = self._draw_posterior(X)
        adversarial_loss = super().generator_loss(X)
        return adversarial_loss + self.reconstruction_weight * self._reconstruction_loss(X, codes)

    def encoder_loss(
        self, X: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Reconstruction loss of a batch and divergence of its posteriors; and these terms."""
        codes, kl = self._draw_posterior(X)
        reconstruction = self._reconstruction_loss(X, codes)
        terms = {"reconstruction": reconstruction.detach(), "kl": kl.detach()}
        return reconstruction + self.beta * kl, terms

    def _draw_posterior(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A posterior draw of each row's code (n, n_components), and the posteriors' mean KL."""
        mean, scale = self.encoder.moments((X - self.center) / self.scale)
        kl = (0.5 * (mean.square() + scale.square() - 1.0) - scale.log()).sum(1).mean()
        return mean + scale * self.draw_codes(len(X)), kl

    def _reconstruction_loss(self, X: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """log(1 + d / v): d is the mean squared feature difference of rows X and decoded codes.

        v is the variance of the features in the batch, so that their scale does not matter. The
        loss is 0 for exact reconstructions, and about log 2 where all are the mean.
        """
        with torch.no_grad():
            features = self.discriminator.features((X - self.center) / self.scale)
            variance = (features - features.mean(0)).square().mean()
            variance = variance + RIDGE * features.square().mean()
        decoded = self.discriminator.features(self.generator(codes))
        difference = (features - decoded).square().mean()
        return torch.log1p(difference / variance.clamp_min(torch.finfo(variance.dtype).tiny))

    def _generator_inputs(
        self, batches: Iterable[tuple[torch.Tensor, ...]]
    ) -> list[tuple[torch.Tensor, ...]]:
        """Codes from a Gaussian with the moments of the codes of these batches, like the prior."""
        codes = torch.cat([self._draw_posterior(X)[0] for X, *_ in batches])
        mean = codes.mean(0)
        # Random combinations of n centred codes, over sqrt(n), have the covariance of the codes.
        spread = (codes - mean) / len(codes) ** 0.5
        weights = [
            codes.new_empty(len(X), len(codes)).normal_(generator=self.noise) for X, *_ in batches
        ]
        return [(mean + weight @ spread,) for weight in weights]
