"""PixelCNN: bits per pixel of digits, and its likelihood on binarized MNIST.

    python benchmarks/pixelcnn.py             # all parts but the recipe, which takes long
    python benchmarks/pixelcnn.py digits      # one of them: digits, mnist, recipe, speed, outliers

digits: scikit-learn's digits, 8 x 8 pixels of 17 levels, a quarter of them held out as in `probgen
compare`; `PixelCNN()` and `ConditionalPixelCNN()` with their defaults.

mnist: `mnist_model()`, a setting for CPUs, on dynamically binarized MNIST: training rows are drawn
anew for each batch from the grey values, test rows once with seed 1. --rows takes that many of the
training rows, for a quick estimate of the speed; --max-iter sets the epochs, whose default takes
about ten minutes on two cores.

recipe: `recipe_model()`, class-conditional gated stacks with an exponential moving average of the
weights, on the same rows: log p(x), by the sum over the classes of p(y) p(x given y), and the
accuracy on test rows. It takes well over an hour on two cores. --rows and --max-iter as above.

speed: epochs of `mnist_model()` on binarized MNIST by the engine, by a hand-written loop around the
same network, and by that loop around the network as a tutorial writes it: full kernels, multiplied
by their masks in each pass. Batches, optimiser and precision are the same. The ratios are medians
over groups of epochs, which alternate in one process, each over --rows rows, by default 6,400.

outliers: how well scores separate MNIST from Fashion-MNIST, both reduced to 14 x 14 pixels of 0 and
1, after a short fit to one of them: area under the ROC curve of the likelihood, and of its ratio to
the likelihood under a model of the same rows with a fifth of their pixels drawn anew (Ren et al.,
Likelihood ratios for out-of-distribution detection, 2019).
"""

import argparse
import copy
import os
import platform
import statistics
import time

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

import probgen
from probgen import ConditionalPixelCNN, PixelCNN, Trainer
from probgen.datasets import fetch_fashion_mnist, fetch_mnist
from probgen.training.engine import Training, draw_seeds
from probgen.training.neural_generator import FitContext
from probgen.training.rows import open_rows

BEST_OF_OTHERS = 2.576  # bits per pixel of the digits, in the table of `probgen compare`
WANTED_NATS = 86.5
WANTED_SECONDS = 600.0
EPOCHS = 6
WANTED_RATIO = 1.05
SPEED_ROWS = 6400
N_GROUPS = 5
RECIPE_NATS = 79.5
RECIPE_ACCURACY = 0.98
RECIPE_EPOCHS = 9


def mnist_model(max_iter=EPOCHS):
    """The setting for CPUs: narrow and deep, with a position map, in bfloat16."""
    return PixelCNN(
        16,
        7,
        dynamic_binarization=True,
        max_iter=max_iter,
        batch_size=32,
        learning_rate_init=4e-3,
        trainer=Trainer(schedule="one_cycle", precision="bf16"),
        device="cpu",
        random_state=0,
    )


def recipe_model(max_iter=RECIPE_EPOCHS):
    """The setting for an hour or more: gated, class-conditional, averaged weights, in bfloat16."""
    return ConditionalPixelCNN(
        32,
        10,
        gated=True,
        dynamic_binarization=True,
        max_iter=max_iter,
        batch_size=32,
        learning_rate_init=2.5e-3,
        trainer=Trainer(schedule="one_cycle", precision="bf16", ema_decay=0.999),
        random_state=0,
    )


