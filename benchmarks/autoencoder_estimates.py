"""Whether the estimates of `Autoencoder.score_samples` and their standard errors are honest.

Autoencoders of 2, 4 and 16 numbers in a code, the default, are fitted to standardised tables,
and 60 rows of each are scored. The truth is a long importance sampling of its own, written with
NumPy and SciPy alone: a mixture of Student's t distributions about the modes that a damped
Gauss-Newton search finds under each component of the code density, from three starts each.

A line states the mean difference of estimate and truth in nats, the share of rows within three
standard errors (of both together; a row whose error is inf counts as within), and the share whose
error is inf. Wanted are a mean within 0.2 nats and 95 % of the rows.

    python benchmarks/autoencoder_estimates.py           # four tables, a few minutes
    python benchmarks/autoencoder_estimates.py wine      # shuttle, annthyroid, cancer, wine
"""

import argparse
import platform
import time
import warnings

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.preprocessing import StandardScaler

import probgen
from probgen import Autoencoder
from probgen.datasets import fetch_adbench

N_ROWS = 60
N_FITTED = 5000  # rows of a large table that the model is fitted to
N_DRAWS = 4000
DEGREES_OF_FREEDOM = 6.0
INFLATION = 1.3  # of the Laplace covariances
FARTHEST = 10.0  # nats below the best mode that a mode may be
N_STEPS = 60
WANTED_MEAN = 0.2
WANTED_SHARE = 0.95


def adbench(name):
    """Rows of a table, at most N_FITTED of them."""
    X = fetch_adbench(name).data.astype(np.float64)
    return X[np.random.default_rng(0).permutation(len(X))[:N_FITTED]]


TABLES = {
    "shuttle": lambda: adbench("shuttle"),
    "annthyroid": lambda: adbench("annthyroid"),
    "cancer": lambda: load_breast_cancer().data,
    "wine": lambda: load_wine().data,
}


