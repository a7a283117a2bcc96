"""GANs: toy sets of many modes, their speed beside a loop written by hand, and the digits of MNIST.

    python benchmarks/gan.py                          # all parts
    python benchmarks/gan.py mnist features           # some of them: toys, speed, mnist, features,
    conditional, few

toys: `GAN()` with its defaults on 10,000 rows of a grid of 25 Gaussians (spacing 2, deviation 0.05)
and of a ring of 8 (radius 2, deviation 0.02), seeds 0 to 4: modes that at least 20 of 10,000 draws
are near to; the share of draws within 3 deviations of a mode, which is 98.9 % in the data; and how
wide these lie about the mean of their mode, in deviations, 0.97 in the data.

speed: seconds of an epoch of the same networks with the same losses and moving averages, by the
engine and by a loop written by hand; the median of ratios over pairs of epochs, taken in turn in
one process. On a GPU the engine captures its updates in CUDA graphs.

The other parts want MNIST (PROBGEN_DATA_HOME) and share a classifier, a small convolutional network
that is trained on the 60,000 rows with images moved at random; parts that are named together train
it once. Seed 0.

mnist: `GAN(64, architecture="conv")`: Frechet distance of 10,000 draws from the 10,000 test rows,
on the 128 features of the classifier's last hidden layer, beside that of the means of as many draws
of `VAE(40)`; share of each class among the draws, by the classifier.

features: accuracy of a logistic regression (C = 0.01) on what `transform` gives of the 60,000 rows,
before the training and after it, divided by one deviation of all features.

conditional: `ConditionalGAN(64, architecture="conv")`, told the class: how often the classifier
agrees with it, and the accuracy on the test rows of such a classifier that is trained on nothing
but 60,000 draws.

few: the same of a classifier trained on 1,000 rows, and on as many and 10,000 draws of a
ConditionalGAN that was fitted to those very rows; each with images moved at random and without, by
as many updates.
"""

import argparse
import copy
import functools
import os
import platform
import statistics
import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

import probgen
from probgen import GAN, VAE, ConditionalGAN
from probgen.datasets import fetch_mnist
from probgen.estimators.adversarial.augmentation import augment
from probgen.metrics import frechet_distance
from probgen.options import ParzenWindow
from probgen.training.engine import Training, draw_seeds
from probgen.training.neural_generator import FitContext
from probgen.training.rows import open_rows

N_ROWS, N_DRAWS = 10_000, 10_000
LEAST_DRAWS = 20  # near a mode that counts as found
WANTED_SHARE, WANTED_SECONDS, WANTED_LOOP = 0.90, 60.0, 1.05
PICTURE = {
    "architecture": "conv",
    "density": ParzenWindow(256),
    "random_state": 0,
}
VAE_EPOCHS = 20
CLASSIFIER_UPDATES, CLASSIFIER_BATCH = 1900, 128
N_FEW, FEW_EPOCHS, FEW_UPDATES = 1000, 200, 1000


def grid():
    """Centres of the grid of Gaussians, and their deviation."""
    steps = np.arange(-4.0, 5.0, 2.0)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), 0.05


def ring():
    """Centres of the ring of Gaussians, and their deviation."""
    angles = 2.0 * np.pi * np.arange(8) / 8
    return 2.0 * np.column_stack([np.cos(angles), np.sin(angles)]), 0.02


def draw_rows(centers, deviation, seed, n_rows=N_ROWS):
    """Rows (n_rows, 2) of a mixture of equal Gaussians."""
    rng = np.random.default_rng(seed)
    rows = centers[rng.integers(len(centers), size=n_rows)] + deviation * rng.standard_normal(
        (n_rows, 2)
    )
    return rows.astype(np.float32)


def judge(draws, centers, deviation):
    """Modes that were found, the share of draws within 3 deviations of one, and how wide these lie
    in a mode."""
    distances = np.linalg.norm(draws[:, np.newaxis] - centers, axis=2)
    is_near, modes = distances.min(axis=1) < 3.0 * deviation, distances.argmin(axis=1)
    counts = np.bincount(modes[is_near], minlength=len(centers))
    found = np.flatnonzero(counts >= LEAST_DRAWS)
    variances = [draws[is_near & (modes == mode)].var(axis=0).mean() for mode in found]
    width = float(np.sqrt(np.mean(variances))) / deviation if variances else float("nan")
    return len(found), float(is_near.mean()), width


