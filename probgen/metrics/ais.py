"""Likelihoods of models with latent variables, by annealed importance sampling."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from probgen._validation import check_count, check_generator, check_real, show, spawn_generator
from probgen.marginal_likelihood.annealing import WORK_NUMBERS, Annealing, sigmoid_temperatures
from probgen.marginal_likelihood.effective_draws import LEAST_EFFECTIVE, warn_of_unknown_errors
from probgen.marginal_likelihood.latent_model import log_mean_exp

DEFAULT_CHAINS = 16


def ais_log_likelihood(
    estimator: Any,
    X: npt.ArrayLike,
    y: npt.ArrayLike | None = None,
    *,
    n_chains: int = DEFAULT_CHAINS,
    n_temperatures: int = 500,
    n_leapfrog: int = 10,
    step_size: float | str = "auto",
    return_std: bool = False,
    random_state: Any = None,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Estimate the log-likelihood of each row by annealed importance sampling.

    It costs more than the `score_samples` of a model with latent variables, but does not depend on
    an encoder: Hamiltonian Monte Carlo moves codes from the prior to the posterior of each row [1]_
    [2]_.

    Parameters
    ----------
    estimator : estimator object
        A fitted generator with latent variables, such as Autoencoder.
    X : array-like of shape (n, n_features)
        Rows to score.
    y : array-like of shape (n,), default=None
        Classes of the rows, for a class-conditional model.
    n_chains : int, default=16
        Independent chains for each row, at least 2.
    n_temperatures : int, default=500
        Densities between the prior, which does not count, and the posterior, which does; at least
        1. More temperatures tighten the estimate more than more chains do; 1 is plain importance
        sampling from the prior.
    n_leapfrog : int, default=10
        Leapfrog steps of a move, at least 1. Each costs a gradient of the decoder.
    step_size : "auto" or float, default="auto"
        Size of a leapfrog step in standard deviations of the prior. "auto" finds one for each row
        and temperature in a trial run of 4 further chains, such that about 65 % of the moves are
        accepted.
    return_std : bool, default=False
        Whether to return the standard errors of the estimates as well.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the chains. The noise of a row depends only on the seed and on the position of the row
        in X.

    Returns
    -------
    log_likelihood : ndarray of shape (n,)
        In nats, in the units of X: log p(x), or log p(x given y) for a class-conditional model.
    std : ndarray of shape (n,)
        With return_std=True. It is inf where fewer than 5 chains are effective, so with fewer than
        5 chains everywhere.

    Raises
    ------
    ValueError
        If an argument is out of range, the estimator has no latent variables, or y does not hold
        the classes of the rows for a class-conditional model.

    Warns
    -----
    UserWarning
        If std is inf for more than one row in ten: n_temperatures is too small, and the values
        are too low.

    Notes
    -----
    The mean weight of the chains is an unbiased estimate of the likelihood, so its logarithm is a
    stochastic lower bound: its expectation is too low by about std**2 / 2 while std is small. The
    errors of rows are independent; that of a mean over n rows is
    sqrt(sum(std**2)) / n.

    References
    ----------
    .. [1] R. M. Neal, Annealed importance sampling, Statistics and Computing, 2001.
    .. [2] Y. Wu, Y. Burda, R. Salakhutdinov, R. Grosse, On the quantitative analysis of
       decoder-based generative models, 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from probgen import Autoencoder
    >>> from probgen.metrics import ais_log_likelihood
    >>> X = load_digits().data
    >>> model = Autoencoder(n_components=2, max_iter=5, random_state=0).fit(X)
    >>> settings = {"n_temperatures": 400, "random_state": 0}
    >>> values, std = ais_log_likelihood(model, X[:3], return_std=True, **settings)
    >>> values.shape, std.shape
    ((3,), (3,))
    """
    check_count("n_chains", n_chains, low=2)
    check_count("n_temperatures", n_temperatures)
    check_count("n_leapfrog", n_leapfrog)
    fixed_step_size: Any = None
    if not (isinstance(step_size, str) and step_size == "auto"):
        check_real("step_size", step_size, low=1e-6, hint="Or 'auto'.")
        fixed_step_size = step_size
    if not hasattr(estimator, "_latent_model"):
        raise ValueError(
            "estimator must be a generator with latent variables, such as Autoencoder; got"
            f" {show(estimator)}; use its score_samples."
        )
    estimator = estimator._with_fitted_parameters()
    X = estimator._validate_query(X)
    generator = check_generator(random_state)
    model = estimator._latent_model(X, y)
    annealing = Annealing(
        model,
        sigmoid_temperatures(n_temperatures),
        n_chains,
        n_leapfrog,
        fixed_step_size,
    )
    n_rows = max(1, WORK_NUMBERS // (n_chains * max(model.n_components, X.shape[1])))
    estimates = []
    for block in zip(*(part.split(n_rows) for part in model.rows)):
        log_weights = annealing.run(block, [spawn_generator(generator) for _ in block[0]])
        estimates.append(torch.stack(log_mean_exp(log_weights)).cpu().numpy())
    values, errors = np.concatenate(estimates, axis=1).astype(X.dtype, copy=False)
    remedy = "raise n_temperatures"
    if n_chains < LEAST_EFFECTIVE:
        remedy = f"take n_chains={DEFAULT_CHAINS}"
    warn_of_unknown_errors(errors, remedy)
    if return_std:
        return values, errors
    return values
