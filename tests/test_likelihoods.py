"""Observation models against SciPy, enumeration, quadrature and their own samples."""

import decimal

import numpy as np
import pytest
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit, log_softmax, logsumexp, softmax
from sklearn.base import clone
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.distributions.observation import (
    NOISE_FLOOR,
    bernoulli_log_prob,
    gaussian_log_prob,
    make_observation,
)
from probgen.options import (
    AutoLikelihood,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    GaussianMixtureLikelihood,
    Laplace,
)
from probgen.options.likelihoods import LIKELIHOODS
from probgen.training.rows import open_rows
from probgen.training.statistics import take_statistics

RNG = np.random.default_rng(0)
N_LEVELS = 6
ROWS = {
    "bernoulli": (RNG.random((50, 4)) < 0.3).astype(np.float64),
    "continuous_bernoulli": RNG.random((50, 4)),
    "gaussian": 3.0 * RNG.standard_normal((50, 4)) + np.arange(4.0),
    "laplace": 3.0 * RNG.standard_normal((50, 4)) + np.arange(4.0),
    "gaussian_mixture": (
        (3.0 * np.random.default_rng(1).standard_normal((50, 4)) + np.arange(4.0))
        * [1, 10, 1e-3, 1]
    ),
    "categorical": RNG.integers(N_LEVELS, size=(50, 4)).astype(np.float64),
    "discretized_logistic": RNG.integers(N_LEVELS, size=(50, 4)).astype(np.float64),
}
OPTIONS = {name: kind() for name, kind in LIKELIHOODS.items()} | {
    "auto": AutoLikelihood(),
    "gaussian": Gaussian("learned"),
    "laplace": Laplace("learned"),
    "gaussian_mixture": GaussianMixtureLikelihood(1),
    "categorical": Categorical(N_LEVELS),
    "discretized_logistic": DiscretizedLogistic(N_LEVELS, 1),
}
SIZES = np.array([1e-8, 1e-3, 0.49, 0.5, 0.6, 2.0, 20.0, 100.0])
LOG_ODDS = np.concatenate([-SIZES[::-1], [0.0], SIZES])


def statistics_of(rows):
    return take_statistics(open_rows(rows, dtype=torch.float64))


def make(option, rows=None, dtype=torch.float64, **settings):
    """The observation model of an option, or of the small one of a name, for rows."""
    option = OPTIONS.get(option, option)
    statistics = statistics_of(ROWS[option.name] if rows is None else rows)
    return make_observation(option, statistics, **settings).to(dtype)


def draw_outputs(observation, n_rows=50, scale=1.0, seed=0):
    shape = (n_rows, 4 * observation.n_outputs_per_feature)
    return torch.from_numpy(scale * np.random.default_rng(seed).standard_normal(shape))


def draw_samples(distribution, n_samples):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return distribution.sample((n_samples,))


def truncated_exponential(log_odds):
    """SciPy's distribution of log-odds other than 0; mirrored where they are positive."""
    return stats.truncexpon(b=abs(log_odds), scale=1.0 / abs(log_odds))


def cell_masses(logits, locations, scales, n_levels):
    """Masses (..., n_levels) of cells under a mixture of logistics (..., n_logistics)."""
    edges = (2.0 * np.arange(1, n_levels) - 1.0) / (n_levels - 1) - 1.0
    below = stats.logistic.cdf(edges[:, None], locations[..., None, :], scales[..., None, :])
    below = (below * softmax(logits, -1)[..., None, :]).sum(-1)
    return np.diff(below, prepend=0.0, append=1.0)


def all_levels(observation, outputs, n_levels):
    """Log-probabilities (n_levels, ...) of every number."""
    distribution = observation.distribution(outputs)
    return torch.stack(
        [
            distribution.log_prob(torch.full_like(outputs[..., :4], level))
            for level in range(n_levels)
        ]
    )


