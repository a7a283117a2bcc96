"""Draws by inversion against SciPy's quantiles and probabilities."""

import numpy as np
import pytest
import torch
from pyro.distributions import Bernoulli, Categorical, MixtureSameFamily, Normal
from scipy import stats
from scipy.special import expit, softmax

from probgen.conditions.checked import CheckedConditions
from probgen.conditions.given import Conditions
from probgen.distributions.bounded import DiscretizedLogisticMixture
from probgen.distributions.observation import CategoricalObservation, make_observation
from probgen.distributions.quantiles import (
    level_quantile,
    normal_mixture_log_mass,
    normal_mixture_quantile,
    quantile,
)
from probgen.estimators.autoregressive.feature_sampler import FeatureSampler
from probgen.options import GaussianMixtureLikelihood
from probgen.training.rows import open_rows
from probgen.training.statistics import take_statistics

RNG = np.random.default_rng(0)
GRID = (np.arange(20_000) + 0.5) / 20_000  # uniform numbers, as even as they can be
LOGITS = np.array([0.5, -1.0, 0.0])
LOCATIONS = np.array([-2.0, 0.3, 5.0])
SCALES = np.array([0.5, 1.0, 0.1])


def spread(parameters, shape=(20_000, 1)):
    return torch.from_numpy(parameters).expand(*shape, len(parameters))


def mixture():
    return MixtureSameFamily(
        Categorical(logits=spread(LOGITS)), Normal(spread(LOCATIONS), spread(SCALES))
    )


def below(values):
    """The distribution function of the mixture."""
    return stats.norm(LOCATIONS, SCALES).cdf(np.asarray(values)[..., None]) @ softmax(LOGITS)


class TestQuantile:
    def test_of_bits(self):
        bits = quantile(
            Bernoulli(logits=torch.full((20_000, 1), 0.7)), torch.from_numpy(GRID[:, None])
        )
        assert bits.mean().item() == pytest.approx(expit(0.7), abs=1e-4)
        np.testing.assert_array_equal(np.diff(bits[:, 0]) >= 0.0, True)

    def test_of_categories(self):
        levels = quantile(Categorical(logits=spread(LOGITS)), torch.from_numpy(GRID[:, None]))
        truth = stats.rv_discrete(values=(np.arange(3), softmax(LOGITS))).ppf(GRID)
        np.testing.assert_array_equal(levels[:, 0], truth)

    def test_of_logistics(self):
        distribution = DiscretizedLogisticMixture(
            spread(LOGITS), spread(LOCATIONS / 3.0), spread(np.log(SCALES)), 6
        )
        levels = quantile(distribution, torch.from_numpy(GRID[:, None])).numpy()
        for level in range(6):
            mass = distribution.log_prob(torch.full((20_000, 1), float(level))).exp()[0].item()
            assert (levels == level).mean() == pytest.approx(mass, abs=3e-4)

    def test_of_gaussians(self):
        values = quantile(mixture(), torch.from_numpy(GRID[:, None]))[:, 0].numpy()
        np.testing.assert_allclose(below(np.sort(values)), GRID, atol=2e-4)

    @pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-53])
    def test_is_finite_at_the_ends(self, uniform):
        assert torch.isfinite(
            quantile(mixture(), torch.full((20_000, 1), uniform, dtype=torch.float64))
        ).all()

    def test_of_another_distribution_is_that_of_torch(self):
        values = quantile(Normal(torch.zeros(20_000, 1), 2.0), torch.from_numpy(GRID[:, None]))
        np.testing.assert_allclose(values[:, 0], stats.norm(0.0, 2.0).ppf(GRID), atol=1e-6)


class TestLevels:
    def test_within_a_set_are_shared_out_anew(self):
        allowed = torch.tensor([True, False, True]).expand(20_000, 1, 3)
        levels = level_quantile(spread(LOGITS), allowed, torch.from_numpy(GRID[:, None])).numpy()
        weights = np.exp(LOGITS) * [1, 0, 1]
        for level, weight in enumerate(weights / weights.sum()):
            assert (levels == level).mean() == pytest.approx(weight, abs=1e-4)

    @pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-53])
    def test_stay_within_the_set_at_the_ends(self, uniform):
        table = torch.tensor([[[-800.0, 0.0, -800.0]]], dtype=torch.float64)
        allowed = torch.tensor([[[True, False, True]]])
        level = level_quantile(table, allowed, torch.full((1, 1), uniform, dtype=torch.float64))
        assert level.item() in (0.0, 2.0)


