"""Every generator fitted, scored and sampled on one data set, in units that compare."""

import dataclasses
import inspect
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from probgen.cli.tables import first_line, read_table
from probgen.options import AutoLikelihood
from probgen.preprocessing import Dequantizer

TEST_SIZE = 0.25
N_DRAWS = 1000
MIN_ROWS = 8
MAX_LEVELS = 256
MAX_CLASSES = 100
NAME_WIDTH = 28  # of the name of a generator in `summary`

# On columns of the unit interval or of unit variance; less lets components shrink onto few rows
REG_COVAR = 1e-4

SMALLEST_IMAGE = 8  # sides of an image that convolutions halve twice
IMPORTANCE_SAMPLES = 32  # for each value of the noise of the Dequantizer, which makes them many
ESTIMATED_VALUES, ESTIMATED_ROWS = (
    2**15,
    256,
)  # values scored, and least number of rows, where a score takes many draws
SEEN_ROWS = 500_000  # in all epochs, about
SEEN_VALUES = 2_600_000  # the same in pixels and colours, for networks that predict each of them


def _autoencoder(n, d, **params):
    """An autoencoder for n rows of d features of about unit range, with a code that a mixture can
    fit."""
    defaults = {
        "n_components": int(np.clip(-(-d // 4), 1, 32)),
        "max_iter": int(np.clip(SEEN_ROWS // n, 10, 50)),
        "n_importance_samples": IMPORTANCE_SAMPLES,
        "trainer": Trainer(schedule="cosine"),
    }
    return Autoencoder(**defaults | params)


def _convolutional(n, d, shape):
    """An autoencoder for n images of d values, or None where rows are no images, or too small."""
    if shape is None or min(shape[:2]) < SMALLEST_IMAGE:
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
    """A VAE for n rows of d features of about unit range."""
    defaults = {
        "n_components": int(np.clip(-(-d // 4), 1, 32)),
        "hidden_layer_sizes": (256,),
        "likelihood": "gaussian",
        "max_iter": int(np.clip(SEEN_ROWS // n, 10, 100)),
        "n_importance_samples": IMPORTANCE_SAMPLES,
    }
    return kind(**defaults | params)


def _convolutional_vae(n, d, shape):
    """A convolutional VAE for n images of d values, or None where rows are no images, or too
    small."""
    if shape is None or min(shape[:2]) < SMALLEST_IMAGE:
        return None
    settings = {"architecture": "conv", "hidden_layer_sizes": (16, 32), "image_shape": shape}
    return _vae(n, d, max_iter=int(np.clip(SEEN_ROWS // n, 10, 50)), **settings)


def _pixelcnn(n, d, shape, kind=PixelCNN):
    """A PixelCNN for n images of d values, or None where rows are no images; the larger they are,
    the fewer epochs."""
    if shape is None:
        return None
    return kind(
        image_shape=shape,
        max_iter=int(np.clip(SEEN_VALUES // (n * d), 1, 12)),
        learning_rate_init=1e-2,
        trainer=Trainer(schedule="one_cycle"),
    )


def _gan(n, kind=GAN):
    """A GAN for n rows of about unit range, scored by a window on its draws."""
    return kind(density="parzen", max_iter=int(np.clip(2 * SEEN_ROWS // n, 20, 100)))


# What the report compares: a name, and a generator for n rows of d features, images of a shape or
# None; a maker returns None for rows that are not for it. A new family adds its row here.
MODELS: dict[str, Callable] = {
    "Gaussian": lambda n, d, shape: GaussianMixture(reg_covar=REG_COVAR),
    "Gaussian mixture": lambda n, d, shape: GaussianMixture(_at_most(10, n), reg_covar=REG_COVAR),
    "Diagonal mixture": lambda n, d, shape: GaussianMixture(
        _at_most(50, n), covariance_type="diag", reg_covar=REG_COVAR
    ),
    "Low-rank mixture": lambda n, d, shape: GaussianMixture(
        _at_most(10, n), covariance_type="low_rank", n_factors=max(10, d // 25), reg_covar=REG_COVAR
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
        n, d, corruption="gaussian", corruption_level=0.1
    ),
    "Sparse autoencoder": lambda n, d, shape: _autoencoder(n, d, penalty="kl_sparsity"),
    "Contractive autoencoder": lambda n, d, shape: _autoencoder(n, d, penalty="contractive"),
    "Absolute-error autoencoder": lambda n, d, shape: _autoencoder(n, d, loss="absolute_error"),
    "Convolutional autoencoder": lambda n, d, shape: _convolutional(n, d, shape),
    "VAE": lambda n, d, shape: _vae(n, d),
    "Convolutional VAE": lambda n, d, shape: _convolutional_vae(n, d, shape),
    "VAE with a 2-D code": lambda n, d, shape: (
        None if shape is None else _vae(n, d, n_components=2)
    ),
    "Conditional VAE": lambda n, d, shape: _vae(n, d, kind=ConditionalVAE),
    "MADE": lambda n, d, shape: MADE(
        (256,), likelihood=AutoLikelihood(n_mixture=5), max_iter=int(np.clip(SEEN_ROWS // n, 5, 30))
    ),
    "PixelCNN": _pixelcnn,
    "Conditional PixelCNN": lambda n, d, shape: _pixelcnn(n, d, shape, kind=ConditionalPixelCNN),
    "GAN": lambda n, d, shape: _gan(n),
    "Conditional GAN": lambda n, d, shape: _gan(n, kind=ConditionalGAN),
}


@dataclass(frozen=True)
class Data:
    """A data set, split.

    Attributes
    ----------
    name : str
    X_train, X_test : ndarray of shape (n, d)
    y_train, y_test : ndarray of shape (n,) or None
        Classes, where the data have some.
    image_shape : tuple of int or None
        Shape of an image; None for a table.
    levels : int, ndarray of shape (d,) or None
        Number of levels, where the values are integers from 0 up to less than that; None for real
        values.
    feature_names : list of str or None
        Names of the columns of a table, where they have some.
    """

    name: str
    X_train: np.ndarray
    X_test: np.ndarray
    y_train: np.ndarray | None
    y_test: np.ndarray | None
    image_shape: tuple | None
    levels: object
    feature_names: list | None

    @property
    def n_features(self):
        """Number of columns."""
        return self.X_train.shape[1]

    @property
    def classes(self):
        """Labels in order; empty where there are none."""
        return [] if self.y_train is None else np.unique(self.y_train).tolist()


@dataclass(frozen=True)
class Result:
    """What one generator made of the data.

    Attributes
    ----------
    name : str
    parameters : str
        The generator as it would be written in Python.
    model : estimator object or None
        The fitted generator, None if the fit failed.
    likelihood : Likelihood
    nats, error : float
        Mean held-out log-likelihood of a row, and its standard error.
    bits_per_dim : float
        The same in bits, sign turned, for each column, where values are integers; NaN for real
        values.
    accuracy : float
        Share of held-out rows whose class is recognised; NaN without classes.
    fit_seconds, draw_seconds : float
        Time of the fit, and of N_DRAWS draws.
    notes : list of str
        Warnings of the fit, or the reason why there is none.
    """

    name: str
    parameters: str
    model: object = None
    likelihood: Likelihood = dataclasses.field(default_factory=Likelihood)
    nats: float = np.nan
    error: float = np.nan
    bits_per_dim: float = np.nan
    accuracy: float = np.nan
    fit_seconds: float = np.nan
    draw_seconds: float = np.nan
    notes: list = dataclasses.field(default_factory=list)


def data_names():
    """Names of the data sets of `probgen.datasets`, without load_ and fetch_."""
    return [name.removeprefix("load_").removeprefix("fetch_") for name in datasets.__all__]


def load_data(source, *, key=None, target=None, image_shape=None, max_rows=None, random_state=0):
    """Load and split rows.

    Parameters
    ----------
    source : str
        Name of a data set, with a part after a colon where it has parts (uci:wine_quality), or path
        of a file.
    key, target : str, optional
        As in `read_table`, for a file.
    image_shape : tuple of int, optional
        Shape of the images in a file, whose values are then 0 to 255.
    max_rows : int, optional
        Rows to use, drawn at random; all by default.
    random_state : int, default=0
        Seeds the choice of rows and the split.

    Returns
    -------
    data : Data

    Raises
    ------
    ValueError, OSError
        If there is no such data, or the rows are too few.
    """
    if max_rows is not None:
        check_count("max_rows", max_rows, low=MIN_ROWS)
    X, y, feature_names, image_shape, levels = _rows_of(source, key, target, image_shape)
    if len(X) < MIN_ROWS:
        raise ValueError(
            f"data must hold at least {MIN_ROWS} rows, to fit on some and score on others; got"
            f" {len(X)}."
        )
    if levels is not None:
        X = X.astype(np.uint8)  # exact, and networks read integers in single precision
    y = y if _are_classes(y) else None
    if max_rows is not None and max_rows < len(X):
        chosen = np.sort(np.random.default_rng(random_state).permutation(len(X))[:max_rows])
        X, y = X[chosen], None if y is None else y[chosen]
    stratify = y if y is not None and np.unique(y, return_counts=True)[1].min() >= 2 else None
    train, test = train_test_split(
        np.arange(len(X)), test_size=TEST_SIZE, stratify=stratify, random_state=random_state
    )
    y_train, y_test = (None, None) if y is None else (y[train], y[test])
    return Data(source, X[train], X[test], y_train, y_test, image_shape, levels, feature_names)


def generators(data, random_state=0):
    """The generators of MODELS that fit the data, by name, each behind the step that makes it
    compare.

    Integers are dequantised for generators of densities, so that all are scored by the probability
    of the very values; real values are standardised. Generators of classes are left out where there
    are none, those of images where rows are no images.
    """
    step = StandardScaler() if data.levels is None else Dequantizer(levels=data.levels)
    models = {name: make(*data.X_train.shape, data.image_shape) for name, make in MODELS.items()}
    fitting = {name: model for name, model in models.items() if model is not None}
    chosen = {
        name: model for name, model in fitting.items() if data.classes or not is_classifier(model)
    }
    pipelines = {}
    for name, model in chosen.items():
        is_discrete = get_likelihood(model).measure == "counting"
        if is_discrete:
            # The training rows may not show the highest level.
            model.set_params(likelihood__n_levels=int(np.max(data.levels)))
        pipeline = make_generative_pipeline("passthrough" if is_discrete else clone(step), model)
        pipelines[name] = _seed(pipeline, random_state)
    return pipelines


def evaluate(name, model, data, random_state=0):
    """Fit, score and sample one generator; a failure becomes a Result that says why."""
    parameters = str(model.steps[-1][1]).replace("\n", " ")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            measured = _measure(model, data, random_state)
        except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            return Result(name, parameters, notes=[f"Failed: {first_line(error)}."])
    notes = list(dict.fromkeys(first_line(warning.message) + "." for warning in caught))
    if _n_scored(model, data) < len(data.X_test):
        notes.append(
            f"Scored on {_n_scored(model, data)} of the held-out rows alone, for each takes many"
            " draws."
        )
    return Result(name, parameters, model, notes=notes, **measured)


def _measure(model, data, random_state):
    """The fields of a Result that are measured."""
    start = time.perf_counter()
    model.fit(data.X_train, data.y_train if is_classifier(model) else None)
    fitted = time.perf_counter()
    model.sample(N_DRAWS, random_state=random_state)
    drawn = time.perf_counter()
    scores = np.asarray(
        model.score_samples(data.X_test[: _n_scored(model, data)]), dtype=np.float64
    )
    nats = float(scores.mean())
    return {
        "likelihood": get_likelihood(model),
        "nats": nats,
        "error": float(scores.std(ddof=1) / np.sqrt(len(scores))),
        "bits_per_dim": np.nan if data.levels is None else -nats / (data.n_features * np.log(2.0)),
        "accuracy": (
            accuracy_score(data.y_test, model.predict(data.X_test))
            if is_classifier(model)
            else np.nan
        ),
        "fit_seconds": fitted - start,
        "draw_seconds": drawn - fitted,
    }


def _n_scored(model, data):
    """Number of held-out rows to score a fitted model on: all, unless each costs many draws."""
    if get_likelihood(model.steps[-1][1]).kind == "exact":
        return len(data.X_test)
    return min(len(data.X_test), max(ESTIMATED_ROWS, ESTIMATED_VALUES // data.n_features))


def _at_most(n_components, n_rows):
    """Components, fewer where rows are few: each is to have 25 of them."""
    return max(1, min(n_components, n_rows // 25))


def _rows_of(source, key, target, image_shape):
    """X, y, feature_names, image_shape and levels of a named data set or a file."""
    name, _, part = source.partition(":")
    name = name.replace("-", "_")
    if name not in data_names():
        if not Path(source).exists():
            raise FileNotFoundError(
                f"data must be a file or one of {', '.join(data_names())}; got {source!r}."
            )
        table = read_table(source, key=key, target=target)
        names = list(table.X.columns) if hasattr(table.X, "columns") else None
        image_shape = (
            None if image_shape is None else check_image_shape(image_shape, table.X.shape[1])
        )
        return (
            np.asarray(table.X),
            table.y,
            names,
            image_shape,
            _levels(np.asarray(table.X), image_shape),
        )
    if (key, target, image_shape) != (None, None, None):
        raise ValueError(
            f"key, target and image_shape describe a file; the data set {source!r} has its own."
        )
    bunch = _bunch(name, part)
    names, categorical = bunch.feature_names, set(bunch.get("categorical_features", ()))
    if categorical:
        numeric = [j for j, name in enumerate(names) if name not in categorical]
        X, names = bunch.data[:, numeric].astype(np.float64), [names[j] for j in numeric]
    else:
        X = bunch.data
    return X, bunch.target, names, bunch.get("image_shape"), bunch.get("levels", _levels(X, None))


def _levels(X, image_shape):
    """Levels of columns of small integers, of all columns alike in images; None for other
    values."""
    if not np.all((X >= 0) & (X < MAX_LEVELS) & (X == np.floor(X))):
        if image_shape is not None:
            raise ValueError(
                f"images must hold integers from 0 to {MAX_LEVELS - 1}; got {X.min():g} to"
                f" {X.max():g}."
            )
        return None
    return MAX_LEVELS if image_shape is not None else X.max(axis=0).astype(np.int64) + 1


def _bunch(name, part):
    """The Bunch of a data set, or of one of its parts."""
    load = getattr(datasets, f"load_{name}", None) or getattr(datasets, f"fetch_{name}")
    takes_part = (
        next(iter(inspect.signature(load).parameters.values())).default is inspect.Parameter.empty
    )
    if takes_part and not part:
        raise ValueError(
            f"data {name!r} has parts; name one as {name}:NAME, such as uci:wine_quality."
        )
    if part and not takes_part:
        raise ValueError(
            f"data {name!r} has no parts; got {name}:{part}; leave out what follows the colon."
        )
    return load(part) if takes_part else load()


def _are_classes(y):
    """Whether a target holds classes, and not too many."""
    return (
        y is not None
        and type_of_target(y) in {"binary", "multiclass"}
        and len(np.unique(y)) <= MAX_CLASSES
    )


def _seed(model, random_state):
    """The model with every random_state in it set."""
    names = [name for name in model.get_params() if name.split("__")[-1] == "random_state"]
    return model.set_params(**dict.fromkeys(names, random_state))


def sort_by_likelihood(results):
    """Return results from the best held-out likelihood to the worst, failures last."""
    return sorted(
        results, key=lambda result: -result.nats if np.isfinite(result.nats) else math.inf
    )


def summary(result):
    """Return one line on a result, for the terminal while other generators are still fitted."""
    if result.model is None:
        return f"{result.name:{NAME_WIDTH}} failed"
    if np.isfinite(result.bits_per_dim):
        number = f"{result.bits_per_dim:.3f} bits/dim"
    else:
        number = f"{result.nats:,.2f} nats per row"
    return f"{result.name:{NAME_WIDTH}} {number}, fit in {result.fit_seconds:.1f} s"


def format_number(value, digits):
    """Return a number as text, or a dash for NaN and infinities."""
    if not np.isfinite(value):
        return "-"
    return f"{value:,.{digits}f}"


def table_columns(results):
    """Return the table of results as a dict from heading to cells; empty columns are left out."""
    columns = {
        heading: []
        for heading in (
            "model",
            "likelihood",
            "nats per row",
            "bits/dim",
            "accuracy",
            "fit",
            "draw",
        )
    }
    for result in results:
        kind = nats = fit = draw = "-"
        if result.model is not None:
            kind = result.likelihood.kind.replace("_", " ")
            nats = f"{format_number(result.nats, 2)} ± {format_number(result.error, 2)}"
            fit = f"{format_number(result.fit_seconds, 2)} s"
            draw = f"{format_number(result.draw_seconds, 3)} s"
        accuracy = "-"
        if np.isfinite(result.accuracy):
            accuracy = f"{result.accuracy:.1%}"
        bits_per_dim = format_number(result.bits_per_dim, 3)
        row = (result.name, kind, nats, bits_per_dim, accuracy, fit, draw)
        for cells, cell in zip(columns.values(), row, strict=True):
            cells.append(cell)
    return {heading: cells for heading, cells in columns.items() if set(cells) != {"-"}}
