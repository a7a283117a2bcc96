"""The limit on BLAS is shared by fits that overlap, and gone with the last of them."""

import os
import subprocess
import sys

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
