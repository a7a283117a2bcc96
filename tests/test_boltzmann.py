"""Restricted Boltzmann machines against the enumeration of all states, and scikit-learn's."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare, norm
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline

from probgen import BayesClassifier, RestrictedBoltzmannMachine, Trainer, get_likelihood
from probgen.boltzmann.chains import clamp_of
from probgen.boltzmann.enumeration import log_partition
from probgen.boltzmann.gradients import energy_gradients, sparsity_gradients
from probgen.boltzmann.machine import BernoulliMachine, CategoricalMachine, GaussianMachine
from probgen.boltzmann.partition import annealed_log_partition, reverse_log_partition
from probgen.boltzmann.queries import log_mass, mean_clamped
from probgen.conditions.given import observed, parse_given
from probgen.estimators.energy.objective import BoltzmannObjective
from probgen.marginal_likelihood.annealing import sigmoid_temperatures
from probgen.options import (
    AnnealedImportanceSampling,
    ContrastiveDivergence,
    Gaussian,
    KLSparsity,
    PersistentContrastiveDivergence,
)

N_HIDDEN = 3
LEVELS = {"bernoulli": [2] * 4, "categorical": [3] * 3}


def bits(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def scattered(machine, scale=1.0, seed=0):
    """A machine with random parameters, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    machine = machine.double()
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator).double())
    return machine


def machine_of(kind, scale=1.0, n_hidden=N_HIDDEN, seed=0):
    if kind == "bernoulli":
        machine = BernoulliMachine(torch.tensor([0.2, 0.5, 0.7, 0.4]), n_hidden)
    elif kind == "categorical":
        machine = CategoricalMachine(torch.full((3, 3), 1.0 / 3.0), n_hidden)
    else:
        center, deviation = torch.tensor([1.0, -2.0]), torch.tensor([2.0, 0.5])
        machine = GaussianMachine(center.double(), deviation.double(), n_hidden, "per_feature")
    return scattered(machine, scale, seed)


def rows_of(kind):
    """All rows of a discrete machine."""
    return np.array(list(itertools.product(*[range(n) for n in LEVELS[kind]])), dtype=float)


def units_of(kind, rows):
    """Units as the definition has them."""
    if kind == "categorical":
        return np.concatenate([np.eye(3)[rows[:, j].astype(int)] for j in range(3)], axis=1)
    return rows


def joint(machine, kind):
    """Unnormalised log p(v, h) (n_rows, n_hidden_states) of a discrete machine, in NumPy."""
    W = machine.weight.detach().numpy()
    b, c = machine.visible_bias.detach().numpy(), machine.hidden_bias.detach().numpy()
    V, H = units_of(kind, rows_of(kind)), bits(machine.n_hidden)
    return (V @ b)[:, np.newaxis] + H @ c + V @ W.T @ H.T


def mixture(machine):
    """Weights, means and deviations of the Gaussian mixture that a Gaussian machine is."""
    W = machine.weight.detach().numpy()
    b, c = machine.visible_bias.detach().numpy(), machine.hidden_bias.detach().numpy()
    precision = np.exp(machine.log_precision.detach().numpy())
    H = bits(machine.n_hidden)
    field = b + H @ W
    masses = H @ c + 0.5 * (field**2 / precision + np.log(2 * np.pi / precision)).sum(axis=1)
    center, deviation = machine.center.numpy(), machine.deviation.numpy()
    means = center + deviation * field / precision
    return masses, means, deviation / np.sqrt(precision)


def fitted(kind, machine, rows):
    """An estimator whose machine is a given one."""
    model = RestrictedBoltzmannMachine(
        machine.n_hidden, visible=kind, max_iter=1, device="cpu", random_state=0
    )
    model.fit(rows)
    model.machine_ = machine
    return model


def model_of(kind, machine):
    if kind == "gaussian":
        rows = np.random.default_rng(0).standard_normal((20, 2))
    else:
        rows = rows_of(kind)
    return fitted(kind, machine, rows)


