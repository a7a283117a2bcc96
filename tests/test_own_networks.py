"""Networks of the user's own in models with codes, held against sums over a grid of the codes."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone
from torch import nn

from probgen import VAE, Autoencoder, ConditionalVAE, SemiSupervisedVAE, Trainer, load, save
from probgen.metrics import ais_log_likelihood
from probgen.options import VampPrior
from probgen.programs.recording import Replayed
from probgen.training.neural_generator import QUERY_ROWS

RNG = np.random.default_rng(0)
X = RNG.standard_normal((130, 4))
X[:, 1] += X[:, 0]
Y = (X[:, 2] > 0.0).astype(int)
ASKED = X[:3]
QUICK = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}
LIKELIHOOD = {"likelihood": "gaussian", "n_importance_samples": 512}


class TwoAxes(nn.Module):
    """A network that refuses anything but rows of two axes, and counts its calls."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_inputs, n_outputs)
        self.n_calls = 0

    def forward(self, rows):
        assert rows.ndim == 2
        self.n_calls += 1
        return self.layer(rows)


class Centred(nn.Module):
    """A layer of the user's own that needs the spread of a batch, and gives NaN for one row."""

    def forward(self, rows):
        return rows / rows.std(0) if self.training else rows


def with_norm(n_inputs, n_outputs, width=8):
    return nn.Sequential(
        nn.Linear(n_inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, n_outputs)
    )


def with_images(n_inputs, n_outputs):
    """Images of 2 x 2 pixels of 3 channels, normalised by channel."""
    return nn.Sequential(
        nn.Linear(n_inputs, 12),
        nn.Unflatten(1, (3, 2, 2)),
        nn.BatchNorm2d(3),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(12, n_outputs),
    )


def with_dropout(n_inputs, n_outputs):
    return nn.Sequential(
        nn.Linear(n_inputs, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, n_outputs)
    )


NETWORKS = {
    "plain": lambda n, m: nn.Sequential(nn.Linear(n, 8), nn.ReLU(), nn.Linear(8, m)),
    "norm": with_norm,
    "norm as wide as a block of queries": lambda n, m: with_norm(n, m, QUERY_ROWS),
    "images": with_images,
    "dropout": with_dropout,
}
each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def grid(low=-5.0, high=5.0, n=81):
    """Points (n * n, 2) of a grid over two codes, and the logarithm of the area of a cell."""
    axis = np.linspace(low, high, n)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return points, 2.0 * np.log(axis[1] - axis[0])


def log_density_by_grid(model, rows, label=()):
    """log p(x given a class) of a VAE with Gaussian noise: a sum over a grid of the two codes."""
    points, log_area = grid()
    labelled = np.hstack([points, np.tile(label, (len(points), 1))])
    log_prior = -0.5 * np.square(points).sum(1) - np.log(2.0 * np.pi)
    with torch.no_grad():
        noise = model.observation_.distribution(model.decoder_.network(torch.as_tensor(labelled)))
        given = [noise.log_prob(torch.as_tensor(row)).sum(-1).numpy() for row in rows]
    return np.array([logsumexp(part + log_prior + log_area) for part in given])


@each_network
class TestTruth:
    def test_vae(self, make):
        model = VAE(2, encoder=make(4, 4), decoder=make(2, 4), **QUICK, **LIKELIHOOD).fit(X)
        truth = log_density_by_grid(model, ASKED)
        values, errors = model.score_samples(ASKED, return_std=True)
        np.testing.assert_array_less(np.abs(values - truth), 5.0 * errors + 0.01)
        assert (model.elbo_samples(ASKED).elbo < truth + 0.05).all()
        annealed, errors = ais_log_likelihood(
            model, ASKED, n_temperatures=20, n_chains=64, return_std=True, random_state=0
        )
        np.testing.assert_array_less(np.abs(annealed - truth), 5.0 * errors + 1e-3)

    def test_vae_of_classes(self, make):
        kind = SemiSupervisedVAE if make is with_images else ConditionalVAE
        model = kind(2, encoder=make(6, 4), decoder=make(4, 4), **QUICK, **LIKELIHOOD).fit(X, Y)
        truth = [
            log_density_by_grid(model, ASKED, np.eye(2)[k]) + np.log(model.class_prior_[k])
            for k in (0, 1)
        ]
        for k in (0, 1):
            values, errors = model.score_samples(ASKED, np.full(3, k), return_std=True)
            np.testing.assert_array_less(np.abs(values - truth[k]), 5.0 * errors + 0.01)
        values, errors = model.score_samples(ASKED, return_std=True)
        np.testing.assert_array_less(np.abs(values - logsumexp(truth, axis=0)), 5.0 * errors + 0.01)

    def test_autoencoder(self, make):
        model = Autoencoder(2, encoder=make(4, 2), decoder=make(2, 4), **QUICK).fit(X)
        codes = model.transform(X)
        points, log_area = grid(codes.min() - 4.0, codes.max() + 4.0, 161)
        means = model.inverse_transform(points)
        log_prior = model.latent_density_.score_samples(points)
        truth = []
        for row in ASKED:
            squares = np.square(row - means) / model.noise_variance_
            given = -0.5 * (squares + np.log(2.0 * np.pi * model.noise_variance_)).sum(1)
            truth.append(logsumexp(given + log_prior + log_area))
        values, errors = model.score_samples(ASKED, return_std=True)
        np.testing.assert_array_less(np.abs(values - truth), 5.0 * errors + 0.02)

    def test_a_row_has_its_answer_in_any_batch(self, make):
        model = VAE(2, encoder=make(4, 4), decoder=make(2, 4), **QUICK, **LIKELIHOOD).fit(X)
        for query in [model.score_samples, model.transform, model.reconstruct]:
            np.testing.assert_allclose(query(X)[:3], query(ASKED), rtol=1e-9)


