"""Deep belief networks against the enumeration of all states."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare, kstest, norm
from torch.nn import functional

from probgen import DeepBeliefClassifier, DeepBeliefNetwork, get_likelihood
from probgen.boltzmann.chains import clamp_of_rows
from probgen.boltzmann.machine import CategoricalMachine, GaussianMachine, LabelledMachine
from probgen.conditions.given import parse_given
from probgen.options import Categorical

BRIEF = {
    "n_pretraining": 15,
    "max_iter": 5,
    "learning_rate_init": 0.03,
    "device": "cpu",
    "random_state": 0,
}


def bits(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def correlated(n=300, seed=0):
    """Rows of 4 bits, of which two are equal, and classes that a third tells."""
    rng = np.random.default_rng(seed)
    X = (rng.random((n, 4)) < [0.3, 0.5, 0.6, 0.5]).astype(float)
    X[:, 1] = X[:, 0]
    return X, np.where(X[:, 2] == rng.integers(0, 2, n), "no", "yes")


X, Y = correlated()


@pytest.fixture(scope="module")
def network():
    return DeepBeliefNetwork((3, 4), n_importance_samples=200, **BRIEF).fit(X)


@pytest.fixture(scope="module")
def classifier():
    model = DeepBeliefClassifier((3, 4), n_importance_samples=200, n_sampling_steps=30, **BRIEF)
    return model.fit(X, Y)


def log_conditional(model, depth=0):
    """log p(x given h) (n_rows, n_states) of a layer from the definition, in NumPy."""
    machine = model.network_.generation[depth]
    W, b = machine.weight.detach().numpy(), machine.visible_bias.detach().numpy()
    logits = b + bits(3) @ W
    rows = bits(machine.n_units)
    return rows @ logits.T - np.logaddexp(0.0, logits).sum(axis=1)


def log_top(model, extra=None):
    """log p(h) (n_states,) of the top machine, or log p(h, y) (n_states, n_classes)."""
    top = model.network_.top
    W = top.weight.detach().numpy()
    b, c = top.visible_bias.detach().numpy(), top.hidden_bias.detach().numpy()
    H, Z = bits(3), bits(4)
    if extra is None:
        log_joint = (H @ b)[:, np.newaxis] + Z @ c + H @ W.T @ Z.T
        return logsumexp(log_joint, axis=1) - logsumexp(log_joint)
    parts = []
    for label in np.eye(extra):
        units = np.column_stack([H, np.tile(label, (len(H), 1))])
        parts.append(logsumexp((units @ b)[:, np.newaxis] + Z @ c + units @ W.T @ Z.T, axis=1))
    joint = np.stack(parts, axis=1)
    return joint - logsumexp(joint)


def test_scores_are_lower_bounds_that_many_draws_close(network):
    truth = logsumexp(log_conditional(network) + log_top(network), axis=1)
    assert get_likelihood(network).kind == "lower_bound"
    model = network.network_
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        clamp = clamp_of_rows(model.bottom, torch.as_tensor(bits(4)), shares_noise=True)
        log_weights = model.propose(clamp, 20_000, generator)[0].numpy()
    log_weights -= network.log_partition().value
    groups = log_weights.reshape(4000, 5, -1)
    one = log_weights.mean(axis=0)  # the expectation of a bound by one draw
    five = (logsumexp(groups, axis=1) - np.log(5)).mean(axis=0)
    assert (one < five).all()
    assert (five < truth).all()
    np.testing.assert_allclose(logsumexp(log_weights, axis=0) - np.log(20_000), truth, atol=0.02)
    np.testing.assert_allclose(network.score_samples(bits(4)), truth, atol=0.2)


def test_draws_follow_the_network(network):
    truth = np.exp(logsumexp(log_conditional(network) + log_top(network), axis=1))
    draws = network.sample(4000, random_state=0)
    counts = (draws[:, np.newaxis] == bits(4)).all(axis=2).sum(axis=0)
    often = truth > 2e-3
    assert (
        chisquare(
            np.append(counts[often], counts[~often].sum() + 1e-9),
            4000 * np.append(truth[often], truth[~often].sum() + 1e-9 / 4000),
        ).pvalue
        > 1e-3
    )


def test_up_down_gradients_against_autograd(network):
    """The directed layers of a copy in which autograd records what closed forms claim."""
    model = network.network_
    generator = torch.Generator().manual_seed(0)
    states = model.draw_up(torch.as_tensor(X[:50]), generator)
    dreams = model.draw_down(states[-1], generator)
    loss, gradients = model.up_down_gradients(states, dreams)
    machine, layer = model.generation[0], model.recognition[0]
    asleep = functional.binary_cross_entropy_with_logits(
        layer(dreams[0]), dreams[1], reduction="none"
    )
    awake = -machine.log_conditional(states[0], states[1]).mean()
    torch.testing.assert_close(loss, awake)
    total = awake + asleep.sum(1).mean()
    expected = torch.autograd.grad(total, model.parameters_of_layers())
    assert len(gradients) == len(expected) == 4
    for own, other in zip(gradients, expected):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_conditional_gradients_against_autograd(kind):
    generator = torch.Generator().manual_seed(0)
    if kind == "gaussian":
        machine = GaussianMachine(torch.zeros(3), torch.ones(3), 2, "per_feature")
        units = torch.randn(20, 3, generator=generator)
    else:
        machine = CategoricalMachine(torch.full((3, 4), 0.25), 2)
        units = machine.encode(torch.randint(4, (20, 3), generator=generator).float())
    hidden = torch.randint(2, (20, 2), generator=generator).float()
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    parameters = [machine.weight, machine.visible_bias, *machine.rest]
    expected = torch.autograd.grad(-machine.log_conditional(units, hidden).mean(), parameters)
    _, gradients = machine.conditional_gradients(units, hidden)
    for own, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def test_learns_better_than_independent_bits(network):
    shares = X.mean(axis=0)
    independent = np.sum(X * np.log(shares) + (1 - X) * np.log(1 - shares)) / len(X)
    assert network.score(X) > independent + 0.2


def test_network_of_torch_gives_the_features(network):
    torch_network = network.to_network()
    with torch.no_grad():
        features = torch_network(torch.as_tensor(X)).numpy()
    np.testing.assert_allclose(features, network.transform(X), atol=1e-12)
    torch_network[0].weight.data.zero_()  # a copy
    assert network.network_.recognition[0].weight.abs().sum() > 0


def test_partial_fit_goes_on_with_the_up_down_pass(network):
    model = DeepBeliefNetwork((3, 4), **BRIEF).partial_fit(X)
    before = model.score(X)
    model.partial_fit(X)
    assert model.n_iter_ == 2
    assert model.score(X) != before


HOLED = np.array(
    [
        [1.0, np.nan, 0.0, np.nan],
        [np.nan, np.nan, 1.0, 1.0],
        [0.0, 1.0, np.nan, 0.0],
        [np.nan, 1.0, np.nan, np.nan],
    ]
)


def follows(draws, states, shares):
    """Whether draws have the states, rows, in these shares, all of which add up to 1."""
    counts = (draws[:, np.newaxis] == states).all(axis=2).sum(axis=0)
    often = shares > 0.01
    assert counts.sum() == len(draws)
    rest = shares[~often].sum()
    observed, expected = counts[often], len(draws) * shares[often]
    if rest > 0.0:
        observed = np.append(observed, counts[~often].sum())
        expected = np.append(expected, len(draws) * rest)
    return chisquare(observed, expected).pvalue > 1e-3


@pytest.fixture(scope="module", params=[2, 3])
def model(request, network):
    if request.param == 2:
        return network
    return DeepBeliefNetwork((3, 3, 4), n_importance_samples=200, **BRIEF).fit(X)


@pytest.fixture(scope="module")
def truth(model):
    """log p(x) (16,) of all rows."""
    if len(model.hidden_layer_sizes) == 2:
        return logsumexp(log_conditional(model) + log_top(model), axis=1)
    middle = log_conditional(model, 1)  # (h1, h2)
    log_hidden = logsumexp(middle + log_top(model), axis=1)
    return logsumexp(log_conditional(model) + log_hidden, axis=1)


class TestGaps:
    def test_scores_are_lower_bounds_that_many_draws_close(self, model, truth):
        network = model.network_
        clamp = clamp_of_rows(network.bottom, torch.as_tensor(HOLED))
        expected = []
        for row in HOLED:
            known = ~np.isnan(row)
            agrees = (bits(4)[:, known] == row[known]).all(axis=1)
            expected.append(logsumexp(truth[agrees]))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            repeats = [network.propose(clamp, 5, generator)[0] for _ in range(400)]
        bounds = logsumexp(np.stack(repeats), axis=1) - np.log(5) - model.log_partition().value
        standard_errors = bounds.std(axis=0) / 20
        assert (bounds.mean(axis=0) < expected + 3 * standard_errors).all()
        means = logsumexp(bounds, axis=0) - np.log(400)
        np.testing.assert_allclose(means, expected, atol=0.06)
        np.testing.assert_allclose(model.score_samples(HOLED), expected, atol=0.1)
        assert model.score_samples(np.full((1, 4), np.nan)) == 0.0

    @pytest.mark.parametrize("i", range(4))
    def test_completions_against_enumeration(self, model, truth, i):
        row = HOLED[i]
        known = ~np.isnan(row)
        agrees = (bits(4)[:, known] == row[known]).all(axis=1)
        shares = np.where(agrees, np.exp(truth - logsumexp(truth[agrees])), 0.0)
        assert follows(model.sample(600, given=row, random_state=0), bits(4), shares)
        filled = model.impute(row[np.newaxis])[0]
        np.testing.assert_array_equal(filled[known], row[known])
        np.testing.assert_allclose(filled, shares @ bits(4), atol=0.06)

    def test_imputed_draws_do_not_change_what_is_known(self, model):
        filled = model.impute(HOLED, method="draw", random_state=0)
        assert np.isin(filled, [0.0, 1.0]).all()
        np.testing.assert_array_equal(np.where(np.isnan(HOLED), np.nan, filled), HOLED)

    def test_a_row_does_not_depend_on_others(self, network):
        together = network.score_samples(np.concatenate([HOLED, bits(4)]))
        np.testing.assert_allclose(network.score_samples(HOLED[1:2]), together[1:2], atol=1e-12)
        np.testing.assert_array_equal(network.score_samples(bits(4)), together[4:])

    def test_rows_with_gaps_have_no_features_and_teach_nothing(self, network):
        with pytest.raises(ValueError, match="X contains NaN, which transform cannot take"):
            network.transform(HOLED)
        with pytest.raises(ValueError, match="X contains NaN, which DeepBeliefNetwork cannot"):
            DeepBeliefNetwork((3, 4), **BRIEF).fit(HOLED)

    def test_a_condition_that_few_proposals_meet_warns(self):
        model = DeepBeliefNetwork((3, 4), **BRIEF).fit(X)
        bottom, recognition = model.network_.bottom, model.network_.recognition[0]
        with torch.no_grad():
            # The first bit is the first hidden one, which recognition takes for 0 throughout.
            bottom.weight[:, 0] = torch.tensor([40.0, 0.0, 0.0])
            bottom.visible_bias[0] = -20.0
            recognition.weight[0] = 0.0
            recognition.bias[0] = -5.0
        with pytest.warns(UserWarning, match="given is hard to meet: .* proposed hidden layers"):
            model.sample(20, given={0: 1.0}, random_state=0)


def test_sets_of_levels_against_enumeration():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, (200, 2)).astype(float)
    rows[:100, 1] = rows[:100, 0]
    model = DeepBeliefNetwork((3, 4), visible=Categorical(3), **BRIEF).fit(rows)
    states = np.array(list(itertools.product(range(3), repeat=2)), dtype=float)
    machine = model.network_.bottom
    fields = machine.visible_bias.detach().numpy() + bits(3) @ machine.weight.detach().numpy()
    log_levels = fields.reshape(8, 2, 3)
    log_levels = log_levels - logsumexp(log_levels, axis=2, keepdims=True)
    index = states.astype(int)
    log_given = log_levels[:, 0, index[:, 0]] + log_levels[:, 1, index[:, 1]]
    truth = logsumexp(log_given.T + log_top(model), axis=1)
    model.set_params(n_importance_samples=1000)
    gap = model.score_samples([[np.nan, 2.0]])
    np.testing.assert_allclose(gap, logsumexp(truth[states[:, 1] == 2.0]), atol=0.05)
    within = (states[:, 0] > 0) & (states[:, 1] < 2)
    shares = np.where(within, np.exp(truth - logsumexp(truth[within])), 0.0)
    draws = model.sample(600, given={0: (0.5, None), 1: {0, 1}}, random_state=0)
    assert follows(draws, states, shares)


def test_intervals_of_real_values_against_the_mixture_over_hidden_states():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 2)) @ [[3.0, 2.0], [0.0, 1.0]] + [5.0, -2.0]
    model = DeepBeliefNetwork((3, 4), visible="gaussian", **BRIEF).fit(rows)
    machine = model.network_.bottom
    precision = machine.precision().detach().numpy()
    deviation, center = machine.deviation.numpy(), machine.center.numpy()
    fields = machine.visible_bias.detach().numpy() + bits(3) @ machine.weight.detach().numpy()
    components = norm(center + deviation * fields / precision, deviation / np.sqrt(precision))
    shares = np.exp(log_top(model))
    model.set_params(n_importance_samples=1000)
    gap = model.score_samples([[7.0, np.nan]])
    np.testing.assert_allclose(gap, np.log(shares @ components.pdf([7.0, 0.0])[:, 0]), atol=0.05)
    # The first feature within an interval, the second known
    low, high, value = 6.0, 9.0, -1.0
    masses = components.cdf([high, 0.0])[:, 0] - components.cdf([low, 0.0])[:, 0]
    weights = shares * masses * components.pdf([0.0, value])[:, 1]
    conditions = parse_given({0: (low, high), 1: value}, n_samples=1, n_features=2)
    assert model._log_given(conditions) == pytest.approx(np.log(weights.sum()), abs=0.1)
    draws = model.sample(600, given={0: (low, high), 1: value}, random_state=0)
    assert (draws[:, 1] == value).all()

    def distribution(x):
        below = components.cdf(np.column_stack([x, x])[:, np.newaxis])[:, :, 0]
        below = below - components.cdf([low, 0.0])[:, 0]
        return below @ (weights / masses) / weights.sum()

    assert kstest(draws[:, 0], distribution).pvalue > 1e-3


class TestClasses:
    def test_joint_bounds_against_enumeration(self, classifier):
        log_joint = log_conditional(classifier)[:, :, np.newaxis] + log_top(classifier, 2)
        truth = logsumexp(log_joint, axis=1)
        classifier.set_params(n_importance_samples=20_000)
        rows = bits(4)
        for k, label in enumerate(["no", "yes"]):
            np.testing.assert_allclose(
                classifier.score_samples(rows, np.repeat(label, 16)), truth[:, k], atol=0.02
            )
        np.testing.assert_allclose(
            classifier.score_samples(rows), logsumexp(truth, axis=1), atol=0.02
        )
        posterior = np.exp(truth - logsumexp(truth, axis=1, keepdims=True))
        np.testing.assert_allclose(classifier.predict_proba(rows), posterior, atol=0.01)
        classifier.set_params(n_importance_samples=200)

    @pytest.mark.parametrize("label", ["no", "yes"])
    def test_draws_of_a_class(self, classifier, label):
        k = list(classifier.classes_).index(label)
        given_class = log_top(classifier, 2)[:, k]
        truth = np.exp(
            logsumexp(log_conditional(classifier) + given_class - logsumexp(given_class), axis=1)
        )
        draws = classifier.sample(3000, y=label, random_state=0)
        counts = (draws[:, np.newaxis] == bits(4)).all(axis=2).sum(axis=0)
        often = truth > 2e-3
        assert (
            chisquare(
                np.append(counts[often], counts[~often].sum() + 1e-9),
                3000 * np.append(truth[often], truth[~often].sum() + 1e-9 / 3000),
            ).pvalue
            > 1e-3
        )

    def test_gaps_against_enumeration(self, classifier):
        log_joint = log_conditional(classifier)[:, :, np.newaxis] + log_top(classifier, 2)
        truth = logsumexp(log_joint, axis=1)
        classifier.set_params(n_importance_samples=500)
        for row in HOLED[:2]:
            known = ~np.isnan(row)
            agrees = (bits(4)[:, known] == row[known]).all(axis=1)
            by_class = logsumexp(truth[agrees], axis=0)
            posterior = np.exp(by_class - logsumexp(by_class))
            score = classifier.score_samples(row[np.newaxis])
            assert score == pytest.approx(logsumexp(by_class), abs=0.05)
            proba = classifier.predict_proba(row[np.newaxis])[0]
            np.testing.assert_allclose(proba, posterior, atol=0.03)
            draws, y = classifier.sample(400, given=row, return_y=True, random_state=0)
            joint = np.exp(truth[agrees] - logsumexp(by_class))
            labelled = np.column_stack([draws, y == "yes"])
            labels = np.tile([0.0, 1.0], agrees.sum())
            states = np.column_stack([np.repeat(bits(4)[agrees], 2, axis=0), labels])
            assert follows(labelled, states, joint.ravel())
            filled = classifier.impute(row[np.newaxis])[0]
            np.testing.assert_allclose(filled, joint.sum(axis=1) @ bits(4)[agrees], atol=0.06)
        classifier.set_params(n_importance_samples=200)

    def test_learns_the_classes(self):
        rows = np.repeat(bits(4), 20, axis=0)
        labels = rows[:, 2].astype(int)
        model = DeepBeliefClassifier((6, 6), n_pretraining=40, max_iter=10, learning_rate_init=0.02)
        model.set_params(random_state=0).fit(rows, labels)
        assert np.mean(model.predict(rows) == labels) > 0.95


def test_labelled_machine_sums_out_its_classes():
    machine = LabelledMachine(torch.tensor([0.2, 0.6]), torch.tensor([0.3, 0.5, 0.2]), 2).double()
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(5, generator=generator).double()
    states = [(*b, *label) for b in bits(2) for label in np.eye(3)]
    truth = logsumexp(np.array(states) @ field.numpy())
    assert float(machine.log_normalizer(field).sum()) == pytest.approx(truth, abs=1e-12)
    draws = machine.draw(field.expand(2000, 5), generator)
    assert (draws[:, 2:].sum(1) == 1).all()
    np.testing.assert_allclose(draws.mean(0).numpy(), machine.mean(field).numpy(), atol=0.05)


@pytest.mark.parametrize(
    "parameters, sentence",
    [
        ({"hidden_layer_sizes": (3,)}, "hidden_layer_sizes must hold at least 2 layers; got"),
        ({"n_pretraining": 0}, "n_pretraining must be an integer >= 1; got 0"),
        ({"up_down_rate": -1.0}, "up_down_rate must be a"),
        ({"visible": "poisson"}, "visible must be"),
    ],
)
def test_bad_parameters(parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        DeepBeliefNetwork(**parameters).fit(X)
