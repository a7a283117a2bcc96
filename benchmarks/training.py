"""The training engine beside a loop written by hand: seconds of an epoch, and their ratio.

Both train the same network, 784-400-20-400-784 with ReLU, on MNIST with fused Adam, in turn in one
process; the ratio is the median over pairs of epochs. skorch does the same work where it is
installed. On a GPU the engine captures its updates in CUDA graphs, and the loop runs eagerly.

    python benchmarks/training.py          # on the CPU, and on a GPU where there is one
"""

import argparse
import os
import platform
import statistics
import time
from itertools import pairwise

import numpy as np
import torch

import probgen
from probgen import Trainer
from probgen.datasets import fetch_mnist
from probgen.training import Objective
from probgen.training.engine import Training, draw_seeds
from probgen.training.rows import open_rows

WANTED = {
    ("cpu", 256): 1.05,
    ("cpu", 64): 1.15,
    ("cuda", 128): 1.0 / 3.0,
}  # at most, engine over loop


class Reconstruction(Objective):
    """Mean squared error of a network that is to return its input."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def loss(self, X):
        return (self.network(X) - X).square().mean()


def make_network(device):
    """The network, with the same weights each time."""
    torch.manual_seed(0)
    sizes = [784, 400, 20, 400, 784]
    layers = []
    for before, after in pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).to(device)


def hand_written(X, batch_size, device):
    """A function that trains for an epoch, with nothing in it that need not be there."""
    network, rows = make_network(device), X.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def epoch():
        order = torch.randperm(len(rows), device=device)
        total = 0.0
        for start in range(0, len(rows), batch_size):
            batch = rows[order[start : start + batch_size]]
            loss = (network(batch) - batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += (loss.item() if device == "cpu" else loss.detach()) * len(batch)
        return float(total) / len(rows)

    return epoch


def with_engine(X, batch_size, device):
    """A function that trains for an epoch with the engine."""
    rows = open_rows(X.numpy(), device=device)
    seeds = draw_seeds(np.random.default_rng(0))
    training = Training(
        Reconstruction(make_network(device)),
        Trainer(),
        learning_rate=1e-3,
        batch_size=batch_size,
        seeds=seeds,
        device=device,
    )

    def epoch():
        training.begin(1, rows, schedule=None)
        training.run(rows)
        return training.history[-1]["loss"]

    return epoch


def with_skorch(X, batch_size, device):
    """A function that trains for an epoch with skorch, or None where it is not installed."""
    try:
        from skorch import NeuralNetRegressor
    except ImportError:
        return None
    net = NeuralNetRegressor(
        make_network(device),
        max_epochs=1,
        lr=1e-3,
        batch_size=batch_size,
        optimizer=torch.optim.Adam,
        optimizer__fused=True,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device=device,
    ).initialize()
    return lambda: net.partial_fit(X, X).history[-1]["train_loss"]


def seconds(function, device):
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    value = function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start, value


def compare(X, batch_size, device, n_pairs):
    """Print the ratio of epochs for one batch size."""
    loop, engine = hand_written(X, batch_size, device), with_engine(X, batch_size, device)
    loop(), engine()  # buffers, graphs, caches
    pairs = []
    for k in range(n_pairs):
        taken = {
            function: seconds(function, device)
            for function in ((engine, loop) if k % 2 else (loop, engine))
        }
        (ours, our_loss), (theirs, their_loss) = taken[engine], taken[loop]
        pairs.append((ours / theirs, ours, theirs))
    ratio, ours, theirs = (statistics.median(column) for column in zip(*pairs))
    wanted = WANTED.get((device, batch_size))
    verdict = (
        ""
        if wanted is None
        else f"  wanted <= {wanted:.2f}: {'ok' if ratio <= wanted else 'SHORT'}"
    )
    print(
        f"{device:5} batch {batch_size:4}  engine {ours:7.3f} s  loop {theirs:7.3f} s  ratio"
        f" {ratio:.3f}{verdict}  (loss {our_loss:.4f} and {their_loss:.4f})"
    )
    skorch = with_skorch(X, batch_size, device)
    if skorch is not None:
        skorch()
        its = statistics.median(seconds(skorch, device)[0] for _ in range(3))
        print(
            f"{device:5} batch {batch_size:4}  skorch {its:7.3f} s  over the loop"
            f" {its / theirs:.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7, help="pairs of epochs (7)")
    parser.add_argument("--rows", type=int, default=60_000, help="rows of an epoch (60000)")
    arguments = parser.parse_args()
    X = torch.from_numpy(fetch_mnist().data[: arguments.rows].astype(np.float32) / 255.0)
    print(
        f"probgen {probgen.__version__}, torch {torch.__version__},"
        f" {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of"
        f" {os.cpu_count()} cores, {len(X)} rows, seed 0"
    )
    for batch_size in (256, 64):
        compare(X, batch_size, "cpu", arguments.pairs)
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
        compare(X, 128, "cuda", arguments.pairs)
    else:
        print("no CUDA device: its part did not run")


if __name__ == "__main__":
    main()