class TestDensity:
    def test_bernoulli(self):
        observation, rows = make("bernoulli"), ROWS["bernoulli"]
        outputs = draw_outputs(observation, scale=3.0)
        truth = stats.bernoulli(expit(outputs.numpy())).logpmf(rows)
        np.testing.assert_allclose(
            observation.distribution(outputs).log_prob(torch.from_numpy(rows)), truth
        )
        np.testing.assert_allclose(
            bernoulli_log_prob(torch.from_numpy(rows), outputs), truth.sum(1)
        )

    @pytest.mark.parametrize("name, family", [("gaussian", stats.norm), ("laplace", stats.laplace)])
    def test_of_noise_of_a_known_scale(self, name, family):
        observation, rows = make(LIKELIHOODS[name](0.7)), ROWS[name]
        outputs = draw_outputs(observation)
        location = rows.mean(axis=0) + rows.std(axis=0) * outputs.numpy()
        truth = family(location, 0.7).logpdf(rows)
        np.testing.assert_allclose(
            observation.distribution(outputs).log_prob(torch.from_numpy(rows)), truth
        )
        np.testing.assert_allclose(observation.mean(outputs), location)

    def test_gaussian_of_rows(self):
        rows = ROWS["gaussian"]
        mean = RNG.standard_normal((50, 4))
        variance = np.array([0.5, 1.0, 2.0, 3.0])
        truth = stats.norm(mean, np.sqrt(variance)).logpdf(rows).sum(1)
        np.testing.assert_allclose(
            gaussian_log_prob(*map(torch.from_numpy, (rows, mean, variance))), truth
        )

    @pytest.mark.parametrize("n_gaussians", [1, 3])
    def test_gaussian_mixture(self, n_gaussians):
        observation = make(GaussianMixtureLikelihood(n_gaussians))
        rows = ROWS["gaussian_mixture"]
        outputs = draw_outputs(observation, scale=2.0)
        logits, locations, scales = np.split(outputs.numpy().reshape(50, 4, -1), 3, axis=-1)
        start = stats.norm.ppf((np.arange(n_gaussians) + 0.5) / n_gaussians)
        center, deviation = (moment[:, None] for moment in (rows.mean(axis=0), rows.std(axis=0)))
        components = stats.norm(
            center + deviation * (locations + start),
            deviation * (np.log1p(np.exp(scales)) + NOISE_FLOOR),
        )
        truth = logsumexp(log_softmax(logits, -1) + components.logpdf(rows[..., None]), axis=-1)
        np.testing.assert_allclose(
            observation.distribution(outputs).log_prob(torch.from_numpy(rows)), truth
        )

    @pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-11), (torch.float32, 2e-6)])
    def test_continuous_bernoulli(self, dtype, rtol):
        values = np.array([0.0, 0.25, 0.5, 1.0])
        distribution = make("continuous_bernoulli").distribution(
            torch.from_numpy(LOG_ODDS[:, None]).to(dtype)
        )
        actual = distribution.log_prob(torch.from_numpy(values).to(dtype))
        for log_odds, row in zip(LOG_ODDS, actual):
            truth = np.zeros(4)
            if log_odds != 0.0:
                truth = truncated_exponential(log_odds).logpdf(
                    values if log_odds < 0.0 else 1.0 - values
                )
            np.testing.assert_allclose(row, truth, rtol=rtol, atol=rtol)

    @pytest.mark.parametrize("log_odds", LOG_ODDS)
    def test_continuous_bernoulli_integrates_to_one(self, log_odds):
        distribution = make("continuous_bernoulli").distribution(
            torch.tensor([log_odds], dtype=torch.float64)
        )

        def density(value):
            return distribution.log_prob(torch.tensor([value], dtype=torch.float64)).exp().item()

        assert quad(density, 0.0, 1.0, points=[0.05, 0.95])[0] == pytest.approx(1.0, abs=1e-9)

    def test_categorical(self):
        observation, rows = make("categorical"), ROWS["categorical"]
        outputs = draw_outputs(observation, scale=3.0)
        each = log_softmax(outputs.numpy().reshape(50, 4, N_LEVELS), -1)
        truth = np.take_along_axis(each, rows[..., None].astype(int), -1)[..., 0]
        np.testing.assert_allclose(
            observation.distribution(outputs).log_prob(torch.from_numpy(rows)), truth
        )

    @pytest.mark.parametrize("n_levels, n_logistics", [(2, 1), (6, 1), (6, 3), (256, 2)])
    def test_discretized_logistic(self, n_levels, n_logistics):
        observation = make(DiscretizedLogistic(n_levels, n_logistics), rows=np.eye(4))
        logits, locations, log_scales = RNG.standard_normal((3, 8, 4, n_logistics))
        outputs = torch.from_numpy(np.concatenate([logits, locations, log_scales], -1)).flatten(-2)
        floor = 1.0 / (n_levels - 1) / 8.0  # an eighth of half a cell
        truth = cell_masses(logits, locations, np.exp(log_scales) + floor, n_levels)
        actual = all_levels(observation, outputs, n_levels).exp().movedim(0, -1)
        np.testing.assert_allclose(actual, truth, atol=1e-12)

    @pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-9), (torch.float32, 2e-5)])
    def test_discretized_logistic_keeps_its_digits_in_the_tails(self, dtype, rtol):
        observation = make(DiscretizedLogistic(256, 1), rows=np.eye(4))
        outputs = (
            torch.tensor([[0.0, location, -3.0] for location in (-3.0, -0.9, 0.9, 3.0)])
            .flatten()
            .to(dtype)
        )
        distribution = observation.distribution(outputs)
        for value in (1.0, 254.0):
            actual = distribution.log_prob(torch.full((4,), value, dtype=dtype))
            for log_prob, location, log_scale in zip(
                actual, distribution.locations[:, 0], distribution.log_scales[:, 0]
            ):
                truth = exact_log_mass(value, location.item(), log_scale.item(), 256)
                assert log_prob.item() == pytest.approx(truth, rel=rtol)

    @pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
    @pytest.mark.parametrize("option", [Categorical(), DiscretizedLogistic(n_mixture=3)], ids=str)
    @pytest.mark.parametrize("n_levels", [2, 17, 256])
    def test_all_levels_sum_to_one(self, option, n_levels, dtype, atol):
        option = clone(option).set_params(n_levels=n_levels)
        observation = make(option, rows=np.eye(4), dtype=dtype)
        extreme = np.random.default_rng(0).choice(
            [-100.0, -1.0, 0.0, 1.0, 100.0], (20, 4 * observation.n_outputs_per_feature)
        )
        for outputs in (draw_outputs(observation), torch.from_numpy(extreme)):
            total = all_levels(observation, outputs.to(dtype), n_levels).exp().sum(0)
            np.testing.assert_allclose(total, 1.0, atol=atol)


