"""GaussianMixture beside scikit-learn's: an EM iteration, a whole fit, and memory.

Both run in this process from the same start on the same rows; iterations are timed as the
difference between fits of different `max_iter`, in turn, and the median ratio is printed. The final
log-likelihoods must agree to 1e-9.

    python benchmarks/gaussian_mixture.py                 # everything but MNIST and CUDA
    python benchmarks/gaussian_mixture.py iteration fit   # parts: iteration, float32, fit, draws,
    memory, mnist, cuda
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as ScikitLearnMixture

import probgen
from probgen import GaussianMixture, RowBlocks

# Rows, features, components, covariance type, and the ratio of an iteration that is wanted.
SHAPES = [
    (300_000, 8, 16, "full", 6.0),
    (200_000, 16, 32, "full", 6.0),
    (100_000, 2, 5, "full", 4.5),
    (50_000, 64, 16, "full", 2.0),
    (10_000, 256, 10, "full", 1.2),
    (100_000, 32, 16, "diag", 2.0),
    (1_000_000, 64, 64, "diag", 2.5),
    (10_000, 8, 4, "full", 1.0),
]
N_WHOLE_FITS = 4
WANTED_WHOLE_FIT = 3.0


def clusters(n_rows, n_features, n_components, *, seed=0, dtype=np.float64):
    """Rows of overlapping correlated clusters, of shape (n_rows, n_features)."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=1.5, size=(n_components, n_features))
    mixings = np.eye(n_features) + 0.3 * rng.normal(
        size=(n_components, n_features, n_features)
    ) / np.sqrt(n_features)
    rows = np.empty((n_rows, n_features), dtype=dtype)
    for k, part in enumerate(np.array_split(np.arange(n_rows), n_components)):
        rows[part] = centers[k] + rng.normal(size=(len(part), n_features)) @ mixings[k]
    return rows[rng.permutation(n_rows)]


def start_of(X, n_components, covariance_type, seed=0):
    """The same start for both: random rows as means, the overall variances as covariances."""
    rng = np.random.default_rng(seed)
    means = X[rng.choice(len(X), n_components, replace=False)].astype(np.float64)
    precisions = 1.0 / X[:50_000].astype(np.float64).var(axis=0)
    return {
        "n_components": n_components,
        "covariance_type": covariance_type,
        "weights_init": np.full(n_components, 1.0 / n_components),
        "means_init": means,
        "precisions_init": np.array(
            [np.diag(precisions) if covariance_type == "full" else precisions] * n_components
        ),
        "tol": 0.0,
    }


def seconds_of_fit(model, X):
    """Wall seconds of a fit, and the model."""
    start = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - start, model


def seconds_per_iteration(kind, settings, X, n_short, n_long):
    """Seconds of one iteration, from the difference of two fits, and of the longer fit."""
    short, _ = seconds_of_fit(kind(**settings, max_iter=n_short), X)
    long, model = seconds_of_fit(kind(**settings, max_iter=n_long), X)
    return (long - short) / (n_long - n_short), model


def compare_iterations(n_rows, n_features, n_components, covariance_type, wanted, dtype, n_pairs):
    """Print the seconds of an iteration of both and the median ratio of the pairs."""
    X = clusters(n_rows, n_features, n_components, dtype=dtype)
    settings = start_of(X, n_components, covariance_type)
    theirs, ours = [], []
    for _ in range(n_pairs):
        seconds, sk_model = seconds_per_iteration(ScikitLearnMixture, settings, X, 1, 6)
        theirs.append(seconds)
        ours.append(seconds_per_iteration(GaussianMixture, settings, X, 1, 11)[0])
    model = GaussianMixture(**settings, max_iter=6).fit(X)
    difference = abs(model.lower_bound_ / sk_model.lower_bound_ - 1.0)
    ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
    shape = f"({n_rows:,} x {n_features}, K={n_components}) {covariance_type}"
    print(
        f"{shape:38s} {np.dtype(dtype).name}: scikit-learn {1e3 * statistics.median(theirs):8.1f}"
        f" ms, probgen {1e3 * statistics.median(ours):7.1f} ms, ratio {ratio:5.1f} (wanted"
        f" {wanted:g}), log-likelihoods differ by {difference:.0e}"
        f" {'ok' if ratio >= wanted and (difference < 1e-9 or dtype == np.float32) else 'SHORT'}",
        flush=True,
    )


