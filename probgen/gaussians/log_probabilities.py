"""Sums and responsibilities of probabilities in logarithms."""

import numpy as np


@np.errstate(under="ignore")
def responsibilities(log_joint):
    """Posterior probabilities (n, K) of log joint densities (n, K); uniform if all are -inf."""
    log_joint = np.where(np.isneginf(log_joint).all(axis=1, keepdims=True), 0.0, log_joint)
    ratios = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    return ratios / ratios.sum(axis=1, keepdims=True)


@np.errstate(under="ignore", divide="ignore")
def log_sum_exp(values, axis=0):
    """Log of the sum of exponentials over an axis, by default the first; -inf if all are 0."""
    peaks = np.maximum(np.max(values, axis=axis, keepdims=True), -np.finfo(np.float64).max)
    sums = np.sum(np.exp(values - peaks), axis=axis)
    return np.log(sums) + np.squeeze(peaks, axis)
