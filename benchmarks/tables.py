"""Generators of mixed tables: what their draws teach, how they differ from real rows, and seconds.

    python benchmarks/tables.py                          # all tables, all models
    python benchmarks/tables.py adult abalone            # some of them
    python benchmarks/tables.py adult --models made,vae  # some models
    python benchmarks/tables.py adult --draws 1000000    # draws that are timed, beside those of all
    python benchmarks/tables.py adult --models ctgan,tvae --epochs 30

ctgan and tvae are the networks of the package `ctgan` with its settings, for as many epochs as
`--epochs` says (its own default is 300). They run where that package is installed beside probgen,
which is best done in an environment of its own; all other models run without it.

Each table is split into four fifths to learn from and one fifth to test on, stratified by the
target if that is a category. The target is a column of the table like all others. Each line holds

- fit, draw: seconds of the fit, and of as many draws as there are training rows;
- nats: mean log-likelihood of the test rows, where all categories not seen are one more level;
- trees, linear, forest: HistGradientBoosting, logistic (or ridge) regression and a random forest,
  trained on the draws and tested on the real test rows: area under the ROC curve and F1 (of the
  rarer of two classes, or the mean of several), or R2;
- TV: mean and largest total variation of categories; W: mean and largest Wasserstein distance of
  numbers, in standard deviations; gaps: largest difference of the shares of gaps;
- pairs: mean absolute difference of the association of two columns;
- closest: share of draws closer to training rows than to as many test rows, 0.5 without copying;
- told: area under the curve of trees that tell draws from test rows, 0.5 if they cannot.

The first line is of the training rows themselves. Two more show the scale: rows drawn with
replacement, which copy, and columns drawn on their own, which have no association.

adult is the training part of UCI Adult, whose gaps are written "?"; categories is the same with "?"
as a category. Published figures for Adult are
of other splits and other classifiers, so only their distances from real rows compare: areas under
the curve of a tuned XGBoost by H. Zhang et al., TabSyn, 2024 (real .927, TabSyn .915, TabDDPM .907,
CTGAN .886), and F1 of four classifiers by a re-run of CTGAN and TVAE (L. Xu et al., Modeling
tabular data using conditional GAN, 2019): real .652, TVAE .634, CTGAN .597.
"""

import argparse
import functools
import os
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split

import probgen
from probgen.metrics import (
    association_error,
    classifier_two_sample_test,
    closest_record_share,
    column_distances,
    train_on_synthetic,
)

SEED = 0
TEST_SIZE = 0.2
MOST_COMPARED = 6000  # draws whose closest records are looked for
PUBLISHED = {
    "area under the curve": {"TabSyn": 0.012, "TabDDPM": 0.020, "CTGAN": 0.041},
    "F1": {"TVAE": 0.018, "CTGAN": 0.055},
}


# Tables


def home(name):
    """A file of the folder of data."""
    return Path(os.environ["PROBGEN_DATA_HOME"]) / name


def adult():
    """UCI Adult with its label."""
    frame = pd.read_csv(home("adult.csv.gz"), skipinitialspace=True, na_values="?")
    return frame, "income"


def categories():
    """Adult, whose gaps are one more category."""
    frame = pd.read_csv(home("adult.csv.gz"), skipinitialspace=True, keep_default_na=False)
    return frame, "income"


def gaps():
    """Adult, a tenth of whose cells other than the label are gaps."""
    frame, target = adult()
    holes = np.random.default_rng(SEED).random(frame.shape) < 0.1
    holes[:, frame.columns.get_loc(target)] = False
    return frame.mask(holes), target


def abalone():
    """Abalone with sex, to predict the rings."""
    with np.load(home("uci_abalone.npz")) as archive:
        frame = pd.DataFrame(archive["X"], columns=archive["feature_names"])
        frame["sex"] = np.array(["M", "F", "I"])[archive["sex"]]
        frame["rings"] = archive["y"].astype(int)
    return frame, "rings"


def wine():
    """Red and white wines, to tell by their colour."""
    with np.load(home("uci_wine_quality.npz")) as archive:
        frame = pd.DataFrame(archive["X"], columns=archive["feature_names"])
        frame["quality"] = archive["y"].astype(int)
        frame["color"] = np.array(["red", "white"])[archive["color"]]
    return frame, "color"