@pytest.mark.parametrize("kind", LEVELS)
class TestEnumeration:
    def test_log_partition(self, kind):
        machine = machine_of(kind)
        assert log_partition(machine) == pytest.approx(logsumexp(joint(machine, kind)), abs=1e-10)

    def test_visible_side_is_summed_if_it_is_smaller(self, kind):
        machine = machine_of(kind, n_hidden=6)
        assert log_partition(machine) == pytest.approx(logsumexp(joint(machine, kind)), abs=1e-10)

    def test_scores_are_log_probabilities(self, kind):
        machine = machine_of(kind)
        log_joint = joint(machine, kind)
        truth = logsumexp(log_joint, axis=1) - logsumexp(log_joint)
        scores, std = model_of(kind, machine).score_samples(rows_of(kind), return_std=True)
        np.testing.assert_allclose(scores, truth, atol=1e-10)
        np.testing.assert_array_equal(std, 0.0)

    def test_transform_is_the_probability_of_hidden_units(self, kind):
        machine = machine_of(kind)
        shares = np.exp(joint(machine, kind))
        shares /= shares.sum(axis=1, keepdims=True)
        hidden = model_of(kind, machine).transform(rows_of(kind))
        np.testing.assert_allclose(hidden, shares @ bits(N_HIDDEN), atol=1e-10)

    def test_inverse_transform_is_the_mean_given_hidden_units(self, kind):
        machine = machine_of(kind)
        shares = np.exp(joint(machine, kind))
        shares /= shares.sum(axis=0)
        means = model_of(kind, machine).inverse_transform(bits(N_HIDDEN))
        np.testing.assert_allclose(means, shares.T @ rows_of(kind), atol=1e-10)

    def test_missing_values_are_summed_out(self, kind):
        machine = machine_of(kind)
        model = model_of(kind, machine)
        rows = rows_of(kind)
        truth = np.exp(model.score_samples(rows))
        for gaps in ([0], [0, 2], [1, 2]):
            gappy = rows.copy()
            gappy[:, gaps] = np.nan
            kept = np.setdiff1d(np.arange(rows.shape[1]), gaps)
            same = (rows[:, np.newaxis, kept] == rows[np.newaxis][:, :, kept]).all(axis=2)
            np.testing.assert_allclose(model.score_samples(gappy), np.log(same @ truth), atol=1e-9)
            imputed = same @ (truth[:, np.newaxis] * rows) / (same @ truth)[:, np.newaxis]
            np.testing.assert_allclose(
                model.impute(gappy), np.where(np.isnan(gappy), imputed, rows), atol=1e-9
            )

    @pytest.mark.parametrize("n_steps", [None, 60])
    def test_draws_follow_the_probabilities(self, kind, n_steps, monkeypatch):
        machine = machine_of(kind, scale=0.5)
        model = model_of(kind, machine)
        if n_steps:  # by chains, as for machines that cannot be enumerated
            monkeypatch.setattr("probgen.boltzmann.queries.MOST_TABLE_NUMBERS", 0)
            model.set_params(n_sampling_steps=n_steps)
        self.assert_follow(model, model.sample(4000, random_state=0), {})

    @pytest.mark.parametrize("n_steps", [None, 60])
    @pytest.mark.parametrize("given", [{0: 1.0}, {1: (0.5, None)}, {0: {0, 1}, 2: 1.0}])
    def test_draws_under_conditions(self, kind, n_steps, given, monkeypatch):
        machine = machine_of(kind, scale=0.5)
        model = model_of(kind, machine)
        if n_steps:
            monkeypatch.setattr("probgen.boltzmann.queries.MOST_ROW_NUMBERS", 0)
            model.set_params(n_sampling_steps=n_steps)
        self.assert_follow(model, model.sample(4000, given=given, random_state=1), given)

    @staticmethod
    def assert_follow(model, draws, given):
        rows = rows_of(model.visible)
        holds = np.ones(len(rows), dtype=bool)
        for j, condition in given.items():
            if isinstance(condition, set):
                holds &= np.isin(rows[:, j], list(condition))
            elif isinstance(condition, tuple):
                holds &= rows[:, j] >= condition[0]
            else:
                holds &= rows[:, j] == condition
        rows = rows[holds]
        truth = np.exp(model.score_samples(rows))
        counts = (draws[:, np.newaxis] == rows).all(axis=2).sum(axis=0)
        assert counts.sum() == len(draws)
        expected = truth / truth.sum() * len(draws)
        often = expected >= 5.0
        counts = np.append(counts[often], counts[~often].sum() + 1e-9)
        expected = np.append(expected[often], expected[~often].sum() + 1e-9)
        assert chisquare(counts, expected).pvalue > 1e-3

    def test_gibbs_steps_leave_the_distribution_as_it_is(self, kind):
        machine = machine_of(kind, scale=1.5)
        model = model_of(kind, machine)
        rows = model.sample(4000, random_state=2)  # exact
        self.assert_follow(model, model.gibbs(rows, 1, random_state=3), {})
        assert (model.gibbs(rows, 1, random_state=3) != rows).any()


