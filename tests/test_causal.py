"""Causal layers and networks: windows by automatic differentiation, and outputs in turns."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from probgen.estimators.autoregressive.networks.causal import (
    CausalAttention,
    CausalConv2d,
    ClassBias,
    PositionMap,
    color_groups,
    doubled,
)
from probgen.estimators.autoregressive.networks.drawing import Drawing
from probgen.estimators.autoregressive.networks.pixel import (
    BlockStack,
    GatedBlock,
    Middle,
    PixelNetwork,
    ResidualBlock,
    VerticalMiddle,
    VerticalStack,
)

SIDE = 5
ARCHITECTURES = [
    {},
    {"shortcuts": True},
    {"attention": True},
    {"gated": True},
    {"gated": True, "attention": True, "shortcuts": True},
    {"position_map": False},
    {"n_downsamplings": 1, "n_layers": 4, "shortcuts": True},
    {"n_downsamplings": 2, "n_layers": 5, "gated": True, "attention": True},
]
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
colors = pytest.mark.parametrize("n_colors", [1, 3])


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def sees(layer, n_in, *, side=SIDE):
    """Whether (out channel, out pixel) depends on (in channel, in pixel), on four axes."""
    image = torch.randn(1, n_in, side, side, dtype=torch.float64)
    total = torch.zeros(())
    for _ in range(3):  # rectifiers hide some dependence at a single point
        jacobian = torch.autograd.functional.jacobian(
            lambda x: layer(x)[0], image + torch.randn_like(image)
        )
        total = total + jacobian[:, :, :, 0].abs()
    return (total.flatten(1, 2).flatten(-2, -1) > 0.0).numpy()


def expected(n_out, n_in, is_seen, n_colors, strict, n_parts=1):
    """The dependence of a layer with this window, as in `sees`.

    is_seen takes the row and column of the output and of the input. The colour groups decide about
    a pixel and itself.
    """
    truth = np.zeros((n_out, SIDE**2, n_in, SIDE**2), dtype=bool)
    after = color_groups(n_out, n_colors, n_parts).numpy()[:, None]
    before = color_groups(n_in, n_colors).numpy()
    own = after > before if strict else after >= before
    for p in range(SIDE**2):
        for q in range(SIDE**2):
            if is_seen(*divmod(p, SIDE), *divmod(q, SIDE)):
                truth[:, p, :, q] = True
        truth[:, p, :, p] = own
    return truth


class TestConvolutions:
    @colors
    @pytest.mark.parametrize("first", [True, False])
    @pytest.mark.parametrize("kernel_size", [1, 3, 5])
    def test_the_window_of_raster_order(self, kernel_size, first, n_colors):
        layer = CausalConv2d(
            n_colors, 2 * n_colors, kernel_size, first=first, n_colors=n_colors
        ).double()
        half = kernel_size // 2

        def is_seen(i, j, k, m):
            return abs(j - m) <= half and (0 < i - k <= half or (i == k and 0 < j - m))

        truth = expected(2 * n_colors, n_colors, is_seen, n_colors, first)
        np.testing.assert_array_equal(sees(layer, n_colors), truth)

    @pytest.mark.parametrize("first", [True, False])
    def test_the_window_of_a_vertical_stack(self, first):
        layer = CausalConv2d(1, 2, 3, stack="vertical", first=first).double()
        seen = sees(layer, 1)[0, :, 0].reshape(SIDE, SIDE, SIDE, SIDE)
        for i, j, k, m in np.ndindex(*seen.shape):
            assert seen[i, j, k, m] == (
                abs(j - m) <= 1 and (0 < i - k <= 1 or (i == k and not first))
            )

    @colors
    @pytest.mark.parametrize("first", [True, False])
    def test_the_window_of_a_horizontal_stack(self, first, n_colors):
        settings = {"stack": "horizontal", "first": first, "n_colors": n_colors, "n_parts": 2}
        layer = CausalConv2d(n_colors, 2 * n_colors, 5, **settings).double()
        truth = expected(
            2 * n_colors,
            n_colors,
            lambda i, j, k, m: i == k and 0 < j - m <= 2,
            n_colors,
            first,
            n_parts=2,
        )
        np.testing.assert_array_equal(sees(layer, n_colors), truth)

    def test_it_is_a_masked_convolution(self):
        layer = CausalConv2d(3, 6, 3, n_colors=3).double()
        images = torch.randn(2, 3, 6, 7, dtype=torch.float64)
        kernel = torch.zeros(6, 3, 3, 3, dtype=torch.float64)
        kernel[:, :, :2] = layer.weight * layer.mask
        torch.testing.assert_close(
            layer(images), functional.conv2d(images, kernel, layer.bias, padding=1)
        )

    @pytest.mark.parametrize("stack", ["raster", "vertical", "horizontal"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_stride_two_computes_every_second_pixel_of_every_second_row(self, dtype, stack):
        layer = CausalConv2d(4, 6, 3, stack=stack).to(dtype)
        images = torch.randn(3, 4, 7, 6).to(dtype)
        whole = layer(images)[:, :, ::2, ::2]
        layer.stride = 2
        torch.testing.assert_close(layer(images), whole)
        with torch.inference_mode():
            torch.testing.assert_close(layer(images), whole)

    def test_hidden_weights_stay_at_zero_and_queries_use_them_as_they_are(self):
        layer = CausalConv2d(2, 2, 3, first=True, n_colors=2)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, weight_decay=0.1)
        images = torch.randn(4, 2, 5, 5)
        for _ in range(3):
            optimizer.zero_grad()
            layer(images).square().sum().backward()
            optimizer.step()
        assert (layer.weight[layer.mask == 0.0] == 0.0).all()
        trained = layer(images)
        with torch.no_grad():
            torch.testing.assert_close(layer(images), trained)


class TestOtherLayers:
    @colors
    def test_attention_sees_all_earlier_pixels_and_no_later_ones(self, n_colors):
        layer = CausalAttention(2 * n_colors, n_colors).double()
        hidden = torch.randn(1, 2 * n_colors, SIDE, SIDE, dtype=torch.float64)
        earlier = np.tri(SIDE**2, k=-1, dtype=bool)[None, :, None]
        of_image = sees(lambda x: layer(hidden, x), n_colors)
        np.testing.assert_array_equal(of_image, np.broadcast_to(earlier, of_image.shape))
        image = torch.randn(1, n_colors, SIDE, SIDE, dtype=torch.float64)
        of_hidden = sees(lambda x: layer(x, image), 2 * n_colors)
        truth = expected(
            2 * n_colors, 2 * n_colors, lambda i, j, k, m: (k, m) < (i, j), n_colors, strict=False
        )
        np.testing.assert_array_equal(of_hidden | truth, truth)
        # The first pixel has a single key.
        np.testing.assert_array_equal(of_hidden[:, 1:] | ~truth[:, 1:], True)

    def test_attention_is_that_of_the_definition(self):
        layer = CausalAttention(8).double()
        hidden, images = (torch.randn(2, n, 2, 3, dtype=torch.float64) for n in (8, 1))
        queries = layer.queries(hidden).flatten(2).unflatten(1, (layer.n_heads, layer.size))
        pairs = layer.keys(torch.cat([hidden, images], 1)).flatten(2)
        pairs = torch.cat([layer.start.expand(2, -1)[:, :, None], pairs], 2)
        keys, values = (
            part.unflatten(1, (layer.n_heads, layer.size)) for part in pairs.chunk(2, 1)
        )
        seen = torch.zeros_like(queries)
        for p in range(6):
            scores = (
                torch.einsum("nhd,nhdk->nhk", queries[..., p], keys[..., : p + 1]) / layer.size**0.5
            )
            seen[..., p] = torch.einsum("nhk,nhdk->nhd", scores.softmax(-1), values[..., : p + 1])
        truth = hidden + layer.out(seen.flatten(1, 2).unflatten(2, (2, 3)))
        torch.testing.assert_close(layer(hidden, images), truth)

    def test_maps_and_classes_move_channels(self):
        images = torch.randn(2, 3, 4, 4)
        places, classes = PositionMap(3, 4, 4), ClassBias(2, 3)
        torch.nn.init.normal_(places.map)
        torch.testing.assert_close(places(images) - images, places.map.expand(2, -1, -1, -1))
        places = PositionMap(3, 4, 4, n_classes=2)
        torch.nn.init.normal_(places.class_maps)
        torch.testing.assert_close(
            places(images, torch.eye(2)) - images, places.class_maps, atol=1e-6, rtol=1e-5
        )
        moved = classes(images, torch.eye(2)) - images
        torch.testing.assert_close(moved, classes.weight[:, :, None, None].expand_as(moved))

    @colors
    def test_a_residual_block_sees_nothing_later(self, n_colors):
        seen = sees(ResidualBlock(2 * n_colors, n_colors).double(), 4 * n_colors)
        truth = expected(
            4 * n_colors,
            4 * n_colors,
            lambda i, j, k, m: abs(j - m) < 2 and (k, m) < (i, j),
            n_colors,
            strict=False,
        )
        assert not (seen & ~truth).any()

    @colors
    def test_a_gated_block_sees_its_own_row_and_its_context(self, n_colors):
        block = GatedBlock(2 * n_colors, n_colors).double()
        context = torch.randn(1, 4 * n_colors, SIDE, SIDE, dtype=torch.float64)
        seen = sees(lambda x: block(x, context), 2 * n_colors)
        truth = expected(
            2 * n_colors,
            2 * n_colors,
            lambda i, j, k, m: i == k and j - m == 1,
            n_colors,
            strict=False,
        )
        np.testing.assert_array_equal(seen, truth)

    def test_a_vertical_stack_sees_all_rows_above(self):
        stack = VerticalStack(4, 4, 1).double()
        seen = sees(lambda x: stack(x)[-1], 1)[0, :, 0].reshape(SIDE, SIDE, SIDE, SIDE)
        rows = np.arange(SIDE)
        np.testing.assert_array_equal(
            seen, np.broadcast_to((rows[:, None] > rows)[:, None, :, None], seen.shape)
        )


class TestHalfSize:
    """Layers that halve an image and double it again; its sides are odd."""

    @colors
    @pytest.mark.parametrize("gated", [False, True])
    def test_the_middle_sees_nothing_later_and_all_that_its_squares_saw(self, gated, n_colors):
        n = 4 * n_colors
        inner = BlockStack(n // 2, 0, n, n_colors=n_colors)
        layer = Middle(n, inner, gated, n_colors).double()
        image = torch.zeros(1, n_colors, SIDE, SIDE, dtype=torch.float64)
        seen = sees(lambda x: layer(x, image, [], None), n)

        def is_seen(i, j, k, m):
            i, j = i // 2 * 2, j // 2 * 2  # what the first pixel of its square sees
            return (abs(j - m) <= 1 and i - k == 1 and not gated) or (i == k and j - m == 1)

        truth = expected(n, n, is_seen, n_colors, strict=False)
        groups = color_groups(n, n_colors).numpy()
        for p in range(SIDE**2):
            first = p // SIDE // 2 * 2 * SIDE + p % SIDE // 2 * 2
            truth[:, p, :, p] = np.eye(n, dtype=bool)
            truth[:, p, :, first] |= groups[:, None] >= groups
        np.testing.assert_array_equal(seen, truth)

    def test_the_middle_of_a_vertical_stack_sees_nothing_below(self):
        layer = VerticalMiddle(4, VerticalStack(4, 2, None)).double()
        for look in (
            lambda x: layer(x)[0],
            lambda x: doubled(torch.cat([layer(x)[1][-1]] * 4, 1), SIDE, SIDE),
        ):
            seen = sees(look, 4).any(axis=(0, 2)).reshape(SIDE, SIDE, SIDE, SIDE).any(axis=(1, 3))
            rows = np.arange(SIDE)
            np.testing.assert_array_equal(seen | (rows[:, None] == rows), np.tri(SIDE, dtype=bool))

    @pytest.mark.parametrize(
        "n_layers, n_downsamplings", [(3, 1), (4, 1), (5, 2), (6, 2), (12, 2), (7, 3)]
    )
    def test_each_size_has_about_as_many_blocks(self, n_layers, n_downsamplings):
        stack, counts = BlockStack(2, n_layers, 4, n_downsamplings=n_downsamplings), []
        while stack is not None:
            counts.append(len(stack.layers))
            stack = None if stack.middle is None else stack.middle.inner
        assert sum(counts) == n_layers
        assert len(counts) == n_downsamplings + 1
        assert min(counts) >= 1
        assert max(counts) - min(counts) <= 2

    def test_doubling_puts_parts_into_squares(self):
        parts = torch.arange(4 * 3 * 2 * 2).reshape(1, 12, 2, 2)
        image = doubled(parts, 4, 3)
        for i, j in np.ndindex(4, 3):
            part = 2 * (i % 2) + j % 2
            torch.testing.assert_close(
                image[0, :, i, j], parts[0, 3 * part : 3 * part + 3, i // 2, j // 2]
            )


def make_network(architecture, n_colors=1, **settings):
    defaults = {"n_filters": 16 * n_colors, "n_layers": 3, "n_levels": 4}
    network = PixelNetwork((SIDE, 4, n_colors), 2, **defaults | architecture | settings).double()
    if network.position is not None:
        for maps in network.position.parameters():
            torch.nn.init.normal_(maps)
    return network


class TestNetworks:
    @architectures
    @colors
    def test_outputs_depend_on_all_features_before_and_on_no_others(self, architecture, n_colors):
        network = make_network(architecture, n_colors)
        d = SIDE * 4 * n_colors
        X = torch.randint(0, 4, (3, d)).double()
        jacobian = sum(
            torch.autograd.functional.jacobian(lambda x: network(x[None])[0], x).abs() for x in X
        )
        seen = (jacobian.reshape(d, 2, d).sum(1) > 0.0).numpy()
        assert not np.triu(seen).any()
        if architecture.get("gated") or architecture.get("attention"):  # no blind spot
            np.testing.assert_array_equal(seen, np.tri(d, k=-1, dtype=bool))

    def test_residual_blocks_have_the_blind_spot_of_the_paper_that_gates_do_not_have(self):
        seen = {}
        for gated in (False, True):
            network = PixelNetwork((2, 12, 1), 1, n_filters=16, n_layers=1, gated=gated).double()
            X = torch.randint(0, 2, (24,)).double()
            jacobian = torch.autograd.functional.jacobian(
                lambda x: network(x[None])[0],  # noqa: B023
                X,
            )
            seen[gated] = jacobian.abs() > 0.0
        # Of the row above, 3 + 1 columns to the right: the windows of the first layer and of the
        # block.
        assert not seen[False][12, 5:12].any()
        assert seen[True][12, :5].all()

    @architectures
    @colors
    @pytest.mark.parametrize("n_classes", [0, 3])
    def test_outputs_in_turns_are_those_of_one_pass(self, architecture, n_colors, n_classes):
        network = make_network(architecture, n_colors, n_classes=n_classes)
        X = torch.randint(0, 4, (6, SIDE * 4 * n_colors)).double()
        labels = [torch.eye(3, dtype=torch.float64)[torch.randint(0, 3, (6,))]] if n_classes else []
        with torch.inference_mode():
            drawing = Drawing(network, 6, *labels)
            outputs = torch.full((6, X.shape[1], 2), torch.nan).double()
            turns = []
            for features in drawing.turns():
                turns.append(features)
                outputs[:, features] = drawing.outputs().unflatten(1, (-1, 2))
                drawing.put(X[:, features])
            torch.testing.assert_close(
                outputs.flatten(1), network(X, *labels), rtol=0.0, atol=1e-12
            )
        assert len(turns) == len(drawing)
        assert torch.cat(turns).sort().values.tolist() == list(range(X.shape[1]))

    def test_rows_of_residual_blocks_are_drawn_at_once(self):
        network = PixelNetwork((28, 28, 1), 1, n_filters=4, n_layers=8)
        assert len(Drawing(network, 1)) == 28 + 4 * 27  # each four pixels behind the one above
        network = PixelNetwork((28, 28, 1), 1, n_filters=4, n_layers=8, gated=True)
        assert len(Drawing(network, 1)) == 28 * 28

    def test_memory_does_not_grow_with_the_height(self):
        def size(height):
            drawing = Drawing(PixelNetwork((height, 6, 1), 1, n_filters=4, n_layers=2), 3)
            return [
                drawing.network.first.memory.numel(),
                drawing.network.blocks.layers[0].conv.memory.numel(),
            ]

        assert size(6) == size(60)
