"""Annealed importance sampling against closed forms, quadrature and enumeration."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import probgen.metrics
from probgen import Autoencoder, GaussianMixture, make_generative_pipeline
from probgen.base import GeneratorMixin
from probgen.estimators._code_density import log_code_density
from probgen.marginal_likelihood import annealing
from probgen.marginal_likelihood.latent_model import (
    LatentModel,
    NumpyLogDensity,
    mixture_log_density,
)
from probgen.metrics import ais, ais_log_likelihood

RNG = np.random.default_rng(0)
WEIGHTS, OFFSET = RNG.standard_normal((5, 2)), np.arange(5.0)
NOISE = np.array([0.3, 0.5, 0.7, 0.4, 0.6])
ROWS = RNG.standard_normal((300, 2)) @ WEIGHTS.T + OFFSET + NOISE * RNG.standard_normal((300, 5))
X = ROWS[:20]

SETTINGS = {
    "n_chains": 32,
    "n_temperatures": 150,
    "n_leapfrog": 5,
    "return_std": True,
    "random_state": 0,
}
QUICK = {"n_chains": 4, "n_temperatures": 20, "n_leapfrog": 3}


def normal_log_prob(values, mean, scale):
    return torch.distributions.Normal(mean, scale).log_prob(values)


class Latent(GeneratorMixin, BaseEstimator):
    """A generator of Gaussian codes; classes, where there are some, move their means."""

    def __init__(self, decode=None, noise=1.0, n_components=2):
        self.decode, self.noise, self.n_components = decode, noise, n_components

    def fit(self, X, y=None):
        self._validate(X, reset=True)
        self.fitted_ = True
        return self

    def _latent_model(self, X, y=None):
        noise = torch.as_tensor(self.noise, dtype=torch.float64)
        classes = torch.zeros(len(X)) if y is None else torch.as_tensor(y)

        def sample_prior(n_chains, generator, rows, classes):
            draws = generator.standard_normal((n_chains, len(rows), self.n_components))
            return torch.from_numpy(draws) + classes[:, None]

        def log_prior(codes, rows, classes):
            return normal_log_prob(codes, classes[:, None], 1.0).sum(-1)

        def log_likelihood(codes, rows, classes):
            return normal_log_prob(rows, self.decode(codes), noise).sum(-1)

        rows = torch.as_tensor(X, dtype=torch.float64)
        return LatentModel(
            (rows, classes),
            self.n_components,
            torch.float64,
            sample_prior,
            log_prior,
            log_likelihood,
        )


def factor_analysis():
    weights, offset = torch.from_numpy(WEIGHTS), torch.from_numpy(OFFSET)
    return Latent(lambda codes: codes @ weights.T + offset, NOISE).fit(X)


def truth_of_factor_analysis(shift=0.0):
    mean = OFFSET + WEIGHTS @ np.full(2, shift)
    return multivariate_normal(mean, WEIGHTS @ WEIGHTS.T + np.diag(NOISE**2)).logpdf(X)


def square():
    """Codes of x are near two distant roots, of unequal mass under a prior with mean 1/4."""
    return Latent(lambda codes: (codes + 0.25) ** 2, 0.1, n_components=1).fit(np.ones((2, 1)))


def truth_of_square(rows):
    codes = np.linspace(-8.0, 8.0, 200_001)
    logs = norm.logpdf(codes) + norm.logpdf(rows, (codes + 0.25) ** 2, 0.1)
    return logsumexp(logs, axis=1) + np.log(codes[1] - codes[0])


def agree(values, errors, truth):
    """Errors are below 3 standard errors, in nearly every row and in the mean over the rows."""
    differences = values - truth
    assert np.mean(np.abs(differences) < 3.0 * errors) >= 0.95
    assert abs(differences.mean()) < 3.0 * np.sqrt(np.sum(errors**2)) / len(errors)


class TestAgainstTruth:
    def test_factor_analysis(self):
        values, errors = ais_log_likelihood(
            factor_analysis(),
            X,
            n_chains=32,
            n_temperatures=300,
            n_leapfrog=5,
            return_std=True,
            random_state=0,
        )
        agree(values, errors, truth_of_factor_analysis())
        assert errors.max() < 0.1

    @pytest.mark.parametrize("step_size", ["auto", 0.2])
    def test_weights_are_unbiased_at_any_number_of_temperatures(self, step_size):
        values, errors = ais_log_likelihood(
            factor_analysis(),
            X,
            n_chains=4096,
            n_temperatures=8,
            n_leapfrog=3,
            step_size=step_size,
            return_std=True,
            random_state=0,
        )
        agree(values, errors, truth_of_factor_analysis())
        assert errors.max() < 0.1

    def test_two_far_modes(self):
        rows = np.array([[1.0], [2.0], [4.0], [0.0]])
        values, errors = ais_log_likelihood(
            square(),
            rows,
            n_chains=256,
            n_temperatures=200,
            n_leapfrog=5,
            return_std=True,
            random_state=0,
        )
        agree(values, errors, truth_of_square(rows))
        assert errors.max() < 0.1

    def test_one_temperature_is_importance_sampling_from_the_prior(self):
        rows = np.array([[1.0], [2.0]])
        values, errors = ais_log_likelihood(
            square(), rows, n_chains=20_000, n_temperatures=1, return_std=True, random_state=0
        )
        codes = np.random.default_rng(1).standard_normal((1_000_000, 1))
        weights = norm.pdf(rows.T, (codes + 0.25) ** 2, 0.1)
        np.testing.assert_allclose(np.exp(values), weights.mean(axis=0), rtol=0.1)
        np.testing.assert_allclose(
            errors, weights.std(axis=0) / weights.mean(axis=0) / np.sqrt(20_000), rtol=0.1
        )

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # of 5 temperatures
    def test_the_expectation_is_below_and_rises_with_temperatures(self):
        truth = truth_of_factor_analysis().mean()
        few, more = (
            ais_log_likelihood(
                factor_analysis(), X, n_temperatures=n, n_chains=4, n_leapfrog=3, random_state=0
            ).mean()
            for n in (5, 50)
        )
        assert few < more < truth

    def test_classes_reach_the_model(self):
        classes = np.arange(20) % 3 - 1.0
        values, errors = ais_log_likelihood(
            factor_analysis(),
            X,
            classes,
            n_chains=64,
            n_temperatures=100,
            n_leapfrog=5,
            return_std=True,
            random_state=0,
        )
        agree(
            values,
            errors,
            np.select(
                [classes == c for c in (-1, 0, 1)],
                [truth_of_factor_analysis(c) for c in (-1, 0, 1)],
            ),
        )

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # of 120 temperatures
    def test_automatic_steps_have_the_documented_acceptance(self, monkeypatch):
        accepted = []
        move = annealing.Annealing._move

        def watched(self, state, *arguments):
            moved, acceptance = move(self, state, *arguments)
            if acceptance.shape[0] == 64:
                accepted.append(acceptance.mean(0))
            return moved, acceptance

        monkeypatch.setattr(annealing.Annealing, "_move", watched)
        scales = np.array([1.0, 5.0])  # the likelihood of some rows is much the narrower
        model = Latent(
            lambda codes: codes.repeat_interleave(2, -1)[..., :1] * torch.tensor([1.0, 100.0])
        ).fit(np.zeros((2, 2)))
        ais_log_likelihood(
            model, scales * np.ones((3, 2)), n_chains=64, n_temperatures=120, random_state=0
        )
        shares = torch.stack(accepted)[50:].mean(0).numpy()
        np.testing.assert_allclose(shares, 0.65, atol=0.08)


class TestAutoencoder:
    def fit(self, rows=ROWS, **parameters):
        settings = {
            "n_components": 2,
            "hidden_layer_sizes": (),
            "max_iter": 25,
            "device": "cpu",
            "random_state": 0,
        }
        return Autoencoder(**settings | parameters).fit(rows)

    def truth(self, model, weights, means, covariances):
        """log p(x) of a linear model whose codes are a mixture of Gaussians."""
        offset = model.inverse_transform(np.zeros((1, 2)))[0]
        W = (model.inverse_transform(np.eye(2)) - offset).T
        parts = [
            np.log(weight)
            + multivariate_normal(
                offset + W @ mean, W @ covariance @ W.T + np.diag(model.noise_variance_)
            ).logpdf(X)
            for weight, mean, covariance in zip(weights, means, covariances)
        ]
        return logsumexp(parts, axis=0)

    @pytest.mark.parametrize("n_components", [1, 3])
    def test_a_linear_one_has_a_density_in_closed_form(self, n_components):
        model = self.fit(latent_density=GaussianMixture(n_components, reg_covar=0.01))
        prior = model.latent_density_
        values, errors = ais_log_likelihood(model, X, **SETTINGS)
        agree(values, errors, self.truth(model, prior.weights_, prior.means_, prior.covariances_))
        assert errors.max() < 0.2

    def test_the_density_of_codes_may_be_any_generator(self):
        model = self.fit(
            latent_density=make_generative_pipeline(StandardScaler(), GaussianMixture())
        )
        scaler, prior = (step for _, step in model.latent_density_.steps)
        mean = scaler.mean_ + scaler.scale_ * prior.means_[0]
        covariance = np.outer(scaler.scale_, scaler.scale_) * prior.covariances_[0]
        values, errors = ais_log_likelihood(model, X, **SETTINGS | {"n_temperatures": 100})
        agree(values, errors, self.truth(model, [1.0], [mean], [covariance]))
        assert errors.max() < 0.25

    def test_probabilities_of_binary_rows_sum_to_one(self):
        rows = (RNG.random((200, 1)) + 0.3 * RNG.standard_normal((200, 4)) > 0.5).astype(np.float64)
        model = self.fit(
            rows, loss="bernoulli", hidden_layer_sizes=(8,), max_iter=30, learning_rate_init=0.01
        )
        every = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
        # The codes of so few different rows are islands, between which no chain moves: it takes
        # many.
        values, errors = ais_log_likelihood(
            model, every, **SETTINGS | {"n_chains": 512, "n_temperatures": 30}
        )
        masses = np.exp(values)
        assert abs(masses.sum() - 1.0) < 3.0 * np.sqrt(np.sum((masses * errors) ** 2))
        assert np.sqrt(np.sum((masses * errors) ** 2)) < 0.05

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # of 5 temperatures
    def test_precision_is_that_of_the_rows(self):
        model = self.fit(ROWS.astype(np.float32))
        values = ais_log_likelihood(
            model, X[:4].astype(np.float32), n_temperatures=5, random_state=0
        )
        assert values.dtype == np.float32
        assert np.isfinite(values).all()

    @pytest.mark.gpu
    def test_on_a_gpu(self):
        model = self.fit(device="cuda", latent_density=GaussianMixture(3, reg_covar=0.01))
        prior = model.latent_density_
        values, errors = ais_log_likelihood(model, X, **SETTINGS)
        agree(values, errors, self.truth(model, prior.weights_, prior.means_, prior.covariances_))


@pytest.mark.filterwarnings("ignore:.* effective draws")  # of 4 chains
class TestRandomness:
    def test_a_seed_fixes_the_result(self):
        model = factor_analysis()
        first, again, other = (
            ais_log_likelihood(model, X, random_state=seed, **QUICK) for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).all()

    def test_rows_have_noise_of_their_own(self):
        values = ais_log_likelihood(
            factor_analysis(), np.tile(X[:1], (20, 1)), random_state=0, **QUICK
        )
        assert len(np.unique(values)) == 20

    def test_a_generator_moves_on(self):
        generator = np.random.default_rng(0)
        first, second = (
            ais_log_likelihood(factor_analysis(), X, random_state=generator, **QUICK) for _ in "ab"
        )
        assert (first != second).all()

    @pytest.mark.parametrize("numbers", [1, 500])
    def test_blocks_do_not_matter(self, numbers, monkeypatch):
        together = ais_log_likelihood(
            factor_analysis(), X, random_state=0, return_std=True, **QUICK
        )
        monkeypatch.setattr(ais, "WORK_NUMBERS", numbers)
        apart = ais_log_likelihood(factor_analysis(), X, random_state=0, return_std=True, **QUICK)
        np.testing.assert_allclose(apart, together, rtol=1e-9)

    def test_global_generators_are_left_alone(self):
        before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        ais_log_likelihood(factor_analysis(), X, **QUICK)
        np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[1])


class TestCodeDensities:
    CODES = RNG.standard_normal((60, 3)) @ np.diag([1.0, 5.0, 0.1]) + 2.0

    @pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "low_rank"])
    def test_a_mixture_has_the_density_of_the_estimator(self, covariance_type):
        mixture = GaussianMixture(
            2, covariance_type=covariance_type, n_factors=1, random_state=0
        ).fit(self.CODES)
        codes = torch.from_numpy(self.CODES).requires_grad_()
        log_density = log_code_density(
            mixture, self.CODES.mean(axis=0), self.CODES.std(axis=0), "cpu"
        )
        np.testing.assert_allclose(
            log_density(codes).detach().numpy(), mixture.score_samples(self.CODES), rtol=1e-9
        )
        assert torch.autograd.gradcheck(log_density, (codes[:5],))

    def test_difference_quotients_are_near_the_gradient(self):
        density = GaussianMixture(2, random_state=0).fit(self.CODES)
        arguments = density.score_samples, self.CODES.mean(axis=0), self.CODES.std(axis=0)
        numeric, exact = (torch.from_numpy(self.CODES[None]).requires_grad_() for _ in range(2))
        values = NumpyLogDensity.apply(numeric, *arguments)
        np.testing.assert_allclose(
            values[0].detach(), density.score_samples(self.CODES), rtol=1e-12
        )
        covariances = torch.from_numpy(density.covariances_)
        truth = mixture_log_density(
            torch.from_numpy(density.weights_), torch.from_numpy(density.means_), covariances
        )
        factors = torch.linspace(1.0, 2.0, 60, dtype=torch.float64)
        (values * factors).sum().backward()
        (truth(exact) * factors).sum().backward()
        np.testing.assert_allclose(
            numeric.grad.numpy() * self.CODES.std(axis=0),
            exact.grad.numpy() * self.CODES.std(axis=0),
            atol=0.01,
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_there_is_nothing_far_away(self, value):
        codes = torch.tensor([[0.0, value], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
        density = GaussianMixture().fit(RNG.standard_normal((50, 2)))
        values = NumpyLogDensity.apply(codes, density.score_samples, np.zeros(2), np.ones(2))
        assert torch.isneginf(values[0])
        assert torch.isfinite(values[1])


class TestBadInput:
    @pytest.mark.parametrize(
        "settings, message",
        [
            ({"n_chains": 1}, "n_chains must be an integer >= 2; got 1"),
            ({"n_temperatures": 0}, "n_temperatures must be an integer >= 1; got 0"),
            ({"n_temperatures": 1e3}, "n_temperatures must be an integer >= 1; got 1000.0"),
            ({"n_leapfrog": 0}, "n_leapfrog must be an integer >= 1; got 0"),
            ({"step_size": 0.0}, r"step_size must be a finite number >= 1e-06; got 0.0. Or 'auto'"),
            (
                {"step_size": "tuned"},
                r"step_size must be a finite number >= 1e-06; got 'tuned'. Or 'auto'",
            ),
            ({"random_state": -1}, "random_state must be None, an integer >= 0"),
        ],
    )
    def test_numbers(self, settings, message):
        model = factor_analysis()
        with pytest.raises(ValueError, match=message):
            ais_log_likelihood(model, X, **settings)

    @pytest.mark.parametrize(
        "kind", [GaussianMixture(), make_pipeline(StandardScaler(), Autoencoder()), None]
    )
    def test_no_latent_variables(self, kind):
        with pytest.raises(ValueError, match="estimator must be a generator with latent variables"):
            ais_log_likelihood(kind, X)

    def test_unfitted(self):
        with pytest.raises(NotFittedError):
            ais_log_likelihood(Autoencoder(), X)

    def test_rows(self):
        model = factor_analysis()
        with pytest.raises(ValueError, match="X has 4 features"):
            ais_log_likelihood(model, X[:, :4])


def test_the_package_opens_without_torch():
    code = (
        "import sys, probgen.metrics; print({'torch', 'pyro'} & set(sys.modules),"
        " *dir(probgen.metrics))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, *names = done.stdout.split()
    assert loaded == "set()"
    assert set(probgen.metrics.__all__) <= set(names)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'fid'"):
        probgen.metrics.fid  # noqa: B018
