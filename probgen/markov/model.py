"""A chain with its emission, and what can be asked of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen.conditions.given import Conditions
from probgen.markov import paths, scan
from probgen.markov.chain import Chain
from probgen.markov.steps import rows_of, steps_first
from probgen.sequences.conversion import lengths_of

# Numbers in the densities of the sequences that are read at once.
GROUP_NUMBERS = 2**21


@dataclass(frozen=True)
class HiddenMarkov:
    """A hidden Markov model of rows (n, T * d), sequences of T steps of d numbers.

    Attributes
    ----------
    chain : Chain
    emission : object
    n_steps : int
    """

    chain: Chain
    emission: Any
    n_steps: int

    @property
    def n_features(self):
        """Numbers of a step, d."""
        return self.emission.n_features

    def _groups(self, n):
        """Slices of n sequences, whose densities are found at once."""
        size = GROUP_NUMBERS // (self.n_steps * len(self.chain))
        size = max(size - size % scan.QUERY_ROWS, 1)
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def _log_b(self, engine, X):
        """Log-likelihood (T, n, K) of each step of rows under each state; 0 without values."""
        log_b = self.emission.log_likelihoods(engine, steps_first(X, self.n_features))
        return log_b.reshape(self.n_steps, len(X), -1)

    def _blocks(self, log_b):
        """Slices of sequences and their log_b, padded to a shape that depends on the model alone.

        Products of matrices are rounded by their shape; so a row's result does not depend on the
        other rows. Long sequences are taken one by one, in pieces.
        """
        n_steps, n, n_states = log_b.shape
        n_rows = 1 if n_steps >= scan.LEAST_LONG else scan.QUERY_ROWS
        pieces = scan.n_pieces(n_steps, 1, n_states) if n_rows == 1 else 1
        for start in range(0, n, n_rows):
            rows = slice(start, min(start + n_rows, n))
            block = np.zeros((n_steps, n_rows, n_states))
            block[:, : rows.stop - start] = log_b[:, rows]
            yield rows, block, pieces

    def _log_sums(self, log_b):
        """Log-likelihood (n,) of sequences, for log_b (T, n, K)."""
        totals = np.empty(log_b.shape[1])
        for rows, block, pieces in self._blocks(log_b):
            found = scan.log_likelihoods(self.chain, block, pieces)
            totals[rows] = found[: rows.stop - rows.start]
        return totals

    def log_likelihoods(self, engine, X):
        """Log-likelihood (n,) of rows (n, T * d)."""
        totals = np.empty(len(X))
        for group in self._groups(len(X)):
            totals[group] = self._log_sums(self._log_b(engine, X[group]))
        return totals

    def posterior(self, engine, X):
        """Probabilities (n, T, K) of the states given the whole rows, past their ends too."""
        posterior = np.empty((len(X), self.n_steps, len(self.chain)))
        for group in self._groups(len(X)):
            log_b = self._log_b(engine, X[group])
            for rows, block, pieces in self._blocks(log_b):
                found = scan.smooth(self.chain, block, pieces=pieces).posterior
                n = rows.stop - rows.start
                part = slice(group.start + rows.start, group.start + rows.stop)
                posterior[part] = found[:, :n].swapaxes(0, 1)
        return posterior

    def last_posterior(self, engine, X):
        """Probabilities (n, K) of the last state of each row."""
        last = np.empty((len(X), len(self.chain)))
        for group in self._groups(len(X)):
            ends = np.maximum(lengths_of(X[group], self.n_features) - 1, 0)
            last[group] = self.posterior(engine, X[group])[np.arange(len(ends)), ends]
        return last

    def paths(self, engine, X):
        """Most probable paths (n, T) of states, -1 past the ends of rows."""
        found = np.empty((len(X), self.n_steps), dtype=np.int64)
        for group in self._groups(len(X)):
            lengths = lengths_of(X[group], self.n_features)
            path = paths.viterbi(self.chain, self._log_b(engine, X[group]), lengths).T
            found[group] = np.where(np.arange(self.n_steps) < lengths[:, None], path, -1)
        return found

    def draw(self, n, generator):
        """Rows (n, T * d)."""
        states = paths.draw_prior_paths(self.chain, self.n_steps, n, generator)
        return rows_of(self.emission.draw(states.ravel(), generator), n)

    def _parts(self, conditions):
        """Indices of steps and the Conditions on them, which share their sets."""
        n = len(conditions.values)
        values, low, high = (steps_first(array, self.n_features) for array in conditions.box)
        by_step: dict[int, dict] = {}
        for j, allowed in conditions.categories.items():
            by_step.setdefault(j // self.n_features, {})[j % self.n_features] = allowed
        steps = np.repeat(np.arange(self.n_steps), n)
        parts = [(~np.isin(steps, list(by_step)), {})]
        parts += [(steps == t, categories) for t, categories in by_step.items()]
        for is_member, categories in parts:
            members = np.flatnonzero(is_member)
            if len(members):
                box = values[members], low[members], high[members]
                yield members, Conditions(*box, categories)

    def _log_b_given(self, engine, conditions):
        """Log-likelihood (T, n, K) of the conditions on each step under each state."""
        n = len(conditions.values)
        log_b = np.empty((self.n_steps * n, len(self.chain)))
        for members, part in self._parts(conditions):
            log_b[members] = self.emission.log_given(engine, part)
        return log_b.reshape(self.n_steps, n, -1)

    def log_given(self, engine, conditions):
        """Log-likelihood (n,) of conditions on rows."""
        totals = np.empty(len(conditions.values))
        for group in self._groups(len(totals)):
            rows = np.arange(group.start, group.stop)
            totals[group] = self._log_sums(self._log_b_given(engine, conditions.take(rows)))
        return totals

    def draw_given(self, engine, conditions, generator):
        """Rows (n, T * d) under conditions: paths by filtering and drawing back, then steps."""
        rows = np.empty(conditions.values.shape)
        for group in self._groups(len(rows)):
            members = np.arange(group.start, group.stop)
            rows[group] = self._draw_group(engine, conditions.take(members), generator)
        return rows

    def _draw_group(self, engine, conditions, generator):
        totals, log_filtered = scan.filtered(self.chain, self._log_b_given(engine, conditions))
        if not np.isfinite(totals).all():
            row = int(np.flatnonzero(~np.isfinite(totals))[0])
            raise ValueError(
                f"given asks for rows that are impossible under the fitted model (row {row} has"
                " probability zero); widen its intervals or move its values nearer to the data."
            )
        states = paths.draw_paths(self.chain, log_filtered, generator).ravel()
        steps = np.empty((len(states), self.n_features))
        for members, part in self._parts(conditions):
            steps[members] = self.emission.draw_given(engine, part, states[members], generator)
        return rows_of(steps, len(conditions.values))

    def filled(self, engine, X):
        """Rows (n, T * d) with their NaN replaced by conditional means."""
        filled = np.empty(X.shape)
        for group in self._groups(len(X)):
            posterior = self.posterior(engine, X[group]).swapaxes(0, 1)
            posterior = posterior.reshape(-1, len(self.chain))
            steps = self.emission.filled(engine, steps_first(X[group], self.n_features), posterior)
            filled[group] = rows_of(steps, group.stop - group.start)
        return filled

    def future(self, engine, X, n_steps):
        """Probabilities (h * n, K) of the states of the next steps of rows, first steps first."""
        last = self.last_posterior(engine, X)
        now = last @ self.chain.transitions
        now[lengths_of(X, self.n_features) == 0] = self.chain.start
        steps = [now]
        for _ in range(n_steps - 1):
            now = now @ self.chain.transitions
            steps.append(now)
        return np.concatenate(steps)
