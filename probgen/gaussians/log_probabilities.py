"""Sums and responsibilities of probabilities in logarithms."""

import numpy as np


@np.errstate(under="ignore")
def responsibilities(log_joint):
    """Posterior probabilities (n, K) of log joint densities (n, K); uniform if all are -inf."""
    log_joint = np.where(np.isneginf(log_joint).all(axis=1, keepdims=True), 0.0, log_joint)
    ratios = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    return ratios / ratios.sum(axis=1, keepdims=True)


@np.errstate(under="ignore", divide="ignore")
def log_sum_exp(values):
    """Log of the sum of exponentials (K, n) over the first axis; -inf if all are 0."""
    peaks = np.maximum(np.max(values, axis=0), -np.finfo(np.float64).max)
    return np.log(np.sum(np.exp(values - peaks), axis=0)) + peaks
