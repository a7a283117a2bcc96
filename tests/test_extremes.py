"""Values and learning rates at the ends of their ranges: a number, a sentence or a warning.

Finite rows never lead to NaN or to an infinity in silence, and to no error of another library.
"""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from small_generators import DISCRETE, ESTIMATORS, IN_ANY_ORDER, each

from probgen.training.neural_generator import NeuralGenerator

NEURAL = [model for model in [*ESTIMATORS, IN_ANY_ORDER] if isinstance(model, NeuralGenerator)]
DISCRETE_NEURAL = [model for model in DISCRETE if isinstance(model, NeuralGenerator)]
X = np.random.default_rng(0).normal(size=(30, 4))
Y = np.arange(30) % 2


def with_value(value):
    """The rows with one value in their first column."""
    rows = X.copy()
    rows[3, 0] = value
    return rows


def with_column(value):
    """The rows with a constant column."""
    rows = X.copy()
    rows[:, 1] = value
    return rows


ROWS = {
    "one value of 1e300": with_value(1e300),
    "one value of 1e140": with_value(1e140),
    "all * 1e300": 1e300 * X,
    "all * 1e150": 1e150 * X,
    "all * 1e120": 1e120 * X,
    "all * 1e-120": 1e-120 * X,
    "all * 1e-160": 1e-160 * X,
    "all * 1e-310": 1e-310 * X,
    "float32 * 1e38": np.clip(1e38 * X, -3e38, 3e38).astype(np.float32),
    "float32 * 1e12": (1e12 * X).astype(np.float32),
    "float32 * 1e-12": (1e-12 * X).astype(np.float32),
    "float32 * 1e-42": (1e-42 * X).astype(np.float32),
    "a column of 1e200": with_column(1e200),
    "a column of 1e-200": with_column(1e-200),
    "a column of 7": with_column(7.0),
    "zeros": 0.0 * X,
}
RATES = [1e3, 1e6, 1e12, 1e300]


def small(estimator, **parameters):
    """The estimator with 2 epochs."""
    return clone(estimator).set_params(max_iter=2, **parameters)


def tried(call):
    """What a call returns and None, or None and the sentence of its ValueError."""
    try:
        return call(), None
    except ValueError as error:
        return None, str(error)


def assert_finite(model, rows):
    assert np.isfinite(model.score_samples(rows)).all()
    assert np.isfinite(model.sample(3)).all()
    assert np.isfinite(model.transform(rows)).all()


@each(NEURAL)
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_extreme_rows(estimator, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "X holds one row over and over")
        model, sentence = tried(lambda: small(estimator).fit(rows, Y))
        if model is not None:
            assert_finite(model, rows)
            return
    assert sentence.startswith("X holds")
    assert "; scale its columns, such as by StandardScaler" in sentence


@each([*NEURAL, *DISCRETE_NEURAL])
@pytest.mark.parametrize("rate", RATES)
def test_enormous_learning_rates(estimator, rate):
    rows = X
    if estimator in DISCRETE_NEURAL:
        rows = (X > 0.0).astype(np.float32)
    name = "learning_rate_init"
    if name not in estimator.get_params():
        name = "generator_learning_rate"
    model = small(estimator, **{name: rate})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(rows, Y)
    if rate >= 1e6:
        assert any("were put back" in str(warning.message) for warning in caught)
    assert_finite(model, rows)


@each(NEURAL)
@pytest.mark.parametrize("dtype, value", [(np.float64, 1e300), (np.float32, 3e38)])
def test_extreme_rows_of_a_query(estimator, dtype, value):
    model = small(estimator).fit(X.astype(dtype), Y)
    rows = with_value(value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        scores, sentence = tried(lambda: model.score_samples(rows))
    if scores is None:
        assert "row 3 holds one of size" in sentence
        return
    assert not np.isnan(scores).any()
    assert np.isfinite(np.delete(scores, 3)).all()
