"""Pictures from a PixelCNN of digits or small photographs.

    python examples/pixelcnn_pictures.py
    python examples/pixelcnn_pictures.py --data mnist -o mnist.png
    python examples/pixelcnn_pictures.py --data cifar10 -o cifar10.png

The data are the small digits of scikit-learn, MNIST, and photographs of 4 x 4 pixels, which are
downloaded if they are missing.

The panels of digits show draws by class, draws of lower halves, and the pixels that the model finds
improbable, in held-out digits and in the same digits upside down. The panels of photographs show
draws, and colours drawn for grey images. There a row holds the grey image above the coloured one,
so the known pixels come first in the order of drawing.
"""

import argparse

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from probgen import ConditionalPixelCNN, PixelCNN
from probgen.datasets import fetch_cifar10, fetch_mnist
from probgen.options import AutoLikelihood
from probgen.plots import SampleGridDisplay

N_SHOWN = 10
N_LEVELS = 16  # of a colour


def digits(name):
    """Rows of digits and their classes."""
    if name == "mnist":
        bunch = fetch_mnist(subset="train")
        return (bunch.data[:20_000] > 127).astype(np.float32), bunch.target[:20_000]
    bunch = load_digits()
    return bunch.data.astype(np.float32), bunch.target


def show_digits(figure, X, y, epochs):
    """Draws, completions and improbable pixels of a class-conditional model of digits."""
    held_out = X[:N_SHOWN]
    labels = y[:N_SHOWN]
    model = ConditionalPixelCNN(16, 3, max_iter=epochs, random_state=0)
    model.fit(X[N_SHOWN:], y[N_SHOWN:])
    grid = {"value_range": (0.0, model.n_levels_ - 1.0), "n_cols": N_SHOWN}
    half = X.shape[1] // 2
    known = held_out.copy()
    known[:, half:] = np.nan
    drawn = [model.sample(N_SHOWN, y=labels, given=known, random_state=k) for k in range(4)]
    blank = np.nan_to_num(known, nan=model.n_levels_ / 2)
    turned = held_out[:, ::-1]
    surprise = -np.concatenate([model.conditional_log_prob(rows) for rows in (held_out, turned)])
    axes = figure.subplots(1, 3)
    classes = np.repeat(model.classes_, N_SHOWN)
    draws = model.sample(len(classes), y=classes, random_state=0)
    SampleGridDisplay(draws, **grid).plot(ax=axes[0])
    axes[0].set_title("draws, one row for each class")
    SampleGridDisplay(np.concatenate([held_out, blank, *drawn]), **grid).plot(ax=axes[1])
    axes[1].set_title("draws of lower halves")
    scaled = np.minimum(surprise / np.quantile(surprise, 0.98), 1.0) * (model.n_levels_ - 1)
    rows = [held_out, scaled[:N_SHOWN], turned, scaled[N_SHOWN:]]
    SampleGridDisplay(np.concatenate(rows), **grid).plot(ax=axes[2])
    axes[2].set_title("digits and -log p of their pixels; below, upside down")
    return model.score(held_out)


def small_photographs():
    """Rows of grey images above the same images in colour, of 4 x 4 pixels with integer levels."""
    X = fetch_cifar10(subset="train").data.reshape(-1, 4, 8, 4, 8, 3).mean(axis=(2, 4))
    colors = np.rint((X / 256.0 * N_LEVELS - 0.5).clip(0, N_LEVELS - 1))
    grey = np.rint(colors.mean(axis=3, keepdims=True)).repeat(3, axis=3)
    return np.concatenate([grey, colors], axis=1).reshape(len(X), -1).astype(np.float32)


def show_colors(figure, X, epochs):
    """Draws, and colours drawn for grey images."""
    half = X.shape[1] // 2
    held_out = X[:N_SHOWN]
    model = PixelCNN(
        24,
        3,
        image_shape=(8, 4, 3),
        likelihood=AutoLikelihood(n_levels=N_LEVELS),
        max_iter=epochs,
        random_state=0,
    ).fit(X[N_SHOWN:])
    grid = {"image_shape": (4, 4, 3), "value_range": (0.0, N_LEVELS - 1.0), "n_cols": N_SHOWN}
    known = held_out.copy()
    known[:, half:] = np.nan
    colored = [model.sample(N_SHOWN, given=known, random_state=k)[:, half:] for k in range(4)]
    axes = figure.subplots(1, 2)
    SampleGridDisplay(model.sample(60, random_state=0)[:, half:], **grid).plot(ax=axes[0])
    axes[0].set_title("draws")
    rows = np.concatenate([held_out[:, half:], held_out[:, :half], *colored])
    SampleGridDisplay(rows, **grid).plot(ax=axes[1])
    axes[1].set_title("photographs, in grey, and with colours drawn")
    return model.score(held_out)


def main():
    """Fit the model and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "mnist", "cifar10"), default="digits")
    parser.add_argument("-o", "--output", default="pixelcnn_pictures.png")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    figure = Figure(figsize=(18, 7), layout="constrained")
    if arguments.data == "cifar10":
        score = show_colors(figure, small_photographs(), arguments.epochs)
    else:
        score = show_digits(figure, *digits(arguments.data), arguments.epochs)
    figure.savefig(arguments.output, dpi=80)
    print(f"{arguments.output}: score {score:.2f} nats per row")


if __name__ == "__main__":
    main()