FAMILIES = [
    VAE(2, encoder=TwoAxes(4, 4), decoder=TwoAxes(2, 4), **QUICK),
    VAE(2, encoder=TwoAxes(4, 4), decoder=TwoAxes(2, 4), prior=VampPrior(3), **QUICK),
    ConditionalVAE(2, encoder=TwoAxes(6, 4), decoder=TwoAxes(4, 4), **QUICK),
    SemiSupervisedVAE(
        2, encoder=TwoAxes(6, 4), decoder=TwoAxes(4, 4), classifier=TwoAxes(4, 2), **QUICK
    ),
    Autoencoder(2, encoder=TwoAxes(4, 2), decoder=TwoAxes(2, 4), **QUICK),
]


@pytest.mark.filterwarnings("ignore:.* is hard to meet:UserWarning")
@pytest.mark.filterwarnings("ignore:.* effective draws")
@pytest.mark.parametrize("estimator", FAMILIES, ids=lambda model: type(model).__name__)
def test_networks_see_rows_of_two_axes_in_training_and_in_every_query(estimator):
    few = {"n_importance_samples": 8}
    if hasattr(estimator, "elbo"):
        few |= {"elbo__n_particles": 3, "elbo__kind": "trace", "likelihood": "gaussian"}
    model = clone(estimator).set_params(**few).fit(X, Y)
    (decoder,) = (module for module in model.decoder_.modules() if isinstance(module, TwoAxes))
    n_calls = decoder.n_calls
    assert n_calls > 0
    model.score_samples(ASKED), model.transform(ASKED), model.reconstruct(ASKED), model.sample(3)
    ais_log_likelihood(model, ASKED, Y[:3], n_temperatures=2, n_chains=3)
    if hasattr(model, "impute"):
        model.elbo_samples(ASKED)
        model.impute([[0.0, np.nan, 1.0, np.nan]])
        model.sample(2, given={0: 0.5, 1: (0.0, None)}, random_state=0)
    assert decoder.n_calls > n_calls


