"""Posterior modes of codes under each Gaussian of their prior, and Laplace's approximation there.

Under one Gaussian the posterior of a row has one mode in most cases. Under a mixture it has many,
as a component may be narrow where the row says little about its code. So each row has a search of
its own under each component that matters for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from probgen._constants import LOG_2PI

MOST_COMPONENTS = 16  # that are looked at for a row
NEGLIGIBLE = 8.0  # nats by which a component lies below the best one of its row
HOPELESS = 20.0  # the same before the search
MOST_STEPS = 10
DAMPINGS = (1.0, 0.25, 0.0625)
CONVERGED = 0.1  # nats that the next step promises
DIFFERENCE = 1e-3  # step of a difference quotient, in standard deviations of a code
# Networks run in tiles of one shape, which give a row the same bits whatever else is in the batch.
TILE = 64
ALIGNMENT = 16  # numbers, a multiple of the vector length of every processor


@dataclass(frozen=True)
class CodePrior:
    """A density of codes, and a mixture of Gaussians that is near it or the same.

    Attributes
    ----------
    score_samples : callable
        From codes (n, k), an array, to log p(z) of shape (n,).
    sample : callable
        (n, random_state=) -> codes (n, k).
    weights : ndarray of shape (C,)
    means : ndarray of shape (C, k)
    covariances : ndarray of shape (C, k, k)
        Of the Gaussians.
    """

    score_samples: Callable
    sample: Callable
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


@dataclass(frozen=True)
class Observation:
    """p(x given z) of rows as a function of their codes.

    Attributes
    ----------
    decode : callable
        From codes (m, k) to parameters (m, d) of the observation model.
    log_prob : callable
        From rows and parameters (..., d), which broadcast, to log p(x given z) of shape (...).
    curvature : callable
        From the same to the gradient of log_prob with respect to the parameters, and its expected
        negative second derivative.
    """

    decode: Callable
    log_prob: Callable
    curvature: Callable


@dataclass
class Modes:
    """Modes of n rows under T components of the prior each, as p = n T pairs, rows first.

    Attributes
    ----------
    rows, components : Tensor of shape (p,)
        Indices.
    codes : Tensor of shape (p, k)
    precisions : Tensor of shape (p, k, k)
        Gauss-Newton matrices there: those of the posterior, were the decoder linear.
    evidence : Tensor of shape (p,)
        Laplace's estimates of the log of the component's part of p(x); -inf for hopeless ones.
    """

    rows: torch.Tensor
    components: torch.Tensor
    codes: torch.Tensor
    precisions: torch.Tensor
    evidence: torch.Tensor


class ModeSearch:
    """Damped Gauss-Newton steps to the posterior modes of rows under components of the prior.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    observation : Observation
    prior : CodePrior
    """

    def __init__(self, X: torch.Tensor, observation: Observation, prior: CodePrior) -> None:
        self.X = X
        self.observation = observation
        weights, self.means, covariances = (
            torch.as_tensor(part, dtype=torch.float64, device=X.device)
            for part in (prior.weights, prior.means, prior.covariances)
        )
        factors = cholesky(covariances)
        self.precisions = torch.cholesky_inverse(factors)
        self.half_log_2pi = 0.5 * LOG_2PI * self.means.shape[1]
        self.constants = weights.log() - half_log_det(factors) - self.half_log_2pi
        self.centre = weights @ self.means
        squares = torch.diagonal(covariances, dim1=1, dim2=2)
        squares = squares + (self.means - self.centre).square()
        self.differences = DIFFERENCE * torch.sqrt(weights @ squares)

    def run(self, codes: torch.Tensor) -> Modes:
        """The modes, with the codes (n, k) as one of the starts."""
        codes = codes.double()
        modes, moving = self._starts(torch.where(codes.isfinite(), codes, self.centre))
        n = len(codes)
        for _ in range(MOST_STEPS):
            if not len(moving):
                break
            steps, gains = self._expand(modes, moving)
            best = modes.evidence.reshape(n, -1).max(1).values[modes.rows[moving]]
            promises = (gains > CONVERGED) & (
                modes.evidence[moving] + 2.0 * gains > best - NEGLIGIBLE
            )
            moving = self._move(modes, moving[promises], steps[promises])
        return modes

    def _starts(self, codes: torch.Tensor) -> tuple[Modes, torch.Tensor]:
        """Pairs where the search starts, and the indices of those that are not hopeless.

        The start is the best of the code of the row, the mean of the component, and the mode for a
        decoder that is linear about the code.
        """
        n = len(codes)
        each = torch.arange(n, device=codes.device)
        given, slopes, information = self._differentiate(each, codes)
        n_parts = min(len(self.means), MOST_COMPONENTS)
        every = torch.arange(len(self.means), device=codes.device).expand(n, -1)
        at_means = self._given(self.X[:, None, :], self._decode(self.means)) + self.constants
        at_codes = given[:, None] + self._log_prior(every, codes[:, None, :])
        components = torch.maximum(at_means, at_codes).topk(n_parts).indices

        precisions = information[:, None] + self.precisions[components]
        gradients = slopes[:, None, :] + self._prior_slopes(components, codes[:, None, :])
        steps, gains, half_log_dets = _newton(gradients, precisions)
        rows = each.repeat_interleave(n_parts)
        components = components.reshape(-1)
        at_codes = at_codes[rows, components]
        promises = at_codes + gains.reshape(-1) - half_log_dets.reshape(-1)
        candidates = torch.stack(
            [codes[rows], self.means[components], codes[rows] + steps.reshape(len(rows), -1)]
        )
        values = torch.stack(
            [at_codes, at_means[rows, components], self._values(rows, components, candidates[2])]
        )
        pairs = torch.arange(len(rows), device=codes.device)
        modes = Modes(
            rows,
            components,
            candidates[values.argmax(0), pairs],
            precisions.flatten(0, 1),
            torch.full_like(promises, -torch.inf),
        )
        promises = promises.reshape(n, -1)
        is_hopeless = promises < promises.max(1, keepdim=True).values - HOPELESS
        return modes, pairs[~is_hopeless.reshape(-1)]

    def _expand(self, modes: Modes, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Set the evidence and the precisions of some pairs (q,); return steps and gains there."""
        rows, components, codes = modes.rows[pairs], modes.components[pairs], modes.codes[pairs]
        given, slopes, information = self._differentiate(rows, codes)
        precisions = information + self.precisions[components]
        steps, gains, half_log_dets = _newton(
            slopes + self._prior_slopes(components, codes), precisions
        )
        values = given + self._log_prior(components, codes)
        modes.precisions[pairs] = precisions
        modes.evidence[pairs] = values - half_log_dets + self.half_log_2pi
        return steps, gains

    def _move(self, modes: Modes, pairs: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Move pairs (q,) by the damping of their steps that is best; return those that improve."""
        if not len(pairs):
            return pairs
        rows, components = modes.rows[pairs], modes.components[pairs]
        best = self._values(rows, components, modes.codes[pairs])
        codes = modes.codes[pairs]
        improves = torch.zeros_like(pairs, dtype=torch.bool)
        for damping in DAMPINGS:
            moved = modes.codes[pairs] + damping * steps
            values = self._values(rows, components, moved)
            is_better = values > best
            codes = torch.where(is_better[:, None], moved, codes)
            best = torch.where(is_better, values, best)
            improves |= is_better
        modes.codes[pairs] = codes
        return pairs[improves]

    def _values(
        self, rows: torch.Tensor, components: torch.Tensor, codes: torch.Tensor
    ) -> torch.Tensor:
        """log p(x, z) (p,) of pairs at codes (p, k), under the component and its weight."""
        parts = []
        for tile in _tiles(len(rows), rows.device):
            parts.append(self._given(self.X[rows[tile]], self._decode(codes[tile])))
        return torch.cat(parts)[: len(rows)] + self._log_prior(components, codes)

    def _differentiate(
        self, rows: torch.Tensor, codes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """log p(x given z) (p,) at codes (p, k), its gradient and its Gauss-Newton matrix."""
        parts = []
        for tile in _tiles(len(rows), rows.device):
            parts.append(self._differentiate_tile(self.X[rows[tile]], codes[tile]))
        given, slopes, information = (torch.cat(part)[: len(rows)] for part in zip(*parts))
        return given, slopes, information

    def _differentiate_tile(
        self, X: torch.Tensor, codes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n, k = codes.shape
        # The codes, and k copies that are shifted along one axis each: (k + 1, n, k).
        shifted = torch.cat([codes[None], codes + torch.diag(self.differences)[:, None, :]])
        parameters = self._decode(shifted.reshape(-1, k)).reshape(k + 1, n, -1)
        # Padded with zeros, so that the products of all rows find them at aligned places in memory.
        jacobian = codes.new_zeros(n, k + -k % ALIGNMENT, X.shape[1] + -X.shape[1] % ALIGNMENT)
        differences = (parameters[1:] - parameters[0]).double() / self.differences[:, None, None]
        jacobian[:, :k, : X.shape[1]] = differences.transpose(0, 1)
        gradient = jacobian.new_zeros(n, jacobian.shape[2])
        weight = torch.zeros_like(gradient)
        gradient[:, : X.shape[1]], weight[:, : X.shape[1]] = self.observation.curvature(
            X, parameters[0]
        )
        slopes = torch.einsum("nkd,nd->nk", jacobian, gradient)[:, :k]
        information = (jacobian @ (jacobian * weight[:, None, :]).mT)[:, :k, :k]
        # Where the networks overflow, the prior alone guides the search.
        slopes = slopes.nan_to_num(0.0, 0.0, 0.0)
        information = information.nan_to_num(0.0, 0.0, 0.0)
        return self._given(X, parameters[0]), slopes, information

    def _given(self, X: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """log p(x given z) (...) in double precision, -inf where the networks overflow."""
        log_prob = self.observation.log_prob(X, parameters).double()
        return log_prob.nan_to_num(-torch.inf, posinf=-torch.inf, neginf=-torch.inf)

    def _decode(self, codes: torch.Tensor) -> torch.Tensor:
        return self.observation.decode(codes.to(self.X.dtype))

    def _log_prior(self, components: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Log of weight and density of components (...) at codes (..., k)."""
        offsets = codes - self.means[components]
        squares = offsets * (self.precisions[components] @ offsets[..., None])[..., 0]
        return self.constants[components] - 0.5 * squares.sum(-1)

    def _prior_slopes(self, components: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Gradients (..., k) of that."""
        offsets = self.means[components] - codes
        return (self.precisions[components] @ offsets[..., None])[..., 0]


def _tiles(n_pairs: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Indices of pairs in tiles of one shape; the last repeats the last pair."""
    padded = torch.arange(n_pairs + -n_pairs % TILE, device=device)
    return padded.clamp(max=n_pairs - 1).split(TILE)


def _newton(
    gradients: torch.Tensor, precisions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Newton steps (..., k), what they gain (...), and half the log-determinants (...)."""
    factors = cholesky(precisions)
    inverses = inverse_of_lower(factors)
    whitened = torch.einsum("...ij,...j->...i", inverses, gradients)
    steps = torch.einsum("...ji,...j->...i", inverses, whitened)
    return steps, 0.5 * whitened.square().sum(-1), half_log_det(factors)


def cholesky(matrices: torch.Tensor) -> torch.Tensor:
    """Lower factors of positive matrices (..., k, k), with a ridge against rounding errors."""
    diagonal = torch.diagonal(matrices, dim1=-2, dim2=-1)
    return torch.linalg.cholesky(matrices + torch.diag_embed(1e-10 * diagonal))


def inverse_of_lower(factors: torch.Tensor) -> torch.Tensor:
    """Inverses of lower triangular matrices (..., k, k).

    Of all ways to solve, this one gives a matrix the same bits at any place in a batch.
    """
    identity = torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
    return torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False)


def half_log_det(factors: torch.Tensor) -> torch.Tensor:
    """Half the log-determinants (...) of matrices, from their lower factors (..., k, k)."""
    return torch.diagonal(factors, dim1=-2, dim2=-1).log().sum(-1)
