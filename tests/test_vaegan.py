"""VAEGAN: losses against formulas, the density against quadrature, and data with known codes."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from probgen import VAEGAN, GaussianMixture, Trainer, load, make_generative_pipeline, save
from probgen.metrics import ais_log_likelihood, frechet_distance, kernel_mmd
from probgen.options import R1, AnnealedImportanceSampling, NonSaturating
from probgen.training import AdversarialDoctor
from probgen.training.neural_generator import FitContext
from probgen.training.rows import open_rows

RNG = np.random.default_rng(0)
FACTOR = RNG.uniform(-2.0, 2.0, 800)
X = np.column_stack([FACTOR, FACTOR**2, np.sin(FACTOR)]) * [1.0, 10.0, 0.1] + [5.0, 0.0, 0.0]
X += RNG.standard_normal(X.shape) * [0.05, 0.5, 0.005]
SETTINGS = {"hidden_layer_sizes": (32, 32), "device": "cpu", "random_state": 0}


def fit(rows=X, n_components=1, **parameters):
    return VAEGAN(n_components, **SETTINGS | {"max_iter": 10} | parameters).fit(rows)


@pytest.fixture(scope="module")
def learned():
    """A model of the curve."""
    return fit(max_iter=60, batch_size=64, learning_rate_init=3e-3)


def objective_of(model, seed=0):
    objective = model._make_objective(FitContext(open_rows(X), 64, n_batches=1, max_iter=1))
    objective.noise = torch.Generator().manual_seed(seed)
    return objective.train()


class TestLosses:
    MODEL = fit(X[:100], n_components=2, max_iter=3)
    ROWS = torch.from_numpy(X[:64])

    def posterior(self):
        return self.MODEL.encoder_(torch.from_numpy(self.MODEL._scaled(X[:64])))

    def test_divergence_is_that_of_gaussians(self):
        q = torch.distributions.Normal(self.posterior().mean, self.posterior().stddev)
        truth = (
            torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
        )
        _, terms = objective_of(self.MODEL).encoder_loss(self.ROWS)
        assert terms["kl"].item() == pytest.approx(truth.item(), rel=1e-10)

    def test_the_reconstruction_loss_is_zero_for_exact_rows_and_log_two_for_their_mean(self):
        objective = objective_of(self.MODEL)
        scaled = torch.from_numpy(self.MODEL._scaled(X[:64]))
        objective.discriminator = objective.generator = torch.nn.Identity()
        objective.discriminator.features = lambda rows: rows
        assert objective._reconstruction_loss(self.ROWS, scaled).item() == 0.0
        ridge = 1.0 + 0.01 * scaled.square().mean() / scaled.var(0, correction=0).mean()
        mean = scaled.mean(0).expand(64, -1)
        assert objective._reconstruction_loss(self.ROWS, mean).item() == pytest.approx(
            np.log1p(1.0 / ridge.item()), rel=1e-10
        )

    def test_encoder_and_generator_weight_their_terms(self):
        def losses(**parameters):
            objective = objective_of(self.MODEL.set_params(**parameters))
            encoder, terms = objective.encoder_loss(self.ROWS)
            return encoder.item(), terms, objective_of(self.MODEL).generator_loss(self.ROWS).item()

        encoder, terms, alone = losses(beta=0.25, reconstruction_weight=0.0)
        assert encoder == pytest.approx(
            terms["reconstruction"].item() + 0.25 * terms["kl"].item(), rel=1e-10
        )
        once, thrice = (losses(beta=0.25, reconstruction_weight=weight)[2] for weight in (1.0, 3.0))
        assert thrice - alone == pytest.approx(3.0 * (once - alone), rel=1e-10)
        assert once > alone
        self.MODEL.set_params(beta=0.01, reconstruction_weight=1.0)

    def test_half_of_the_generated_rows_are_of_posterior_codes(self):
        """In a batch of copies of one row, the halves follow its posterior and the prior."""
        rows = self.ROWS[:1].expand(20_000, -1)
        codes = objective_of(self.MODEL).codes_for(rows)
        q = self.posterior()
        torch.testing.assert_close(codes[:10_000].mean(0), q.mean[0], atol=0.04, rtol=0.0)
        torch.testing.assert_close(codes[:10_000].std(0), q.stddev[0], atol=0.03, rtol=0.0)
        torch.testing.assert_close(
            codes[10_000:].mean(0), torch.zeros(2).double(), atol=0.04, rtol=0.0
        )
        torch.testing.assert_close(
            codes[10_000:].std(0), torch.ones(2).double(), atol=0.03, rtol=0.0
        )

    def test_codes_for_early_stopping_have_the_moments_of_those_of_the_rows(self):
        rows = torch.from_numpy(X)
        (codes,) = objective_of(self.MODEL)._generator_inputs([(rows,)])[0]
        truth, _ = objective_of(self.MODEL)._draw_posterior(rows)
        error = (truth.var(0) / len(X)).sqrt()
        assert ((codes.mean(0) - truth.mean(0)).abs() < 4.0 * error).all()
        torch.testing.assert_close(codes.T.cov(), truth.T.cov(), rtol=0.3, atol=0.1)

    @pytest.mark.parametrize("network", ["discriminator", "generator", "encoder"])
    def test_a_phase_moves_its_own_network(self, network):
        (phase,) = [phase for phase in objective_of(self.MODEL).phases() if phase.name == network]
        own = {id(parameter) for parameter in getattr(self.MODEL, f"{network}_").parameters()}
        assert {id(parameter) for parameter in phase.parameters} == own


class TestWhatItLearns:
    def test_codes_follow_the_factor_of_the_rows(self, learned):
        codes = learned.transform(X)[:, 0]
        ranks = [np.argsort(np.argsort(values)) for values in (codes, FACTOR)]
        assert abs(np.corrcoef(*ranks)[0, 1]) > 0.97

    def test_rows_are_reconstructed(self, learned):
        left = (learned.inverse_transform(learned.transform(X)) - X) / X.std(axis=0)
        assert np.mean(left**2) < 0.05

    def test_draws_resemble_the_data(self, learned):
        scaler = StandardScaler().fit(X)
        rows, draws = scaler.transform(X), scaler.transform(learned.sample(800, random_state=0))
        assert frechet_distance(rows, draws) < 0.03 * 3.0  # of the total variance
        assert kernel_mmd(rows, draws) < 0.02

    def test_history_has_both_losses_and_the_parts_of_the_encoder(self, learned):
        names = {
            "discriminator",
            "generator",
            "encoder",
            "reconstruction",
            "kl",
            "real_score",
            "fake_score",
            "penalty",
        }
        assert names <= set(learned.history_.columns)
        record = learned.history_[-1]
        assert record["encoder"] == pytest.approx(
            record["reconstruction"] + 0.01 * record["kl"], rel=1e-6
        )
        assert record["reconstruction"] < 0.2 < learned.history_[0]["reconstruction"]

    def test_a_large_beta_empties_the_code(self):
        model = fit(beta=100.0)
        assert model.history_[-1]["kl"] < 0.1
        assert (
            model.transform(X).std() < 0.5
        )  # means; codes are drawn about them, and nearly standard Gaussian
        assert model.latent_density_.sample(4000, random_state=0).std() == pytest.approx(
            1.0, abs=0.15
        )


class TestDensity:
    # Rows whose errors are not known agree with any truth; there may be few.
    @pytest.mark.filterwarnings("ignore:The estimates of .* effective draws")
    def test_agrees_with_quadrature(self, learned):
        """p(x) is the integral of N(x; g(z), noise) p(z), with one number z to integrate over."""
        codes = np.linspace(-6.0, 6.0, 6001)[:, np.newaxis]
        log_weights = learned.latent_density_.score_samples(codes) + np.log(
            codes[1, 0] - codes[0, 0]
        )
        assert np.exp(log_weights).sum() == pytest.approx(1.0, rel=1e-4)
        rows, noise = learned.sample(30, random_state=1), np.sqrt(learned.noise_variance_)
        rows = rows + noise * np.random.default_rng(2).standard_normal(rows.shape)
        logs = norm.logpdf(rows[:, np.newaxis], learned.inverse_transform(codes), noise).sum(axis=2)
        truth = logsumexp(logs + log_weights, axis=1)
        annealed = ais_log_likelihood(
            learned, rows, n_chains=64, n_temperatures=100, return_std=True, random_state=0
        )
        assert learned.density_ == "parzen"
        for values, errors in (annealed, learned.score_samples(rows, return_std=True)):
            assert np.mean(np.abs(values - truth) < 3.0 * errors + 0.01) >= 0.9
            assert np.isfinite(errors).mean() >= 0.8
            assert abs(np.mean(values - truth)) < np.mean(errors)

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # of 3 chains
    def test_annealed_scores_are_bit_identical_in_any_batch(self):
        model = fit(n_components=3, density=AnnealedImportanceSampling(3, 4))
        whole, order = model.score_samples(X[:600]), RNG.permutation(600)
        np.testing.assert_array_equal(model.score_samples(X[:600][order]), whole[order])
        np.testing.assert_array_equal(model.score_samples(X[:1]), whole[:1])

    def test_codes_of_another_density(self):
        density = make_generative_pipeline(StandardScaler(), GaussianMixture(1))
        plain, piped = (fit(latent_density=kind) for kind in (GaussianMixture(1), density))
        assert density.steps[0][1] is not piped.latent_density_.steps[0][1]
        codes = torch.from_numpy(plain.transform(X)).requires_grad_()
        values = [model._log_code_density()(codes) for model in (plain, piped)]
        np.testing.assert_allclose(*(value.detach() for value in values), atol=0.01)
        slopes = [torch.autograd.grad(value.sum(), codes)[0] for value in values]
        np.testing.assert_allclose(*slopes, atol=0.02)
        np.testing.assert_allclose(
            piped.sample(4000).std(axis=0), plain.sample(4000).std(axis=0), rtol=0.1
        )


class TestFitting:
    IMAGES = (load_digits().data[:200] / 16.0).astype(np.float32)

    def test_convolutions(self):
        model = fit(self.IMAGES, 4, architecture="conv", hidden_layer_sizes=(8,), max_iter=2)
        draws, codes = model.sample(5), model.transform(self.IMAGES)
        assert draws.shape == (5, 64)
        assert codes.shape == (200, 4)
        assert codes.dtype == np.float32
        assert draws.min() >= 0.0
        assert draws.max() <= 1.0
        np.testing.assert_array_equal(
            model.get_feature_names_out(), ["vaegan0", "vaegan1", "vaegan2", "vaegan3"]
        )

    def test_passes_over_parts_of_the_rows(self):
        model = VAEGAN(1, **SETTINGS)
        for part in np.array_split(X, 4):
            model.partial_fit(part)
        assert len(model.history_) == 4
        assert len(model._kept_rows) == 800
        assert np.isfinite(model.score(X))

    def test_early_stopping_scores_draws(self):
        trainer = Trainer(early_stopping=True, n_iter_no_change=3, tol=0.0)
        model = fit(max_iter=12, trainer=trainer, validation_metric="frechet")
        scores = np.array(model.history_["validation_score"])
        assert (scores < 0.0).all()
        assert scores.max() > scores[0]

    def test_divergence_raises_a_warning(self):
        trainer = Trainer(optimizer="sgd")
        with pytest.warns(ConvergenceWarning, match="were put back"):
            model = fit(learning_rate_init=1e12, trainer=trainer)
        assert np.isfinite(model.sample(5)).all()

    def test_through_a_file(self, tmp_path):
        model = fit()
        save(model, tmp_path / "model.probgen")
        twin = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(twin.transform(X), model.transform(X))
        np.testing.assert_array_equal(twin.sample(5), model.sample(5))

    def test_a_doctor_measures_it(self):
        model = fit(
            max_iter=4, trainer=Trainer(callbacks=[AdversarialDoctor(every=4, n_clusters=1)])
        )
        record = model.history_[-1]
        assert 0.0 <= record["discriminator_auc"] <= 1.0
        assert record["generator_gradient"] > 0.0


class TestParameters:
    def test_it_has_no_parameters_that_it_fixes(self):
        names = VAEGAN().get_params()
        assert {
            "beta",
            "reconstruction_weight",
            "latent_density",
            "loss",
            "penalty",
            "trainer",
        } <= set(names)
        assert {"encoder", "prior", "truncation", "augmentation"}.isdisjoint(names)

    @pytest.mark.parametrize(
        "parameters, sentence",
        [
            ({"beta": -1.0}, r"beta must be a finite number >= 0; got -1\.0"),
            (
                {"reconstruction_weight": np.nan},
                "reconstruction_weight must be a finite number >= 0; got nan",
            ),
            ({"latent_density": "kde"}, "latent_density must be a generator, or None; got 'kde'"),
            ({"hidden_layer_sizes": ()}, "hidden_layer_sizes must hold at least one width"),
            (
                {"loss": NonSaturating(balance_ratio=2.0)},
                "balance_ratio must be None for a VAEGAN, whose generator has a second loss; got",
            ),
            ({"penalty": R1(-1.0)}, "weight must be a finite number >= 0"),
        ],
        ids=["beta", "weight", "density", "widths", "balance", "penalty"],
    )
    def test_bad_values_raise_before_any_work(self, parameters, sentence):
        model = VAEGAN(**parameters)
        with pytest.raises(ValueError, match=sentence):
            model.fit(X)

    def test_constant_rows_are_drawn_again(self):
        with pytest.warns(UserWarning, match="one row over and over"):
            model = fit(np.tile([[1.0, -2.0, 3.0]], (40, 1)), max_iter=30)
        np.testing.assert_allclose(model.sample(5), np.tile([[1.0, -2.0, 3.0]], (5, 1)), atol=0.1)
