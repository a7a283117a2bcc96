"""Where the draws behind estimates of log p(x) are too few to know the error of the estimates."""

from typing import Any

import numpy as np

from probgen._warnings import warn

# Draws for a standard error that can be trusted. Importance sampling of autoencoders by a single
# proposal, with 8 to 1024 draws, was within three standard errors in 97 % of the rows with as many
# effective draws, and in 70 % of the others.
LEAST_EFFECTIVE = 5
# Share of rows that need no warning: any model meets some rows that are far from all its draws.
TOLERATED = 0.1
FEW = 10.0  # effective sample size of proposals below which a completed row is named in a warning


def checked_estimates(
    estimates: Any,
    dtype: np.dtype,
    *,
    return_std: bool,
    remedy: str,
) -> Any:
    """Return estimates of log p(x) in a dtype, with their standard errors if asked for.

    `estimates` holds values and errors, both (n,). It warns as `warn_of_unknown_errors` does.
    """
    values, errors = estimates
    warn_of_unknown_errors(errors, remedy)
    values = values.astype(dtype, copy=False)
    if not return_std:
        return values
    return values, errors.astype(dtype, copy=False)


def warn_of_unknown_errors(errors: np.ndarray, remedy: str) -> None:
    """Warn if more standard errors (n,) of estimates of log p(x) than a few are inf.

    `remedy` says what to do.
    """
    n_unknown = int(np.isinf(errors).sum())
    if n_unknown > TOLERATED * len(errors):
        warn(
            f"The estimates of {n_unknown} of {len(errors)} rows rest on fewer than"
            f" {LEAST_EFFECTIVE} effective draws: they may be nats too low, and their standard"
            f" errors are not known (inf); {remedy}."
        )


def warn_of_uneven_proposals(
    sizes: np.ndarray, argument: str, proposals: str, consequence: str
) -> None:
    """Warn if effective sample sizes (n,) of the proposals that complete rows are below FEW.

    `argument` holds the conditions of the rows, `proposals` says what was proposed for them, and
    `consequence` what becomes of rows with uneven weights.
    """
    uneven = sizes < FEW
    if uneven.any():
        warn(
            f"{argument} is hard to meet: the effective sample size of the proposed {proposals} is"
            f" below {FEW:g} for {uneven.sum()} of {len(uneven)} rows (least {sizes.min():.1f}),"
            f" {consequence}; train longer, or fix less."
        )
