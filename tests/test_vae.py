"""The VAE against factor analysis, enumeration and Pyro's own inference."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Predictive, TraceMeanField_ELBO
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from probgen import VAE, RowBlocks, Trainer, get_likelihood, load, save
from probgen.metrics import ais_log_likelihood
from probgen.options import (
    ELBO,
    AutoLikelihood,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    GaussianMixtureLikelihood,
    Hinge,
    InverseAutoregressiveFlow,
    Laplace,
    MixturePrior,
    SplineFlow,
    VampPrior,
)
from probgen.training.neural_generator import FitContext
from probgen.training.rows import open_rows

RNG = np.random.default_rng(0)
X = (
    RNG.standard_normal((300, 2)) @ RNG.standard_normal((2, 5))
    + 0.5 * RNG.standard_normal((300, 5))
    + np.arange(5.0)
)
BITS = (RNG.random((400, 1)) + 0.3 * RNG.standard_normal((400, 5)) > 0.5).astype(np.float64)
GREY = load_digits().data / 16.0


def fit(rows=X, kind=VAE, **parameters):
    settings = {
        "n_components": 2,
        "hidden_layer_sizes": (16,),
        "max_iter": 5,
        "device": "cpu",
        "random_state": 0,
    }
    return kind(**settings | parameters).fit(rows)


def linear(**parameters):
    """A linear VAE, trained until its encoder matches its decoder."""
    settings = {"hidden_layer_sizes": (), "likelihood": "gaussian"}
    settings |= {"max_iter": 300, "learning_rate_init": 0.01, "n_importance_samples": 2048}
    return fit(**settings | parameters)


def marginal(model):
    """Mean and covariance of rows under a linear model."""
    offset = model.inverse_transform(np.zeros((1, 2)))[0]
    weights = (model.inverse_transform(np.eye(2)) - offset).T
    with torch.no_grad():
        noise = model.observation_.distribution(torch.zeros(5, dtype=torch.float64)).stddev.numpy()
    return offset, weights @ weights.T + np.diag(noise**2)


@pytest.fixture(scope="module")
def linear_model():
    return linear()


class TestLikelihood:
    def test_of_a_linear_model_is_that_of_factor_analysis(self, linear_model):
        truth = multivariate_normal(*marginal(linear_model)).logpdf(X)
        values, errors = linear_model.score_samples(X, return_std=True)
        np.testing.assert_allclose(values, truth, atol=0.05)
        assert np.mean(np.abs(values - truth) < 3.0 * errors + 1e-3) > 0.95
        bounds = linear_model.elbo_samples(X)
        np.testing.assert_allclose(bounds.elbo, bounds.reconstruction - bounds.kl)
        assert (bounds.elbo <= values).all()
        assert (
            bounds.elbo.mean()
            < values.mean()
            <= truth.mean() + 3.0 * errors.mean() / np.sqrt(len(X))
        )
        assert values.mean() - bounds.elbo.mean() < 1.0  # or the encoder has not learned

    def test_elbo_bound_and_annealing_are_in_order(self):
        rows = X[:100]
        model = linear(
            max_iter=40, n_importance_samples=16
        )  # so short that the encoder is not perfect
        truth = multivariate_normal(*marginal(model)).logpdf(rows).mean()
        elbo = model.elbo_samples(rows).elbo.mean()
        bound, bound_errors = model.score_samples(rows, return_std=True)
        annealed, errors = ais_log_likelihood(model, rows, return_std=True, random_state=0)
        error = np.sqrt(np.sum(errors**2)) / len(rows)
        bound_error = np.sqrt(np.sum(bound_errors**2)) / len(rows)
        print(
            f"truth {truth:.4f}, ELBO {elbo:.4f}, IWAE {bound.mean():.4f}, AIS"
            f" {annealed.mean():.4f} +- {error:.4f}"
        )
        assert elbo < bound.mean() < truth + 3.0 * bound_error
        assert abs(annealed.mean() - truth) < 3.0 * error + 0.005
        assert bound.mean() < annealed.mean() + 3.0 * np.hypot(error, bound_error)

    def test_training_finds_the_likelihood_of_factor_analysis(self, linear_model):
        covariance = np.cov(X, rowvar=False)
        best = multivariate_normal(X.mean(axis=0), covariance).logpdf(X).mean()  # of any Gaussian
        assert best - 0.5 < linear_model.score(X) < best

    def test_of_missing_values_is_that_of_the_others(self, linear_model):
        mean, covariance = marginal(linear_model)
        holes = X.copy()
        holes[:, [1, 3]] = np.nan
        seen = [0, 2, 4]
        truth = multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).logpdf(X[:, seen])
        values, errors = linear_model.score_samples(holes, return_std=True)
        # The encoder underestimates the variance for rows with gaps; weights correct most of it.
        assert np.mean(np.abs(values - truth) < 4.0 * errors + 0.02) > 0.9
        assert -0.2 < np.mean(values - truth) < 0.02

    def test_two_draws_do_not_know_their_error(self, linear_model):
        model = linear_model.set_params(n_importance_samples=2)
        with pytest.warns(UserWarning, match="raise n_importance_samples") as record:
            values, errors = model.score_samples(X, return_std=True)
        assert len(record) == 1
        assert np.isinf(errors).all()
        assert np.isfinite(values).all()

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # of 4
    def test_more_draws_tighten_the_bound(self, linear_model):
        few, more, many = (
            linear_model.set_params(n_importance_samples=n).score_samples(X, return_std=True)
            for n in (4, 64, 2048)
        )
        assert few[0].mean() < many[0].mean()
        assert many[1].mean() < more[1].mean() / 4.0

    def test_binary_rows_have_probabilities_that_sum_to_one(self):
        model = fit(BITS, max_iter=40, learning_rate_init=0.01, n_importance_samples=2**14)
        every = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
        masses = np.exp(model.score_samples(every))
        assert masses.sum() == pytest.approx(1.0, abs=0.01)
        assert model.likelihood_ == "bernoulli"
        likelihood = get_likelihood(model)
        assert (likelihood.kind, likelihood.measure) == ("lower_bound", "counting")
        draws = model.sample(20_000, random_state=1)
        shares = [(draws == row).all(axis=1).mean() for row in every]
        np.testing.assert_allclose(shares, masses, atol=0.015)

    @pytest.mark.parametrize(
        "prior, posterior",
        [
            (MixturePrior(3), "gaussian"),
            (VampPrior(3), "gaussian"),
            (VampPrior(3), "iaf"),
            ("normal", "spline"),
        ],
    )
    def test_holds_under_every_prior_and_posterior(self, prior, posterior):
        settings = {
            "prior": prior,
            "posterior": posterior,
            "learning_rate_init": 0.01,
        }
        model = fit(BITS, max_iter=15, n_importance_samples=2**10, **settings)
        every = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
        assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=0.03)

    def test_does_not_depend_on_the_batch(self):
        model = fit()
        together = model.score_samples(X)
        np.testing.assert_allclose(model.score_samples(X[::-1])[::-1], together, rtol=1e-12)
        in_sevens = np.concatenate([model.score_samples(X[k : k + 7]) for k in range(0, 70, 7)])
        np.testing.assert_allclose(in_sevens, together[:70], rtol=1e-12)


class TestQueries:
    def test_the_posterior_mean_of_a_linear_model(self, linear_model):
        mean, covariance = marginal(linear_model)
        weights = (linear_model.inverse_transform(np.eye(2)) - mean).T
        truth = (X - mean) @ np.linalg.solve(covariance, weights)
        codes, std = linear_model.transform(X, return_std=True)
        np.testing.assert_array_equal(codes, linear_model.transform(X))
        assert np.abs(codes - truth).mean() < 0.1
        exact = np.linalg.inv(
            np.eye(2) + weights.T @ np.linalg.solve(covariance - weights @ weights.T, weights)
        )
        # Mean field takes the deviation of each dimension given the other.
        np.testing.assert_allclose(
            std.mean(axis=0), 1.0 / np.sqrt(np.diag(np.linalg.inv(exact))), rtol=0.1
        )

    def test_draws_have_the_moments_of_the_model(self, linear_model):
        mean, covariance = marginal(linear_model)
        draws = linear_model.sample(50_000, random_state=0)
        np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.05)
        np.testing.assert_allclose(np.cov(draws, rowvar=False), covariance, atol=0.1)

    def test_means_share_the_codes_of_draws(self):
        model = fit(likelihood=Gaussian(scale=0.25))
        means, draws = (draw(6000, random_state=3) for draw in (model.sample_mean, model.sample))
        np.testing.assert_allclose((draws - means).std(axis=0), 0.25, rtol=0.05)

    def test_reconstructions_fill_in_missing_values(self, linear_model):
        holes = X.copy()
        holes[:, 1] = np.nan
        filled = linear_model.reconstruct(holes)
        assert np.mean((filled[:, 1] - X[:, 1]) ** 2) < X[:, 1].var()

    def test_reconstructions_average_over_the_posterior(self):
        model = fit(BITS)
        codes, std = (torch.from_numpy(part) for part in model.transform(BITS[:3], return_std=True))
        noise = torch.randn(
            20_000, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
        with torch.no_grad():
            truth = torch.sigmoid(model.decoder_(codes + std * noise)).mean(0)
        np.testing.assert_allclose(model.reconstruct(BITS[:3]), truth, atol=0.02)

    def test_saved_and_loaded_models_are_equal(self, tmp_path):
        model = fit(BITS, prior=VampPrior(3), posterior="iaf")
        save(model, tmp_path / "model.probgen")
        again = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(again.score_samples(BITS), model.score_samples(BITS))
        np.testing.assert_array_equal(
            again.sample(5, random_state=0), model.sample(5, random_state=0)
        )


class TestTraining:
    def test_grey_values_are_binarized_anew_for_each_batch(self):
        model = fit(GREY, dynamic_binarization=True, max_iter=3)
        assert model.likelihood_ == "bernoulli"
        objective = model._make_objective(FitContext(open_rows(GREY), 64, 1, 1))
        seen = [
            objective.prepare(torch.from_numpy(GREY), generator=torch.Generator().manual_seed(k))[0]
            for k in range(400)
        ]
        np.testing.assert_allclose(torch.stack(seen).mean(0), GREY, atol=0.15)
        assert set(seen[0].unique().tolist()) == {0.0, 1.0}

    def test_missing_values_can_be_trained_on(self):
        holes = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
        whole, patched = linear(max_iter=100), linear(rows=holes, max_iter=100)
        assert patched.score(X) > whole.score(X) - 1.0
        objective = patched._make_objective(FitContext(open_rows(holes), 64, 1, 1))
        rows, seen = objective.prepare(torch.from_numpy(holes), generator=torch.Generator())
        np.testing.assert_array_equal(~seen, np.isnan(holes))
        assert torch.isfinite(rows).all()

    def test_a_bound_of_pyro_trains_as_ours_does(self):
        ours, theirs = (
            fit(max_iter=30),
            fit(max_iter=30, elbo=TraceMeanField_ELBO(max_plate_nesting=1)),
        )
        assert theirs.score(X) == pytest.approx(ours.score(X), abs=0.3)

    def test_importance_weighted_training_raises_the_bound_on_the_likelihood(self):
        settings = {"max_iter": 100, "learning_rate_init": 0.01, "n_importance_samples": 500}
        assert (
            fit(BITS, elbo=ELBO("iwae", n_particles=8), **settings).score(BITS)
            > fit(BITS, **settings).score(BITS) - 0.02
        )

    def test_convolutions_with_several_outputs_per_pixel(self):
        pixels = load_digits().data[:200]
        model = fit(
            pixels,
            architecture="conv",
            hidden_layer_sizes=(4, 8),
            likelihood=Categorical(n_levels=17),
        )
        assert model.reconstruct(pixels).shape == pixels.shape
        assert set(np.unique(model.sample(20))) <= set(range(17))

    def test_rows_from_blocks_train_as_well(self):
        model = fit(RowBlocks([X[:100], X[100:]]), max_iter=30)
        assert model.score(X) == pytest.approx(fit(max_iter=30).score(X), abs=0.5)

    def test_the_default_schedule_can_be_searched(self):
        model = VAE()
        assert model.set_params(trainer__max_grad_norm=1.0).trainer.schedule == "cosine"

    def test_held_out_rows_choose_the_epochs_where_rows_are_few(self, monkeypatch):
        monkeypatch.setattr("probgen.estimators.variational.vae.FEW_ROWS", range(200, 300))
        default = {"max_iter": None, "trainer": None, "learning_rate_init": 0.05}
        few = fit(X[:250], **default).history_
        assert len(few) < 60
        # Its best epoch was at least six before the last.
        assert np.argmax(few["validation_score"]) <= len(few) - 6
        for rows, settings in [
            (X[:199], default),
            (X[:300], default),
            (X[:250], default | {"max_iter": 60}),
            (X[:250], default | {"trainer": Trainer()}),
        ]:
            whole = fit(rows, **settings).history_
            assert len(whole) == 60
            assert "validation_score" not in whole[0]

    def test_early_stopping_scores_the_bound(self):
        model = fit(max_iter=8, beta=7.0, trainer=Trainer(early_stopping=True))
        scores = model.history_["validation_score"]
        assert scores[-1] == pytest.approx(model.elbo_samples(X).elbo.mean(), abs=1.5)


class TestProcess:
    """Pyro keeps handlers and parameters for the process; no fit may notice."""

    def test_the_store_is_not_changed(self):
        pyro.clear_param_store()
        pyro.param("mine", torch.ones(()))
        try:
            fit(elbo=TraceMeanField_ELBO(max_plate_nesting=1))
            fit().sample(3)
            assert list(pyro.get_param_store()) == ["mine"]
        finally:
            pyro.clear_param_store()

    def test_a_second_model_is_trained_like_the_first(self):
        first, second = fit(), fit()
        np.testing.assert_array_equal(first.score_samples(X), second.score_samples(X))
        assert second.history_["loss"][-1] < second.history_["loss"][0]

    def test_fits_in_threads_are_bit_identical(self):
        seeds = range(4)
        alone = [fit(random_state=seed).score_samples(X) for seed in seeds]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda seed: fit(random_state=seed).score_samples(X), seeds))
        np.testing.assert_array_equal(together, alone)

    def test_searches_in_processes_give_the_same_scores(self):
        grid = {"n_components": [1, 2], "beta": [1.0, 4.0]}
        model = VAE(hidden_layer_sizes=(16,), max_iter=5, device="cpu", random_state=0)
        one, two = (GridSearchCV(model, grid, cv=2, n_jobs=n).fit(X) for n in (1, 2))
        np.testing.assert_array_equal(
            one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
        )

    def test_predictive_of_pyro_runs_the_fitted_programs(self, linear_model):
        rows = torch.from_numpy(X[:4])
        with torch.no_grad():
            drawn = Predictive(linear_model.model, guide=linear_model.guide, num_samples=3000)(rows)
        np.testing.assert_allclose(drawn["z"].mean(0), linear_model.transform(X[:4]), atol=0.1)


class Wider(VAE):
    """A VAE whose posterior has Laplace tails."""

    def guide(self, X, seen=None):
        with pyro.plate("rows", len(X), dim=-1):
            posterior = self.encoder_(X).base_dist
            return pyro.sample("z", dist.Laplace(posterior.loc, posterior.scale).to_event(1))


class Correlated(VAE):
    """A VAE whose posterior is one multivariate Gaussian, of dimensions that may be correlated."""

    def guide(self, X, seen=None):
        with pyro.plate("rows", len(X), dim=-1):
            mean, scale = self.encoder_.moments(X)
            return pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=scale.diag_embed()))


class Lazy(VAE):
    """A VAE whose guide forgets its only site."""

    def guide(self, X, seen=None):
        return None


class Global(VAE):
    """A VAE that keeps a parameter in Pyro's store."""

    def guide(self, X, seen=None):
        pyro.param("shift", torch.zeros(()))
        return super().guide(X, seen)


