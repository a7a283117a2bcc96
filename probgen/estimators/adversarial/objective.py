"""Losses, gradient penalties and the objective of generative adversarial networks.

The discriminator assigns a score s(x) to each row; the logistic function of s(x) is its probability
that the row is data. The generator g maps codes z to rows, and learns to raise s(g(z)).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import softplus

from probgen.estimators.adversarial.augmentation import augment
from probgen.networks import uses_global_generator
from probgen.networks.batch_norm import batch_norms, measured_batch_norm
from probgen.training.objective import Objective, Phase

VALIDATION_ROWS = 2048  # held-out rows that early stopping scores


def discriminator_loss(
    kind: str, real: torch.Tensor, fake: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Return the mean loss of a discriminator.

    Parameters
    ----------
    kind : {"minimax", "non_saturating", "least_squares", "hinge", "wasserstein"}
        The cross-entropy -log D(x) - log(1 - D(g)), D = 1/(1 + exp(-s)), for the first two [1]_;
        (s(x) - 1)^2 / 2 + s(g)^2 / 2 [2]_; max(0, 1 - s(x)) + max(0, 1 + s(g)) [3]_; s(g) - s(x)
        [4]_.
    real, fake : Tensor of shape (n,)
        Scores s of rows of data and of generated rows.
    smoothing : float, default=0.0
        The target of rows of data is 1 - smoothing instead of 1, for losses with a target [5]_.

    Returns
    -------
    loss : Tensor of shape ()

    References
    ----------
    .. [1] I. Goodfellow et al., Generative adversarial nets, 2014.
    .. [2] X. Mao et al., Least squares generative adversarial networks, 2017.
    .. [3] J. H. Lim and J. C. Ye, Geometric GAN, 2017.
    .. [4] M. Arjovsky, S. Chintala, L. Bottou, Wasserstein generative adversarial networks, 2017.
    .. [5] T. Salimans et al., Improved techniques for training GANs, 2016.

    Examples
    --------
    >>> import torch
    >>> discriminator_loss("hinge", torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0]))
    tensor(1.5000)
    """
    if kind == "least_squares":
        return 0.5 * (real - 1.0 + smoothing).square().mean() + 0.5 * fake.square().mean()
    if kind == "hinge":
        return torch.relu(1.0 - real).mean() + torch.relu(1.0 + fake).mean()
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    loss = softplus(-real).mean() + softplus(fake).mean()
    if smoothing:
        # softplus(s) = softplus(-s) + s, so a target of 1 - smoothing adds smoothing * s.
        loss = loss + smoothing * real.mean()
    return loss


