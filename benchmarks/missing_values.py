"""Rows with missing values: seconds of EM, scores and imputation, and imputation errors.

The first part sets each beside a loop over the patterns of missing values, written out below. Both
start from the same components on the same rows, in turn in one process, and must agree to 1e-9. The
loop finds in one pass what an iteration, scores and filling in need, most of which all three share.
The second part hides a tenth of the values of a real table and fills them in beside scikit-learn's
imputers.

    python benchmarks/missing_values.py          # both parts
    python benchmarks/missing_values.py speed    # one of them: speed, imputation
"""

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
from scipy.linalg import cho_factor, cho_solve
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import probgen
from probgen import GaussianMixture

SHAPES = [(20_000, 8, 4), (10_000, 30, 5)]
TYPES = ("full", "tied", "diag", "spherical", "low_rank")
TABLES = ("uci_wine_quality", "uci_protein")
SHARE_MISSING = 0.1
WANTED = 5.0


def holed_clusters(n_rows, n_features, n_components, *, seed=0):
    """Rows (n_rows, n_features) of correlated clusters, a tenth of the values missing."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=1.5, size=(n_components, n_features))
    mixings = np.eye(n_features) + 0.3 * rng.normal(
        size=(n_components, n_features, n_features)
    ) / np.sqrt(n_features)
    labels = rng.integers(n_components, size=n_rows)
    rows = centers[labels] + np.einsum(
        "ni,nij->nj", rng.normal(size=(n_rows, n_features)), mixings[labels]
    )
    rows[rng.random(rows.shape) < SHARE_MISSING] = np.nan
    return rows


def dense_covariances(model):
    """Covariances (K, d, d) of a fitted mixture of any type."""
    K, d = model.means_.shape
    if model.covariance_type == "low_rank":
        loadings = model.loadings_
        return (
            loadings @ loadings.transpose(0, 2, 1) + np.eye(d) * model.noise_variances_[:, None, :]
        )
    covariances = model.covariances_
    if model.covariance_type == "full":
        return covariances
    if model.covariance_type == "tied":
        return np.broadcast_to(covariances, (K, d, d))
    return np.eye(d) * np.broadcast_to(np.reshape(covariances, (K, -1)), (K, d))[:, None, :]


def pattern_by_pattern(model, X):
    """Scores (n,), imputed X and moments by a loop over patterns with dense covariances.

    The moments are sums of posterior weights (K,), of expected rows (K, d) and of their squares (K,
    d, d).
    """
    weights, means, covariances = model.weights_, model.means_, dense_covariances(model)
    K, d = means.shape
    scores, filled = np.zeros(len(X)), X.copy()
    counts, sums, squares = np.zeros(K), np.zeros((K, d)), np.zeros((K, d, d))
    found, inverse = np.unique(np.isnan(X), axis=0, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(inverse.ravel()))[:-1])
    for hole, rows in zip(found, groups, strict=True):
        seen, lost = np.flatnonzero(~hole), np.flatnonzero(hole)
        if not len(seen):
            continue
        values, joint = X[np.ix_(rows, seen)], np.empty((len(rows), K))
        expected, spread = np.empty((K, len(rows), d)), np.zeros((K, d, d))
        for k in range(K):
            factor = cho_factor(covariances[k][np.ix_(seen, seen)], lower=True)
            shift = values - means[k, seen]
            solved = cho_solve(factor, shift.T).T
            log_determinant = 2.0 * np.log(np.diagonal(factor[0])).sum()
            lengths = np.sum(shift * solved, axis=1)
            joint[:, k] = np.log(weights[k]) - 0.5 * (
                len(seen) * np.log(2 * np.pi) + log_determinant + lengths
            )
            cross = covariances[k][np.ix_(lost, seen)]
            expected[k][:, seen], expected[k][:, lost] = values, means[k, lost] + solved @ cross.T
            spread[k][np.ix_(lost, lost)] = covariances[k][np.ix_(lost, lost)] - cross @ cho_solve(
                factor, cross.T
            )
        scores[rows] = logsumexp(joint, axis=1)
        posterior = np.exp(joint - scores[rows, None])
        filled[np.ix_(rows, lost)] = np.einsum("nk,knd->nd", posterior, expected)[:, lost]
        counts += posterior.sum(axis=0)
        for k in range(K):
            weighted = posterior[:, k, None] * expected[k]
            sums[k] += weighted.sum(axis=0)
            squares[k] += weighted.T @ expected[k] + posterior[:, k].sum() * spread[k]
    return scores, filled, (counts, sums, squares)


def seconds_of(work, n_runs):
    """Median wall seconds of some runs, and what the last returned."""
    seconds = []
    for _ in range(n_runs):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def compare_speed(n_rows, n_features, n_components, covariance_type, n_iterations=10):
    """Print seconds of an iteration, scores and imputation, and the ratios to the loop."""
    X = holed_clusters(n_rows, n_features, n_components)
    settings = {
        "covariance_type": covariance_type,
        "n_factors": 3,
        "reg_covar": 0.0,
        "tol": 0.0,
        "random_state": 0,
    }

    def fit(n):
        return GaussianMixture(n_components, max_iter=n, **settings).fit(X)

    model = fit(1)
    short, _ = seconds_of(lambda: fit(1), 3)
    long, after = seconds_of(lambda: fit(1 + n_iterations), 3)
    iteration = (long - short) / n_iterations
    scoring, scores = seconds_of(lambda: model.score_samples(X), 3)
    filling, filled = seconds_of(lambda: model.impute(X), 3)
    loop, (loop_scores, loop_filled, (counts, sums, _)) = seconds_of(
        lambda: pattern_by_pattern(model, X), 1
    )
    following = fit(2)
    error = max(
        np.abs(scores / loop_scores - 1.0).max(),
        np.nanmax(np.abs(filled - loop_filled)),
        np.abs(following.weights_ - counts / counts.sum()).max(),
        # A factor analyser's M-step takes the means and the loadings together.
        (
            0.0
            if covariance_type == "low_rank"
            else np.abs(following.means_ - sums / counts[:, None]).max()
        ),
    )
    ratio = loop / iteration
    print(
        f"({n_rows:,} x {n_features}, K={n_components}) {covariance_type:9s}: iteration"
        f" {1e3 * iteration:6.1f} ms, scores {1e3 * scoring:6.1f} ms, filling in"
        f" {1e3 * filling:6.1f} ms; loop {1e3 * loop:7.0f} ms, ratios {ratio:5.0f},"
        f" {loop / scoring:5.0f}, {loop / filling:5.0f} (wanted {WANTED:g}); differ by {error:.0e},"
        f" {after.lower_bound_:.4f} nats {'ok' if ratio >= WANTED and error < 1e-9 else 'SHORT'}",
        flush=True,
    )


def compare_imputation(table):
    """Print imputation errors in standard deviations, and seconds of fit and imputation."""
    X = np.load(Path(os.environ["PROBGEN_DATA_HOME"]) / f"{table}.npz")["X"].astype(np.float64)
    rng = np.random.default_rng(0)
    X = np.unique(X, axis=0)
    X = X[rng.permutation(len(X))[:5000]]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    holes = rng.random(X.shape) < SHARE_MISSING
    holed = np.where(holes, np.nan, X)
    mixture = {"random_state": 0, "max_iter": 200, "reg_covar": 1e-3}

    def by(model):
        return lambda: model.fit(holed).impute(holed)

    contenders = {
        "column means": lambda: SimpleImputer().fit_transform(holed),
        "KNNImputer(10)": lambda: KNNImputer(n_neighbors=10).fit_transform(holed),
        "IterativeImputer": (
            lambda: IterativeImputer(max_iter=30, random_state=0).fit_transform(holed)
        ),
        "GaussianMixture(1)": by(GaussianMixture(1, **mixture)),
        "GaussianMixture(10)": by(GaussianMixture(10, **mixture)),
        "GaussianMixture(20)": by(GaussianMixture(20, **mixture)),
        "GaussianMixture(20, low_rank)": by(
            GaussianMixture(20, covariance_type="low_rank", n_factors=4, **mixture)
        ),
    }
    for name, fill in contenders.items():
        seconds, filled = seconds_of(fill, 1)
        error = np.sqrt(np.mean((filled - X)[holes] ** 2))
        print(f"{table} {X.shape}: {name:30s} RMSE {error:.4f}, {seconds:6.2f} s", flush=True)


def main():
    """Run the parts named on the command line."""
    parts = ("speed", "imputation")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(parts)}; both if none")
    chosen = parser.parse_args().parts or parts
    if unknown := set(chosen) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"probgen {probgen.__version__}, scikit-learn {sklearn.__version__}, numpy"
        f" {np.__version__}, Python {sys.version.split()[0]}, {platform.machine()}, {cores} cores,"
        f" OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}; seed 0, {SHARE_MISSING:.0%}"
        " missing"
    )
    warnings.simplefilter("ignore", ConvergenceWarning)
    if "speed" in chosen:
        for shape in SHAPES:
            for covariance_type in TYPES:
                compare_speed(*shape, covariance_type)
    if "imputation" in chosen:
        for table in TABLES:
            compare_imputation(table)


if __name__ == "__main__":
    main()
