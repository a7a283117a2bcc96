"""Pictures from a VAE of handwritten digits.

    python examples/vae_pictures.py
    python examples/vae_pictures.py --data mnist -o mnist.png

The first command uses the small digits of scikit-learn. The second downloads MNIST if it is
missing.

The script fits two models to binary digits, one with 16 latent dimensions and one with two. The
panels show draws and their means, reconstructions, interpolations between digits, traversals of
single dimensions, completions of upper halves, codes by class, images decoded from the plane of
codes, and posterior means and log-variances after several epochs.
"""

import argparse

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from probgen import VAE, Trainer
from probgen.datasets import fetch_mnist
from probgen.plots import LatentDisplay, ManifoldDisplay, ReconstructionDisplay, SampleGridDisplay
from probgen.training import Callback

N_SHOWN = 10
EPOCHS = (1, 5, 20)  # after which the codes are stored


class CodesOverTime(Callback):
    """Stores the posterior means and log-variances of rows after some epochs."""

    def __init__(self, rows):
        self.rows = rows
        self.moments = {}

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        """Store the codes."""
        if context.task_name == "epoch" and fitted_estimator is not None:
            means, std = fitted_estimator.transform(self.rows, return_std=True)
            self.moments[context.task_id + 1] = (means, 2.0 * np.log(std))

    def is_due(self, estimator, context):
        """Whether this is one of the epochs."""
        return context.task_id + 1 in EPOCHS


def load(name):
    """Binary rows and their classes."""
    if name == "mnist":
        bunch = fetch_mnist(subset="train")
        return (bunch.data[:20_000] > 127).astype(np.float32), bunch.target[:20_000]
    digits = load_digits()
    return (digits.data > 7).astype(np.float32), digits.target


def interpolate(model, X, n_steps=N_SHOWN):
    """Images decoded from straight lines between the codes of pairs of rows."""
    codes = model.transform(X)
    weights = np.linspace(0.0, 1.0, n_steps)[:, np.newaxis]
    lines = []
    for first, last in zip(codes[::2], codes[1::2]):
        lines.append((1.0 - weights) * first + weights * last)
    return model.inverse_transform(np.concatenate(lines))


def traverse(model, X, n_dimensions=4, n_steps=N_SHOWN):
    """Images decoded from one code as single dimensions vary, those of the largest variance."""
    codes = model.transform(X)
    dimensions = np.argsort(codes.var(axis=0))[::-1][:n_dimensions]
    walks = np.repeat(codes[:1], n_dimensions * n_steps, axis=0)
    for k, dimension in enumerate(dimensions):
        walks[k * n_steps : (k + 1) * n_steps, dimension] = np.linspace(-3.0, 3.0, n_steps)
    return model.inverse_transform(walks)


def complete(model, X, n_draws=4):
    """Rows, their upper halves, and draws of their lower halves."""
    half = X.shape[1] // 2
    known = X.copy()
    known[:, half:] = np.nan
    draws = [model.sample(len(X), given=known, random_state=k) for k in range(n_draws)]
    return np.concatenate([X, np.nan_to_num(known, nan=0.5), *draws])


def main():
    """Fit the models and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument("-o", "--output", default="vae_pictures.png")
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    X, y = load(arguments.data)
    codes = CodesOverTime(X[:500])
    trainer = Trainer(schedule="cosine", callbacks=[codes])
    settings = {"hidden_layer_sizes": (256,), "max_iter": arguments.epochs, "random_state": 0}
    model = VAE(16, trainer=trainer, **settings).fit(X)
    plane = VAE(2, **settings).fit(X)

    figure = Figure(figsize=(18, 16), layout="constrained")
    axes = figure.subplots(3, 4)
    grid = {"value_range": (0.0, 1.0), "n_cols": N_SHOWN}
    SampleGridDisplay(model.sample(60, random_state=0), **grid).plot(ax=axes[0, 0])
    SampleGridDisplay(model.sample_mean(60, random_state=0), **grid).plot(ax=axes[0, 1])
    ReconstructionDisplay.from_estimator(model, X[:N_SHOWN], value_range=(0.0, 1.0), ax=axes[0, 2])
    SampleGridDisplay(interpolate(model, X[:12]), **grid).plot(ax=axes[0, 3])
    SampleGridDisplay(traverse(model, X[:200]), **grid).plot(ax=axes[1, 0])
    SampleGridDisplay(complete(model, X[:N_SHOWN]), **grid).plot(ax=axes[1, 1])
    LatentDisplay.from_estimator(plane, X[:2000], y[:2000], ax=axes[1, 2])
    ManifoldDisplay.from_estimator(plane, X=X[:2000], value_range=(0.0, 1.0), ax=axes[1, 3])
    titles = (
        "draws",
        "their means",
        "reconstructions",
        "interpolations",
        "traversals of single dimensions",
        "draws of lower halves",
        "codes by class",
        "images decoded from the plane of codes",
    )
    for ax, title in zip(axes.flat, titles):
        ax.set_title(title)
    bins = {"bins": 60, "histtype": "step", "density": True}
    for epoch, (means, log_variances) in codes.moments.items():
        axes[2, 0].hist(means.ravel(), label=f"epoch {epoch}", **bins)
        axes[2, 1].hist(log_variances.ravel(), label=f"epoch {epoch}", **bins)
    axes[2, 0].set_title("posterior means")
    axes[2, 1].set_title("posterior log-variances")
    axes[2, 0].legend()
    for name in ("reconstruction", "kl"):
        axes[2, 2].plot(model.history_["epoch"], model.history_[name], label=name)
    axes[2, 2].set_title("terms of the bound in nats per row")
    axes[2, 2].legend()
    means, std = model.transform(X[:2000], return_std=True)
    divergences = np.sort((0.5 * (means**2 + std**2 - 1.0) - np.log(std)).mean(axis=0))[::-1]
    axes[2, 3].bar(range(1, len(divergences) + 1), divergences)
    axes[2, 3].set_title("divergence by dimension in nats")
    figure.savefig(arguments.output, dpi=80)
    print(f"{arguments.output}: score {model.score(X[:1000]):.2f} nats per row")


if __name__ == "__main__":
    main()