class TestGaussian:
    def test_score_is_the_density_of_a_mixture(self):
        machine = machine_of("gaussian")
        model = model_of("gaussian", machine)
        masses, means, deviation = mixture(machine)
        rows = np.random.default_rng(1).normal(size=(20, 2)) * 3.0
        logs = norm.logpdf(rows[:, np.newaxis], means, deviation)
        truth = logsumexp(masses - logsumexp(masses) + logs.sum(axis=2), axis=1)
        np.testing.assert_allclose(model.score_samples(rows), truth, atol=1e-9)
        gappy = rows.copy()
        gappy[:, 1] = np.nan
        truth = logsumexp(masses - logsumexp(masses) + logs[:, :, 0], axis=1)
        np.testing.assert_allclose(model.score_samples(gappy), truth, atol=1e-9)
        assert model.log_partition().value == pytest.approx(
            logsumexp(masses) + np.log(machine.deviation.numpy()).sum(), abs=1e-9
        )

    def test_clamped_chains_follow_the_conditional_density(self, monkeypatch):
        machine = machine_of("gaussian", scale=0.5)
        model = model_of("gaussian", machine)
        exact = model.sample(3000, given={0: (1.0, 2.0)}, random_state=0)
        monkeypatch.setattr("probgen.boltzmann.queries.MOST_ROW_NUMBERS", 0)
        model.set_params(n_sampling_steps=60)
        drawn = model.sample(3000, given={0: (1.0, 2.0)}, random_state=1)
        for rows in (exact, drawn):
            assert ((rows[:, 0] >= 1.0) & (rows[:, 0] <= 2.0)).all()
        errors = np.hypot(exact.std(axis=0), drawn.std(axis=0)) / np.sqrt(3000)
        assert (np.abs(exact.mean(axis=0) - drawn.mean(axis=0)) < 4.0 * errors).all()

    def test_a_scale_by_number_is_in_units_of_X(self):
        rows = np.random.default_rng(0).standard_normal((50, 2)) * [1.0, 5.0]
        model = RestrictedBoltzmannMachine(2, visible=Gaussian(0.5), max_iter=2, random_state=0)
        machine = model.fit(rows).machine_
        noise = machine.deviation / machine.precision().sqrt()
        np.testing.assert_allclose(noise.detach().numpy(), 0.5, rtol=1e-9)

    def test_the_noise_of_a_column_that_hidden_units_explain_shrinks(self):
        rng = np.random.default_rng(0)
        rows = np.column_stack(
            [rng.choice([-1.0, 1.0], 400) + 0.2 * rng.normal(size=400), rng.normal(size=400)]
        )
        model = RestrictedBoltzmannMachine(
            2, visible="gaussian", max_iter=40, learning_rate_init=0.05, random_state=0
        )
        precision = model.fit(rows).machine_.precision()
        assert precision[0] > 2.0 * precision[1]