class TestSmallBatches:
    @pytest.mark.parametrize(
        "layer", [nn.BatchNorm1d(8), nn.Sequential(nn.Linear(8, 8), Centred())]
    )
    @pytest.mark.parametrize("kind", [VAE, Autoencoder])
    def test_a_last_batch_of_one_row_is_left_out_of_its_epoch(self, kind, layer):
        n_outputs = 4 if kind is VAE else 2
        encoder = nn.Sequential(nn.Linear(4, 8), layer, nn.Linear(8, n_outputs))
        model = kind(2, encoder=encoder, batch_size=32, **QUICK)
        if kind is Autoencoder:
            model.set_params(noise_fraction=0.0)
        model.fit(X[:65])
        assert np.isfinite(model.score(X))
        state = model.encoder_.state_dict()
        counts = [value for name, value in state.items() if name.endswith("num_batches_tracked")]
        assert counts in ([], [8])  # 4 epochs of two batches of 32 rows

    @pytest.mark.parametrize("kind", [VAE, Autoencoder])
    def test_batches_that_cannot_train_are_refused_before_the_fit(self, kind):
        encoder = with_norm(4, 4 if kind is VAE else 2)
        model = kind(2, encoder=encoder, **QUICK).fit(X)
        before = model.score_samples(ASKED)
        with pytest.raises(ValueError, match="X must hold at least 2 rows to train on, for a netw"):
            model.partial_fit(ASKED[:1])
        with pytest.raises(
            ValueError, match=r"batch_size must be at least 2, for a network .*; go"
        ):
            model.set_params(batch_size=1).fit(X)
        np.testing.assert_array_equal(model.score_samples(ASKED), before)

    def test_files_remember_what_one_row_cannot_train(self, tmp_path):
        model = VAE(2, decoder=with_norm(2, 4), **QUICK).fit(X)
        save(model, tmp_path / "model.probgen")
        again = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
        with pytest.raises(ValueError, match="X must hold at least 2 rows to train on"):
            again.partial_fit(ASKED[:1])
        again.partial_fit(X)

    @pytest.mark.filterwarnings("ignore:.* effective draws")
    def test_one_row_trains_where_there_is_no_batch_norm(self):
        model = VAE(2, decoder=nn.Linear(2, 4), batch_size=1, **QUICK).fit(X[:4])
        assert np.isfinite(model.partial_fit(ASKED[:1]).score(X))

    def test_one_pseudo_input_cannot_train_an_encoder_with_batch_norm(self):
        model = VAE(2, encoder=with_norm(4, 4), prior=VampPrior(1), **QUICK)
        with pytest.raises(ValueError, match="prior must have at least 2 pseudo-inputs"):
            model.fit(X)

    def test_a_network_that_fails_in_training_alone_is_refused(self):
        class Fails(nn.Linear):
            def forward(self, rows):
                if self.training:
                    raise RuntimeError("no statistics")
                return super().forward(rows)

        message = r"decoder must map rows of shape \(n, 2\) after train\(\) too; Fails raised Runt"
        with pytest.raises(ValueError, match=message):
            VAE(2, decoder=Fails(2, 4), **QUICK).fit(X)

    def test_networks_whose_outputs_depend_on_other_rows_are_refused(self):
        layer = nn.BatchNorm1d(8, track_running_stats=False)
        decoder = nn.Sequential(nn.Linear(2, 8), layer, nn.Linear(8, 4))
        with pytest.raises(ValueError, match=r"decoder must map each row by itself after eval"):
            VAE(2, decoder=decoder, **QUICK).fit(X)

    @pytest.mark.parametrize("kind", [VAE, Autoencoder])
    def test_networks_that_draw_or_divide_are_taken_as_they_are(self, kind):
        """Noise in every mode, and numbers that are not finite for rows unlike the data."""

        class Free(nn.Linear):
            def forward(self, rows):
                bounded = torch.where(rows > 0.0, rows, rows.abs()).log().clamp(-9.0, 9.0)
                return super().forward(bounded) + 0.01 * torch.randn(len(rows), 1).double()

        model = kind(2, encoder=Free(4, 4 if kind is VAE else 2), **QUICK).fit(X)
        assert np.isfinite(model.score(X))


