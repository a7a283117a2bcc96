"""Pictures from a GAN and a VAEGAN of images, or of points on a grid.

    python examples/gan_pictures.py
    python examples/gan_pictures.py --data grid -o grid.png
    python examples/gan_pictures.py --data mnist -o mnist.png
    python examples/gan_pictures.py --data olivetti -o faces.png
    python examples/gan_pictures.py --data frey -o frey.png
    python examples/gan_pictures.py --data cifar10 -o cifar10.png

The data are the small digits of scikit-learn, 25 narrow Gaussians on a grid, MNIST, 400 faces of 40
people, 1,965 frames of one face, and small colour photographs. They are downloaded if they are
missing.

The panels of images show data, draws of both models, the same draws of the GAN during training,
reconstructions by the VAEGAN, and the losses of the GAN. With --gif the draws are also written as
an animation.
"""

import argparse

import numpy as np
from matplotlib.figure import Figure

from probgen import GAN, VAEGAN, Trainer
from probgen.datasets import (
    fetch_cifar10,
    fetch_frey_faces,
    fetch_mnist,
    fetch_olivetti_faces,
    load_digits,
)
from probgen.options import AutoDensity
from probgen.plots import ReconstructionDisplay, SampleGridDisplay, TrainingCurveDisplay
from probgen.training import SampleHistory

N_SHOWN = 60
N_SNAPSHOTS = 6
EPOCHS = {"grid": 240, "digits": 60, "mnist": 10, "olivetti": 600, "frey": 200, "cifar10": 40}


def load(name):
    """Rows in single precision, the shape of their images, and parameters of the models."""
    if name == "grid":
        rng = np.random.default_rng(0)
        centers = 2.0 * rng.integers(-2, 3, size=(5000, 2))
        X = centers + 0.05 * rng.standard_normal((5000, 2))
        return X.astype(np.float32), None, {"n_components": 2}
    fetch = {
        "digits": load_digits,
        "olivetti": fetch_olivetti_faces,
        "frey": fetch_frey_faces,
        "mnist": fetch_mnist,
        "cifar10": fetch_cifar10,
    }
    bunch = fetch[name]()
    X = bunch.data.astype(np.float32)
    shape = bunch.image_shape
    if name == "olivetti":  # at half their size
        X = X.reshape(-1, 32, 2, 32, 2).mean(axis=(2, 4)).reshape(-1, 1024)
        shape = (32, 32)
    n_components = 64
    if name in ("digits", "frey"):
        n_components = 16
    return X, shape, {"architecture": "conv", "n_components": n_components, "image_shape": shape}


def show_points(axes, X, gan, vaegan):
    """Data, draws, the discriminator's scores over the plane, and codes."""
    panels = {
        "data": X,
        "draws of the GAN": gan.sample(5000),
        "draws of the VAEGAN": vaegan.sample(5000),
    }
    for ax, (title, rows) in zip(axes.flat, panels.items()):
        ax.plot(*rows.T, ".", markersize=1.5)
        ax.set(title=title, xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), aspect="equal")
    line = np.linspace(-5.5, 5.5, 200, dtype=np.float32)
    plane = np.column_stack([part.ravel() for part in np.meshgrid(line, line)])
    scores = gan.discriminate(plane).reshape(200, 200)
    axes[1, 0].imshow(scores, origin="lower", extent=(-5.5, 5.5, -5.5, 5.5))
    axes[1, 0].set_title("scores of the GAN's discriminator")
    axes[1, 1].scatter(*X.T, s=1.5, c=vaegan.transform(X)[:, 0])
    axes[1, 1].set(title="first dimension of the VAEGAN's codes", aspect="equal")


def show_images(axes, X, shape, gan, vaegan, history):
    """Data, draws and reconstructions."""
    grid = {"image_shape": shape, "value_range": (X.min(), X.max())}
    panels = {
        "data": X[:: len(X) // N_SHOWN][:N_SHOWN],
        "draws of the GAN": gan.sample(N_SHOWN, random_state=0),
        "draws of the VAEGAN": vaegan.sample(N_SHOWN, random_state=0),
    }
    for ax, (title, rows) in zip(axes.flat, panels.items()):
        SampleGridDisplay(rows, **grid).plot(ax=ax)
        ax.set_title(title)
    history.plot(ax=axes[1, 0], **grid)
    axes[1, 0].set_title("the same draws of the GAN during training")
    ReconstructionDisplay.from_estimator(vaegan, X[:: len(X) // 8], n_rows=8, ax=axes[1, 1], **grid)
    axes[1, 1].set_title("rows and their reconstructions by the VAEGAN")


def main():
    """Fit the models and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=EPOCHS, default="digits")
    parser.add_argument("-o", "--output", default="gan_pictures.png")
    parser.add_argument("--epochs", type=int, help="by default, as many as suit the data")
    parser.add_argument("--rows", type=int, help="at most so many; all by default")
    parser.add_argument("--gif", help="name of an animation of the draws, ending in .gif")
    arguments = parser.parse_args()
    n_epochs = arguments.epochs or EPOCHS[arguments.data]
    X, shape, parameters = load(arguments.data)
    X = X[: arguments.rows]
    n_samples = 8
    if shape is None:
        n_samples = 2000
    history = SampleHistory(every=max(1, n_epochs // N_SNAPSHOTS), n_samples=n_samples)
    trainer = Trainer(schedule="cosine", ema_decay=0.999, callbacks=[history])
    settings = parameters | {
        "max_iter": n_epochs,
        "density": AutoDensity(n_draws=500),
        "random_state": 0,
    }
    gan = GAN(trainer=trainer, **settings).fit(X)
    vaegan = VAEGAN(**settings).fit(X)

    figure = Figure(figsize=(18, 10), layout="constrained")
    axes = figure.subplots(2, 3)
    if shape is None:
        show_points(axes, X, gan, vaegan)
    else:
        show_images(axes, X, shape, gan, vaegan, history)
    TrainingCurveDisplay.from_estimator(gan, ax=axes[1, 2])
    figure.savefig(arguments.output, dpi=80)
    if arguments.gif:
        history.save_gif(arguments.gif, image_shape=shape)
    print(arguments.output)


if __name__ == "__main__":
    main()