def test_few_free_bits_are_enumerated_whatever_the_hidden_units():
    every = bits(8)
    machine = scattered(BernoulliMachine(torch.full((8,), 0.5), 25), 0.5)
    model = fitted("bernoulli", machine, every)
    known = np.array([0, 3, 4])
    row = np.full((1, 8), np.nan)
    row[0, known] = [1.0, 0.0, 1.0]
    agree = (every[:, known] == row[0, known]).all(axis=1)
    scores = model.score_samples(every)
    assert logsumexp(scores) == pytest.approx(0.0, abs=1e-9)
    value, std = model.score_samples(row, return_std=True)
    assert value[0] == pytest.approx(logsumexp(scores[agree]), abs=1e-9)
    assert std[0] == 0.0

    shares = np.exp(scores[agree] - logsumexp(scores[agree]))
    means = shares @ every[agree]
    np.testing.assert_allclose(model.impute(row), means[np.newaxis], atol=1e-6)
    draws = model.sample(2000, given=row[0], random_state=0)
    counts = [(draws == state).all(axis=1).sum() for state in every[agree]]
    assert sum(counts) == 2000
    assert chisquare(counts, 2000 * shares).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "gaussian"])
class TestPartition:
    TEMPERATURES = sigmoid_temperatures(200)

    def test_annealing_brackets_enumeration(self, kind):
        machine = machine_of(kind)
        truth = log_partition(machine)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            up, std = annealed_log_partition(machine, self.TEMPERATURES, 200, generator)
            model = model_of(kind, machine)
            rows = torch.as_tensor(model.sample(200, random_state=0))
            down, _ = reverse_log_partition(
                machine, self.TEMPERATURES, machine.encode(rows), generator
            )
        assert abs(float(up) - truth) < 0.1
        assert abs(float(up) - truth) < 5.0 * float(std) + 1e-9
        assert abs(float(down) - truth) < 0.1

    def test_clamped_annealing_agrees_with_enumeration(self, kind, monkeypatch):
        machine = machine_of(kind)
        d = 2 if kind == "gaussian" else len(LEVELS[kind])
        rows = np.full((3, d), np.nan)
        rows[0, 0], rows[1, 1] = 1.0, 0.0
        clamp = clamp_of(machine, observed(rows))
        given = {0: (0.5, 1.5)}
        within = clamp_of(machine, parse_given(given, n_samples=1, n_features=d))
        for each in (clamp, within):
            with torch.no_grad():
                exact, _ = log_mass(machine, each, 0, [], None)
                monkeypatch.setattr("probgen.boltzmann.queries.MOST_ROW_NUMBERS", 0)
                generator = torch.Generator().manual_seed(0)
                values, _ = log_mass(machine, each, 200, self.TEMPERATURES, generator)
                monkeypatch.undo()
            np.testing.assert_allclose(values.numpy(), exact.numpy(), atol=0.1)

    def test_means_of_clamped_chains(self, kind, monkeypatch):
        machine = machine_of(kind, scale=0.5)
        d = 2 if kind == "gaussian" else len(LEVELS[kind])
        rows = np.full((2, d), np.nan)
        rows[0, 0] = 1.0
        clamp = clamp_of(machine, observed(rows))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            exact = mean_clamped(machine, clamp, 0, generator)
            monkeypatch.setattr("probgen.boltzmann.queries.MOST_ROW_NUMBERS", 0)
            means = mean_clamped(machine, clamp, 300, generator)
        np.testing.assert_allclose(means.numpy(), exact.numpy(), atol=0.06)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "gaussian"])
