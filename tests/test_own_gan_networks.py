"""Networks of a user's own in GANs: the same as built-in ones, or refused in one sentence."""

import copy
import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from probgen import GAN, VAEGAN, AuxiliaryClassifierGAN, ConditionalGAN, load, save
from probgen.estimators.adversarial.networks import SpectralLinear
from probgen.networks.batch_norm import batch_norms
from probgen.options import ParzenWindow

RNG = np.random.default_rng(0)
Y = np.array(["ash", "birch", "cedar"])[np.arange(65) % 3]
X = RNG.standard_normal((65, 4)) * [1.0, 20.0, 300.0, 0.1] + 5.0
KINDS = [GAN, ConditionalGAN, AuxiliaryClassifierGAN, VAEGAN]
SETTINGS = {
    "hidden_layer_sizes": (12, 7),
    "max_iter": 3,
    "density": ParzenWindow(300),
    "device": "cpu",
    "random_state": 0,
}


def n_labels(kind, name):
    """Width of the one-hot labels that a network gets."""
    has_labels = kind is ConditionalGAN or (kind is AuxiliaryClassifierGAN and name == "generator")
    return 3 if has_labels else 0


def make_generator(kind, *layers, width=16, n_outputs=4):
    first = nn.Linear(2 + n_labels(kind, "generator"), width)
    return nn.Sequential(first, *layers, nn.ReLU(), nn.Linear(width, n_outputs))


def make_discriminator(kind, *layers, width=16, n_outputs=1):
    first = nn.Linear(4 + n_labels(kind, "discriminator"), width)
    return nn.Sequential(first, *layers, nn.LeakyReLU(0.2), nn.Linear(width, n_outputs))


def fit(kind=GAN, **parameters):
    return kind(2, **SETTINGS | parameters).fit(X, Y)


