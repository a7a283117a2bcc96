"""Mixtures of categories beside a hand-written loop over one-hot rows: seconds and memory.

    python benchmarks/mixture_model.py                    # K = 300, 60 iterations
    python benchmarks/mixture_model.py --components 50 --pairs 5

The rows are UCI Adult (four fifths of the training part), each column in at most 42 levels. Both
take as many iterations from random starts, one after the other in pairs, and the ratio of a pair
is that of the loop to probgen. The loop holds a one-hot row of float32 for each row, probgen the
places of its ones. Memory is the peak of the arrays of a fit, to these rows and to four times as
many.
"""

import argparse
import os
import platform
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logsumexp

import probgen

SEED = 0
BINS = {"fnlwgt": 20, "age": 40, "hours-per-week": 40, "capital-gain": 40, "capital-loss": 30}


def rows():
    """Levels (n, 15) of Adult."""
    frame = pd.read_csv(Path(os.environ["PROBGEN_DATA_HOME"]) / "adult.csv.gz")
    parts = []
    for name, column in frame.items():
        if name in BINS:
            column = pd.cut(column, BINS[name])
        parts.append(pd.factorize(column, sort=True)[0])
    X = np.column_stack(parts)
    return X[np.random.default_rng(SEED).permutation(len(X))[: len(X) * 4 // 5]]


def by_hand(X, n_components, n_iter):
    """Log-likelihood of a row after EM over one-hot rows."""
    n_levels = X.max(axis=0) + 1
    starts = np.cumsum(n_levels) - n_levels
    one_hot = np.zeros((len(X), n_levels.sum()), dtype=np.float32)
    one_hot[np.arange(len(X))[:, None], X + starts] = 1.0
    rng = np.random.default_rng(SEED)
    resp = rng.dirichlet(np.full(n_components, 0.1), size=len(X)).astype(np.float32)
    for _ in range(n_iter):
        counts = resp.T @ one_hot + np.float32(0.1)
        parts = [
            part / part.sum(axis=1, keepdims=True) for part in np.split(counts, starts[1:], axis=1)
        ]
        with np.errstate(divide="ignore"):  # of components that are empty
            log_weights = np.log(resp.mean(axis=0))
        joint = one_hot @ np.log(np.concatenate(parts, axis=1)).T + log_weights
        scores = logsumexp(joint, axis=1, keepdims=True)
        resp = np.exp(joint - scores)
    return float(scores.mean())


def by_probgen(X, n_components, n_iter):
    """Log-likelihood of a row after as many iterations of MixtureModel."""
    model = probgen.MixtureModel(
        n_components,
        distributions="categorical",
        init_params="random",
        max_iter=n_iter,
        tol=0.0,
        random_state=SEED,
    )
    with warnings.catch_warnings(action="ignore"):
        return model.fit(X).lower_bound_


WAYS = {"by hand": by_hand, "probgen": by_probgen}


def memory(way, X, n_components):
    """The peak of the arrays of a fit, in MB."""
    tracemalloc.start()
    way(X, n_components, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**20


def main():
    """Time pairs of fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=300)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    X = rows()
    sizes = arguments.components, arguments.iterations
    print(
        f"probgen {probgen.__version__}, numpy {np.__version__}, {platform.machine()},"
        f" {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')},"
        f" seed {SEED}: {X.shape[0]:,} rows, {(X.max(axis=0) + 1).sum()} levels, K ="
        f" {arguments.components}, {arguments.iterations} iterations"
    )
    for way in WAYS.values():
        way(X[:500], 2, 1)  # what a first call loads
    ratios = []
    for _ in range(arguments.pairs):
        taken = {}
        for name, way in WAYS.items():
            start = time.perf_counter()
            score = way(X, *sizes)
            taken[name] = time.perf_counter() - start
            print(f"  {name:8s} {taken[name]:6.2f} s, {score:.3f} nats a row", flush=True)
        ratios.append(taken["by hand"] / taken["probgen"])
    print(f"by hand / probgen: median {np.median(ratios):.2f} of {len(ratios)} pairs")
    for name, way in WAYS.items():
        sizes_in_mb = [memory(way, each, arguments.components) for each in (X, np.tile(X, (4, 1)))]
        print(f"memory of a fit, {name}: {sizes_in_mb[0]:.0f} MB, {sizes_in_mb[1]:.0f} MB")
    model = probgen.MixtureModel(
        arguments.components, distributions="categorical", max_iter=1, random_state=SEED
    )
    with warnings.catch_warnings(action="ignore"):
        model.fit(X)
    start = time.perf_counter()
    model.sample(1_000_000, random_state=SEED)
    print(f"1,000,000 draws: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
