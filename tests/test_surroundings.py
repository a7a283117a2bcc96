"""The caller's global modes change nothing in any call, and no call changes them."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from small_generators import DISCRETE, ESTIMATORS, each, with_few_epochs

EVERY = with_few_epochs([*ESTIMATORS, *DISCRETE])
Y = np.arange(60) % 2
X = np.random.default_rng(0).integers(0, 3, size=(60, 4)) + Y[:, np.newaxis] % 2.0


@contextlib.contextmanager
def double_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES = {
    "floating-point errors raise": lambda: np.errstate(all="raise"),
    "double precision by default": double_by_default,
    "deterministic algorithms": deterministic,
    "without gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "anomaly detection": torch.autograd.detect_anomaly,
}


def everything(estimator):
    """What an estimator answers after a fit and after a further pass, in single precision."""
    rows = X.astype(np.float32)
    model = clone(estimator).fit(rows, Y)
    answers = []
    for _ in range(2):
        answers += [model.score_samples(rows), model.transform(rows), model.sample(3)]
        if hasattr(model, "partial_fit"):
            model.partial_fit(rows, Y)
    return answers


@each(EVERY)
@pytest.mark.filterwarnings(
    "ignore:.* effective draws", "ignore:.*did not converge", "ignore:Anomaly Detection"
)
def test_modes_of_the_caller_change_nothing(estimator):
    truth = everything(estimator)
    for name, mode in MODES.items():
        before = np.geterr(), torch.get_default_dtype(), torch.is_grad_enabled()
        with mode():
            answers = everything(estimator)
        assert (np.geterr(), torch.get_default_dtype(), torch.is_grad_enabled()) == before
        for answer, expected in zip(answers, truth, strict=True):
            np.testing.assert_array_equal(answer, expected, err_msg=name)


ENVIRONMENT = """
import os
before = dict(os.environ)
import numpy as np
from probgen import GAN, MADE, VAE, Autoencoder, GaussianMixture, PixelCNN
X = np.random.default_rng(0).integers(0, 2, (40, 4)).astype("f4")
for kind in (GaussianMixture, VAE, MADE, Autoencoder, GAN, PixelCNN):
    kind(max_iter=1, random_state=0).fit(X).score(X)
assert dict(os.environ) == before, set(os.environ) ^ set(before)
"""


def test_no_environment_variable_is_set():
    subprocess.run([sys.executable, "-W", "ignore", "-c", ENVIRONMENT], check=True)
