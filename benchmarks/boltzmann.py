"""Boltzmann machines and deep belief networks: likelihoods, features and epochs.

    python benchmarks/boltzmann.py             # all parts
    python benchmarks/boltzmann.py tables      # one of them: tables, mnist, features, deep
    python benchmarks/boltzmann.py mnist --epochs 5   # a shorter fit, to see the curve

tables: test nats of the DNA and mushrooms tables, with those of a restricted Boltzmann machine in
H. Larochelle and I. Murray, The neural autoregressive distribution estimator, 2011. Machines are
fitted on the training rows; the settings were chosen on the validation rows. Where log Z is an
estimate, its bracket is printed: annealing forwards, and in reverse.

mnist: dynamically binarized digits by 500 hidden units: training rows are drawn anew for each
batch, test rows once with seed 1. Published: 86.3 nats on a fixed binarization (R. Salakhutdinov
and I. Murray, On the quantitative analysis of deep belief networks, 2008).

features: accuracy of a logistic regression on hidden probabilities, and seconds of an epoch, beside
scikit-learn's BernoulliRBM with as many units and epochs, in batches of 10, its default, and of
100. With equal batches both compute the same five products of matrices, which bounds the ratio.

deep: lower bound of a deep belief network beside the likelihood of its first machine alone.
"""

import argparse
import os
import platform
import time
import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM

import probgen
from probgen import DeepBeliefNetwork, RestrictedBoltzmannMachine, Trainer
from probgen.datasets import fetch_binary, fetch_mnist
from probgen.options import AnnealedImportanceSampling, PersistentContrastiveDivergence

SGD = {"optimizer": "sgd", "schedule": "cosine", "ema_decay": 0.999}
TABLES = {  # published and wanted nats, and the settings
    "dna": (
        96.74,
        96.7,
        {
            "n_components": 50,
            "learning_rate_init": 0.01,
            "max_iter": 100,
            "trainer": Trainer(weight_decay=2e-3, **SGD),
        },
    ),
    "mushrooms": (
        15.15,
        15.1,
        {
            "n_components": 20,  # so that log Z is exact
            "learning_rate_init": 0.01,
            "max_iter": 300,
            "algorithm": PersistentContrastiveDivergence(n_steps=5),
            "trainer": Trainer(**SGD),
        },
    ),
}
MNIST_EPOCHS = 100
MNIST = {
    "n_components": 500,
    "batch_size": 100,
    "learning_rate_init": 0.02,
    "trainer": Trainer(**SGD),
    "dynamic_binarization": True,
    "partition": AnnealedImportanceSampling(n_chains=200, n_temperatures=5000),
}
FEATURES = {
    "n_components": 500,
    "batch_size": 100,
    "learning_rate_init": 0.02,
    "trainer": Trainer(**SGD),
}
FEATURE_EPOCHS = 10
SKLEARN = ({"batch_size": 10, "learning_rate": 0.01}, {"batch_size": 100, "learning_rate": 0.05})
DEEP_EPOCHS = 20
WANTED_MNIST = 88.0
WANTED_SECONDS = 900.0
WANTED_ACCURACY = 0.97
WANTED_RATIO = 0.5


def fitted(model, *data):
    """The fitted model, and the wall and CPU seconds of its fit."""
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(*data)
    return model, time.perf_counter() - start, time.process_time() - cpu


def report(what, model, T, wanted, taken, cpu, wanted_seconds=None):
    """Print the test nats of a model, and the bracket of its log Z."""
    nats = -model.score(T)
    partition = model.log_partition()
    bracket = "exact log Z"
    if partition.std:
        bracket = f"log Z {partition.low:.2f} +- {partition.std:.2f} up, {partition.high:.2f} down"
    print(
        f"{what}: {nats:.2f} nats{verdict(wanted, nats)}, {bracket}; {model.n_iter_} epochs in"
        f" {taken:.0f} s{verdict(wanted_seconds, taken)}, {cpu:.0f} s of CPU",
        flush=True,
    )
    return nats


def tables(epochs):
    """Both binary tables."""
    for name, (published, wanted, settings) in TABLES.items():
        X, T = (
            fetch_binary(name, subset=subset).data.astype(np.float32)
            for subset in ("train", "test")
        )
        settings = {**settings, "max_iter": epochs or settings["max_iter"]}
        model = RestrictedBoltzmannMachine(random_state=0, **settings)
        model, taken, cpu = fitted(model, X)
        report(f"{name}, published {published}", model, T, wanted, taken, cpu)


