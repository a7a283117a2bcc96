"""Conditional draws and imputation for generators that draw one feature after another."""

from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import qmc

from probgen._warnings import warn
from probgen.base import ImputerMixin
from probgen.conditions.evidence import Evidence
from probgen.conditions.given import observed, representable
from probgen.training.neural_generator import QUERY_ROWS, NeuralGenerator

AVERAGED = 100  # draws of a mean where n_importance_samples=None
DRAWN_ROWS = 4096  # of a block of draws, where there are so many; of QUERY_ROWS where not
FEW = 10.0  # effective sample size below which a row is warned of


class ConditionsInOrder(ImputerMixin, NeuralGenerator):
    """Conditions on the features of a chain, p(x) = product of p(x_j given all before).

    What stands first in the order is an exact condition; elsewhere rows are proposed in order and
    resampled by the probability of what is known. A subclass has `n_importance_samples`,
    `observation_`, `_orders`, `_rows_at_once`, `_tensor_dtype`, `_conditionals(order)` and
    `_draw_with(...)`, as `AutoregressiveGenerator` has.
    """

    n_importance_samples: int | None
    observation_: Any

    def _impute(self, X, generator):
        filled = X.copy()
        has_gaps = np.isnan(X).any(axis=1)
        if has_gaps.any():
            filled[has_gaps] = self._complete(
                observed(X[has_gaps]), generator, "X", average=generator is None
            )
        return filled

    def _sample_given(self, conditions, generator):
        return self._complete(conditions, generator, "given")

    def _complete(self, conditions, generator, argument, *labels, average=False):
        """Rows (n, d), draws by a generator or means under conditions; a warning where weights are
        uneven."""
        low, high = representable(conditions, self._dtype, argument)
        X, sizes = np.empty(conditions.values.shape), np.full(len(conditions.values), np.inf)

        def settle(block, rows, log_weights, is_exact):
            weights = np.exp(log_weights - log_weights.max(axis=0))
            if not is_exact:
                sizes[block] = weights.sum(axis=0) ** 2 / np.square(weights).sum(axis=0)
            if average:
                X[block] = np.einsum("sn,snd->nd", weights / weights.sum(axis=0), rows)
            else:
                steps = np.cumsum(weights, axis=0)
                picks = (steps <= generator.random(len(block)) * steps[-1]).sum(axis=0)
                X[block] = rows[np.minimum(picks, len(rows) - 1), np.arange(len(block))]

        self._propose(conditions, generator, argument, labels, settle, always_many=average)
        uneven = sizes < FEW
        if uneven.any():
            warn(
                f"{argument} is hard to meet: the effective sample size of the proposed rows is"
                f" below {FEW:g} for {uneven.sum()} of {len(uneven)} rows (least"
                f" {sizes.min():.1f}); raise n_importance_samples, or fix features that stand first"
                " in the order of the model.",
            )
        return np.where(np.isnan(conditions.values), np.clip(X, low, high), conditions.values)

    def _log_mass(self, conditions, argument, *labels):
        """Log-probabilities or densities (n,) of conditions; the same at every call."""
        masses = np.empty(len(conditions.values))

        def settle(block, rows, log_weights, is_exact):
            masses[block] = logsumexp(log_weights, axis=0)

        self._propose(conditions, None, argument, labels, settle, masses_only=True)
        return masses

    def _propose(
        self, conditions, generator, argument, labels, settle, always_many=False, masses_only=False
    ):
        """Call settle(indices, rows (s, m, d), log-weights (s, m), whether those are exact) for
        blocks of rows.

        Every feature is drawn given those before it, within its interval; the weights are the
        probabilities of what is known, and their mean over the proposals is that of the conditions.
        Without a generator the uniform numbers are quasi-random and the same for every row. For
        masses_only, rows are not drawn where those do not need it.
        """
        n_outputs = self.n_features_in_ * self.observation_.n_outputs_per_feature
        trial = torch.zeros(1, n_outputs, dtype=self._tensor_dtype, device=self.device_)
        evidence = Evidence(conditions, self.observation_.distribution(trial), argument)
        for group, orders, exact in self._groups(evidence, argument):
            n_draws = (
                1
                if exact and not always_many
                else -(-(self.n_importance_samples or AVERAGED) // len(orders))
            )
            step = max(1, self._rows_at_once // (n_draws * len(orders)))
            for start in range(0, len(group), step):
                block = group[start : start + step]
                part, told = evidence.take(block), [label[block] for label in labels]
                is_drawn = not (exact and masses_only)
                proposals = [
                    self._proposals(part, n_draws, generator, order, told, is_drawn)
                    for order in orders
                ]
                rows, log_weights = (np.concatenate(arrays) for arrays in zip(*proposals))
                log_weights -= np.log(n_draws * len(orders))
                impossible = ~np.isfinite(log_weights.max(axis=0))
                if impossible.any():
                    raise ValueError(
                        f"{argument} asks for rows that are impossible under the fitted model (row"
                        f" {block[impossible][0]} has probability zero); widen its intervals or"
                        " move its values nearer to the data."
                    )
                settle(block, rows, log_weights, exact)

    def _groups(self, evidence, argument):
        """Indices (m,) of rows, their orders, and whether no condition stands behind a feature that
        is drawn."""
        groups = []
        for rows, orders, features in self._orders_under(evidence):
            spans = [_span(evidence.take(rows), order) for order in features]
            is_exact = np.all([last_held <= first_free for first_free, last_held in spans], axis=0)
            if self.n_importance_samples is None and not is_exact.all():
                i = is_exact.argmin()
                order, free, held = next(
                    (o, f[i], h[i]) for o, (f, h) in zip(features, spans) if h[i] > f[i]
                )
                raise ValueError(
                    f"{argument} must fix what stands first in the order of the model, where"
                    f" n_importance_samples=None asks for what is exact; row {rows[i]} holds"
                    f" feature {order[held]}, but not feature {order[free]}, which stands before"
                    " it; fix that too, or take n_importance_samples=100."
                )
            groups += [(rows[is_exact], orders, True), (rows[~is_exact], orders, False)]
        return groups

    def _orders_under(self, evidence):
        """Yield indices (m,) of rows, their orders as `_conditionals` knows them, and the features
        in each (n, d)."""
        yield np.arange(len(evidence)), range(len(self._orders)), self._orders

    def _proposals(self, evidence, n_draws, generator, order, labels, is_drawn):
        """Rows (n_draws, m, d) in one order, and log-probabilities (n_draws, m) of what is known,
        as arrays."""
        m, d = len(evidence), self.n_features_in_
        rows = np.tile(np.arange(m), n_draws)
        uniforms = (
            _common_noise(d, n_draws).repeat(m, axis=0)
            if generator is None
            else generator.random((len(rows), d))
        )
        told = [label[rows] for label in labels]
        choose, X, tensors = self._draw_with(uniforms, order, told, evidence, rows, is_drawn)
        answer, parts = self._conditionals(order), []
        with torch.inference_mode():
            for index, n_rows in blocks_of(
                torch.arange(len(X), device=X.device), block_size(len(X))
            ):
                answers = answer(X[index], *[tensor[index] for tensor in tensors])
                parts.append(choose.take(index).log_weights(answers, X[index])[:n_rows])
        log_weights = torch.cat(parts).reshape(n_draws, m).cpu().numpy()
        return X.reshape(n_draws, m, d).double().cpu().numpy(), log_weights


def block_size(n_rows):
    """Rows of a block of draws, which stays the same while fewer and fewer of n_rows are drawn
    again."""
    return DRAWN_ROWS if n_rows >= DRAWN_ROWS else QUERY_ROWS


def blocks_of(index, size):
    """Yield parts of an index Tensor (n,), filled up to the size with what is there, and how many
    count."""
    for part in index.split(size):
        yield torch.cat([part, part[:1].expand(size - len(part))]), len(part)


def _span(evidence, order):
    """Where in an order (n,) the first feature stands that is drawn, and the last that is held or
    known."""
    is_free, is_held, d = ~evidence.known, evidence.known.copy(), len(order)
    is_held[:, evidence.bounded] = True
    first_free = np.where(is_free.any(axis=1), is_free[:, order].argmax(axis=1), d)
    last_held = np.where(is_held.any(axis=1), d - 1 - is_held[:, order[::-1]].argmax(axis=1), -1)
    return first_free, last_held


def _common_noise(d, n_draws):
    """Quasi-random uniform numbers (n_draws, d), always the same."""
    generator = np.random.default_rng(0)
    if n_draws == 1 or d > qmc.Sobol.MAXDIM:
        return generator.random((n_draws, d))
    exponent = int(np.ceil(np.log2(n_draws)))
    return qmc.Sobol(d, rng=generator).random_base2(exponent)[:n_draws]