def exact_log_mass(value, location, log_scale, n_levels):
    """Log-mass of an inner cell of a logistic, in many digits."""
    with decimal.localcontext(prec=400):
        scale = decimal.Decimal(log_scale).exp()

        def below(edge):
            return 1 / (1 + (-(edge - decimal.Decimal(location)) / scale).exp())

        centre = decimal.Decimal(2.0 * value) / (n_levels - 1) - 1
        half = decimal.Decimal(1) / (n_levels - 1)
        return float((below(centre + half) - below(centre - half)).ln())


class TestExtremes:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_densities_and_gradients_are_finite(self, name, dtype):
        observation = make(name, dtype=dtype)
        values = [ROWS[name].min(), ROWS[name].max(), 2.0]
        if name == "bernoulli":
            values = [0.0, 1.0]
        elif name == "continuous_bernoulli":
            values = [0.0, 1.0, 0.5]
        values = torch.tensor(values, dtype=dtype)
        choices = torch.tensor([-100.0, -1.0, 0.0, 1.0, 100.0], dtype=dtype)
        shape = (300, 4 * observation.n_outputs_per_feature)
        picked = np.random.default_rng(0).integers(5, size=shape)
        outputs = choices[torch.from_numpy(picked)].requires_grad_()
        for value in values:
            log_prob = observation.distribution(outputs).log_prob(value.expand(300, 4))
            assert torch.isfinite(log_prob).all()
            for gradient in torch.autograd.grad(
                log_prob.sum(), [outputs, *observation.parameters()]
            ):
                assert torch.isfinite(gradient).all()

    def test_gradients_of_the_continuous_bernoulli_are_distances_from_its_mean(self):
        outputs = torch.from_numpy(LOG_ODDS).requires_grad_()
        observation = make("continuous_bernoulli")
        log_prob = observation.distribution(outputs).log_prob(
            torch.full((len(LOG_ODDS),), 0.3, dtype=torch.float64)
        )
        (gradient,) = torch.autograd.grad(log_prob.sum(), outputs)
        truth = [0.5 if a == 0.0 else truncated_exponential(a).mean() for a in LOG_ODDS]
        truth = np.where(LOG_ODDS > 0.0, 1.0 - np.array(truth), truth)
        # Near 0 SciPy loses digits, and the mean is 1/2 + log-odds / 12.
        near = np.abs(LOG_ODDS) < 1e-2
        truth[near] = 0.5 + LOG_ODDS[near] / 12.0
        np.testing.assert_allclose(0.3 - gradient, truth, atol=1e-9)
        np.testing.assert_allclose(observation.mean(outputs).detach(), truth, atol=1e-9)


