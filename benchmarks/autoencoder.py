"""Autoencoders on real data: denoising, codes for a classifier, and anomaly detection.

    python benchmarks/autoencoder.py
    python benchmarks/autoencoder.py denoise

The parts are denoise, pipeline and anomaly; all run by default.

denoise: MNIST digits in [0, 1] with Gaussian noise of standard deviation 0.5, not clipped. It
prints the gain in PSNR over the noisy digits, with that of the mean digit and of the Wiener filter,
the best linear estimate, C (C + s^2 I)^-1 of the training covariance C.

pipeline: test accuracy of GaussianBayes on codes of length 32. Its settings were chosen on the last
10,000 training rows.

anomaly: ROC-AUC of reconstruction_error over the ADBench tables, fitted without labels on all rows,
and that of PyOD's AutoEncoder with its defaults, if it is installed.
"""

import argparse
import os
import platform
import time

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import probgen
from probgen import Autoencoder, GaussianBayes, Trainer
from probgen.datasets import fetch_adbench, fetch_mnist
from probgen.options import GaussianCorruption, MaskingCorruption

SIGMA = 0.5
TABLES = ("annthyroid", "cardio", "letter", "musk", "pendigits", "satellite", "shuttle", "thyroid")
SEEDS = (0, 1, 2)


def mnist():
    """Training and test rows in [0, 1], and their labels."""
    bunches = [fetch_mnist(subset=subset) for subset in ("train", "test")]
    rows = [bunch.data.astype(np.float32) / 255.0 for bunch in bunches]
    return *rows, *(bunch.target for bunch in bunches)


def psnr(X, truth):
    """Peak signal-to-noise ratio in dB, for values in [0, 1]."""
    return -10.0 * np.log10(np.mean((X - truth) ** 2, dtype=np.float64))


def denoise():
    """Gain in PSNR on the test digits."""
    X, T, *_ = mnist()
    noisy = T + SIGMA * np.random.default_rng(1).standard_normal(T.shape, dtype=np.float32)
    before = psnr(noisy, T)
    mean = X.mean(axis=0, dtype=np.float64)
    covariance = np.cov(X, rowvar=False, dtype=np.float64)
    gain = np.linalg.solve(covariance + SIGMA**2 * np.eye(len(mean)), covariance)
    start = time.perf_counter()
    model = Autoencoder(
        128,
        hidden_layer_sizes=(1024,),
        corruption=GaussianCorruption(scale=SIGMA),
        image_shape=(28, 28),
        max_iter=12,
        batch_size=128,
        trainer=Trainer(schedule="one_cycle"),
        random_state=0,
    ).fit(X)
    seconds = time.perf_counter() - start
    print(f"noisy test digits, sigma {SIGMA}: PSNR {before:.2f} dB; gains:")
    print(f"  mean digit      {psnr(np.broadcast_to(mean, T.shape), T) - before:6.2f} dB")
    print(f"  Wiener filter   {psnr(mean + (noisy - mean) @ gain, T) - before:6.2f} dB")
    gained = psnr(model.reconstruct(noisy), T) - before
    print(
        f"  autoencoder     {gained:6.2f} dB  wanted >= 12: {_verdict(gained >= 12.0)}  (fit"
        f" {seconds:.0f} s)"
    )


def pipeline():
    """Test accuracy of a Gaussian classifier on codes."""
    X, T, y, t = mnist()
    start = time.perf_counter()
    model = make_pipeline(
        Autoencoder(
            32,
            hidden_layer_sizes=(512,),
            corruption=MaskingCorruption(fraction=0.2),
            image_shape=(28, 28),
            max_iter=15,
            batch_size=128,
            trainer=Trainer(schedule="one_cycle"),
            random_state=0,
        ),
        GaussianBayes(n_components=10, reg_covar=1e-3, random_state=0),
    ).fit(X, y)
    accuracy = np.mean(model.predict(T) == t)
    seconds = time.perf_counter() - start
    print(
        f"32 codes and GaussianBayes: test accuracy {100.0 * accuracy:.2f} % in {seconds:.0f} s  "
        f"wanted >= 97 % in 180 s: {_verdict(accuracy >= 0.97 and seconds <= 180.0)}"
    )


def anomaly():
    """ROC-AUC over the tables."""
    try:
        from pyod.models.auto_encoder import AutoEncoder
    except ImportError:
        AutoEncoder = None
    totals = []
    print(f"{'table':12} {'probgen':>8} {'PyOD':>8}   (mean of seeds {SEEDS})")
    for name in TABLES:
        bunch = fetch_adbench(name)
        X, y = bunch.data.astype(np.float32), bunch.target
        ours = np.mean([roc_auc_score(y, _errors(X, seed)) for seed in SEEDS])
        theirs = np.nan
        if AutoEncoder is not None:
            detectors = [AutoEncoder(random_state=seed, verbose=0).fit(X) for seed in SEEDS]
            theirs = np.mean([roc_auc_score(y, fitted.decision_scores_) for fitted in detectors])
        totals.append((ours, theirs))
        print(f"{name:12} {ours:8.4f} {theirs:8.4f}")
    ours, theirs = np.mean(totals, axis=0)
    print(f"{'mean':12} {ours:8.4f} {theirs:8.4f}   wanted >= PyOD's: {_verdict(ours >= theirs)}")


def _errors(X, seed):
    """Reconstruction errors of standardised rows."""
    X = StandardScaler().fit_transform(X)
    model = Autoencoder(
        32,
        hidden_layer_sizes=(64,),
        corruption=MaskingCorruption(fraction=0.2),
        max_iter=10,
        batch_size=32,
        noise_fraction=0.0,
        trainer=Trainer(schedule="one_cycle"),
        random_state=seed,
    ).fit(X)
    return model.reconstruction_error(X)


def _verdict(is_reached):
    return "ok" if is_reached else "SHORT"


def main():
    parts = {"denoise": denoise, "pipeline": pipeline, "anomaly": anomaly}
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
