"""Isolation of Pyro programs, whose handlers, parameters and draws are global to the process."""

import contextlib
from collections.abc import Iterator

import pyro

from probgen.training.randomness import global_generator


@contextlib.contextmanager
def isolated_pyro_state(device: str, seed: int = 0) -> Iterator[None]:
    """Run the body with global state of its own, which is restored afterwards.

    One thread at a time enters. Pyro's parameter store is empty, and torch's global generator is
    seeded.

    Parameters
    ----------
    device : str
        Device of the generator.
    seed : int, default=0
        Seed of torch's global generator in the body, from which Pyro draws.

    Examples
    --------
    >>> import pyro
    >>> with isolated_pyro_state("cpu", seed=1):
    ...     first = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
    >>> with isolated_pyro_state("cpu", seed=1):
    ...     bool(pyro.sample("z", pyro.distributions.Normal(0.0, 1.0)) == first)
    True
    """
    # Pyro's validation branches on values of tensors, which is slow and cannot be recorded.
    with (
        global_generator(device, seed),
        pyro.get_param_store().scope(),
        pyro.validation_enabled(False),
    ):
        yield
