"""EM on torch tensors is EM on NumPy arrays: the path that CUDA takes, on torch's CPU device."""

import numpy as np
import pytest

from probgen import GaussianMixture, RowBlocks
from probgen.gaussians import em
from probgen.gaussians.arrays import TorchArrays

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical", "low_rank")

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization")


@pytest.fixture
def torch_arrays(monkeypatch):
    """Make every engine use torch; return a function that limits the bytes kept on the device."""

    def limit(room):
        monkeypatch.setattr(TorchArrays, "room", lambda self: room)

    limit(2**30)
    return lambda room=2**30: (
        limit(room),
        monkeypatch.setattr(em, "arrays_on", lambda device: TorchArrays("cpu")),
    )


def clusters(n_rows=3000, n_features=5, spread=4.0):
    rng = np.random.default_rng(0)
    centers = spread * rng.normal(size=(3, n_features))
    return centers[rng.integers(3, size=n_rows)] + rng.normal(size=(n_rows, n_features))


def both(torch_arrays, X, room=2**30, **settings):
    """The same fit with NumPy and with torch."""
    settings = {
        "n_components": 3,
        "n_factors": 2,
        "max_iter": 6,
        "random_state": 0,
        "device": "cpu",
        **settings,
    }
    weights = settings.pop("sample_weight", None)
    numpy_model = GaussianMixture(**settings).fit(X, sample_weight=weights)
    torch_arrays(room)
    return numpy_model, GaussianMixture(**settings).fit(X, sample_weight=weights)


@pytest.mark.parametrize("n_features", [5, 60])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_same_path(torch_arrays, covariance_type, n_features):
    X = clusters(n_features=n_features)
    numpy_model, torch_model = both(torch_arrays, X, covariance_type=covariance_type)
    np.testing.assert_allclose(torch_model.lower_bounds_, numpy_model.lower_bounds_, rtol=1e-10)
    np.testing.assert_allclose(torch_model.means_, numpy_model.means_, rtol=1e-7, atol=1e-9)
    # Queries of both models run in torch now; the other is scored by its own density.
    np.testing.assert_allclose(torch_model.score(X), numpy_model.score(X), rtol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_same_path_for_narrow_components_far_apart(torch_arrays, covariance_type):
    X = clusters(spread=1e5)
    numpy_model, torch_model = both(torch_arrays, X, covariance_type=covariance_type)
    np.testing.assert_allclose(torch_model.lower_bounds_, numpy_model.lower_bounds_, rtol=1e-8)


def test_missing_values_and_weights(torch_arrays):
    X = clusters()
    X[np.random.default_rng(1).uniform(size=X.shape) < 0.1] = np.nan
    weights = np.random.default_rng(2).uniform(0.5, 2.0, size=len(X))
    numpy_model, torch_model = both(torch_arrays, X, sample_weight=weights)
    np.testing.assert_allclose(torch_model.lower_bounds_, numpy_model.lower_bounds_, rtol=1e-10)


@pytest.mark.parametrize("room", [2**30, 50_000, 0])
def test_what_does_not_fit_is_streamed(torch_arrays, room):
    X = clusters().astype(np.float32)
    blocks = RowBlocks([X[:1000], X[1000:1500], X[1500:]])
    numpy_model, torch_model = both(torch_arrays, blocks, room)
    np.testing.assert_allclose(torch_model.lower_bounds_, numpy_model.lower_bounds_, rtol=1e-6)