def generator_loss(kind: str, fake: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of a generator.

    Parameters
    ----------
    kind : {"minimax", "non_saturating", "least_squares", "hinge", "wasserstein"}
        log(1 - D(g)); -log D(g), whose gradient does not vanish where the discriminator is
        certain; (s(g) - 1)^2 / 2; and -s(g) for the last two.
    fake : Tensor of shape (n,)
        Scores s of generated rows.

    Returns
    -------
    loss : Tensor of shape ()

    Examples
    --------
    >>> import torch
    >>> generator_loss("non_saturating", torch.zeros(2))
    tensor(0.6931)
    """
    if kind == "minimax":
        return -softplus(fake).mean()
    if kind == "non_saturating":
        return softplus(-fake).mean()
    if kind == "least_squares":
        return 0.5 * (fake - 1.0).square().mean()
    return -fake.mean()


def r1_penalty(scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return half the mean squared gradient norm of the scores at rows of data [1]_.

    Parameters
    ----------
    scores : Tensor of shape (n,)
        Computed from `rows`, each score from its own row alone.
    rows : Tensor of shape (n, d)
        With requires_grad.

    Returns
    -------
    penalty : Tensor of shape ()
        Differentiable with respect to the parameters behind the scores.

    References
    ----------
    .. [1] L. Mescheder, A. Geiger, S. Nowozin, Which training methods for GANs do actually
       converge?, 2018.

    Examples
    --------
    >>> import torch
    >>> rows = torch.zeros(5, 2, requires_grad=True)
    >>> r1_penalty(3.0 * rows[:, 0] + 4.0 * rows[:, 1], rows).item()
    12.5
    """
    return 0.5 * _gradients(scores, rows).square().sum(1).mean()


def gradient_penalty(scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return the mean squared deviation of the scores' gradient norms from 1 [1]_.

    Parameters
    ----------
    scores : Tensor of shape (n,)
        Computed from `rows`, each score from its own row alone.
    rows : Tensor of shape (n, d)
        Between data and draws, with requires_grad.

    Returns
    -------
    penalty : Tensor of shape ()
        Differentiable with respect to the parameters behind the scores.

    References
    ----------
    .. [1] I. Gulrajani et al., Improved training of Wasserstein GANs, 2017.

    Examples
    --------
    >>> import torch
    >>> rows = torch.zeros(5, 2, requires_grad=True)
    >>> gradient_penalty(3.0 * rows[:, 0] + 4.0 * rows[:, 1], rows).item()
    16.0
    """
    norms = torch.linalg.vector_norm(_gradients(scores, rows), dim=1)
    return (norms - 1.0).square().mean()


def check_penalty(penalty: str, discriminator: Any, rows: torch.Tensor) -> None:
    """Raise unless a penalty of a user's discriminator can be trained.

    Parameters
    ----------
    penalty : {"r1", "wgan_gp"}
    discriminator : torch.nn.Module
    rows : Tensor of shape (n, d)
        To try it on.

    Raises
    ------
    ValueError
        If the scores have no second derivatives.
    """
    rows = rows.clone().requires_grad_()
    loss = r1_penalty
    if penalty == "wgan_gp":
        loss = gradient_penalty
    try:
        loss(discriminator(rows), rows).backward()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"discriminator must have second derivatives for penalty={penalty!r}; torch says:"
            f" {reason}; take other layers, or penalty=None."
        ) from error
    discriminator.zero_grad(set_to_none=True)


def _gradients(scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Gradients (n, d) of the scores with respect to their rows, differentiable themselves."""
    return torch.autograd.grad(scores.sum(), rows, create_graph=True)[0]


class AdversarialObjective(Objective):
    """The losses of both networks of a GAN, and of its encoder if it has one; one phase each.

    A subclass for rows with labels overrides `one_hot`, which turns the labels of a batch into
    inputs of the networks.

    Parameters
    ----------
    generator, discriminator : torch.nn.Module
        From codes to scaled rows, and from scaled rows to scores.
    encoder : torch.nn.Module, optional
        From scaled rows to codes.
    center, scale : array-like of shape (n_features,)
        The networks work on rows (X - center) / scale.
    n_components : int
        Length of a code.
    prior : {"normal", "uniform"}, default="normal"
        Distribution of the codes: standard Gaussian, or uniform in [-1, 1].
    loss : str, default="non_saturating"
        As in `discriminator_loss`.
    label_smoothing : float, default=0.0
        The target of rows of data is 1 minus this.
    balance_ratio : float, optional
        A network skips its update while its loss, times this, is below the other network's.
    penalty : {"r1", "wgan_gp"}, optional
        Gradient penalty of the discriminator.
    penalty_weight : float or None, default=0.0
        Factor on the penalty; not used without one.
    augmentation : sequence of str, optional
        Random changes to the discriminator's inputs, as in `augment`.
    image_shape : tuple of int, optional
        (height, width, channels) of the rows, for augmentation.
    instance_noise : float, default=0.0
        Standard deviation of the noise on the discriminator's inputs in the first epoch.
    n_epochs : int, default=1
        Epochs over which the instance noise falls to 0.
    n_discriminator_steps : int, default=1
        Updates of the discriminator for each of the generator.
    betas : tuple of float, default=(0.9, 0.999)
        Of the Adam optimisers of generator and discriminator.
    score : callable, optional
        From arrays of held-out rows and of as many draws, scaled, to a number that is higher for
        better draws; early stopping follows it.
    """

    generator: Any  # torch types modules and buffers as their union
    discriminator: Any
    encoder: Any
    center: torch.Tensor
    scale: torch.Tensor
    noise_level: torch.Tensor
    last_losses: torch.Tensor
    skips: torch.Tensor

    def __init__(
        self,
        generator: torch.nn.Module,
        discriminator: torch.nn.Module,
        encoder: torch.nn.Module | None = None,
        *,
        center: npt.ArrayLike,
        scale: npt.ArrayLike,
        n_components: int,
        prior: str = "normal",
        loss: str = "non_saturating",
        label_smoothing: float = 0.0,
        balance_ratio: float | None = None,
        penalty: str | None = None,
        penalty_weight: float | None = 0.0,
        augmentation: Sequence[str] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        instance_noise: float = 0.0,
        n_epochs: int = 1,
        n_discriminator_steps: int = 1,
        betas: tuple[float, float] = (0.9, 0.999),
        score: Callable[[np.ndarray, np.ndarray], float] | None = None,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.encoder = encoder
        self.n_components = n_components
        self.prior = prior
        self.loss_kind = loss
        self.label_smoothing = label_smoothing
        self.balance_ratio: Any = balance_ratio
        self.penalty = penalty
        self.penalty_weight: Any = penalty_weight
        self.augmentation = augmentation
        self.image_shape: Any = image_shape
        self.instance_noise = instance_noise
        self.n_epochs = n_epochs
        self.n_discriminator_steps = n_discriminator_steps
        self.betas = betas
        self.score: Any = score
        networks = [network for network in (generator, discriminator, encoder) if network]
        self.draws_globally = any(map(uses_global_generator, networks))
        like = next(generator.parameters())
        self.register_buffer("center", like.new_tensor(center), persistent=False)
        self.register_buffer("scale", like.new_tensor(scale), persistent=False)
        # A buffer, so that a captured CUDA graph reads the level of the current epoch.
        self.register_buffer("noise_level", like.new_tensor(instance_noise), persistent=False)
        if balance_ratio is not None:
            # NaN compares as False: without a loss of the other network nothing is skipped.
            self.register_buffer("last_losses", like.new_full((2,), math.nan))
            self.register_buffer("skips", like.new_zeros(2))

    def phases(self) -> list[Phase]:
        """Updates of the discriminator, of the generator and of the encoder."""
        phases = [
            self._balanced_phase(0, "discriminator", self.discriminator_loss, self.discriminator),
            self._balanced_phase(
                1, "generator", self.generator_loss, self.generator, self.n_discriminator_steps
            ),
        ]
        if self.encoder is not None:
            phases.append(Phase("encoder", self.encoder_loss, list(self.encoder.parameters())))
        return phases

    def _balanced_phase(
        self, index: int, name: str, loss: Callable, network: torch.nn.Module, every: int = 1
    ) -> Phase:
        """A phase of one of the two adversaries, which balance_ratio may skip."""
        skip = None
        if self.balance_ratio is not None:
            skip = partial(self._skip, index)
        parameters = list(network.parameters())
        return Phase(
            name, loss, parameters, every=every, optimizer={"betas": self.betas}, skip=skip
        )

    def one_hot(self, *labels: torch.Tensor) -> Sequence[torch.Tensor]:
        """Labels (n, n_classes) as inputs of the networks; those of the batch unless overridden."""
        return labels

    def draw_codes(self, n_rows: int) -> torch.Tensor:
        """Codes (n_rows, n_components) from the prior, drawn by the generator of the training."""
        codes = self.center.new_empty(n_rows, self.n_components)
        if self.prior == "normal":
            return codes.normal_(generator=self.noise)
        return codes.uniform_(-1.0, 1.0, generator=self.noise)

    def codes_for(self, X: torch.Tensor) -> torch.Tensor:
        """Codes (n, n_components) of the rows to generate for a batch X (n, d)."""
        return self.draw_codes(len(X))

    def discriminator_loss(
        self, X: torch.Tensor, *labels: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The discriminator's loss on a batch and as many generated rows, and its terms."""
        n_rows = len(X)
        labels = self.one_hot(*labels)
        with torch.no_grad():
            fake = self._discriminator_input(self.generator(self.codes_for(X), *labels))
        real = self._discriminator_input((X - self.center) / self.scale)
        if self.penalty == "r1":
            real.requires_grad_()
        # One pass over both halves costs less than two; no layer normalises over the batch.
        both = torch.cat([real, fake])
        repeated = [torch.cat([label, label]) for label in labels]
        features = self.discriminator.features(both, *repeated, generator=self.noise)
        scores = self.discriminator.score(features, *repeated)
        real_scores = scores[:n_rows]
        fake_scores = scores[n_rows:]
        loss = discriminator_loss(self.loss_kind, real_scores, fake_scores, self.label_smoothing)
        terms = {"real_score": real_scores.mean(), "fake_score": fake_scores.mean()}
        if self.penalty is not None:
            terms["penalty"] = self._gradient_penalty(real, fake, real_scores, labels)
            loss = loss + self.penalty_weight * terms["penalty"]
        class_loss, class_terms = self.class_loss(features[:n_rows], *labels)
        terms |= class_terms
        return loss + class_loss, {name: term.detach() for name, term in terms.items()}

    def generator_loss(self, X: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """The generator's loss on as many generated rows as the batch has."""
        labels = self.one_hot(*labels)
        fake = self._discriminator_input(self.generator(self.codes_for(X), *labels))
        features = self.discriminator.features(fake, *labels, generator=self.noise)
        loss = generator_loss(self.loss_kind, self.discriminator.score(features, *labels))
        class_loss, _ = self.class_loss(features, *labels)
        return loss + class_loss

    def class_loss(
        self, features: torch.Tensor, *labels: torch.Tensor
    ) -> tuple[Any, dict[str, torch.Tensor]]:
        """A classification loss from features (n, n_features), added to both losses, and its terms.

        It is 0 unless a subclass overrides it.
        """
        return 0.0, {}

    def encoder_loss(self, X: torch.Tensor, *labels: torch.Tensor) -> Any:
        """Mean squared errors of the codes of generated rows and of reconstructions of a batch."""
        n_rows = len(X)
        labels = self.one_hot(*labels)
        codes = self.draw_codes(n_rows)
        with torch.no_grad():
            fake = self.generator(codes, *labels)
        real = (X - self.center) / self.scale
        encoded = self.encoder(torch.cat([fake, real]))
        code_error = (encoded[:n_rows] - codes).square().mean()
        row_error = (self.generator(encoded[n_rows:], *labels) - real).square().mean()
        return code_error + row_error

    def begin_epoch(self, epoch: int) -> None:
        """Lower the instance noise linearly, to 0 in the last epoch."""
        remaining = max(0.0, 1.0 - epoch / max(1, self.n_epochs - 1))
        self.noise_level.fill_(self.instance_noise * remaining)

    def end_epoch(self) -> dict:
        """Numbers of updates that each network skipped in the epoch."""
        if self.balance_ratio is None:
            return {}
        discriminator_skips, generator_skips = self.skips.tolist()
        self.skips.zero_()
        return {
            "discriminator_skips": round(discriminator_skips),
            "generator_skips": round(generator_skips),
        }

    def measure_batch_norm(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> None:
        """Nothing: `validation_score` and the fitted model measure it for draws of their own."""

    def validation_score(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> float:
        """Score of draws against as many held-out rows, VALIDATION_ROWS or a few more at most."""
        kept: list = []
        n_rows = 0
        for batch in batches:
            kept.append(batch)
            n_rows += len(batch[0])
            if n_rows >= VALIDATION_ROWS:
                break
        # The weights are averages, for which the running statistics of training are wrong.
        refresh_batch_norm(self.generator, self._generator_inputs(kept))
        draws = torch.cat([self.generator(*inputs) for inputs in self._generator_inputs(kept)])
        if not torch.isfinite(draws).all():
            return math.nan
        rows = (torch.cat([X for X, *_ in kept]) - self.center) / self.scale
        return self.score(rows.double().cpu().numpy(), draws.double().cpu().numpy())

    def _generator_inputs(
        self, batches: Iterable[tuple[torch.Tensor, ...]]
    ) -> list[tuple[torch.Tensor, ...]]:
        """Codes, and labels if any, for as many generated rows as each batch has."""
        return [(self.draw_codes(len(X)), *self.one_hot(*labels)) for X, *labels in batches]

    def _discriminator_input(self, rows: torch.Tensor) -> torch.Tensor:
        """Scaled rows with the augmentations and the noise of the discriminator's inputs."""
        if self.augmentation:
            rows = augment(rows, self.augmentation, self.image_shape, self.noise)
        if self.instance_noise:
            rows = rows + self.noise_level * torch.empty_like(rows).normal_(generator=self.noise)
        return rows

    def _gradient_penalty(
        self,
        real: torch.Tensor,
        fake: torch.Tensor,
        real_scores: torch.Tensor,
        labels: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Penalty on the discriminator's gradients at real rows, or between real and fake ones."""
        if self.penalty == "r1":
            return r1_penalty(real_scores, real)
        weight = real.new_empty(len(real), 1).uniform_(generator=self.noise)
        between = torch.lerp(fake, real, weight).requires_grad_()
        scores = self.discriminator(between, *labels, generator=self.noise)
        return gradient_penalty(scores, between)

    def _skip(self, network: int, loss: torch.Tensor) -> torch.Tensor:
        """1.0 if the update of network 0 or 1 is to be skipped, else 0.0.

        It is decided on the device, without waiting for the host, and also in a CUDA graph.
        """
        skipped = (self.balance_ratio * loss < self.last_losses[1 - network]).float()
        self.last_losses[network] = loss
        self.skips[network] += skipped
        return skipped


def refresh_batch_norm(
    network: torch.nn.Module, inputs: Iterable[tuple[torch.Tensor, ...]]
) -> None:
    """Recompute the running statistics of a network's batch norms as means over batches.

    Parameters
    ----------
    network : torch.nn.Module
    inputs : iterable of tuple of tensors
        Arguments of the network, batch by batch.
    """
    if batch_norms(network):
        with measured_batch_norm(network), torch.no_grad():
            for arguments in inputs:
                network(*arguments)
