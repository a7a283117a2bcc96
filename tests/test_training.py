"""The training engine on small objectives, against loops written out and closed forms."""

import math
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from probgen.training import Objective, Phase, Trainer
from probgen.training.engine import Training, draw_seeds
from probgen.training.randomness import global_generator
from probgen.training.rows import open_rows

X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)


class Linear(Objective):
    """Mean squared error of a linear layer that reconstructs rows, with noise if wanted."""

    def __init__(self, noise=0.0, dropout=0.0, seed=0):
        super().__init__()
        with global_generator("cpu", seed):
            self.network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(dropout))
        self.level, self.draws_globally = noise, dropout > 0.0

    def loss(self, X):
        noise = torch.empty_like(X).normal_(generator=self.noise) if self.level else 0.0
        return (self.network(X + self.level * noise) - X).square().sum(1).mean()


def make(objective=None, *, batch_size=16, learning_rate=0.05, **parameters):
    trainer = Trainer(**parameters)
    trainer.check()
    seeds = draw_seeds(np.random.default_rng(5))
    objective = Linear() if objective is None else objective
    return Training(
        objective, trainer, learning_rate=learning_rate, batch_size=batch_size, seeds=seeds
    )


def run(training, n_epochs=3, *, rows=X, held_out=None, **settings):
    source = open_rows(rows, dtype=torch.from_numpy(rows[:1].copy()).dtype)
    training.begin(n_epochs, source, held_out, schedule=training.trainer.schedule)
    training.run(source, held_out, **settings)
    return training


def weights(training):
    return [parameter.detach().numpy().copy() for parameter in training.objective.parameters()]


def assert_same(mine, its):
    for a, b in zip(mine, its, strict=True):
        np.testing.assert_array_equal(a, b)


def batches_of(training, n_epochs):
    """The batches of a training, whose order depends on the seed and the epoch only."""
    source = open_rows(X)
    for epoch in range(n_epochs):
        rng = np.random.default_rng([training.seeds["shuffle"], epoch])
        yield from (batch for (batch,) in source.batches(rng, training.batch_size))


class TestSteps:
    @pytest.mark.parametrize(
        "parameters, maker",
        [
            ({}, lambda p: torch.optim.Adam(p, lr=0.05, fused=True)),
            (
                {"weight_decay": 0.1},
                lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1, fused=True),
            ),
            (
                {"optimizer": "adamw"},
                lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.0, fused=True),
            ),
            ({"optimizer": "sgd"}, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, fused=True)),
            ({"optimizer": "rmsprop"}, lambda p: torch.optim.RMSprop(p, lr=0.05)),
            ({"optimizer": torch.optim.Adadelta}, lambda p: torch.optim.Adadelta(p, lr=0.05)),
        ],
        ids=["adam", "decay", "adamw", "sgd", "rmsprop", "class"],
    )
    def test_weights_are_those_of_a_loop_written_out(self, parameters, maker):
        training = run(make(**parameters))
        network = Linear().network
        optimizer = maker(list(network.parameters()))
        for batch in batches_of(training, 3):
            optimizer.zero_grad()
            (network(batch) - batch).square().sum(1).mean().backward()
            optimizer.step()
        assert_same(weights(training), [p.detach().numpy() for p in network.parameters()])

    def test_long_gradients_are_cut(self):
        training = run(make(optimizer=torch.optim.SGD, max_grad_norm=0.01), n_epochs=1)
        moved = math.sqrt(
            sum(
                np.sum((a - b.detach().numpy()) ** 2)
                for a, b in zip(weights(training), Linear().parameters())
            )
        )
        assert 0.0 < moved <= 4 * 0.05 * 0.01 * (1.0 + 1e-5)  # four batches

    def test_the_average_is_the_recursion(self):
        training = run(make(ema_decay=0.9))
        network, average = Linear().network, None
        optimizer = torch.optim.Adam(network.parameters(), lr=0.05, fused=True)
        average = [p.detach().clone() for p in network.parameters()]
        for t, batch in enumerate(batches_of(training, 3)):
            optimizer.zero_grad()
            (network(batch) - batch).square().sum(1).mean().backward()
            optimizer.step()
            decay = min(0.9, (1 + t) / (10 + t))
            average = [
                decay * a + (1.0 - decay) * p.detach()
                for a, p in zip(average, network.parameters())
            ]
        training.finish()
        for mine, truth in zip(weights(training), average):
            np.testing.assert_allclose(mine, truth.numpy(), rtol=1e-5, atol=1e-7)

    def test_double_precision_stays(self):
        objective = Linear().double()
        training = run(make(objective), rows=X.astype(np.float64))
        assert {p.dtype for p in objective.parameters()} == {torch.float64}
        assert training.epoch == 3

    def test_bfloat16_is_near_single_precision(self):
        low, full = run(make(precision="bf16")), run(make())
        for mine, truth in zip(weights(low), weights(full)):
            assert mine.dtype == np.float32
            assert 0.0 < np.abs(mine - truth).max() < 0.05

    def test_a_compiled_loss_trains_alike(self):
        for mine, truth in zip(weights(run(make(compile="eager"))), weights(run(make()))):
            np.testing.assert_allclose(mine, truth, atol=1e-6)

    def test_history_holds_mean_losses_of_rows(self):
        training = run(make(learning_rate=0.0))
        network = Linear().network
        rows = torch.from_numpy(X)
        truth = (network(rows) - rows).square().sum(1).mean().item()
        np.testing.assert_allclose(training.history["loss"], 3 * [truth], rtol=1e-6)
        assert training.history["epoch"] == [1, 2, 3]


