"""Importance sampling of the likelihood of a row under a latent variable model with a decoder.

p(x) is the integral of p(x given z) p(z) over the codes z. With draws z_s from q, the mean of
p(x given z_s) p(z_s) / q(z_s) is an unbiased estimate of it; its logarithm is too low on average.

The prior p(z) is a mixture of Gaussians, or near one. Under each of them a posterior is a product
of two factors that are log-concave or nearly so, and has one mode in most cases, while their sum
has many: a component is narrow where a row says little about its code. So q has a part for each
component that matters for the row, a Student's t about the mode of its posterior, in proportion to
Laplace's estimate of the component's share [1]_. A last part is p(z) itself, which bounds the
weights wherever there are other modes [2]_. All draws have the density of the whole mixture in the
denominator, whichever part they came from.

References
----------
.. [1] L. Tierney and J. B. Kadane, Accurate approximations for posterior moments and marginal
   densities, 1986.
.. [2] T. Hesterberg, Weighted average importance sampling and defensive mixture distributions,
   Technometrics, 1995.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from scipy.special import gammaln
from scipy.stats import chi2, norm, qmc

from probgen.marginal_likelihood.latent_model import log_mean_exp
from probgen.marginal_likelihood.modes import (
    NEGLIGIBLE,
    CodePrior,
    Modes,
    ModeSearch,
    Observation,
    cholesky,
    half_log_det,
    inverse_of_lower,
)

DEGREES_OF_FREEDOM = 8.0  # heavier tails than the posterior's, so that all weights are bounded
WORK_NUMBERS = 2**22  # numbers in the draws, or in what they decode to, at a time
PRIOR_SHARE = 4  # one draw in so many comes from the prior
EVEN_SHARE = 0.2  # of the draws of all parts; Laplace's estimates of their shares are rough


def log_likelihood(
    X: torch.Tensor,
    codes: torch.Tensor,
    observation: Observation,
    prior: CodePrior,
    *,
    n_samples: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return estimates of log p(x) of rows, and their standard errors.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    codes : Tensor of shape (n, k)
        Start of the search for the posterior modes, such as the codes of an encoder.
    observation : Observation
    prior : CodePrior
    n_samples : int
        Draws for each row, at least PRIOR_SHARE; the same for all rows up to the locations, the
        shapes and the shares of the parts of the proposal.

    Returns
    -------
    values, errors : Tensor of shape (n,)
        In nats, as those of `log_mean_exp`.
    """
    n, k = codes.shape
    proposal = _Proposal.of(ModeSearch(X, observation, prior).run(codes), n)
    n_far = n_samples // PRIOR_SHARE
    far_share = n_far / n_samples

    def log_weights(draws: torch.Tensor) -> torch.Tensor:
        """Log-weights (n, s) of draws of the rows' own (n, s, k), or of draws of all (s, k)."""
        log_prior = prior.score_samples(draws.reshape(-1, k).cpu().numpy())
        log_prior = torch.tensor(log_prior, device=draws.device).reshape(draws.shape[:-1])
        # All parts of the proposal have a density at every draw.
        log_proposal = torch.logaddexp(
            math.log1p(-far_share) + proposal.log_density(draws), math.log(far_share) + log_prior
        )
        parameters = observation.decode(draws.reshape(-1, k).to(X.dtype))
        parameters = parameters.reshape(*draws.shape[:-1], -1)
        log_given = observation.log_prob(X[:, None, :], parameters).double()
        return log_given + log_prior - log_proposal

    far = np.asarray(prior.sample(n_far, random_state=0), dtype=np.float64)
    parts = [log_weights(torch.tensor(far, device=X.device))]
    n_at_once = max(1, WORK_NUMBERS // (n * max(k, X.shape[1])))
    uniform, noise = (torch.tensor(part, device=X.device) for part in _noise(k, n_samples - n_far))
    for chosen, offsets in zip(uniform.split(n_at_once), noise.split(n_at_once)):
        parts.append(log_weights(proposal.draw(chosen, offsets)))
    return log_mean_exp(torch.cat(parts, dim=1).T)


@dataclass(frozen=True)
class _Proposal:
    """A mixture of T Student's t distributions for each of n rows, about modes of the posterior.

    Attributes
    ----------
    shares : Tensor of shape (n, T)
        Weights of the parts, some of which may be 0.
    modes : Tensor of shape (n, T, k)
    factors : Tensor of shape (n, T, k, k)
        Lower factors of the precisions.
    """

    shares: torch.Tensor
    modes: torch.Tensor
    factors: torch.Tensor

    @classmethod
    def of(cls, modes: Modes, n_rows: int) -> Self:
        """The parts for the modes that matter, in proportion to their evidence for the most."""
        k = modes.codes.shape[1]
        evidence = modes.evidence.reshape(n_rows, -1)
        highest = evidence.max(1, keepdim=True).values
        evidence = torch.where(highest.isfinite(), evidence, 0.0)  # where all have overflowed
        matters = evidence > evidence.max(1, keepdim=True).values - NEGLIGIBLE
        even = matters / matters.sum(1, keepdim=True)
        laplace = torch.softmax(evidence.masked_fill(~matters, -torch.inf), dim=1)
        shares = (1.0 - EVEN_SHARE) * laplace + EVEN_SHARE * even

        n_parts = int(matters.sum(1).max())
        shares, order = shares.sort(dim=1, descending=True, stable=True)
        shares, order = shares[:, :n_parts], order[:, :n_parts]
        rows = torch.arange(n_rows, device=order.device)[:, None]
        precisions = modes.precisions.reshape(n_rows, -1, k, k)[rows, order]
        return cls(shares, modes.codes.reshape(n_rows, -1, k)[rows, order], cholesky(precisions))

    def draw(self, uniform: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Draws (n, s, k), from numbers in (0, 1) (s,) and draws of a Student's t (s, k)."""
        n, n_parts = self.shares.shape
        chosen = torch.searchsorted(self.shares.cumsum(1), uniform.expand(n, -1).contiguous())
        chosen = chosen.clamp(max=n_parts - 1)[:, :, None]
        draws = noise.new_zeros(n, *noise.shape)
        for part in range(n_parts):
            inverse = inverse_of_lower(self.factors[:, part])
            drawn = self.modes[:, part, None, :] + torch.einsum("nji,sj->nsi", inverse, noise)
            draws = torch.where(chosen == part, drawn, draws)
        return draws

    def log_density(self, draws: torch.Tensor) -> torch.Tensor:
        """Log-density (n, s) at draws (n, s, k), or at draws (s, k) that all rows share."""
        total: Any = -torch.inf
        for part in range(self.shares.shape[1]):
            factors = self.factors[:, part]
            offsets = draws - self.modes[:, part, None, :]
            whitened = torch.einsum("nsi,nij->nsj", offsets, factors)
            constants = self.shares[:, part].log() + half_log_det(factors)
            log_density = _log_t(whitened.square().sum(2), factors.shape[-1]) + constants[:, None]
            total = torch.logaddexp(torch.as_tensor(total, device=draws.device), log_density)
        return total


def normal_noise(k: int, n_samples: int) -> np.ndarray:
    """Return quasi-random standard normal draws (n_samples, k), always the same.

    They come from a scrambled Sobol sequence.
    """
    return norm.ppf(_uniform(k, n_samples))


@lru_cache(maxsize=8)
def _uniform(k: int, n_samples: int) -> np.ndarray:
    """Scrambled Sobol points (n_samples, k) in the open unit cube."""
    exponent = max(0, math.ceil(math.log2(n_samples)))
    points = qmc.Sobol(k, rng=np.random.default_rng(0)).random_base2(exponent)[:n_samples]
    points = np.clip(points, 1e-12, 1.0 - 1e-12)
    points.flags.writeable = False
    return points


@lru_cache(maxsize=8)
def _noise(k: int, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Quasi-random numbers (n_samples,) in (0, 1), and draws (n_samples, k) of a Student's t."""
    uniform = _uniform(k + 2, n_samples)
    # A Student's t is a Gaussian over the root of a chi-squared variable per degree of freedom.
    spread = np.sqrt(DEGREES_OF_FREEDOM / chi2.ppf(uniform[:, 1:2], DEGREES_OF_FREEDOM))
    noise = spread * norm.ppf(uniform[:, 2:])
    noise.flags.writeable = False
    return uniform[:, 0], noise


def _log_t(squared_norms: torch.Tensor, k: int) -> torch.Tensor:
    """Log-density of a standard Student's t in k dimensions at points of these squared norms."""
    half = 0.5 * (DEGREES_OF_FREEDOM + k)
    constant = (
        gammaln(half)
        - gammaln(0.5 * DEGREES_OF_FREEDOM)
        - 0.5 * k * math.log(math.pi * DEGREES_OF_FREEDOM)
    )
    return constant - half * torch.log1p(squared_norms / DEGREES_OF_FREEDOM)
