"""Networks against forward passes written out."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from probgen.networks import (
    MLP,
    ConvDecoder,
    ConvEncoder,
    TiedMLP,
    activation,
    check_network,
    uses_global_generator,
)
from probgen.persistence.archive import read_archive, write_archive

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def keep_torch_generator():
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)


def arrays(network):
    return [parameter.detach().numpy() for parameter in network.parameters()]


class TestDense:
    def test_an_mlp_is_products_and_activations(self):
        network = MLP(5, (4, 3), 2, "tanh")
        X = RNG.standard_normal((6, 5)).astype(np.float32)
        W1, b1, W2, b2, W3, b3 = arrays(network)
        truth = np.tanh(np.tanh(X @ W1.T + b1) @ W2.T + b2) @ W3.T + b3
        np.testing.assert_allclose(network(torch.from_numpy(X)).detach(), truth, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("n_inputs", [5, 13, 63])
    def test_rows_get_the_same_digits_wherever_they_stand(self, n_inputs, dtype):
        network = MLP(n_inputs, (7,), 3).to(dtype)
        rows = torch.randn(
            1, n_inputs, dtype=dtype, generator=torch.Generator().manual_seed(0)
        ).expand(4, 64, -1)
        with torch.inference_mode():
            answers = network(rows)
        assert (answers == answers[0, 0]).all()
        torch.testing.assert_close(answers, network(rows).detach())

    def test_without_hidden_layers_it_is_linear(self):
        network = MLP(5, (), 2)
        assert [isinstance(layer, nn.Linear) for layer in network] == [True]

    def test_a_tied_one_uses_the_transposed_weights(self):
        encoder = MLP(5, (4,), 2, "tanh")
        decoder = TiedMLP(encoder, "tanh")
        W1, _, W2, _ = arrays(encoder)
        for bias in decoder.biases:
            nn.init.normal_(bias)
        c1, c2 = (bias.detach().numpy() for bias in decoder.biases)
        Z = RNG.standard_normal((6, 2)).astype(np.float32)
        truth = np.tanh(Z @ W2 + c1) @ W1 + c2
        np.testing.assert_allclose(decoder(torch.from_numpy(Z)).detach(), truth, atol=1e-6)

    def test_tied_weights_get_both_gradients(self):
        # y = W'Wx: half of |y|^2 has the gradient Wx y' by the decoder's weights and Wy x' by the
        # encoder's.
        encoder = MLP(3, (), 2)
        nn.init.zeros_(encoder[0].bias)
        decoder = TiedMLP(encoder)
        x = torch.from_numpy(RNG.standard_normal((1, 3)).astype(np.float32))
        answer = decoder(encoder(x))
        (0.5 * answer.square().sum()).backward()
        W, row = encoder[0].weight.detach().numpy(), x.numpy().T
        out = W.T @ W @ row
        by_decoder, by_encoder = W @ row @ out.T, W @ out @ row.T
        np.testing.assert_allclose(encoder[0].weight.grad, by_decoder + by_encoder, rtol=1e-5)

    @pytest.mark.parametrize("how", ["deepcopy", "pickle", "file", "double"])
    def test_tied_weights_stay_tied(self, how, tmp_path):
        encoder = MLP(5, (4,), 2)
        pair = [encoder, TiedMLP(encoder)]
        if how == "deepcopy":
            pair = copy.deepcopy(pair)
        elif how == "pickle":
            pair = pickle.loads(pickle.dumps(pair))
        elif how == "file":
            write_archive(tmp_path / "pair", pair, kind="test")
            pair = read_archive(tmp_path / "pair", kind="test")
        else:
            pair = [network.double() for network in pair]
        assert pair[1].weights[0] is pair[0][2].weight
        assert pair[1].weights[1] is pair[0][0].weight
        assert len(list(nn.ModuleList(pair).parameters())) == 2 + 2 + 2

    def test_weights_put_back_stay_tied(self):
        encoder, other = MLP(5, (4,), 2), MLP(5, (4,), 2)
        pair, others = (
            nn.ModuleList([encoder, TiedMLP(encoder)]),
            nn.ModuleList([other, TiedMLP(other)]),
        )
        pair.load_state_dict(others.state_dict())
        assert torch.equal(encoder[0].weight, other[0].weight)
        assert pair[1].weights[1] is encoder[0].weight

    @pytest.mark.parametrize("hidden", [(), (4,), (4, 3)], ids=str)
    def test_an_activation_that_learns_has_weights_where_it_is_used(self, hidden):
        encoder = MLP(5, hidden, 2, nn.PReLU)
        decoder = TiedMLP(encoder, nn.PReLU)
        decoder(torch.rand(3, 2)).sum().backward()
        assert len(list(decoder.activations.parameters())) == len(hidden)
        assert all(parameter.grad is not None for parameter in decoder.parameters())


SHAPES = [(4, 4), (7, 7), (28, 28), (28, 20), (32, 32, 3), (5, 9), (8, 8, 1)]


class TestConvolutions:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("channels", [(3,), (3, 5)], ids=str)
    def test_codes_and_rows_have_their_lengths(self, shape, channels):
        d = int(np.prod(shape))
        codes = ConvEncoder(shape, channels, 2)(torch.rand(3, d))
        rows = ConvDecoder(2, channels[::-1], shape)(codes)
        assert (tuple(codes.shape), tuple(rows.shape)) == ((3, 2), (3, d))

    def test_an_encoder_is_convolutions_of_images_with_channels_last(self):
        network = ConvEncoder((5, 4, 3), (2,), 1)
        kernel, bias, head, offset = arrays(network)
        image = RNG.standard_normal((5, 4, 3)).astype(np.float32)
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        features = np.zeros((2, 3, 2))
        for c, i, j in np.ndindex(features.shape):
            patch = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            features[c, i, j] = max(0.0, np.sum(patch * kernel[c].transpose(1, 2, 0)) + bias[c])
        truth = head @ features.ravel() + offset
        np.testing.assert_allclose(
            network(torch.from_numpy(image.reshape(1, -1))).detach()[0], truth, rtol=1e-4
        )

    def test_a_decoder_puts_channels_last(self):
        network = ConvDecoder(2, (4,), (5, 4, 3))
        last = network.layers[-1]
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
        np.testing.assert_array_equal(
            network(torch.rand(1, 2)).detach()[0], np.tile([1.0, 2.0, 3.0], 20)
        )

    @pytest.mark.parametrize("shape", [(5, 4, 3), (6, 7, 1)], ids=str)
    def test_a_decoder_is_the_adjoint_of_a_convolution(self, shape):
        network = ConvDecoder(2, (4,), shape).double()
        code = torch.rand(1, 2, dtype=torch.float64)
        head, offset, kernel, bias = (parameter.detach() for parameter in network.parameters())
        features = torch.relu(code @ head.T + offset)
        image = torch.zeros(1, shape[2], *shape[:2], dtype=torch.float64, requires_grad=True)
        answer = nn.functional.conv2d(image, kernel, stride=2, padding=1).flatten(1)
        (adjoint,) = torch.autograd.grad(answer @ features[0], image)
        truth = np.moveaxis(adjoint[0].numpy(), 0, -1) + bias.numpy()
        np.testing.assert_allclose(network(code).detach()[0].reshape(shape), truth, atol=1e-12)

    def test_one_row_alone(self):
        encoder, decoder = ConvEncoder((5, 4, 3), (2,), 2), ConvDecoder(2, (2,), (5, 4, 3))
        rows = torch.rand(3, 60)
        codes = encoder(rows)
        torch.testing.assert_close(encoder(rows[1]), codes[1])
        torch.testing.assert_close(decoder(codes[1]), decoder(codes)[1])

    def test_rows_in_a_grid(self):
        encoder, decoder = ConvEncoder((5, 4, 3), (2,), 2), ConvDecoder(2, (2,), (5, 4, 3))
        rows = torch.rand(3, 4, 60)
        codes = encoder(rows)
        torch.testing.assert_close(codes, encoder(rows.flatten(0, 1)).unflatten(0, (3, 4)))
        torch.testing.assert_close(
            decoder(codes), decoder(codes.flatten(0, 1)).unflatten(0, (3, 4))
        )

    def test_rows_of_two_images_are_not_two_rows(self):
        with pytest.raises(RuntimeError, match="32"):
            ConvEncoder((4, 4), (2,), 2)(torch.zeros(3, 32))

    @pytest.mark.parametrize("how", ["deepcopy", "pickle", "file"])
    def test_a_copy_gives_the_same_rows(self, how, tmp_path):
        network = nn.Sequential(
            ConvEncoder((5, 4, 3), (2,), 2), ConvDecoder(2, (2,), (5, 4, 3), nn.PReLU)
        )
        if how == "deepcopy":
            twin = copy.deepcopy(network)
        elif how == "pickle":
            twin = pickle.loads(pickle.dumps(network))
        else:
            write_archive(tmp_path / "network", network, kind="test")
            twin = read_archive(tmp_path / "network", kind="test")
        rows = torch.rand(3, 60)
        assert torch.equal(twin(rows), network(rows))

    @pytest.mark.parametrize("network", [ConvEncoder, lambda s, c, n: ConvDecoder(n, c, s)])
    def test_images_that_are_too_small(self, network):
        with pytest.raises(ValueError, match="images of 3 x 9 pixels are too small for 3 layers"):
            network((3, 9), (2, 2, 2), 2)
        with pytest.raises(ValueError, match="channels of at least one layer"):
            network((8, 8), (), 2)


class Odd(nn.Module):
    """A network of the user's own."""

    def __init__(self, answer):
        super().__init__()
        self.weight, self.answer = nn.Parameter(torch.zeros(3)), answer

    def forward(self, X):
        return self.answer(X) if callable(self.answer) else self.answer


