"""Hidden Markov models of given parameters, for tests that know the truth."""

from dataclasses import replace

import numpy as np

from probgen import HiddenMarkovModel


def chain_of(start, transitions, n_steps, n_features=1, **parameters):
    """A fitted model whose chain is given; what its states emit is that of no data in particular.

    parameters are those of the model; further steps may be anything that its emission allows.
    """
    n_states = len(start)
    parameters = {"random_state": 0, "max_iter": 0, "warm_start": True, **parameters}
    model = HiddenMarkovModel(n_states, sequence_shape=(n_steps, n_features), **parameters)
    n_levels = parameters.get("min_categories", 2)
    size = 20 * n_states, n_steps * n_features
    model.fit(np.random.default_rng(0).integers(n_levels, size=size).astype(float))
    model.start_probabilities_ = np.array(start, dtype=float)
    model.transition_matrix_ = np.array(transitions, dtype=float)
    return model


def gaussian_chain(start, transitions, n_steps, means, covariances, covariance_type, weights=None):
    """A model of Gaussians (K, d), or of mixtures of them (K, M, d), with reg_covar=0."""
    means, covariances = np.array(means, dtype=float), np.array(covariances, dtype=float)
    parameters = {"covariance_type": covariance_type}
    if weights is not None:
        parameters.update(emission="mixture", n_mixture=means.shape[1])
    # Random starts leave no state empty.
    parameters["init_params"] = "random"
    model = chain_of(start, transitions, n_steps, means.shape[-1], **parameters)
    model.set_params(reg_covar=0.0)
    model.means_, model.covariances_ = means, covariances
    if weights is not None:
        model.weights_ = np.array(weights, dtype=float)
    if covariance_type in ("full", "tied"):
        inverse = np.linalg.inv(np.linalg.cholesky(covariances))
        model.precisions_cholesky_ = inverse.swapaxes(-1, -2)
    return model


def categorical_chain(start, transitions, n_steps, probabilities):
    """A model of one feature whose levels have probabilities (K, L) in the states."""
    probabilities = np.array(probabilities, dtype=float)
    model = chain_of(
        start,
        transitions,
        n_steps,
        emission="categorical",
        min_categories=probabilities.shape[1],
        smoothing=0.0,
    )
    model._families = replace(model._families, levels=[probabilities.T])
    return model


def poisson_chain(start, transitions, n_steps, means):
    """A model of counts with means (K, d) in the states."""
    means = np.array(means, dtype=float)
    model = chain_of(start, transitions, n_steps, means.shape[1], emission="poisson")
    model._families = replace(model._families, params=[mean[None] for mean in means.T])
    return model
