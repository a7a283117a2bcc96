"""The same answers on CUDA as on the CPU."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from probgen import (
    Autoencoder,
    GaussianBayes,
    GaussianMixture,
    PixelCNN,
    RowBlocks,
    Trainer,
    load,
    save,
)

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical", "low_rank")

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Best performing initialization")]


def clusters(n_rows=6000, n_features=6, dtype=np.float64):
    rng = np.random.default_rng(0)
    centers = 4.0 * rng.normal(size=(3, n_features))
    return (centers[rng.integers(3, size=n_rows)] + rng.normal(size=(n_rows, n_features))).astype(
        dtype
    )


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
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code, str(path)], capture_output=True, text=True, env=hidden
    )
    assert answer.returncode == 0, answer.stderr
    np.testing.assert_allclose(float(answer.stdout), model.score(model.means_), rtol=1e-5)


NETWORK = {"hidden_layer_sizes": (16,), "max_iter": 5, "batch_size": 64, "random_state": 0}


def autoencoder(device="cuda", trainer=None, **parameters):
    return Autoencoder(2, **NETWORK | parameters, device=device, trainer=trainer)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_graphs_train_as_the_eager_loop_and_the_cpu_do(optimizer, schedule):
    X = clusters(2000)
    settings = {"optimizer": optimizer, "schedule": schedule, "ema_decay": 0.9}
    losses = [
        autoencoder(device, Trainer(cuda_graph=graph, **settings)).fit(X).history_["loss"]
        for device, graph in [("cpu", False), ("cuda", False), ("cuda", True)]
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-6)


@pytest.mark.parametrize(
    "parameters", [{"corruption": "gaussian"}, {"penalty": "contractive"}, {"penalty": "l1"}]
)
def test_variants_are_captured(parameters):
    X = clusters(2000, dtype=np.float32)
    model = autoencoder(max_iter=20, **parameters).fit(X)
    assert model.history_["loss"][-1] < model.history_["loss"][0]
    assert np.isfinite(model.score_samples(X[:100])).all()


def test_bfloat16_and_streams():
    X = clusters(5000, dtype=np.float32)
    model = autoencoder(trainer=Trainer(precision="bf16", memory_budget=0.05)).fit(X)
    whole = autoencoder().fit(X)
    assert model.history_["loss"][-1] == pytest.approx(whole.history_["loss"][-1], rel=0.1)


def test_divergence_is_found():
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning, match="were put back"):
        model = autoencoder(learning_rate_init=1e8, trainer=Trainer(optimizer="sgd")).fit(
            clusters(2000)
        )
    assert np.isfinite(model.score_samples(clusters(10))).all()


def test_a_network_trained_on_cuda_opens_on_a_cpu(tmp_path):
    X = clusters(500, dtype=np.float32)
    model = autoencoder().fit(X)
    save(model, tmp_path / "model.probgen")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "rows.npy", X)
    np.testing.assert_array_equal(
        load(tmp_path / "model.probgen").score_samples(X), model.score_samples(X)
    )
    code = (
        "import pickle, sys, numpy as np, probgen; X = np.load(sys.argv[1] + '/rows.npy');"
        "pickled = pickle.load(open(sys.argv[1] + '/model.pickle', 'rb'));"
        "models = [probgen.load(sys.argv[1] + '/model.probgen'), pickled];"
        "print(*[float(model.score(X)) for model in models], *[model.device_ for model in models])"
    )
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=hidden,
    )
    assert answer.returncode == 0, answer.stderr
    *scores, first, second = answer.stdout.split()
    assert first == second == "cpu"
    np.testing.assert_allclose([float(score) for score in scores], model.score(X), rtol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"gated": True}, {"attention": True}], ids=str)
def test_pixels_are_drawn_as_on_the_cpu(settings):
    X = np.random.default_rng(0).integers(4, size=(200, 64)).astype(np.float32)
    model = PixelCNN(8, 2, max_iter=2, device="cuda", random_state=0, **settings).fit(X)
    draws, scores = model.sample(500, random_state=0), model.score_samples(X)
    model._to_device("cpu")
    np.testing.assert_allclose(model.score_samples(X), scores, rtol=1e-3)
    assert (
        np.mean(np.all(model.sample(500, random_state=0) == draws, axis=1)) > 0.9
    )  # sums are rounded in other ways
