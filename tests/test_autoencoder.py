"""Variants of autoencoders against closed forms; densities against known ones and enumeration."""

import itertools
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV

from probgen import (
    Autoencoder,
    GaussianMixture,
    GenerativePipeline,
    RowBlocks,
    Trainer,
    get_likelihood,
)
from probgen.distributions.observation import bernoulli_log_prob, gaussian_log_prob
from probgen.estimators._code_density import gaussians_of
from probgen.estimators._reconstruction import ReconstructionObjective
from probgen.estimators.autoencoder import _shrink
from probgen.marginal_likelihood.importance import log_likelihood
from probgen.marginal_likelihood.modes import CodePrior, Observation
from probgen.options import (
    L1,
    Contractive,
    GaussianCorruption,
    KLSparsity,
    MaskingCorruption,
    SaltAndPepperCorruption,
)
from probgen.training.neural_generator import FitContext
from probgen.training.rows import open_rows

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 5)) @ RNG.standard_normal((5, 5)) + np.arange(5.0)


def fit(rows=X, **parameters):
    settings = {
        "n_components": 2,
        "hidden_layer_sizes": (8,),
        "max_iter": 5,
        "device": "cpu",
        "random_state": 0,
    }
    return Autoencoder(**settings | parameters).fit(rows)


def objective(model, **changes):
    made = model._make_objective(FitContext(open_rows(X), 64, n_batches=1, max_iter=1))
    made.noise = torch.Generator().manual_seed(0)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


