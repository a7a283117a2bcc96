"""Pyro programs run, recorded and weighed: against Pyro's own bounds, and closed forms."""

import threading

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from scipy.stats import multivariate_normal

from probgen import VAE, Trainer
from probgen.marginal_likelihood.importance import normal_noise
from probgen.marginal_likelihood.latent_model import log_mean_exp
from probgen.options import ELBO
from probgen.programs import (
    ProgramObjective,
    elbo_terms,
    isolated_pyro_state,
    log_weights,
    record,
    recording,
)
from probgen.programs.objective import RECORD_FROM
from probgen.programs.recording import draw_seed
from probgen.training import Callback

X = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 3)))
W = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 2)))
NOISE = 0.5


class Networks(torch.nn.Module):
    """A linear encoder with deviations, and a linear decoder."""

    def __init__(self):
        super().__init__()
        with isolated_pyro_state("cpu", seed=3):
            self.encoder, self.decoder = (
                torch.nn.Linear(3, 4).double(),
                torch.nn.Linear(2, 3).double(),
            )


def programs(networks):
    def model(X):
        with pyro.plate("rows", len(X)):
            z = pyro.sample("z", dist.Normal(X.new_zeros(2), X.new_ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(networks.decoder(z), NOISE).to_event(1), obs=X)

    def guide(X):
        mean, raw = networks.encoder(X).chunk(2, 1)
        with pyro.plate("rows", len(X)):
            pyro.sample("z", dist.Normal(mean, torch.nn.functional.softplus(raw)).to_event(1))

    return model, guide


def linear_programs():
    """Factor analysis and its exact posterior."""
    precision = torch.eye(2, dtype=X.dtype) + W.T @ W / NOISE**2
    scale = torch.linalg.cholesky(torch.linalg.inv(precision))

    def model(X):
        with pyro.plate("rows", len(X)):
            z = pyro.sample("z", dist.Normal(X.new_zeros(2), X.new_ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(z @ W.T, NOISE).to_event(1), obs=X)

    def guide(X):
        mean = torch.linalg.solve(precision, (X @ W / NOISE**2).T).T
        transform = dist.transforms.LowerCholeskyAffine(mean, scale)
        with pyro.plate("rows", len(X)):
            base = dist.Normal(torch.zeros_like(mean), torch.ones_like(mean)).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, transform))

    return model, guide


def truth():
    covariance = W @ W.T + NOISE**2 * torch.eye(3)
    return multivariate_normal(np.zeros(3), covariance.numpy()).logpdf(X.numpy())


