"""MADE and FVBN: likelihoods of binary tables and binarized MNIST, and network passes per draw.

    python benchmarks/made.py             # all parts
    python benchmarks/made.py tables      # one of them: tables, few, mnist, draws

tables: test nats of the mushrooms and DNA tables, with those that M. Germain et al., MADE, 2015
(arXiv:1502.03509), report for the same splits, among them FVSBN and NADE (H. Larochelle and
I. Murray, 2011), EoNADE (B. Uria et al., 2014, arXiv:1310.1757) and DARN (K. Gregor et al., 2014,
arXiv:1310.8499). Only those of EoNADE could be checked in a second source, the list of its results
on www.wizwand.com, which has 82.31 and 9.68; look the others up in the paper before quoting them.
Models are fitted on the training and validation rows. As many random rows as the validation split
has are held out for early stopping, as in the paper. MADE is fitted with its defaults; tuned, with
several orderings and more epochs; and order-agnostic, with 8 orderings.

few: test nats of fits to 400 random rows of the same tables, by default and with twelve settings of
weight_decay, dropout (of the inputs of FVBN) and max_iter, without early stopping. By default a fit
is to be at most 1 nat worse than the best of them, which is chosen on the test rows.

mnist: MADE with one hidden layer on dynamically binarized MNIST: training rows are drawn anew for
each batch, test rows once with seed 1.

draws: passes of the network in a draw by fixed-point iteration and in a draw of one feature after
another, on bits like those of MNIST, and whether both draw the same rows from the same uniform
numbers.
"""

import argparse
import itertools
import os
import platform
import time

import numpy as np
import torch
from sklearn.base import clone

import probgen
from probgen import MADE, FullyVisibleBeliefNetwork, Trainer
from probgen.datasets import fetch_binary, fetch_mnist

PUBLISHED = {
    "mushrooms": {"FVSBN": 10.27, "NADE": 9.81, "EoNADE": 9.69, "MADE": 9.68, "DARN": 9.55},
    "dna": {"FVSBN": 83.64, "NADE": 84.81, "EoNADE": 82.31, "MADE": 79.66, "DARN": 81.04},
}
WANTED = {  # FVBN, MADE with defaults, tuned, order-agnostic
    "mushrooms": (10.27 + 0.6, 9.9, 9.55, None),
    "dna": (83.64 + 0.6, 84.0, 79.7, None),
}
TUNED = {
    "mushrooms": {"n_orderings": 8, "input_dropout": 0.0, "max_iter": 300},
    "dna": {"n_orderings": 16, "input_dropout": 0.2, "max_iter": 200},
}
MNIST = {
    "hidden_layer_sizes": (2000,),
    "dropout": 0.0,
    "input_dropout": 0.0,
    "max_iter": 15,
    "batch_size": 128,
    "learning_rate_init": 2e-3,
    "trainer": Trainer(schedule="cosine"),
}
N_FEW = 400
FEW = list(itertools.product([0.0, 1e-2, 1e-1], [0.0, 0.5], [20, 100]))
WANTED_LOSS = 1.0
WANTED_SECONDS = 60.0
WANTED_MNIST = 88.5
WANTED_MNIST_SECONDS = 300.0
WANTED_PASSES = 10.0
N_DRAWS = 256  # a whole block, so that all products have one shape


def table(name):
    """Training and validation rows, the share of validation rows among them, and test rows."""
    train, valid, test = (
        fetch_binary(name, subset=subset).data.astype(np.float32)
        for subset in ("train", "valid", "test")
    )
    return np.concatenate([train, valid]), len(valid) / (len(train) + len(valid)), test


def fitted(model, X):
    """The fitted model, and the seconds of its fit."""
    start = time.perf_counter()
    model.fit(X)
    return model, time.perf_counter() - start


def report(what, model, taken, T, wanted, wanted_seconds=None):
    """Print the test nats of a model."""
    scores = model.score_samples(T)
    nats, error = -float(np.mean(scores)), np.std(scores) / len(T) ** 0.5
    print(
        f"{what}: {nats:.2f} +- {error:.2f} nats{_verdict(wanted, nats, '<=')}, {model.n_iter_}"
        f" epochs in {taken:.0f} s{_verdict(wanted_seconds, taken, '<=')}",
        flush=True,
    )


