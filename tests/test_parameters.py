"""Parameters of every estimator: numbers of NumPy are numbers, and what is wrong gets a sentence.

The list of values is of those that Python or NumPy holds, but a careless check does not.
"""

import fractions
import re
import traceback
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from small_generators import DISCRETE, ESTIMATORS, each, with_few_epochs

from probgen import VAE, BayesClassifier, GaussianMixture, Trainer, make_generative_pipeline
from probgen.preprocessing import Dequantizer, LogitTransformer
from probgen.tables import TableEncoder

RNG = np.random.default_rng(0)
Y = np.arange(40) % 2
# Whole numbers, which all estimators take.
X = RNG.integers(0, 3, size=(40, 4)).astype(np.float64) + Y[:, np.newaxis]
LONGEST = 450  # characters of a sentence
SLOW = {"max_iter": [None], "n_jobs": [-1]}  # valid values that take seconds


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path):
    """Work in a folder of the test, as some text is a name of a folder of checkpoints."""
    monkeypatch.chdir(tmp_path)


class Unspeakable:
    """An object that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no text")


NASTY = {
    "infinity": np.inf,
    "NaN": np.nan,
    "huge": 10**400,
    "minus huge": -(10**400),
    "beyond printing": 10**5000,
    "beyond int64": 2**63,
    "subnormal": 5e-324,
    "large": 1e308,
    "fraction": fractions.Fraction(10**400, 3),
    "complex": 1 + 2j,
    "date": np.datetime64("2026-01-01"),
    "duration": np.timedelta64(3, "s"),
    "text": "abc",
    "bytes": b"x",
    "dict": {},
    "list": [],
    "array": np.arange(300.0),
    "tensor": torch.ones(3),
    "number in an array": np.array(2),
    "masked": np.ma.masked,
    "object": Unspeakable(),
    "None": None,
    "type": int,
    "not whole": 2.5,
    "negative": -1,
    "zero": 0,
    "infinity in a list": [np.inf],
    "ragged": [[1], [2, 3]],
    "huge in a tuple": (10**400,),
    "long": list(range(1000)),
}


def one_of_each_class():
    """The estimators of the suite, one of each class, with a pass of training."""
    estimators = {type(model): clone(model) for model in with_few_epochs([*ESTIMATORS, *DISCRETE])}
    for model in estimators.values():
        if hasattr(model, "learning_rate_init"):
            model.set_params(max_iter=1)
    return list(estimators.values())


ONES = one_of_each_class()
PIPELINE = make_generative_pipeline(GaussianMixture())
TRANSFORMERS = [
    Dequantizer(8, random_state=0),
    LogitTransformer(bounds=(-1.0, 9.0)),
    TableEncoder(random_state=0),
]


def wrong(error):
    """What is wrong with an error, or None for a sentence of ours."""
    message = str(error)
    if not isinstance(error, (ValueError, TypeError)):
        return f"{type(error).__name__}: {message[:200]}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    if "site-packages" in last.filename and "probgen" not in last.filename:
        return f"of another library: {message[:200]}"
    if len(message) > LONGEST or "array(" in message or re.search(r"\d{60}", message):
        return f"quotes too much: {message[:200]}"
    return None


def outcomes(estimator, name):
    """Names of nasty values for a parameter, and what is wrong with the error of each."""
    for why, value in NASTY.items():
        if any(value is slow for slow in SLOW.get(name.split("__")[-1], [])):
            continue
        model = clone(estimator)
        try:
            owner, attribute = model, name
            if "__" in name:
                option, attribute = name.split("__")
                owner = getattr(model, option)
            setattr(owner, attribute, value)
            with warnings.catch_warnings(action="ignore"):
                model.fit(X, Y)
        except BaseException as error:
            yield why, wrong(error)


@each([*ONES, PIPELINE, *TRANSFORMERS])
def test_bad_values_get_a_sentence(estimator):
    faults = {
        f"{name}={why}": fault
        for name in clone(estimator).get_params(deep=False)
        if name not in {"steps", "memory", "transform_input"}  # of scikit-learn
        for why, fault in outcomes(estimator, name)
        if fault is not None
    }
    assert not faults


def test_bad_values_of_settings_get_a_sentence():
    model = VAE(2, hidden_layer_sizes=(4,), max_iter=1, trainer=Trainer())
    faults = {
        f"{name}={why}": fault
        for name in model.get_params()
        if name.startswith("trainer__")
        for why, fault in outcomes(model, name)
        if fault is not None
    }
    assert not faults


NUMBERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


def numeric_parameters(model):
    """Parameters that are numbers, which small integers can hold."""
    return {
        name: value
        for name, value in model.get_params().items()
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
    }


@each(ONES)
def test_integers_of_numpy_are_integers(estimator):
    plain = clone(estimator).fit(X, Y)
    numbers = numeric_parameters(estimator)
    for number in (np.int8, np.uint8, np.int64):
        fitting = {
            name: number(value) for name, value in numbers.items() if value <= np.iinfo(number).max
        }
        model = clone(estimator).set_params(**fitting)
        with warnings.catch_warnings(action="error", category=RuntimeWarning):
            model.fit(X, Y)
            scores = model.score_samples(X)
        np.testing.assert_array_equal(scores, plain.score_samples(X))
        np.testing.assert_array_equal(model.sample(3), clone(estimator).fit(X, Y).sample(3))
        for name, value in fitting.items():
            assert model.get_params()[name] is value, "parameters stay as given"


@pytest.mark.parametrize("number", NUMBERS)
def test_integers_of_every_width(number):
    model = GaussianMixture(number(3), n_init=number(2), max_iter=number(100), random_state=0)
    truth = GaussianMixture(3, n_init=2, max_iter=100, random_state=0).fit(X)
    np.testing.assert_array_equal(model.fit(X).means_, truth.means_)
    np.testing.assert_array_equal(model.sample(number(100)), truth.sample(100))
    bayes = BayesClassifier(GaussianMixture(number(2), random_state=0)).fit(X, Y)
    assert bayes.score(X) == BayesClassifier(GaussianMixture(2, random_state=0)).fit(X, Y).score(X)
    network = VAE(number(2), hidden_layer_sizes=(number(100),), max_iter=1, random_state=0).fit(X)
    truth = VAE(2, hidden_layer_sizes=(100,), max_iter=1, random_state=0).fit(X)
    assert network.score(X) == truth.score(X)
