"""Generative adversarial networks: what they learn, draw, score and refuse."""

import pickle
import re

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from probgen import GAN, Trainer, get_likelihood, load, save
from probgen.metrics import kernel_mmd
from probgen.networks.batch_norm import batch_norms
from probgen.options import (
    R1,
    WGANGP,
    AnnealedImportanceSampling,
    AutoDensity,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    ParzenWindow,
)
from probgen.training import Callback

QUICK = {
    "hidden_layer_sizes": (16,),
    "max_iter": 3,
    "density": AutoDensity(n_draws=256),
    "device": "cpu",
    "random_state": 0,
}
X = np.random.default_rng(0).standard_normal((200, 3)) @ np.array(
    [[1.0, 0.5, 0.0], [0.0, 2.0, 0.5], [0.0, 0.0, 3.0]]
)
IMAGES = load_digits().data[:200].astype(np.float32)


def weights(model):
    return [
        parameter.detach().numpy()
        for name in model._networks
        for parameter in getattr(model, name).parameters()
    ]


def assert_same_weights(model, twin):
    for one, other in zip(weights(model), weights(twin), strict=True):
        np.testing.assert_array_equal(one, other)


class TestToys:
    def test_all_modes_are_hit_and_few_draws_lie_between_them(self):
        angles = 2.0 * np.pi * np.arange(4) / 4
        centers = 2.0 * np.column_stack([np.cos(angles), np.sin(angles)])
        rng = np.random.default_rng(0)
        rows = (centers[rng.integers(4, size=3200)] + 0.1 * rng.standard_normal((3200, 2))).astype(
            np.float32
        )
        model = GAN(
            2, hidden_layer_sizes=(32, 32), max_iter=40, density="parzen", random_state=0
        ).fit(rows)
        draws = model.sample(4000)
        distances = np.linalg.norm(draws[:, np.newaxis] - centers, axis=2)
        is_near = distances.min(axis=1) < 0.3
        assert is_near.mean() > 0.85  # 98.9 % of the data
        assert np.bincount(distances.argmin(axis=1)[is_near], minlength=4).min() > 500
        assert kernel_mmd(rows[:1000], draws[:1000]) < 0.01

    @pytest.mark.parametrize(
        "parameters",
        [
            {"loss": "minimax"},
            {"loss": "least_squares"},
            {"loss": "hinge", "spectral_norm": True, "penalty": None},
            {"loss": "wasserstein", "n_discriminator_steps": 2},
            {
                "prior": "uniform",
                "loss": NonSaturating(label_smoothing=0.1),
                "instance_noise": 0.2,
            },
            {"loss": NonSaturating(balance_ratio=2.0)},
        ],
        ids=lambda parameters: str(next(iter(parameters.values()))),
    )
    def test_every_loss_learns_a_gaussian(self, parameters):
        model = GAN(4, **QUICK | {"max_iter": 60} | parameters).fit(X)
        start = GAN(4, **QUICK | {"max_iter": 1} | parameters).fit(X)
        after, before = (
            kernel_mmd(X, fitted.sample(500, random_state=1)) for fitted in (model, start)
        )
        assert after < 0.5 * before
        assert np.isfinite(model.history_["discriminator"]).all()


class Breaker(Callback):
    """Raises at the end of an epoch."""

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            raise RuntimeError("the machine went down")


def linear_gan(n_components=2, **parameters):
    """A GAN with a linear generator, and the Gaussian distribution of its blurred draws."""
    settings = {
        "hidden_layer_sizes": (),
        "max_iter": 30,
        "density": "ais",
        "random_state": 0,
        "device": "cpu",
    }
    model = GAN(n_components, **settings | parameters).fit(X)
    with torch.no_grad():
        center = model.inverse_transform(np.zeros((1, n_components)))[0]
        slopes = model.inverse_transform(np.eye(n_components)) - center
    return model, multivariate_normal(center, slopes.T @ slopes + np.diag(model.noise_variance_))