class TestSamples:
    @pytest.mark.parametrize(
        "name, n_levels", [("bernoulli", 2), ("categorical", 6), ("discretized_logistic", 6)]
    )
    def test_of_whole_numbers_have_their_probabilities(self, name, n_levels):
        observation = make(
            DiscretizedLogistic(N_LEVELS, 2) if name == "discretized_logistic" else name
        )
        outputs = draw_outputs(observation, n_rows=2)
        draws = draw_samples(observation.distribution(outputs), 5000).numpy()
        masses = all_levels(observation, outputs, n_levels).exp().numpy()
        for cell in np.ndindex(draws.shape[1:]):
            counts = [(draws[:, *cell] == level).sum() for level in range(n_levels)]
            assert sum(counts) == 5000
            assert stats.chisquare(counts, 5000 * masses[:, *cell]).pvalue > 1e-3

    @pytest.mark.parametrize("name, family", [("gaussian", stats.norm), ("laplace", stats.laplace)])
    def test_of_noise_have_its_density(self, name, family):
        observation = make(LIKELIHOODS[name]("per_feature"))
        with torch.no_grad():
            observation.log_scale.copy_(torch.tensor([-2.0, -1.0, 0.0, 1.0]))
            outputs = draw_outputs(observation, n_rows=1)[0]
            draws = draw_samples(observation.distribution(outputs), 5000)
            location, scale = observation.mean(outputs), observation.scale
        for j in range(4):
            assert (
                stats.kstest(draws[:, j], family(location[j].item(), scale[j].item()).cdf).pvalue
                > 1e-3
            )

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_of_the_continuous_bernoulli_have_its_density(self, dtype):
        distribution = make("continuous_bernoulli").distribution(
            torch.from_numpy(LOG_ODDS).to(dtype)
        )
        draws = draw_samples(distribution, 5000).double()
        assert ((draws >= 0.0) & (draws <= 1.0)).all()
        for log_odds, column in zip(LOG_ODDS, draws.T.numpy()):
            family = stats.uniform if abs(log_odds) < 1e-6 else truncated_exponential(log_odds)
            mirrored = 1.0 - column if log_odds > 0.0 else column
            assert stats.kstest(mirrored, family.cdf).pvalue > 1e-3


class TestMean:
    @pytest.mark.parametrize(
        "option, n_levels",
        [
            ("bernoulli", 2),
            ("categorical", 6),
            (DiscretizedLogistic(6, 3), 6),
            (DiscretizedLogistic(256, 1), 256),
        ],
        ids=str,
    )
    def test_of_whole_numbers_is_their_sum_by_probability(self, option, n_levels):
        observation = make(option)
        outputs = draw_outputs(observation, scale=2.0)
        truth = torch.einsum(
            "l,lnd->nd",
            torch.arange(n_levels).double(),
            all_levels(observation, outputs, n_levels).exp(),
        )
        np.testing.assert_allclose(observation.mean(outputs), truth, atol=1e-9)

    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_is_that_of_many_samples(self, name):
        observation = make(name)
        outputs = draw_outputs(observation, n_rows=3)
        with torch.no_grad():
            draws = draw_samples(observation.distribution(outputs), 20_000).double()
            error = draws.std(0) / np.sqrt(20_000)
            assert ((observation.mean(outputs) - draws.mean(0)).abs() < 4.0 * error).all()


