"""The parts of an evidence lower bound, from one run of a guide and a model."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch.distributions import Independent, kl_divergence


@dataclass(frozen=True)
class ElboTerms:
    """Log-probabilities of one run of a guide and a model, for each particle and row.

    Attributes
    ----------
    log_likelihood : Tensor of shape (n,) or (n_particles, n)
        Log-probability of the observed sites given the latent ones.
    log_prior, log_posterior : Tensor of the same shape
        Log-probability of the latent sites under the model, and under the guide.
    divergences : dict of Tensor
        KL divergence of the guide from the model for each latent site, of shape (..., n, k) for a
        site of k independent dimensions, else (..., n, 1); None where there is no closed form.
    """

    log_likelihood: torch.Tensor
    log_prior: torch.Tensor
    log_posterior: torch.Tensor
    divergences: dict

    @property
    def log_weights(self) -> torch.Tensor:
        """log p(x, z) - log q(z given x), of the shape of the other terms."""
        return self.log_likelihood + self.log_prior - self.log_posterior


def elbo_terms(model: Callable, guide: Callable, args: tuple, *, n_particles: int = 1) -> ElboTerms:
    """Run a guide, and the model on the draws of the guide.

    Parameters
    ----------
    model, guide : callable
        Pyro programs of the same arguments, with the rows in a plate of dimension -1. The model
        observes rows, and the guide draws all other sites of the model.
    args : tuple
        Arguments of both programs.
    n_particles : int, default=1
        Draws for each row, in a plate of dimension -2.

    Returns
    -------
    terms : ElboTerms

    Raises
    ------
    ValueError
        If the latent sites of the guide and of the model are not the same, or if a parameter is in
        Pyro's store.
    """
    if n_particles > 1:
        plate = pyro.plate("particles", n_particles, dim=-2)
        model, guide = plate(model), plate(guide)
    guide_trace = poutine.trace(guide).get_trace(*args)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args)
    latent, observed = check_sites(guide_trace, model_trace)
    for trace in (guide_trace, model_trace):
        trace.compute_log_prob()
    nodes = model_trace.nodes
    return ElboTerms(
        log_likelihood=_total(nodes, observed),
        log_prior=_total(nodes, latent),
        log_posterior=_total(guide_trace.nodes, latent),
        divergences={name: _divergence(guide_trace.nodes[name], nodes[name]) for name in latent},
    )


def check_parameters(terms: ElboTerms, networks: Iterable[torch.nn.Module]) -> None:
    """Raise unless all parameters behind the terms are in the networks, which are trained.

    Parameters
    ----------
    terms : ElboTerms
        Computed with gradients.
    networks : iterable of torch.nn.Module

    Raises
    ------
    ValueError
        If a program builds a layer of its own, or uses one that is not among the networks.
    """
    known = {parameter for network in networks for parameter in network.parameters()}
    for leaf in _leaves(terms.log_weights.sum()):
        if leaf not in known:
            raise ValueError(
                f"model and guide must use layers of _networks alone; got a weight of shape"
                f" {tuple(leaf.shape)} of another one, such as a layer that is built anew in each"
                " call, which would never be trained; set it as an attribute in _build, and name"
                " that in _networks."
            )


def _leaves(output: torch.Tensor) -> list[torch.Tensor]:
    """The parameters and other leaves that the gradient of an output reaches."""
    leaves = []
    nodes: list[Any] = [output.grad_fn]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        for following, _ in getattr(node, "next_functions", ()):
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return leaves


def check_sites(guide_trace: Any, model_trace: Any) -> tuple[list[str], list[str]]:
    """Return the names of the latent and of the observed sites, or raise if they do not match."""
    for name, trace in (("guide", guide_trace), ("model", model_trace)):
        for site in trace.nodes.values():
            # Names with $$$ are those of pyro.module, which are parameters of networks.
            if site["type"] == "param" and "$$$" not in site["name"]:
                raise ValueError(
                    f"{name} must keep its parameters in modules; got pyro.param({site['name']!r}),"
                    " which goes to a store that all models of the process share."
                )
    latent, observed = _sample_sites(model_trace)
    drawn, _ = _sample_sites(guide_trace)
    for name in latent:
        if name not in drawn:
            raise ValueError(
                f"guide must draw every latent site of the model; it has no site {name!r}."
            )
    for name in drawn:
        if name not in latent:
            raise ValueError(
                f"guide must draw sites of the model alone; the model has no latent site {name!r}."
            )
    if not latent:
        raise ValueError(
            "model must draw a latent site, such as pyro.sample('z', ...); it has none."
        )
    if not observed:
        raise ValueError(
            "model must observe the rows, as in pyro.sample('x', ..., obs=X); it observes nothing."
        )
    return latent, observed


def _sample_sites(trace):
    """Names of the latent and of the observed sites of a trace, without those of plates."""
    latent = []
    observed = []
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample":
            names = observed if site["is_observed"] else latent
            names.append(name)
    return latent, observed


def _total(nodes, names):
    """Log-probability of several sites together."""
    return functools.reduce(torch.add, [nodes[name]["log_prob"] for name in names])


def _divergence(guide_site, model_site):
    """KL divergence of a site of the guide from that of the model, None without a closed form."""
    if any(site["scale"] != 1.0 or site["mask"] is not None for site in (guide_site, model_site)):
        return None
    q, p = guide_site["fn"], model_site["fn"]
    try:
        are_independent = isinstance(q, Independent) and isinstance(p, Independent)
        if are_independent and q.reinterpreted_batch_ndims == 1:
            return kl_divergence(q.base_dist, p.base_dist)  # one for each dimension
        return kl_divergence(q, p).unsqueeze(-1)
    except NotImplementedError:
        return None
