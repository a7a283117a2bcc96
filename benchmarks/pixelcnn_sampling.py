"""Draws of a PixelCNN from cached activations, compared with one pass of the network per pixel.

    python benchmarks/pixelcnn_sampling.py
    python benchmarks/pixelcnn_sampling.py --every 1     # time the passes of all pixels

The model has 28 x 28 pixels, 8 residual layers and 64 channels, and was trained for one short
epoch. The slow draw runs the network on the whole image for each pixel in turn; as all passes cost
the same, only those of every --every-th pixel are timed. Both kinds of draws use the same uniform
numbers, and the number of pixels that differ is printed. Both are timed alternately, several times;
the ratio is that of the medians. With a GPU, the time of 1,000 images on it comes last.
"""

import argparse
import os
import platform
import statistics
import time

import numpy as np
import torch

import probgen
from probgen import PixelCNN
from probgen.estimators.autoregressive.feature_sampler import FeatureSampler

SIDE = 28
WANTED = {16: 200.0, 64: 100.0}
CUDA_IMAGES = 1000
CUDA_SECONDS = 10.0
KINDS = {
    "plain": {},
    "gated": {"gated": True},
    "attention": {"attention": True},
}


def make_model(**settings):
    """A model of the benchmark's size."""
    rows = np.random.default_rng(0).integers(0, 2, size=(64, SIDE * SIDE)).astype(np.float32)
    return PixelCNN(64, 8, max_iter=1, device="cpu", random_state=0, **settings).fit(rows)


def seconds(function):
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def draw_slowly(model, features, every):
    """Rows from one pass of the whole network for each pixel, or for every so many."""
    X = torch.zeros(len(features), SIDE * SIDE)
    for j in range(0, SIDE * SIDE, every):
        X[:, j] = features.sample(model.network_(X)[:, [j]], slice(j, j + 1))[:, 0]
    return X


def compare(kind, model, n_rows, every, n_repeats):
    """Print the ratio for one model and number of images."""
    uniforms = torch.as_tensor(np.random.default_rng(1).random((n_rows, SIDE * SIDE)))
    with torch.inference_mode():
        features = FeatureSampler(model.observation_, uniforms)
        sampler = model._sampler()
        sampler.draw(features, 0)  # the first draw allocates buffers
        fast = [seconds(lambda: sampler.draw(features, 0))]
        slow = []
        for _ in range(n_repeats):
            slow.append(seconds(lambda: draw_slowly(model, features, every)) * every)
            fast.append(seconds(lambda: sampler.draw(features, 0)))
        X = sampler.draw(features, 0)
        # Draws from the conditionals that the whole network gives for the same rows.
        n_different = int((features.sample(model.network_(X)) != X).sum())
    ratio = statistics.median(slow) / statistics.median(fast)
    wanted = WANTED.get(n_rows) if kind == "plain" else None
    verdict = (
        "" if wanted is None else f" (wanted >= {wanted:g}: {'ok' if ratio >= wanted else 'SHORT'})"
    )
    print(
        f"{kind:9} {n_rows:3} images  cached {statistics.median(fast):7.3f} s  a pass for each"
        f" pixel {statistics.median(slow):7.1f} s  ratio {ratio:5.0f}{verdict}  pixels that differ:"
        f" {n_different}",
        flush=True,
    )


def draw_on_cuda(kind, model):
    """Print the seconds of many images on a GPU."""
    model._to_device("cuda")
    taken = statistics.median(
        seconds(lambda: model.sample(CUDA_IMAGES, random_state=0)) for _ in range(4)
    )
    verdict = "ok" if taken <= CUDA_SECONDS else "SHORT"
    print(
        f"{kind:9} {CUDA_IMAGES} images on {torch.cuda.get_device_name()}: {taken:.2f} s (wanted <="
        f" 10: {verdict})"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--every", type=int, default=28, help="time the slow passes of every so many pixels"
    )
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(
        f"probgen {probgen.__version__}, torch {torch.__version__},"
        f" {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of"
        f" {os.cpu_count()} cores, seed 0"
    )
    for kind, settings in KINDS.items():
        model = make_model(**settings)
        for n_rows in (16, 64):
            compare(kind, model, n_rows, arguments.every, arguments.repeats)
        if torch.cuda.is_available():
            draw_on_cuda(kind, model)


if __name__ == "__main__":
    main()
