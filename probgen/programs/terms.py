"""The parts of an evidence lower bound, from one run of a guide and a model."""

import functools
from dataclasses import dataclass

import pyro
import torch
from pyro import poutine
from torch.distributions import Independent, kl_divergence


@dataclass(frozen=True)
class ElboTerms:
    """Log-probabilities of a run, for each particle and row.

    Attributes
    ----------
    log_likelihood : Tensor of shape (n,) or (n_particles, n)
        Of the observed sites, given the latent ones.
    log_prior, log_posterior : Tensor of that shape
        Of the latent sites, in the model and in the guide.
    divergences : dict of Tensor
        Of each latent site the divergence of the guide from the model, of shape (..., n, k) for a
        site of k independent dimensions, else (..., n, 1); None where it is not known in closed
        form.
    """

    log_likelihood: torch.Tensor
    log_prior: torch.Tensor
    log_posterior: torch.Tensor
    divergences: dict

    @property
    def log_weights(self):
        """log p(x, z) - log q(z given x), of the shape of the others."""
        return self.log_likelihood + self.log_prior - self.log_posterior


def elbo_terms(model, guide, args, *, n_particles=1):
    """Run a guide, and the model on what it drew.

    Parameters
    ----------
    model, guide : callable
        Pyro programs of the same arguments, which draw the rows in the plate of dimension -1. The
        model observes rows; all its other sites are drawn by the guide.
    args : tuple
        Of both.
    n_particles : int, default=1
        Draws for each row, in a plate of dimension -2.

    Returns
    -------
    terms : ElboTerms

    Raises
    ------
    ValueError
        If the guide leaves a latent site of the model out, or has one that the model has not, or if
        a parameter stands in Pyro's store.
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


def check_sites(guide_trace, model_trace):
    """Return the names of the latent and of the observed sites, or raise for what does not fit."""
    for name, trace in (("guide", guide_trace), ("model", model_trace)):
        for site in trace.nodes.values():
            if (
                site["type"] == "param" and "$$$" not in site["name"]
            ):  # those of pyro.module are parameters of networks
                raise ValueError(
                    f"{name} must keep its parameters in modules; got pyro.param({site['name']!r}),"
                    " which would stand in a store that all models of the process share."
                )
    latent = [
        name
        for name, site in model_trace.nodes.items()
        if _is_sample(site) and not site["is_observed"]
    ]
    observed = [
        name for name, site in model_trace.nodes.items() if _is_sample(site) and site["is_observed"]
    ]
    drawn = [
        name
        for name, site in guide_trace.nodes.items()
        if _is_sample(site) and not site["is_observed"]
    ]
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


def _total(nodes, names):
    """Log-probability of several sites together."""
    return functools.reduce(torch.add, [nodes[name]["log_prob"] for name in names])


def _is_sample(site):
    return site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"


def _divergence(guide_site, model_site):
    """Divergence of a site of the guide from that of the model in closed form, None where there is
    none."""
    if any(site["scale"] != 1.0 or site["mask"] is not None for site in (guide_site, model_site)):
        return None
    q, p = guide_site["fn"], model_site["fn"]
    try:
        if (
            isinstance(q, Independent)
            and isinstance(p, Independent)
            and q.reinterpreted_batch_ndims == 1
        ):
            return kl_divergence(q.base_dist, p.base_dist)
        return kl_divergence(q, p).unsqueeze(-1)
    except NotImplementedError:
        return None
