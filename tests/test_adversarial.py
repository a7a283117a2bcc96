"""Losses, penalties, networks and the balance between the two networks of a GAN."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import expit

from probgen import GAN, Trainer
from probgen.estimators.adversarial.augmentation import augment
from probgen.estimators.adversarial.networks import (
    ConvDiscriminator,
    ConvGenerator,
    DenseDiscriminator,
    DenseGenerator,
    SpectralConv2d,
    SpectralLinear,
)
from probgen.estimators.adversarial.objective import (
    AdversarialObjective,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    r1_penalty,
    refresh_batch_norm,
)
from probgen.options import R1, WGANGP, NonSaturating
from probgen.training.engine import Training, draw_seeds
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective, Phase
from probgen.training.rows import open_rows

REAL, FAKE = np.array([2.0, -0.5, 0.3]), np.array([-1.0, 0.7, 1.5])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class TestLosses:
    @pytest.mark.parametrize(
        "kind, smoothing, truth",
        [
            ("minimax", 0.0, -np.log(expit(REAL)).mean() - np.log(1.0 - expit(FAKE)).mean()),
            ("non_saturating", 0.0, -np.log(expit(REAL)).mean() - np.log(1.0 - expit(FAKE)).mean()),
            (
                "non_saturating",
                0.2,
                -(0.8 * np.log(expit(REAL)) + 0.2 * np.log(1.0 - expit(REAL))).mean()
                - np.log(1.0 - expit(FAKE)).mean(),
            ),
            ("least_squares", 0.0, 0.5 * ((REAL - 1.0) ** 2).mean() + 0.5 * (FAKE**2).mean()),
            ("least_squares", 0.1, 0.5 * ((REAL - 0.9) ** 2).mean() + 0.5 * (FAKE**2).mean()),
            ("hinge", 0.0, np.maximum(0.0, 1.0 - REAL).mean() + np.maximum(0.0, 1.0 + FAKE).mean()),
            ("wasserstein", 0.0, FAKE.mean() - REAL.mean()),
        ],
        ids=[
            "minimax",
            "non_saturating",
            "smoothed",
            "least_squares",
            "smoothed squares",
            "hinge",
            "wasserstein",
        ],
    )
    def test_of_the_discriminator(self, kind, smoothing, truth):
        loss = discriminator_loss(kind, torch.tensor(REAL), torch.tensor(FAKE), smoothing)
        assert loss.item() == pytest.approx(truth, rel=1e-12)

    @pytest.mark.parametrize(
        "kind, truth",
        [
            ("minimax", np.log(1.0 - expit(FAKE)).mean()),
            ("non_saturating", -np.log(expit(FAKE)).mean()),
            ("least_squares", 0.5 * ((FAKE - 1.0) ** 2).mean()),
            ("hinge", -FAKE.mean()),
            ("wasserstein", -FAKE.mean()),
        ],
        ids=["minimax", "non_saturating", "least_squares", "hinge", "wasserstein"],
    )
    def test_of_the_generator(self, kind, truth):
        assert generator_loss(kind, torch.tensor(FAKE)).item() == pytest.approx(truth, rel=1e-12)

    def test_minimax_saturates_where_the_other_does_not(self):
        slopes = {}
        for kind in ("minimax", "non_saturating"):
            score = torch.tensor([-20.0], dtype=torch.float64, requires_grad=True)
            generator_loss(kind, score).backward()
            slopes[kind] = -score.grad.item()
        assert slopes["minimax"] == pytest.approx(expit(-20.0))
        assert slopes["non_saturating"] == pytest.approx(1.0, abs=1e-8)


class TestPenalties:
    MATRIX = torch.tensor([[2.0, 0.5], [0.5, 1.0]])

    def scores(self, rows):
        return 0.5 * ((rows @ self.MATRIX) * rows).sum(1)  # of slope MATRIX @ row

    def test_r1_is_half_the_mean_squared_gradient_norm(self):
        rows = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], requires_grad=True)
        slopes = rows.detach().numpy() @ self.MATRIX.numpy()
        assert r1_penalty(self.scores(rows), rows).item() == pytest.approx(
            0.5 * (slopes**2).sum(1).mean(), rel=1e-6
        )

    def test_gradient_penalty_is_the_deviation_of_gradient_norms_from_one(self):
        rows = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], requires_grad=True)
        lengths = np.linalg.norm(rows.detach().numpy() @ self.MATRIX.numpy(), axis=1)
        truth = ((lengths - 1.0) ** 2).mean()
        assert gradient_penalty(self.scores(rows), rows).item() == pytest.approx(truth, rel=1e-6)

    @pytest.mark.parametrize("penalty", [r1_penalty, gradient_penalty])
    def test_they_have_gradients_for_the_network_of_the_scores(self, penalty):
        weight, rows = (
            torch.tensor([3.0, 4.0], requires_grad=True),
            torch.zeros(5, 2, requires_grad=True),
        )
        penalty(rows @ weight, rows).backward()
        # d/dw of |w|^2 / 2, and of (|w| - 1)^2
        truth = [3.0, 4.0] if penalty is r1_penalty else [2.0 * 4.0 * 0.6, 2.0 * 4.0 * 0.8]
        np.testing.assert_allclose(weight.grad.numpy(), truth, rtol=1e-6)


class TestNetworks:
    @pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (9, 13, 3), (32, 32, 3)], ids=str)
    @pytest.mark.parametrize("n_classes", [0, 4])
    def test_images_of_all_sizes(self, shape, n_classes):
        labels = [torch.eye(n_classes)[:3]] if n_classes else []
        generator = ConvGenerator(5, (16, 8), shape, n_classes=n_classes)
        discriminator = ConvDiscriminator(shape, (8, 16), n_classes=n_classes)
        rows = generator(torch.randn(3, 5, generator=seeded()), *labels)
        assert rows.shape == (3, np.prod(shape))
        assert rows.abs().max() <= 1.0
        assert discriminator(rows, *labels).shape == (3,)
        assert discriminator.features(rows).shape == (3, discriminator.n_features)

    def test_channels_are_last(self):
        """Permuting the channels of an image and of the weights leaves the features unchanged."""
        network = ConvDiscriminator((8, 8, 3), (4,))
        twin = copy.deepcopy(network)
        with torch.no_grad():
            twin.layers[0].weight.copy_(network.layers[0].weight[:, [2, 0, 1]])
        rows = torch.randn(2, 192, generator=seeded())
        moved = rows.reshape(2, 8, 8, 3)[..., [2, 0, 1]].reshape(2, -1)
        torch.testing.assert_close(twin(moved), network(rows))

    def test_scores_are_linear_in_the_features_and_labels_project(self):
        network = DenseDiscriminator(3, (8, 5), n_classes=2)
        rows, labels = torch.randn(4, 3, generator=seeded()), torch.eye(2)[[0, 1, 1, 0]]
        features = network.features(rows)
        by_class = network.by_class.weight.T[[0, 1, 1, 0]] + network.by_class.bias
        truth = features @ network.head.weight[0] + network.head.bias + (features * by_class).sum(1)
        torch.testing.assert_close(network(rows, labels), truth)

    def test_a_generator_takes_labels_with_codes(self):
        network = DenseGenerator(2, (8,), 3, n_classes=2)
        codes = torch.randn(4, 2, generator=seeded())
        first, second = (network(codes, torch.eye(2)[[k] * 4]) for k in (0, 1))
        assert (first != second).any()
        torch.testing.assert_close(
            first, network.layers(torch.cat([codes, torch.eye(2)[[0] * 4]], 1))
        )

    def test_dropout_is_drawn_by_the_generator_in_training_alone(self):
        network = ConvDiscriminator((8, 8, 1), (4, 8), dropout=0.5)
        rows = torch.randn(2, 64, generator=seeded())
        first, again, other = (network(rows, generator=seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        network.eval()
        assert torch.equal(network(rows, generator=seeded(1)), network(rows))

    @pytest.mark.parametrize(
        "make", [lambda: SpectralLinear(6, 4), lambda: SpectralConv2d(3, 5, 4, 2, 1)]
    )
    def test_the_largest_singular_value_is_one(self, make):
        layer = make()
        with torch.no_grad():
            layer.weight.mul_(7.0)
        inputs = torch.randn(2, 6) if isinstance(layer, SpectralLinear) else torch.randn(2, 3, 8, 8)
        for _ in range(200):
            layer(inputs)
        layer.eval()
        largest = np.linalg.svd(layer.weight.detach().flatten(1).numpy(), compute_uv=False)[0]
        bias = layer.bias if isinstance(layer, SpectralLinear) else layer.bias[:, None, None]
        plain = copy.deepcopy(layer)
        output = super(type(layer), plain).forward(inputs) - bias
        torch.testing.assert_close(layer(inputs) - bias, output / largest, rtol=1e-4, atol=1e-6)

    def test_statistics_of_batch_norm_are_those_of_all_batches(self):
        network = ConvGenerator(3, (6, 4), (8, 8, 1))
        batches = [torch.randn(16, 3, generator=seeded(k)) + k for k in range(5)]
        with torch.no_grad():
            network(100.0 * batches[0])  # what has to be forgotten
        refresh_batch_norm(network.eval(), [(batch,) for batch in batches])
        norm = network.layers[0]
        with torch.no_grad():
            starts = [network.head(batch).reshape(-1, *network.start) for batch in batches]
        np.testing.assert_allclose(
            norm.running_mean, torch.stack([s.mean((0, 2, 3)) for s in starts]).mean(0), rtol=1e-4
        )
        variances = torch.stack([s.transpose(0, 1).flatten(1).var(1) for s in starts])
        np.testing.assert_allclose(norm.running_var, variances.mean(0), rtol=1e-4)
        assert not network.training
        assert norm.momentum == 0.1


class TestAugmentation:
    SHAPE = (8, 12, 3)

    def images(self, n=200):
        return 1.0 + torch.rand(n, np.prod(self.SHAPE), generator=seeded())

    def test_brightness_adds_one_number_to_an_image(self):
        rows = self.images()
        change = augment(rows, ["brightness"], self.SHAPE, seeded(1)) - rows
        torch.testing.assert_close(change, change[:, :1].expand_as(change), atol=1e-6, rtol=0.0)
        assert change.abs().max() <= 0.5 + 1e-6
        assert abs(change[:, 0].mean().item()) < 0.1
        assert change[:, 0].std().item() == pytest.approx(
            1.0 / 12**0.5, rel=0.2
        )  # uniform in [-0.5, 0.5]

    def test_translation_moves_an_image_and_fills_with_zeros(self):
        rows = self.images()
        moved = augment(rows, ["translation"], self.SHAPE, seeded(1)).reshape(-1, *self.SHAPE)
        shifts = set()
        for before, after in zip(rows.reshape(-1, *self.SHAPE).numpy(), moved.numpy()):
            matches = [
                (a, b)
                for a in (-1, 0, 1)
                for b in (-2, -1, 0, 1, 2)
                if (shifted(before, a, b) == after).all()
            ]
            assert len(matches) == 1
            shifts.add(matches[0])
        assert len(shifts) == 15

    def test_cutout_covers_a_rectangle(self):
        cut = (
            augment(self.images(), ["cutout"], self.SHAPE, seeded(1)).reshape(-1, *self.SHAPE)
            == 0.0
        )
        assert (cut.all(-1) == cut.any(-1)).all()
        covered = cut[..., 0]
        rows, columns = covered.any(2), covered.any(1)
        assert (covered == rows[:, :, None] & columns[:, None, :]).all()
        assert (rows.sum(1).max(), columns.sum(1).max()) == (
            3,
            5,
        )  # of 8 and 12, on both sides of a pixel
        assert (rows.sum(1).min(), columns.sum(1).min()) == (2, 3)  # in a corner

    @pytest.mark.parametrize("kinds", [["brightness"], ["translation"], ["cutout"]], ids=str)
    def test_images_keep_their_gradients(self, kinds):
        rows = self.images(3).requires_grad_()
        augment(rows, kinds, self.SHAPE, seeded()).sum().backward()
        assert set(rows.grad.unique().tolist()) <= {0.0, 1.0}
        assert rows.grad.sum() > 0


def shifted(image, down, right):
    """A shifted image, padded with zeros."""
    height, width, _ = image.shape
    moved = np.zeros_like(image)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return moved


class Sometimes(Objective):
    """A network that skips its update for every batch whose loss is above a bound."""

    def __init__(self, bound):
        super().__init__()
        self.weight, self.bound = torch.nn.Parameter(torch.full((2,), 3.0)), bound

    def phases(self):
        return [
            Phase("loss", self.loss, [self.weight], skip=lambda loss: (loss > self.bound).float())
        ]

    def loss(self, X):
        return (X - self.weight).square().sum(1).mean()


def objective_of(model, X):
    return model._make_objective(FitContext(open_rows(X), 64, n_batches=1, max_iter=1))


def train(objective, X, n_epochs=1, **trainer):
    """A training of some epochs, batches of 10 rows."""
    seeds = draw_seeds(np.random.default_rng(0))
    training = Training(
        objective, Trainer(**trainer), learning_rate=0.1, batch_size=10, seeds=seeds
    )
    rows = open_rows(X)
    training.begin(n_epochs, rows, schedule=None)
    training.run(rows)
    return training


class TestSkips:
    X = np.random.default_rng(1).standard_normal((40, 2)).astype(np.float32)

    @pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "adagrad"])
    @pytest.mark.parametrize("bound", [-1.0, 1e9])
    def test_all_or_none(self, optimizer, bound):
        training = train(Sometimes(bound), self.X, optimizer=optimizer)
        plain = train(
            type("Plain", (Sometimes,), {"phases": Objective.phases})(bound),
            self.X,
            optimizer=optimizer,
        )
        weight = training.objective.weight.detach()
        expected = torch.full((2,), 3.0) if bound < 0.0 else plain.objective.weight.detach()
        assert torch.equal(weight, expected)

    def test_a_skipped_batch_leaves_no_trace(self):
        """The weights are those of a hand-written Adam without the skipped batches."""
        bound = 18.5
        training = train(Sometimes(bound), self.X, n_epochs=3)
        weight = torch.full((2,), 3.0, requires_grad=True)
        optimizer, n_skipped = torch.optim.Adam([weight], lr=0.1, fused=True), 0
        for epoch in range(3):
            rng = np.random.default_rng([training.seeds["shuffle"], epoch])
            for (batch,) in open_rows(self.X).batches(rng, 10):
                loss = (batch - weight).square().sum(1).mean()
                if loss > bound:
                    n_skipped += 1
                    continue
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        assert 0 < n_skipped < 12
        torch.testing.assert_close(training.objective.weight.detach(), weight.detach())

    def test_the_balance_rule_by_hand(self):
        """The skipped updates follow from the losses of a fit."""
        model = GAN(
            2,
            hidden_layer_sizes=(8,),
            loss=NonSaturating(balance_ratio=1.2),
            max_iter=1,
            random_state=0,
        ).fit(self.X)
        objective = objective_of(model, self.X)
        logged = []
        skip = objective._skip

        def spy(network, loss):
            before = objective.last_losses.clone()
            skipped = skip(network, loss)
            logged.append((network, float(loss), before.tolist(), float(skipped)))
            return skipped

        objective._skip = spy
        history = train(objective, self.X, n_epochs=30).history
        last = [np.nan, np.nan]
        for network, loss, before, skipped in logged:
            np.testing.assert_array_equal(before, last)
            assert skipped == float(1.2 * np.float32(loss) < last[1 - network])
            last[network] = loss
        for network, name in enumerate(("discriminator_skips", "generator_skips")):
            assert sum(history[name]) == sum(entry[3] for entry in logged if entry[0] == network)
        assert (
            0 < sum(history["discriminator_skips"]) + sum(history["generator_skips"]) < len(logged)
        )


class TestObjective:
    X = np.random.default_rng(2).standard_normal((40, 3)).astype(np.float32)

    def objective(self, **parameters):
        model = GAN(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0, **parameters).fit(
            self.X
        )
        objective = objective_of(model, self.X).train()
        objective.noise = seeded(3)
        return objective

    @pytest.mark.parametrize("penalty", [None, "r1", "wgan_gp"])
    def test_the_loss_of_the_discriminator_by_hand(self, penalty):
        options = {None: None, "r1": R1(weight=0.7), "wgan_gp": WGANGP(weight=0.7)}
        objective = self.objective(penalty=options[penalty])
        loss, terms = objective.discriminator_loss(torch.from_numpy(self.X))
        noise, X = seeded(3), torch.from_numpy(self.X)
        real = ((X - objective.center) / objective.scale).requires_grad_()
        fake = objective.generator(torch.empty(40, 2).normal_(generator=noise)).detach()
        truth = discriminator_loss(
            "non_saturating", objective.discriminator(real), objective.discriminator(fake)
        )
        if penalty == "r1":
            truth = truth + 0.7 * r1_penalty(objective.discriminator(real), real)
        if penalty == "wgan_gp":
            share = torch.empty(40, 1).uniform_(generator=noise)
            between = (share * real + (1.0 - share) * fake).detach().requires_grad_()
            truth = truth + 0.7 * gradient_penalty(objective.discriminator(between), between)
        assert loss.item() == pytest.approx(truth.item(), rel=1e-5)
        assert terms["real_score"].item() == pytest.approx(
            objective.discriminator(real).mean().item(), rel=1e-4
        )

    def test_networks_and_numbers_suffice_to_make_one(self):
        """Scores 2 x of a row and of a generated one, by the hinge loss and the penalty R1."""
        generator, discriminator = DenseGenerator(1, (), 1), DenseDiscriminator(1, ())
        for layer, weight, bias in (
            (generator.layers[0], 0.0, 3.0),
            (discriminator.head, 2.0, 0.0),
        ):
            torch.nn.init.constant_(layer.weight, weight)
            torch.nn.init.constant_(layer.bias, bias)
        objective = AdversarialObjective(
            generator,
            discriminator,
            center=[5.0],
            scale=[4.0],
            n_components=1,
            loss="hinge",
            penalty="r1",
            penalty_weight=0.1,
        )
        objective.noise = seeded()
        X = torch.tensor([[6.0], [3.0]])  # 0.25 and -0.5 when scaled; generated rows are 3
        loss, terms = objective.discriminator_loss(X)
        hinge = np.mean([1.0 - 2.0 * 0.25, 1.0 + 2.0 * 0.5]) + (1.0 + 2.0 * 3.0)
        assert terms["penalty"].item() == pytest.approx(0.5 * 2.0**2)
        assert loss.item() == pytest.approx(hinge + 0.1 * 2.0)
        assert objective.generator_loss(X).item() == pytest.approx(-6.0)
        assert [phase.name for phase in objective.phases()] == ["discriminator", "generator"]

    def test_a_phase_moves_its_own_network_alone(self):
        objective = self.objective(encoder=True)
        before = copy.deepcopy(objective.state_dict())
        names = {}
        for phase in objective.phases():
            for parameter in objective.parameters():
                parameter.grad = None
            loss = phase.loss(torch.from_numpy(self.X))
            (loss[0] if isinstance(loss, tuple) else loss).backward(inputs=list(phase.parameters))
            moved = {
                name.split(".")[0] for name, p in objective.named_parameters() if p.grad is not None
            }
            names[phase.name] = moved
        assert names == {name: {name} for name in ("discriminator", "generator", "encoder")}
        assert all(
            torch.equal(value, before[name]) for name, value in objective.state_dict().items()
        )

    def test_instance_noise_falls_to_zero(self):
        objective = self.objective(instance_noise=0.5)
        objective.n_epochs = 5
        levels = []
        for epoch in range(7):
            objective.begin_epoch(epoch)
            inputs = objective._discriminator_input(torch.zeros(20_000, 3))
            levels.append(inputs.std().item())
        np.testing.assert_allclose(levels, [0.5, 0.375, 0.25, 0.125, 0.0, 0.0, 0.0], rtol=0.02)

    @pytest.mark.parametrize(
        "prior, low, high, deviation", [("normal", -6, 6, 1.0), ("uniform", -1, 1, 3**-0.5)]
    )
    def test_codes_are_drawn_from_the_prior(self, prior, low, high, deviation):
        codes = self.objective(prior=prior).draw_codes(20_000)
        assert codes.shape == (20_000, 2)
        assert codes.min() > low
        assert codes.max() < high
        np.testing.assert_allclose(codes.std(0), deviation, rtol=0.03)
