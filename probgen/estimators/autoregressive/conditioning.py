"""Draws from a chain of conditionals under conditions, and the probabilities of conditions.

Conditions on the features that come first in the order are exact. Otherwise rows are proposed in
order, each feature within its interval or set, and weighted by the probability of what is known.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import qmc

from probgen._warnings import warn
from probgen.conditions.checked import CheckedConditions, check_conditions
from probgen.conditions.given import Conditions, representable
from probgen.estimators.autoregressive.sampler import ChainSampler, block_size, padded_blocks
from probgen.marginal_likelihood.latent_model import log_mean_exp

AVERAGED = 100  # draws of a mean where n_proposals is None
SMALL_SAMPLE = 10.0  # effective sample size below which a warning is issued


class Proposals(NamedTuple):
    """Proposed rows for m of the conditions.

    Attributes
    ----------
    indices : ndarray of shape (m,)
        Rows of the conditions.
    rows : ndarray of shape (n_draws, m, d)
    log_weights : ndarray of shape (n_draws, m)
        Their exponentials estimate the probability of a row's conditions by their sum.
    is_exact : bool
        Whether the weights of a row are all equal, and their sum exact.
    """

    indices: np.ndarray
    rows: np.ndarray
    log_weights: np.ndarray
    is_exact: bool


def complete(
    sampler: ChainSampler,
    conditions: Conditions,
    generator: Any,
    *,
    argument: str,
    n_proposals: int | None,
    labels: Sequence[np.ndarray] = (),
    average: bool = False,
) -> np.ndarray:
    """Return rows that keep conditions, draws or conditional means.

    Parameters
    ----------
    sampler : ChainSampler
    conditions : Conditions or MixedConditions
        On n rows.
    generator : numpy.random.Generator or None
        None takes the same quasi-random numbers at every call, for means.
    argument : str
        What the caller named the conditions, for messages.
    n_proposals : int or None
        Proposals for each row whose conditions are not exact; None refuses such rows.
    labels : sequence of ndarray of shape (n, ...)
        Labels of the rows, which the network takes.
    average : bool, default=False
        Whether to return means.

    Returns
    -------
    X : ndarray of shape (n, d)

    Warns
    -----
    UserWarning
        If the effective sample size is small for some row.
    """
    low, high = representable(conditions, sampler.dtype, argument)
    X = np.empty(conditions.values.shape)
    sample_sizes = np.full(len(X), np.inf)
    for proposals in propose(
        sampler,
        conditions,
        generator,
        argument=argument,
        n_proposals=n_proposals,
        labels=labels,
        always_many=average,
    ):
        indices, rows, log_weights, is_exact = proposals
        weights = np.exp(log_weights - log_weights.max(axis=0))
        if not is_exact:
            sample_sizes[indices] = weights.sum(axis=0) ** 2 / np.square(weights).sum(axis=0)
        if average:
            X[indices] = np.einsum("sm,smd->md", weights / weights.sum(axis=0), rows)
        else:
            # One proposal for each row, by inversion of the cumulated weights.
            steps = np.cumsum(weights, axis=0)
            picks = (steps <= generator.random(len(indices)) * steps[-1]).sum(axis=0)
            X[indices] = rows[np.minimum(picks, len(rows) - 1), np.arange(len(indices))]
    warn_of_small_samples(sample_sizes, argument)
    return np.where(np.isnan(conditions.values), np.clip(X, low, high), conditions.values)


def log_mass(
    sampler: ChainSampler,
    conditions: Conditions,
    *,
    argument: str,
    n_proposals: int | None,
    labels: Sequence[np.ndarray] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities, or log-densities, of conditions, and their standard errors.

    Parameters are those of `complete`.

    Returns
    -------
    log_masses, errors : ndarray of shape (n,)
        The same at every call. The error is 0 where a value is exact, else that of `log_mean_exp`.
    """
    log_masses = np.empty(len(conditions.values))
    errors = np.zeros(len(conditions.values))
    for proposals in propose(
        sampler,
        conditions,
        None,
        argument=argument,
        n_proposals=n_proposals,
        labels=labels,
        weights_only=True,
    ):
        log_masses[proposals.indices] = logsumexp(proposals.log_weights, axis=0)
        if not proposals.is_exact:
            log_weights = torch.as_tensor(proposals.log_weights)
            errors[proposals.indices] = log_mean_exp(log_weights)[1].numpy()
    return log_masses, errors


