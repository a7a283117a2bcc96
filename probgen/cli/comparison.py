"""Fit, score and sample every generator on one data set, in comparable units."""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from probgen import (
    GAN,
    MADE,
    VAE,
    Autoencoder,
    ConditionalGAN,
    ConditionalPixelCNN,
    ConditionalVAE,
    DeepBeliefNetwork,
    GaussianBayes,
    GaussianMixture,
    MixtureModel,
    PixelCNN,
    RestrictedBoltzmannMachine,
    Trainer,
    get_likelihood,
    make_generative_pipeline,
)
from probgen.base import Likelihood
from probgen.base.table_generator import TableMixin
from probgen.cli.compared import Data
from probgen.cli.models import as_program, for_table, seed
from probgen.cli.tables import first_line
from probgen.options import AutoLikelihood, GaussianCorruption
from probgen.preprocessing import Dequantizer

N_DRAWS = 1000
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

EXACT_HIDDEN_UNITS = 12  # 4,096 states

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


def _boltzmann(n, d, shape):
    """A machine of so few hidden units that its likelihood is exact."""
    return RestrictedBoltzmannMachine(
        EXACT_HIDDEN_UNITS, visible="gaussian", max_iter=_n_epochs(ROW_BUDGET, n, 10, 100)
    )


def _deep_belief(n, d, shape):
    """A network whose top machine has an exact log Z, so that scores are lower bounds."""
    n_epochs = _n_epochs(ROW_BUDGET // 3, n, 5, 50)  # of two machines, and of both together
    return DeepBeliefNetwork(
        (64, EXACT_HIDDEN_UNITS),
        visible="gaussian",
        n_pretraining=n_epochs,
        n_importance_samples=N_IMPORTANCE_SAMPLES,
        max_iter=n_epochs,
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
    "Boltzmann machine": _boltzmann,
    "Deep belief network": _deep_belief,
    "PixelCNN": _pixelcnn,
    "Conditional PixelCNN": lambda n, d, shape: _pixelcnn(n, d, shape, kind=ConditionalPixelCNN),
    "GAN": lambda n, d, shape: _gan(n),
    "Conditional GAN": lambda n, d, shape: _gan(n, kind=ConditionalGAN),
}


# Those for tables of mixed columns alone
TABLE_MODELS: dict[str, Callable] = {
    "Mixture of columns": lambda n, d, shape: MixtureModel(_n_components(50, n)),
}


@dataclass(frozen=True)
class Result:
    """Measurements of one generator.

    Attributes
    ----------
    name : str
    parameters : str
        The whole model as Python code, with what it imports.
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


def generators(data: Data, random_state: int = 0) -> dict[str, Any]:
    """The generators of MODELS that suit the data, as a dict from name to pipeline.

    Integers are dequantised for continuous models, so that the score of every model is a
    probability of the integers. Real values are standardised. Tables of other columns go to the
    models that take them, and behind an encoder to all others, so that scores are of one measure.
    Models of classes are left out for data without classes.
    """
    if data.table is not None:
        return _table_generators(data, random_state)
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
        pipelines[name] = seed(pipeline, random_state)
    return pipelines


def _table_generators(data, random_state):
    """The generators for a table of mixed columns, by name."""
    n_rows, n_features = data.X_train.shape
    found = {}
    for name, make in (TABLE_MODELS | MODELS).items():
        model = make(n_rows, n_features, None)
        if model is None or (is_classifier(model) and not data.classes):
            continue
        if get_likelihood(model).measure == "counting":
            continue
        is_native = isinstance(model, TableMixin)
        if is_native and "likelihood" in model.get_params(deep=False):
            model.set_params(likelihood="mixed")
        model = for_table(model, data.X_train, data.kinds, random_state=random_state)
        found[name] = seed(model, random_state)
    return found


def generator_of(model: Any) -> Any:
    """The generator at the end of a pipeline, or the model itself."""
    if isinstance(model, Pipeline):
        return model.steps[-1][1]
    return model


def evaluate(name: str, model: Any, data: Data, random_state: int = 0) -> Result:
    """Fit, score and sample one generator; a failure becomes a Result with the reason."""
    parameters = as_program(model)
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
    if get_likelihood(generator_of(model)).kind == "exact":
        return n_rows
    return min(n_rows, max(MIN_ESTIMATED_ROWS, MAX_ESTIMATED_VALUES // data.n_features))


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