class TestLoss:
    """Losses of the engine against NumPy, on scaled rows."""

    def scaled(self, model, rows=X):
        return (rows - model._mean) / model._scale

    def outputs(self, model, rows=X):
        codes = model.transform(rows)
        with torch.no_grad():
            return codes, model.decoder_(torch.from_numpy(codes)).numpy()

    def test_networks_and_numbers_suffice_to_make_one(self):
        """Codes 3 x and reconstructions 0.5 z of scaled rows x, with an L1 penalty."""
        encoder, decoder = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
        torch.nn.init.constant_(encoder.weight, 3.0)
        torch.nn.init.constant_(decoder.weight, 0.5)
        made = ReconstructionObjective(
            encoder, decoder, center=torch.ones(1), scale=2.0, penalty=L1(weight=0.1)
        )
        loss, terms = made.loss(torch.tensor([[5.0], [-1.0]]))  # 2 and -1 when scaled
        assert terms["reconstruction"].item() == pytest.approx(0.5**2 * (2.0**2 + 1.0**2) / 2.0)
        assert loss.item() == pytest.approx(0.625 + 0.1 * 3.0 * (2.0 + 1.0) / 2.0)

    def test_columns_are_scaled_by_their_means_and_deviations(self):
        model = fit(noise_fraction=0.0)
        np.testing.assert_allclose(model._mean, X.mean(axis=0))
        np.testing.assert_allclose(model._scale, X.std(axis=0))

    def test_pixels_are_scaled_by_one_deviation(self):
        images = X[:, :4]
        model = fit(images, noise_fraction=0.0, image_shape=(2, 2))
        np.testing.assert_allclose(model._scale, np.sqrt(images.var(axis=0).mean()))

    def test_scaling_survives_a_far_origin(self):
        model = fit(X + 1e8, noise_fraction=0.0)
        np.testing.assert_allclose(model._scale, X.std(axis=0), rtol=1e-6)

    @pytest.mark.parametrize("loss, power", [("squared_error", 2), ("absolute_error", 1)])
    def test_of_real_rows(self, loss, power):
        model = fit(loss=loss)
        _, outputs = self.outputs(model)
        truth = np.mean(np.abs(self.scaled(model) - outputs) ** power)
        assert objective(model).loss(torch.from_numpy(X)).item() == pytest.approx(truth)
        deviations = (X - model.reconstruct(X)) / model._scale
        errors = np.mean(np.abs(deviations) ** power, axis=1)
        np.testing.assert_allclose(model.reconstruction_error(X), errors)

    def test_errors_of_images_are_in_units_of_X(self):
        images = X[:, :4]
        model = fit(images, image_shape=(2, 2))
        errors = np.mean((images - model.reconstruct(images)) ** 2, axis=1)
        np.testing.assert_allclose(model.reconstruction_error(images), errors)

    def test_of_binary_rows(self):
        rows = (X > X.mean()).astype(np.float64)
        model = fit(rows, loss="bernoulli")
        means = model.reconstruct(rows)
        truth = -np.mean(rows * np.log(means) + (1 - rows) * np.log(1 - means), axis=1)
        np.testing.assert_allclose(model.reconstruction_error(rows), truth)
        assert objective(model).loss(torch.from_numpy(rows)).item() == pytest.approx(truth.mean())

    def test_l1(self):
        model = fit(penalty=L1(weight=0.3))
        codes, outputs = self.outputs(model)
        loss, terms = objective(model).loss(torch.from_numpy(X))
        assert terms["penalty"].item() == pytest.approx(np.abs(codes).sum(axis=1).mean())
        reconstruction = np.mean((self.scaled(model) - outputs) ** 2)
        assert loss.item() == pytest.approx(reconstruction + 0.3 * terms["penalty"].item())

    def test_kl_sparsity(self):
        model = fit(penalty=KLSparsity(target=0.2))
        codes, _ = self.outputs(model)
        assert ((codes > 0.0) & (codes < 1.0)).all()
        active = codes.mean(axis=0)
        truth = np.sum(0.2 * np.log(0.2 / active) + 0.8 * np.log(0.8 / (1.0 - active)))
        assert objective(model).loss(torch.from_numpy(X))[1]["penalty"].item() == pytest.approx(
            truth
        )

    def test_sparsity_reaches_its_target(self):
        model = fit(
            penalty=KLSparsity(weight=10.0, target=0.1),
            max_iter=100,
            learning_rate_init=0.01,
        )
        np.testing.assert_allclose(model.transform(X).mean(axis=0), 0.1, atol=0.03)

    def test_contraction_is_the_mean_squared_norm_of_the_jacobian(self):
        model = fit(penalty="contractive")
        rows = torch.from_numpy(X[:1])
        inputs = torch.from_numpy((X[:1] - model._mean) / model._scale)
        jacobian = torch.autograd.functional.jacobian(lambda row: model.encoder_(row)[0], inputs)
        truth = jacobian.square().sum().item()
        many = objective(model).loss(rows.expand(20_000, 5))[1]["penalty"].item()
        assert many == pytest.approx(truth, rel=0.05)

    def test_contraction_trains_the_encoder(self):
        slack, tight = (fit(penalty=Contractive(weight), max_iter=60) for weight in (0.0, 10.0))
        assert np.ptp(tight.transform(X)) < 0.2 * np.ptp(slack.transform(X))