def noise(X):
    return torch.randn(len(X), 2)


def fail(X):
    raise KeyError("codes")


def fail_without_words(X):
    raise AssertionError


class TestChecks:
    def test_a_copy_comes_back_and_nothing_changes(self):
        template = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
        before, state = copy.deepcopy(template.state_dict()), torch.get_rng_state()
        network = check_network(template, 4, 2, "encoder", dtype=torch.float64)
        assert network is not template
        assert network[2].weight.dtype == torch.float64
        assert network.training
        assert torch.equal(torch.get_rng_state(), state)
        for name, value in template.state_dict().items():
            assert torch.equal(value, before[name])

    @pytest.mark.parametrize(
        "network, message",
        [
            (nn.ReLU(), "encoder must have parameters to train; got ReLU, which has none"),
            (
                nn.Linear(5, 2),
                r"encoder must map rows of shape \(n, 4\) to \(n, 2\); Linear raised RuntimeError",
            ),
            (
                nn.Linear(4, 3),
                r"encoder must map rows of shape \(n, 4\) to \(n, 2\); got shape \(n, 3\)",
            ),
            (Odd((1, 2)), r"encoder must map rows of shape \(n, 4\) to \(n, 2\); got tuple"),
            (Odd(np.zeros((2, 2))), r"to \(n, 2\); got ndarray"),
            (Odd(torch.zeros(1, 2)), r"to \(n, 2\); got shape \(1, 2\) for 2 rows"),
            (Odd(torch.zeros(2)), r"to \(n, 2\); got shape \(2,\) for 2 rows"),
            (
                Odd(torch.zeros(2, 2).long()),
                r"to \(n, 2\); got numbers of torch.int64, which have no gradient",
            ),
            (Odd(fail), r"to \(n, 2\); Odd raised KeyError: 'codes'"),
            (Odd(fail_without_words), r"to \(n, 2\); Odd raised AssertionError: no reason given"),
            (nn.LazyLinear(2), r"LazyLinear is lazy; call it once on rows of shape \(n, 4\)"),
        ],
    )
    def test_what_does_not_fit(self, network, message):
        with pytest.raises(ValueError, match=message):
            check_network(network, 4, 2, "encoder")

    def test_a_network_that_draws_leaves_the_global_generator_alone(self):
        network, state = Odd(noise), torch.get_rng_state()
        check_network(network, 4, 2, "encoder")
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize(
        "network, draws",
        [
            (MLP(4, (3,), 2), False),
            (TiedMLP(MLP(4, (3,), 2)), False),
            (ConvEncoder((8, 8), (2,), 2), False),
            (nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), False),
            (nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1)), True),
            (nn.Sequential(nn.RReLU()), True),
            (nn.LSTM(4, 2, num_layers=2, dropout=0.1), True),
            (nn.LSTM(4, 2, num_layers=2), False),
            (nn.TransformerEncoderLayer(4, 2), True),
            (nn.TransformerEncoderLayer(4, 2, dropout=0.0), False),
            (nn.MultiheadAttention(4, 2, dropout=0.1), True),
            (Odd(None), True),
        ],
    )
    def test_who_draws_from_the_global_generator(self, network, draws):
        assert uses_global_generator(network) == draws