def propose(
    sampler: ChainSampler,
    conditions: Conditions,
    generator: np.random.Generator | None,
    *,
    argument: str,
    n_proposals: int | None,
    labels: Sequence[np.ndarray] = (),
    always_many: bool = False,
    weights_only: bool = False,
) -> Iterator[Proposals]:
    """Yield Proposals for blocks of the rows of conditions.

    Parameters are those of `complete`, and:

    Parameters
    ----------
    always_many : bool, default=False
        Whether rows whose conditions are exact have more than one proposal too.
    weights_only : bool, default=False
        Whether to skip the drawing where weights do not depend on it.

    Yields
    ------
    proposals : Proposals
        Each row of the conditions is in one block.
    """
    n_outputs = sampler.observation.n_outputs_of(sampler.n_features)
    outputs = sampler.to_tensor(np.zeros((1, n_outputs)))
    checked = check_conditions(conditions, sampler.observation.distribution(outputs), argument)
    for group, orders, is_exact in _groups(sampler, checked, n_proposals, argument):
        n_draws = 1  # in each order
        if always_many or not is_exact:
            n_draws = -(-(n_proposals or AVERAGED) // len(orders))
        size = max(1, sampler.rows_at_once // (n_draws * len(orders)))
        for start in range(0, len(group), size):
            indices = group[start : start + size]
            by_order = [
                _proposals_in_order(
                    sampler,
                    checked.take(indices),
                    n_draws,
                    generator,
                    order,
                    [label[indices] for label in labels],
                    skip_drawing=weights_only and is_exact,
                )
                for order in orders
            ]
            rows = np.concatenate([part for part, _ in by_order])
            log_weights = np.concatenate([part for _, part in by_order])
            log_weights -= np.log(n_draws * len(orders))
            impossible = ~np.isfinite(log_weights.max(axis=0))
            if impossible.any():
                raise ValueError(
                    f"{argument} asks for rows that are impossible under the fitted model (row"
                    f" {indices[impossible][0]} has probability zero); widen its intervals or"
                    " move its values nearer to the data."
                )
            yield Proposals(indices, rows, log_weights, is_exact)


def _groups(
    sampler: ChainSampler, checked: CheckedConditions, n_proposals: int | None, argument: str
) -> list[tuple]:
    """Indices (m,) of rows, their orders, and whether proposals in these orders are exact.

    They are where no condition comes after a feature that is drawn without one.
    """
    groups = []
    for indices, orders, features in sampler.orders_under(checked):
        part = checked.take(indices)
        positions = [_positions(part, order) for order in features]
        # Over the orders, of shape (n_orders, m) before the reduction.
        is_exact = np.all([fixed <= drawn for drawn, fixed in positions], axis=0)
        if n_proposals is None and not is_exact.all():
            _refuse(indices, features, positions, is_exact, argument)
        groups.append((indices[is_exact], orders, True))
        groups.append((indices[~is_exact], orders, False))
    return groups


def _refuse(
    indices: np.ndarray,
    features: np.ndarray,
    positions: Sequence[tuple[np.ndarray, np.ndarray]],
    is_exact: np.ndarray,
    argument: str,
) -> None:
    """Raise for the first row that is not exact, naming two features in the wrong order."""
    i = is_exact.argmin()
    for order, (first_drawn, last_fixed) in zip(features, positions):
        if last_fixed[i] > first_drawn[i]:
            raise ValueError(
                f"{argument} must fix the features that come first in the order of the model, as"
                f" n_importance_samples=None allows only exact results; row {indices[i]} fixes"
                f" feature {order[last_fixed[i]]}, but not feature {order[first_drawn[i]]}, which"
                " comes before it; fix that too, or take n_importance_samples=100."
            )


def _positions(checked: CheckedConditions, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (m,) in an order (d,) of the first drawn and of the last fixed feature.

    A feature is drawn if its value is not known, and fixed if its value is known or bounded. The
    positions are d and -1 where there is none.
    """
    d = len(order)
    is_drawn = ~checked.known_columns[:, order]
    is_fixed = checked.known_columns.copy()
    is_fixed[:, checked.bounded_columns] = True
    is_fixed = is_fixed[:, order]
    first_drawn = np.where(is_drawn.any(axis=1), is_drawn.argmax(axis=1), d)
    last_fixed = np.where(is_fixed.any(axis=1), d - 1 - is_fixed[:, ::-1].argmax(axis=1), -1)
    return first_drawn, last_fixed


@torch.inference_mode()
def _proposals_in_order(
    sampler: ChainSampler,
    checked: CheckedConditions,
    n_draws: int,
    generator: np.random.Generator | None,
    order: Any,
    labels: Sequence[np.ndarray],
    *,
    skip_drawing: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n_draws, m, d) drawn in one order, and the log-probabilities of their conditions.

    These have shape (n_draws, m). With skip_drawing the rows hold known values, and 0 elsewhere.
    """
    m, d = len(checked), sampler.n_features
    # The m rows are repeated as a whole, so that row i of draw s is at s * m + i.
    rows = np.tile(np.arange(m), n_draws)
    if generator is None:
        uniforms = _fixed_uniforms(n_draws, d).repeat(m, axis=0)
    else:
        uniforms = generator.random((len(rows), d))
    tensors = [sampler.to_tensor(label[rows]) for label in labels]
    feature_sampler = sampler.make_feature_sampler(uniforms, checked, rows)
    if skip_drawing:
        X = sampler.to_tensor(feature_sampler.known_values())
    else:
        X = sampler.draw(feature_sampler, order, tensors)
    conditionals = sampler.conditionals(order)
    log_weights = []
    for index, n_rows in padded_blocks(torch.arange(len(X), device=X.device), block_size(len(X))):
        outputs = conditionals(X[index], *[tensor[index] for tensor in tensors])
        log_weights.append(feature_sampler.take(index).log_weights(outputs, X[index])[:n_rows])
    X = X.reshape(n_draws, m, d).double().cpu().numpy()
    return X, torch.cat(log_weights).reshape(n_draws, m).cpu().numpy()


def _fixed_uniforms(n_draws: int, d: int) -> np.ndarray:
    """Quasi-random uniform numbers (n_draws, d), the same at every call."""
    generator: Any = np.random.default_rng(0)
    if n_draws == 1 or d > qmc.Sobol.MAXDIM:
        return generator.random((n_draws, d))
    exponent = int(np.ceil(np.log2(n_draws)))
    return qmc.Sobol(d, rng=generator).random_base2(exponent)[:n_draws]


def warn_of_small_samples(sample_sizes: np.ndarray, argument: str) -> None:
    """Warn if effective sample sizes (n,) are small."""
    is_small = sample_sizes < SMALL_SAMPLE
    if is_small.any():
        warn(
            f"{argument} is hard to meet: the effective sample size of the proposed rows is"
            f" below {SMALL_SAMPLE:g} for {is_small.sum()} of {len(is_small)} rows (least"
            f" {sample_sizes.min():.1f}); raise n_importance_samples, or fix features that come"
            " first in the order of the model.",
        )
