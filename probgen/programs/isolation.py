"""A place of their own for Pyro programs, whose handlers, parameters and draws belong to the whole
process."""

import contextlib

import pyro

from probgen.training.randomness import global_generator


@contextlib.contextmanager
def isolated_pyro_state(device, seed=0):
    """Run the body alone in the process: one thread at a time, with Pyro's store and torch's
    generator put back after.

    Parameters
    ----------
    device : str
    seed : int, default=0
        Of torch's global generator in the body, from which Pyro draws.

    Examples
    --------
    >>> import pyro
    >>> with isolated_pyro_state("cpu", seed=1):
    ...     first = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
    >>> with isolated_pyro_state("cpu", seed=1):
    ...     bool(pyro.sample("z", pyro.distributions.Normal(0.0, 1.0)) == first)
    True
    """
    # Checks of values branch on tensors, which costs time and cannot be recorded.
    with (
        global_generator(device, seed),
        pyro.get_param_store().scope(),
        pyro.validation_enabled(False),
    ):
        yield