@pytest.mark.parametrize("penalty", ["r1", "wgan_gp", None], ids=str)
def test_copies_of_the_built_in_networks_learn_the_same(penalty):
    settings = {"penalty": penalty, "loss": "hinge"}
    start = fit(max_iter=1, learning_rate_init=0.0, **settings)
    discriminator = nn.Sequential(*start.discriminator_.layers, start.discriminator_.head)
    own = {"generator": start.generator_.layers, "discriminator": discriminator}
    model, twin = fit(**settings), fit(**own, **settings)
    np.testing.assert_allclose(twin.sample(9), model.sample(9), rtol=1e-6)
    np.testing.assert_allclose(twin.transform(X), model.transform(X), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(twin.discriminate(X), model.discriminate(X), atol=1e-7)
    np.testing.assert_allclose(twin.score_samples(X), model.score_samples(X), rtol=1e-6)
    for name in model.history_.loss_names:
        np.testing.assert_allclose(twin.history_[name], model.history_[name], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
class TestOwnNetworks:
    def make(self, kind, **parameters):
        return kind(
            2,
            generator=make_generator(kind, nn.BatchNorm1d(16), nn.Dropout(0.1)),
            discriminator=make_discriminator(kind, nn.LayerNorm(16), nn.Dropout(0.1)),
            **SETTINGS | {"batch_size": 64} | parameters,
        )

    def test_answer_every_query(self, kind, tmp_path):
        model = self.make(kind).fit(X, Y)  # with a last batch of one row
        width = 2 if kind is VAEGAN else 16
        assert model.transform(X).shape == (65, width)
        assert len(model.get_feature_names_out()) == width
        for answer in (model.sample(5), model.score_samples(X), model.discriminate(X)):
            assert np.isfinite(answer).all()
        assert np.isfinite(model.inverse_transform(np.zeros((3, 2)))).all()
        assert np.isfinite(model.likelihood_bounds(2)).all()
        save(model, tmp_path / "model.probgen")
        again = load(tmp_path / "model.probgen")
        for query in ("score_samples", "transform", "discriminate"):
            np.testing.assert_array_equal(getattr(again, query)(X), getattr(model, query)(X))
        np.testing.assert_array_equal(again.sample(5), model.sample(5))
        again.partial_fit(X, Y)
        clone(again).fit(X, Y)

    def test_are_templates(self, kind):
        model = self.make(kind)
        before = copy.deepcopy([model.generator.state_dict(), model.discriminator.state_dict()])
        state = torch.get_rng_state()
        draws = model.fit(X, Y).sample(5, random_state=1)
        assert torch.equal(torch.get_rng_state(), state)
        after = [model.generator.state_dict(), model.discriminator.state_dict()]
        for one, other in zip(before, after):
            for name, value in one.items():
                assert torch.equal(other[name], value)
        np.testing.assert_array_equal(clone(model).fit(X, Y).sample(5, random_state=1), draws)

    def test_batch_norm_has_the_statistics_of_the_average(self, kind):
        model = fit(kind, generator=make_generator(kind, nn.BatchNorm1d(16)))
        codes = model._draw_codes(50_000, np.random.default_rng(1))
        if n_labels(kind, "generator"):
            labels = np.eye(3)[np.random.default_rng(2).integers(3, size=50_000)]
            codes = np.hstack([codes, labels])
        first = model.generator_.network[0]
        hidden = codes @ first.weight.detach().numpy().T + first.bias.detach().numpy()
        (norm,) = batch_norms(model.generator_)
        np.testing.assert_allclose(norm.running_mean, hidden.mean(axis=0), atol=0.06)
        np.testing.assert_allclose(norm.running_var, hidden.var(axis=0), rtol=0.1)

    def test_the_spectral_layers_are_for_everyone(self, kind):
        layers = [SpectralLinear(16, 16), nn.LeakyReLU(0.2)]
        model = fit(kind, discriminator=make_discriminator(kind, *layers), penalty=None)
        assert np.isfinite(model.score(X))

    def test_weights_may_be_frozen(self, kind):
        network = make_generator(kind)
        network[0].weight.requires_grad_(False)
        model = fit(kind, generator=network)
        assert torch.equal(model.generator_.network[0].weight, network[0].weight.double())
        assert not torch.equal(model.generator_.network[2].weight, network[2].weight.double())

    def test_precision_is_that_of_the_rows(self, kind):
        model = self.make(kind).fit(X.astype(np.float32), Y)
        assert model.sample().dtype == np.float32
        assert next(model.discriminator_.parameters()).dtype == torch.float32


class Whole(nn.Module):
    """A discriminator that is no torch.nn.Sequential."""

    def __init__(self, n_inputs=4):
        super().__init__()
        self.layer = nn.Linear(n_inputs, 1)

    def forward(self, rows):
        return self.layer(rows).sinh()


class TestDiscriminators:
    def test_another_module_has_its_scores_for_features(self):
        model = fit(discriminator=Whole())
        np.testing.assert_array_equal(model.transform(X)[:, 0], model.discriminate(X))

    def test_classes_are_averaged_where_they_change_features(self):
        network = make_discriminator(ConditionalGAN)
        model = fit(ConditionalGAN, discriminator=network)
        own, labels = model.discriminator_, np.eye(3)
        rows = [np.hstack([model._scaled(X), np.tile(label, (65, 1))]) for label in labels]
        with torch.no_grad():
            features = [own.body(torch.from_numpy(part)).numpy() for part in rows]
            scores = [own.head(torch.from_numpy(part))[:, 0].numpy() for part in features]
        np.testing.assert_allclose(
            model.transform(X), np.tensordot(model.class_prior_, features, axes=1), rtol=1e-6
        )
        np.testing.assert_allclose(
            model.discriminate(X), model.class_prior_ @ np.stack(scores), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(model.discriminate(X, "birch"), scores[1], rtol=1e-6, atol=1e-9)

    def test_images(self):
        rows = RNG.random((40, 64), dtype=np.float32)
        layers = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 4, 2, 1), nn.LeakyReLU(0.2)]
        discriminator = nn.Sequential(*layers, nn.Conv2d(4, 1, 4), nn.Flatten())
        layers = [nn.Linear(2, 32), nn.Unflatten(1, (2, 4, 4)), nn.BatchNorm2d(2), nn.ReLU()]
        generator = nn.Sequential(
            *layers, nn.ConvTranspose2d(2, 1, 4, 2, 1), nn.Tanh(), nn.Flatten()
        )
        for kind in (GAN, VAEGAN):
            settings = {"image_shape": (8, 8), "augmentation": ["cutout"]}
            if kind is VAEGAN:
                del settings["augmentation"]
            model = kind(
                2, generator=generator, discriminator=discriminator, **SETTINGS | settings
            ).fit(rows)
            assert model.discriminator_.n_features == 4 * 4 * 4
            assert np.isfinite(model.score(rows))
            assert model.sample(3).min() >= rows.min() - 1e-6


class Detached(nn.Module):
    """Scores without a gradient by the rows."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, rows):
        return self.layer(rows.detach())


class TestRefusals:
    @pytest.mark.parametrize(
        "kind, parameters, message",
        [
            (GAN, {"generator": 3}, "generator must be a torch.nn.Module, or None; got 3."),
            (
                GAN,
                {"generator": nn.Linear(3, 4)},
                "generator must map rows of shape (n, 2) to (n, 4)",
            ),
            (
                ConditionalGAN,
                {"generator": nn.Linear(2, 4)},
                "generator must map rows of shape (n, 5) to (n, 4)",
            ),
            (
                GAN,
                {"discriminator": nn.Linear(4, 4)},
                "discriminator must map rows of shape (n, 4) to (n, 1); got shape (n, 4)",
            ),
            (
                ConditionalGAN,
                {"discriminator": nn.Linear(4, 1)},
                "discriminator must map rows of shape (n, 7) to (n, 1)",
            ),
            (GAN, {"discriminator": nn.ReLU()}, "discriminator must have parameters to train"),
            (
                GAN,
                {"discriminator": nn.Sequential(nn.ReLU())},
                "discriminator must have parameters to train",
            ),
            (GAN, {"generator": nn.LazyLinear(4)}, "generator must have parameters of known"),
            (
                GAN,
                {"discriminator": nn.Linear(4, 1), "spectral_norm": True},
                "spectral_norm=True is for the discriminator of hidden_layer_sizes; build your own",
            ),
            (
                GAN,
                {"discriminator": make_discriminator(GAN, nn.BatchNorm1d(16))},
                "discriminator must score each row by itself; got Sequential with BatchNorm1d",
            ),
            (
                GAN,
                {"discriminator": Detached()},
                "discriminator must have second derivatives for penalty='r1'; torch says:",
            ),
            (
                VAEGAN,
                {"discriminator": Whole()},
                (
                    "discriminator must be a torch.nn.Sequential of several layers with weights, as"
                    " VAEGAN reads features before the last of them; got Whole."
                ),
            ),
            (
                AuxiliaryClassifierGAN,
                {"discriminator": nn.Linear(4, 1)},
                "as AuxiliaryClassifierGAN reads features before the last of them; got Linear.",
            ),
            (
                GAN,
                {"generator": make_generator(GAN, nn.BatchNorm1d(16)), "batch_size": 1},
                "batch_size must be at least 2 with a generator that normalises over it",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    def test_are_one_sentence_before_any_work(self, kind, parameters, message):
        model = kind(2, **SETTINGS | parameters)
        with pytest.raises(ValueError, match=re.escape(message)) as refusal:
            model.fit(X, Y)
        assert "\n" not in str(refusal.value)
        with pytest.raises(NotFittedError):
            model.sample()

    @pytest.mark.parametrize("kind", KINDS)
    def test_leave_a_fitted_model_as_it_was(self, kind):
        model = fit(kind)
        before = [model.score_samples(X), model.sample(3, random_state=0)]
        model.set_params(discriminator=nn.Linear(3, 3), generator=nn.Linear(2, 2))
        with pytest.raises(ValueError, match="must"):
            model.fit(X, Y)
        np.testing.assert_array_equal(model.score_samples(X), before[0])
        np.testing.assert_array_equal(model.sample(3, random_state=0), before[1])