class TestDensity:
    def test_annealing_estimates_the_likelihood(self):
        model, truth = linear_gan(density=AnnealedImportanceSampling(32, 100))
        values, std = model.score_samples(X[:40], return_std=True)
        error = values - truth.logpdf(X[:40])
        assert std.max() < 1.0
        assert np.abs(error).mean() < 2.0 * std.mean() + 0.01
        assert abs(error.mean()) < 0.1
        np.testing.assert_array_equal(model.score_samples(X[:40]), values)

    def test_a_window_on_many_draws_estimates_the_likelihood(self):
        model, truth = linear_gan(density=ParzenWindow(2**15))
        draws = model.sample(100, random_state=1)
        rows = draws + np.sqrt(model.noise_variance_) * np.random.default_rng(2).standard_normal(
            draws.shape
        )
        values, std = model.score_samples(rows, return_std=True)
        error = values - truth.logpdf(rows)
        assert np.abs(error).mean() < 0.05
        assert np.abs(error).max() < 6.0 * std.max()

    def test_bounds_enclose_the_likelihood(self):
        model, truth = linear_gan(density=AnnealedImportanceSampling(16, 60))
        lower, upper = model.likelihood_bounds(50, random_state=3)
        generator = np.random.default_rng(3)
        codes = generator.standard_normal((50, 2))
        noise = np.sqrt(model.noise_variance_) * generator.standard_normal((50, 3))
        exact = truth.logpdf(model.inverse_transform(codes) + noise)
        assert lower.mean() <= exact.mean() + 0.03
        assert upper.mean() >= exact.mean() - 0.03
        assert (upper - lower).mean() < 0.5
        fewer, _ = linear_gan(density=AnnealedImportanceSampling(16, 2))
        loose = fewer.likelihood_bounds(50, random_state=3)
        assert (loose[1] - loose[0]).mean() > 2.0 * (upper - lower).mean()
        assert loose[0].mean() - 0.1 < exact.mean() < loose[1].mean() + 0.1

    def test_uniform_codes_have_their_own_prior(self):
        model, _ = linear_gan(1, prior="uniform", density=AnnealedImportanceSampling(64, 100))
        windowed, _ = linear_gan(1, prior="uniform", density=ParzenWindow(2**14))
        codes = np.linspace(-1.0, 1.0, 20_001)[:, np.newaxis]
        means, rows = model.inverse_transform(codes), X[:20]
        squares = ((rows[:, np.newaxis] - means) ** 2 / model.noise_variance_).sum(axis=2)
        log_prob = -0.5 * (squares + np.log(2.0 * np.pi * model.noise_variance_).sum())
        truth = np.logaddexp.reduce(log_prob, axis=1) - np.log(len(codes))
        np.testing.assert_allclose(model.score_samples(rows), truth, atol=0.3)
        windowed.noise_variance_, windowed._bandwidth = model.noise_variance_, model._bandwidth
        np.testing.assert_allclose(windowed.score_samples(rows), truth, atol=0.05)

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # of 4 temperatures
    @pytest.mark.parametrize("n_chains", [16, 5])
    def test_scores_are_bit_identical_in_any_batch(self, n_chains):
        settings = {
            "density": AnnealedImportanceSampling(n_chains, n_temperatures=4),
            "hidden_layer_sizes": (13, 7),
        }
        for rows in (X.astype(np.float32), np.hstack([X] * 5)):
            model = GAN(1, **QUICK | settings).fit(rows)
            shuffled = np.random.default_rng(1).permutation(len(rows))
            whole = model.score_samples(rows)
            np.testing.assert_array_equal(model.score_samples(rows[shuffled]), whole[shuffled])
            np.testing.assert_array_equal(model.score_samples(rows[7:8]), whole[7:8])

    @pytest.mark.parametrize("n_components, n_copies", [(1, 1), (8, 2), (65, 2)])
    def test_auto_takes_a_window(self, n_components, n_copies):
        assert GAN(n_components, **QUICK).fit(np.hstack([X] * n_copies)).density_ == "parzen"

    def test_an_earlier_file_keeps_the_estimate_that_auto_stood_for(self, tmp_path):
        model = GAN(2, **QUICK | {"density": AnnealedImportanceSampling(8, 40)}).fit(X)
        values = model.score_samples(X[:20])
        model.set_params(density=AutoDensity(n_chains=8, n_temperatures=40))
        del model._fitted_parameters  # which earlier versions had not
        save(model, tmp_path / "model.probgen")
        np.testing.assert_array_equal(
            load(tmp_path / "model.probgen").score_samples(X[:20]), values
        )

    def test_draws_of_a_window_are_neither_copied_nor_saved(self, tmp_path):
        model = GAN(2, **QUICK | {"density": ParzenWindow(50_000)}).fit(X)
        values = model.score_samples(X[:5])
        save(model, tmp_path / "model.probgen")
        assert (tmp_path / "model.probgen").stat().st_size < 50_000
        assert len(pickle.dumps(model)) < 50_000
        np.testing.assert_array_equal(load(tmp_path / "model.probgen").score_samples(X[:5]), values)

    def test_another_fit_makes_other_draws(self):
        model = GAN(2, **QUICK).fit(X)
        before = model.score_samples(X[:5])
        model.partial_fit(X)
        assert (model.score_samples(X[:5]) != before).all()
        np.testing.assert_array_equal(
            model.score_samples(X[:5]), pickle.loads(pickle.dumps(model)).score_samples(X[:5])
        )

    def test_the_noise_is_that_of_rows_about_draws(self):
        rng = np.random.default_rng(0)
        rows = np.column_stack(
            [rng.standard_normal(500), np.zeros(500)]
        ) + 0.2 * rng.standard_normal((500, 2))
        model = GAN(
            1, **QUICK | {"hidden_layer_sizes": (), "density": AutoDensity(n_draws=4096)}
        ).fit(rows)
        layer = model.generator_.layers[0]
        with torch.no_grad():  # draws on a line, with the distribution of the data
            layer.weight.copy_(torch.tensor([[1.0], [0.0]]))
            layer.bias.zero_()
        model._center, model._scale = np.zeros(2), np.ones(2)
        model._fit_noise(rows)
        assert np.sqrt(model.noise_variance_) == pytest.approx([0.2, 0.2], rel=0.1)

    def test_its_likelihood_is_an_estimate(self):
        assert get_likelihood(GAN()).kind == "estimate"


