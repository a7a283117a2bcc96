"""GANs: toy data with many modes, speed against a hand-written loop, and the digits of MNIST.

    python benchmarks/gan.py
    python benchmarks/gan.py mnist features

The parts are toys, speed, mnist, features, conditional and few; all run by default.

toys: `GAN()` with its defaults on 10,000 rows of a grid of 25 Gaussians (spacing 2, deviation 0.05)
and of a ring of 8 (radius 2, deviation 0.02), seeds 0 to 4. It prints the number of modes that are
near to at least 20 of 10,000 draws; the share of draws within 3 deviations of a mode, which is
98.9 % for the data; and the standard deviation of these about the mean of their mode, in deviations
of the data, for which it is 0.97.

speed: seconds per epoch of the same networks with the same losses and weight averages, trained by
the engine and by a hand-written loop; the median ratio over pairs of epochs, timed alternately in
one process. On a GPU the engine captures its updates in CUDA graphs.

The other parts need MNIST (PROBGEN_DATA_HOME). They share a classifier, a small convolutional
network that is trained on the 60,000 rows with randomly shifted images, once for all parts of a
run. Seed 0.

mnist: `GAN(64, architecture="conv")`. Frechet distance of 10,000 draws from the 10,000 test rows,
on the 128 features of the classifier's last hidden layer, and that of as many mean draws of
`VAE(40)`; share of each class among the draws, by the classifier.

features: test accuracy of a logistic regression (C = 0.01) on the output of `transform` for the
60,000 rows, divided by its overall standard deviation, before and after training.

conditional: `ConditionalGAN(64, architecture="conv")`. Share of the draws that the classifier
assigns to their class, and test accuracy of such a classifier trained on 60,000 draws alone.

few: test accuracy of such a classifier trained on 1,000 rows, and on these and 10,000 draws of a
ConditionalGAN that was fitted to them; with and without random shifts, with equally many updates.
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

N_ROWS = 10_000
N_DRAWS = 10_000
LEAST_DRAWS = 20  # draws near a mode that counts as hit
WANTED_SHARE = 0.90
WANTED_SECONDS = 60.0
WANTED_LOOP = 1.05
PICTURE = {
    "architecture": "conv",
    "density": ParzenWindow(256),
    "random_state": 0,
}
VAE_EPOCHS = 20
CLASSIFIER_UPDATES = 1900
CLASSIFIER_BATCH = 128
N_FEW = 1000
FEW_EPOCHS = 200
FEW_UPDATES = 1000


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
    means = centers[rng.integers(len(centers), size=n_rows)]
    return (means + deviation * rng.standard_normal((n_rows, 2))).astype(np.float32)


def measure(draws, centers, deviation):
    """Number of modes that are hit, share of draws within 3 deviations of one, and their spread."""
    distances = np.linalg.norm(draws[:, np.newaxis] - centers, axis=2)
    is_near = distances.min(axis=1) < 3.0 * deviation
    modes = distances.argmin(axis=1)
    counts = np.bincount(modes[is_near], minlength=len(centers))
    hit = np.flatnonzero(counts >= LEAST_DRAWS)
    spread = float("nan")
    if len(hit):
        variances = [draws[is_near & (modes == mode)].var(axis=0).mean() for mode in hit]
        spread = float(np.sqrt(np.mean(variances))) / deviation
    return len(hit), float(is_near.mean()), spread


def toys(seeds=range(5)):
    """Modes and shares of draws with the defaults."""
    for toy in (grid, ring):
        centers, deviation = toy()
        for seed in seeds:
            X = draw_rows(centers, deviation, seed)
            start = time.perf_counter()
            model = GAN(random_state=seed).fit(X)
            taken = time.perf_counter() - start
            n_modes, share, spread = measure(model.sample(N_DRAWS), centers, deviation)
            print(
                f"{toy.__name__} seed {seed}: {n_modes} of {len(centers)} modes"
                f"{_verdict(len(centers), n_modes, '>=')}, {share:.1%} of draws near a mode"
                f"{_verdict(WANTED_SHARE, share, '>=')}, spread {spread:.2f} deviations,"
                f" {taken:.0f} s{_verdict(WANTED_SECONDS, taken, '<=')}",
                flush=True,
            )


def with_engine(model, X, batch_size, device):
    """A function that trains for an epoch with the engine."""
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
    """A function that trains for an epoch with a minimal loop."""
    generator = copy.deepcopy(model.generator_).train()
    discriminator = copy.deepcopy(model.discriminator_).train()
    center = model._to_network_tensor(model._center)
    scale = model._to_network_tensor(model._scale)
    rows = (torch.from_numpy(X).to(device) - center) / scale
    weight = model._penalty_weight
    generator_optimizer, discriminator_optimizer = (
        torch.optim.Adam(network.parameters(), lr=2e-3, betas=model._defaults.betas, fused=True)
        for network in (generator, discriminator)
    )
    parameters = [*generator.parameters(), *discriminator.parameters()]
    averages = [parameter.detach().clone() for parameter in parameters]
    noise = torch.Generator(device)

    def epoch():
        order = torch.randperm(len(rows), device=device)
        total = 0.0
        for start in range(0, len(rows), batch_size):
            real = rows[order[start : start + batch_size]].requires_grad_()
            n_real = len(real)
            with torch.no_grad():
                fake = generator(torch.randn(n_real, model.n_components, device=device))
            scores = discriminator(torch.cat([real, fake]), generator=noise)
            (gradients,) = torch.autograd.grad(scores[:n_real].sum(), real, create_graph=True)
            penalty = 0.5 * gradients.square().sum(1).mean()
            loss = functional.softplus(-scores[:n_real]).mean()
            loss = loss + functional.softplus(scores[n_real:]).mean() + weight * penalty
            discriminator_optimizer.zero_grad()
            loss.backward()
            discriminator_optimizer.step()
            fake = generator(torch.randn(n_real, model.n_components, device=device))
            generator_loss = functional.softplus(-discriminator(fake, generator=noise)).mean()
            generator_optimizer.zero_grad()
            generator_loss.backward(inputs=list(generator.parameters()))
            generator_optimizer.step()
            torch._foreach_lerp_(averages, [parameter.detach() for parameter in parameters], 1e-3)
            batch_loss = loss.detach() + generator_loss.detach()
            if device == "cpu":
                batch_loss = float(batch_loss)  # on a GPU this would wait for each batch
            total += batch_loss
        return float(total)

    return epoch


def seconds(function, device):
    """Duration of a call in seconds."""
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(name, device, X, batch_size, n_pairs, **parameters):
    """Print the ratio of the durations of epochs for a GAN with these parameters."""
    model = GAN(**parameters, max_iter=1, device=device, random_state=0).fit(X[:512])
    functions = [maker(model, X, batch_size, device) for maker in (with_engine, by_hand)]
    for function in functions:
        function()  # makes buffers and graphs
    pairs = []
    for k in range(n_pairs):
        order = [(1, 0), (0, 1)][k % 2]
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
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append("cuda")
    for device in devices:
        compare("dense", device, X, 100, 7 * n_pairs)  # short epochs need more pairs
        compare("conv", device, images, 64, n_pairs, architecture="conv")
    if "cuda" not in devices:
        print("there is no CUDA device, so its part did not run")


class Classifier(nn.Module):
    """A network from digits, rows (n, 784) of 0 to 255, to logits (n, 10)."""

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


def train_classifier(X, y, n_updates=CLASSIFIER_UPDATES, *, shifted=True):
    """A classifier of digits, trained on rows X (n, 784) with classes y."""
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
        batch = rows[index]
        if shifted:
            batch = augment(batch, ["translation"], (28, 28, 1), generator)
        loss = functional.cross_entropy(network(batch), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def evaluate(function, X):
    """Outputs of a network for rows, as an array."""
    with torch.inference_mode():
        parts = torch.from_numpy(np.asarray(X, dtype=np.float32)).split(1000)
        return np.concatenate([function(part).numpy() for part in parts])


def accuracy(classifier, X, y):
    """Share of rows that a classifier assigns to their class."""
    return float(np.mean(evaluate(classifier, X).argmax(axis=1) == y))


@functools.cache
def mnist_rows():
    """X_train, y_train, X_test, y_test."""
    parts = [fetch_mnist(subset=subset) for subset in ("train", "test")]
    return [array for part in parts for array in (part.data.astype(np.float32), part.target)]


@functools.cache
def digit_classifier():
    """The classifier of the draws."""
    X, y, T, t = mnist_rows()
    start = time.perf_counter()
    classifier = train_classifier(X, y)
    share = accuracy(classifier, T, t)
    print(
        f"classifier: {share:.2%} of the test rows{_verdict(0.99, share, '>=')}, {_since(start)}",
        flush=True,
    )
    return classifier


@functools.cache
def gan_of_digits():
    """A fitted GAN, and the duration of its fit in seconds."""
    start = time.perf_counter()
    model = GAN(64, **PICTURE).fit(mnist_rows()[0])
    return model, time.perf_counter() - start


def mnist():
    """Distances of draws of a GAN and of a VAE from the test rows."""
    X, _, T, _ = mnist_rows()
    classifier = digit_classifier()
    features = functools.partial(evaluate, classifier.features)
    model, taken = gan_of_digits()
    draws = model.sample(N_DRAWS, random_state=0)
    distance = frechet_distance(T, draws, features=features)
    start = time.perf_counter()
    vae = VAE(40, max_iter=VAE_EPOCHS, random_state=0).fit(X / 255.0)
    decoded = 255.0 * vae.sample_mean(N_DRAWS, random_state=0)
    of_vae = frechet_distance(T, decoded, features=features)
    of_data = frechet_distance(T, X[:N_DRAWS], features=features)
    print(
        f"mnist: Frechet distance {distance:.1f}, of the VAE {of_vae:.1f} ({_since(start)}), of"
        f" other rows of the data {of_data:.1f}; ratio"
        f" {of_vae / distance:.2f}{_verdict(2.5, of_vae / distance, '>=')}; {model.n_iter_} epochs"
        f" in {taken:.0f} s{_verdict(900.0, taken, '<=')}"
    )
    shares = np.bincount(evaluate(classifier, draws).argmax(axis=1), minlength=10) / N_DRAWS
    print(
        "mnist: classes"
        f" {' '.join(f'{share:.1%}' for share in shares)}{_verdict(0.05, shares.min(), '>=')}"
        f"{_verdict(0.15, shares.max(), '<=')}",
        flush=True,
    )


def features():
    """A linear classifier on features of the discriminator, before and after training."""
    X, y, T, t = mnist_rows()
    model, _ = gan_of_digits()
    before = GAN(64, **PICTURE | {"max_iter": 1, "learning_rate_init": 0.0}).fit(X[:512])
    accuracies = []
    for network in (before, model):
        rows = network.transform(X)
        scale = rows.std()
        linear = LogisticRegression(C=0.01, tol=1e-3, max_iter=200).fit(rows / scale, y)
        accuracies.append(linear.score(network.transform(T) / scale, t))
    untrained, trained = accuracies
    gain = trained - untrained
    print(
        f"features: {trained:.2%} of the test rows{_verdict(0.97, trained, '>=')}, untrained"
        f" {untrained:.2%}, gain {gain:.2%}{_verdict(0.01, gain, '>=')}",
        flush=True,
    )


def conditional():
    """Draws of requested classes, and a classifier that is trained on draws alone."""
    X, y, T, t = mnist_rows()
    classifier = digit_classifier()
    start = time.perf_counter()
    model = ConditionalGAN(64, **PICTURE).fit(X, y)
    taken = _since(start)
    requested = np.arange(60_000) % 10
    draws = model.sample(len(requested), y=requested, random_state=0)
    agreement = accuracy(classifier, draws[:N_DRAWS], requested[:N_DRAWS])
    features = functools.partial(evaluate, classifier.features)
    distance = frechet_distance(T, draws[:N_DRAWS], features=features)
    on_draws = accuracy(train_classifier(draws, requested), T, t)
    print(
        f"conditional: {agreement:.2%} of the draws are of the class"
        f"{_verdict(0.97, agreement, '>=')}, Frechet distance {distance:.1f}; a classifier of"
        f" 60,000 draws recognises {on_draws:.2%} of the test rows"
        f"{_verdict(0.95, on_draws, '>=')}; {model.n_iter_} epochs in {taken}",
        flush=True,
    )


def few():
    """Draws added to the few rows that the GAN was fitted to."""
    X, y, T, t = mnist_rows()
    X, y = X[:N_FEW], y[:N_FEW]
    start = time.perf_counter()
    model = ConditionalGAN(
        64, **PICTURE | {"augmentation": ["translation"], "max_iter": FEW_EPOCHS}
    ).fit(X, y)
    draws, drawn = model.sample(N_DRAWS, return_y=True, random_state=0)
    taken = _since(start)
    n_copies = len(draws) // len(X)  # as many rows as draws
    both = np.concatenate([np.tile(X, (n_copies, 1)), draws])
    both_labels = np.concatenate([np.tile(y, n_copies), drawn])
    for description, shifted in (("unchanged", False), ("randomly shifted", True)):
        alone = train_classifier(X, y, FEW_UPDATES, shifted=shifted)
        together = train_classifier(both, both_labels, FEW_UPDATES, shifted=shifted)
        print(
            f"few: {N_FEW} {description} rows: alone {accuracy(alone, T, t):.2%} of the test rows,"
            f" with draws {accuracy(together, T, t):.2%}; {model.n_iter_} epochs in {taken}",
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