class TestCorruption:
    def damaged(self, corruption, rows, **settings):
        model = fit(rows[:200], corruption=corruption, noise_fraction=0.0, **settings)
        made = objective(model).train()
        return made._corrupt(torch.from_numpy(rows)).numpy()

    ROWS = np.random.default_rng(1).uniform(1.0, 3.0, size=(20_000, 4)) * [1.0, 2.0, 0.5, 1.0]
    IMAGES: ClassVar = {"image_shape": (2, 2)}

    def test_gaussian_noise_has_its_scale_in_deviations_of_the_column(self):
        noise = self.damaged(GaussianCorruption(scale=0.7), self.ROWS) - self.ROWS
        truth = 0.7 * self.ROWS[:200].std(axis=0)
        np.testing.assert_allclose(noise.std(axis=0), truth, rtol=0.03)
        np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.03)

    def test_masking_hides_its_fraction(self):
        damaged = self.damaged(MaskingCorruption(fraction=0.4), self.ROWS)
        hidden = np.isclose(damaged, self.ROWS[:200].mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(hidden.mean(axis=0), 0.4, atol=0.02)
        np.testing.assert_array_equal(damaged[~hidden], self.ROWS[~hidden])

    def test_salt_and_pepper_take_the_ends_of_the_range_of_the_column(self):
        damaged = self.damaged(SaltAndPepperCorruption(fraction=0.4), self.ROWS)
        low, high = self.ROWS[:200].min(axis=0), self.ROWS[:200].max(axis=0)
        np.testing.assert_allclose((damaged == low).mean(axis=0), 0.2, atol=0.02)
        np.testing.assert_allclose((damaged == high).mean(axis=0), 0.2, atol=0.02)

    def test_images_are_damaged_in_units_of_X(self):
        noise = self.damaged(GaussianCorruption(scale=0.7), self.ROWS, **self.IMAGES) - self.ROWS
        np.testing.assert_allclose(noise.std(axis=0), 0.7, rtol=0.03)
        hidden = self.damaged(MaskingCorruption(fraction=0.4), self.ROWS, **self.IMAGES) == 0.0
        np.testing.assert_allclose(hidden.mean(axis=0), 0.4, atol=0.02)
        damaged = self.damaged(SaltAndPepperCorruption(fraction=0.4), self.ROWS, **self.IMAGES)
        for extreme in (self.ROWS[:200].min(), self.ROWS[:200].max()):
            np.testing.assert_allclose((damaged == extreme).mean(axis=0), 0.2, atol=0.02)

    def test_rows_are_corrupted_in_training_only(self):
        rows = torch.from_numpy(self.ROWS)
        model = fit(self.ROWS[:200], corruption="masking")
        assert objective(model).eval()._corrupt(rows) is rows


class TestNetworks:
    def test_a_linear_one_spans_the_subspace_of_pca(self):
        digits = load_digits().data
        model = Autoencoder(
            4,
            hidden_layer_sizes=(),
            noise_fraction=0.0,
            max_iter=200,
            batch_size=32,
            learning_rate_init=0.003,
            trainer=Trainer(schedule="cosine"),
            image_shape=(8, 8),
            device="cpu",
            random_state=0,
        ).fit(digits)
        decoded = model.inverse_transform(np.vstack([np.zeros(4), np.eye(4)]))
        learned, _ = np.linalg.qr((decoded[1:] - decoded[0]).T)
        truth = PCA(4).fit(digits).components_.T
        cosines = np.linalg.svd(learned.T @ truth, compute_uv=False)
        assert np.arccos(np.clip(cosines.min(), -1.0, 1.0)) < 1e-2

    def test_tied_weights_stay_tied(self):
        model = fit(tied_weights=True, max_iter=3)
        for weight, mirrored in zip(
            [layer.weight for layer in model.encoder_ if hasattr(layer, "weight")],
            list(model.decoder_.weights)[::-1],
        ):
            assert weight is mirrored

    def test_convolutions_take_images(self):
        images = load_digits().images[:200].reshape(200, 64)
        model = fit(images, architecture="conv", hidden_layer_sizes=(4, 8), max_iter=2)
        assert model.reconstruct(images).shape == images.shape
        assert any(isinstance(layer, torch.nn.Conv2d) for layer in model.encoder_.modules())

    def test_own_networks_are_copied(self):
        encoder, decoder = torch.nn.Linear(5, 2), torch.nn.Linear(2, 5)
        before = [p.detach().clone() for p in (*encoder.parameters(), *decoder.parameters())]
        model = fit(encoder=encoder, decoder=decoder)
        assert model.encoder_ is not encoder
        for parameter, old in zip((*encoder.parameters(), *decoder.parameters()), before):
            assert torch.equal(parameter, old)
        assert not torch.equal(model.encoder_.weight.float(), encoder.weight)

    def test_units_do_not_matter(self):
        small, large = fit(X), fit(1000.0 * X)
        np.testing.assert_allclose(
            1000.0 * small.reconstruct(X), large.reconstruct(1000.0 * X), rtol=1e-6
        )
        np.testing.assert_allclose(small.history_["loss"], large.history_["loss"], rtol=1e-6)


class TestDensity:
    def test_a_linear_one_with_a_gaussian_prior_has_the_density_of_factor_analysis(self):
        model = fit(
            hidden_layer_sizes=(),
            latent_density=GaussianMixture(1),
            n_importance_samples=512,
            max_iter=100,
        )
        offset = model.inverse_transform(np.zeros((1, 2)))[0]
        W = (model.inverse_transform(np.eye(2)) - offset).T
        prior = model.latent_density_
        mean = offset + W @ prior.means_[0]
        covariance = W @ prior.covariances_[0] @ W.T + np.diag(model.noise_variance_)
        truth = multivariate_normal(mean, covariance).logpdf(X)
        values, errors = model.score_samples(X, return_std=True)
        np.testing.assert_allclose(values, truth, atol=0.05)
        assert np.mean(np.abs(values - truth) < 3.0 * errors) > 0.95
        # The proposal is heavier than this Gaussian posterior, but no worse than plain draws: its
        # error is known.
        assert errors.max() < 0.1

    def test_more_draws_tighten_the_estimate(self):
        model = fit(max_iter=30)
        few = model.set_params(n_importance_samples=16).score_samples(X, return_std=True)[1].mean()
        many = (
            model.set_params(n_importance_samples=1024).score_samples(X, return_std=True)[1].mean()
        )
        assert many < few / 4.0

    def test_binary_rows_have_probabilities_that_sum_to_one(self):
        rows = (RNG.random((200, 1)) + 0.3 * RNG.standard_normal((200, 5)) > 0.5).astype(np.float64)
        model = fit(
            rows, loss="bernoulli", n_importance_samples=2**15, max_iter=40, learning_rate_init=0.01
        )
        every = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
        masses = np.exp(model.score_samples(every))
        assert masses.sum() == pytest.approx(1.0, abs=0.02)
        assert get_likelihood(model).measure == "counting"
        draws = model.sample(20_000, random_state=1)
        shares = [(draws == row).all(axis=1).mean() for row in every]
        np.testing.assert_allclose(shares, masses, atol=0.015)

    def test_grey_values_have_a_gaussian_model_of_their_means(self):
        rows = RNG.random((200, 5))
        model = fit(rows, loss="bernoulli")
        assert get_likelihood(model).measure == "lebesgue"
        assert np.isfinite(model.score_samples(rows)).all()

    def test_the_noise_is_that_of_held_out_rows(self):
        settings = {"hidden_layer_sizes": (64,), "max_iter": 200, "learning_rate_init": 0.01}
        grown, seen = fit(X[:200], **settings), fit(X[:200], noise_fraction=0.0, **settings)
        left = np.mean(((X[:200] - seen.reconstruct(X[:200])) / seen._scale) ** 2)
        shares = seen.noise_variance_ / seen._scale**2
        assert shares.mean() == pytest.approx(left, rel=1e-3)
        assert grown.noise_variance_.mean() > seen.noise_variance_.mean()

    def test_a_nearly_constant_feature_gets_a_share_of_the_mean_noise(self):
        squares = RNG.standard_normal((400, 6)) ** 2 * np.array([1.0, 1.0, 1.0, 4.0, 4.0, 0.0])
        halves = np.array([squares[::2].sum(axis=0), squares[1::2].sum(axis=0)])
        np.testing.assert_allclose(
            _shrink(halves, 400, 1e-4), squares.mean(axis=0) + 1e-4
        )  # still in both halves
        squares[7, 5] = 1.0
        halves = np.array([squares[::2].sum(axis=0), squares[1::2].sum(axis=0)])

        def misfit(
            share,
        ):  # minus twice the log-likelihood of each half under the other's variances
            total = 0.0
            for own, other in [(squares[::2], squares[1::2]), (squares[1::2], squares[::2])]:
                variances = other.mean(axis=0)
                variances = (1.0 - share) * variances + share * variances.mean() + 1e-4
                total -= 2.0 * norm(scale=np.sqrt(variances)).logpdf(np.sqrt(own)).sum()
            return total

        share = min([0.0, *np.logspace(-5.0, 0.0, 11)], key=misfit)
        assert share > 0.0
        variances = squares.mean(axis=0)
        truth = (1.0 - share) * variances + share * variances.mean() + 1e-4
        np.testing.assert_allclose(_shrink(halves, 400, 1e-4), truth)

    def test_the_default_density_has_enough_rows_for_its_covariances(self):
        assert fit(n_components=4, max_iter=1).latent_density_.n_components == 10
        assert fit(n_components=30, max_iter=1).latent_density_.n_components == 2

    def test_draws_scatter_about_their_means(self):
        model = fit(max_iter=20)
        means, draws = (draw(5000, random_state=3) for draw in (model.sample_mean, model.sample))
        np.testing.assert_allclose((draws - means).var(axis=0), model.noise_variance_, rtol=0.1)

    def test_any_generator_can_be_the_density_of_the_codes(self):
        chosen = GaussianMixture(3, covariance_type="diag", random_state=5)
        model = fit(latent_density=chosen)
        codes_seen = model.latent_density_
        assert not hasattr(chosen, "means_")
        assert codes_seen.covariance_type == "diag"
        assert codes_seen.n_features_in_ == 2

    def test_a_pipeline_as_density_of_codes_is_approximated_by_a_mixture(self):
        mixture = GaussianMixture(5, random_state=0)
        model = fit(max_iter=20, latent_density=GenerativePipeline([("mixture", mixture)]))
        values, errors = model.score_samples(X, return_std=True)
        plain = fit(max_iter=20, latent_density=mixture)
        truth = plain.set_params(n_importance_samples=2**12).score_samples(X)
        assert np.mean(np.abs(values - truth) < 3.0 * errors) > 0.95
        assert np.mean(values - truth) == pytest.approx(0.0, abs=0.05)

    def test_four_draws_do_not_know_their_error(self):
        model = fit(n_importance_samples=4)
        with pytest.warns(UserWarning, match=r"300 of 300 rows .* raise n_importance_samples") as r:
            _, errors = model.score_samples(X, return_std=True)
        assert len(r) == 1
        assert np.isinf(errors).all()


class TestEstimates:
    """The sampler alone, where the integral is known."""

    def test_a_density_of_codes_that_is_narrow_where_the_row_is_silent(self):
        # The decoder shows two of four numbers of a code; the others have a narrow place of their
        # own in each component.
        rng = np.random.default_rng(2)
        density = GaussianMixture(
            6,
            weights_init=np.full(6, 1.0 / 6.0),
            means_init=np.column_stack([rng.normal(size=(6, 2)), 10.0 * rng.normal(size=(6, 2))]),
            precisions_init=np.tile(np.diag([1.0, 1.0, 1e4, 1e4]), (6, 1, 1)),
        )
        means, spread = density.means_init, np.array([1.0, 1.0, 0.01, 0.01])
        codes = means[rng.integers(6, size=4000)] + spread * rng.normal(size=(4000, 4))
        density.fit(codes)
        variance = torch.tensor([0.3, 0.3], dtype=torch.float64)
        rows = torch.from_numpy(codes[:200, :2] + np.sqrt(0.3) * rng.normal(size=(200, 2)))
        values, errors = log_likelihood(
            rows,
            torch.zeros(200, 4, dtype=torch.float64),
            Observation(
                lambda codes: codes[:, :2],
                lambda X, outputs: gaussian_log_prob(X, outputs, variance),
                lambda X, outputs: ((X - outputs) / variance, torch.ones_like(outputs) / variance),
            ),
            CodePrior(density.score_samples, density.sample, *gaussians_of(density)),
            n_samples=128,
        )
        parts = [
            np.log(weight) + multivariate_normal(m[:2], c[:2, :2] + 0.3 * np.eye(2)).logpdf(rows)
            for weight, m, c in zip(density.weights_, density.means_, density.covariances_)
        ]
        differences = values.numpy() - np.logaddexp.reduce(parts)
        assert np.mean(np.abs(differences) < 3.0 * errors.numpy()) > 0.95
        assert np.abs(differences).mean() < 0.1
        assert errors.max() < 0.3

    def test_two_far_modes(self):
        # x = |z| + noise: z and -z explain a row alike, and a proposal about one of them misses
        # half.
        density = GaussianMixture(1).fit(RNG.standard_normal((5000, 1)))
        prior = CodePrior(density.score_samples, density.sample, *gaussians_of(density))
        variance = torch.tensor([0.01], dtype=torch.float64)
        rows = torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64)
        values, _ = log_likelihood(
            rows,
            rows.clone(),
            Observation(
                torch.abs,
                lambda X, outputs: gaussian_log_prob(X, outputs, variance),
                lambda X, outputs: ((X - outputs) / variance, torch.ones_like(outputs) / variance),
            ),
            prior,
            n_samples=2**15,
        )
        grid = np.linspace(-8.0, 8.0, 160_001)[:, np.newaxis]
        masses = np.exp(prior.score_samples(grid))
        kernel = np.exp(-0.5 * (rows.numpy().T - np.abs(grid)) ** 2 / 0.01) / np.sqrt(
            2.0 * np.pi * 0.01
        )
        truth = np.log(np.trapezoid(masses[:, np.newaxis] * kernel, grid.ravel(), axis=0))
        np.testing.assert_allclose(values, truth, atol=0.1)

    def test_observation_models_are_those_of_scipy(self):
        rows, means = RNG.random((4, 3)), RNG.random((4, 3))
        variance = np.array([0.1, 1.0, 10.0])
        values = gaussian_log_prob(*map(torch.from_numpy, (rows, means, variance)))
        truth = [multivariate_normal(m, np.diag(variance)).logpdf(x) for x, m in zip(rows, means)]
        np.testing.assert_allclose(values, truth)
        binary, logits = (rows > 0.5).astype(float), means
        p = 1.0 / (1.0 + np.exp(-logits))
        truth = np.log(np.where(binary == 1.0, p, 1.0 - p)).sum(axis=1)
        np.testing.assert_allclose(
            bernoulli_log_prob(*map(torch.from_numpy, (binary, logits))), truth
        )


