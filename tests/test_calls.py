"""A call that fails changes nothing, a fit depends on its arguments alone, and a query on the fit.

These hold for every public estimator: those of `small_generators`, a pipeline and the transformers.
"""

import copy
import functools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from small_generators import DISCRETE, ESTIMATORS, each, with_few_epochs

import probgen
from probgen import GaussianMixture, GenerativePipeline, RowBlocks, Trainer
from probgen.options import ParzenWindow
from probgen.preprocessing import Dequantizer, LogitTransformer
from probgen.tables import TableEncoder
from probgen.training import Callback

pytestmark = pytest.mark.filterwarnings("ignore:.* effective draws", "ignore:.*did not converge")

RNG = np.random.default_rng(0)
Y = np.arange(60) % 2
# Whole numbers, which all of them take, and others; both have rows of two kinds.
X = RNG.integers(0, 3, size=(60, 4)).astype(np.float64) + Y[:, np.newaxis] % 2
OTHER = X[:, ::-1].copy()
PIPELINE = GenerativePipeline(
    [("scale", StandardScaler()), ("mixture", GaussianMixture(2, random_state=0))]
)
TRANSFORMERS = [
    Dequantizer(5, random_state=0),
    LogitTransformer(bounds=(-1, 9)),
    TableEncoder(random_state=0),
]
EVERY = [*with_few_epochs([*ESTIMATORS, *DISCRETE]), PIPELINE]
N_INTERRUPTS = 7
PACKAGE = str(Path(probgen.__file__).parent)


def fit(model, X=X, y=Y):
    return model.fit(X, y)


def is_network(model):
    return hasattr(model, "learning_rate_init")


def answers(model):
    """What a model answers now; draws come from a copy of its stream."""
    twin = copy.deepcopy(model)
    if not hasattr(model, "sample"):
        return [twin.transform(X)]
    return [model.score_samples(X), model.transform(X), twin.sample(3), twin.sample(3)]


def assert_unchanged(model, before, why):
    for answer, truth in zip(answers(model), before, strict=True):
        np.testing.assert_array_equal(answer, truth, err_msg=str(why))


class Broken(Exception):
    """What the test raises."""


class Breaking(Callback):
    def on_fit_task_end(self, estimator, context):
        raise Broken


class BreakingBlocks:
    """Blocks of rows, of which the second breaks after some passes."""

    def __init__(self, n_passes):
        self.n_passes = n_passes

    def __iter__(self):
        self.n_passes -= 1
        yield OTHER[:30]
        if self.n_passes < 0:
            raise Broken
        yield OTHER[30:]


def ways_to_fail(model):
    """Names and functions of a fitted model, each of which raises in a fit or a partial_fit."""
    bad_rows = {
        "one axis": OTHER[0],
        "three axes": OTHER[np.newaxis],
        "no columns": OTHER[:, :0],
        "no rows": OTHER[:0],
        "infinity": np.where(OTHER == 2.0, np.inf, OTHER),
        "text": np.where(OTHER == 2.0, "two", OTHER.astype(str)),
        "overflow": OTHER * 1e300,
    }
    ways = {name: (lambda m, rows=rows: fit(m, rows)) for name, rows in bad_rows.items()}
    ways["labels of another length"] = lambda m: m.fit(OTHER, Y[:7])
    if not hasattr(model, "sample"):
        del ways["labels of another length"], ways["overflow"]
        ways["no rows"] = lambda m: m.fit(np.empty((0, 4)))
        return ways
    if not is_classifier(model):
        del ways["labels of another length"]
    else:
        ways["no labels"] = lambda m: m.fit(OTHER, None)
        ways["a gap among the labels"] = lambda m: m.fit(OTHER, np.where(Y == 1, np.nan, 2.0))
    if isinstance(model, GenerativePipeline):
        del ways["overflow"]  # the scaler warns first
    if get_tags(model).missing_values != "all":
        ways["gaps"] = lambda m: fit(m, np.where(OTHER == 2.0, np.nan, OTHER))
    if hasattr(model, "partial_fit"):
        ways["other width"] = lambda m: m.partial_fit(OTHER[:, :2], Y)
        ways["infinity in partial_fit"] = lambda m: m.partial_fit(bad_rows["infinity"], Y)
    if is_network(model):
        breaking = Trainer(callbacks=[Breaking()])
        ways["callback"] = lambda m: fit(m.set_params(trainer=breaking), OTHER)
        ways["callback in partial_fit"] = lambda m: m.set_params(trainer=breaking).partial_fit(
            OTHER, Y
        )
        ways["callback of a warm start"] = lambda m: fit(
            m.set_params(trainer=breaking, warm_start=True), OTHER
        )
        ways["bad parameter"] = lambda m: fit(m.set_params(batch_size=-1), OTHER)
    if (is_network(model) or type(model) is GaussianMixture) and not is_classifier(model):
        for n_passes in range(4):
            ways[f"reader, pass {n_passes}"] = lambda m, n=n_passes: m.fit(
                RowBlocks(BreakingBlocks(n))
            )
    return ways