class TestIntervals:
    @pytest.mark.parametrize(
        "low, high", [(-np.inf, np.inf), (-1.0, 0.5), (5.5, np.inf), (-np.inf, -4.0)]
    )
    def test_of_gaussians(self, low, high):
        ends = np.full(20_000, low), np.full(20_000, high)
        parameters = [np.broadcast_to(part, (20_000, 3)) for part in (LOGITS, LOCATIONS, SCALES)]
        mass = below(high) - below(low)
        np.testing.assert_allclose(
            np.exp(normal_mixture_log_mass(*ends, *parameters)), mass, rtol=1e-9
        )
        values = normal_mixture_quantile(GRID, *ends, *parameters)
        assert ((values >= low) & (values <= high)).all()
        np.testing.assert_allclose((below(np.sort(values)) - below(low)) / mass, GRID, atol=3e-4)

    def test_far_in_a_tail(self):
        ends, one = (np.array([40.0]), np.array([41.0])), np.ones((1, 1))
        assert normal_mixture_log_mass(*ends, one, 0.0 * one, one) == pytest.approx(
            stats.norm.logsf(40.0)
        )
        drawn = normal_mixture_quantile(np.array([0.5]), *ends, one, 0.0 * one, one)
        assert 40.0 < drawn[0] < 40.1


def open_conditions(values):
    return np.full(values.shape, -np.inf), np.full(values.shape, np.inf)


class TestFeatureSampler:
    def test_keeps_what_is_known_and_some_features_are_as_in_all(self):
        observation = CategoricalObservation(3)
        values = np.where(
            RNG.random((50, 4)) < 0.4, RNG.integers(3, size=(50, 4)).astype(float), np.nan
        )
        conditions = Conditions(values, *open_conditions(values), {1: np.array([0, 2])})
        outputs = torch.from_numpy(RNG.standard_normal((50, 12)))
        checked = CheckedConditions(conditions, observation.distribution(outputs))
        features = FeatureSampler(observation, torch.from_numpy(RNG.random((50, 4))), checked)
        whole = features.sample(outputs)
        np.testing.assert_array_equal(whole[~np.isnan(values)], values[~np.isnan(values)])
        assert np.isin(whole[np.isnan(values[:, 1]), 1], [0, 2]).all()
        some = torch.tensor([1, 3])
        part = features.sample(outputs.unflatten(1, (4, 3))[:, some].flatten(1), some)
        np.testing.assert_array_equal(part, whole[:, some])
        few = torch.tensor([7, 7, 30])
        np.testing.assert_array_equal(features.take(few).sample(outputs[few]), whole[few])

    def test_weighs_what_is_known(self):
        observation = CategoricalObservation(3)
        values = np.array([[1.0, np.nan], [np.nan, np.nan]])
        conditions = Conditions(values, *open_conditions(values), {1: np.array([0, 2])})
        outputs = torch.from_numpy(RNG.standard_normal((2, 6)))
        features = FeatureSampler(
            observation,
            torch.full((2, 2), 0.3, dtype=torch.float64),
            CheckedConditions(conditions, observation.distribution(outputs)),
        )
        probabilities = softmax(outputs.numpy().reshape(2, 2, 3), axis=-1)
        sets = np.log(probabilities[:, 1, [0, 2]].sum(axis=1))
        truth = [np.log(probabilities[0, 0, 1]) + sets[0], sets[1]]
        np.testing.assert_allclose(features.log_weights(outputs, features.sample(outputs)), truth)

    def test_real_values_within_intervals(self):
        rows = open_rows(RNG.standard_normal((20, 2)) * [1.0, 9.0], dtype=torch.float64)
        observation = make_observation(GaussianMixtureLikelihood(2), take_statistics(rows))
        values = np.full((30, 2), np.nan)
        low, high = open_conditions(values)
        low[:, 1], high[:15, 1] = 3.0, 4.0
        outputs = torch.from_numpy(RNG.standard_normal((30, 12)))
        distribution = observation.distribution(outputs)
        checked = CheckedConditions(Conditions(values, low, high), distribution)
        features = FeatureSampler(observation, torch.from_numpy(RNG.random((30, 2))), checked)
        drawn = features.sample(outputs).numpy()
        assert ((drawn[:, 1] >= low[:, 1]) & (drawn[:, 1] <= high[:, 1])).all()
        parts = distribution.mixture_distribution.probs, distribution.component_distribution
        components = stats.norm(parts[1].loc[:, 1], parts[1].scale[:, 1])
        masses = components.cdf(high[:, 1:]) - components.cdf(low[:, 1:])
        masses = (masses * parts[0][:, 1].numpy()).sum(axis=1)
        np.testing.assert_allclose(
            features.log_weights(outputs, torch.from_numpy(drawn)), np.log(masses)
        )
