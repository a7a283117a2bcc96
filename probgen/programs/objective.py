"""Evidence lower bounds of Pyro programs, as objectives of the training engine."""

import math
from typing import Any

import pyro.infer
import torch

from probgen.options import ELBO
from probgen.programs.recording import Replayed
from probgen.programs.terms import elbo_terms
from probgen.training.objective import Objective

RECORD_FROM = 32  # planned batches of one size from which a recording saves time


class ProgramObjective(Objective):
    """Minus the evidence lower bound of a model and its guide, in nats per row.

    Where enough batches of one size are planned, the programs run once for that size, and their
    torch operations are replayed from then on. Otherwise, and if they or the bound branch on values
    as some of pyro.infer do, they run for every batch, one thread at a time.

    Parameters
    ----------
    model, guide : callable
        Pyro programs of the tensors of a batch.
    networks : sequence of torch.nn.Module
        Modules that the programs use, whose parameters are trained.
    elbo : ELBO or pyro.infer.ELBO, default=None
        Kind and settings of the bound, or a bound of Pyro, whose validation scores are those of
        `ELBO()`; None is `ELBO()`.
    beta : float, default=1.0
        Factor on the divergence.
    prepare : callable, default=None
        Function from the tensors of a batch and a generator to the arguments of the programs.
    """

    def __init__(
        self,
        model,
        guide,
        networks,
        *,
        elbo=None,
        beta=1.0,
        prepare=None,
    ):
        super().__init__()
        self.model = model
        self.guide = guide
        self.networks = torch.nn.ModuleList(networks)
        self.pyro_elbo: Any = None
        if isinstance(elbo, pyro.infer.ELBO):
            self.pyro_elbo = elbo
            elbo = None
        settings = ELBO() if elbo is None else elbo
        self.kind = settings.kind
        self.n_particles = self.n_copies = settings.n_particles
        self.warmup = settings.kl_warmup
        self.free_bits = settings.free_bits
        self.final_beta = beta
        self.prepare = prepare
        self.device = str(next(self.parameters()).device)
        self.beta = torch.tensor(float(beta), device=self.device)
        loss = self._loss if self.pyro_elbo is None else self._loss_of_pyro
        self.replayed_loss = Replayed(loss, lambda: self.noise, self.device, self)
        self.replayed_bound = Replayed(self._bound, lambda: self.noise, self.device, self)
        self.n_batches: dict | None = None
        self.n_held_out: dict | None = None
        self.is_measuring = False

    def begin(self, n_batches, n_held_out):
        """Remember how many batches of each size there will be, which decides on recordings."""
        self.n_batches = n_batches
        self.n_held_out = n_held_out

    def measure_batch_norm(self, batches):
        """See Objective; the programs run for every batch, as recordings have other momenta."""
        self.is_measuring = True
        super().measure_batch_norm(batches)
        self.is_measuring = False

    def begin_epoch(self, epoch):
        """Set the factor on the divergence."""
        if self.warmup:
            self.beta.fill_(self.final_beta * min(1.0, epoch / self.warmup))

    def loss(self, *batch):
        """Return the loss of a batch, and its terms."""
        return self._replayed_loss(len(batch[0]), *self._prepared(batch))

    def validation_score(self, batches):
        """Return the bound itself, whatever beta and the free bits are."""
        total, n_rows = 0.0, 0
        for batch in batches:
            if self.prepare is not None:
                batch = self.prepare(*batch, generator=self.noise)
            size = len(batch[0])
            bound = self.replayed_bound(*batch, is_recorded=self._pays(self.n_held_out, size))
            total += size * float(bound)
            n_rows += size
        return total / n_rows

    def _prepared(self, batch):
        """What the programs see of a batch in training."""
        if self.prepare is not None and (self.training or self.is_measuring):
            return self.prepare(*batch, generator=self.noise)
        return batch

    def _replayed_loss(self, size, *inputs):
        """The loss of the inputs of a batch of so many rows."""
        return self.replayed_loss(*inputs, is_recorded=self._pays(self.n_batches, size))

    def _pays(self, planned, size):
        """Whether to record batches of so many rows.

        The decision must depend on the plan alone, and not on the batches so far: recorded and
        direct runs draw different numbers, and a fit that resumes from a checkpoint must draw those
        of the uninterrupted fit.
        """
        if self.is_measuring:
            return False
        if planned is None or self.device != "cpu":  # on a GPU only recordings can be captured
            return True
        return planned.get(size, 0) >= RECORD_FROM

    def _loss(self, *batch):
        terms = elbo_terms(self.model, self.guide, batch, n_particles=self.n_particles)
        reconstruction = terms.log_likelihood.mean()
        if self.kind == "iwae":
            bound = terms.log_likelihood + self._weighted(terms.log_prior - terms.log_posterior)
            if self.n_particles > 1:
                bound = torch.logsumexp(bound, 0) - math.log(self.n_particles)
            divergence = (terms.log_posterior - terms.log_prior).mean()
            return -bound.mean(), {"reconstruction": reconstruction, "kl": divergence}
        divergence = self._divergence(terms)
        penalised = self._beyond_free_bits(terms) if self.free_bits else divergence
        loss = self._weighted(penalised) - reconstruction
        return loss, {"reconstruction": reconstruction, "kl": divergence}

    def _loss_of_pyro(self, *batch):
        return self.pyro_elbo.differentiable_loss(self.model, self.guide, *batch) / len(batch[0])

    def _bound(self, *batch):
        terms = elbo_terms(self.model, self.guide, batch, n_particles=self.n_particles)
        if self.kind == "iwae" and self.n_particles > 1:
            return (torch.logsumexp(terms.log_weights, 0) - math.log(self.n_particles)).mean()
        return terms.log_likelihood.mean() - self._divergence(terms)

    def _weighted(self, divergence):
        if self.final_beta == 1.0 and not self.warmup:
            return divergence
        return self.beta * divergence

    def _divergence(self, terms):
        """Mean divergence per row."""
        known = terms.divergences
        if self.kind == "trace" or any(value is None for value in known.values()):
            return (terms.log_posterior - terms.log_prior).mean()
        return sum(_by_dimension(value).sum() for value in known.values())

    def _beyond_free_bits(self, terms):
        """Mean divergence per row, with that of each dimension raised to free_bits.

        A site without a divergence in closed form makes all dimensions count as one.
        """
        known = terms.divergences
        if any(value is None for value in known.values()):
            return torch.clamp(self._divergence(terms), min=self.free_bits)
        return sum(
            torch.clamp(_by_dimension(value), min=self.free_bits).sum() for value in known.values()
        )


def _by_dimension(divergence):
    """Mean over the rows (k,) of a divergence (..., n, k)."""
    return divergence.flatten(0, -2).mean(0)