def test_gradient_is_that_of_the_exact_likelihood(kind):
    """Data less model, the model's expectation from all states, against finite differences."""
    machine = machine_of(kind, scale=0.5)
    rng = np.random.default_rng(0)
    if kind == "gaussian":
        rows = torch.as_tensor(rng.standard_normal((7, 2)))
        model_rows = torch.as_tensor(model_of(kind, machine).sample(100_000, random_state=0))
        tolerance = 0.03
    else:
        rows = torch.as_tensor(rows_of(kind)[rng.integers(0, len(rows_of(kind)), 7)])
        log_joint = logsumexp(joint(machine, kind), axis=1)
        shares = np.exp(log_joint - logsumexp(log_joint))
        counts = np.rint(shares * 200_000).astype(int)
        model_rows = torch.as_tensor(np.repeat(rows_of(kind), counts, axis=0))
        tolerance = 1e-3
    units = machine.encode(rows)
    with torch.no_grad():
        _, _, gradients, _ = energy_gradients(machine, units, machine.encode(model_rows))
    parameters = [machine.weight, machine.visible_bias, machine.hidden_bias, *machine.rest]
    step = 1e-5
    for parameter, gradient in zip(parameters, gradients):
        for place in np.ndindex(*parameter.shape):
            losses = []
            for shift in (step, -step):
                with torch.no_grad():
                    parameter[place] += shift
                    mean = machine.negative_free_energy(units).mean()
                    losses.append(log_partition(machine) - float(mean))
                    parameter[place] -= shift
            slope = (losses[0] - losses[1]) / (2 * step)
            assert float(gradient[place]) == pytest.approx(slope, abs=tolerance)


def test_centered_direction_is_the_gradient_of_a_centered_machine():
    """The same step, taken in biases of units less their offsets."""
    machine = machine_of("bernoulli")
    units = torch.as_tensor(rows_of("bernoulli"))
    model_units = units[[1, 4, 5, 9]]
    visible, hidden = torch.full((4,), 0.3).double(), torch.full((N_HIDDEN,), 0.6).double()
    with torch.no_grad():
        _, _, plain, _ = energy_gradients(machine, units, model_units)
        _, _, centered, _ = energy_gradients(machine, units, model_units, (visible, hidden))
    weight, by_visible, by_hidden = plain
    # Biases of the centered machine are b + W' m_h and c + W m_v.
    expected = weight - torch.outer(hidden, by_visible) - torch.outer(by_hidden, visible)
    torch.testing.assert_close(centered[0], expected)
    torch.testing.assert_close(centered[1] + hidden @ centered[0], by_visible)
    torch.testing.assert_close(centered[2] + centered[0] @ visible, by_hidden)


def test_sparsity_gradient_against_finite_differences():
    machine = machine_of("bernoulli")
    units = torch.as_tensor(rows_of("bernoulli"))
    for parameter in (machine.weight, machine.hidden_bias):
        hidden = torch.sigmoid(machine.hidden_logits(units))
        value, *_ = sparsity_gradients(units, hidden, 0.1, 2.0)
        (expected,) = torch.autograd.grad(value, parameter)
        _, by_weight, by_bias = sparsity_gradients(units, hidden, 0.1, 2.0)
        own = by_weight if parameter is machine.weight else by_bias
        torch.testing.assert_close(own, expected)


