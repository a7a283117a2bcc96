"""Two networks against each other: losses, penalties and the objective of generative adversarial
networks.

The discriminator gives a score s(x) to rows, whose logistic function it takes for the probability
that a row is of the data; the generator g makes rows of codes z, and learns to raise s(g(z)).
"""

import math
from functools import partial
from typing import Any

import torch
from torch.nn.functional import softplus

from probgen.estimators.adversarial.augmentation import augment
from probgen.estimators.adversarial.networks import batch_norms
from probgen.training.objective import Objective, Phase

LOSSES = ("minimax", "non_saturating", "least_squares", "hinge", "wasserstein")
SMOOTHED = ("minimax", "non_saturating", "least_squares")  # losses with a target for rows of data
BALANCED = (
    "non_saturating",
    "least_squares",
)  # losses of which both sides are above 0, so that they have a ratio
PENALTIES = ("r1", "wgan_gp")
NOISES = ("normal", "uniform")
VALIDATION_ROWS = 2048  # held out, that early stopping looks at


def discriminator_loss(kind, real, fake, smoothing=0.0):
    """Return the mean loss of a discriminator.

    Parameters
    ----------
    kind : {"minimax", "non_saturating", "least_squares", "hinge", "wasserstein"}
        The cross-entropy -log D(x) - log(1 - D(g)), D = 1/(1 + exp(-s)), for the first two [1]_;
        (s(x) - 1)^2 / 2 + s(g)^2 / 2 [2]_; max(0, 1 - s(x)) + max(0, 1 + s(g)) [3]_; s(g) - s(x)
        [4]_.
    real, fake : Tensor of shape (n,)
        Scores s of rows of data and of generated ones.
    smoothing : float, default=0.0
        The target of rows of data is 1 - smoothing in place of 1, where the loss has one [5]_.

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
    return loss + smoothing * real.mean() if smoothing else loss


def generator_loss(kind, fake):
    """Return the mean loss of a generator.

    Parameters
    ----------
    kind : {"minimax", "non_saturating", "least_squares", "hinge", "wasserstein"}
        log(1 - D(g)); -log D(g), whose gradient does not vanish where the discriminator is sure;
        (s(g) - 1)^2 / 2; and -s(g) for the last two.
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


def r1_penalty(scores, rows):
    """Return half the mean squared slope of the scores at rows of data [1]_.

    Parameters
    ----------
    scores : Tensor of shape (n,)
        Made of `rows`, each of its own alone.
    rows : Tensor of shape (n, d)
        With requires_grad.

    Returns
    -------
    penalty : Tensor of shape ()
        Differentiable by what made the scores.

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
    return 0.5 * _slopes(scores, rows).square().sum(1).mean()


def gradient_penalty(scores, rows):
    """Return the mean square of how far the slope of the scores is from 1 at rows between data and
    draws [1]_.

    Parameters
    ----------
    scores : Tensor of shape (n,)
        Made of `rows`, each of its own alone.
    rows : Tensor of shape (n, d)
        With requires_grad.

    Returns
    -------
    penalty : Tensor of shape ()
        Differentiable by what made the scores.

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
    return (torch.linalg.vector_norm(_slopes(scores, rows), dim=1) - 1.0).square().mean()


def _slopes(scores, rows):
    return torch.autograd.grad(scores.sum(), rows, create_graph=True)[0]