class TestDraws:
    def test_they_are_decoded_codes(self):
        model = GAN(3, **QUICK).fit(X)
        codes = np.random.default_rng(5).standard_normal((7, 3))
        np.testing.assert_array_equal(
            model.sample(7, random_state=5), model.inverse_transform(codes)
        )

    @pytest.mark.parametrize("prior", ["normal", "uniform"])
    def test_truncation_keeps_codes_near_zero(self, prior):
        model, _ = linear_gan(prior=prior, density="parzen")
        whole = model.sample(20_000, random_state=0).std(axis=0)
        cut = model.set_params(truncation=0.5).sample(20_000, random_state=0)
        # The deviation of a Gaussian within half a deviation of its mean, and of half a uniform
        # range.
        phi, mass = np.exp(-0.125) / np.sqrt(2.0 * np.pi), 0.3829249225480262
        share = np.sqrt(1.0 - phi / mass) if prior == "normal" else 0.5
        np.testing.assert_allclose(cut.std(axis=0), share * whole, rtol=0.03)

    def test_units_of_the_rows_do_not_matter(self):
        moved = X * np.array([1e-3, 1.0, 1e3]) + np.array([0.0, 50.0, -1e4])
        draws = GAN(3, **QUICK).fit(X).sample(50, random_state=1)
        again = GAN(3, **QUICK).fit(moved).sample(50, random_state=1)
        np.testing.assert_allclose(
            again, draws * np.array([1e-3, 1.0, 1e3]) + np.array([0.0, 50.0, -1e4]), rtol=1e-6
        )