class TestBounds:
    @pytest.mark.parametrize(
        "kind, n_particles, its",
        [
            ("trace", 1, Trace_ELBO(max_plate_nesting=1)),
            ("trace", 4, Trace_ELBO(4, vectorize_particles=True, max_plate_nesting=1)),
            ("mean_field", 1, TraceMeanField_ELBO(max_plate_nesting=1)),
            (
                "mean_field",
                4,
                TraceMeanField_ELBO(4, vectorize_particles=True, max_plate_nesting=1),
            ),
        ],
        ids=["trace", "trace, 4 particles", "mean field", "mean field, 4 particles"],
    )
    def test_are_those_of_pyro(self, kind, n_particles, its):
        networks = Networks()
        model, guide = programs(networks)
        elbo = ELBO(kind, n_particles=n_particles)
        objective = ProgramObjective(model, guide, [networks], elbo=elbo)
        with isolated_pyro_state("cpu", seed=5):
            mine, terms = objective._loss(X)
        with isolated_pyro_state("cpu", seed=5):
            theirs = its.differentiable_loss(model, guide, X) / len(X)
        assert mine.item() == pytest.approx(theirs.item(), rel=1e-12)
        assert (terms["kl"] - terms["reconstruction"]).item() == pytest.approx(
            theirs.item(), rel=1e-12
        )
        for ours, others in zip(
            torch.autograd.grad(mine, networks.parameters()),
            torch.autograd.grad(theirs, networks.parameters()),
        ):
            torch.testing.assert_close(ours, others)

    def test_importance_weighted_one_is_that_of_pyro_row_by_row(self):
        networks = Networks()
        model, guide = programs(networks)
        elbo = ELBO("iwae", n_particles=6)
        objective = ProgramObjective(model, guide, [networks], elbo=elbo)
        its = RenyiELBO(alpha=0.0, num_particles=6, vectorize_particles=True, max_plate_nesting=1)
        row = X[:1]  # Pyro weighs all rows of a batch as one
        with isolated_pyro_state("cpu", seed=5):
            mine = objective._loss(row)[0].item()
        with isolated_pyro_state("cpu", seed=5):
            theirs = its.loss(model, guide, row)
        assert mine == pytest.approx(theirs, rel=1e-12)

    def test_factors_on_the_divergence(self):
        networks = Networks()
        model, guide = programs(networks)
        objective = ProgramObjective(model, guide, [networks], elbo=ELBO(kl_warmup=4), beta=3.0)
        for epoch, factor in [(0, 0.0), (1, 0.75), (4, 3.0), (9, 3.0)]:
            objective.begin_epoch(epoch)
            with isolated_pyro_state("cpu", seed=5):
                loss, terms = objective._loss(X)
            assert loss.item() == pytest.approx(
                (factor * terms["kl"] - terms["reconstruction"]).item(), rel=1e-6
            )

    def test_free_bits_cost_nothing(self):
        networks = Networks()
        model, guide = programs(networks)
        mean, raw = networks.encoder(X).chunk(2, 1)
        scale = torch.nn.functional.softplus(raw)
        by_dimension = (0.5 * (mean**2 + scale**2 - 1.0) - torch.log(scale)).mean(0)
        free = by_dimension.mean().item()  # one dimension is above, the other below
        objective = ProgramObjective(model, guide, [networks], elbo=ELBO(free_bits=free))
        with isolated_pyro_state("cpu", seed=5):
            loss, terms = objective._loss(X)
        assert terms["kl"].item() == pytest.approx(by_dimension.sum().item())
        expected = max(by_dimension[0].item(), free) + max(by_dimension[1].item(), free)
        assert (loss + terms["reconstruction"]).item() == pytest.approx(expected)

    def test_an_exact_posterior_makes_the_bound_tight(self):
        model, guide = linear_programs()
        with isolated_pyro_state("cpu", seed=5):
            terms = elbo_terms(model, guide, (X,), n_particles=3)
        np.testing.assert_allclose(terms.log_weights, np.broadcast_to(truth(), (3, 7)), rtol=1e-10)