class TestSubclasses:
    def test_an_overridden_guide_is_trained_and_scored(self):
        model = fit(BITS, Wider, max_iter=40, learning_rate_init=0.01, n_importance_samples=2**13)
        every = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
        assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=0.03)
        assert model.transform(BITS).shape == (400, 2)

    def test_a_posterior_without_independent_dimensions_takes_missing_values(self):
        model = fit(BITS, Correlated, max_iter=20, n_importance_samples=2**12)
        every = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
        agree = every[(every[:, :2] == [1.0, 0.0]).all(axis=1)]
        truth = np.exp(model.score_samples(agree)).sum()
        holes = [[1.0, 0.0, np.nan, np.nan, np.nan]]
        assert np.exp(model.score_samples(holes)[0]) == pytest.approx(truth, rel=0.05)

    @pytest.mark.parametrize(
        "kind, message",
        [
            (Lazy, "guide must draw every latent site of the model; it has no site 'z'"),
            (Global, r"guide must keep its parameters in modules; got pyro.param\('shift'\)"),
        ],
    )
    def test_programs_that_do_not_match(self, kind, message):
        with pytest.raises(ValueError, match=message):
            fit(kind=kind)


class TestOptions:
    @pytest.mark.parametrize(
        "string, setting, value, option",
        [
            ({"likelihood": "auto"}, "likelihood__scale", 0.5, AutoLikelihood(0.5, 256, 1)),
            ({"likelihood": "gaussian"}, "likelihood__scale", 0.5, Gaussian(0.5)),
            ({"likelihood": "laplace"}, "likelihood__scale", "learned", Laplace("learned")),
            (
                {"likelihood": "gaussian_mixture"},
                "likelihood__n_mixture",
                3,
                GaussianMixtureLikelihood(3),
            ),
            ({"likelihood": "categorical"}, "likelihood__n_levels", 5, Categorical(5)),
            (
                {"likelihood": "discretized_logistic"},
                "likelihood__n_mixture",
                3,
                DiscretizedLogistic(256, 3),
            ),
            ({"prior": "mixture"}, "prior__n_components", 3, MixturePrior(3)),
            ({"prior": "vamp"}, "prior__n_components", 3, VampPrior(3)),
            ({"posterior": "iaf"}, "posterior__n_flows", 1, InverseAutoregressiveFlow(1)),
            ({"posterior": "spline"}, "posterior__n_flows", 1, SplineFlow(1)),
            ({}, "elbo__kl_warmup", 4, ELBO(kl_warmup=4)),
            ({"elbo": "iwae"}, "elbo__n_particles", 4, ELBO("iwae", n_particles=4)),
            ({"elbo": "trace"}, "elbo__free_bits", 0.1, ELBO("trace", free_bits=0.1)),
        ],
        ids=str,
    )
    def test_a_setting_turns_a_string_into_its_option(self, string, setting, value, option):
        model = VAE(**string).set_params(**{setting: value})
        parameter = setting.partition("__")[0]
        chosen = getattr(model, parameter)
        assert (type(chosen), chosen.get_params()) == (type(option), option.get_params())
        assert model.get_params()[setting] == value

    @pytest.mark.parametrize(
        "string, option",
        [
            ({"likelihood": "gaussian"}, {"likelihood": Gaussian()}),
            ({"prior": "vamp"}, {"prior": VampPrior(50)}),
            ({"posterior": "iaf"}, {"posterior": InverseAutoregressiveFlow(2)}),
            ({"elbo": "trace"}, {"elbo": ELBO("trace")}),
        ],
        ids=str,
    )
    def test_a_string_is_its_option(self, string, option):
        scores = [fit(max_iter=2, **settings).score_samples(X) for settings in (string, option)]
        np.testing.assert_array_equal(*scores)

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # under a scale of 50
    def test_a_search_reaches_settings_from_strings(self):
        model = VAE(
            2,
            likelihood="gaussian",
            hidden_layer_sizes=(),
            max_iter=60,
            device="cpu",
            random_state=0,
        )
        grid = {"likelihood__scale": [0.5, 50.0], "elbo__free_bits": [0.0]}
        search = GridSearchCV(model, grid, cv=2).fit(X)
        assert search.best_params_ == {"elbo__free_bits": 0.0, "likelihood__scale": 0.5}
        assert search.best_estimator_.likelihood.scale == 0.5

    def test_a_given_scale_is_that_of_draws(self):
        model = fit(likelihood=Laplace(scale=0.25))
        means, draws = (draw(6000, random_state=3) for draw in (model.sample_mean, model.sample))
        assert np.abs(draws - means).mean() == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"n_components": 0}, "n_components must be an integer >= 1; got 0"),
        (
            {"likelihood": "poisson"},
            "likelihood must be one of 'auto', 'bernoulli', .*; got 'poisson'",
        ),
        ({"likelihood": "bernoulli"}, r"likelihood='bernoulli' .*X holds"),
        ({"likelihood": "categorical"}, r"likelihood='categorical' .*X holds"),
        ({"elbo": "elbow"}, "elbo must be one of 'mean_field', 'trace', 'iwae'; got 'elbow'"),
        ({"prior": "flat"}, "prior must be one of 'normal', 'mixture', 'vamp'; got 'flat'"),
        ({"posterior": "maf"}, "posterior must be one of 'gaussian', 'iaf', 'spline'; got 'maf'"),
        (
            {"prior": Hinge()},
            r"got Hinge\(\)\. Or give an object .*: NormalPrior\(\), MixturePrior\(\),"
            r" VampPrior\(\)",
        ),
        ({"prior": VampPrior(0)}, "n_components must be an integer >= 1; got 0"),
        (
            {"posterior": InverseAutoregressiveFlow(0)},
            "n_flows must be an integer >= 1; got 0",
        ),
        ({"elbo": ELBO("elbow")}, "kind must be one of 'mean_field', 'trace', 'iwae'; got 'elbow'"),
        ({"architecture": "mlp"}, "architecture must be one of 'dense', 'conv'; got 'mlp'"),
        ({"beta": -1.0}, "beta must be a finite number >= 0; got -1.0"),
        ({"elbo": ELBO(free_bits=-1.0)}, "free_bits must be a finite number >= 0; got -1.0"),
        ({"elbo": ELBO(kl_warmup=0.5)}, "kl_warmup must be an integer >= 0; got 0.5"),
        ({"elbo": ELBO(n_particles=0)}, "n_particles must be an integer >= 1; got 0"),
        ({"elbo": ELBO("iwae")}, "n_particles must be at least 2 for kind='iwae', .*; got 1"),
        (
            {"elbo": ELBO("iwae", n_particles=2, free_bits=0.1)},
            "free_bits must be 0 for kind='iwae', .*; got 0.1",
        ),
        pytest.param(
            {"elbo": TraceMeanField_ELBO(max_plate_nesting=1), "beta": 2.0},
            "beta must be 1 with a bound of pyro.infer, .*; got 2.0",
            id="beta and a bound of Pyro",
        ),
        ({"n_importance_samples": 1}, "n_importance_samples must be an integer >= 2; got 1"),
        ({"likelihood": Gaussian(scale=-1.0)}, "scale must be"),
        (
            {"dynamic_binarization": True},
            r"dynamic_binarization=True needs probabilities, values in \[0, 1\]; X holds",
        ),
        (
            {"encoder": torch.nn.Linear(5, 2)},
            r"encoder must map rows of shape \(n, 5\) to \(n, 4\); got shape \(n, 2\)",
        ),
        (
            {"decoder": torch.nn.Linear(2, 4)},
            r"decoder must map rows of shape \(n, 2\) to \(n, 5\); got shape \(n, 4\)",
        ),
        ({"decoder": "mlp"}, "decoder must be a torch.nn.Module, or None; got 'mlp'"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes must be an integer >= 1; got 0"),
    ],
    ids=str,
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        fit(**parameters)
