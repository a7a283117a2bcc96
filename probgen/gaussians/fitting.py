"""A fit of Gaussian mixtures from rows to components, which every estimator of Gaussians shares.

EM runs on rows relative to an origin near the data, where their squares cancel least. Components
enter and leave in the units of X; sufficient statistics stay relative to the origins, because later
rows are added to them there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen._constants import LOG_2PI
from probgen.gaussians.em import EMEngine, Fit, expectation_of_groups, run_em
from probgen.gaussians.regularization import LEAST_VARIANCES, Regularization
from probgen.gaussians.starts import FAMILIES, STATISTICS, start_components
from probgen.gaussians.statistics import merged

# Numbers in a block of rows whose moments are taken at once, few enough to stay in a cache.
MOMENT_NUMBERS = 2**16


@dataclass(frozen=True)
class MixtureSettings:
    """Parameters of a fit, under the names that the estimators give them.

    n_components counts the components of one group of rows, dtype is the precision of the
    attributes.
    """

    covariance_type: str
    n_components: int
    init_params: str
    reg_covar: float | str
    n_factors: int
    tol: float
    max_iter: int
    reg_param: float = 0.0
    dtype: Any = np.float64

    @property
    def regularization(self):
        """What M-steps add to variances."""
        return Regularization(self.reg_covar, self.reg_param, self.n_components, self.dtype)


def fit_mixture(
    summaries,
    settings,
    generators,
    *,
    device,
    n_shares=1,
    given=None,
    components=None,
    previous=-np.inf,
    report=None,
):
    """Fit a mixture to one or several groups of rows, each explained by components of its own.

    Parameters
    ----------
    summaries : list of RowSummary
        One for each group; a plain mixture has one group, class-conditional mixtures have one a
        class. Components of the first group come first.
    settings : MixtureSettings
    generators : list of numpy.random.Generator
        Randomness of the start of each group.
    device : str
        Where EM runs.
    n_shares : int
        Into how many equal parts the processors are divided, of which this fit takes one.
    given : GivenStart, default=None
        Parameters of the start that the user chose; for one group only.
    components : GaussianComponents, default=None
        Components, in the units of X, to resume from in place of a start; for one group only.
    previous : float
        Mean log-likelihood of these components, to which the first iteration is compared.
    report : callable, default=None
        Called with each iteration's number and mean log-likelihood.

    Returns
    -------
    fit : Fit
    """
    origins = np.array([summary.origin for summary in summaries])
    groups = []
    for i, summary in enumerate(summaries):
        members = slice(i * settings.n_components, (i + 1) * settings.n_components)
        groups.append((summary.source, members))
    with EMEngine(device, n_shares) as engine:
        n_start_repaired = 0
        if components is not None:
            start = components.shifted(origins[0])
        elif given is not None and given.is_whole:
            start = given.components(settings.covariance_type, origins[0])
        else:
            start, n_start_repaired = _start(summaries, settings, generators)
            if given is not None:
                start = given.override(start, origins[0])
        fit = run_em(
            engine,
            start,
            groups,
            regularization=settings.regularization,
            max_iter=settings.max_iter,
            tol=settings.tol,
            previous=previous,
            report=report,
        )
    fit.n_start_repaired = n_start_repaired
    fit.origins = origins
    # (K, d) offsets: each component moves back by the origin of its group.
    fit.components = fit.components.shifted(-np.repeat(origins, settings.n_components, axis=0))
    return fit


def fit_in_closed_form(X, weights, groups, settings):
    """Fit one Gaussian to each group of rows without missing values, by its moments.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weights : ndarray of shape (n,), or None for ones
    groups : list of ndarray
        Row indices of each group.
    settings : MixtureSettings
        Of one component, not of factors.

    Returns
    -------
    fit : Fit
        Converged, with the likelihood after its only M-step.

    Raises
    ------
    ValueError
        If squares of the rows overflow or underflow.
    """
    family = settings.covariance_type
    parts = []
    origins = []
    for rows in groups:
        origin, statistics = _moments_of_rows(X, weights, rows, family)
        _check_moments(settings.regularization, statistics, X, rows)
        parts.append(statistics)
        origins.append(origin)
    origins = np.array(origins)
    statistics = type(parts[0]).concatenate(parts)
    regularization = settings.regularization
    added = regularization.added(statistics, origins)
    components, n_repaired = FAMILIES[family].estimate(statistics, regularization, origins, added)
    return Fit(
        components=components.shifted(-origins),
        lower_bounds=[_mean_log_likelihood(components, statistics)],
        converged=True,
        n_repaired=n_repaired,
        statistics=statistics,
        origins=origins,
    )


def _moments_of_rows(X, weights, rows, family):
    """An origin (d,) amid some rows of X, and their MomentStatistics relative to it.

    Rows are read once, in blocks that stay in a cache.
    """
    d = X.shape[1]
    step = max(MOMENT_NUMBERS // d, 64)
    origin = None
    count = 0.0
    sums = np.zeros((1, d))
    squares: Any = 0.0
    for start in range(0, len(rows), step):
        members = rows[start : start + step]
        block = X[members].astype(np.float64, copy=False)
        if origin is None:
            with np.errstate(over="ignore"):
                origin = block.mean(axis=0)
        block -= origin
        if weights is None:
            count += len(block)
            sums += block.sum(axis=0)
        else:
            count += weights[members].sum()
            sums += weights[members] @ block
            block *= np.sqrt(weights[members])[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            if family in ("full", "tied"):
                squares += block.T @ block
            else:
                squares += np.einsum("nd,nd->d", block, block)
    if family in ("full", "diag"):
        squares = squares[None]
    elif family == "spherical":
        squares = squares.sum(keepdims=True)
    kind = STATISTICS[family]
    return origin, kind(np.array([count]), sums, squares, np.zeros((1, d)))


def _check_moments(regularization, statistics, X, rows):
    """Raise ValueError where squares of some rows of X overflow or underflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        _, _, variances = statistics.of_groups(1, 0.0)
        variances = np.broadcast_to(variances[0], X.shape[1:])
        ranges = np.sqrt(np.maximum(variances, 0.0))
    # Constant features have no variance either.
    for j in np.flatnonzero(~(variances >= LEAST_VARIANCES[regularization.dtype])):
        ranges[j] = np.ptp(X[rows, j].astype(np.float64) / 2.0)
    regularization.check_variances(variances, ranges)


