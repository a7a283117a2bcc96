"""The joint density of rows and codes under a Pyro program."""

from collections.abc import Callable

import pyro
import torch
from pyro import poutine

from probgen.marginal_likelihood.latent_model import LatentModel
from probgen.programs.isolation import isolated_pyro_state
from probgen.programs.recording import Replayed


def latent_model(
    model: Callable, rows: tuple[torch.Tensor, ...], n_components: int, device: str
) -> LatentModel:
    """Return the joint density of a model, recorded once for each number of chains.

    Parameters
    ----------
    model : callable
        Pyro program of rows, with the latent site "z" and the observed site "x".
    rows : tuple of Tensor, each of shape (n, ...)
        Arguments of the model.
    n_components : int
        Size of a code.
    device : str
        Device of the rows and of the networks.

    Returns
    -------
    density : LatentModel
    """

    def run(n_chains, rows, **given):
        """Nodes of a trace with sites of shape (n_chains, n)."""
        with pyro.plate("chains", n_chains, dim=-2):
            trace = poutine.trace(poutine.condition(model, given)).get_trace(*rows)
        trace.compute_log_prob()
        return trace.nodes

    def sample_prior(n_chains, generator, *rows):
        with torch.no_grad(), isolated_pyro_state(device, int(generator.integers(2**62))):
            return run(n_chains, rows)["z"]["value"]

    def log_prior(codes, *rows):
        return run(len(codes), rows, z=codes)["z"]["log_prob"]

    def log_likelihood(codes, *rows):
        return run(len(codes), rows, z=codes)["x"]["log_prob"]

    noise = torch.Generator(device)
    return LatentModel(
        rows,
        n_components,
        rows[0].dtype,
        sample_prior,
        Replayed(log_prior, lambda: noise, device),
        Replayed(log_likelihood, lambda: noise, device),
    )