def test_it_learns_from_blocks_of_rows():
    model = fit(RowBlocks([X[:100], X[100:]]), max_iter=30)
    whole = fit(X, max_iter=30)
    assert model.reconstruction_error(X).mean() == pytest.approx(
        whole.reconstruction_error(X).mean(), rel=0.3
    )


def test_partial_fit_learns():
    model = clone(fit())
    first = model.partial_fit(X).reconstruction_error(X).mean()
    for _ in range(30):
        model.partial_fit(X)
    assert model.reconstruction_error(X).mean() < 0.8 * first
    assert model.n_iter_ == 31


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"n_components": 0}, "n_components must be an integer >= 1; got 0"),
        ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes must be an integer >= 1; got 0"),
        ({"hidden_layer_sizes": 8}, "hidden_layer_sizes must be a sequence of integers; got 8"),
        ({"activation": "rely"}, "activation must be one of 'relu', .*; got 'rely'"),
        ({"architecture": "cnn"}, "architecture must be one of 'dense', 'conv'; got 'cnn'"),
        (
            {"loss": "mse"},
            "loss must be one of 'squared_error', 'absolute_error', 'bernoulli'; got 'mse'",
        ),
        (
            {"corruption": "blur"},
            "corruption must be one of 'gaussian', 'masking', 'salt_and_pepper'; got 'blur'",
        ),
        (
            {"corruption": MaskingCorruption(fraction=2.0)},
            r"fraction must be a finite number in \[0, 1\]; got 2.0",
        ),
        ({"penalty": "l2"}, "penalty must be one of 'kl_sparsity', 'l1', 'contractive'; got 'l2'"),
        (
            {"noise_fraction": 1.0},
            r"noise_fraction must be a finite number in \[0, 0.99\]; got 1.0",
        ),
        ({"n_importance_samples": 3}, "n_importance_samples must be an integer >= 4; got 3"),
        ({"encoder": "mlp"}, "encoder must be a torch.nn.Module, or None; got 'mlp'"),
        (
            {"encoder": torch.nn.Linear(4, 2)},
            r"encoder must map rows of shape \(n, 5\) to \(n, 2\); Linear raised",
        ),
        (
            {"decoder": torch.nn.Linear(2, 4)},
            r"decoder must map rows of shape \(n, 2\) to \(n, 5\); got shape \(n, 4\)",
        ),
        (
            {"encoder": torch.nn.ReLU()},
            "encoder must have parameters to train; got ReLU, which has none",
        ),
        (
            {"tied_weights": True, "architecture": "conv"},
            "tied_weights=True needs architecture='dense'",
        ),
        ({"loss": "bernoulli"}, r"loss='bernoulli' needs values in \[0, 1\]; X holds"),
        ({"architecture": "conv", "image_shape": (2, 3)}, "image_shape"),
        ({"latent_density": "gmm"}, "latent_density must be a generator, or None; got 'gmm'"),
        ({"latent_density": GaussianMixture}, "latent_density must be a generator, or None; got <"),
        ({"latent_density": PCA()}, r"latent_density must be a generator, or None; got PCA\(\)"),
    ],
    ids=str,
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        fit(**parameters)


