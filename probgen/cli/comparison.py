"""Fit, score and sample every generator on one data set, in comparable units."""

import dataclasses
import inspect
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import type_of_target

from probgen import (
    GAN,
    MADE,
    VAE,
    Autoencoder,
    ConditionalGAN,
    ConditionalPixelCNN,
    ConditionalVAE,
    GaussianBayes,
    GaussianMixture,
    PixelCNN,
    Trainer,
    datasets,
    get_likelihood,
    make_generative_pipeline,
)
from probgen._validation import check_count, check_image_shape
from probgen.base import Likelihood
from probgen.cli.tables import check_labels, first_line, read_table
from probgen.options import AutoLikelihood, GaussianCorruption
from probgen.preprocessing import Dequantizer

TEST_SIZE = 0.25
N_DRAWS = 1000
MIN_ROWS = 8
MAX_LEVELS = 256
MAX_CLASSES = 100
NAME_WIDTH = 28  # of the name of a generator in `summary`

# The columns have unit range or unit variance. With less, components collapse onto few rows.
REG_COVAR = 1e-4
MIN_ROWS_PER_COMPONENT = 25

MIN_IMAGE_SIZE = 8  # height and width, because convolutional networks halve images twice
# Importance samples per row. Dequantization multiplies them by its number of shifts.
N_IMPORTANCE_SAMPLES = 32

# A score that takes many draws per row uses about this many values, and at least so many rows.
MAX_ESTIMATED_VALUES = 2**15
MIN_ESTIMATED_ROWS = 256

# Budgets of a fit: rows times epochs, and for networks that predict each pixel, values times epochs
ROW_BUDGET = 500_000
VALUE_BUDGET = 2_600_000


def _autoencoder(n, d, **params):
    """An autoencoder whose code is small enough for a mixture."""
    defaults: dict[str, Any] = {
        "n_components": _code_size(d),
        "max_iter": _n_epochs(ROW_BUDGET, n, 10, 50),
        "n_importance_samples": N_IMPORTANCE_SAMPLES,
        "trainer": Trainer(schedule="cosine"),
    }
    return Autoencoder(**defaults | params)


def _convolutional_autoencoder(n, d, shape):
    if not _suits_convolutions(shape):
        return None
    return _autoencoder(
        n,
        d,
        n_components=16,
        architecture="conv",
        hidden_layer_sizes=(16, 32),
        image_shape=shape,
        learning_rate_init=3e-3,
    )


def _vae(n, d, kind=VAE, **params):
    defaults: dict[str, Any] = {
        "n_components": _code_size(d),
        "hidden_layer_sizes": (256,),
        "likelihood": "gaussian",
        "max_iter": _n_epochs(ROW_BUDGET, n, 10, 100),
        "n_importance_samples": N_IMPORTANCE_SAMPLES,
    }
    return kind(**defaults | params)


def _vae_in_the_plane(n, d, shape):
    """A VAE whose codes the report can show as a plane of images."""
    if shape is None:
        return None
    return _vae(n, d, n_components=2)


def _convolutional_vae(n, d, shape):
    if not _suits_convolutions(shape):
        return None
    return _vae(
        n,
        d,
        max_iter=_n_epochs(ROW_BUDGET, n, 10, 50),
        architecture="conv",
        hidden_layer_sizes=(16, 32),
        image_shape=shape,
    )


def _made(n, d, shape):
    return MADE(
        (256,),
        likelihood=AutoLikelihood(n_mixture=5),
        max_iter=_n_epochs(ROW_BUDGET, n, 5, 30),
    )


def _pixelcnn(n, d, shape, kind=PixelCNN):
    if shape is None:
        return None
    return kind(
        image_shape=shape,
        max_iter=_n_epochs(VALUE_BUDGET, n * d, 1, 12),
        learning_rate_init=1e-2,
        trainer=Trainer(schedule="one_cycle"),
    )


def _gan(n, kind=GAN):
    """A GAN whose score is a Parzen window on its draws."""
    return kind(density="parzen", max_iter=_n_epochs(2 * ROW_BUDGET, n, 20, 100))