class TestTraining:
    def test_history_records_both_networks(self):
        model = GAN(3, **QUICK, encoder=True, loss=NonSaturating(balance_ratio=1.5)).fit(X)
        assert model.history_.loss_names == ["discriminator", "penalty", "generator", "encoder"]
        assert {"real_score", "fake_score", "discriminator_skips", "generator_skips"} <= set(
            model.history_.columns
        )
        assert model.n_iter_ == 3

    @pytest.mark.parametrize("batch_size, n_epochs", [(20, 800), (4, 240)])  # 4000 batches at least
    def test_few_rows_get_more_epochs(self, batch_size, n_epochs):
        model = GAN(3, **QUICK | {"max_iter": 1}, batch_size=batch_size).fit(X[:100])
        assert model.set_params(max_iter=None)._n_epochs(-(-100 // batch_size)) == n_epochs

    def test_the_default_penalty_grows_with_the_features(self):
        assert GAN(**QUICK).fit(X)._penalty_weight == pytest.approx(3 / 20)
        assert GAN(**QUICK, penalty="wgan_gp").fit(X)._penalty_weight == 0.1
        assert GAN(**QUICK, penalty=R1(weight=0.0)).fit(X)._penalty_weight == 0.0

    def test_passes_of_partial_fit_are_epochs(self):
        trainer = Trainer(ema_decay=0.99)
        model = GAN(3, **QUICK, trainer=trainer)
        for _ in range(3):
            model.partial_fit(X)
        assert_same_weights(model, GAN(3, **QUICK, trainer=trainer).fit(X))

    def test_warm_start_resumes(self):
        settings = {"trainer": Trainer(ema_decay=0.99), "warm_start": True}
        twice = GAN(3, **QUICK, **settings).fit(X).fit(X)
        assert_same_weights(twice, GAN(3, **QUICK | {"max_iter": 6}, **settings).fit(X))

    def test_the_model_is_the_average(self):
        settings = {"schedule": "constant"}
        last, average = (
            GAN(3, **QUICK, trainer=Trainer(**settings, ema_decay=d)).fit(X) for d in (None, 0.9)
        )
        state = average._training_state["weights"]
        for name, value in last.generator_.state_dict().items():
            np.testing.assert_array_equal(state[f"generator.{name}"], value)
        assert any((a != b).any() for a, b in zip(weights(last), weights(average)))

    @pytest.mark.parametrize("metric", ["mmd", "frechet"])
    def test_the_best_epoch_of_early_stopping_is_kept(self, metric):
        settings = {"validation_metric": metric, "batch_size": 20, "penalty": None}

        def fit(n_epochs):
            trainer = Trainer(early_stopping=True, n_iter_no_change=30, ema_decay=0.9, tol=0.0)
            return GAN(3, **QUICK | {"max_iter": n_epochs}, **settings, trainer=trainer).fit(X)

        model = fit(25)
        scores = model.history_["validation_score"]
        best = int(np.argmax(scores))
        assert best < 24
        assert_same_weights(model, fit(best + 1))

    def test_an_interrupted_fit_resumes(self, tmp_path):
        def make(**trainer):
            return GAN(
                3,
                **QUICK,
                loss=NonSaturating(balance_ratio=1.2),
                encoder=True,
                trainer=Trainer(ema_decay=0.99, **trainer),
            )

        checkpoint = {"checkpoint": tmp_path, "checkpoint_interval": 0.0}
        broken = make(**checkpoint, callbacks=[Breaker()])
        with pytest.raises(RuntimeError, match="went down"):
            broken.fit(X)
        again, whole = make(**checkpoint).fit(X), make().fit(X)
        assert_same_weights(again, whole)
        assert again.history_["generator_skips"] == whole.history_["generator_skips"]

    def test_constant_rows_raise_a_warning(self):
        with pytest.warns(
            UserWarning, match="X holds one row over and over, so that draws can be nothing but"
        ):
            model = GAN(**QUICK).fit(np.tile([[1.0, -2.0, 5.0]], (50, 1)))
        np.testing.assert_allclose(
            model.sample(20), np.tile([[1.0, -2.0, 5.0]], (20, 1)), atol=0.01
        )
        with pytest.warns(UserWarning, match="effective draws"):  # none is near other rows
            assert np.isfinite(model.score(X))


class TestEncoder:
    def test_codes_are_recovered(self):
        model = GAN(2, **QUICK | {"hidden_layer_sizes": (32,), "max_iter": 150}, encoder=True).fit(
            X
        )
        codes = np.random.default_rng(1).standard_normal((300, 2))
        recovered = model.transform(model.inverse_transform(codes))
        assert np.mean((recovered - codes) ** 2) < 0.2  # 1 for uninformative codes
        residuals = X - model.inverse_transform(model.transform(X))
        assert np.mean(residuals**2 / X.var(axis=0)) < 0.6

    def test_without_one_transform_returns_features(self):
        model = GAN(2, **QUICK).fit(X)
        scaled = torch.from_numpy((X - model._center) / model._scale)
        truth = model.discriminator_.features(scaled).detach().numpy()
        np.testing.assert_allclose(model.transform(X), truth, rtol=1e-6)
        assert model.inverse_transform(np.zeros((1, 2))).shape == (1, 3)
        with pytest.raises(ValueError, match=re.escape("Z must have shape (n, 2); got (1, 3).")):
            model.inverse_transform(np.zeros((1, 3)))


CONV = {
    "architecture": "conv",
    "hidden_layer_sizes": (4, 8),
    "max_iter": 2,
    "device": "cpu",
    "random_state": 0,
}


class TestImages:
    def test_digits(self):
        model = GAN(4, **CONV, augmentation=["translation", "cutout"], density="parzen").fit(IMAGES)
        draws = model.sample(100)
        assert draws.shape == (100, 64)
        assert draws.min() >= 0.0
        assert draws.max() <= 16.0
        assert model.image_shape_ == (8, 8, 1)
        assert model.transform(IMAGES).shape == (200, 32)
        assert np.isfinite(model.score_samples(IMAGES)).all()

    @pytest.mark.parametrize(
        "shape, n_layers", [((28, 28), 3), ((15, 20), 2), ((5, 4), 1)], ids=str
    )
    def test_there_are_as_many_layers_as_an_image_can_be_halved(self, shape, n_layers):
        rows = np.random.default_rng(0).random((20, shape[0] * shape[1]), dtype=np.float32)
        model = GAN(
            4,
            **CONV | {"hidden_layer_sizes": None, "max_iter": 1},
            image_shape=shape,
            density=AutoDensity(n_draws=64),
        )
        assert len(model.fit(rows).discriminator_.layers) == n_layers
        assert model.sample(2).shape == (2, shape[0] * shape[1])

    def test_batch_norm_has_the_statistics_of_the_average(self):
        model = GAN(4, **CONV, density="parzen").fit(IMAGES)
        generator = model.generator_
        with torch.no_grad():
            codes = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
            start = generator.head(codes).reshape(-1, *generator.start)
            norm = batch_norms(generator)[0]
        np.testing.assert_allclose(norm.running_mean, start.mean((0, 2, 3)), atol=0.02)
        np.testing.assert_allclose(norm.running_var, start.var((0, 2, 3)), rtol=0.1)

    @pytest.mark.parametrize("through", ["pickle", "file"])
    def test_copies_draw_alike(self, through, tmp_path):
        model = GAN(4, **CONV, spectral_norm=True, encoder=True, density=ParzenWindow(256)).fit(
            IMAGES
        )
        if through == "pickle":
            twin = pickle.loads(pickle.dumps(model))
        else:
            save(model, tmp_path / "model.probgen")
            twin = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(twin.sample(5), model.sample(5))
        np.testing.assert_array_equal(twin.transform(IMAGES), model.transform(IMAGES))
        assert_same_weights(twin.partial_fit(IMAGES), model.partial_fit(IMAGES))

    def test_early_stopping_scores_with_statistics_of_the_average(self):
        trainer = Trainer(early_stopping=True, ema_decay=0.9)
        model = GAN(4, **CONV, trainer=trainer, density="parzen").fit(IMAGES)
        assert np.isfinite(model.history_["validation_score"]).all()


@pytest.mark.gpu
@pytest.mark.parametrize(
    "parameters",
    [
        {
            "loss": NonSaturating(balance_ratio=1.1),
            "encoder": True,
            "hidden_layer_sizes": (16,),
        },
        {
            "penalty": "wgan_gp",
            "loss": "wasserstein",
            "n_discriminator_steps": 2,
            "instance_noise": 0.1,
        },
        {
            "architecture": "conv",
            "hidden_layer_sizes": (4, 8),
            "spectral_norm": True,
            "augmentation": ["cutout"],
        },
    ],
    ids=["balance", "wgan_gp", "conv"],
)
def test_graphs_train_as_the_eager_loop_does(parameters):
    settings = {
        "max_iter": 4,
        "batch_size": 20,
        "density": ParzenWindow(256),
        "random_state": 0,
    }
    eager, graphed = (
        GAN(
            4,
            **settings,
            **parameters,
            device="cuda",
            trainer=Trainer(ema_decay=0.9, cuda_graph=graph),
        ).fit(IMAGES)
        for graph in (False, True)
    )
    assert eager.history_.columns == graphed.history_.columns
    for name in eager.history_.loss_names:
        np.testing.assert_allclose(graphed.history_[name], eager.history_[name], rtol=1e-3)
    np.testing.assert_allclose(graphed.sample(20), eager.sample(20), rtol=1e-2, atol=0.05)


class TestBadInput:
    @pytest.mark.parametrize(
        "parameters, message",
        [
            (
                {"loss": "bce"},
                (
                    "loss must be one of 'minimax', 'non_saturating', 'least_squares', 'hinge',"
                    " 'wasserstein'"
                ),
            ),
            (
                {"penalty": "r2"},
                "penalty must be one of 'r1', 'wgan_gp'; got 'r2'. Or give an object of",
            ),
            ({"penalty": R1(-1.0)}, "weight must be a finite number >= 0; got -1.0. Or None."),
            (
                {"loss": Minimax(label_smoothing=0.6)},
                "label_smoothing must be a finite number in [0, 0.5]; got 0.6.",
            ),
            (
                {"loss": R1()},
                "got R1(). Or give an object of probgen.options: Minimax(), NonSaturating(), ",
            ),
            (
                {"density": AnnealedImportanceSampling(n_chains=1)},
                "n_chains must be an integer >= 2; got 1.",
            ),
            (
                {"density": AutoDensity(n_temperatures=0)},
                "n_temperatures must be an integer >= 1; got 0.",
            ),
            ({"density": ParzenWindow(0.5)}, "n_draws must be an integer >= 1; got 0.5."),
            (
                {"loss": LeastSquares(balance_ratio=0.5)},
                "balance_ratio must be a finite number >= 1; got 0.5.",
            ),
            ({"instance_noise": -0.1}, "instance_noise must be a finite number >= 0; got -0.1."),
            (
                {"augmentation": "cutout"},
                "augmentation must be a sequence such as ['cutout'], or None; got 'cutout'.",
            ),
            (
                {"augmentation": True},
                "augmentation must be a sequence such as ['cutout'], or None; got True.",
            ),
            (
                {"augmentation": ["flip"]},
                "augmentation must be one of 'brightness', 'translation', 'cutout'; got 'flip'.",
            ),
            ({"prior": "cauchy"}, "prior must be one of 'normal', 'uniform'; got 'cauchy'."),
            ({"truncation": 0.0}, "truncation must be a finite number >= 0.001; got 0.0."),
            ({"architecture": "mlp"}, "architecture must be one of 'dense', 'conv'; got 'mlp'."),
            (
                {"hidden_layer_sizes": 64},
                "hidden_layer_sizes must be a sequence of integers, or None; got 64.",
            ),
            ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes must be an integer >= 1; got 0."),
            ({"density": "kde"}, "density must be one of 'auto', 'ais', 'parzen'; got 'kde'."),
            (
                {"validation_metric": "fid"},
                "validation_metric must be one of 'mmd', 'frechet'; got 'fid'.",
            ),
            ({"n_discriminator_steps": 0}, "n_discriminator_steps must be an integer >= 1; got 0."),
            ({"max_iter": 0}, "max_iter must be an integer >= 1; got 0."),
            (
                {"trainer": Trainer(compile=True)},
                (
                    "penalty='r1' needs second derivatives, which trainer.compile=True does not"
                    " support; leave out one of them."
                ),
            ),
            (
                {"architecture": "conv", "batch_size": 1},
                (
                    "batch_size must be at least 2 with architecture='conv', whose generator"
                    " normalises over it; got 1."
                ),
            ),
        ],
        ids=lambda value: ", ".join(value) if isinstance(value, dict) else None,
    )
    def test_parameters(self, parameters, message):
        model = GAN(**parameters)
        with pytest.raises(ValueError, match=re.escape(message)):
            model.fit(IMAGES)

    @pytest.mark.parametrize(
        "shape, sizes, message",
        [
            (
                (7, 9),
                (32, 64),
                (
                    "architecture='conv' with 2 layers needs images of at least 8 x 8 pixels; got 7"
                    " x 9; name fewer layers in hidden_layer_sizes, or take 'dense'."
                ),
            ),
            (
                (3, 21),
                None,
                (
                    "architecture='conv' with 1 layer needs images of at least 4 x 4 pixels; got 3"
                    " x 21; take 'dense'."
                ),
            ),
            (
                None,
                None,
                (
                    "architecture='conv' with 1 layer needs images of at least 4 x 4 pixels; got 1"
                    " x 63; name image_shape, or take 'dense'."
                ),
            ),
        ],
        ids=["two layers", "one layer", "no shape"],
    )
    def test_images_that_are_too_small(self, shape, sizes, message):
        model = GAN(architecture="conv", image_shape=shape, hidden_layer_sizes=sizes)
        with pytest.raises(ValueError, match=re.escape(message)):
            model.fit(IMAGES[:, :63])

    def test_draws_that_are_not_finite_end_the_training(self):
        model = GAN(
            **QUICK, learning_rate_init=1e4, trainer=Trainer(optimizer="sgd", early_stopping=True)
        )
        with pytest.warns(ConvergenceWarning, match="were put back"):
            model.fit(X)
        assert np.isfinite(model.sample(5)).all()

    def test_too_few_rows_to_hold_out(self):
        model = GAN(**QUICK, trainer=Trainer(early_stopping=True))
        with pytest.raises(
            ValueError, match="early_stopping needs at least 2 rows held out; got 1; raise"
        ):
            model.fit(X[:5])


class TestOptions:
    @pytest.mark.parametrize(
        "setting, option",
        [
            ({"loss__label_smoothing": 0.1}, NonSaturating(label_smoothing=0.1)),
            ({"loss__balance_ratio": 2.0}, NonSaturating(balance_ratio=2.0)),
            ({"penalty__weight": 0.5}, R1(weight=0.5)),
            ({"density__n_chains": 4}, AutoDensity(n_chains=4)),
            ({"density__n_temperatures": 9}, AutoDensity(n_temperatures=9)),
            ({"density__n_draws": 64}, AutoDensity(n_draws=64)),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_settings_are_reached_from_the_string(self, setting, option):
        parameter = next(iter(setting)).partition("__")[0]
        assert repr(getattr(GAN().set_params(**setting), parameter)) == repr(option)

    @pytest.mark.parametrize(
        "loss, setting",
        [
            ("hinge", "label_smoothing"),
            ("wasserstein", "label_smoothing"),
            ("hinge", "balance_ratio"),
            ("wasserstein", "balance_ratio"),
            ("minimax", "balance_ratio"),
        ],
    )
    def test_losses_without_a_target_or_a_ratio_have_no_such_setting(self, loss, setting):
        with pytest.raises(ValueError, match=f"Invalid parameter '{setting}' for estimator"):
            GAN(loss=loss).set_params(**{f"loss__{setting}": 2.0})

    @pytest.mark.parametrize(
        "string, option",
        [
            ({"loss": "hinge"}, {"loss": Hinge()}),
            ({"penalty": "r1"}, {"penalty": R1()}),
            ({"penalty": "wgan_gp"}, {"penalty": WGANGP(weight=0.1)}),
            ({"density": "parzen"}, {"density": ParzenWindow()}),
        ],
        ids=str,
    )
    def test_a_string_stands_for_the_option_with_its_defaults(self, string, option):
        one, other = (GAN(3, **QUICK | parameters).fit(X) for parameters in (string, option))
        assert_same_weights(one, other)
        np.testing.assert_array_equal(one.score_samples(X[:5]), other.score_samples(X[:5]))

    def test_a_search_reaches_a_setting(self):
        search = GridSearchCV(GAN(2, **QUICK), {"penalty__weight": [0.0, 0.5]}, cv=2).fit(X)
        assert search.best_estimator_.penalty.weight in (0.0, 0.5)
        light, heavy = search.cv_results_["mean_test_score"]
        assert light != heavy

    @pytest.mark.parametrize(
        "later",
        [
            {"n_components": 5},
            {"prior": "uniform"},
            {"encoder": True},
            {"density__n_draws": 64, "density__n_chains": 5, "density__n_temperatures": 9},
            {"density": "ais"},
            {"loss": "hinge", "penalty": None},
        ],
        ids=str,
    )
    def test_queries_and_passes_depend_on_the_fit_alone(self, later):
        model, twin = (GAN(2, **QUICK | {"density": AutoDensity(3, 4, 128)}) for _ in range(2))
        model.fit(X).set_params(**later)
        twin.fit(X)
        for name in ("score_samples", "transform", "discriminate", "inverse_transform"):
            rows = X[:5, : 2 if name == "inverse_transform" else 3]
            np.testing.assert_array_equal(getattr(model, name)(rows), getattr(twin, name)(rows))
        for name in ("sample", "likelihood_bounds"):
            answers = (getattr(each, name)(3, random_state=0) for each in (model, twin))
            np.testing.assert_array_equal(*answers)
        name = next(iter(later))
        if name in ("n_components", "prior", "encoder"):
            with pytest.raises(ValueError, match=f"^{name} must stay .* when training is resumed"):
                model.partial_fit(X)
        else:
            assert np.isfinite(model.partial_fit(X).score(X))

    def test_a_further_pass_takes_the_density_that_is_set(self):
        model = GAN(2, **QUICK | {"density": ParzenWindow(128)}).fit(X)
        model.set_params(density__n_draws=64)
        kept = model._with_fitted_parameters()
        assert kept._density_option("parzen").n_draws == 128
        kept = model.partial_fit(X)._with_fitted_parameters()
        assert kept._density_option("parzen").n_draws == 64
        assert model.set_params(density="ais").partial_fit(X).density_ == "ais"