@pytest.mark.parametrize(
    "start, setting, option",
    [
        ({"corruption": "gaussian"}, {"corruption__scale": 0.1}, GaussianCorruption(scale=0.1)),
        ({"corruption": "masking"}, {"corruption__fraction": 0.5}, MaskingCorruption(0.5)),
        (
            {"corruption": "salt_and_pepper"},
            {"corruption__fraction": 0.2},
            SaltAndPepperCorruption(0.2),
        ),
        ({"penalty": "l1"}, {"penalty__weight": 0.5}, L1(weight=0.5)),
        ({"penalty": "contractive"}, {"penalty__weight": 0.5}, Contractive(weight=0.5)),
        ({"penalty": "kl_sparsity"}, {"penalty__target": 0.2}, KLSparsity(target=0.2)),
    ],
    ids=str,
)
def test_settings_are_reached_from_the_string(start, setting, option):
    (parameter,) = start
    model = Autoencoder(**start).set_params(**setting)
    assert repr(getattr(model, parameter)) == repr(option)


@pytest.mark.parametrize(
    "start, setting",
    [
        ({"corruption": "gaussian"}, {"corruption__fraction": 0.1}),
        ({"corruption": "masking"}, {"corruption__scale": 0.1}),
        ({"penalty": "l1"}, {"penalty__target": 0.1}),
    ],
    ids=str,
)
def test_an_option_has_no_setting_of_another(start, setting):
    with pytest.raises(ValueError, match=r"Invalid parameter .* for estimator"):
        Autoencoder(**start).set_params(**setting)


