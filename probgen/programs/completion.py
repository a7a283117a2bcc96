"""Rows of a model with latent codes, completed where only some of their features are known.

Pseudo-Gibbs chains [1]_ draw codes from the guide and the unknown features from the model, in turn.
Codes are then proposed by a mixture of the guide at the ends of several chains, the guide given the
known features alone, and the prior. Importance weights [2]_ correct the errors of the proposals.
Rows with uneven weights get further proposals, near the codes with the largest weights; where these
do not suffice, Hamiltonian Monte Carlo moves the codes that were drawn.

Shapes in this module: n rows of d features, codes (n_draws, n, ...) by the name of their site.
Copies of the rows are stacked as m * n rows in the order of `Tensor.repeat`: row i of copy c is at
c * n + i.

References
----------
.. [1] D. J. Rezende, S. Mohamed, D. Wierstra, Stochastic backpropagation and approximate inference
   in deep generative models, 2014, appendix F.
.. [2] P.-A. Mattei and J. Frellsen, Leveraging the exact likelihood of deep latent variable models,
   2018.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample

from probgen.conditions.checked import check_conditions, elements, means
from probgen.conditions.given import Conditions
from probgen.programs.hamiltonian import hamiltonian_move
from probgen.programs.isolation import isolated_pyro_state

N_CHAINS = 15
N_STEPS = 10  # of each chain
N_PROPOSALS = 256  # codes of a round for each row
N_PRIOR = 64  # proposals from the prior; the others are from the guide
PRIOR_SHARE = N_PRIOR / N_PROPOSALS
N_AVERAGED = 16  # codes behind a mean where weights are too uneven
ENOUGH = 64.0  # effective sample size from which a row needs no further proposals
MAX_ROUNDS = 4
N_MOVES = 30  # of Hamiltonian Monte Carlo; in the first half, steps adapt to the acceptance
FIRST_STEP, STEP_GROWTH, ACCEPTANCE = 0.1, 0.5, 0.8
WORK_BYTES = 2**24  # about the size of a processor's cache
MAX_ROWS = 1024  # completed at a time


@dataclass(frozen=True)
class Completion:
    """Completed rows, and how well they could be completed.

    Attributes
    ----------
    rows : ndarray of shape (n, d)
        Known values, and draws or conditional means of the others.
    log_mass : ndarray of shape (n,)
        Estimated log-probability of the conditions.
    sizes : ndarray of shape (n,)
        Effective sample sizes of the proposals.
    """

    rows: np.ndarray
    log_mass: np.ndarray
    sizes: np.ndarray


def complete(
    model: Callable,
    guide: Callable,
    conditions: Conditions,
    generator: np.random.Generator,
    fill: torch.Tensor,
    labels: Sequence[torch.Tensor] = (),
    *,
    width: int,
    code_width: int = 1,
    n_chains: int = N_CHAINS,
    average: bool = False,
    move: bool = True,
    argument: str = "given",
) -> Completion:
    """Draw rows under conditions, or average them.

    Parameters
    ----------
    model, guide : callable
        Pyro programs of rows (n, d), the labels, and a boolean mask (n, d) of the known features.
        The model observes rows as the site "x", of independent features.
    conditions : Conditions or MixedConditions
    generator : numpy.random.Generator
    fill : Tensor of shape (d,)
        Values that the guide takes for unknown features, on the device and in the precision of the
        networks.
    labels : sequence of Tensor of shape (n, ...), default=()
        Further arguments of the programs for each row.
    width : int
        Largest number of values that the programs compute for a row at once.
    code_width : int, default=1
        Number of values that the guide computes for the density of a code, if that is more than the
        size of the code.
    n_chains : int, default=15
        Chains for each row, one less than a divisor of 192. Fewer are faster where the density of a
        code is expensive.
    average : bool, default=False
        Whether to return conditional means instead of draws; for known values alone, not intervals.
    move : bool, default=True
        Whether to move the codes of rows with uneven weights by Hamiltonian Monte Carlo, which
        takes most of the time. Log-masses and effective sample sizes do not depend on it.
    argument : str, default="given"
        Name of the caller's argument, for messages.

    Returns
    -------
    completion : Completion

    Raises
    ------
    ValueError
        If the conditions are outside the support of the features, or impossible under the model.
    """
    blocks = []
    seed = int(generator.integers(2**62))
    noise = np.random.default_rng(generator.integers(2**62))
    with torch.no_grad(), isolated_pyro_state(str(fill.device), seed):
        # One row shows the distribution of the features and the size of a code.
        seen = torch.ones_like(fill[None], dtype=torch.bool)
        trace = poutine.trace(model).get_trace(fill[None], *[label[:1] for label in labels], seen)
        checked = check_conditions(conditions, elements(trace.nodes["x"]["fn"]), argument)
        code_size = sum(code.numel() for code in _codes(trace).values())
        if checked.allowed is not None:
            width = max(width, int(np.prod(checked.allowed.shape[1:])))

        numbers = max(width * N_PRIOR, max(code_size, code_width) * N_PROPOSALS * (n_chains + 1))
        n_rows = min(MAX_ROWS, max(1, WORK_BYTES // (fill.element_size() * numbers)))
        for start in range(0, len(checked), n_rows):
            block = slice(start, start + n_rows)
            rows = _Rows(
                model,
                guide,
                checked.take(block),
                fill,
                [label[block] for label in labels],
                noise,
                n_chains,
            )
            blocks.append(_complete_block(rows, width, average, move))
    completion = Completion(*(np.concatenate(parts) for parts in zip(*blocks)))
    impossible = ~np.isfinite(completion.log_mass)
    if impossible.any():
        raise ValueError(
            f"{argument} asks for rows that are impossible under the fitted model (row"
            f" {np.flatnonzero(impossible)[0]} has probability zero); widen its intervals or move"
            " its values nearer to the data."
        )
    return completion


def _complete_block(rows, width, average, move):
    """Completed rows (n, d), log-masses and effective sample sizes (n,), as arrays."""
    pool: Any = None  # of all rows, from the first round on
    # Rows that still need proposals: their indices in the block, and as _Rows.
    active = np.arange(rows.n)
    part = rows
    ends = rows.run_chains()
    for _ in range(MAX_ROUNDS):
        codes, log_guide = part.propose(ends)
        new_pool, log_weights = _weigh(part, codes, log_guide, width, average)
        if pool is None:
            pool = new_pool
        else:
            # Weights of all rounds are merged, unless the earlier proposals were so far off that
            # the new ones are worth more alone.
            merged = pool.take(active).merged(new_pool)
            pool.put(active, merged.where(new_pool.sizes > merged.sizes, new_pool))
        is_short = (pool.sizes[active] < ENOUGH).cpu().numpy()
        part = part.take(is_short)
        active = active[is_short]
        if not len(active):
            break
        ends = part.decode_best(codes, log_weights, is_short)
    if move and len(active):
        pool.move(active, part)
    if average:
        X = rows.conditions.average(rows.start, pool.numbers["means"])
    else:
        X = rows.draw({name: code.transpose(0, 1) for name, code in pool.codes.items()})
    return tuple(result.cpu().numpy() for result in (X, pool.log_mass, pool.sizes))


def _weigh(rows, codes, log_guide, width, average):
    """The _Pool of codes, and their log-weights (N_PROPOSALS, n).

    So many draws are decoded at a time that their rows fit into WORK_BYTES.
    """
    n_draws = max(1, WORK_BYTES // (rows.start.element_size() * width * rows.n))
    pool: Any = None
    log_weights = []
    for draws in torch.arange(N_PROPOSALS).split(n_draws):
        some_codes = {name: code[draws] for name, code in codes.items()}
        weights, features = rows.log_weights(some_codes, log_guide[draws])
        log_weights.append(weights)
        picked = _Pool.pick(some_codes, weights, means(features) if average else None)
        pool = picked if pool is None else pool.merged(picked)
    return pool, torch.cat(log_weights)


class _Rows:
    """Some rows under conditions, and runs of the programs on copies of them.

    Attributes
    ----------
    start : Tensor of shape (n, d)
        Known values, and for the others the fill within their intervals.
    known : boolean Tensor of shape (n, d)
    """

    def __init__(self, model, guide, conditions, fill, labels, noise, n_chains):
        self.model = model
        self.guide = guide
        self.conditions = conditions
        self.fill = fill
        self.labels = labels
        self.noise = noise
        self.n_chains = n_chains
        self.n = len(conditions)
        filled = np.clip(fill.double().cpu().numpy(), conditions.low, conditions.high)
        filled = np.where(conditions.known, conditions.values, filled)
        self.start = torch.as_tensor(filled, dtype=fill.dtype, device=fill.device)
        self.known = torch.as_tensor(conditions.known, device=fill.device)

    def take(self, kept):
        """The rows of a mask (n,)."""
        mask = torch.as_tensor(kept, device=self.start.device)
        return _Rows(
            self.model,
            self.guide,
            self.conditions.take(kept),
            self.fill,
            [label[mask] for label in self.labels],
            self.noise,
            self.n_chains,
        )

    def run_chains(self):
        """Completed rows (n_chains * n, d) at the ends of pseudo-Gibbs chains."""
        X = _copies(self.start, self.n_chains)
        seen = _copies(self.known, self.n_chains)
        for _ in range(N_STEPS):
            codes = _codes(self._run(self.guide, X, seen))
            X = self.draw(codes)
            seen = torch.ones_like(seen)  # from the first step on, all features have values
        return X

    def draw(self, codes):
        """Rows (m * n, d) that satisfy the conditions, decoded from codes (1, m * n, ...)."""
        n_copies = next(iter(codes.values())).shape[1] // self.n
        start = _copies(self.start, n_copies)
        known = _copies(self.known, n_copies)
        features = elements(self._run(self.model, start, known, codes).nodes["x"]["fn"])
        drawn = self.conditions.draw(features, self.noise, start.dtype)[0]
        return torch.where(known, start, drawn)

    def propose(self, ends):
        """Codes (N_PROPOSALS, n, ...), and their log-density (N_PROPOSALS, n) under the guides.

        The guides are a mixture of n_chains + 1: given the known features alone, and given the
        completed rows (n_chains * n, d) at the ends of the chains. The last N_PRIOR codes are from
        the prior.
        """
        n_guides = self.n_chains + 1
        X = torch.cat([self.start, ends])
        seen = torch.cat([self.known, torch.ones_like(ends, dtype=torch.bool)])
        n_encoded = (N_PROPOSALS - N_PRIOR) // n_guides
        from_guide = _codes(self._run(self.guide, X, seen, n_draws=n_encoded))
        from_prior = self._run(self.model, self.start, self.known, n_draws=N_PRIOR).nodes
        codes = {}
        for name, code in from_guide.items():
            # (n_encoded, n_guides * n, ...) -> (n_encoded * n_guides, n, ...)
            encoded = code.unflatten(1, (-1, self.n)).flatten(0, 1)
            codes[name] = torch.cat([encoded, from_prior[name]["value"]])
        # The density of every code under each guide: (N_PROPOSALS, n_guides, n).
        repeated = {name: _copies(code, n_guides, dim=1) for name, code in codes.items()}
        log_each = _log_prob(self._run(self.guide, X, seen, repeated), codes)
        log_each = log_each.unflatten(1, (-1, self.n))
        return codes, torch.logsumexp(log_each, 1) - math.log(n_guides)

    def features(self, codes):
        """The distribution of features (n_draws, n, d) that codes decode to."""
        return elements(self._run(self.model, self.start, self.known, codes).nodes["x"]["fn"])

    def log_weights(self, codes, log_guide):
        """Log-weights (n_draws, n) of codes, and the distribution of the features they decode to.

        A weight is p(conditions given code) p(code) / q(code), where q is the mixture of the prior
        and the guides, whose log-density is log_guide.
        """
        trace = self._run(self.model, self.start, self.known, codes)
        features = elements(trace.nodes["x"]["fn"])
        log_prior = _log_prob(trace, codes)
        log_q = torch.logaddexp(
            log_guide + math.log1p(-PRIOR_SHARE), log_prior + math.log(PRIOR_SHARE)
        )
        log_intervals = torch.as_tensor(self.conditions.log_mass(features), device=log_prior.device)
        log_known = _log_prob(trace, ["x"]) + log_intervals
        log_weights = log_known + log_prior - log_q
        return log_weights.nan_to_num(nan=-math.inf, posinf=-math.inf), features

    def decode_best(self, codes, log_weights, kept):
        """Completed rows (n_chains * n, d), decoded from codes that are resampled by weight.

        The codes and log-weights are of more rows, among which a mask marks these.
        """
        mask = torch.as_tensor(kept, device=self.start.device)
        picks = _pick(log_weights[:, mask], self.n_chains)
        columns = torch.arange(self.n, device=self.start.device)
        best = {}
        for name, code in codes.items():
            best[name] = code[:, mask][picks, columns].flatten(0, 1)[None]
        return self.draw(best)

    def move(self, codes):
        """Codes (m, n, ...) moved by Hamiltonian Monte Carlo under the conditions.

        Discrete codes are not moved. Features with an interval or a set are drawn anew before every
        move, and count as known during the move.
        """
        sites = self._run(self.model, self.start, self.known, codes).nodes
        if any(sites[name]["fn"].support.is_discrete for name in codes):
            return codes
        n_copies = next(iter(codes.values())).shape[0]
        sizes = [code[0, 0].numel() for code in codes.values()]

        def unpack(vectors):
            """Codes (1, m * n, ...) by name from vectors (m * n, size of all codes)."""
            parts = zip(codes.items(), vectors.split(sizes, 1))
            return {name: part.reshape(1, -1, *code.shape[2:]) for (name, code), part in parts}

        def log_density(vectors):
            return _log_prob(self._run(self.model, X, seen, unpack(vectors)), [*codes, "x"])[0]

        X = _copies(self.start, n_copies)
        seen = _copies(self.known, n_copies)
        seen[:, self.conditions.bounded] = True
        vectors = torch.cat([code.flatten(0, 1).flatten(1) for code in codes.values()], 1)
        step = vectors.new_full((len(vectors),), FIRST_STEP)
        for k in range(N_MOVES):
            if len(self.conditions.bounded):
                X = self.draw(unpack(vectors))
            vectors, acceptance = hamiltonian_move(log_density, vectors, step)
            if k < N_MOVES // 2:
                step = step * torch.exp(STEP_GROWTH * (acceptance.to(step.dtype) - ACCEPTANCE))
        moved = {}
        for name, code in unpack(vectors).items():
            moved[name] = code.reshape(n_copies, self.n, *code.shape[2:])
        return moved

    def _run(self, program, X, seen, codes=None, n_draws=None):
        """Trace of a program on rows (m * n, d), perhaps given codes (n_draws, m * n, ...)."""
        labels = [_copies(label, len(X) // self.n) for label in self.labels]
        if codes is not None:
            n_draws = len(next(iter(codes.values())))
            program = poutine.condition(program, data=codes)
        with pyro.plate("particles", n_draws or 1, dim=-2):
            return poutine.trace(program).get_trace(X, *labels, seen)


class _Pool:
    """Sums over the weights of all proposals of each row, and codes resampled by weight.

    Attributes
    ----------
    numbers : dict of Tensor of shape (n, ...)
        "log_total" and "log_squares", the logarithms of the sums of the weights and of their
        squares; "count", the number of proposals; and to average, "means" (n, d), the weighted
        means of the features.
    codes : dict of Tensor of shape (n, n_picked, ...)
        One code for a draw, N_AVERAGED for a mean.
    """

    def __init__(self, numbers, codes):
        self.numbers = numbers
        self.codes = codes

    @classmethod
    def pick(cls, codes, log_weights, features):
        """The pool of codes (n_draws, n, ...) with log-weights (n_draws, n).

        Features (n_draws, n, d) are averaged; None for draws.
        """
        log_total = torch.logsumexp(log_weights, 0)
        numbers = {
            "log_total": log_total,
            "log_squares": torch.logsumexp(2.0 * log_weights, 0),
            "count": torch.full_like(log_total, len(log_weights)),
        }
        n_picked = 1
        if features is not None:
            n_picked = N_AVERAGED
            weights = torch.exp(log_weights - log_total).nan_to_num(nan=0.0)
            numbers["means"] = torch.einsum("sn,snd->nd", weights, features.double())
        picks = _pick(log_weights, n_picked).T
        rows = torch.arange(len(picks), device=picks.device)[:, None]
        return cls(numbers, {name: code[picks, rows] for name, code in codes.items()})

    @property
    def sizes(self):
        """Effective sample sizes (n,)."""
        log_sizes = 2.0 * self.numbers["log_total"] - self.numbers["log_squares"]
        return torch.exp(log_sizes).nan_to_num(nan=0.0)

    @property
    def log_mass(self):
        """Logarithms (n,) of the mean weights."""
        return self.numbers["log_total"] - torch.log(self.numbers["count"])

    def merged(self, other):
        """The pool of the proposals of both, of the same rows."""
        first, second = self.numbers, other.numbers
        log_total = torch.logaddexp(first["log_total"], second["log_total"])
        # The share of the other pool in the weights is the probability of taking its codes.
        share = torch.exp(second["log_total"] - log_total).nan_to_num(nan=0.0)
        numbers = {
            "log_total": log_total,
            "log_squares": torch.logaddexp(first["log_squares"], second["log_squares"]),
            "count": first["count"] + second["count"],
        }
        if "means" in first:
            numbers["means"] = torch.lerp(first["means"], second["means"], share[:, None])
        n_picked = next(iter(self.codes.values())).shape[1]
        uniforms = torch.rand(len(share), n_picked, dtype=share.dtype, device=share.device)
        is_replaced = uniforms < share[:, None]
        codes = {}
        for name, code in self.codes.items():
            codes[name] = _where(is_replaced, other.codes[name], code)
        return _Pool(numbers, codes)

    def where(self, mask, other):
        """The pool with the rows of the other where a mask (n,) is true."""

        def choose(first, second):
            return {name: _where(mask, second[name], first[name]) for name in first}

        return _Pool(choose(self.numbers, other.numbers), choose(self.codes, other.codes))

    def take(self, rows):
        """The pool of some rows."""
        numbers = {name: value[rows] for name, value in self.numbers.items()}
        return _Pool(numbers, {name: code[rows] for name, code in self.codes.items()})

    def put(self, rows, other):
        """Replace some rows."""
        for name, value in other.numbers.items():
            self.numbers[name][rows] = value
        for name, code in other.codes.items():
            self.codes[name][rows] = code

    def move(self, indices, rows):
        """Move the codes of rows whose weights are too uneven by Hamiltonian Monte Carlo."""
        codes = {name: code[indices].transpose(0, 1) for name, code in self.codes.items()}
        moved = rows.move(codes)
        for name, code in moved.items():
            self.codes[name][indices] = code.transpose(0, 1)
        if "means" in self.numbers:
            self.numbers["means"][indices] = means(rows.features(moved)).double().mean(0)


def _where(mask, first, second):
    """torch.where, with a mask of the leading dimensions."""
    return torch.where(mask.reshape(*mask.shape, *[1] * (first.ndim - mask.ndim)), first, second)


def _copies(tensor, n, dim=0):
    """The tensor repeated n times along a dimension."""
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
    shape = (n, *log_weights.shape)
    exponentials = torch.empty(shape, dtype=log_weights.dtype, device=log_weights.device)
    return torch.argmax(log_weights - exponentials.exponential_().log(), dim=1)