class Layer(torch.nn.Module):
    """A weight and a running mean."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((3,), 0.7, dtype=X.dtype))
        self.register_buffer("mean", torch.ones(3, dtype=X.dtype))
        with isolated_pyro_state("cpu", seed=3):
            linear = torch.nn.Linear(3, 3).double()
            self.normed = torch.nn.utils.parametrizations.spectral_norm(linear)


class Reversed(torch.autograd.Function):
    """The identity, with gradients of the other sign."""

    @staticmethod
    def forward(ctx, X):
        return X.view_as(X)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


def constant_factor(layer, X):
    with torch.no_grad():
        factor = (X * layer.weight).sum()
    return factor * layer.weight


def running_mean(layer, X):
    outputs = X * layer.weight
    with torch.no_grad():
        layer.mean.mul_(0.9).add_(0.1 * outputs.mean(0))
    return outputs * layer.mean


def clipped_weight(layer, X):
    with torch.no_grad():
        layer.weight.clamp_(-0.5, 0.5)
    return X * layer.weight


def spectral_norm(layer, X):
    return layer.normed(X)


def inner_gradient(layer, X):
    codes = X.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad((codes * layer.weight).pow(3).sum(), codes)
    return (X - 0.1 * gradient) * layer.weight


def changed_view(layer, X):
    outputs = X * layer.weight
    outputs[:, 0].add_(1.0)
    outputs[1:][2].zero_()
    return outputs.exp()


def changed_literal(layer, X):
    literal = torch.tensor([1.0, 2.0, 3.0])
    literal.add_(1.0)
    return X * literal * layer.weight


def changed_before_the_sum(layer, X):
    outputs = X * layer.weight
    negated = -outputs
    outputs.mul_(2.0)
    return negated.sum(-1)


def wrapped_integers(layer, X):
    return (-X.abs().to(torch.uint8)).sum(-1, keepdim=True) * layer.weight


def gradient_in_part(layer, X):
    negated = -(X * layer.weight)
    with torch.no_grad():
        total = negated.sum(-1, keepdim=True)
    return total * layer.weight


def assigned_by_mask(layer, X):
    rows = X * layer.weight
    outputs = torch.zeros_like(rows)
    is_positive = rows > 0.0
    outputs[is_positive] = rows[is_positive]
    return outputs


def several_outputs(layer, X):
    values, _ = torch.topk(X * layer.weight, 2, dim=1)
    first, second = values.chunk(2, 1)
    first = 2.0 * first
    return first * second


def own_gradient(layer, X):
    return Reversed.apply(X * layer.weight)


def hook(layer, X):
    outputs = X * layer.weight
    outputs.register_hook(torch.zeros_like)
    return outputs


def branch(layer, X):
    return X if X.sum() > 0.0 else layer.weight


def branch_on_an_assigned_constant(layer, X):
    total = torch.zeros(2)
    total[0] = X.sum()
    return X if total.sum() > 0.0 else layer.weight


def branch_on_a_filled_constant(layer, X):
    drawn = torch.zeros(2)
    drawn[0].normal_()
    return X if drawn[0] > 0.0 else layer.weight


def array(layer, X):
    return X * float(np.sum(np.asarray(X)))


def numbers(layer, X):
    return X * X.sum(0).tolist()[0]


def masked_mean(layer, X):
    chosen = X[X > 0.0]
    return chosen.sum() / len(chosen)


def repeated(layer, X):
    repeats = (X[:, 0] > 0.0).long() + 1
    return X.repeat_interleave(repeats, 0)


def generator_of_its_own(layer, X):
    return X + torch.randn(3, generator=torch.Generator().manual_seed(1))


def profiled(layer, X):
    with torch.autograd.profiler.record_function("program"):
        return X * layer.weight


def reshaped_view(layer, X):
    outputs = X * layer.weight
    outputs[:].t_()
    return outputs


class TestRecording:
    def test_replays_see_new_inputs_and_new_weights(self):
        layer = torch.nn.Linear(3, 2).double()
        recording = record(lambda X: torch.relu(layer(X)).sum(0), [X], torch.Generator)
        with torch.no_grad():
            layer.weight.mul_(-2.0)
        torch.testing.assert_close(recording(X + 1.0), torch.relu(layer(X + 1.0)).sum(0))
        gradients = torch.autograd.grad(recording(X).sum(), layer.parameters())
        for mine, its in zip(
            gradients, torch.autograd.grad(torch.relu(layer(X)).sum(), layer.parameters())
        ):
            torch.testing.assert_close(mine, its)

    @pytest.mark.parametrize(
        "function, is_moved",
        [
            (lambda X: (-X.exp()).sum(-1), True),
            (lambda X: (-X.exp()).sum(-1).sum(), True),
            (lambda X: (-X.exp()).sum(0).exp() - (-X.exp()).sum(0), True),
            (lambda X: (lambda Y: Y.sum(-1) + Y[:, 0])(-X.exp()), False),  # used twice
        ],
    )
    def test_sums_are_negated_with_the_bits_of_sums_of_negated_features(self, function, is_moved):
        rows = X.clone().requires_grad_()
        recording = record(function, [X], torch.Generator)
        assert torch.equal(recording(rows), function(rows))
        (gradient,) = torch.autograd.grad(recording(rows).sum(), rows)
        assert torch.equal(gradient, torch.autograd.grad(function(rows).sum(), rows)[0])
        negated = [n for n in recording.operations.graph.nodes if "neg" in str(n.target)]
        assert all(("sum" in str(node.args[0].target)) == is_moved for node in negated)
        assert negated

    @pytest.mark.parametrize(
        "draw",
        [
            torch.randn_like,
            torch.rand_like,
            torch.bernoulli,
            lambda X: dist.Gamma(X + 1.0, 1.0).rsample(),
            lambda X: dist.Normal(X, 1.0).rsample(),
            lambda X: dist.Categorical(logits=X).sample(),
            torch.nn.Dropout(0.5).train(),
        ],
        ids=["randn_like", "rand_like", "bernoulli", "gamma", "normal", "categorical", "dropout"],
    )
    def test_draws_come_from_the_generator(self, draw):
        noise = torch.Generator()
        before = torch.get_rng_state()
        recording = record(draw, [X.abs().clamp(max=1.0)], lambda: noise)
        rows = X.abs().clamp(max=1.0)
        first = [recording(rows) for _ in range(2)]
        noise.manual_seed(torch.Generator().initial_seed())
        again = [recording(rows) for _ in range(2)]
        assert torch.equal(torch.get_rng_state(), before)
        for mine, its in zip(first, again):
            assert torch.equal(mine, its)
        assert not torch.equal(*first)

    @pytest.mark.parametrize(
        "function",
        [
            constant_factor,
            running_mean,
            clipped_weight,
            spectral_norm,
            inner_gradient,
            changed_view,
            changed_literal,
            changed_before_the_sum,
            wrapped_integers,
            gradient_in_part,
            assigned_by_mask,
            several_outputs,
        ],
    )
    def test_replays_have_the_values_and_gradients_of_the_function(self, function):
        layer = Layer()
        own = Layer()
        with torch.no_grad():  # as in validation
            recording = record(lambda X: function(own, X), [X], torch.Generator)
        own.load_state_dict(layer.state_dict())
        for rows in (X, 1.0 - X, 2.0 * X):
            expected, replayed = function(layer, rows), recording(rows)
            assert torch.equal(replayed, expected)
            expected.sum().backward()
            replayed.sum().backward()
            for theirs, ours in zip(layer.parameters(), own.parameters()):
                torch.testing.assert_close(ours.grad, theirs.grad)
                ours.grad = theirs.grad = None
            for name, value in layer.state_dict().items():
                assert torch.equal(own.state_dict()[name], value)

    @pytest.mark.parametrize(
        "function, message",
        [
            (own_gradient, "Function has a gradient that is not recorded"),
            (hook, "register_hook .* is not among the operations that can be replayed"),
            (branch, "reads values"),
            (branch_on_an_assigned_constant, "reads values"),
            (branch_on_a_filled_constant, "reads values"),
            (array, "is not among the operations that can be replayed"),
            (numbers, "is not among the operations that can be replayed"),
            (masked_mean, "gets a tensor whose shape depends on values"),
            (repeated, "shapes of .* differ from replay to replay"),
            (generator_of_its_own, "takes an object that a graph cannot hold"),
            (profiled, "takes an object that a graph cannot hold"),
            (reshaped_view, "reshapes one of several views"),
        ],
    )
    def test_what_replays_would_not_repeat_is_refused(self, function, message):
        with pytest.raises(RuntimeError, match=message):
            record(lambda X: function(Layer(), X), [X], torch.Generator)

    def test_a_program_that_branches_on_values_runs_all_the_same(self):
        networks = Networks()
        model, guide = programs(networks)

        def branching(X):
            if X.sum() > 0.0:
                return guide(X)
            return guide(X)

        objective = ProgramObjective(model, branching, [networks])
        objective.noise = torch.Generator().manual_seed(0)
        first = objective.loss(X)[0].item()
        objective.noise.manual_seed(0)
        assert objective.loss(X)[0].item() == first
        assert next(iter(objective.replayed_loss.recordings.values())) is None

    def test_running_means_do_not_see_the_batch_twice(self):
        networks = Networks()
        networks.encoder = torch.nn.Sequential(torch.nn.BatchNorm1d(3), networks.encoder).double()
        objective = ProgramObjective(*programs(networks), [networks])
        objective.noise = torch.Generator().manual_seed(0)
        objective.loss(X)
        assert networks.encoder[0].num_batches_tracked.item() == 1
        torch.testing.assert_close(networks.encoder[0].running_mean, 0.1 * X.mean(0))

    def test_recorded_and_direct_losses_agree_in_distribution(self):
        networks = Networks()
        objective = ProgramObjective(*programs(networks), [networks])
        objective.noise = torch.Generator().manual_seed(0)
        replayed = [objective.loss(X)[0].item() for _ in range(500)]
        with isolated_pyro_state("cpu", seed=1):
            direct = [objective._loss(X)[0].item() for _ in range(500)]
        error = np.hypot(np.std(replayed), np.std(direct)) / np.sqrt(500)
        assert abs(np.mean(replayed) - np.mean(direct)) < 4.0 * error

    def test_seeds_for_other_generators_follow_from_the_noise(self):
        assert draw_seed(torch.Generator().manual_seed(1)) == draw_seed(
            torch.Generator().manual_seed(1)
        )


class TestWeights:
    def test_an_exact_guide_has_constant_weights(self):
        model, guide = linear_programs()
        noise = torch.from_numpy(normal_noise(2, 16).copy())
        with isolated_pyro_state("cpu"):
            terms = log_weights(model, guide, (X,), noise)
        values, errors = log_mean_exp(terms.log_weights)
        np.testing.assert_allclose(values, truth(), rtol=1e-10)
        np.testing.assert_allclose(errors, 0.0, atol=1e-10)

    def test_the_mean_of_the_weights_is_the_likelihood(self):
        model, _ = linear_programs()
        precision = torch.eye(2) + W.T @ W / NOISE**2
        mean = torch.linalg.solve(precision, (X @ W / NOISE**2).T).T
        wide = 1.5 * torch.linalg.inv(precision).diagonal().sqrt()

        def guide(X):
            with pyro.plate("rows", len(X)):
                pyro.sample("z", dist.Normal(mean + 0.1, wide).to_event(1))

        noise = torch.from_numpy(normal_noise(2, 2**12).copy())
        with isolated_pyro_state("cpu"):
            values, errors = log_mean_exp(log_weights(model, guide, (X,), noise).log_weights)
        np.testing.assert_allclose(values, truth(), atol=0.01)
        assert (errors > 0.0).all()
        assert (np.abs(values.numpy() - truth()) < 3.0 * errors.numpy()).all()

    def test_the_noise_is_the_same_for_all_rows(self):
        model, guide = programs(Networks())
        rows = X[:1].expand(5, 3)
        noise = torch.from_numpy(normal_noise(2, 8).copy())
        with isolated_pyro_state("cpu"), torch.no_grad():
            terms = log_weights(model, guide, (rows,), noise)
        torch.testing.assert_close(terms.log_weights, terms.log_weights[:, :1].expand(8, 5))


class TestSites:
    def model(self, X):
        with pyro.plate("rows", len(X)):
            z = pyro.sample("z", dist.Normal(0.0, X.new_ones(1)).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=X[:, :1])

    def guide(self, X, name="z"):
        with pyro.plate(f"rows of {name}", len(X)):
            pyro.sample(name, dist.Normal(X[:, :1], 1.0).to_event(1))

    @pytest.mark.parametrize(
        "model, guide, message",
        [
            (
                "model",
                "nothing",
                "guide must draw every latent site of the model; it has no site 'z'",
            ),
            (
                "model",
                "more",
                "guide must draw sites of the model alone; the model has no latent site 'w'",
            ),
            ("guide", "guide", r"model must observe the rows, .* it observes nothing"),
            (
                "model",
                "stored",
                r"guide must keep its parameters in modules; got pyro.param\('scale'\)",
            ),
        ],
    )
    def test_that_do_not_fit(self, model, guide, message):
        def more(X):
            self.guide(X)
            self.guide(X, "w")

        def stored(X):
            pyro.param("scale", torch.ones(()))
            self.guide(X)

        named = {
            "model": self.model,
            "guide": self.guide,
            "nothing": lambda X: None,
            "more": more,
            "stored": stored,
        }
        with isolated_pyro_state("cpu"), pytest.raises(ValueError, match=message):
            elbo_terms(named[model], named[guide], (X,))
        assert len(pyro.get_param_store()) == 0


def test_threads_take_turns():
    model, guide = programs(Networks())
    answers = {}

    def work(seed):
        with isolated_pyro_state("cpu", seed=seed):
            answers[seed] = elbo_terms(model, guide, (X,)).log_weights.detach()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, answer in answers.items():
        with isolated_pyro_state("cpu", seed=seed):
            assert torch.equal(elbo_terms(model, guide, (X,)).log_weights, answer)


class Breaks(Callback):
    """Raises at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and len(estimator.history_) == self.epoch:
            raise RuntimeError("the machine went down")