@each([*EVERY, *TRANSFORMERS])
def test_a_fit_that_fails_changes_nothing(estimator):
    model = fit(clone(estimator))
    before = answers(model)
    for why, fail in ways_to_fail(model).items():
        parameters = model.get_params(deep=False)
        with pytest.raises((ValueError, TypeError, Broken)):
            fail(model)
        model.set_params(**parameters)
        assert_unchanged(model, before, why)


def interrupted(call, at):
    """Run a call, and raise KeyboardInterrupt at the at-th call of a function of the package.

    Returns the number of calls, if there were fewer.
    """
    n_calls = 0

    def trace(frame, event, argument):
        nonlocal n_calls
        if frame.f_code.co_filename.startswith(PACKAGE):
            n_calls += 1
            if n_calls == at:
                sys.settrace(None)
                raise KeyboardInterrupt

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return n_calls


@each(EVERY)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_changes_nothing_wherever_it_comes(estimator, method):
    model = fit(clone(estimator))
    if not hasattr(model, method):
        method = "fit"
    before = answers(model)
    call = getattr(model, method)
    for _ in range(2):  # the first time some things are done for all times
        twin = copy.deepcopy(model)
        n_calls = interrupted(functools.partial(getattr(twin, method), OTHER, Y), None)
    modes = torch.is_grad_enabled(), torch.get_rng_state(), torch.get_num_threads()
    for at in np.linspace(2, 0.97 * n_calls, N_INTERRUPTS).astype(int):
        with pytest.raises(KeyboardInterrupt):
            interrupted(lambda: call(OTHER, Y), at)
        assert_unchanged(model, before, f"interrupted at call {at} of {n_calls}")
    assert torch.is_grad_enabled() == modes[0]
    assert torch.equal(torch.get_rng_state(), modes[1])
    assert torch.get_num_threads() == modes[2]
    # And the next fit is that of a model that was never interrupted.
    fresh = getattr(copy.deepcopy(model), method)(OTHER, Y)
    np.testing.assert_array_equal(fresh.score_samples(X), twin.score_samples(X))


@each(EVERY)
def test_a_fit_depends_on_its_arguments_alone(estimator):
    table = pd.DataFrame(X[:, :3].astype(np.float32), columns=["a", "b", "c"])
    refitted = fit(fit(clone(estimator), table))
    alone = fit(clone(estimator))
    assert vars(refitted).keys() == vars(alone).keys()
    for answer, truth in zip(answers(refitted), answers(alone), strict=True):
        assert answer.dtype == truth.dtype
        np.testing.assert_array_equal(answer, truth)


def changed(name, value):
    """Another value of a parameter, which may be a wrong one."""
    others = {
        "density": ParzenWindow(17),
        "latent_density": GaussianMixture(3),
        "estimator": GaussianMixture(3),
        "priors": [0.9, 0.1],
        "image_shape": (2, 2),
        "covariance_type": "spherical" if value != "spherical" else "diag",
    }
    if name in others:
        return others[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 3
    if isinstance(value, tuple):
        return (*value, 5)
    return "another"


@each([estimator for estimator in EVERY if estimator is not PIPELINE])
def test_queries_see_the_parameters_of_the_fit(estimator):
    model = fit(clone(estimator))
    before = answers(model)
    for name, value in model.get_params(deep=False).items():
        if name in model._query_parameters:
            continue
        model.set_params(**{name: changed(name, value)})
        assert_unchanged(model, before, name)
        model.set_params(**{name: value})


def test_every_public_estimator_is_here():
    names = {type(estimator).__name__ for estimator in EVERY}
    assert names == {*probgen.estimators.__all__, "GenerativePipeline"}