class TestSchedules:
    def rates(self, schedule, n_epochs=10):
        return run(make(schedule=schedule, batch_size=50), n_epochs).history["learning_rate"]

    def test_constant(self):
        assert self.rates("constant") == [0.05] * 10

    def test_cosine(self):
        truth = [0.025 * (1.0 + math.cos(math.pi * k / 10)) for k in range(1, 11)]
        np.testing.assert_allclose(self.rates("cosine"), truth, atol=1e-12)

    def test_one_cycle_rises_and_falls(self):
        rates = self.rates("one_cycle", 100)
        assert np.argmax(rates) in range(27, 32)
        assert max(rates) == pytest.approx(0.05, rel=0.01)
        assert rates[0] < 0.004
        assert rates[-1] < 1e-4

    def test_plateau_falls_when_nothing_improves(self):
        training = make(schedule="plateau", n_iter_no_change=4, tol=1e6)  # no gain is enough
        rates = run(training, 7).history["learning_rate"]
        # The first epoch sets the mark; after more than two without a gain the rate falls.
        np.testing.assert_allclose(rates, [0.05] * 4 + [0.005] * 3, rtol=1e-12)


class Duel(Objective):
    """Two players; each loss alone moves its own number."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Parameter(torch.zeros(())), torch.nn.Parameter(torch.zeros(()))

    def phases(self):
        return [
            Phase("first", lambda X: (self.a - 1.0 + 0.0 * self.b).square(), [self.a]),
            Phase("second", self.second, [self.b], every=3, optimizer={"lr": 0.5}),
        ]

    def second(self, X):
        return (self.b - self.a).square(), {"gap": (self.b - self.a).detach()}


class TestPhases:
    def test_each_moves_its_own_parameters_at_its_own_pace(self):
        training = run(make(Duel(), optimizer=torch.optim.SGD, batch_size=10), 2)
        a = b = 0.0
        for step in range(10):
            a -= 0.05 * 2.0 * (a - 1.0)
            if step % 3 == 0:
                b -= 0.025 * 2.0 * (b - a)
        assert training.objective.a.item() == pytest.approx(a, rel=1e-5)
        assert training.objective.b.item() == pytest.approx(b, rel=1e-5)
        assert {"first", "second", "gap"} <= set(training.history[0])

    def test_a_loss_from_pyro(self):
        import pyro
        import pyro.distributions as dist
        from pyro.infer import TraceMeanField_ELBO

        class Bound(Objective):
            """Conjugate normal mean, whose posterior is known."""

            draws_globally = True

            def __init__(self):
                super().__init__()
                self.location = torch.nn.Parameter(torch.zeros(3))
                self.log_scale = torch.nn.Parameter(torch.zeros(3))

            def model(self, X):
                mean = pyro.sample("mean", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                with pyro.plate("rows", len(X)):
                    pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=X)

            def guide(self, X):
                pyro.sample("mean", dist.Normal(self.location, self.log_scale.exp()).to_event(1))

            def loss(self, X):
                return TraceMeanField_ELBO().differentiable_loss(self.model, self.guide, X) / len(X)

        training = run(
            make(Bound(), batch_size=50, learning_rate=0.05, ema_decay=0.99, schedule="cosine"), 800
        )
        training.finish()
        precision = 1.0 + len(X)
        truth = X.sum(axis=0) / precision
        np.testing.assert_allclose(training.objective.location.detach(), truth, atol=0.02)
        np.testing.assert_allclose(
            training.objective.log_scale.exp().detach(), 3 * [precision**-0.5], rtol=0.1
        )
        assert not pyro.get_param_store()


UNEVEN = {
    "ema_decay": 0.9,
    "schedule": "cosine",
    "batch_size": 16,
}  # 50 rows: the last batch is smaller


class TestGoingOn:
    @pytest.mark.parametrize("objective", [lambda: Linear(noise=0.5), lambda: Linear(dropout=0.5)])
    @pytest.mark.parametrize("stop", [0, 1, 3, 4, 6, 11])
    def test_from_any_batch_to_the_same_bits(self, objective, stop):
        alone = run(make(objective(), **UNEVEN))
        states = []
        cut = make(objective(), checkpoint_interval=0.0, **UNEVEN)
        run(cut, save=states.append)
        assert len(states) >= 12
        resumed = make(objective(), **UNEVEN)
        source = open_rows(X)
        resumed.begin(3, source, schedule="cosine")
        resumed.load_state(states[stop])
        resumed.run(source)
        assert_same(weights(resumed), weights(alone))
        assert resumed.history["loss"] == alone.history["loss"]
        resumed.finish(), alone.finish()
        assert_same(weights(resumed), weights(alone))

    def test_a_finished_one_stays_as_it_is(self):
        states = []
        alone = run(make(), save=states.append)
        resumed = make()
        source = open_rows(X)
        resumed.begin(3, source, schedule="constant")
        resumed.load_state(states[-1])
        resumed.run(source)
        assert resumed.n_steps == alone.n_steps
        assert_same(weights(resumed), weights(alone))


class Mishap(Linear):
    """Something happens in the loss of one batch."""

    def __init__(self, at, event):
        super().__init__()
        self.at, self.event, self.calls = at, event, 0

    def loss(self, X):
        self.calls += 1
        if self.calls == self.at:
            return self.event(super().loss(X))
        return super().loss(X)


def interrupt(loss):
    raise KeyboardInterrupt


class TestMishaps:
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_loss_that_is_no_number_puts_good_weights_back(self, value):
        good = run(make(), 1)
        training = make(Mishap(7, lambda loss: loss * value))
        with pytest.warns(
            ConvergenceWarning,
            match="stopped in epoch 2, batch 3, where loss became .*Lower learning_r",
        ):
            run(training)
        assert_same(weights(training), weights(good))
        assert len(training.history) == training.epoch == 1

    def test_a_step_to_infinity_in_the_last_batch(self):
        class Explosive(Linear):
            def loss(self, X):
                return (
                    super().loss(X) + (0.0 * self.network[0].bias).sqrt().sum()
                )  # finite, with a gradient of nan

        training = make(Explosive())
        start = weights(training)
        with pytest.warns(ConvergenceWarning, match="were put back"):
            run(training, 1)
        assert_same(weights(training), start)

    @pytest.mark.parametrize("n_epochs", [1, 3])
    def test_finite_but_enormous_weights_are_not_kept(self, n_epochs):
        training = make(learning_rate=1e6)
        start = weights(training)
        with pytest.warns(ConvergenceWarning, match="loss had grown from .* initial weights were"):
            run(training, n_epochs)
        assert_same(weights(training), start)

    def test_weights_before_an_explosion_are_kept(self):
        def exploded(loss):
            return 1e9 * loss

        good = run(make(), 1)
        training = make(Mishap(5, exploded))  # the first batch of the second epoch
        with pytest.warns(ConvergenceWarning, match="stopped in epoch 2.*the initial weights"):
            run(training, 2)  # no loss has shown that the weights of the first epoch are good
        training = make(Mishap(6, exploded))
        with pytest.warns(ConvergenceWarning, match="the weights of epoch 2, batch 1 were put"):
            run(training, 2)
        assert_same(weights(training), weights(good))

    def test_a_look_at_the_final_losses_leaves_no_trace(self):
        def normed():
            objective = Linear(noise=0.5, dropout=0.5)
            objective.network.append(torch.nn.BatchNorm1d(3))
            return objective

        training = run(make(normed()), 2)
        twin = make(normed())
        twin._check_last_losses = lambda: None
        run(twin, 2)
        assert torch.equal(training.noise.get_state(), twin.noise.get_state())
        state = training.objective.state_dict()
        for name, value in twin.objective.state_dict().items():
            assert torch.equal(value, state[name])

    def test_an_interrupt_keeps_what_was_learned(self):
        training = make(Mishap(7, interrupt))
        run(training)
        assert training.was_interrupted
        assert (training.epoch, training.n_steps) == (1, 6)
        assert not training.objective.training

    def test_too_little_memory_gives_the_same_gradient_in_parts(self):
        class Hungry(Linear):
            def loss(self, X):
                if len(X) > 5:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                return super().loss(X)

        with pytest.warns(RuntimeWarning, match="added up over [24] parts. Lower batch_size"):
            poor = run(make(Hungry()))
        for mine, truth in zip(weights(poor), weights(run(make()))):
            np.testing.assert_allclose(mine, truth, atol=1e-6)

    def test_a_callback_can_stop(self):
        class Events:
            def epoch_begin(self, k):
                pass

            def epoch_end(self, k):
                return k == 1

        assert run(make(), 5, events=Events()).epoch == 2


class TestEarlyStopping:
    def test_the_best_weights_come_back(self):
        scores = iter([1.0, 3.0, 2.0, 2.5, 2.0, 9.0])

        class Judged(Linear):
            def validation_score(self, batches):
                return next(scores)

        training = make(Judged(), early_stopping=True, n_iter_no_change=3, batch_size=50)
        run(training, 20, held_out=open_rows(X[:10]))
        assert training.history["validation_score"] == [1.0, 3.0, 2.0, 2.5, 2.0]
        training.finish()
        assert_same(weights(training), weights(run(make(batch_size=50), 2)))

    def test_the_score_is_minus_the_mean_loss(self):
        training = make(learning_rate=0.0, early_stopping=True)
        run(training, 1, held_out=open_rows(X[:37]))
        rows = torch.from_numpy(X[:37])
        truth = -(Linear().network(rows) - rows).square().sum(1).mean().item()
        assert training.history[0]["validation_score"] == pytest.approx(truth, rel=1e-6)

    def test_judging_leaves_the_training_alone(self):
        judged = run(
            make(Linear(noise=0.5), early_stopping=True, ema_decay=0.9), held_out=open_rows(X[:10])
        )
        assert_same(weights(judged), weights(run(make(Linear(noise=0.5), ema_decay=0.9))))


class Still(Linear):
    """A loss of slope 0, so that nothing but a penalty moves the weights."""

    def loss(self, X):
        return 0.0 * super().loss(X)


class TestPathOfWeightDecay:
    def test_weights_shrink_as_planned_and_biases_stay(self):
        training = make(
            Still(),
            optimizer="rmsprop",
            learning_rate=0.5,
            weight_decay="path",
            early_stopping=True,
        )
        training.updates[0].optimizer = torch.optim.SGD(training.objective.parameters(), lr=0.5)
        weight, bias = weights(training)
        run(training, 10, held_out=open_rows(X[:10]))
        # 100 / n to 0.001 / n in equal ratios, over 4 of 10 epochs, each of 4 batches.
        for exponent in (2.0, 1.0 / 3.0, -4.0 / 3.0, -3.0):
            weight = weight * (1.0 - 0.5 * 10.0**exponent / len(X)) ** 4
        found_weight, found_bias = weights(training)
        np.testing.assert_allclose(found_weight, weight, rtol=1e-4, atol=1e-8)
        np.testing.assert_array_equal(found_bias, bias)

    def test_there_is_no_penalty_without_rows_held_out(self):
        training = make(weight_decay="path", early_stopping=True)
        run(training, 2)
        assert_same(weights(training), weights(run(make(early_stopping=True), 2)))

    def test_a_stopped_training_resumes_at_its_place(self):
        settings = {"weight_decay": "path", "early_stopping": True, "checkpoint_interval": 0.0}
        held_out = open_rows(X[:10])
        states = []
        alone = run(make(**settings), 4, held_out=held_out, save=states.append)
        resumed = make(**settings)
        source = open_rows(X)
        resumed.begin(4, source, held_out, schedule="constant")
        resumed.load_state(states[9])
        resumed.run(source, held_out)
        assert resumed.n_steps == alone.n_steps
        assert_same(weights(resumed), weights(alone))


class TestSurroundings:
    def test_global_state_is_left_alone(self):
        def surroundings():
            return (
                torch.get_rng_state().numpy().copy(),
                np.random.get_state(),  # noqa: NPY002
                random.getstate(),
                torch.get_num_threads(),
                torch.get_default_dtype(),
                list(warnings.filters),
                torch.is_grad_enabled(),
            )

        before = surroundings()
        run(
            make(
                Linear(noise=0.1, dropout=0.5),
                schedule="one_cycle",
                ema_decay=0.9,
                precision="bf16",
            )
        )
        np.testing.assert_equal(surroundings(), before)

    @pytest.mark.parametrize("dropout", [0.0, 0.5])
    def test_trainings_in_threads_equal_trainings_in_a_row(self, dropout):
        def train(seed):
            return weights(run(make(Linear(noise=0.5, dropout=dropout, seed=seed))))

        alone = [train(seed) for seed in range(8)]
        with ThreadPoolExecutor(4) as pool:
            for mine, truth in zip(pool.map(train, range(8)), alone):
                assert_same(mine, truth)


@pytest.mark.parametrize(
    "parameters, message",
    [
        (
            {"optimizer": "adm"},
            "optimizer must be one of 'adam', .*; got 'adm'. Or give a class of torch.optim.",
        ),
        ({"schedule": "linear"}, "schedule must be one of 'constant', .*; got 'linear'"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number >= 0; got -1.0"),
        ({"max_grad_norm": "1"}, "max_grad_norm must be a finite number >= 0; got '1'"),
        ({"ema_decay": 1.5}, r"ema_decay must be a finite number in \[0, 1\]; got 1.5"),
        ({"precision": "fp16"}, "precision must be one of 'full', 'bf16'; got 'fp16'"),
        ({"validation_fraction": 0.0}, "validation_fraction must be between 0 and 1; got 0.0"),
        ({"n_iter_no_change": 0}, "n_iter_no_change must be an integer >= 1; got 0"),
        ({"tol": math.nan}, "tol must be a finite number >= 0; got nan"),
        ({"checkpoint": 3}, "checkpoint must be the path of a folder, or None; got 3"),
        ({"memory_budget": -1}, "memory_budget must be a finite number in .0, .*; got -1. It"),
        (
            {"weight_decay": "some"},
            "weight_decay must be one of 'path'; got 'some'. Or give a numb",
        ),
        (
            {"weight_decay": "path"},
            "weight_decay='path' needs held-out rows .* early_stopping=True",
        ),
        ({"compile": 1.0}, "compile must be a bool or the name of a backend; got 1.0"),
        (
            {"callbacks": [print]},
            "callbacks must hold objects with the methods of scikit-learn's FitCallback",
        ),
        ({"callbacks": print}, "callbacks must be a sequence of callbacks, such as .*; got <built"),
    ],
    ids=str,
)
def test_parameters_out_of_range(parameters, message):
    with pytest.raises(ValueError, match=message):
        Trainer(**parameters).check()