def toys(seeds=range(5)):
    """Modes and shares of the defaults."""
    for toy in (grid, ring):
        centers, deviation = toy()
        for seed in seeds:
            X = draw_rows(centers, deviation, seed)
            start = time.perf_counter()
            model = GAN(random_state=seed).fit(X)
            taken = time.perf_counter() - start
            n_modes, share, width = judge(model.sample(N_DRAWS), centers, deviation)
            print(
                f"{toy.__name__} seed {seed}: {n_modes} of {len(centers)} modes"
                f"{_verdict(len(centers), n_modes, '>=')}, {share:.1%} of draws near a mode"
                f"{_verdict(WANTED_SHARE, share, '>=')}, {width:.2f} deviations wide, {taken:.0f} s"
                f"{_verdict(WANTED_SECONDS, taken, '<=')}",
                flush=True,
            )


def with_engine(model, X, batch_size, device):
    """A function that trains for an epoch by the engine."""
    rows = open_rows(X, device=device)
    settings = {
        "learning_rate": 2e-3,
        "batch_size": batch_size,
        "seeds": draw_seeds(np.random.default_rng(0)),
    }
    trainer = model._default_trainer().set_params(schedule="constant")
    fit = FitContext(rows, batch_size, rows.n_batches(batch_size), max_iter=1)
    training = Training(model._make_objective(fit), trainer, **settings, device=device)

    def epoch():
        training.begin(1, rows, schedule=None)
        training.run(rows)

    return epoch


def by_hand(model, X, batch_size, device):
    """A function that trains for an epoch, with nothing in it that need not be there."""
    generator, discriminator = (
        copy.deepcopy(model.generator_).train(),
        copy.deepcopy(model.discriminator_).train(),
    )
    center, scale = model._to_network_tensor(model._center), model._to_network_tensor(model._scale)
    rows = (torch.from_numpy(X).to(device) - center) / scale
    networks = (generator, discriminator)
    betas = model._defaults.betas
    weight = model._penalty_weight
    by_generator, by_discriminator = (
        torch.optim.Adam(network.parameters(), lr=2e-3, betas=betas, fused=True)
        for network in networks
    )
    parameters = [parameter for network in networks for parameter in network.parameters()]
    averages = [parameter.detach().clone() for parameter in parameters]
    noise = torch.Generator(device)

    def epoch():
        order, total = torch.randperm(len(rows), device=device), 0.0
        for start in range(0, len(rows), batch_size):
            real = rows[order[start : start + batch_size]].requires_grad_()
            with torch.no_grad():
                fake = generator(torch.randn(len(real), model.n_components, device=device))
            scores = discriminator(torch.cat([real, fake]), generator=noise)
            (slopes,) = torch.autograd.grad(scores[: len(real)].sum(), real, create_graph=True)
            penalty = 0.5 * slopes.square().sum(1).mean()
            cross_entropy = (
                functional.softplus(-scores[: len(real)]).mean()
                + functional.softplus(scores[len(real) :]).mean()
            )
            loss = cross_entropy + weight * penalty
            by_discriminator.zero_grad()
            loss.backward()
            by_discriminator.step()
            fake = generator(torch.randn(len(real), model.n_components, device=device))
            deceived = functional.softplus(-discriminator(fake, generator=noise)).mean()
            by_generator.zero_grad()
            deceived.backward(inputs=list(generator.parameters()))
            by_generator.step()
            torch._foreach_lerp_(averages, [parameter.detach() for parameter in parameters], 1e-3)
            total += (
                float(loss.detach() + deceived.detach())
                if device == "cpu"
                else loss.detach() + deceived.detach()
            )
        return float(total)

    return epoch


def seconds(function, device):
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(name, device, X, batch_size, n_pairs, **parameters):
    """Print the ratio of epochs for networks with these parameters."""
    model = GAN(**parameters, max_iter=1, device=device, random_state=0).fit(X[:512])
    functions = [maker(model, X, batch_size, device) for maker in (with_engine, by_hand)]
    for function in functions:
        function()  # buffers, graphs
    pairs = []
    for k in range(n_pairs):
        order = (0, 1) if k % 2 else (1, 0)
        taken = {index: seconds(functions[index], device) for index in order}
        pairs.append((taken[0], taken[1]))
    ratio = statistics.median(engine / loop for engine, loop in pairs)
    engine, loop = (statistics.median(times) for times in zip(*pairs))
    print(
        f"{name:5} {device:4} batch {batch_size:3} engine {engine:.3f} s, loop {loop:.3f} s, "
        f"engine/loop {ratio:.3f}{_verdict(WANTED_LOOP, ratio, '<=')}",
        flush=True,
    )


