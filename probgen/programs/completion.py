"""Rows of a model with latent codes, completed where only some of their features are known.

Pseudo-Gibbs chains [1]_ draw codes from the guide and the unknown features from the model, in turn.
The guide at the ends of several chains, the guide that sees only what is known, and the prior make
a mixture that proposes codes; their importance weights [2]_ make up for what the chains leave
wrong. Rows whose weights are uneven propose again, from the codes that weighed most, and where that
does not help either, Hamiltonian Monte Carlo moves what was chosen.

References
----------
.. [1] D. J. Rezende, S. Mohamed, D. Wierstra, Stochastic backpropagation and approximate inference
   in deep generative models, 2014, appendix F.
.. [2] P.-A. Mattei and J. Frellsen, Leveraging the exact likelihood of deep latent variable models,
   2018.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample

from probgen.conditions.evidence import Evidence, elements, means
from probgen.programs.hamiltonian import hamiltonian_move
from probgen.programs.isolation import isolated_pyro_state

N_CHAINS, N_STEPS = 15, 10
N_PROPOSALS = 256  # codes of a round
# Of them from the prior; the others are of the guide, at the ends of chains and at the start
N_PRIOR = 64
PRIOR_SHARE = N_PRIOR / N_PROPOSALS
N_AVERAGED = 16  # codes behind a mean where weights are too uneven
ENOUGH, MAX_ROUNDS = (
    64.0,
    4,
)  # effective sample size of a row that ends its proposals, and how often it may propose
N_MOVES = 30  # of Hamiltonian Monte Carlo; for half of them the steps adapt to the acceptance
FIRST_STEP, STEP_GROWTH, ACCEPTANCE = 0.1, 0.5, 0.8
WORK_BYTES = 2**24  # what fits in caches
MAX_ROWS = 1024  # completed at a time


@dataclass(frozen=True)
class Completed:
    """Rows that were completed, and how well.

    Attributes
    ----------
    rows : ndarray of shape (n, d)
        What is known and, of the rest, draws or conditional means.
    log_mass : ndarray of shape (n,)
        Estimated log-probability of what is known.
    sizes : ndarray of shape (n,)
        Effective sample sizes of the proposals.
    """

    rows: np.ndarray
    log_mass: np.ndarray
    sizes: np.ndarray


def complete(
    model,
    guide,
    conditions,
    generator,
    fill,
    labels=(),
    *,
    width,
    code_width=1,
    n_chains=N_CHAINS,
    average=False,
    argument="given",
):
    """Draw rows under conditions, or average them.

    Parameters
    ----------
    model, guide : callable
        Pyro programs of rows (n, d), whatever is in labels, and a boolean mask (n, d) of the
        features that are seen; the model observes rows as the site "x", of independent features.
    conditions : Conditions
    generator : numpy.random.Generator
    fill : Tensor of shape (d,)
        What the guide sees of a feature that is not known; on the device and of the precision of
        the networks.
    labels : sequence of Tensor of shape (n, ...), default=()
        What else the programs are told of each row.
    width : int
        Numbers that the programs compute for a row, at the widest.
    code_width : int, default=1
        Numbers that the guide computes for the density of a code, if more than the code has.
    n_chains : int, default=15
        Chains for each row; fewer are quicker where the density of a code is dear. One less than a
        divisor of 192.
    average : bool, default=False
        Whether to return conditional means in place of draws; for known values alone.
    argument : str, default="given"
        What the caller named the conditions, for messages.

    Returns
    -------
    completed : Completed

    Raises
    ------
    ValueError
        If the conditions are out of the support of the features, or impossible under the model.
    """
    parts = []
    seed, noise = int(generator.integers(2**62)), np.random.default_rng(generator.integers(2**62))
    with torch.no_grad(), isolated_pyro_state(str(fill.device), seed):
        seen = torch.ones_like(fill[None], dtype=torch.bool)
        trace = poutine.trace(model).get_trace(fill[None], *[label[:1] for label in labels], seen)
        evidence = Evidence(conditions, elements(trace.nodes["x"]["fn"]), argument)
        n_codes = sum(code.numel() for code in _codes(trace).values())
        if evidence.allowed is not None:
            width = max(width, int(np.prod(evidence.allowed.shape[1:])))
        numbers = max(width * N_PRIOR, max(n_codes, code_width) * N_PROPOSALS * (n_chains + 1))
        n_rows = min(MAX_ROWS, max(1, WORK_BYTES // (fill.element_size() * numbers)))
        for start in range(0, len(evidence), n_rows):
            block = slice(start, start + n_rows)
            rows = _Rows(
                model,
                guide,
                evidence.take(block),
                fill,
                [label[block] for label in labels],
                noise,
                n_chains,
            )
            parts.append(_complete_block(rows, width, average))
    completed = Completed(*(np.concatenate(part) for part in zip(*parts)))
    impossible = ~np.isfinite(completed.log_mass)
    if impossible.any():
        raise ValueError(
            f"{argument} asks for rows that are impossible under the fitted model (row"
            f" {np.flatnonzero(impossible)[0]} has probability zero); widen its intervals or move"
            " its values nearer to the data."
        )
    return completed


def _complete_block(rows, width, average):
    """Rows, log-masses and effective sample sizes, as arrays."""
    pool: Any = None  # there after the first round
    part, active, ends = rows, np.arange(rows.n), rows.run_chains()
    for _ in range(MAX_ROUNDS):
        codes, log_near = part.propose(ends)
        n_draws = max(1, WORK_BYTES // (part.start.element_size() * width * part.n))
        fresh: Any = None
        log_weights = []
        for some in torch.arange(N_PROPOSALS).split(n_draws):
            chosen = {name: code[some] for name, code in codes.items()}
            weights, features = part.weigh(chosen, log_near[some])
            log_weights.append(weights)
            picked = _Pool.pick(chosen, weights, means(features) if average else None)
            fresh = picked if fresh is None else fresh.merged(picked)
        if pool is None:
            pool = fresh
        else:  # a proposal that was far off would haunt its row for ever
            merged = pool.take(active).merged(fresh)
            pool.put(active, merged.where(fresh.sizes > merged.sizes, fresh))
        short = (pool.sizes[active] < ENOUGH).cpu().numpy()
        part, active = part.take(short), active[short]
        if not len(active):
            break
        ends = part.decode_best(codes, torch.cat(log_weights), short)
    if len(active):
        pool.settle(active, part)
    if average:
        X = torch.where(rows.known, rows.start, pool.numbers["means"].to(rows.start.dtype))
    else:
        X = rows.draw({name: code.transpose(0, 1) for name, code in pool.codes.items()})
    return tuple(part.cpu().numpy() for part in (X, pool.log_mass, pool.sizes))


class _Rows:
    """Some rows, and what the programs do with them."""

    def __init__(self, model, guide, evidence, fill, labels, noise, n_chains):
        self.model, self.guide, self.evidence, self.labels, self.noise = (
            model,
            guide,
            evidence,
            labels,
            noise,
        )
        self.fill, self.n, self.n_chains = fill, len(evidence), n_chains
        filled = np.clip(fill.double().cpu().numpy(), evidence.low, evidence.high)
        filled = np.where(evidence.known, evidence.values, filled)
        self.start = torch.as_tensor(filled, dtype=fill.dtype, device=fill.device)
        self.known = torch.as_tensor(evidence.known, device=fill.device)

    def take(self, kept):
        """Those of a mask (n,)."""
        mask = torch.as_tensor(kept, device=self.start.device)
        labels = [label[mask] for label in self.labels]
        return _Rows(
            self.model,
            self.guide,
            self.evidence.take(kept),
            self.fill,
            labels,
            self.noise,
            self.n_chains,
        )

    def run_chains(self):
        """Completed rows (n_chains * n, d) at the ends of pseudo-Gibbs chains."""
        X, seen = _copies(self.start, self.n_chains), _copies(self.known, self.n_chains)
        for _ in range(N_STEPS):
            codes = _codes(self._run(self.guide, X, seen))
            X, seen = self.draw(codes), torch.ones_like(seen)
        return X

    def draw(self, codes):
        """Rows (m * n, d) that keep the conditions, from codes (1, m * n, ...)."""
        n_copies = next(iter(codes.values())).shape[1] // self.n
        start, known = _copies(self.start, n_copies), _copies(self.known, n_copies)
        features = elements(self._run(self.model, start, known, codes).nodes["x"]["fn"])
        return torch.where(known, start, self.evidence.draw(features, self.noise, start.dtype)[0])

    def propose(self, ends):
        """Codes (N_PROPOSALS, n, ...), and their log-density (N_PROPOSALS, n) under the mixture of
        the guides."""
        X = torch.cat([self.start, ends])
        seen = torch.cat([self.known, torch.ones_like(ends, dtype=torch.bool)])
        n_encoded = (N_PROPOSALS - N_PRIOR) // (self.n_chains + 1)
        near = _codes(self._run(self.guide, X, seen, n_draws=n_encoded))
        far = self._run(self.model, self.start, self.known, n_draws=N_PRIOR).nodes
        codes = {
            name: torch.cat([code.unflatten(1, (-1, self.n)).flatten(0, 1), far[name]["value"]])
            for name, code in near.items()
        }
        repeated = {name: _copies(code, self.n_chains + 1, dim=1) for name, code in codes.items()}
        log_near = _log_prob(self._run(self.guide, X, seen, repeated), codes).unflatten(
            1, (-1, self.n)
        )
        return codes, torch.logsumexp(log_near, 1) - math.log(self.n_chains + 1)

    def features(self, codes):
        """The distribution of features (n_draws, n, d) that codes decode to."""
        return elements(self._run(self.model, self.start, self.known, codes).nodes["x"]["fn"])

    def weigh(self, codes, log_near):
        """Log-weights (n_draws, n) of codes, and the distribution of the features that they decode
        to."""
        trace = self._run(self.model, self.start, self.known, codes)
        features = elements(trace.nodes["x"]["fn"])
        log_prior = _log_prob(trace, codes)
        log_q = torch.logaddexp(
            log_near + math.log1p(-PRIOR_SHARE), log_prior + math.log(PRIOR_SHARE)
        )
        log_known = _log_prob(trace, ["x"]) + torch.as_tensor(
            self.evidence.log_mass(features), device=log_prior.device
        )
        return (log_known + log_prior - log_q).nan_to_num(nan=-math.inf, posinf=-math.inf), features

    def decode_best(self, codes, log_weights, kept):
        """Completed rows (n_chains * n, d) from resampled codes of more rows, these among them by a
        mask."""
        mask = torch.as_tensor(kept, device=self.start.device)
        picks = _pick(log_weights[:, mask], self.n_chains)
        columns = torch.arange(self.n, device=self.start.device)
        return self.draw(
            {
                name: code[:, mask][picks, columns].flatten(0, 1)[None]
                for name, code in codes.items()
            }
        )

    def move(self, codes):
        """Codes (m, n, ...) moved by Hamiltonian Monte Carlo under what is known; discrete ones
        stay."""
        sites = self._run(self.model, self.start, self.known, codes).nodes
        if any(sites[name]["fn"].support.is_discrete for name in codes):
            return codes
        shape = next(iter(codes.values())).shape[:2]
        widths = [code[0, 0].numel() for code in codes.values()]

        def unpack(vectors):
            parts = zip(codes.items(), vectors.split(widths, 1))
            return {name: part.reshape(1, -1, *code.shape[2:]) for (name, code), part in parts}

        def log_density(vectors):
            return _log_prob(self._run(self.model, X, seen, unpack(vectors)), [*codes, "x"])[0]

        X, seen = _copies(self.start, shape[0]), _copies(self.known, shape[0])
        seen[:, self.evidence.bounded] = True  # these are drawn anew before every move
        vectors = torch.cat([code.flatten(0, 1).flatten(1) for code in codes.values()], 1)
        step = vectors.new_full((len(vectors),), FIRST_STEP)
        for k in range(N_MOVES):
            if len(self.evidence.bounded):
                X = self.draw(unpack(vectors))
            vectors, acceptance = hamiltonian_move(log_density, vectors, step)
            if k < N_MOVES // 2:
                step = step * torch.exp(STEP_GROWTH * (acceptance.to(step.dtype) - ACCEPTANCE))
        return {
            name: code.reshape(*shape, *code.shape[2:]) for name, code in unpack(vectors).items()
        }

    def _run(self, program, X, seen, codes=None, n_draws=None):
        """Trace of a program on rows (m * n, d), of which codes (n_draws, m * n, ...) may be
        given."""
        labels = [_copies(label, len(X) // self.n) for label in self.labels]
        if codes is not None:
            n_draws = len(next(iter(codes.values())))
            program = poutine.condition(program, data=codes)
        with pyro.plate("particles", n_draws or 1, dim=-2):
            return poutine.trace(program).get_trace(X, *labels, seen)


class _Pool:
    """What proposals come to: weights, means, and codes picked by weight, one for a draw and
    several for a mean.

    Attributes
    ----------
    numbers : dict of Tensor of shape (n, ...)
    codes : dict of Tensor of shape (n, n_picked, ...)
    """

    def __init__(self, numbers, codes):
        self.numbers, self.codes = numbers, codes

    @classmethod
    def pick(cls, codes, log_weights, features):
        """A pool of codes (n_draws, n, ...) with log-weights (n_draws, n), and features (n_draws,
        n, d) to average."""
        log_total = torch.logsumexp(log_weights, 0)
        numbers = {
            "log_total": log_total,
            "log_squares": torch.logsumexp(2.0 * log_weights, 0),
            "count": torch.full_like(log_total, len(log_weights)),
        }
        if features is not None:
            weights = torch.exp(log_weights - log_total).nan_to_num(nan=0.0)
            numbers["means"] = torch.einsum("sn,snd->nd", weights, features.double())
        picks = _pick(log_weights, 1 if features is None else N_AVERAGED).T
        rows = torch.arange(len(picks), device=picks.device)[:, None]
        return cls(numbers, {name: code[picks, rows] for name, code in codes.items()})

    @property
    def sizes(self):
        """Effective sample sizes (n,)."""
        return torch.exp(2.0 * self.numbers["log_total"] - self.numbers["log_squares"]).nan_to_num(
            nan=0.0
        )

    @property
    def log_mass(self):
        """Logarithms (n,) of the mean weights."""
        return self.numbers["log_total"] - torch.log(self.numbers["count"])

    def merged(self, other):
        """The pool of the proposals of both, of the same rows."""
        mine, its = self.numbers, other.numbers
        log_total, log_squares = (
            torch.logaddexp(mine[name], its[name]) for name in ("log_total", "log_squares")
        )
        share = torch.exp(its["log_total"] - log_total).nan_to_num(nan=0.0)
        numbers = {
            "log_total": log_total,
            "log_squares": log_squares,
            "count": mine["count"] + its["count"],
        }
        if "means" in mine:
            numbers["means"] = torch.lerp(mine["means"], its["means"], share[:, None])
        n_picked = next(iter(self.codes.values())).shape[1]
        moves = (
            torch.rand(len(share), n_picked, dtype=share.dtype, device=share.device)
            < share[:, None]
        )
        return _Pool(
            numbers,
            {name: _where(moves, other.codes[name], code) for name, code in self.codes.items()},
        )

    def where(self, mask, other):
        """The rows of the other where a mask (n,) is true."""
        pairs = ((self.numbers, other.numbers), (self.codes, other.codes))
        return _Pool(
            *({name: _where(mask, its[name], mine[name]) for name in mine} for mine, its in pairs)
        )

    def take(self, rows):
        """The pool of some rows."""
        return _Pool(
            *(
                {name: value[rows] for name, value in part.items()}
                for part in (self.numbers, self.codes)
            )
        )

    def put(self, rows, other):
        """Replace some rows."""
        for mine, its in ((self.numbers, other.numbers), (self.codes, other.codes)):
            for name, value in its.items():
                mine[name][rows] = value

    def settle(self, active, part):
        """Move the codes of some rows, whose weights are too uneven."""
        moved = part.move({name: code[active].transpose(0, 1) for name, code in self.codes.items()})
        for name, code in moved.items():
            self.codes[name][active] = code.transpose(0, 1)
        if "means" in self.numbers:
            self.numbers["means"][active] = means(part.features(moved)).double().mean(0)


def _where(mask, first, second):
    """torch.where, with a mask of fewer dimensions, the leading ones."""
    return torch.where(mask.reshape(*mask.shape, *[1] * (first.ndim - mask.ndim)), first, second)


def _copies(tensor, n, dim=0):
    """The tensor n times over along a dimension."""
    repeats = [1] * tensor.ndim
    repeats[dim] = n
    return tensor.repeat(repeats)


def _codes(trace):
    """Values (n_draws, n, ...) of the latent sites of a trace."""
    names = [name for name in trace.stochastic_nodes if not site_is_subsample(trace.nodes[name])]
    return {name: trace.nodes[name]["value"] for name in names}


def _log_prob(trace, names):
    """Log-probability (n_draws, n) of some sites together, in double precision."""
    trace.compute_log_prob(lambda name, site: name in names)
    return sum(trace.nodes[name]["log_prob"].double() for name in names)


def _pick(log_weights, n):
    """Indices (n, n_rows) of proposals, drawn by their log-weights (n_proposals, n_rows)."""
    noise = torch.empty(
        n, *log_weights.shape, dtype=log_weights.dtype, device=log_weights.device
    ).exponential_()
    return torch.argmax(log_weights - noise.log(), dim=1)
