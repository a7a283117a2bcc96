"""A fit of a hidden Markov model, from rows to a chain and its emission."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probgen.gaussians.em import EMEngine
from probgen.gaussians.regularization import Regularization
from probgen.gaussians.rows import Rows
from probgen.gaussians.starts import RowSummary, start_responsibilities, summarise_rows
from probgen.gaussians.statistics import merged
from probgen.markov.em import ChainFit, expectation, maximisation, run_em
from probgen.markov.family_emission import (
    FamilyEmission,
    FamilyStart,
    encoder_of,
    read_steps,
    start_family_emission,
    start_shares,
)
from probgen.markov.gaussian_emission import start_emission
from probgen.markov.steps import Block, StreamedBlocks, blocks_of, steps_of_rows
from probgen.sequences.conversion import lengths_of

COVARIANCE_TYPES = ("diag", "full", "spherical", "tied")


@dataclass(frozen=True)
class EmissionSettings:
    """Settings of an emission, under the names of the estimator's parameters.

    names are those of families, one for each feature of a step, or None for Gaussians.
    """

    names: tuple | None
    covariance_type: str
    n_mixture: int
    reg_covar: Any
    smoothing: float
    min_scale: float
    n_categories: int
    init_params: str
    dtype: Any

    def regularization(self, n_states):
        """What M-steps add to variances."""
        n_components = n_states * self.n_mixture
        return Regularization(self.reg_covar, n_components=n_components, dtype=self.dtype)


@dataclass
class SequenceSummary:
    """What starts of a fit share.

    Attributes
    ----------
    rows : Rows
        Sequences (n, T * d), an array or RowBlocks, with weights.
    settings : EmissionSettings
    n_states, n_features : int
    origin : ndarray of shape (d,)
        What E-steps subtract from steps.
    steps : RowSummary or FamilyStart
        A sample of distinct steps.
    mean_steps : float
        Mean length of a sequence.
    """

    rows: Rows
    settings: EmissionSettings
    n_states: int
    n_features: int
    origin: np.ndarray
    steps: RowSummary | FamilyStart
    mean_steps: float
    blocks: Iterable[Block] | None = None

    @property
    def layout(self):
        """The Layout of families, None for Gaussians."""
        return self.steps.layout if isinstance(self.steps, FamilyStart) else None


def summarise_sequences(X, weights, shape, settings, n_states, generator):
    """The SequenceSummary of rows (n, T * d), an array or RowBlocks.

    Raises ValueError where squares overflow or underflow.
    """
    d = shape[1]
    rows = Rows(X, weights, np.zeros(d))
    steps, step_weights = steps_of_rows(rows, d)
    n_rows = _n_sampled(n_states, d)
    if settings.names is None:
        regularization = settings.regularization(n_states)
        summary = summarise_rows(steps, step_weights, n_rows, generator, regularization)
        origin = summary.origin
    else:
        summary = read_steps(
            settings.names,
            steps,
            step_weights,
            n_rows,
            generator,
            n_categories=settings.n_categories,
            min_scale=settings.min_scale,
        )
        origin = np.zeros(d)
    n_steps = sum(float(part @ lengths_of(block, d)) for block, part in rows.chunks())
    mean_steps = max(n_steps / weights.sum(), 1.0)
    return SequenceSummary(rows, settings, n_states, d, origin, summary, mean_steps)


def _n_sampled(n_states, n_features):
    """Number of steps that a fit starts from."""
    return max(4096, n_states * max(128, 4 * n_features))


def fit_sequences(
    summary,
    chain_settings,
    generator,
    *,
    device,
    max_iter,
    tol,
    n_shares=1,
    is_random=False,
    resumed=None,
    previous=-np.inf,
    report=None,
):
    """Fit a hidden Markov model to the rows of a summary, from a start or from a HiddenMarkov.

    tol is for a step. With is_random, the first transitions are drawn at random. The emission of
    the fit is in the units of X.
    """
    n_repaired = 0
    if resumed is not None:
        chain, emission = resumed.chain, _continued(resumed.emission, summary)
    else:
        chain = chain_settings.first(summary.n_states, generator if is_random else None)
        emission, n_repaired = _start(summary, chain_settings, generator)
    if summary.blocks is None:
        summary.blocks = _blocks(summary, emission)
    with EMEngine(device, n_shares) as engine:
        fit = run_em(
            engine,
            chain,
            emission,
            summary.blocks,
            chain_settings,
            max_iter=max_iter,
            tol=tol * summary.mean_steps,
            previous=previous,
            report=report,
        )
    fit.n_start_repaired = n_repaired
    fit.emission = _in_units(fit.emission, summary.origin)
    return fit


def _blocks(summary, emission):
    """Blocks of the sequences: those of an array are prepared once."""
    rows = summary.rows
    if isinstance(rows.data, np.ndarray):
        return blocks_of(rows.data, rows.weights, summary.origin, emission)
    return StreamedBlocks(rows, summary.origin, emission)


def update_sequences(model, X, weights, state, chain_settings, settings, *, learning_decay, device):
    """A ChainFit of a HiddenMarkov to more rows: one E-step over them, one M-step over all.

    state holds the statistics so far and their origin.
    """
    origin = state["origin"]
    emission = model.emission
    if isinstance(emission, FamilyEmission):
        own = None if state["statistics"] is None else state["statistics"].steps
        encoder = encoder_of(emission, X.reshape(-1, emission.n_features), own)
        emission = replace(emission, encoder=encoder, smoothing=settings.smoothing)
    else:
        regularization = settings.regularization(len(model.chain))
        emission = replace(emission.shifted(origin), regularization=regularization, origin=origin)
    blocks = blocks_of(X, weights, origin, emission)
    with EMEngine(device) as engine:
        total, statistics = expectation(engine, model.chain, emission, blocks)
    lower_bound = total / statistics.total
    if state["statistics"] is not None:
        statistics = merged(state["statistics"], statistics, learning_decay)
    chain, emission, n_repaired = maximisation(chain_settings, model.chain, emission, statistics)
    return ChainFit(
        chain,
        _in_units(emission, origin),
        lower_bounds=[lower_bound],
        n_repaired=n_repaired,
        statistics=statistics,
    )


def _in_units(emission, origin):
    """An emission of steps that had an origin subtracted, in the units of X."""
    if isinstance(emission, FamilyEmission):
        return emission
    return emission.shifted(-origin)


def _continued(emission, summary):
    """An emission in the units of X, as E-steps over the rows of a summary take it."""
    if isinstance(emission, FamilyEmission):
        # Numbers are looked up in tables of the new rows, under the families of the last fit.
        steps, _ = steps_of_rows(summary.rows, summary.n_features)
        encoder = encoder_of(emission, steps, None)
        return replace(emission, encoder=encoder, smoothing=summary.settings.smoothing)
    regularization = summary.settings.regularization(summary.n_states)
    emission = emission.shifted(summary.origin)
    return replace(emission, regularization=regularization, origin=summary.origin)


def _start(summary, chain_settings, generator):
    """The first emission, and how many repairs it took."""
    settings = summary.settings
    n_states = summary.n_states
    if isinstance(summary.steps, FamilyStart):
        steps = summary.steps
        if chain_settings.transition == "left_right" and n_states > 1:
            rows, shares = _by_time(summary)
            steps = replace(steps, sample=rows)
        else:
            shares = start_shares(steps, n_states, settings.init_params, generator)
        if chain_settings.transition == "banded":
            shares = _ordered(np.nan_to_num(steps.sample), shares)
        return start_family_emission(steps, shares, settings.smoothing), 0
    regularization = settings.regularization(n_states)
    family = settings.covariance_type
    added = regularization.added_at_start([summary.steps], family == "spherical")
    if chain_settings.transition == "left_right" and n_states > 1:
        rows, shares = _by_time(summary)
        rows = np.where(np.isnan(rows), 0.0, rows - summary.origin)
    else:
        rows = summary.steps.rows
        shares = start_responsibilities(
            family, summary.steps, n_states, settings.init_params, generator, added
        )
        shares = shares * summary.steps.weights[:, None]
    if chain_settings.transition == "banded":
        shares = _ordered(rows, shares)
    return start_emission(
        family, rows, shares, settings.n_mixture, regularization, summary.origin, added, generator
    )


def _by_time(summary):
    """Steps (m, d) with a value, and their weighted shares (m, K) by when they come.

    Of a stream they are the first ones.
    """
    d = summary.n_features
    n_read = 0
    found = []
    for X, weights in summary.rows.chunks():
        found.append(_shares_by_time(X, weights, d, summary.n_states))
        n_read += len(found[-1][0])
        if n_read >= _n_sampled(summary.n_states, d):
            break
    rows, shares = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(shares)


def _shares_by_time(X, weights, d, n_states):
    """The same of rows (n, T * d) with weights (n,)."""
    lengths = np.maximum(lengths_of(X, d), 1)
    n_steps = X.shape[1] // d
    times = np.arange(n_steps) / lengths[:, None]
    states = np.minimum((times * n_states).astype(int), n_states - 1)
    rows = X.reshape(-1, d).astype(np.float64)
    used = np.flatnonzero(~np.isnan(rows).all(axis=1))
    shares = (states.ravel()[used, None] == np.arange(n_states)).astype(np.float64)
    shares *= np.repeat(weights, n_steps)[used, None]
    return rows[used], shares


def _ordered(rows, shares):
    """Shares (m, K) of rows (m, d), with states in the order of their means along one direction."""
    scales = rows.std(axis=0)
    rows = rows / np.where(scales > 0.0, scales, 1.0)
    counts = np.maximum(shares.sum(axis=0), np.finfo(np.float64).tiny)
    means = (shares.T @ rows) / counts[:, None]
    means -= means.mean(axis=0)
    direction = np.linalg.svd(means, full_matrices=False)[2][0]
    direction *= np.sign(direction[np.argmax(np.abs(direction))])
    return shares[:, np.argsort(means @ direction, kind="stable")]