def speed(n_pairs=9):
    """Dense networks on the grid, and convolutional ones on noise of the size of MNIST."""
    X = draw_rows(*grid(), seed=0)
    images = np.random.default_rng(0).random((1_600, 784), dtype=np.float32)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        compare("dense", device, X, 100, 7 * n_pairs)  # epochs too short to time by few
        compare("conv", device, images, 64, n_pairs, architecture="conv")
    if "cuda" not in devices:
        print("no CUDA device: its part did not run")


class Classifier(nn.Module):
    """Digits in rows (n, 784) of 0 to 255, to logits (n, 10)."""

    def __init__(self):
        super().__init__()

        def convolution(before, after, kernel, stride):
            layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
            return [layer, nn.BatchNorm2d(after), nn.ReLU()]

        layers = [*convolution(1, 32, 5, 2), *convolution(32, 64, 3, 1), *convolution(64, 64, 3, 2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU())
        self.head = nn.Linear(128, 10)

    def features(self, rows):
        return self.layers(rows.reshape(-1, 1, 28, 28) / 255.0)

    def forward(self, rows):
        return self.head(self.features(rows))


def train_classifier(X, y, n_updates=CLASSIFIER_UPDATES, *, moved=True):
    """A classifier of digits, trained on rows X (n, 784) of classes y."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Classifier()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3, total_steps=n_updates, pct_start=0.2
    )
    rows, labels = torch.from_numpy(X), torch.from_numpy(np.asarray(y, dtype=np.int64))
    for _ in range(n_updates):
        index = torch.randint(len(rows), (CLASSIFIER_BATCH,), generator=generator)
        batch = (
            augment(rows[index], ["translation"], (28, 28, 1), generator) if moved else rows[index]
        )
        loss = functional.cross_entropy(network(batch), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def ask(function, X):
    """What a network makes of rows, as an array."""
    with torch.inference_mode():
        parts = torch.from_numpy(np.asarray(X, dtype=np.float32)).split(1000)
        return np.concatenate([function(part).numpy() for part in parts])


def accuracy(classifier, X, y):
    """Share of rows whose class a classifier finds."""
    return float(np.mean(ask(classifier, X).argmax(axis=1) == y))


@functools.cache
def mnist_rows():
    """X_train, y_train, X_test, y_test."""
    parts = [fetch_mnist(subset=subset) for subset in ("train", "test")]
    return [array for part in parts for array in (part.data.astype(np.float32), part.target)]


@functools.cache
def judge_of_digits():
    """The classifier that judges draws."""
    X, y, T, t = mnist_rows()
    start = time.perf_counter()
    classifier = train_classifier(X, y)
    found = accuracy(classifier, T, t)
    print(
        f"classifier: {found:.2%} of the test rows{_verdict(0.99, found, '>=')}, {_since(start)}",
        flush=True,
    )
    return classifier


@functools.cache
def gan_of_digits():
    """A fitted GAN, and the seconds that it took."""
    start = time.perf_counter()
    model = GAN(64, **PICTURE).fit(mnist_rows()[0])
    return model, time.perf_counter() - start


def mnist():
    """Draws of a GAN and of a VAE beside the test rows."""
    X, _, T, _ = mnist_rows()
    classifier = judge_of_digits()
    features = functools.partial(ask, classifier.features)
    model, taken = gan_of_digits()
    draws = model.sample(N_DRAWS, random_state=0)
    distance = frechet_distance(T, draws, features=features)
    start = time.perf_counter()
    decoded = 255.0 * VAE(40, max_iter=VAE_EPOCHS, random_state=0).fit(X / 255.0).sample_mean(
        N_DRAWS, random_state=0
    )
    of_vae = frechet_distance(T, decoded, features=features)
    of_data = frechet_distance(T, X[:N_DRAWS], features=features)
    print(
        f"mnist: Frechet distance {distance:.1f}, of the VAE {of_vae:.1f} ({_since(start)}), of"
        f" other rows of the data {of_data:.1f}; ratio"
        f" {of_vae / distance:.2f}{_verdict(2.5, of_vae / distance, '>=')}; {model.n_iter_} epochs"
        f" in {taken:.0f} s{_verdict(900.0, taken, '<=')}"
    )
    shares = np.bincount(ask(classifier, draws).argmax(axis=1), minlength=10) / N_DRAWS
    print(
        "mnist: classes"
        f" {' '.join(f'{share:.1%}' for share in shares)}{_verdict(0.05, shares.min(), '>=')}"
        f"{_verdict(0.15, shares.max(), '<=')}",
        flush=True,
    )


def features():
    """A linear classifier on features of the discriminator, before its training and after it."""
    X, y, T, t = mnist_rows()
    model, _ = gan_of_digits()
    before = GAN(64, **PICTURE | {"max_iter": 1, "learning_rate_init": 0.0}).fit(X[:512])
    found = []
    for network in (before, model):
        shown, tested = network.transform(X), network.transform(T)
        scale = shown.std()
        linear = LogisticRegression(C=0.01, tol=1e-3, max_iter=200).fit(shown / scale, y)
        found.append(linear.score(tested / scale, t))
    gain = found[1] - found[0]
    print(
        f"features: {found[1]:.2%} of the test rows{_verdict(0.97, found[1], '>=')}, untrained"
        f" {found[0]:.2%}, gain {gain:.2%}{_verdict(0.01, gain, '>=')}",
        flush=True,
    )


def conditional():
    """Draws of given classes, and what a classifier learns from nothing else."""
    X, y, T, t = mnist_rows()
    classifier = judge_of_digits()
    start = time.perf_counter()
    model = ConditionalGAN(64, **PICTURE).fit(X, y)
    taken = _since(start)
    asked = np.arange(60_000) % 10
    draws = model.sample(len(asked), y=asked, random_state=0)
    agreed = accuracy(classifier, draws[:N_DRAWS], asked[:N_DRAWS])
    distance = frechet_distance(
        T, draws[:N_DRAWS], features=functools.partial(ask, classifier.features)
    )
    learned = accuracy(train_classifier(draws, asked), T, t)
    print(
        f"conditional: {agreed:.2%} of the draws are of the class{_verdict(0.97, agreed, '>=')},"
        f" Frechet distance {distance:.1f}; a classifier of 60,000 draws finds {learned:.2%} of the"
        f" test rows{_verdict(0.95, learned, '>=')}; {model.n_iter_} epochs in {taken}",
        flush=True,
    )


def few():
    """Draws beside the few rows that the GAN was fitted to."""
    X, y, T, t = mnist_rows()
    X, y = X[:N_FEW], y[:N_FEW]
    start = time.perf_counter()
    model = ConditionalGAN(
        64, **PICTURE | {"augmentation": ["translation"], "max_iter": FEW_EPOCHS}
    ).fit(X, y)
    draws, drawn = model.sample(N_DRAWS, return_y=True, random_state=0)
    taken = _since(start)
    half = len(draws) // len(X)  # as many rows as draws
    both = np.concatenate([np.tile(X, (half, 1)), draws]), np.concatenate([np.tile(y, half), drawn])
    for moved in (False, True):
        alone, beside = (
            accuracy(train_classifier(*rows, FEW_UPDATES, moved=moved), T, t)
            for rows in ((X, y), both)
        )
        print(
            f"few: {N_FEW} rows {'moved at random' if moved else 'as they are'}: alone {alone:.2%}"
            f" of the test rows, with draws {beside:.2%}; {model.n_iter_} epochs in {taken}",
            flush=True,
        )


def _since(start):
    return f"{time.perf_counter() - start:.0f} s"


def _verdict(wanted, value, relation):
    is_reached = value <= wanted if relation == "<=" else value >= wanted
    return f" (wanted {relation} {wanted:g}: {'ok' if is_reached else 'SHORT'})"


def main():
    parts = {
        "toys": toys,
        "speed": speed,
        "mnist": mnist,
        "features": features,
        "conditional": conditional,
        "few": few,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"one of {', '.join(parts)}; all by default"
    )
    chosen = parser.parse_args().parts or list(parts)
    if not set(chosen) <= set(parts):
        parser.error(f"parts are {', '.join(parts)}; got {' '.join(chosen)}")
    print(
        f"probgen {probgen.__version__}, torch {torch.__version__},"
        f" {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of"
        f" {os.cpu_count()} cores"
    )
    for name in chosen:
        parts[name]()


if __name__ == "__main__":
    main()