def compare_fits(n_rows, n_features, n_components, covariance_type):
    """Print the seconds of whole fits with default settings, k-means start included."""
    X = clusters(n_rows, n_features, n_components)
    settings = {"n_components": n_components, "covariance_type": covariance_type, "random_state": 0}
    theirs, sk_model = seconds_of_fit(ScikitLearnMixture(**settings), X)
    ours, model = seconds_of_fit(GaussianMixture(**settings), X)
    start, _ = seconds_of_fit(GaussianMixture(**settings, max_iter=0), X)
    ratio = theirs / ours
    shape = f"({n_rows:,} x {n_features}, K={n_components}) {covariance_type}"
    print(
        f"{shape:38s} whole fit: scikit-learn {theirs:6.2f} s ({sk_model.n_iter_} iterations,"
        f" {sk_model.lower_bound_:.4f} nats), probgen {ours:6.2f} s ({model.n_iter_},"
        f" {model.lower_bound_:.4f}), of which the start {start:.2f} s; ratio {ratio:5.1f} (wanted"
        f" {WANTED_WHOLE_FIT:g}), an iteration"
        f" {theirs / sk_model.n_iter_ / (ours / model.n_iter_):.1f}"
        f" {'ok' if ratio >= WANTED_WHOLE_FIT and start <= ours / 2 else 'SHORT'}",
        flush=True,
    )


class AnonymousMemory:
    """Peak anonymous memory of this process above its level at entry, in MB."""

    def __enter__(self):
        self._stop, self.peak = threading.Event(), 0.0
        self._base = self._read()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()

    @staticmethod
    def _read():
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return float(line.split()[1]) / 1024.0
        raise OSError("RssAnon is not in /proc/self/status")

    def _watch(self):
        while not self._stop.wait(0.002):
            self.peak = max(self.peak, self._read() - self._base)


def measure_memory():
    """Print the peak memory of fits of 1,000,000 x 16 float32 from a map and from blocks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, clusters(1_000_000, 16, 8, dtype=np.float32))
        settings = {"n_components": 8, "max_iter": 5, "random_state": 0}
        GaussianMixture(**settings).fit(
            clusters(20_000, 16, 8)
        )  # what is loaded once does not count
        mapped = np.load(path, mmap_mode="r")
        for name, rows in {
            "memory map": mapped,
            "RowBlocks": RowBlocks(
                lambda: (mapped[i : i + 65_536] for i in range(0, len(mapped), 65_536))
            ),
        }.items():
            with AnonymousMemory() as memory:
                seconds, model = seconds_of_fit(GaussianMixture(**settings), rows)
            print(
                f"1,000,000 x 16 float32 from a {name}: peak extra memory {memory.peak:.0f} MB"
                f" (wanted < 64), {seconds:.2f} s, {model.lower_bound_:.4f} nats"
                f" {'ok' if memory.peak < 64 else 'SHORT'}",
                flush=True,
            )


def compare_draws():
    """Print the seconds of draws and of scores beside scikit-learn's."""
    for n_rows, n_features, n_components in (
        (1_000_000, 8, 16),
        (100_000, 64, 16),
        (10_000, 784, 10),
    ):
        X = clusters(5_000, n_features, n_components)
        settings = {
            "n_components": n_components,
            "max_iter": 2,
            "reg_covar": 0.1,
            "random_state": 0,
        }
        ours, theirs = GaussianMixture(**settings).fit(X), ScikitLearnMixture(**settings).fit(X)
        queries = {"sample": (n_rows,), "score_samples": (X,)}
        for name, arguments in queries.items():
            ratios = []
            for _ in range(5):
                seconds = [_seconds(getattr(model, name), *arguments) for model in (theirs, ours)]
                ratios.append(seconds[0] / seconds[1])
            what = f"{n_rows if name == 'sample' else len(X):,} x {n_features}, K={n_components}"
            print(
                f"{name:13s} ({what}) full: scikit-learn {seconds[0]:.3f} s, probgen"
                f" {seconds[1]:.3f} s, ratio {statistics.median(ratios):.1f}",
                flush=True,
            )