def _start(summaries, settings, generators):
    """Components of all groups, each relative to its own origin, and how many needed repair."""
    parts = []
    n_repaired = 0
    is_spherical = settings.covariance_type == "spherical"
    regularization = settings.regularization
    added = regularization.added_at_start(summaries, is_spherical)
    for summary, generator in zip(summaries, generators, strict=True):
        part, repaired = start_components(
            settings.covariance_type,
            summary,
            settings.n_components,
            settings.init_params,
            generator,
            regularization=regularization,
            added=added,
            n_factors=settings.n_factors,
        )
        parts.append(part)
        n_repaired += repaired
    if len(parts) == 1:
        return parts[0], n_repaired
    # The weights of groups never enter: each group selects its own components.
    return type(parts[0]).concatenate(parts, np.full(len(parts), 1.0 / len(parts))), n_repaired


def update_mixture(components, rows, statistics, settings, *, learning_decay, device):
    """Fit a mixture to more rows by one E-step over them and one M-step over all statistics.

    Parameters
    ----------
    components : GaussianComponents
        The mixture so far, in the units of X.
    rows : Rows
        New rows, with the origin of the fit so far.
    statistics : MomentStatistics, FactorStatistics or None
        Statistics of the rows so far relative to that origin; None where there are none.
    settings : MixtureSettings
    learning_decay : float
        How the new rows are weighted; see `merged`.
    device : str
        Where the E-step runs.

    Returns
    -------
    fit : Fit or None
        With the mean log-likelihood of the new rows before the update; None if no row has a value.
    """
    with EMEngine(device) as engine:
        total, batch = engine.expectation(components.shifted(rows.origin), rows)
    if batch is None:
        return None
    if statistics is None:
        statistics = batch
    else:
        statistics = merged(statistics, batch, learning_decay)
    regularization = settings.regularization
    added = regularization.added(statistics, rows.origin)
    estimate, n_repaired = FAMILIES[settings.covariance_type].estimate(
        statistics, regularization, rows.origin, added
    )
    return Fit(
        components=estimate.shifted(-rows.origin),
        statistics=statistics,
        lower_bounds=[total / batch.total],
        n_repaired=n_repaired,
    )


def mean_expectation(components, groups, n_components, *, device):
    """Mean log-likelihood of groups of rows, and the statistics of their components.

    components are in the units of X, n_components for each Rows of groups, in the same order.
    Statistics are relative to the origins of the rows.
    """
    origins = np.repeat([rows.origin for rows in groups], n_components, axis=0)
    members = [slice(i * n_components, (i + 1) * n_components) for i in range(len(groups))]
    with EMEngine(device) as engine:
        return expectation_of_groups(
            engine, components.shifted(origins), list(zip(groups, members))
        )


def _mean_log_likelihood(components, statistics):
    """Mean log-density of rows under the component each belongs to, from their MomentStatistics."""
    squares = statistics.about(components.means).squares
    factors = components.precisions_cholesky
    if components.covariance_type in ("full", "tied"):
        precisions = factors @ np.swapaxes(factors, -1, -2)
        scales = np.diagonal(factors, axis1=-2, axis2=-1)
    else:
        precisions = factors**2
        scales = factors
    if components.covariance_type == "spherical":
        scales = scales[:, None]
    log_scales = np.broadcast_to(np.log(scales) - 0.5 * LOG_2PI, components.means.shape)
    log_constants = log_scales.sum(axis=1)
    squared_lengths = np.sum(precisions * squares)
    return float((statistics.counts @ log_constants - 0.5 * squared_lengths) / statistics.total)
