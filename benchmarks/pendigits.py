"""Pen strokes as sequences: hidden Markov models beside models that take them as plain rows.

    python benchmarks/pendigits.py            # all parts
    python benchmarks/pendigits.py nats       # one of them: nats, classes

A row of pendigits (ADBench, 6,870 rows) is 8 points (x, y) of the pen, one after another. The
numbers are rounded to 101 levels, so that all models are held to one measure: the log-probability
of levels, in nats for each stroke. Models of levels (MADE, categories) give it exactly. Densities
are fitted to levels plus uniform noise of one level, under which the mean log-density is a lower
bound on it (Theis, van den Oord & Bethge, 2016); a density of numbers in [0, 1] would be another
measure, and without a bound, because many strokes touch 0 and 1 exactly.

All scores but those of MADE and of categories are lower bounds; that of the VAE is one on its
density too.

nats: 4,000 rows are fitted, the number of states or components is chosen on 1,000, and 1,870 are
scored: whole strokes; the last four points given the first four; and the error of the means of 20
futures of 500 of them that are drawn given the first four points, in levels for each coordinate.

classes: strokes of the digit 0, of which there are 156, against those of all other digits, by
Bayes' rule: the share that is right, the mean of the shares of both classes, and the area under the
curve of the receiver, over 3 folds.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from probgen import MADE, VAE, BayesClassifier, GaussianMixture, HiddenMarkovModel, get_likelihood
from probgen.datasets import fetch_adbench

SHAPE = (8, 2)
HALF = 8  # numbers of the first four points
N_LEVELS = 101
N_FUTURES = 20
N_PASTS = 500
SIZES = (10, 20, 40, 80, 160)
MOST_ITERATIONS = 50  # of Baum and Welch


def load(seed):
    """Levels (n, 16), levels with noise, and whether a stroke is a 0."""
    bunch = fetch_adbench("pendigits")
    levels = np.round((N_LEVELS - 1) * np.asarray(bunch.data, dtype=np.float64))
    noisy = levels + np.random.default_rng(seed).random(levels.shape)
    return levels, noisy, np.asarray(bunch.target)


def contestants(seed):
    """Names, models to choose from, and whether they take levels."""
    common = {"sequence_shape": SHAPE, "max_iter": MOST_ITERATIONS, "random_state": seed}
    yield (
        "HiddenMarkovModel, full covariances",
        [HiddenMarkovModel(k, covariance_type="full", **common) for k in SIZES],
        False,
    )
    yield (
        "HiddenMarkovModel, categories",
        [
            HiddenMarkovModel(k, emission="categorical", min_categories=N_LEVELS, **common)
            for k in SIZES
        ],
        True,
    )
    mixtures = [GaussianMixture(k, covariance_type="full", random_state=seed) for k in SIZES]
    yield "GaussianMixture, full covariances", mixtures, False
    yield (
        "MADE, discretized logistics",
        [MADE((300,), likelihood="discretized_logistic", random_state=seed)],
        True,
    )
    yield "VAE, Gaussian", [VAE(8, likelihood="gaussian", random_state=seed)], False


def errors_of_futures(model, past, levels, shift):
    """Mean absolute error of the means of drawn second halves, in levels."""
    total = np.zeros((len(past), levels.shape[1] - HALF))
    for i in range(N_FUTURES):
        total += model.sample(len(past), given=past, random_state=i)[:, HALF:]
    return float(np.abs(total / N_FUTURES - shift - levels[:, HALF:]).mean())


def compare(seed):
    """Print a row for each model."""
    levels, noisy, _ = load(seed)
    rest, test = train_test_split(np.arange(len(levels)), test_size=1870, random_state=seed)
    train, valid = train_test_split(rest, test_size=1000, random_state=seed)
    print(f"seed {seed}: {len(train)} rows fitted, {len(valid)} to choose, {len(test)} scored")
    for name, models, is_discrete in contestants(seed):
        rows = levels if is_discrete else noisy
        begin = time.process_time()
        fitted = [model.fit(rows[train]) for model in models]
        best = max(fitted, key=lambda model: model.score(rows[valid]))
        seconds = time.process_time() - begin
        past = rows[test].copy()
        past[:, HALF:] = np.nan
        scores = best.score_samples(rows[test])
        # Noise is half a level on average.
        error = errors_of_futures(
            best, past[:N_PASTS], levels[test[:N_PASTS]], 0.0 if is_discrete else 0.5
        )
        line = f"{name} {getattr(best, 'n_components', '')}: {scores.mean():.2f} +-"
        line += f" {scores.std() / np.sqrt(len(scores)):.2f} nats"
        if get_likelihood(best).kind == "exact":  # the difference of two bounds bounds nothing
            line += f", second half {np.mean(scores - best.score_samples(past)):.2f} nats"
        print(f"{line}, error {error:.1f} levels; all fits {seconds:.0f} CPU s", flush=True)


def classify(seed):
    """Print how well zeros are told from other digits."""
    _, noisy, is_zero = load(seed)
    for name, base in (
        (
            "HiddenMarkovModel",
            HiddenMarkovModel(
                20, covariance_type="full", max_iter=MOST_ITERATIONS, sequence_shape=SHAPE
            ),
        ),
        ("HiddenMarkovModel, left to right", left_right()),
        ("GaussianMixture", GaussianMixture(2, covariance_type="full")),
    ):
        found = []
        begin = time.process_time()
        folds = StratifiedKFold(3, shuffle=True, random_state=seed)
        for train, test in folds.split(noisy, is_zero):
            model = BayesClassifier(base, random_state=seed).fit(noisy[train], is_zero[train])
            predicted, truth = model.predict(noisy[test]), is_zero[test]
            area = roc_auc_score(truth, model.predict_proba(noisy[test])[:, 1])
            right = accuracy_score(truth, predicted), balanced_accuracy_score(truth, predicted)
            found.append([*right, area])
        accuracy, balanced, area = np.mean(found, axis=0)
        seconds = time.process_time() - begin
        print(
            f"BayesClassifier({name}): accuracy {accuracy:.4f}, balanced {balanced:.4f}, area"
            f" {area:.4f}; {seconds:.0f} CPU s",
            flush=True,
        )


def left_right():
    """A model whose states follow one another, as the points of a stroke do."""
    return HiddenMarkovModel(
        16, covariance_type="full", sequence_shape=SHAPE, transition="left_right"
    )


def main():
    """Run the parts named on the command line."""
    parts = {"nats": compare, "classes": classify}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(parts)}; all if none")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", message="The estimates of .* rest on fewer than")
    warnings.filterwarnings("ignore", message="given is hard to meet")
    for name in arguments.parts or parts:
        parts[name](arguments.seed)


if __name__ == "__main__":
    main()
