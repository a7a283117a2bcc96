"""What is asked often: fits of small tables and queries of one row, beside scikit-learn.

Both run in this process, in turn, and the ratio of their median times is printed: above 1, probgen
is the faster one. Times are those of the processor, so that other programs matter less.

Models with networks have no peer there. One row is compared with 256 rows, rows with gaps with the
same rows without, and two fits at once, in processes of their own, with one alone.

    python benchmarks/small_calls.py               # everything
    python benchmarks/small_calls.py query fit     # query, fit, classes, networks, gaps, together
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_digits, load_iris
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.mixture import GaussianMixture as ScikitLearnMixture
from sklearn.naive_bayes import GaussianNB

import probgen
from probgen import GAN, MADE, VAE, Autoencoder, GaussianBayes, GaussianMixture

# Components and features of the mixtures that are asked.
SHAPES = [(5, 8), (50, 64)]
# Ratios that are wanted of each part.
WANTED_QUERY = 0.5
WANTED_LARGE_QUERY = 1.0
WANTED_FIT = 1.0
WANTED_QDA = 1.5
WANTED_NAIVE_BAYES = 1.0
WANTED_SHARE = 1 / 8  # of the time of 256 rows that one row takes, or
WANTED_SECONDS = 5e-3  # that it takes
MOST_SECONDS = 20e-3
WANTED_GAPS = 3.0
WANTED_TOGETHER = 1.3
SMALL_FIT = """
import time, warnings
import numpy as np
from probgen import VAE
warnings.simplefilter("ignore")
X = np.random.default_rng(0).normal(size=(2000, 8))
VAE(4, max_iter=1, random_state=0).fit(X[:100])
start = time.perf_counter(), time.process_time()
VAE(4, max_iter=10, random_state=0).fit(X)
print(time.perf_counter() - start[0], time.process_time() - start[1])
"""


def median_seconds(functions, n_times):
    """Median processor seconds of each function, called in turn."""
    seconds = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(n_times):
        for function, times in zip(functions, seconds, strict=True):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
    return [statistics.median(times) for times in seconds]


def compare(name, theirs, ours, wanted, n_times):
    """Print the times of two functions and their ratio; return whether it falls short."""
    their_seconds, our_seconds = median_seconds([theirs, ours], n_times)
    ratio = their_seconds / our_seconds
    verdict = "ok" if ratio >= wanted else "SHORT"
    print(
        f"{name:48s} scikit-learn {1e3 * their_seconds:8.2f} ms, probgen {1e3 * our_seconds:8.2f}"
        f" ms, ratio {ratio:6.2f} (wanted {wanted:g}) {verdict}",
        flush=True,
    )
    return ratio < wanted


def compare_queries():
    """Queries of one row and of thousands, under full covariances."""
    n_short = 0
    for n_components, n_features in SHAPES:
        X = np.random.default_rng(0).standard_normal((80 * n_components, n_features))
        many = np.resize(X, (5000, n_features))
        settings = {"random_state": 0, "max_iter": 5}
        peer = ScikitLearnMixture(n_components, **settings).fit(X)
        model = GaussianMixture(n_components, **settings).fit(X)
        shape = f"K={n_components}, d={n_features}"
        for name in ("predict", "score_samples"):
            ask_peer, ask_model = getattr(peer, name), getattr(model, name)
            n_short += compare(
                f"{name} of one row, {shape}",
                lambda ask=ask_peer, X=X: ask(X[:1]),
                lambda ask=ask_model, X=X: ask(X[:1]),
                WANTED_QUERY,
                101,
            )
            n_short += compare(
                f"{name} of 5,000 rows, {shape}",
                lambda ask=ask_peer, many=many: ask(many),
                lambda ask=ask_model, many=many: ask(many),
                WANTED_LARGE_QUERY,
                7,
            )
    return n_short


def compare_fits():
    """Fits of small tables: an iteration, at an equal number of them, and as a whole."""
    n_short = 0
    tables = {
        "iris, K=3 full": (load_iris().data, 3, "full"),
        "digits, K=10 diag": (load_digits().data, 10, "diag"),
    }
    for name, (X, n_components, covariance_type) in tables.items():
        settings = {"n_components": n_components, "covariance_type": covariance_type}

        def fits(kind, X=X, settings=settings, **more):
            for seed in range(5):
                kind(**settings, random_state=seed, **more).fit(X)

        for kind in (ScikitLearnMixture, GaussianMixture):
            model = kind(**settings, random_state=0).fit(X)
            print(
                f"  {kind.__module__}: {model.n_iter_} iterations to {model.lower_bound_:.3f} nats"
            )
        for n_iter in (1, 20):
            n_short += compare(
                f"5 fits of {name}, {n_iter} iterations",
                lambda n_iter=n_iter: fits(ScikitLearnMixture, max_iter=n_iter, tol=0.0),
                lambda n_iter=n_iter: fits(GaussianMixture, max_iter=n_iter, tol=0.0),
                WANTED_FIT if n_iter > 1 else 0.0,
                7,
            )
        n_short += compare(
            f"5 fits of {name}, until they converge",
            lambda: fits(ScikitLearnMixture),
            lambda: fits(GaussianMixture),
            WANTED_FIT,
            7,
        )
    return n_short


def compare_classes():
    """Class-conditional Gaussians of 50,000 x 64 rows in ten classes."""
    y = np.arange(50_000) % 10
    X = np.random.default_rng(0).standard_normal((50_000, 64)) + y[:, None]
    n_short = compare(
        "fit of full covariances, 50,000 x 64",
        lambda: QuadraticDiscriminantAnalysis().fit(X, y),
        lambda: GaussianBayes().fit(X, y),
        WANTED_QDA,
        5,
    )
    n_short += compare(
        "fit of naive Bayes, 50,000 x 64",
        lambda: GaussianNB().fit(X, y),
        lambda: GaussianBayes(covariance_type="diag").fit(X, y),
        WANTED_NAIVE_BAYES,
        5,
    )
    peer = QuadraticDiscriminantAnalysis().fit(X, y)
    model = GaussianBayes().fit(X, y)
    n_short += compare(
        "predict of one row, ten full covariances",
        lambda: peer.predict(X[:1]),
        lambda: model.predict(X[:1]),
        WANTED_QUERY,
        101,
    )
    n_short += compare(
        "predict of 50,000 rows, ten full covariances",
        lambda: peer.predict(X),
        lambda: model.predict(X),
        WANTED_LARGE_QUERY,
        3,
    )
    return n_short


def compare_networks():
    """One row scored by each family of networks, beside 256 rows."""
    n_short = 0
    X = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    for kind in (VAE, Autoencoder, MADE, GAN):
        settings = {"random_state": 0, "max_iter": 2}
        model = kind(**settings).fit(X)
        one, many = median_seconds(
            [lambda m=model: m.score_samples(X[:1]), lambda m=model: m.score_samples(X[:256])], 7
        )
        is_short = one > max(WANTED_SHARE * many, WANTED_SECONDS) or one > MOST_SECONDS
        n_short += is_short
        print(
            f"one row scored by {kind.__name__:30s} {1e3 * one:8.2f} ms, 256 rows"
            f" {1e3 * many:8.2f} ms, share 1/{many / one:.1f} (wanted 1/8 or 5 ms, and 20 ms)"
            f" {'SHORT' if is_short else 'ok'}",
            flush=True,
        )
    return n_short


def compare_gaps():
    """A VAE of 2,000 x 11 rows of which a tenth of the values is missing, and of whole rows."""
    generator = np.random.default_rng(0)
    whole = generator.normal(size=(2000, 11)) @ generator.normal(size=(11, 11))
    gaps = np.where(generator.random(whole.shape) < 0.1, np.nan, whole)
    models = [VAE(max_iter=10, random_state=0), VAE(max_iter=10, random_state=0)]
    tables = [whole, gaps]
    n_short = 0
    for name, n_rows in (("fit", 2000), ("score_samples", 500), ("impute", 100)):
        seconds = []
        for model, table in zip(models, tables):
            start = time.process_time()
            getattr(model, name)(table[:n_rows])
            seconds.append(time.process_time() - start)
        ratio = seconds[1] / seconds[0]
        verdict = "ok" if ratio <= WANTED_GAPS else "SHORT"
        n_short += ratio > WANTED_GAPS
        print(
            f"{name} of {n_rows} rows: whole {seconds[0]:.2f} s, with gaps {seconds[1]:.2f} s,"
            f" ratio {ratio:.2f} (wanted {WANTED_GAPS:g}) {verdict}",
            flush=True,
        )
    return n_short


def compare_together():
    """Two small fits at once beside one alone, by the clock; needs two idle processors."""

    def run(n_processes):
        """Wall and processor seconds of the slowest of so many processes."""
        command = [sys.executable, "-c", SMALL_FIT]
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n_processes)
        ]
        outputs = [process.communicate()[0].split() for process in processes]
        return np.max(np.array(outputs, dtype=float), axis=0)

    alone, together = run(1), run(2)
    wall, processor = together / alone
    print(
        f"two fits at once: one alone {alone[0]:.2f} s, both {together[0]:.2f} s, ratio {wall:.2f}"
        f" by the clock, {processor:.2f} of the processor (wanted {WANTED_TOGETHER:g})"
        f" {'ok' if wall <= WANTED_TOGETHER else 'SHORT'}",
        flush=True,
    )
    return int(wall > WANTED_TOGETHER)


# Each part returns how many of its ratios fall short.
PARTS = {
    "query": compare_queries,
    "fit": compare_fits,
    "classes": compare_classes,
    "networks": compare_networks,
    "gaps": compare_gaps,
    "together": compare_together,
}


def main():
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    chosen = parser.parse_args().parts or list(PARTS)
    warnings.simplefilter("ignore")
    print(
        f"probgen {probgen.__version__}, scikit-learn {sklearn.__version__}, numpy"
        f" {np.__version__}, {platform.processor() or platform.machine()}"
    )
    n_short = sum(PARTS[part]() for part in chosen)
    print(f"{n_short} short")
    sys.exit(bool(n_short))


if __name__ == "__main__":
    main()