def digits():
    """Grey training rows and classes, then those of the test rows."""
    train, test = fetch_mnist(subset="train"), fetch_mnist(subset="test")
    return (
        train.data.astype(np.float32) / 255.0,
        train.target,
        test.data.astype(np.float32) / 255.0,
        test.target,
    )


def binarized(T):
    """Test rows of 0 and 1, drawn with seed 1."""
    return (np.random.default_rng(1).random(T.shape) < T).astype(np.float32)


def mnist(epochs):
    """Binarized digits."""
    X, _, T, _ = digits()
    model = RestrictedBoltzmannMachine(max_iter=epochs or MNIST_EPOCHS, random_state=0, **MNIST)
    model, taken, cpu = fitted(model, X)
    report("MNIST, 500 units", model, binarized(T), WANTED_MNIST, taken, cpu, WANTED_SECONDS)


def features(epochs):
    """Features for a logistic regression, and seconds of an epoch, beside scikit-learn's."""
    X, y, T, z = digits()
    n_epochs = epochs or FEATURE_EPOCHS
    model = RestrictedBoltzmannMachine(max_iter=n_epochs, random_state=0, **FEATURES)
    model, taken, cpu = fitted(model, X)
    accuracy = accuracy_of(model, X, y, T, z)
    print(
        f"features: {accuracy:.2%}{verdict(WANTED_ACCURACY, accuracy, '>=')},"
        f" {taken / n_epochs:.2f} s and {cpu / n_epochs:.2f} s of CPU an epoch",
        flush=True,
    )
    for settings in SKLEARN:
        peer = BernoulliRBM(500, n_iter=n_epochs, random_state=0, **settings)
        peer, taken_by_peer, cpu_of_peer = fitted(peer, X)
        ratio = cpu / cpu_of_peer
        print(
            f"  scikit-learn's, {settings}: {accuracy_of(peer, X, y, T, z):.2%},"
            f" {taken_by_peer / n_epochs:.2f} s and {cpu_of_peer / n_epochs:.2f} s of CPU an epoch;"
            f" time {taken / taken_by_peer:.2f} of it, CPU {ratio:.2f}"
            f"{verdict(WANTED_RATIO, taken / taken_by_peer)}",
            flush=True,
        )


def accuracy_of(model, X, y, T, z):
    """Test accuracy of a logistic regression on the features of a model."""
    classifier = LogisticRegression(C=1.0, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the iterations, which are the same for all
        classifier.fit(model.transform(X), y)
    return classifier.score(model.transform(T), z)


def deep(epochs):
    """A deep belief network, and its first machine alone."""
    X, _, T, _ = digits()
    n_epochs = epochs or DEEP_EPOCHS
    T = binarized(T)
    settings = {**MNIST, "max_iter": n_epochs, "random_state": 0}
    first, taken, cpu = fitted(RestrictedBoltzmannMachine(**settings), X)
    alone = report("first machine, 500 units", first, T, None, taken, cpu)
    settings.pop("n_components")
    network = DeepBeliefNetwork((500, 1000), n_pretraining=n_epochs, **settings)
    network, taken, cpu = fitted(network, X)
    nats = report("belief network, 500 and 1000 units, bound", network, T, alone, taken, cpu)
    print(f"  better than its first machine by {alone - nats:.2f} nats")


def verdict(wanted, value, relation="<="):
    if wanted is None:
        return ""
    is_reached = value <= wanted if relation == "<=" else value >= wanted
    return f" (wanted {relation} {wanted:g}: {'ok' if is_reached else 'SHORT'})"


def main():
    parts = {"tables": tables, "mnist": mnist, "features": features, "deep": deep}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"one of {', '.join(parts)}; all by default"
    )
    parser.add_argument("--epochs", type=int, help="epochs of each fit, in place of the defaults")
    arguments = parser.parse_args()
    chosen = arguments.parts or list(parts)
    if not set(chosen) <= set(parts):
        parser.error(f"parts are {', '.join(parts)}; got {' '.join(chosen)}")
    print(
        f"probgen {probgen.__version__}, torch {torch.__version__},"
        f" {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of"
        f" {os.cpu_count()} cores, seed 0"
    )
    for name in chosen:
        parts[name](arguments.epochs)


if __name__ == "__main__":
    main()
