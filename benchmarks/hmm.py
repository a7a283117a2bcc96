"""HiddenMarkovModel beside hmmlearn's, or beside a loop over steps where hmmlearn is not there.

All start from the same parameters on the same sequences of Gaussian steps, in this process and in
turn; the median ratio of the CPU seconds of an EM iteration is printed, and log-likelihoods after
the iterations must agree to 1e-6 of them. hmmlearn is timed with both its implementations of the
passes, "log", which is its default, and "scaling", which is faster and fails where it underflows.
The loop is the recursion of Baum and Welch in NumPy, one step of one sequence at a time.

    python benchmarks/hmm.py                    # all cases
    python benchmarks/hmm.py short long many    # cases by name

hmmlearn is no dependency of the project. Any environment will do that has it and the dependencies
of probgen, which may be found by PYTHONPATH; torch is not needed.
"""

import argparse
import os
import platform
import statistics
import sys
import time
import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning

import probgen
from probgen import HiddenMarkovModel

try:
    from hmmlearn.hmm import GaussianHMM
except ImportError:
    GaussianHMM = None

IMPLEMENTATIONS = ("log", "scaling")
# Sequences, steps, states, iterations, and those of the loop.
CASES = {
    "short": (50, 100, 10, 5, 5),
    "long": (1, 100_000, 8, 5, 1),
    "many": (10_000, 50, 10, 5, 1),
}


def sequences(n, n_steps, n_states, seed=0):
    """Rows (n, n_steps) of states that last ten steps on average, with noise."""
    rng = np.random.default_rng(seed)
    changes = rng.random((n, n_steps)) < 0.1
    states = rng.integers(n_states, size=(n, n_steps))
    last = np.maximum.accumulate(np.where(changes, np.arange(n_steps), 0), axis=1)
    return 2.0 * np.take_along_axis(states, last, axis=1) + rng.normal(size=(n, n_steps))


def start_of(n_states):
    """First probabilities, transitions, means and variances of all contestants."""
    transitions = 0.5 * np.eye(n_states) + 0.5 / n_states
    means = 2.0 * np.arange(n_states) + 0.3
    return np.full(n_states, 1.0 / n_states), transitions, means, np.ones(n_states)


def fit_ours(X, start, n_iter):
    """Seconds of a fit, and the log-likelihood after it."""
    n_states = len(start[0])
    settings = {"tol": 0.0, "reg_covar": 0.0, "init_params": "random_from_data", "device": "cpu"}
    model = HiddenMarkovModel(n_states, max_iter=0, warm_start=True, **settings).fit(X)
    model.start_probabilities_, model.transition_matrix_ = start[0], start[1]
    model.means_, model.covariances_ = start[2][:, None], start[3][:, None]
    seconds = {}
    for iterations in (0, n_iter):
        model.set_params(max_iter=iterations)
        begin = time.process_time()
        model.fit(X)
        seconds[iterations] = time.process_time() - begin
    return (seconds[n_iter] - seconds[0]) / n_iter, model


def fit_hmmlearn(X, start, n_iter, implementation):
    """The same of hmmlearn."""
    model = GaussianHMM(
        len(start[0]),
        init_params="",
        n_iter=n_iter,
        tol=-np.inf,
        covars_prior=0.0,
        covars_weight=0.0,
        min_covar=0.0,
        implementation=implementation,
    )
    model.startprob_, model.transmat_ = start[0], start[1]
    model.means_, model.covars_ = start[2][:, None], start[3][:, None]
    steps, lengths = X.reshape(-1, 1), np.full(len(X), X.shape[1])
    begin = time.process_time()
    model.fit(steps, lengths)
    return (time.process_time() - begin) / n_iter, model.score(steps, lengths)