class TestTraining:
    SHARES = np.array([30, 5, 5, 10, 5, 5, 10, 30]) / 100  # correlated bits
    X = np.repeat(bits(3), [30, 5, 5, 10, 5, 5, 10, 30], axis=0)

    @pytest.mark.parametrize("algorithm", ["pcd", ContrastiveDivergence(n_steps=5)])
    def test_learns_a_distribution_of_bits(self, algorithm):
        model = RestrictedBoltzmannMachine(
            6, algorithm=algorithm, max_iter=100, batch_size=50, learning_rate_init=0.02
        ).set_params(random_state=0)
        model.fit(self.X.astype(np.float32))
        entropy = -np.sum(self.SHARES * np.log(self.SHARES))
        independent = 3 * np.log(2.0)
        assert -model.score(self.X) < entropy + 0.2 * (independent - entropy)

    def test_the_penalty_moves_activities_to_the_target(self):
        means = {}
        for penalty in (None, KLSparsity(weight=1.0, target=0.05)):
            model = RestrictedBoltzmannMachine(
                8, penalty=penalty, max_iter=40, learning_rate_init=0.02, random_state=0
            )
            means[penalty is None] = model.fit(self.X).transform(self.X).mean()
        assert means[False] < 0.15 < means[True]

    def test_engine_gets_the_gradients(self):
        machine = machine_of("bernoulli")
        objective = BoltzmannObjective(
            machine, PersistentContrastiveDivergence(), None, lambda X, generator: X
        )
        units = torch.as_tensor(rows_of("bernoulli"))
        objective.noise = torch.Generator().manual_seed(0)
        _, gradients = objective.loss_of_units(units, objective.model_units(units))
        objective.chains.zero_()
        objective.hidden_center.copy_(torch.sigmoid(machine.hidden_bias.detach()))
        objective.noise = torch.Generator().manual_seed(0)
        (3.0 * objective.loss(units)).backward()
        torch.testing.assert_close(machine.weight.grad, 3.0 * gradients[0].detach())
        torch.testing.assert_close(machine.hidden_bias.grad, 3.0 * gradients[2].detach())

    def test_chains_go_on_after_a_checkpoint(self, tmp_path):
        settings = {"max_iter": 4, "random_state": 0}
        whole = RestrictedBoltzmannMachine(4, **settings).fit(self.X)

        class Stop(Exception):
            pass

        trainer = Trainer(
            schedule="cosine",
            ema_decay=0.999,
            checkpoint=tmp_path,
            checkpoint_interval=0.0,
        )
        model = RestrictedBoltzmannMachine(4, trainer=trainer, **settings)
        objective = BoltzmannObjective.end_epoch
        count = []

        def end_epoch(self):
            count.append(1)
            if len(count) == 2:
                raise Stop
            return objective(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BoltzmannObjective, "end_epoch", end_epoch)
            with pytest.raises(Stop):
                model.fit(self.X)
        resumed = RestrictedBoltzmannMachine(4, trainer=trainer, **settings).fit(self.X)
        np.testing.assert_array_equal(resumed.components_, whole.components_)

    def test_validation_scores_are_log_likelihoods(self):
        trainer = Trainer(optimizer="sgd", early_stopping=True, n_iter_no_change=100)
        model = RestrictedBoltzmannMachine(4, trainer=trainer, max_iter=5, random_state=0)
        model.fit(self.X.astype(np.float32))
        scores = model.history_["validation_score"]
        assert np.isfinite(scores).all()
        # The best weights, on the held-out tenth of the rows.
        assert max(scores) == pytest.approx(model.score(self.X), abs=0.6)

    def test_dynamic_binarization_learns_from_probabilities(self):
        model = RestrictedBoltzmannMachine(
            2, dynamic_binarization=True, max_iter=40, learning_rate_init=0.02, random_state=0
        )
        model.fit(np.full((200, 2), 0.3, dtype=np.float32))
        np.testing.assert_allclose(model.sample(4000, random_state=0).mean(axis=0), 0.3, atol=0.05)