def tables():
    """Both binary tables, by FVBN and by MADE with defaults, tuned and order-agnostic."""
    for name, published in PUBLISHED.items():
        X, share, T = table(name)
        print(f"{name}: published", ", ".join(f"{kind} {nats}" for kind, nats in published.items()))
        trainer = MADE()._default_trainer().set_params(validation_fraction=share)
        without_decay = clone(trainer).set_params(weight_decay=0.0)  # orderings do its work
        models = {
            "FVBN": FullyVisibleBeliefNetwork(trainer=trainer, random_state=0),
            "MADE": MADE(trainer=trainer, random_state=0),
            f"MADE {TUNED[name]}": MADE(trainer=without_decay, random_state=0, **TUNED[name]),
            "MADE, order-agnostic": MADE(
                trainer=trainer, random_state=0, order_agnostic=True, n_orderings=8
            ),
        }
        for (what, model), wanted in zip(models.items(), WANTED[name]):
            model, taken = fitted(model, X)
            report(f"  {what}", model, taken, T, wanted, WANTED_SECONDS if what == "MADE" else None)


def few():
    """FVBN and MADE of few rows, by default and with the settings of a grid."""
    for name in PUBLISHED:
        X, _, T = table(name)
        X = X[np.random.default_rng(0).permutation(len(X))[:N_FEW]]
        for kind in (FullyVisibleBeliefNetwork, MADE):
            nats = {}
            for decay, dropout, max_iter in FEW:
                trainer = Trainer(schedule="cosine", weight_decay=decay)
                settings = {"dropout": dropout}
                if kind is FullyVisibleBeliefNetwork:
                    settings = {"input_dropout": 0.4 * dropout}
                model = kind(trainer=trainer, max_iter=max_iter, random_state=0, **settings)
                nats[decay, dropout, max_iter] = -model.fit(X).score(T)
            best = min(nats, key=nats.get)
            model, taken = fitted(kind(random_state=0), X)
            what = f"{name}, {len(X)} rows, {kind.__name__}"
            print(f"{what}, (weight_decay, dropout, max_iter): nats")
            print("  " + ", ".join(f"{setting}: {value:.2f}" for setting, value in nats.items()))
            report(f"  by default, best {best}", model, taken, T, nats[best] + WANTED_LOSS)


def binarized_mnist():
    """Grey training rows, and test rows of 0 and 1 drawn with seed 1."""
    X, T = (
        fetch_mnist(subset=subset).data.astype(np.float32) / 255.0 for subset in ("train", "test")
    )
    return X, (np.random.default_rng(1).random(T.shape) < T).astype(np.float32)


def mnist():
    """MADE on binarized digits."""
    X, T = binarized_mnist()
    model = MADE(**MNIST, dynamic_binarization=True, random_state=0)
    model, taken = fitted(model, X)
    report("MNIST, MADE", model, taken, T, WANTED_MNIST, WANTED_MNIST_SECONDS)


def draws():
    """Passes of fixed-point iteration, and the same rows drawn one feature after another."""
    X, _ = binarized_mnist()
    model = MADE(
        (500,),
        dropout=0.0,
        input_dropout=0.0,
        dynamic_binarization=True,
        max_iter=3,
        random_state=0,
    )
    model.fit(X)
    conditionals = model.network_.folded()
    passes = []
    model.network_.folded = lambda order: lambda rows: passes.append(1) or conditionals(rows)
    start = time.perf_counter()
    drawn = model.sample(N_DRAWS, random_state=2)
    at_once = time.perf_counter() - start
    taken = len(passes)
    uniforms = np.random.default_rng(2).random((N_DRAWS, X.shape[1]))
    start = time.perf_counter()
    in_turn = drawn_in_turn(conditionals, torch.from_numpy(uniforms))
    ratio = X.shape[1] / taken
    print(
        f"draws of {N_DRAWS} rows: {taken} passes at once in {at_once:.2f} s, {X.shape[1]} in turn"
        f" in {time.perf_counter() - start:.2f} s: {ratio:.1f} times"
        f" fewer{_verdict(WANTED_PASSES, ratio, '>=')};"
        f" {'the same rows' if np.array_equal(drawn, in_turn) else 'OTHER ROWS'}"
    )


def drawn_in_turn(conditionals, uniforms):
    """Rows of bits, one feature after another, from uniform numbers (n, d)."""
    X = torch.zeros(uniforms.shape)
    with torch.inference_mode():
        for j in range(X.shape[1]):
            X[:, j] = (uniforms[:, j] >= torch.sigmoid(-conditionals(X)[:, j].double())).float()
    return X.numpy()


def _verdict(wanted, value, relation):
    if wanted is None:
        return ""
    is_reached = value <= wanted if relation == "<=" else value >= wanted
    return f" (wanted {relation} {wanted:g}: {'ok' if is_reached else 'SHORT'})"


def main():
    parts = {"tables": tables, "few": few, "mnist": mnist, "draws": draws}
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
        f" {os.cpu_count()} cores, seed 0"
    )
    for name in chosen:
        parts[name]()


if __name__ == "__main__":
    main()