def iterate(X, start, transitions, means, variances):
    """One iteration, step by step: the log-likelihood, and new parameters."""
    n_states = len(start)
    sums = np.zeros((3, n_states))
    first, pairs, total = np.zeros(n_states), np.zeros((n_states, n_states)), 0.0
    for row in X:
        densities = np.exp(-0.5 * (row[:, None] - means) ** 2 / variances)
        densities /= np.sqrt(2.0 * np.pi * variances)
        alpha, scales = np.empty_like(densities), np.empty(len(row))
        now = start * densities[0]
        for t in range(len(row)):
            if t:
                now = (alpha[t - 1] @ transitions) * densities[t]
            scales[t] = now.sum()
            alpha[t] = now / scales[t]
        beta = np.ones_like(densities)
        for t in range(len(row) - 1, 0, -1):
            beta[t - 1] = transitions @ (densities[t] * beta[t]) / scales[t]
        gamma = alpha * beta
        ahead = densities[1:] * beta[1:] / scales[1:, None]
        pairs += transitions * (alpha[:-1].T @ ahead)
        first += gamma[0]
        sums += np.stack([np.ones_like(row), row, row**2]) @ gamma
        total += np.log(scales).sum()
    means = sums[1] / sums[0]
    variances = sums[2] / sums[0] - means**2
    return total, (first / len(X), pairs / pairs.sum(axis=1, keepdims=True), means, variances)


def fit_loop(X, start, n_iter):
    """The same of the loop."""
    begin = time.process_time()
    for _ in range(n_iter):
        _, start = iterate(X, *start)
    return (time.process_time() - begin) / n_iter, start


def rivals(X, start, n_iter, n_loops):
    """Seconds of an iteration of the others by name, and the log-likelihood after some."""
    if GaussianHMM is None:
        seconds, parameters = fit_loop(X, start, n_loops)
        return {"a loop over steps": seconds}, iterate(X, *parameters)[0], n_loops
    found = {}
    for name in IMPLEMENTATIONS:
        found[f"hmmlearn {name}"], total = fit_hmmlearn(X, start, n_iter, name)
    return found, total, n_iter


def compare(name, n_pairs):
    """Print the seconds of an iteration of all, and those of queries."""
    n, n_steps, n_states, n_iter, n_loops = CASES[name]
    X = sequences(n, n_steps, n_states)
    start = start_of(n_states)
    ratios = {}
    for _ in range(n_pairs):
        ours, model = fit_ours(X, start, n_iter)
        theirs, total, n_theirs = rivals(X, start, n_iter, n_loops)
        if n_theirs < n_iter:
            _, model = fit_ours(X, start, n_theirs)
        assert abs(np.sum(model.score_samples(X)) - total) <= 1e-6 * abs(total)
        for rival, seconds in theirs.items():
            ratios.setdefault(rival, []).append(seconds / ours)
    line = f"{name} ({n:,} x {n_steps:,}, K={n_states}): an iteration {1e3 * ours:.1f} ms"
    for rival, seconds in theirs.items():
        line += f"; {rival} {1e3 * seconds:.1f} ms, ratio {statistics.median(ratios[rival]):.1f}"
    for query in ("score_samples", "posterior", "decode"):
        begin = time.process_time()
        getattr(model, query)(X)
        line += f"; {query} {1e3 * (time.process_time() - begin):.0f} ms"
    print(line, flush=True)


def main():
    """Run the cases named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help=f"any of {', '.join(CASES)}; all if none")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of timings of an iteration")
    arguments = parser.parse_args()
    chosen = arguments.cases or list(CASES)
    if unknown := set(chosen) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"probgen {probgen.__version__}, scikit-learn {sklearn.__version__}, numpy"
        f" {np.__version__}, Python {sys.version.split()[0]}, {platform.machine()}, {cores} cores;"
        " seed 0"
    )
    if GaussianHMM is None:
        print("hmmlearn is not installed: beside a loop over steps")
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in chosen:
        compare(name, arguments.pairs)


if __name__ == "__main__":
    main()