def test_a_setting_of_none_says_what_it_needs():
    with pytest.raises(
        ValueError, match="penalty__weight is a setting of an option, but penalty is None"
    ):
        Autoencoder().set_params(penalty__weight=0.1)


def test_a_search_reaches_settings():
    search = GridSearchCV(
        Autoencoder(2, hidden_layer_sizes=(8,), corruption="gaussian", max_iter=2, random_state=0),
        {"corruption__scale": [0.0, 1.0]},
        cv=2,
    ).fit(X)
    clean, noisy = search.cv_results_["mean_test_score"]
    assert clean != noisy


def test_the_observation_model_can_be_chosen():
    bits = (np.random.default_rng(0).random((60, 4)) < 0.5).astype(float)
    settings = {"loss": "bernoulli", "hidden_layer_sizes": (4,), "max_iter": 1, "random_state": 0}
    for observation, measure in (("gaussian", "lebesgue"), ("bernoulli", "counting")):
        model = Autoencoder(1, observation=observation, **settings)
        assert get_likelihood(model).measure == measure
        assert get_likelihood(model.fit(bits)).measure == measure
        assert model.observation_ == observation
    assert Autoencoder(1, **settings).fit(bits).observation_ == "bernoulli"
    with pytest.raises(ValueError, match="observation='bernoulli' needs rows of 0 and 1; X holds"):
        model.fit(0.5 * bits)
    with pytest.raises(ValueError, match="observation='bernoulli' needs a decoder of probabilit"):
        Autoencoder(observation="bernoulli").fit(bits)