class TestPlans:
    """Programs are recorded where the plan of a fit has enough batches of one size."""

    ROWS = np.random.default_rng(0).standard_normal((70, 3))  # batches of 32, 32 and 6 rows
    LONG = RECORD_FROM // 2  # epochs after which only the batches of 32 rows pay

    def fit(self, max_iter, **trainer):
        model = VAE(2, hidden_layer_sizes=(4,), max_iter=max_iter, batch_size=32, random_state=0)
        return model.set_params(device="cpu", trainer=Trainer(**trainer)).fit(self.ROWS)

    @pytest.fixture
    def recorded(self, monkeypatch):
        """Numbers of rows of the batches that were recorded."""
        sizes = []

        def spy(function, inputs, *settings):
            sizes.append(len(inputs[0]))
            return record(function, inputs, *settings)

        monkeypatch.setattr(recording, "record", spy)
        return sizes

    def test_a_short_fit_records_nothing(self, recorded):
        self.fit(self.LONG - 1)
        assert recorded == []

    def test_a_long_fit_records_what_pays(self, recorded):
        self.fit(self.LONG)
        assert recorded == [32]
        recorded.clear()
        self.fit(RECORD_FROM)
        assert sorted(recorded) == [6, 32]

    def test_validation_has_a_plan_of_its_own(self, recorded):
        self.fit(RECORD_FROM - 1, early_stopping=True, validation_fraction=0.5)  # 32 and 3, twice
        assert recorded == []
        self.fit(RECORD_FROM, early_stopping=True, validation_fraction=0.5, n_iter_no_change=99)
        assert sorted(recorded) == [3, 3, 32, 32]

    @pytest.mark.parametrize("max_iter", [4, LONG, RECORD_FROM])
    @pytest.mark.parametrize("early_stopping", [False, True])
    def test_a_resumed_fit_draws_what_the_whole_one_draws(self, max_iter, early_stopping, tmp_path):
        settings = {"early_stopping": early_stopping, "n_iter_no_change": 99}
        whole = self.fit(max_iter, **settings)
        for epoch in (1, max_iter - 1):
            settings["checkpoint"] = tmp_path / str(epoch)
            with pytest.raises(RuntimeError, match="went down"):
                self.fit(max_iter, **settings, checkpoint_interval=0.0, callbacks=[Breaks(epoch)])
            resumed = self.fit(max_iter, **settings)
            assert resumed.history_["loss"] == whole.history_["loss"]
            for name, value in whole.encoder_.state_dict().items():
                assert torch.equal(resumed.encoder_.state_dict()[name], value)

    def test_passes_of_partial_fit_are_plans_of_one_epoch(self, recorded):
        model = VAE(2, hidden_layer_sizes=(4,), batch_size=1, device="cpu", random_state=0)
        for _ in range(3):
            model.partial_fit(self.ROWS[: RECORD_FROM - 1])
        assert recorded == []
        model.partial_fit(self.ROWS[:RECORD_FROM])
        assert recorded == [1]

    def test_what_a_recorder_may_read(self):
        scale = torch.tensor(2.0)
        branches = record(lambda X: X * int(torch.tensor(3)), [X], torch.Generator)
        torch.testing.assert_close(branches(X + 1.0), 3.0 * (X + 1.0))
        with pytest.raises(RuntimeError, match="reads values"):
            record(lambda X: X * scale.item(), [X], torch.Generator)
        with pytest.raises(RuntimeError, match="reads values"):
            record(lambda X: X * torch.rand(()).item(), [X], torch.Generator)