def digits(_):
    """Bits per pixel and accuracy."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    train, test = train_test_split(np.arange(len(X)), test_size=0.25, stratify=y, random_state=0)
    for model in (
        PixelCNN(device="cpu", random_state=0),
        ConditionalPixelCNN(device="cpu", random_state=0),
    ):
        start = time.perf_counter()
        model.fit(X[train], y[train])
        taken = time.perf_counter() - start
        bits = -model.score(X[test]) / (X.shape[1] * np.log(2.0))
        accuracy = np.nan
        if hasattr(model, "predict"):
            accuracy = np.mean(model.predict(X[test]) == y[test])
        print(
            f"{type(model).__name__:20} {taken:5.1f} s{_verdict(60.0, taken)}  {bits:.3f} bits/dim"
            f"{_verdict(BEST_OF_OTHERS, bits)}  accuracy {accuracy:.3f}",
            flush=True,
        )


def mnist(arguments):
    """Exact log-likelihood of the test rows."""
    X, T = (
        fetch_mnist(subset=subset).data.astype(np.float32) / 255.0 for subset in ("train", "test")
    )
    T = binarized(T)
    start = time.perf_counter()
    model = mnist_model(arguments.max_iter or EPOCHS).fit(X[: arguments.rows])
    taken = time.perf_counter() - start
    scores = model.score_samples(T)
    nats = -float(np.mean(scores))
    print(
        f"PixelCNN(16, 7), {model.n_iter_} epochs in {taken:.0f}"
        f" s{_verdict(WANTED_SECONDS, taken)}: {nats:.2f} +- {np.std(scores) / len(T) ** 0.5:.2f}"
        f" nats{_verdict(WANTED_NATS, nats)};"
        f" {1e3 * taken / (len(X[: arguments.rows]) * model.n_iter_):.2f} ms for a row and epoch",
        flush=True,
    )


def recipe(arguments):
    """Exact log-likelihood of the test rows, and the accuracy."""
    train, test = (fetch_mnist(subset=subset) for subset in ("train", "test"))
    X, T = train.data.astype(np.float32) / 255.0, binarized(test.data.astype(np.float32) / 255.0)
    start = time.perf_counter()
    model = recipe_model(arguments.max_iter or RECIPE_EPOCHS)
    model.fit(X[: arguments.rows], train.target[: arguments.rows])
    taken = time.perf_counter() - start
    given = [
        model.conditional_log_prob(T, np.full(len(T), label)).sum(1, dtype=float)
        for label in model.classes_
    ]
    joint = np.stack(given, axis=1) + np.log(model.class_prior_)
    scores = logsumexp(joint, axis=1)
    nats, accuracy = -scores.mean(), np.mean(model.classes_[joint.argmax(axis=1)] == test.target)
    print(
        f"ConditionalPixelCNN(32, 10, gated=True) on {model.device_}, {model.n_iter_} epochs in"
        f" {taken:.0f} s: {nats:.2f} +- {np.std(scores) / len(T) ** 0.5:.2f}"
        f" nats{_verdict(RECIPE_NATS, nats)}; accuracy {accuracy:.4f} (wanted >"
        f" {RECIPE_ACCURACY:g}: {'ok' if accuracy > RECIPE_ACCURACY else 'SHORT'})",
        flush=True,
    )


class MaskedConv2d(nn.Conv2d):
    """Convolution by a full kernel with a mask of earlier pixels, and of the own but if first."""

    def __init__(self, n_in, n_out, kernel_size=1, first=False):
        super().__init__(n_in, n_out, kernel_size, padding=kernel_size // 2)
        before = torch.arange(kernel_size**2) < kernel_size**2 // 2 + (not first)
        self.register_buffer("mask", before.float().view(kernel_size, kernel_size))

    def forward(self, images):
        return functional.conv2d(images, self.weight * self.mask, self.bias, padding=self.padding)


class TutorialNetwork(nn.Module):
    """The network of `PixelCNN(n_filters, n_layers)` for bits, as a tutorial writes it."""

    def __init__(self, n_filters, n_layers):
        super().__init__()
        wide = 2 * n_filters
        self.first = MaskedConv2d(1, wide, 7, first=True)
        self.position = nn.Parameter(torch.zeros(wide, 28, 28))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                MaskedConv2d(wide, n_filters),
                nn.ReLU(),
                MaskedConv2d(n_filters, n_filters, 3),
                nn.ReLU(),
                MaskedConv2d(n_filters, wide),
            )
            for _ in range(n_layers)
        )
        self.last = nn.Sequential(
            nn.ReLU(), MaskedConv2d(wide, wide), nn.ReLU(), MaskedConv2d(wide, 1)
        )

    def forward(self, rows):
        hidden = self.first(2.0 * rows.view(-1, 1, 28, 28) - 1.0) + self.position
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.last(hidden).flatten(1)


def by_hand(network, X, batch_size, learning_rate):
    """A function that trains a network for one epoch, in a minimal loop."""
    rows = torch.from_numpy(X)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)

    def epoch():
        order = torch.randperm(len(rows))
        total = 0.0
        for start in range(0, len(rows), batch_size):
            grey = rows[order[start : start + batch_size]]
            batch = (torch.rand_like(grey) < grey).float()
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(batch)
            loss = functional.binary_cross_entropy_with_logits(
                logits.float(), batch, reduction="sum"
            ) / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        return total / len(rows)

    return epoch


def by_engine(model, X):
    """A function that trains a fitted model for one more epoch."""
    rows = open_rows(X)
    batch_size = model.batch_size
    settings = {
        "learning_rate": model.learning_rate_init,
        "batch_size": batch_size,
        "device": "cpu",
    }
    trainer = Trainer(precision=model.trainer.precision)
    fit = FitContext(rows, batch_size, rows.n_batches(batch_size), max_iter=1)
    training = Training(
        model._make_objective(fit), trainer, seeds=draw_seeds(np.random.default_rng(0)), **settings
    )

    def epoch():
        training.begin(1, rows, schedule=None)
        training.run(rows)
        return training.history[-1]["loss"]

    return epoch


def speed(arguments):
    """Seconds of an epoch in three ways."""
    X = fetch_mnist(subset="train").data[: arguments.rows or SPEED_ROWS].astype(np.float32) / 255.0
    model = mnist_model(1).fit(X[:64])
    settings = {"batch_size": model.batch_size, "learning_rate": model.learning_rate_init}
    torch.manual_seed(0)
    epochs = {
        "engine": by_engine(model, X),
        "loop": by_hand(copy.deepcopy(model.network_), X, **settings),
        "tutorial": by_hand(TutorialNetwork(model.n_filters, model.n_layers), X, **settings),
    }
    taken: dict = {name: [] for name in epochs}
    losses = {name: epoch() for name, epoch in epochs.items()}  # the first allocates buffers
    for k in range(N_GROUPS):
        for name in list(epochs)[:: 1 if k % 2 else -1]:
            start = time.perf_counter()
            losses[name] = epochs[name]()
            taken[name].append(time.perf_counter() - start)
    ratios = {
        name: statistics.median(a / b for a, b in zip(taken["engine"], taken[name]))
        for name in epochs
    }
    print(
        f"epochs of {len(X)} rows: "
        + ", ".join(f"{name} {statistics.median(taken[name]):.2f} s" for name in epochs)
        + f"; engine/loop {ratios['loop']:.3f}{_verdict(WANTED_RATIO, ratios['loop'])},"
        " engine/tutorial "
        + f"{ratios['tutorial']:.3f}{_verdict(WANTED_RATIO, ratios['tutorial'])}  (losses "
        + ", ".join(f"{loss:.2f}" for loss in losses.values())
        + ")",
        flush=True,
    )


def outliers(_):
    """Separation of digits and clothes, fitted to either."""
    rows = {"digits": (reduced(fetch_mnist, "train")[:20_000], reduced(fetch_mnist, "test")[:1000])}
    rows["clothes"] = (
        reduced(fetch_fashion_mnist, "train")[:20_000],
        reduced(fetch_fashion_mnist, "test")[:1000],
    )
    generator = np.random.default_rng(0)
    settings = {"max_iter": 4, "learning_rate_init": 5e-3, "device": "cpu", "random_state": 0}
    for known, other in (("digits", "clothes"), ("clothes", "digits")):
        X = rows[known][0]
        noisy = np.where(
            generator.random(X.shape) < 0.2, generator.integers(2, size=X.shape), X
        ).astype(X.dtype)
        T = np.vstack([rows[known][1], rows[other][1]])
        scores, background = (
            PixelCNN(16, 3, **settings).fit(part).score_samples(T) for part in (X, noisy)
        )
        is_known = np.repeat([1, 0], len(T) // 2)
        by_score = roc_auc_score(is_known, scores)
        by_ratio = roc_auc_score(is_known, scores - background)
        print(
            f"fitted to {known}, {other} as outliers: AUC {by_score:.3f}, by the ratio"
            f" {by_ratio:.3f}",
            flush=True,
        )


def binarized(probabilities):
    """Rows of 0 and 1, drawn once with seed 1."""
    return (np.random.default_rng(1).random(probabilities.shape) < probabilities).astype(np.float32)


def reduced(fetch, subset):
    """Rows of 14 x 14 pixels, 1 where the mean of four pixels is above one half."""
    X = fetch(subset=subset).data.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) > 127
    return X.reshape(len(X), -1).astype(np.float32)


def _verdict(wanted, value):
    return f" (wanted <= {wanted:g}: {'ok' if value <= wanted else 'SHORT'})"


def main():
    parts = {
        "digits": digits,
        "mnist": mnist,
        "recipe": recipe,
        "speed": speed,
        "outliers": outliers,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="part",
        help=f"one of {', '.join(parts)}; all but recipe by default",
    )
    parser.add_argument(
        "--rows", type=int, default=None, help="training rows of mnist, recipe and speed"
    )
    parser.add_argument("--max-iter", type=int, default=None, help="epochs of mnist and recipe")
    arguments = parser.parse_args()
    chosen = arguments.parts or [name for name in parts if name != "recipe"]
    if not set(chosen) <= set(parts):
        parser.error(f"parts are {', '.join(parts)}; got {' '.join(chosen)}")
    print(
        f"probgen {probgen.__version__}, torch {torch.__version__},"
        f" {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of"
        f" {os.cpu_count()} cores, seed 0"
    )
    for name in chosen:
        parts[name](arguments)


if __name__ == "__main__":
    main()