def _seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare_on_mnist():
    """Print held-out nats, seconds and peak memory of full-size images, pixels in [0, 1]."""
    from probgen.datasets import fetch_mnist

    X = fetch_mnist(return_X_y=True)[0] / 255.0
    X_test = fetch_mnist(subset="test", return_X_y=True)[0] / 255.0
    for covariance_type in ("low_rank", "diag", "tied"):
        settings = {"n_components": 10, "n_factors": 10, "reg_covar": 1e-3, "random_state": 0}
        with AnonymousMemory() as memory:
            seconds, model = seconds_of_fit(
                GaussianMixture(covariance_type=covariance_type, **settings), X
            )
        print(
            f"MNIST 60,000 x 784, K=10 {covariance_type}: {model.score(X_test):.1f} held-out nats,"
            f" {seconds:.0f} s, {model.n_iter_} iterations, peak extra memory {memory.peak:.0f} MB"
            f" beside {X.nbytes / 2**20:.0f} of rows",
            flush=True,
        )


def compare_cuda():
    """Print the seconds of an iteration on CUDA beside the CPU's, in one run."""
    for n_rows, n_features, n_components, covariance_type, _ in SHAPES:
        X = clusters(n_rows, n_features, n_components)
        settings = start_of(X, n_components, covariance_type)
        GaussianMixture(**settings, max_iter=2, device="cuda").fit(
            X
        )  # the first call loads the driver
        cpu, on_cpu = seconds_per_iteration(
            GaussianMixture, {**settings, "device": "cpu"}, X, 1, 11
        )
        gpu, on_gpu = seconds_per_iteration(
            GaussianMixture, {**settings, "device": "cuda"}, X, 1, 11
        )
        print(
            f"({n_rows:,} x {n_features}, K={n_components}) {covariance_type}: CPU {1e3 * cpu:.1f}"
            f" ms, CUDA {1e3 * gpu:.1f} ms, ratio {cpu / gpu:.1f}, log-likelihoods differ by"
            f" {abs(on_gpu.lower_bound_ / on_cpu.lower_bound_ - 1.0):.0e}",
            flush=True,
        )


def main():
    """Run the parts named on the command line."""
    parts = ("iteration", "float32", "fit", "draws", "memory", "mnist", "cuda")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", help=f"any of {', '.join(parts)}; all but mnist and cuda if none"
    )
    parser.add_argument("--pairs", type=int, default=3, help="pairs of timings of an iteration")
    arguments = parser.parse_args()
    chosen = arguments.parts or parts[:-2]
    if unknown := set(chosen) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"probgen {probgen.__version__}, scikit-learn {sklearn.__version__}, numpy"
        f" {np.__version__}, Python {sys.version.split()[0]}, {platform.machine()}, {cores} cores;"
        " seed 0"
    )
    warnings.simplefilter("ignore", ConvergenceWarning)
    for part, dtype in (("iteration", np.float64), ("float32", np.float32)):
        if part in chosen:
            for shape in SHAPES if part == "iteration" else SHAPES[-3:-1]:
                compare_iterations(*shape, dtype, arguments.pairs)
    if "fit" in chosen:
        for shape in SHAPES[:N_WHOLE_FITS]:
            compare_fits(*shape[:-1])
    if "draws" in chosen:
        compare_draws()
    if "memory" in chosen:
        measure_memory()
    if "mnist" in chosen:
        compare_on_mnist()
    if "cuda" in chosen:
        compare_cuda()


if __name__ == "__main__":
    main()
