"""Limits on threads are shared by fits that overlap, and gone with the last of them."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from probgen import VAE, Trainer
from probgen.training.threads import PRODUCTS, threads_for

PROGRAM = """
import threading, time
import numpy
from threadpoolctl import threadpool_info
from probgen.gaussians.threads import single_threaded_blas


def threads_of_blas():
    libraries = threadpool_info()
    return {library["num_threads"] for library in libraries if library["user_api"] == "blas"}


def fit(k):
    for _ in range(20):
        with single_threaded_blas() as n_threads:
            inside.update(threads_of_blas())
            offered.add(n_threads)
            time.sleep(0.001 * (k % 3))


inside, offered, before = set(), set(), threads_of_blas()
threads = [threading.Thread(target=fit, args=(k,)) for k in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert inside <= {1}, inside
assert not before or offered == before, (offered, before)
assert threads_of_blas() == before, (threads_of_blas(), before)
"""


def test_the_limit_ends_with_the_last_of_overlapping_fits():
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
class TestThreadsOfTorch:
    @pytest.mark.parametrize(
        "share, n_threads", [(0.0, 1), (1.9, 1), (2.0, 2), (3.5, 3), (99.0, 4)]
    )
    def test_sizes_decide(self, share, n_threads):
        with threads_for(share * PRODUCTS):
            assert torch.get_num_threads() == n_threads
        assert torch.get_num_threads() == 4

    def test_the_number_is_put_back_after_an_error(self):
        with pytest.raises(KeyboardInterrupt), threads_for(0):
            raise KeyboardInterrupt
        assert torch.get_num_threads() == 4

    def test_bodies_may_be_nested(self):
        with threads_for(0):
            with threads_for(3 * PRODUCTS):
                assert torch.get_num_threads() == 3  # the caller allows 4
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 4

    def test_bodies_may_overlap_in_threads(self):
        is_inside, is_done = threading.Event(), threading.Event()
        seen = []

        def other():
            with threads_for(2 * PRODUCTS):
                seen.append(torch.get_num_threads())
                is_inside.set()
                is_done.wait()
            seen.append(torch.get_num_threads())

        thread = threading.Thread(target=other)
        with threads_for(0):
            thread.start()
            is_inside.wait()
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 4
        is_done.set()
        thread.join()
        assert seen == [2, 4]
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen[2] == 4

    def test_a_small_fit_has_the_same_bits_whatever_the_caller_allows(self):
        X = np.random.default_rng(0).normal(size=(70, 3))
        model = VAE(1, hidden_layer_sizes=(300,), max_iter=2, random_state=0)
        scores = model.fit(X).score_samples(X)
        assert torch.get_num_threads() == 4
        torch.set_num_threads(1)
        np.testing.assert_array_equal(model.fit(X).score_samples(X), scores)

    def test_a_fit_that_fails_puts_the_number_back(self):
        def fail(*args, **kwargs):
            raise ZeroDivisionError

        class Failing(VAE):
            model = fail

        with pytest.raises(ZeroDivisionError):
            Failing(1, max_iter=1, trainer=Trainer()).fit(np.zeros((9, 2)) + np.arange(2))
        assert torch.get_num_threads() == 4