class TestScikitLearn:
    X = (np.random.default_rng(0).random((100, 9)) < 0.4).astype(float)

    def test_same_weights_give_the_same_features_and_free_energies(self):
        peer = BernoulliRBM(5, n_iter=3, random_state=0).fit(self.X)
        model = RestrictedBoltzmannMachine(5, max_iter=1, random_state=0).fit(self.X)
        with torch.no_grad():
            model.machine_.weight.copy_(torch.as_tensor(peer.components_))
            model.machine_.hidden_bias.copy_(torch.as_tensor(peer.intercept_hidden_))
            model.machine_.visible_bias.copy_(torch.as_tensor(peer.intercept_visible_))
        np.testing.assert_allclose(model.transform(self.X), peer.transform(self.X), atol=1e-10)
        np.testing.assert_allclose(model.free_energy(self.X), peer._free_energy(self.X), atol=1e-10)
        np.testing.assert_allclose(model.components_, peer.components_)
        np.testing.assert_allclose(model.intercept_hidden_, peer.intercept_hidden_)
        np.testing.assert_allclose(model.intercept_visible_, peer.intercept_visible_)

    def test_stands_before_a_classifier(self):
        rows = np.random.default_rng(0).random((60, 9))  # in [0, 1], as scikit-learn's takes them
        y = (rows[:, 0] > 0.5).astype(int)
        model = make_pipeline(
            RestrictedBoltzmannMachine(5, max_iter=2, random_state=0), LogisticRegression()
        )
        assert model.fit(rows, y).predict(rows).shape == (60,)


class TestEstimates:
    def model(self):
        rng = np.random.default_rng(0)
        X = (rng.random((200, 24)) < 0.3).astype(np.float32)
        model = RestrictedBoltzmannMachine(
            21,
            max_iter=5,
            n_sampling_steps=20,
            partition=AnnealedImportanceSampling(40, 60),
            random_state=0,
        )
        return model.fit(X), X

    def test_log_partition_is_kept_and_its_error_is_that_of_scores(self):
        model, X = self.model()
        assert get_likelihood(model).kind == "estimate"
        partition = model.log_partition()
        assert model.log_partition() == partition
        assert partition.low <= partition.value <= partition.low
        assert partition.high == pytest.approx(partition.value, abs=0.1)
        scores, std = model.score_samples(X, return_std=True)
        np.testing.assert_allclose(std, partition.std, rtol=1e-6)
        np.testing.assert_allclose(scores, -model.free_energy(X) - partition.value, rtol=1e-5)
        # The machine has one hidden unit more than would be enumerated; truth by its rule.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("probgen.boltzmann.enumeration.MOST_BITS", 24)
            assert log_partition(model.machine_) == pytest.approx(partition.value, abs=0.1)

    def test_more_temperatures_are_taken_after_a_fit(self):
        model, _ = self.model()
        before = model.log_partition()
        model.set_params(partition__n_temperatures=150)
        assert model.log_partition() != before

    def test_rows_with_gaps_do_not_depend_on_each_other(self):
        model, X = self.model()
        gappy = X[:4].copy()
        gappy[:, :3] = np.nan
        gappy[3, 7] = np.nan
        scores = model.score_samples(gappy)
        np.testing.assert_array_equal(model.score_samples(gappy[2:]), scores[2:])
        np.testing.assert_array_equal(model.impute(gappy[2:]), model.impute(gappy)[2:])
        # A sum over the three missing bits of the first row.
        filled = np.repeat(X[:1], 8, axis=0)
        filled[:, :3] = bits(3)
        assert scores[0] == pytest.approx(logsumexp(model.score_samples(filled)), abs=0.1)


def test_kind_is_exact_where_a_side_is_enumerated():
    assert get_likelihood(RestrictedBoltzmannMachine(20)).kind == "exact"
    assert get_likelihood(RestrictedBoltzmannMachine(21)).kind == "estimate"
    X = (np.random.default_rng(0).random((20, 5)) < 0.5).astype(float)
    model = RestrictedBoltzmannMachine(21, max_iter=1, random_state=0).fit(X)
    assert get_likelihood(model).kind == "exact"  # 5 bits
    assert get_likelihood(RestrictedBoltzmannMachine(visible="gaussian")).measure == "lebesgue"
    assert get_likelihood(RestrictedBoltzmannMachine()).measure == "counting"