class Joint:
    """log p(x, z) of a fitted autoencoder with a ReLU decoder, and derivatives of its means."""

    def __init__(self, model):
        mixture = model.latent_density_
        linear = [layer for layer in model.decoder_.modules() if hasattr(layer, "weight")]
        self.layers = [
            (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
            for layer in linear
        ]
        origin = np.zeros((1, model.n_components))
        raw = self._raw(origin)[0]
        # Affine maps from the network's units to those of X, by what two decodings say.
        other = np.ones((1, model.n_components))
        moved = self._raw(other)[0]
        decoded, decoded_moved = model.inverse_transform(origin), model.inverse_transform(other)
        self.scale = ((decoded_moved - decoded) / (moved - raw))[0]
        self.offset = (decoded - self.scale * raw)[0]
        self.variance = model.noise_variance_
        self.weights, self.means = mixture.weights_, mixture.means_
        self.covariances = mixture.covariances_
        self.precisions = np.linalg.inv(self.covariances)
        self.constant = 0.5 * np.log(2.0 * np.pi * self.variance).sum()

    def _raw(self, z):
        for i, (weight, bias) in enumerate(self.layers):
            z = z @ weight.T + bias
            if i < len(self.layers) - 1:
                z = np.maximum(z, 0.0)
        return z

    def decode(self, z):
        """Means (n, d) of rows of codes (n, k)."""
        return self._raw(z) * self.scale + self.offset

    def decode_with_jacobians(self, z):
        """Means (n, d) and their Jacobians (n, d, k)."""
        jacobians = np.broadcast_to(np.eye(z.shape[1]), (len(z), z.shape[1], z.shape[1]))
        for i, (weight, bias) in enumerate(self.layers):
            z = z @ weight.T + bias
            jacobians = np.einsum("oi,nik->nok", weight, jacobians)
            if i < len(self.layers) - 1:
                is_active = z > 0.0
                z = z * is_active
                jacobians = jacobians * is_active[:, :, np.newaxis]
        return z * self.scale + self.offset, jacobians * self.scale[:, np.newaxis]

    def log_given(self, x, means):
        """log p(x given z), of decoded means (n, d)."""
        return -0.5 * (np.square(x - means) / self.variance).sum(axis=1) - self.constant

    def log_prior(self, z):
        """log p(z) (n,)."""
        parts = [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(z)
            for weight, mean, covariance in zip(self.weights, self.means, self.covariances)
        ]
        return logsumexp(parts, axis=0)


def modes(joint, x, code):
    """Modes (m, k) of p(z given x) under single components, and Laplace covariances (m, k, k)."""
    component = np.repeat(np.arange(len(joint.weights)), 3)
    center, precision = joint.means[component], joint.precisions[component]
    z = center.copy()
    z[0::3] = code
    z[2::3] += 0.5 * (code - z[2::3])

    def value(z):
        offset = z - center
        return joint.log_given(x, joint.decode(z)) - 0.5 * np.einsum(
            "ni,nij,nj->n", offset, precision, offset
        )

    best, damping = value(z), np.zeros(len(z))
    for _ in range(N_STEPS):
        means, jacobians = joint.decode_with_jacobians(z)
        scaled = jacobians / joint.variance[:, np.newaxis]
        hessian = np.einsum("ndk,ndj->nkj", scaled, jacobians) + precision
        gradient = np.einsum("ndk,nd->nk", scaled, x - means)
        gradient -= np.einsum("nij,nj->ni", precision, z - center)
        diagonal = np.einsum("nii->ni", hessian)[:, :, np.newaxis] * np.eye(z.shape[1])
        damped = hessian + damping[:, np.newaxis, np.newaxis] * diagonal
        step = np.linalg.solve(damped, gradient[:, :, np.newaxis])[:, :, 0]
        values = value(z + step)
        is_better = values > best
        z = np.where(is_better[:, np.newaxis], z + step, z)
        best = np.where(is_better, values, best)
        damping = np.where(is_better, damping / 5.0, 6.0 * np.maximum(damping, 1e-4))
    _, jacobians = joint.decode_with_jacobians(z)
    scaled = jacobians / joint.variance[:, np.newaxis]
    hessian = np.einsum("ndk,ndj->nkj", scaled, jacobians) + precision
    evidence = best + np.log(joint.weights)[component]
    evidence -= 0.5 * (np.linalg.slogdet(hessian)[1] - np.linalg.slogdet(precision)[1])
    kept = []
    for i in np.argsort(-evidence):
        if evidence[i] < evidence.max() - FARTHEST:
            break
        distances = [(z[i] - z[j]) @ hessian[j] @ (z[i] - z[j]) for j in kept]
        is_new = [d > 0.01 or component[i] != component[j] for d, j in zip(distances, kept)]
        if all(is_new):
            kept.append(i)
    covariances = np.linalg.inv(hessian[kept])
    return z[kept], 0.5 * (covariances + covariances.swapaxes(1, 2))


def long_estimates(model, X):
    """Estimates of log p(x) (n,) from N_DRAWS or more draws a row, and standard errors (n,)."""
    joint, rng = Joint(model), np.random.default_rng(0)
    values, errors = np.empty(len(X)), np.empty(len(X))
    for i, (x, code) in enumerate(zip(X, model.transform(X))):
        parts = [
            multivariate_t(mode, INFLATION * covariance, DEGREES_OF_FREEDOM, allow_singular=True)
            for mode, covariance in zip(*modes(joint, x, code))
        ]
        n_each = max(N_DRAWS // len(parts), 400)
        shape = (n_each, len(code))
        draws = np.vstack([part.rvs(n_each, random_state=rng).reshape(shape) for part in parts])
        log_proposal = logsumexp([part.logpdf(draws) for part in parts], axis=0)
        log_proposal -= np.log(len(parts))
        log_weights = joint.log_given(x, joint.decode(draws)) + joint.log_prior(draws)
        log_weights -= log_proposal
        weights = np.exp(log_weights - log_weights.max())
        values[i] = log_weights.max() + np.log(weights.mean())
        errors[i] = weights.std() / weights.mean() / np.sqrt(len(weights))
    return values, errors


def compare(name, n_components):
    """Print a line of the table; return whether it falls short."""
    X = StandardScaler().fit_transform(TABLES[name]())
    model = Autoencoder(n_components, random_state=0, device="cpu").fit(X)
    rows = X[np.random.default_rng(1).permutation(len(X))[:N_ROWS]]
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rows with few effective draws
        values, errors = model.score_samples(rows, return_std=True)
    seconds = time.perf_counter() - start
    truth, truth_errors = long_estimates(model, rows)
    differences = values - truth
    share = np.mean(np.abs(differences) < 3.0 * np.hypot(errors, truth_errors))
    falls_short = share < WANTED_SHARE or abs(differences.mean()) > WANTED_MEAN
    verdict = "SHORT" if falls_short else "ok"
    print(
        f"{name:10s} {model.n_components:3d} codes: score {values.mean():9.3f}, difference"
        f" {differences.mean():+.3f} (least {differences.min():+.2f}), within 3 errors {share:.1%},"
        f" error inf {np.isinf(errors).mean():.1%}, its own error at most {truth_errors.max():.3f};"
        f" {1e3 * seconds:.0f} ms {verdict}",
        flush=True,
    )
    return falls_short


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tables", nargs="*", metavar="table", help=f"of {', '.join(TABLES)}; all by default"
    )
    chosen = parser.parse_args().tables or list(TABLES)
    if not set(chosen) <= set(TABLES):
        parser.error(f"tables are {', '.join(TABLES)}; got {' '.join(chosen)}")
    print(
        f"probgen {probgen.__version__}, torch {torch.__version__},"
        f" {platform.processor() or platform.machine()}, seed 0, {N_ROWS} rows a table"
    )
    short = [compare(name, n) for name in chosen for n in (2, 4, 16)]
    print(f"{sum(short)} of {len(short)} lines fall short")


if __name__ == "__main__":
    main()
