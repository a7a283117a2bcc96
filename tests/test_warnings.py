"""Warnings point at the line that called the package, however deep in it they arise."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from probgen import MADE, VAE, GaussianBayes, GaussianMixture, make_generative_pipeline
from probgen.options import GaussianMixtureLikelihood
from probgen.preprocessing import Dequantizer

X = np.random.default_rng(0).standard_normal((40, 2))
Y = np.repeat([0, 1], 20)
SMALL = {"max_iter": 1, "device": "cpu", "random_state": 0}


def fitted_made():
    return MADE((4,), likelihood=GaussianMixtureLikelihood(2), n_importance_samples=2, **SMALL).fit(
        X
    )


def unmet(model):
    """A condition far from the data, which few proposals meet."""
    return model.sample(2, given={1: (9.0, 9.1)}, random_state=0)


@pytest.mark.parametrize(
    "prepare, call, category, message",
    [
        (
            lambda: GaussianMixture(3, max_iter=1, tol=0.0, random_state=0),
            lambda model: model.fit(X),
            ConvergenceWarning,
            "did not converge",
        ),
        (
            lambda: GaussianMixture(2, covariance_type="full", reg_covar=0.0, random_state=0),
            lambda model: model.fit(np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0)),
            UserWarning,
            "repaired",
        ),
        (
            lambda: GaussianBayes(n_components=2, max_iter=1, tol=0.0, random_state=0),
            lambda model: model.fit(X, Y),
            ConvergenceWarning,
            "did not converge",
        ),
        (
            lambda: VAE(1, hidden_layer_sizes=(4,), batch_size=100, **SMALL),
            lambda model: model.fit(X),
            UserWarning,
            "batch_size is 100",
        ),
        (fitted_made, unmet, UserWarning, "given is hard to meet"),
        (
            fitted_made,
            lambda model: model.impute([[np.nan, 9.0]]),
            UserWarning,
            "X is hard to meet",
        ),
    ],
)
def test_a_warning_points_at_the_caller(prepare, call, category, message):
    model = prepare()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(model)
    files = [w.filename for w in caught if w.category is category and message in str(w.message)]
    assert files == [__file__]


def test_a_score_over_many_shifts_warns_once():
    rows = np.random.default_rng(0).integers(0, 4, size=(40, 3))
    model = VAE(1, hidden_layer_sizes=(4,), max_iter=1, n_importance_samples=2, random_state=0)
    pipeline = make_generative_pipeline(Dequantizer(4, n_shifts=8, random_state=0), model)
    with pytest.warns(UserWarning, match="effective draws") as caught:
        pipeline.fit(rows).score_samples(rows)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="effective draws"):  # the next call says it again
        pipeline.score_samples(rows)