def test_classes_by_bayes_rule_under_a_condition():
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    X = (rng.random((100, 3)) < np.where(y, 0.8, 0.2)[:, np.newaxis]).astype(float)
    model = BayesClassifier(RestrictedBoltzmannMachine(2, max_iter=5), random_state=0).fit(X, y)
    rows = bits(3)
    joint_of = np.stack([np.exp(model.score_samples(rows, label)) for label in (0, 1)])
    holds = rows[:, 0] == 1.0
    truth = joint_of[:, holds].sum(axis=1)
    _, drawn = model.sample(2000, given={0: 1.0}, return_y=True, random_state=0)
    assert chisquare(np.bincount(drawn), 2000 * truth / truth.sum()).pvalue > 1e-3


class TestBadInput:
    X = (np.random.default_rng(0).random((20, 5)) < 0.5).astype(float)

    @pytest.mark.parametrize("value", [1.5, -0.1, 3.0, 1.0 + 1e-6])
    def test_values_outside_of_the_unit_interval(self, value):
        rows = self.X.copy()
        rows[3, 2] = value
        with pytest.raises(ValueError, match=r"visible='bernoulli' needs values in \[0, 1\]; X"):
            RestrictedBoltzmannMachine(2).fit(rows)
        model = RestrictedBoltzmannMachine(2, max_iter=1).fit(self.X)
        for query in (model.transform, model.score_samples, model.gibbs, model.free_energy):
            with pytest.raises(ValueError, match=r"visible='bernoulli' needs values in \[0, 1\]"):
                query(rows)

    def test_no_likelihood_of_grey_rows(self):
        model = RestrictedBoltzmannMachine(2, max_iter=1).fit(self.X)
        with pytest.raises(
            ValueError, match=r"needs rows of 0 and 1 for a likelihood; X holds 0\.5"
        ):
            model.score_samples(np.full((2, 5), 0.5))

    def test_levels_that_are_none(self):
        model = RestrictedBoltzmannMachine(2, visible="categorical", max_iter=1).fit(2.0 * self.X)
        assert model.n_levels_ == 3
        with pytest.raises(ValueError, match="whole numbers from 0 to n_levels - 1 = 2; X holds"):
            model.score_samples(3.0 * self.X)
        with pytest.raises(
            ValueError, match="given must leave feature 0 whole numbers from 0 to 2"
        ):
            model.sample(given={0: 7.0})
        with pytest.raises(ValueError, match="given must hold whole numbers from 0 to 2 for"):
            model.sample(given={0: {7}})

    def test_log_partition_of_an_unfitted_machine(self):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            RestrictedBoltzmannMachine().log_partition()

    @pytest.mark.parametrize(
        "parameters, sentence",
        [
            ({"n_components": 0}, "n_components must be an integer >= 1; got 0"),
            ({"n_sampling_steps": 0}, "n_sampling_steps must be an integer >= 1; got 0"),
            ({"visible": "poisson"}, "visible must be "),
            ({"algorithm": "sgd"}, "algorithm must be "),
            ({"algorithm": ContrastiveDivergence(0)}, "n_steps must be an integer >= 1"),
            (
                {"visible": "gaussian", "dynamic_binarization": True},
                "dynamic_binarization=True draws rows of 0 and 1, which need visible='bernoulli'",
            ),
        ],
    )
    def test_parameters(self, parameters, sentence):
        with pytest.raises(ValueError, match=sentence):
            RestrictedBoltzmannMachine(**parameters).fit(self.X)

    def test_gaps_in_fit_and_features(self):
        rows = self.X.copy()
        rows[0, 0] = np.nan
        with pytest.raises(ValueError, match="X contains NaN, which RestrictedBoltzmannMachine"):
            RestrictedBoltzmannMachine(2).fit(rows)
        model = RestrictedBoltzmannMachine(2, max_iter=1).fit(self.X)
        with pytest.raises(ValueError, match="X contains NaN, which transform cannot take"):
            model.transform(rows)
        with pytest.raises(ValueError, match="X contains NaN, which gibbs cannot take"):
            model.gibbs(rows)