def _code_size(d):
    """A quarter of d features, from 1 to 32."""
    return int(np.clip(math.ceil(d / 4), 1, 32))


def _n_epochs(budget, size, low, high):
    """Epochs that spend a budget on data of a size, between low and high."""
    return int(np.clip(budget // size, low, high))


def _n_components(most, n):
    """At most so many components, fewer for few rows."""
    return max(1, min(most, n // MIN_ROWS_PER_COMPONENT))


def _suits_convolutions(shape):
    return shape is not None and min(shape[:2]) >= MIN_IMAGE_SIZE


# The generators of the comparison by name, in the order in which they are fitted. Each value is a
# function of the number of rows, the number of features and the image shape (None for tables). It
# returns an unfitted generator, or None where the data do not suit it.
MODELS: dict[str, Callable] = {
    "Gaussian": lambda n, d, shape: GaussianMixture(reg_covar=REG_COVAR),
    "Gaussian mixture": lambda n, d, shape: GaussianMixture(
        _n_components(10, n), reg_covar=REG_COVAR
    ),
    "Diagonal mixture": lambda n, d, shape: GaussianMixture(
        _n_components(50, n), covariance_type="diag", reg_covar=REG_COVAR
    ),
    "Low-rank mixture": lambda n, d, shape: GaussianMixture(
        _n_components(10, n),
        covariance_type="low_rank",
        n_factors=max(10, d // 25),
        reg_covar=REG_COVAR,
    ),
    "Gaussian per class": lambda n, d, shape: GaussianBayes(reg_param=1e-3),
    "Low-rank mixture per class": lambda n, d, shape: GaussianBayes(
        covariance_type="low_rank",
        n_components=int(np.clip(n // 2000, 2, 10)),
        n_factors=max(5, d // 25),
        reg_covar=REG_COVAR,
    ),
    "Autoencoder": lambda n, d, shape: _autoencoder(n, d),
    "Denoising autoencoder": lambda n, d, shape: _autoencoder(
        n, d, corruption=GaussianCorruption(scale=0.1)
    ),
    "Sparse autoencoder": lambda n, d, shape: _autoencoder(n, d, penalty="kl_sparsity"),
    "Contractive autoencoder": lambda n, d, shape: _autoencoder(n, d, penalty="contractive"),
    "Absolute-error autoencoder": lambda n, d, shape: _autoencoder(n, d, loss="absolute_error"),
    "Convolutional autoencoder": _convolutional_autoencoder,
    "VAE": lambda n, d, shape: _vae(n, d),
    "Convolutional VAE": _convolutional_vae,
    "VAE with a 2-D code": _vae_in_the_plane,
    "Conditional VAE": lambda n, d, shape: _vae(n, d, kind=ConditionalVAE),
    "MADE": _made,
    "PixelCNN": _pixelcnn,
    "Conditional PixelCNN": lambda n, d, shape: _pixelcnn(n, d, shape, kind=ConditionalPixelCNN),
    "GAN": lambda n, d, shape: _gan(n),
    "Conditional GAN": lambda n, d, shape: _gan(n, kind=ConditionalGAN),
}


@dataclass(frozen=True)
class Data:
    """A data set, split into rows to learn from and held-out rows.

    Attributes
    ----------
    name : str
    X_train, X_test : ndarray of shape (n, d)
        uint8 where `levels` is not None.
    y_train, y_test : ndarray of shape (n,) or None
        Classes; None if the data have none.
    image_shape : tuple of int or None
        Shape of an image; None for a table.
    levels : int, ndarray of shape (d,) or None
        Number of levels of integers that start at 0, for all columns or for each; None for real
        values.
    feature_names : list of str or None
        Names of the columns; None if they have none.
    """

    name: str
    X_train: np.ndarray
    X_test: np.ndarray
    y_train: np.ndarray | None
    y_test: np.ndarray | None
    image_shape: tuple | None
    levels: Any
    feature_names: list | None

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.X_train.shape[1]

    @property
    def classes(self) -> list:
        """Sorted labels; empty without classes."""
        if self.y_train is None:
            return []
        return np.unique(self.y_train).tolist()


@dataclass(frozen=True)
class Result:
    """Measurements of one generator.

    Attributes
    ----------
    name : str
    parameters : str
        The generator as Python code.
    model : estimator object or None
        The fitted generator; None if the fit failed.
    likelihood : Likelihood
    nats, error : float
        Mean held-out log-likelihood per row and its standard error.
    bits_per_dim : float
        Negative log-likelihood per column in bits; NaN for real values.
    accuracy : float
        Accuracy on held-out rows; NaN without classes.
    fit_seconds, draw_seconds : float
        Seconds for the fit and for N_DRAWS draws.
    notes : list of str
        Warnings of the fit, or the reason for its failure.
    """

    name: str
    parameters: str
    model: Any = None
    likelihood: Likelihood = dataclasses.field(default_factory=Likelihood)
    nats: float = np.nan
    error: float = np.nan
    bits_per_dim: float = np.nan
    accuracy: float = np.nan
    fit_seconds: float = np.nan
    draw_seconds: float = np.nan
    notes: list = dataclasses.field(default_factory=list)


def data_names() -> list[str]:
    """Names of the data sets of `probgen.datasets`, without load_ and fetch_."""
    return [name.removeprefix("load_").removeprefix("fetch_") for name in datasets.__all__]


def load_data(
    source: str,
    *,
    key: str | None = None,
    target: str | None = None,
    image_shape: tuple | None = None,
    max_rows: int | None = None,
    random_state: int = 0,
) -> Data:
    """Load and split rows.

    Parameters
    ----------
    source : str
        Name of a data set, followed by a colon and the name of a part where it has parts
        (uci:wine_quality), or path of a file.
    key, target : str, optional
        As in `read_table`; for files only.
    image_shape : tuple of int, optional
        Shape of the images in a file, which must hold integers from 0 to 255.
    max_rows : int, optional
        Number of rows to use, drawn at random; all by default.
    random_state : int, default=0
        Seeds the choice of rows and the split.

    Returns
    -------
    data : Data

    Raises
    ------
    ValueError, OSError
        If the data do not exist or have too few rows.
    """
    if max_rows is not None:
        check_count("max_rows", max_rows, low=MIN_ROWS)
    if _is_data_set(source):
        if (key, target, image_shape) != (None, None, None):
            raise ValueError(
                f"key, target and image_shape describe a file; the data set {source!r} has its own."
            )
        X, y, feature_names, image_shape, levels = _read_data_set(source)
    else:
        X, y, feature_names, image_shape, levels = _read_file(source, key, target, image_shape)
    if len(X) < MIN_ROWS:
        raise ValueError(
            f"data must hold at least {MIN_ROWS} rows, to fit on some and score on others; got"
            f" {len(X)}."
        )
    if levels is not None:
        X = X.astype(np.uint8)  # Networks read integers in single precision, which is faster.
    if not _are_classes(y):
        y = None

    rows = np.arange(len(X))
    if max_rows is not None and max_rows < len(X):
        rows = np.sort(np.random.default_rng(random_state).permutation(len(X))[:max_rows])
    stratify = None
    if y is not None and np.unique(y[rows], return_counts=True)[1].min() >= 2:
        stratify = y[rows]
    train, test = train_test_split(
        rows, test_size=TEST_SIZE, stratify=stratify, random_state=random_state
    )
    y_train = y_test = None
    if y is not None:
        y_train = y[train]
        y_test = y[test]
    return Data(source, X[train], X[test], y_train, y_test, image_shape, levels, feature_names)


def generators(data: Data, random_state: int = 0) -> dict[str, Any]:
    """The generators of MODELS that suit the data, as a dict from name to pipeline.

    Integers are dequantised for continuous models, so that the score of every model is a
    probability of the integers. Real values are standardised. Models of classes are left out for
    data without classes.
    """
    if data.levels is None:
        step = StandardScaler()
    else:
        step = Dequantizer(levels=data.levels)
    n_rows, n_features = data.X_train.shape
    pipelines = {}
    for name, make in MODELS.items():
        model = make(n_rows, n_features, data.image_shape)
        if model is None or (is_classifier(model) and not data.classes):
            continue
        if get_likelihood(model).measure == "counting":
            # The training rows may not show the highest level.
            model.set_params(likelihood__n_levels=int(np.max(data.levels)))
            pipeline = make_generative_pipeline("passthrough", model)
        else:
            pipeline = make_generative_pipeline(clone(step), model)
        pipelines[name] = _seed(pipeline, random_state)
    return pipelines


def evaluate(name: str, model: Any, data: Data, random_state: int = 0) -> Result:
    """Fit, score and sample one generator; a failure becomes a Result with the reason."""
    parameters = str(model.steps[-1][1]).replace("\n", " ")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            measurements = _measure(model, data, random_state)
        except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            return Result(name, parameters, notes=[f"Failed: {first_line(error)}."])
    notes = list(dict.fromkeys(first_line(warning.message) + "." for warning in caught))
    n_scored = _n_scored(model, data)
    if n_scored < len(data.X_test):
        notes.append(
            f"Scored on {n_scored} of the held-out rows only, because each row takes many draws."
        )
    return Result(name, parameters, model, notes=notes, **measurements)


def _measure(model, data, random_state):
    """The measured fields of a Result."""
    y_train = None
    if is_classifier(model):
        y_train = data.y_train
    start = time.perf_counter()
    model.fit(data.X_train, y_train)
    fitted = time.perf_counter()
    model.sample(N_DRAWS, random_state=random_state)
    drawn = time.perf_counter()

    scores = np.asarray(model.score_samples(data.X_test[: _n_scored(model, data)]), np.float64)
    nats = float(scores.mean())
    bits_per_dim = accuracy = np.nan
    if data.levels is not None:
        bits_per_dim = -nats / (data.n_features * np.log(2.0))
    if is_classifier(model):
        accuracy = accuracy_score(data.y_test, model.predict(data.X_test))
    return {
        "likelihood": get_likelihood(model),
        "nats": nats,
        "error": float(scores.std(ddof=1) / np.sqrt(len(scores))),
        "bits_per_dim": bits_per_dim,
        "accuracy": accuracy,
        "fit_seconds": fitted - start,
        "draw_seconds": drawn - fitted,
    }


def _n_scored(model, data):
    """Number of held-out rows to score: all, unless each takes many draws."""
    n_rows = len(data.X_test)
    if get_likelihood(model.steps[-1][1]).kind == "exact":
        return n_rows
    return min(n_rows, max(MIN_ESTIMATED_ROWS, MAX_ESTIMATED_VALUES // data.n_features))


def _is_data_set(source):
    """Whether a source names a data set rather than a file; raise if it is neither."""
    name, _, _ = source.partition(":")
    if name.replace("-", "_") in data_names():
        return True
    if not Path(source).exists():
        raise FileNotFoundError(
            f"data must be a file or one of {', '.join(data_names())}; got {source!r}."
        )
    return False


def _read_file(path, key, target, image_shape):
    """X, y, feature names, image shape and levels of a file."""
    table = read_table(path, key=key, target=target)
    check_labels(path, table.y)
    if image_shape is not None:
        image_shape = check_image_shape(image_shape, table.X.shape[1])
    return table.X, table.y, table.names, image_shape, _levels(table.X, image_shape)


def _read_data_set(source):
    """X, y, feature names, image shape and levels of a data set of `probgen.datasets`."""
    name, _, part = source.partition(":")
    bunch = _load_bunch(name.replace("-", "_"), part)
    X = bunch.data
    feature_names = bunch.feature_names
    categorical = set(bunch.get("categorical_features", ()))
    if categorical:
        numeric = [j for j, name in enumerate(feature_names) if name not in categorical]
        X = X[:, numeric].astype(np.float64)
        feature_names = [feature_names[j] for j in numeric]
    levels = bunch.get("levels")
    if levels is None:
        levels = _levels(X, None)
    return X, bunch.target, feature_names, bunch.get("image_shape"), levels


def _levels(X, image_shape):
    """Levels of small integers, the same for all columns of images; None for other values."""
    if not np.all((X >= 0) & (X < MAX_LEVELS) & (X == np.floor(X))):
        if image_shape is not None:
            raise ValueError(
                f"images must hold integers from 0 to {MAX_LEVELS - 1}; got {X.min():g} to"
                f" {X.max():g}."
            )
        return None
    if image_shape is not None:
        return MAX_LEVELS
    return X.max(axis=0).astype(np.int64) + 1


def _load_bunch(name, part):
    """The Bunch of a data set, or of one of its parts."""
    load = getattr(datasets, f"load_{name}", None) or getattr(datasets, f"fetch_{name}")
    first_parameter = next(iter(inspect.signature(load).parameters.values()))
    has_parts = first_parameter.default is inspect.Parameter.empty
    if has_parts and not part:
        raise ValueError(
            f"data {name!r} has parts; name one as {name}:NAME, such as uci:wine_quality."
        )
    if part and not has_parts:
        raise ValueError(
            f"data {name!r} has no parts; got {name}:{part}; leave out the colon and what follows."
        )
    if has_parts:
        return load(part)
    return load()


def _are_classes(y):
    """Whether a target holds at most MAX_CLASSES classes."""
    if y is None or type_of_target(y) not in {"binary", "multiclass"}:
        return False
    return len(np.unique(y)) <= MAX_CLASSES


def _seed(model, random_state):
    """The model with every random_state in it set."""
    names = [name for name in model.get_params() if name.split("__")[-1] == "random_state"]
    return model.set_params(**dict.fromkeys(names, random_state))


def sort_by_likelihood(results: list[Result]) -> list[Result]:
    """Return results from the best held-out likelihood to the worst, failures last."""

    def loss(result):
        if np.isfinite(result.nats):
            return -result.nats
        return math.inf

    return sorted(results, key=loss)


def summary(result: Result) -> str:
    """Return one line about a result, to print while other generators are still fitted."""
    if result.model is None:
        return f"{result.name:{NAME_WIDTH}} failed"
    score = f"{result.nats:,.2f} nats per row"
    if np.isfinite(result.bits_per_dim):
        score = f"{result.bits_per_dim:.3f} bits/dim"
    return f"{result.name:{NAME_WIDTH}} {score}, fit in {result.fit_seconds:.1f} s"


def _format_number(value, digits):
    """A number as text, or a dash for NaN and infinities."""
    if not np.isfinite(value):
        return "-"
    return f"{value:,.{digits}f}"


def table_columns(results: list[Result]) -> dict[str, tuple[str, ...]]:
    """Return the table of results as a dict from heading to cells, without empty columns."""
    headings = ("model", "likelihood", "nats per row", "bits/dim", "accuracy", "fit", "draw")
    rows = [_table_row(result) for result in results]
    columns = dict(zip(headings, zip(*rows, strict=True), strict=True))
    return {heading: cells for heading, cells in columns.items() if set(cells) != {"-"}}


def _table_row(result):
    """Cells of a result, in the order of the headings."""
    if result.model is None:
        return (result.name, "-", "-", "-", "-", "-", "-")
    accuracy = "-"
    if np.isfinite(result.accuracy):
        accuracy = f"{result.accuracy:.1%}"
    return (
        result.name,
        result.likelihood.kind.replace("_", " "),
        f"{_format_number(result.nats, 2)} ± {_format_number(result.error, 2)}",
        _format_number(result.bits_per_dim, 3),
        accuracy,
        _format_seconds(result.fit_seconds, 2),
        _format_seconds(result.draw_seconds, 3),
    )


def _format_seconds(value, digits):
    """Seconds with fewer decimals the larger they are, so that a table fits on 80 columns."""
    n_spare = len(str(int(value))) - 1
    return f"{value:.{max(digits - n_spare, 0)}f} s"
