"""scikit-learn's own tests of its Gaussian mixture, run against ours.

scikit-learn's test module is imported afresh, with our class in the place of its own, and each of
its tests becomes a test here, with its own marks, unless it is listed below with the reason.
"""

import copy
import importlib.util
import inspect

import numpy as np
import pytest
import sklearn
from packaging.version import Version
from sklearn.exceptions import NotFittedError

import probgen

PRIVATE = {  # of scikit-learn's module itself, whatever class stands in it
    "test_suffstat_sk_full": "calls _estimate_gaussian_covariances_full",
    "test_suffstat_sk_tied": "calls _estimate_gaussian_covariances_tied",
    "test_suffstat_sk_diag": "calls _estimate_gaussian_covariances_diag",
    "test_gaussian_suffstat_sk_spherical": "calls _estimate_gaussian_covariances_spherical",
    "test_compute_log_det_cholesky": "calls _compute_log_det_cholesky",
    "test_gaussian_mixture_log_probabilities": "calls _estimate_log_gaussian_prob",
    "test_gaussian_mixture_precisions_init": "calls the methods _set_parameters and _initialize",
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": (
        "counts calls of a private helper"
    ),
}
DIFFERENT = {  # what we do otherwise on purpose
    "test_check_weights": (
        "asks for a message that calls the least weight the max value, and the largest the min"
        " value"
    ),
    "test_gaussian_mixture_precisions_init_diag": (
        "needs components in the order of scikit-learn's KMeans for a seed"
    ),
    "test_regularisation": (
        "a singular covariance is repaired, counted and warned about, where scikit-learn raises"
    ),
    "test_gaussian_mixture_array_api_compliance": (
        "arrays are NumPy's; `device` moves the work to CUDA"
    ),
    "test_gaussian_mixture_raises_where_array_api_not_implemented": (
        "arrays are NumPy's; `device` moves the work"
    ),
}


class GaussianMixture(probgen.GaussianMixture):
    """Our mixture with scikit-learn's form of `sample`: rows by component, and components."""

    def sample(self, n_samples=1):
        try:
            probgen.GaussianMixture.sample(self, n_samples)
        except NotFittedError:
            raise
        except ValueError as error:
            raise ValueError(f"Invalid value for 'n_samples': {error}") from error
        counts = np.random.default_rng(n_samples).multinomial(
            n_samples, self.weights_ / self.weights_.sum()
        )
        rows = []
        for k in np.flatnonzero(counts):
            alone = copy.copy(self)
            alone.weights_ = np.eye(len(counts))[k]
            rows.append(probgen.GaussianMixture.sample(alone, counts[k]))
        return np.concatenate(rows), np.repeat(np.arange(len(counts)), counts)


def import_afresh(name):
    """A module of its own from an installed module's file."""
    spec = importlib.util.find_spec(name)
    fresh = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location("theirs", spec.origin)
    )
    fresh.__spec__.loader.exec_module(fresh)
    return fresh


theirs = import_afresh("sklearn.mixture.tests.test_gaussian_mixture")
theirs.GaussianMixture = GaussianMixture
tests = {
    name: value
    for name, value in vars(theirs).items()
    if name.startswith("test_") and inspect.isfunction(value)
}
for ignored in [
    "ignore:EM (moved|repaired)",
    "ignore::sklearn.exceptions.ConvergenceWarning",
]:  # we say what we repaired there
    pytest.mark.filterwarnings(ignored)(tests["test_gaussian_mixture_setting_best_params"])
globals().update({name: test for name, test in tests.items() if name not in PRIVATE | DIFFERENT})


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def global_dtype(request):
    """The precisions that scikit-learn's continuous integration asks for."""
    return request.param


@pytest.fixture(params=[0, 1, 42])
def global_random_seed(request):
    """Seeds for those of scikit-learn's tests that should hold for any."""
    return request.param


def test_none_of_their_tests_is_left_out_in_silence():
    listed = PRIVATE | DIFFERENT
    assert len(tests) > 30
    if Version(sklearn.__version__) >= Version("1.8"):  # older ones lack some of the listed tests
        assert listed.keys() <= tests.keys()  # a name that is gone must go from the lists
    assert {
        name for name in tests if globals().get(name) is not tests[name]
    } == listed.keys() & tests.keys()