class TestNoise:
    def test_one_scale_is_learned_for_all_features(self):
        observation = make("gaussian")
        assert observation.log_scale.shape == ()
        deviations = ROWS["gaussian"].std(axis=0)
        np.testing.assert_allclose(observation.scale.detach(), deviations, rtol=2e-3)

    def test_one_scale_is_learned_for_all_pixels(self):
        observation = make("gaussian", shared_unit=True)
        overall = np.sqrt(ROWS["gaussian"].var(axis=0).mean())
        np.testing.assert_allclose(observation.scale.detach(), np.full(4, overall), rtol=2e-3)

    @pytest.mark.parametrize(
        "name, family, error",
        [
            ("gaussian", stats.norm, lambda residuals: np.sqrt((residuals**2).mean(axis=0))),
            ("laplace", stats.laplace, lambda residuals: np.abs(residuals).mean(axis=0)),
        ],
    )
    def test_a_scale_for_each_feature_is_best_at_its_error(self, name, family, error):
        observation, rows = make(LIKELIHOODS[name]("per_feature")), torch.from_numpy(ROWS[name])
        outputs = draw_outputs(observation)
        scale = error(rows.numpy() - observation.mean(outputs).numpy())
        with torch.no_grad():
            observation.log_scale.copy_(
                torch.from_numpy(np.log(scale / observation.spread.numpy() - NOISE_FLOOR))
            )
        log_prob = observation.distribution(outputs).log_prob(rows)
        truth = family(observation.mean(outputs).numpy(), scale).logpdf(rows.numpy())
        np.testing.assert_allclose(log_prob.detach(), truth)
        (gradient,) = torch.autograd.grad(log_prob.mean(), observation.log_scale)
        np.testing.assert_allclose(gradient, 0.0, atol=1e-12)

    @pytest.mark.parametrize("name", ["gaussian", "laplace"])
    @pytest.mark.parametrize("noise_scale", ["learned", "per_feature"])
    def test_never_falls_below_a_floor(self, name, noise_scale):
        rows = ROWS["gaussian"].copy()
        rows[:, 2] = 5.0
        observation = make(LIKELIHOODS[name](noise_scale), rows)
        with torch.no_grad():
            observation.log_scale.fill_(-1e4)
        floor = 1e-3 * np.where(rows.std(axis=0) > 0.0, rows.std(axis=0), 1e-3 * 5.0)
        np.testing.assert_allclose(observation.scale.detach(), floor)
        peak = observation.distribution(torch.zeros(4)).log_prob(observation.center).detach()
        height = 2.0 * floor if name == "laplace" else np.sqrt(2.0 * np.pi) * floor
        np.testing.assert_allclose(peak, -np.log(height))

    def test_constant_rows_have_a_scale(self):
        observation = make("gaussian", np.full((5, 4), 7.0))
        np.testing.assert_array_equal(observation.mean(torch.zeros(4, dtype=torch.float64)), 7.0)
        np.testing.assert_allclose(observation.scale.detach(), 7e-3, rtol=2e-3)

    def test_a_known_scale_has_nothing_to_learn(self):
        assert not list(make(Laplace(np.float32(0.5))).parameters())


class TestDistributions:
    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_outputs_of_a_feature_are_adjacent(self, name):
        observation = make(name)
        outputs = draw_outputs(observation, n_rows=1)[0].requires_grad_()
        rows = torch.from_numpy(ROWS[name][0])
        for j in range(4):
            log_prob = observation.distribution(outputs).log_prob(rows)[j]
            (gradient,) = torch.autograd.grad(log_prob, outputs)
            moved = gradient.unflatten(0, (4, observation.n_outputs_per_feature)).abs().sum(1) > 0.0
            assert moved.tolist() == [k == j for k in range(4)]

    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_are_of_pyro_over_single_numbers(self, name):
        observation, rows = make(name), torch.from_numpy(ROWS[name])
        outputs = draw_outputs(observation)
        distribution = observation.distribution(torch.stack([outputs, outputs]))
        assert isinstance(distribution, TorchDistributionMixin)
        assert (distribution.batch_shape, distribution.event_shape) == ((2, 50, 4), ())
        log_prob = distribution.log_prob(rows).detach()
        wider = distribution.expand((3, 2, 50, 4))
        np.testing.assert_array_equal(wider.log_prob(rows).detach(), log_prob.expand(3, -1, -1, -1))
        assert wider.sample((7,)).shape == (7, 3, 2, 50, 4)
        seen = torch.from_numpy(np.random.default_rng(0).random((50, 4)) < 0.5)
        masked = distribution.mask(seen).to_event(1).log_prob(rows).detach()
        np.testing.assert_allclose(masked, torch.where(seen, log_prob, 0.0).sum(-1))
        assert distribution.support.check(rows).all()
        assert distribution.support.check(distribution.sample().to(rows.dtype)).all()

    @pytest.mark.parametrize(
        "option",
        [
            *OPTIONS.values(),
            *(kind(scale) for kind in (Gaussian, Laplace) for scale in ("per_feature", 0.5)),
        ],
        ids=str,
    )
    def test_can_be_recorded_and_replayed(self, option):
        rows = torch.from_numpy(ROWS["bernoulli" if option.name == "auto" else option.name])
        observation = make(option, rows.numpy())

        def log_prob_and_gradient(outputs, X):
            log_prob = observation.distribution(outputs).log_prob(X)
            return log_prob, torch.autograd.grad(log_prob.sum(), outputs)[0]

        first, second = (
            draw_outputs(observation, scale=scale, seed=seed).requires_grad_()
            for scale, seed in [(0.1, 0), (9.0, 1)]
        )
        replay = make_fx(log_prob_and_gradient)(first, rows)
        replayed = replay(second, rows.flip(0))
        expected = log_prob_and_gradient(second, rows.flip(0))
        for actual, truth in zip(replayed, expected):
            np.testing.assert_array_equal(actual.detach(), truth.detach())