def mushrooms():
    """112 bits of mushrooms, the first of which is the target."""
    with np.load(home("binary_mushrooms.npz")) as archive:
        rows = np.concatenate([archive["x_train"], archive["x_valid"], archive["x_test"]])
    frame = pd.DataFrame(rows.astype(bool), columns=[f"bit_{j}" for j in range(rows.shape[1])])
    shares = frame.mean()
    target = (shares - 0.5).abs().idxmin()
    return frame, target


def letters():
    """16 whole numbers from 0 to 15 of pictures of letters, and the letter."""
    with np.load(home("uci_letter_recognition.npz")) as archive:
        frame = pd.DataFrame(archive["X"].astype(int), columns=archive["feature_names"])
        frame["letter"] = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))[archive["y"]]
    return frame, "letter"


def dates(n_rows=8000):
    """Made orders: a date with seasons, a time to delivery, a shop, an amount that may be zero."""
    rng = np.random.default_rng(SEED)
    shop = rng.choice(["Bergen", "Lyon", "Turin", "Web"], size=n_rows, p=[0.1, 0.2, 0.3, 0.4])
    day = np.concatenate([rng.integers(0, 900, n_rows // 2), rng.normal(330, 20, n_rows)])
    day = rng.permutation(np.clip(np.rint(day), 0, 900))[:n_rows].astype(int)
    ordered = pd.Timestamp("2022-01-01") + pd.to_timedelta(day, "D")
    wait = rng.gamma(2.0, np.where(shop == "Web", 30.0, 4.0))
    amount = np.exp(rng.normal(3.0 + (shop == "Turin"), 0.6)).round(2)
    returned = rng.random(n_rows) < np.where(wait > 60.0, 0.5, 0.1)
    frame = pd.DataFrame(
        {
            "ordered": ordered,
            "hour": rng.binomial(23, 0.6, n_rows),
            "wait": pd.to_timedelta(np.rint(wait), "h"),
            "shop": pd.Categorical(shop),
            "amount": np.where(rng.random(n_rows) < 0.15, 0.0, amount),
            "paid": pd.Series(ordered).where(rng.random(n_rows) < 0.8),
            "returned": returned,
        }
    )
    return frame, "returned"


def wide(n_rows=5000, n_columns=200):
    """Made rows of 150 numbers and 50 categories, on ten factors, and a label."""
    rng = np.random.default_rng(SEED)
    n_numbers = 3 * n_columns // 4
    factors = rng.normal(size=(n_rows, 10))
    latent = factors @ rng.normal(size=(10, n_columns)) + 2.0 * rng.normal(size=(n_rows, n_columns))
    parts = {}
    for j in range(n_columns - 1):
        if j < n_numbers:
            parts[f"number_{j}"] = latent[:, j]
        else:
            n_levels = 2 + j % 6
            cuts = np.quantile(latent[:, j], np.arange(1, n_levels) / n_levels)
            parts[f"group_{j}"] = np.array(list("abcdefgh"))[np.searchsorted(cuts, latent[:, j])]
    parts["label"] = np.where(factors[:, 0] + 0.5 * rng.normal(size=n_rows) > 1.0, "yes", "no")
    return pd.DataFrame(parts), "label"


TABLES = {
    "adult": adult,
    "categories": categories,
    "gaps": gaps,
    "abalone": abalone,
    "wine": wine,
    "mushrooms": mushrooms,
    "letters": letters,
    "dates": dates,
    "wide": wide,
}


# Models


class Rows:
    """The training rows, drawn with replacement."""

    def fit(self, frame):
        """Keep the rows."""
        self.frame = frame
        return self

    def sample(self, n, random_state=None):
        """Draw rows."""
        return self.frame.sample(n, replace=True, random_state=random_state).reset_index(drop=True)


class Columns(Rows):
    """The columns of the training rows, each drawn with replacement on its own."""

    def sample(self, n, random_state=None):
        """Draw columns."""
        rng = np.random.default_rng(random_state)
        places = {name: rng.integers(len(self.frame), size=n) for name in self.frame}
        parts = {name: self.frame[name].array.take(at) for name, at in places.items()}
        return pd.DataFrame(parts)


def gaussians():
    """A mixture of 20 Gaussians behind an encoder."""
    from probgen.tables import TableEncoder

    mixture = probgen.GaussianMixture(20, reg_covar=1e-4, random_state=SEED)
    return probgen.make_generative_pipeline(TableEncoder(), mixture)


class Peer:
    """A synthesizer of the package ctgan, which takes no gaps: those of categories are a level."""

    GAP = "a gap"

    def __init__(self, name, epochs):
        import ctgan

        self.synthesizer = getattr(ctgan, name)(epochs=epochs)
        self.synthesizer.set_random_state(SEED)

    def fit(self, frame):
        """Learn from rows whose numbers have no gaps."""
        categories = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
        filled = frame.astype(dict.fromkeys(categories, object))
        filled[categories] = filled[categories].where(frame[categories].notna(), self.GAP)
        self.categories, self.dtypes = categories, frame.dtypes
        self.synthesizer.fit(filled, discrete_columns=categories)
        return self

    def sample(self, n, random_state=None):
        """Draw rows; the seed is that of the fit, as `sample` of ctgan takes none."""
        draws = self.synthesizer.sample(n)
        draws[self.categories] = draws[self.categories].where(draws[self.categories] != self.GAP)
        return draws.astype(self.dtypes)


MODELS = {
    "rows": Rows,
    "columns": Columns,
    "mixture-50": lambda: probgen.MixtureModel(50, random_state=SEED),
    "mixture-1300": lambda: probgen.MixtureModel(1300, tol=1e-2, random_state=SEED),
    "made": lambda: probgen.MADE(random_state=SEED),
    "made-4": lambda: probgen.MADE(dropout=0.2, n_orderings=4, random_state=SEED),
    "vae": lambda: probgen.VAE(random_state=SEED),
    "gaussians-20": gaussians,
}
PEERS = {"ctgan": "CTGAN", "tvae": "TVAE"}


# Measures


def is_class(frame, target):
    """Whether a target is a category."""
    return not pd.api.types.is_numeric_dtype(frame[target]) or frame[target].dtype == bool


def classifiers(of_classes):
    """The estimators that learn from draws, by name."""
    if of_classes:
        return {
            "trees": None,
            "linear": LogisticRegression(max_iter=300),
            "forest": RandomForestClassifier(min_samples_leaf=3, random_state=SEED),
        }
    return {
        "trees": None,
        "linear": Ridge(),
        "forest": RandomForestRegressor(min_samples_leaf=3, random_state=SEED),
    }


def utility(draws, test, target):
    """Scores on test rows of estimators that learn from draws, by name."""
    scores = {}
    for name, estimator in classifiers(is_class(test, target)).items():
        scores[name] = train_on_synthetic(draws, test, target, estimator=estimator)
    return scores


def differences(draws, train, test):
    """Cells of what sets draws apart from real rows."""
    distances = column_distances(test, draws)
    cells = {}
    for heading, kind in [("TV", "total_variation"), ("W", "wasserstein"), ("gaps", "gaps")]:
        values = list(distances[kind].values())
        cells[heading] = "-"
        if values and kind == "gaps":
            cells[heading] = f"{max(values):.3f}"
        elif values:
            cells[heading] = f"{np.mean(values):.3f} {max(values):.3f}"
    cells["pairs"] = f"{association_error(train, draws):.4f}"
    compared = draws[:MOST_COMPARED]
    cells["closest"] = f"{closest_record_share(train, test, compared):.3f}"
    cells["told"] = f"{classifier_two_sample_test(test, draws):.3f}"
    return cells


def held_out_nats(model, test):
    """Mean log-likelihood of the test rows, with its kind and measure."""
    if not hasattr(model, "score_samples"):
        return "-"
    likelihood = probgen.get_likelihood(model)
    nats = np.asarray(model.score_samples(test), dtype=np.float64)
    mark = {"exact": "", "lower_bound": ">=", "estimate": "~"}[likelihood.kind]
    return f"{mark}{nats.mean():.3f} {likelihood.measure}"


def timed(work):
    """What work returns, and the seconds it takes."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def line_of(name, make, train, test, target, n_draws):
    """Cells and scores of a model, by heading."""
    cells = {"model": name, "fit": "-", "draw": "-", "nats": "-"}
    draws, model = train, None
    if make is not None:
        model, taken = timed(lambda: make().fit(train))
        cells["fit"] = f"{taken:.1f}"
        draws, taken = timed(lambda: model.sample(len(train), random_state=SEED))
        cells["draw"] = f"{taken:.2f}"
        cells["nats"] = held_out_nats(model, test)
    scores = utility(draws, test, target)
    cells |= {who: " ".join(f"{value:.3f}" for value in s.values()) for who, s in scores.items()}
    cells |= differences(draws, train, test)
    if n_draws:
        cells[f"{n_draws:,}"] = "-"
        if model is not None:
            _, taken = timed(lambda: model.sample(n_draws, random_state=SEED))
            cells[f"{n_draws:,}"] = f"{taken:.1f}"
    return cells, scores


def compare(table, models, n_draws):
    """Print the lines of a table, of models by name."""
    frame, target = TABLES[table]()
    stratify = frame[target] if is_class(frame, target) else None
    train, test = train_test_split(frame, test_size=TEST_SIZE, stratify=stratify, random_state=SEED)
    train, test = train.reset_index(drop=True), test.reset_index(drop=True)
    measures = "AUC F1" if is_class(frame, target) else "R2"
    print(
        f"\n{table}: {len(train):,} rows to learn from, {len(test):,} to test on,"
        f" {frame.shape[1]} columns; target {target} ({measures})",
        flush=True,
    )
    widths = None
    real = None
    for name, make in [("real", None), *models.items()]:
        cells, scores = line_of(name, make, train, test, target, n_draws)
        if widths is None:
            widths = {heading: max(len(heading), len(cell)) for heading, cell in cells.items()}
            widths |= {"model": 13, "fit": 6, "draw": 7, "nats": 19}
            print("  ".join(heading.ljust(width) for heading, width in widths.items()))
            real = scores
        print("  ".join(cell.ljust(widths[k]) for k, cell in cells.items()), flush=True)
        if table in ("adult", "categories") and make is not None:
            print(f"    {distance_from_real(scores, real)}", flush=True)


def distance_from_real(scores, real):
    """How far the areas and F1 of trees fall short of those of real rows, with published ones."""
    measured = {
        "area under the curve": real["trees"].roc_auc - scores["trees"].roc_auc,
        "F1": real["trees"].f1 - scores["trees"].f1,
    }
    parts = []
    for what, value in measured.items():
        published = ", ".join(f"{who} {gap:.3f}" for who, gap in PUBLISHED[what].items())
        parts.append(f"{what} {value:.3f} below real rows (published: {published})")
    return "; ".join(parts)


def main():
    """Run the tables named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tables", nargs="*", metavar="table", help=f"of {', '.join(TABLES)}; all by default"
    )
    known_models = [*MODELS, *PEERS]
    parser.add_argument(
        "--models",
        default=",".join(MODELS),
        help=f"of {', '.join(known_models)}; by default all but {' and '.join(PEERS)}",
    )
    parser.add_argument("--epochs", type=int, default=300, help="epochs of ctgan and tvae")
    parser.add_argument("--draws", type=int, default=0, help="draws to time, such as 1000000")
    arguments = parser.parse_args()
    tables = arguments.tables or list(TABLES)
    models = arguments.models.split(",")
    for chosen, known in [(tables, TABLES), (models, known_models)]:
        if unknown := set(chosen) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    print(
        f"probgen {probgen.__version__}, numpy {np.__version__}, pandas {pd.__version__},"
        f" {platform.machine()}, {os.cpu_count()} cores,"
        f" OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}, seed {SEED}"
    )
    peers = {
        name: functools.partial(Peer, of_package, arguments.epochs)
        for name, of_package in PEERS.items()
    }
    makers = {name: (MODELS | peers)[name] for name in models}
    for table in tables:
        with warnings.catch_warnings():
            # Logistic regression of draws that have no class may stop early.
            warnings.filterwarnings("ignore", message="lbfgs failed to converge")
            compare(table, makers, arguments.draws)


if __name__ == "__main__":
    main()