class AdversarialObjective(Objective):
    """What both networks of a GAN, and its encoder if it has one, are trained for; a phase for
    each.

    A subclass for rows with labels need only say in `one_hot` what the networks are told of them.

    Parameters
    ----------
    model : GAN
        With its networks built.
    score : callable, optional
        Of held-out rows and as many draws, arrays; higher is better. It is what early stopping goes
        by.
    """

    generator: Any  # modules and buffers, whose types torch does not tell
    discriminator: Any
    encoder: Any
    center: torch.Tensor
    scale: torch.Tensor
    noise_level: torch.Tensor
    last_losses: torch.Tensor
    skips: torch.Tensor

    def __init__(self, model, score=None, max_iter=1):
        super().__init__()
        self.generator, self.discriminator = model.generator_, model.discriminator_
        self.encoder = getattr(model, "encoder_", None)
        self.kind, self.smoothing = model.loss, model.label_smoothing
        self.penalty, self.penalty_weight = model.penalty, model._penalty_weight
        self.augmentation, self.image_shape = (
            model.augmentation,
            getattr(model, "image_shape_", None),
        )
        self.instance_noise, self.max_iter = model.instance_noise, max_iter
        self.ratio, self.every, self.betas = (
            model.balance_ratio,
            model.n_discriminator_steps,
            model._betas,
        )
        self.prior, self.n_components = model.noise, model.n_components
        self.judge = score
        like = next(self.generator.parameters())
        self.register_buffer("center", like.new_tensor(model._center), persistent=False)
        self.register_buffer("scale", like.new_tensor(model._scale), persistent=False)
        self.register_buffer("noise_level", like.new_tensor(model.instance_noise), persistent=False)
        if self.ratio is not None:
            self.register_buffer("last_losses", like.new_full((2,), math.nan))
            self.register_buffer("skips", like.new_zeros(2))

    def phases(self):
        """Updates of the discriminator, of the generator and of the encoder."""

        def phase(index, name, loss, network, every=1):
            skip = None if self.ratio is None else partial(self._skip, index)
            optimizer = {"betas": self.betas}
            return Phase(
                name, loss, list(network.parameters()), every=every, optimizer=optimizer, skip=skip
            )

        phases = [
            phase(0, "discriminator", self.discriminator_loss, self.discriminator),
            phase(1, "generator", self.generator_loss, self.generator, self.every),
        ]
        if self.encoder is not None:
            phases.append(Phase("encoder", self.encoder_loss, list(self.encoder.parameters())))
        return phases

    def one_hot(self, *labels):
        """Tensors (n, n_classes) that tell the networks the classes of a batch, where it has
        some."""
        return labels

    def draw_codes(self, n_rows):
        """Codes (n_rows, n_components) from the noise prior, by the generator of the training."""
        codes = self.center.new_empty(n_rows, self.n_components)
        if self.prior == "normal":
            return codes.normal_(generator=self.noise)
        return codes.uniform_(-1.0, 1.0, generator=self.noise)

    def codes_for(self, X):
        """Codes (n, n_components) of the generated rows that stand against a batch X (n, d)."""
        return self.draw_codes(len(X))

    def discriminator_loss(self, X, *labels):
        """Loss of telling rows of a batch from as many generated ones, and its terms."""
        n_rows, labels = len(X), self.one_hot(*labels)
        with torch.no_grad():
            fake = self._show(self.generator(self.codes_for(X), *labels))
        real = self._show((X - self.center) / self.scale)
        if self.penalty == "r1":
            real.requires_grad_()
        both = torch.cat([real, fake])
        features = self.discriminator.features(both, self.noise)
        scores = self.discriminator.score(
            features, *[torch.cat([label, label]) for label in labels]
        )
        of_real, of_fake = scores[:n_rows], scores[n_rows:]
        loss = discriminator_loss(self.kind, of_real, of_fake, self.smoothing)
        terms = {"real_score": of_real.detach().mean(), "fake_score": of_fake.detach().mean()}
        if self.penalty is not None:
            terms["penalty"] = self._penalize(real, fake, of_real, labels)
            loss = loss + self.penalty_weight * terms["penalty"]
        more, more_terms = self.class_loss(features[:n_rows], *labels)
        return loss + more, {name: term.detach() for name, term in (terms | more_terms).items()}

    def generator_loss(self, X, *labels):
        """Loss of the scores of as many generated rows as a batch has."""
        labels = self.one_hot(*labels)
        fake = self._show(self.generator(self.codes_for(X), *labels))
        features = self.discriminator.features(fake, self.noise)
        loss = generator_loss(self.kind, self.discriminator.score(features, *labels))
        return loss + self.class_loss(features, *labels)[0]

    def class_loss(self, features, *labels):
        """What guesses of the classes add to both losses, from features (n, n_features), and its
        terms; 0 here."""
        return 0.0, {}

    def encoder_loss(self, X, *labels):
        """Mean square by which codes of generated rows, and rows of data by way of their codes, are
        missed."""
        labels, codes = self.one_hot(*labels), self.draw_codes(len(X))
        with torch.no_grad():
            fake = self.generator(codes, *labels)
        real = (X - self.center) / self.scale
        found = self.encoder(torch.cat([fake, real]))
        missed_rows = (self.generator(found[len(X) :], *labels) - real).square().mean()
        return (found[: len(X)] - codes).square().mean() + missed_rows

    def begin_epoch(self, epoch):
        """Lower the instance noise, to nothing in the last epoch."""
        self.noise_level.fill_(
            self.instance_noise * max(0.0, 1.0 - epoch / max(1, self.max_iter - 1))
        )

    def end_epoch(self):
        """Updates of each network that the epoch left out."""
        if self.ratio is None:
            return {}
        counts = dict(zip(("discriminator_skips", "generator_skips"), self.skips.tolist()))
        self.skips.zero_()
        return {name: round(count) for name, count in counts.items()}

    def validation_score(self, batches):
        """Score of as many draws as there are rows held out, or as many batches of these as hold
        VALIDATION_ROWS."""
        kept: list = []
        for batch in batches:
            kept.append(batch)
            if sum(len(X) for X, *_ in kept) >= VALIDATION_ROWS:
                break
        refresh_batch_norm(self.generator, self._draw_inputs(kept))
        draws = torch.cat([self.generator(*inputs) for inputs in self._draw_inputs(kept)])
        if not torch.isfinite(draws).all():
            return math.nan
        rows = (torch.cat([X for X, *_ in kept]) - self.center) / self.scale
        return self.judge(*(part.double().cpu().numpy() for part in (rows, draws)))

    def _draw_inputs(self, batches):
        """Codes and labels for the generator, as many as there are rows in each batch."""
        return [(self.draw_codes(len(X)), *self.one_hot(*labels)) for X, *labels in batches]

    def _show(self, rows):
        """What the discriminator is shown of scaled rows: augmented, and under noise."""
        if self.augmentation:
            rows = augment(rows, self.augmentation, self.image_shape, self.noise)
        if self.instance_noise:
            rows = rows + self.noise_level * torch.empty_like(rows).normal_(generator=self.noise)
        return rows

    def _penalize(self, real, fake, scores, labels):
        """Penalty on the slopes of a discriminator that gave scores to real."""
        if self.penalty == "r1":
            return r1_penalty(scores, real)
        share = real.new_empty(len(real), 1).uniform_(generator=self.noise)
        between = torch.lerp(fake, real, share).requires_grad_()
        return gradient_penalty(self.discriminator(between, *labels, generator=self.noise), between)

    def _skip(self, network, loss):
        """1 where the update of a network, 0 or 1, is to be left out; the device decides, and
        nobody waits for it."""
        skipped = (self.ratio * loss < self.last_losses[1 - network]).float()
        self.last_losses[network] = loss
        self.skips[network] += skipped
        return skipped


def refresh_batch_norm(network, inputs):
    """Take the running statistics of a network afresh, as means over batches of inputs (tuples of
    tensors)."""
    norms, was_training = batch_norms(network), network.training
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    network.train()
    with torch.no_grad():
        for arguments in inputs:
            network(*arguments)
    network.train(was_training)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