class TestChoice:
    @pytest.mark.parametrize(
        "rows, name, measure",
        [
            (ROWS["bernoulli"], "bernoulli", "counting"),
            (
                np.where(RNG.random((50, 4)) < 0.2, np.nan, ROWS["bernoulli"]),
                "bernoulli",
                "counting",
            ),
            (ROWS["continuous_bernoulli"], "gaussian", "lebesgue"),
            (ROWS["categorical"], "gaussian", "lebesgue"),
        ],
    )
    def test_auto_looks_at_the_rows(self, rows, name, measure):
        observation = make("auto", rows)
        assert (observation.name, observation.measure) == (name, measure)

    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_a_name_is_kept(self, name):
        discrete = {"bernoulli", "categorical", "discretized_logistic"}
        assert make(name).name == name
        assert make(name).measure == ("counting" if name in discrete else "lebesgue")

    @pytest.mark.parametrize("name", ["categorical", "discretized_logistic"])
    def test_the_highest_level_is_in_the_support(self, name):
        assert make(LIKELIHOODS[name](256), np.array([[0.0, 255.0]])).name == name

    @pytest.mark.parametrize("name", ["categorical", "discretized_logistic"])
    def test_levels_are_counted_up_to_the_largest(self, name):
        assert make(LIKELIHOODS[name](), np.array([[0.0, 7.0]])).n_levels == 8
        assert make(LIKELIHOODS[name](), np.zeros((2, 1))).n_levels == 2
        assert make(LIKELIHOODS[name](9), np.array([[0.0, 7.0]])).n_levels == 9


GREY, WIDE, HALVES = np.array([[0.0, 0.25]]), np.array([[0.0, 2.0]]), np.array([[0.0, 2.5]])


@pytest.mark.parametrize(
    "option, rows, message",
    [
        (
            "bernoulli",
            GREY,
            "'bernoulli' needs values 0 and 1; X holds 0 to 0.25, not all of them whole; set"
            " dynamic_binarization=True to .*, or in a VAE take 'continuous_bernoulli'",
        ),
        (
            "bernoulli",
            WIDE,
            "'bernoulli' needs values 0 and 1; X holds 0 to 2; take likelihood='categor",
        ),
        (
            "continuous_bernoulli",
            -GREY,
            r"'continuous_bernoulli' needs values in \[0, 1\]; X holds -0.25 to -?0; scale them, or"
            r" take 'gaussian'",
        ),
        (
            Categorical(2),
            WIDE,
            "'categorical' needs whole numbers from 0 to n_levels - 1 = 1; X holds 0 to 2; set"
            " likelihood__n_levels=3, or take a likelihood for real values, 'gaussian' in a VAE",
        ),
        (
            Categorical(6),
            -WIDE,
            "Negative values in data: .* from 0 to n_levels - 1 = 5; X holds -2 to -?0; count",
        ),
        (
            DiscretizedLogistic(6),
            HALVES,
            "from 0 to n_levels - 1 = 5; X holds 0 to 2.5, not all of them whole; round them",
        ),
        (Categorical(), HALVES, "X holds 0 to 2.5, not all of them whole"),
        (Categorical(), np.array([[0.0, 7e4]]), "n_levels must be at most 65,536; got 70,001; put"),
        (Categorical(1), WIDE, "n_levels must be an integer >= 2; got 1"),
        (DiscretizedLogistic(n_mixture=0), WIDE, "n_mixture must be an integer >= 1; got 0"),
        *[
            (Gaussian(bad), GREY, f"scale must be 'learned', .* number > 0 .*; got {bad!r}; take")
            for bad in (0.0, -1.0, np.inf, np.nan, True, None, "loud")
        ],
    ],
    ids=str,
)
def test_bad_input(option, rows, message):
    with pytest.raises(ValueError, match=message):
        make(option, rows)
