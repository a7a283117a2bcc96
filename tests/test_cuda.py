"""The same answers on CUDA as on the CPU."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from probgen import GaussianBayes, GaussianMixture, RowBlocks

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical", "low_rank")

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Best performing initialization")]


def clusters(n_rows=6000, n_features=6, dtype=np.float64):
    rng = np.random.default_rng(0)
    centers = 4.0 * rng.normal(size=(3, n_features))
    return (centers[rng.integers(3, size=n_rows)] + rng.normal(size=(n_rows, n_features))).astype(dtype)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n_features", [6, 60])
def test_em_takes_the_same_path_as_on_the_cpu(covariance_type, n_features):
    X = clusters(n_features=n_features)
    settings = {
        "n_components": 3,
        "covariance_type": covariance_type,
        "n_factors": 3,
        "max_iter": 10,
        "random_state": 0,
    }
    cpu = GaussianMixture(**settings, device="cpu").fit(X)
    gpu = GaussianMixture(**settings, device="cuda").fit(X)
    np.testing.assert_allclose(gpu.lower_bounds_, cpu.lower_bounds_, rtol=1e-9)
    np.testing.assert_allclose(gpu.means_, cpu.means_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gpu.score_samples(X), cpu.score_samples(X), rtol=1e-7, atol=1e-7)


def test_missing_values_weights_and_blocks():
    X = clusters()
    X[np.random.default_rng(1).uniform(size=X.shape) < 0.1] = np.nan
    weights = np.random.default_rng(2).uniform(0.5, 2.0, size=len(X))
    settings = {"n_components": 3, "max_iter": 5, "random_state": 0}
    cpu = GaussianMixture(**settings, device="cpu").fit(X, sample_weight=weights)
    gpu = GaussianMixture(**settings, device="cuda").fit(X, sample_weight=weights)
    np.testing.assert_allclose(gpu.lower_bounds_, cpu.lower_bounds_, rtol=1e-9)
    blocks = RowBlocks([X[:2000], X[2000:]])
    streamed = GaussianMixture(**settings, device="cuda").fit(blocks, sample_weight=weights)
    on_cpu = GaussianMixture(**settings, device="cpu").fit(blocks, sample_weight=weights)
    np.testing.assert_allclose(streamed.lower_bounds_, on_cpu.lower_bounds_, rtol=1e-9)


def test_auto_takes_cuda_and_classes_are_fitted_there():
    X, y = clusters(), np.arange(6000) % 2
    cpu = GaussianBayes(device="cpu", random_state=0).fit(X, y)
    gpu = GaussianBayes(device="auto", random_state=0).fit(X, y)
    assert "torch" in sys.modules
    np.testing.assert_allclose(gpu.predict_proba(X), cpu.predict_proba(X), atol=1e-9)


def test_a_model_fitted_on_cuda_opens_and_answers_on_a_cpu(tmp_path):
    X = clusters(dtype=np.float32)
    model = GaussianMixture(3, device="cuda", random_state=0).fit(X)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    code = "import pickle, sys; m = pickle.load(open(sys.argv[1], 'rb')); print(m.score(m.means_))"
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    answer = subprocess.run([sys.executable, "-P", "-c", code, str(path)], capture_output=True, text=True, env=hidden)
    assert answer.returncode == 0, answer.stderr
    np.testing.assert_allclose(float(answer.stdout), model.score(model.means_), rtol=1e-5)
