"""Filters and fantasies of a restricted Boltzmann machine and a deep belief network of digits.

    python examples/boltzmann_pictures.py
    python examples/boltzmann_pictures.py --data mnist --units 500 --epochs 20 -o mnist.png

The data are the small digits of scikit-learn, or MNIST, which is downloaded if it is missing. The
panels show the weights of hidden units, draws of the machine, digits whose lower halves the machine
fills in, and draws of each class by a deep belief network with classes.
"""

import argparse

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from probgen import DeepBeliefClassifier, RestrictedBoltzmannMachine, Trainer
from probgen.datasets import fetch_mnist
from probgen.plots import SampleGridDisplay

N_SHOWN = 10


def digits(name):
    """Rows of bits and their classes."""
    if name == "mnist":
        bunch = fetch_mnist(subset="train")
        return (bunch.data[:20_000] > 127).astype(np.float32), bunch.target[:20_000]
    bunch = load_digits()
    return (bunch.data > 7).astype(np.float32), bunch.target


def show(figure, X, y, units, epochs):
    """The four panels."""
    settings = {
        "learning_rate_init": 0.02,
        "n_sampling_steps": 500,
        "trainer": Trainer(optimizer="sgd", schedule="cosine", ema_decay=0.999),
        "random_state": 0,
    }
    machine = RestrictedBoltzmannMachine(units, max_iter=epochs, **settings)
    machine.fit(X[N_SHOWN:])
    network = DeepBeliefClassifier(
        (units, 2 * units), n_pretraining=epochs, max_iter=max(1, epochs // 2), **settings
    )
    network.fit(X[N_SHOWN:], y[N_SHOWN:])

    axes = figure.subplots(1, 4)
    norms = np.linalg.norm(machine.components_, axis=1)
    filters = machine.components_[np.argsort(-norms)[: N_SHOWN**2]]
    largest = np.quantile(np.abs(filters), 0.995)
    SampleGridDisplay(filters, n_cols=N_SHOWN, value_range=(-largest, largest)).plot(ax=axes[0])
    axes[0].set_title("weights of hidden units")

    grid = {"value_range": (0.0, 1.0), "n_cols": N_SHOWN}
    hidden = machine.transform(machine.sample(N_SHOWN**2, random_state=0))
    SampleGridDisplay(machine.inverse_transform(hidden), **grid).plot(ax=axes[1])
    axes[1].set_title("fantasies of the machine")

    held_out = X[:N_SHOWN]
    known = held_out.copy()
    known[:, X.shape[1] // 2 :] = np.nan
    drawn = [machine.sample(N_SHOWN, given=known, random_state=k) for k in range(4)]
    rows = np.concatenate([held_out, np.nan_to_num(known, nan=0.5), *drawn])
    SampleGridDisplay(rows, **grid).plot(ax=axes[2])
    axes[2].set_title("draws of lower halves")

    classes = np.repeat(network.classes_, N_SHOWN)
    draws = network.sample(len(classes), y=classes, random_state=0)
    SampleGridDisplay(draws, **grid).plot(ax=axes[3])
    axes[3].set_title("belief network, a row for each class")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("-o", "--output", default="boltzmann.png")
    arguments = parser.parse_args()
    X, y = digits(arguments.data)
    figure = Figure(figsize=(20, 5.5), layout="constrained")
    show(figure, X, y, arguments.units, arguments.epochs)
    figure.savefig(arguments.output, dpi=100)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