@pytest.mark.parametrize(
    "name", ["relu", "tanh", "logistic", "sigmoid", "leaky_relu", "elu", "gelu", "silu", "softplus"]
)
def test_activations_are_those_of_torch(name):
    X = torch.linspace(-2.0, 2.0, 9)
    truth = getattr(nn.functional, "sigmoid" if name == "logistic" else name)
    np.testing.assert_allclose(activation(name)(X), truth(X), atol=1e-6)


def test_activations_of_ones_own():
    given = nn.PReLU()
    layers = MLP(3, (2, 2), 1, given)
    assert [isinstance(layer, nn.PReLU) for layer in layers] == [False, True, False, True, False]
    with pytest.raises(
        ValueError,
        match=r"activation must be a module where its class needs arguments; got .*Threshold",
    ):
        activation(nn.Threshold)
    assert isinstance(activation(nn.Mish), nn.Mish)
    assert activation(given) is not given
    with pytest.raises(
        ValueError,
        match=r"activation must be one of 'relu', .*, or a class of torch.nn; got 'rely'",
    ):
        activation("rely")


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(4, (3,), 2),
        lambda: ConvEncoder((5, 4), (2,), 2),
        lambda: ConvDecoder(2, (2,), (5, 4)),
    ],
    ids=["MLP", "ConvEncoder", "ConvDecoder"],
)
def test_weights_come_from_the_generator_of_torch(make):
    first, other = make(), make()
    torch.manual_seed(0)
    again = make()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
