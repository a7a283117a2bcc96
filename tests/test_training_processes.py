"""Fits in processes of their own: killed and started again, and two that train together."""

import random
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

from probgen import Autoencoder, Trainer

FIT = """
import sys, numpy as np
from sklearn.datasets import load_digits
from probgen import Autoencoder, Trainer
trainer = Trainer(checkpoint=sys.argv[1] or None, checkpoint_interval=0.0, schedule="cosine",
                  ema_decay=0.99, early_stopping=True, n_iter_no_change=50)
model = Autoencoder(3, hidden_layer_sizes=(16,), corruption="gaussian", max_iter=8, random_state=4,
                    trainer=trainer)
model.fit(load_digits().data[:600])
weights = [p.detach().numpy() for n in (model.encoder_, model.decoder_) for p in n.parameters()]
np.savez(sys.argv[2], *weights)
"""


def start(*arguments):
    return subprocess.Popen([sys.executable, "-P", "-c", FIT, *map(str, arguments)])


def read(path):
    with np.load(path) as archive:
        return [archive[name] for name in archive.files]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The file of weights of a fit that nothing stopped."""
    path = tmp_path_factory.mktemp("alone") / "alone.npz"
    assert start("", path).wait() == 0
    return path


@pytest.mark.parametrize("seed", [0, 1])
def test_a_fit_that_is_killed_at_random_moments_ends_with_the_same_bits(
    tmp_path, seed, uninterrupted
):
    rng, folder = random.Random(seed), tmp_path / "states"
    for _ in range(2):
        process = start(folder, tmp_path / "resumed.npz")
        newest = _newest(folder)
        # Importing takes long; a state has been written when the loop is at work.
        while process.poll() is None and _newest(folder) == newest:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.3))
        assert process.poll() is None
        process.kill()
        process.wait()
    assert start(folder, tmp_path / "resumed.npz").wait() == 0
    assert len(list(folder.iterdir())) == 1  # what killed writes left is gone
    for mine, truth in zip(read(tmp_path / "resumed.npz"), read(uninterrupted), strict=True):
        np.testing.assert_array_equal(mine, truth)


def _newest(folder):
    return max(
        (path.stat().st_mtime_ns for path in folder.glob("Autoencoder-*.checkpoint")), default=0
    )


TOGETHER = """
import os, sys, numpy as np
from sklearn.datasets import load_digits
from probgen import Autoencoder, Trainer
X = load_digits().data[:int(sys.argv[2])]
trainer = Trainer(optimizer="sgd", checkpoint=sys.argv[1], checkpoint_interval=0.0)
model = Autoencoder(3, hidden_layer_sizes=(16,), max_iter=3, batch_size=20, random_state=4,
                    noise_fraction=0.0, trainer=trainer, device="cpu")
model.fit(X)
weights = [p.detach().numpy() for n in (model.encoder_, model.decoder_) for p in n.parameters()]
np.savez(f"{sys.argv[1]}/rank{os.environ['RANK']}.npz", *weights)
"""


@pytest.mark.parametrize(
    "n_rows", [603, 601]
)  # in batches of 2 x 20: the last has 3, of which one has 2, or 1
def test_two_processes_give_the_weights_of_one_with_the_double_batch(tmp_path, n_rows):
    script = tmp_path / "fit.py"
    script.write_text(TOGETHER)
    command = [
        sys.executable,
        "-P",
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
    ]
    done = subprocess.run(
        [*command, str(script), str(tmp_path), str(n_rows)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    model = Autoencoder(
        3,
        hidden_layer_sizes=(16,),
        max_iter=3,
        batch_size=40,
        random_state=4,
        noise_fraction=0.0,
        trainer=Trainer(optimizer="sgd"),
        device="cpu",
    ).fit(load_digits().data[:n_rows])
    truth = [
        p.detach().numpy()
        for network in (model.encoder_, model.decoder_)
        for p in network.parameters()
    ]
    first, second = read(tmp_path / "rank0.npz"), read(tmp_path / "rank1.npz")
    for a, b, c in zip(first, second, truth, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-9, atol=1e-12)
    assert len(list(tmp_path.glob("Autoencoder-*.checkpoint"))) == 1