class TestRunningStatistics:
    """Of a batch norm on the rows themselves, in batches of all rows: a geometric sum."""

    @pytest.mark.parametrize("n_epochs", [5, 40])  # 40 batches of one size are recorded
    @pytest.mark.parametrize("kind", [VAE, ConditionalVAE, SemiSupervisedVAE, Autoencoder])
    def test_each_batch_counts_once(self, kind, n_epochs):
        n_inputs = 4 if kind in (VAE, Autoencoder) else 6
        n_outputs = 2 if kind is Autoencoder else 4
        encoder = nn.Sequential(nn.BatchNorm1d(n_inputs), nn.Linear(n_inputs, n_outputs))
        settings = {**QUICK, "max_iter": n_epochs, "batch_size": len(X), "encoder": encoder}
        if kind is Autoencoder:
            settings["noise_fraction"] = 0.0
        if kind is SemiSupervisedVAE:
            settings["likelihood"] = "gaussian"
        rows = X + 3.0  # the networks get centred rows, whatever the units
        model = kind(2, **settings).fit(rows, Y)
        norm = next(m for m in model.encoder_.modules() if isinstance(m, nn.BatchNorm1d))
        assert norm.num_batches_tracked == n_epochs
        scaled_variance = norm.running_var.numpy()[:4] - 0.9**n_epochs
        share = 1.0 - 0.9**n_epochs
        n = len(X) if kind is not SemiSupervisedVAE else 2 * len(X)
        unbiased = n / (n - 1.0) * scaled_variance_of(model, rows)
        np.testing.assert_allclose(scaled_variance, share * unbiased, rtol=1e-5)

    def test_recorded_and_direct_runs_agree(self):
        torch.manual_seed(0)
        networks = [with_norm(4, 3).double() for _ in range(2)]
        networks[1].load_state_dict(networks[0].state_dict())
        noise = torch.Generator().manual_seed(0)
        runs = [Replayed(net, lambda: noise, "cpu", net) for net in networks]
        for batch in torch.as_tensor(X).split(26):
            outputs = [run(batch, is_recorded=flag) for run, flag in zip(runs, [True, False])]
            torch.testing.assert_close(*outputs)
        for name, value in networks[0].state_dict().items():
            torch.testing.assert_close(value, networks[1].state_dict()[name])
        for net in networks:
            net.eval()
        outputs = [run(torch.as_tensor(ASKED)) for run in runs]
        torch.testing.assert_close(outputs[0], networks[1](torch.as_tensor(ASKED)))
        torch.testing.assert_close(*outputs)

    def test_recorded_dropout_draws_anew(self):
        network = nn.Dropout(0.25)
        noise = torch.Generator().manual_seed(0)
        run = Replayed(network, lambda: noise, "cpu", network)
        ones = torch.ones(1000)
        kept = torch.stack([run(ones) for _ in range(40)]) > 0.0
        assert kept.double().mean() == pytest.approx(0.75, abs=0.01)
        assert kept.any(0).all()
        network.eval()
        assert torch.equal(run(ones), ones)

    @pytest.mark.parametrize("early_stopping", [False, True])
    @pytest.mark.parametrize("kind", [VAE, Autoencoder])
    def test_averaged_weights_have_statistics_of_their_own(self, kind, early_stopping):
        """A batch norm after a layer has the moments of that layer's outputs for the rows."""
        encoder = nn.Sequential(
            nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 4 if kind is VAE else 2)
        )
        seen = Seen()
        trainer = Trainer(
            ema_decay=0.9, early_stopping=early_stopping, n_iter_no_change=99, callbacks=[seen]
        )
        settings = {**QUICK, "learning_rate_init": 0.05, "batch_size": 117, "trainer": trainer}
        model = kind(2, encoder=encoder, **settings).fit(X)
        for fitted in [*seen.models, model]:
            modules = list(fitted.encoder_.modules())
            norm = next(m for m in modules if isinstance(m, nn.BatchNorm1d))
            inner = next(m for m in modules if isinstance(m, nn.Linear))
            with torch.no_grad():
                outputs = inner(torch.as_tensor(scaled(fitted, X)))
            torch.testing.assert_close(norm.running_mean, outputs.mean(0), rtol=0.02, atol=0.05)


class Seen:
    """A callback that keeps the fitted estimator of each epoch."""

    def __init__(self):
        self.models = []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "epoch":
            self.models.append(fitted_estimator)


def scaled(model, rows):
    """Rows as the encoder of a model gets them."""
    if isinstance(model, Autoencoder):
        return (rows - model._mean) / model._scale
    encoder = model.encoder_
    return (rows - encoder.center.numpy()[:4]) / encoder.scale.numpy()[:4]


def scaled_variance_of(model, rows):
    return scaled(model, rows).var(axis=0)


class BuildsALayer(VAE):
    def model(self, X=None, seen=None, n_rows=1):
        layer = nn.Linear(self.n_components, 4).double()
        self.decoder_.forward, kept = layer.forward, self.decoder_.forward
        try:
            return super().model(X, seen, n_rows)
        finally:
            self.decoder_.forward = kept


class ForgetsALayer(VAE):
    def _build(self, fit):
        self.more_ = nn.Linear(2, 2).double()
        super()._build(fit)

    def guide(self, X, seen=None):
        import pyro

        with pyro.plate("rows", len(X), dim=-1):
            mean, scale = self.encoder_.moments(X)
            shifted = pyro.distributions.Normal(self.more_(mean), scale)
            return pyro.sample("z", shifted.to_event(1))


class NamesALayer(ForgetsALayer):
    _networks = (*VAE._networks, "more_")


class TestPrograms:
    @pytest.mark.parametrize("kind", [BuildsALayer, ForgetsALayer])
    @pytest.mark.parametrize("max_iter", [1, 40])
    def test_layers_that_would_not_be_trained_are_refused(self, kind, max_iter):
        model = kind(2, likelihood="gaussian", **{**QUICK, "max_iter": max_iter})
        message = "must use layers of _networks alone; got a weight of shape .* set it as an attr"
        with pytest.raises(ValueError, match=message):
            model.fit(X)
        assert not hasattr(model, "history_")

    def test_layers_that_are_named_are_trained(self):
        model = NamesALayer(2, likelihood="gaussian", **QUICK).fit(X)
        assert np.isfinite(model.score(X))
