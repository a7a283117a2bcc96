"""Passes over time: likelihoods, posteriors and filtered probabilities of states.

Arrays are of shape (T, n, K), time first, so that one step of all sequences is one block of memory.
Probabilities are scaled in every few steps. Long sequences are cut into pieces that are scanned
side by side. Where a piece starts is found from the steps just before it, because a chain soon
forgets its past; each piece must then end where the next one starts. If one does not, products of
matrices of the pieces are found, as if each piece were K sequences that start in one state each.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

# Transitions that are all likelier than this make every state reachable from every other one in a
# step, so that no probability that underflows can matter later.
LEAST_SAFE = 1e-30
# Digits that an unscaled run of steps may lose.
MOST_DIGITS = 75.0
MOST_UNSCALED = 8
# Least probability of a step given all others under which scaled passes are trusted.
LEAST_AGREEMENT = 1e-200
# Relative difference of the two likelihoods of a scaled pass, forward and backward.
MOST_DISAGREEMENT = 1e-7
# Steps from which sequences are cut into pieces, if there are few of them.
LEAST_LONG = 512
# Numbers in a block of sequences at one step, few enough to stay in a cache.
STEP_NUMBERS = 2**12
# Numbers in a block of sequences at all steps.
BLOCK_NUMBERS = 2**21
# Steps before a piece from which its start is found, and the relative error that it may have.
WARM_STEPS = 128
MOST_START_ERROR = 1e-13
# Rows of a block of a query; products of other shapes are rounded otherwise.
QUERY_ROWS = 32


@dataclass
class Smoothed:
    """Posteriors of sequences.

    Attributes
    ----------
    log_likelihood : ndarray of shape (n,)
    posterior : ndarray of shape (T, n, K)
        Probabilities of the states given all steps.
    transitions : ndarray of shape (K, K)
        Expected numbers of transitions, weighted.
    """

    log_likelihood: np.ndarray
    posterior: np.ndarray
    transitions: np.ndarray


def block_size(n_steps, n_states):
    """Sequences that a pass takes at once."""
    by_step = STEP_NUMBERS // n_states
    by_block = BLOCK_NUMBERS // (n_steps * n_states)
    return max(min(by_step, by_block), 1)


def n_pieces(n_steps, n_sequences, n_states):
    """Into how many pieces to cut each of some sequences; 1 leaves them whole."""
    if n_steps < LEAST_LONG:
        return 1
    # Numbers of a step cost about 4 ns each, and the calls of a step 8 us.
    numbers = 4e-9 * n_sequences * n_states
    pieces = max(int(np.sqrt(n_steps)), 1)
    whole = 2 * n_steps * (8e-6 + numbers)
    cut = 3 * (n_steps / pieces) * 8e-6 + pieces * 15e-6 + n_steps * numbers * (2 + n_states)
    return pieces if cut < whole else 1


def smooth(chain, log_b, weights=None, pieces=None):
    """Posteriors of sequences.

    Parameters
    ----------
    chain : Chain
    log_b : ndarray of shape (T, n, K)
        Log-likelihood of each step under each state. Overwritten.
    weights : ndarray of shape (T, n), default=None
        Weight of the transition into each step; the first row is ignored. None: none are counted.
    pieces : int, default=None
        Into how many pieces sequences are cut; None chooses.

    Returns
    -------
    smoothed : Smoothed
    """
    n_steps, n, n_states = log_b.shape
    if pieces is None:
        pieces = n_pieces(n_steps, n, n_states)
    is_safe = chain.transitions.min() > LEAST_SAFE
    kept = None if is_safe else log_b.copy()
    scan = _Scan(chain, log_b, pieces)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scan.forward()
        scan.backward()
        log_likelihood = scan.log_likelihood()
        posterior, agreement = scan.posterior()
        is_lost = ~(np.isfinite(log_likelihood) & (agreement > LEAST_AGREEMENT))
        if not is_safe:
            gap = np.abs(scan.backward_log_likelihood() - log_likelihood)
            is_lost |= ~(gap <= MOST_DISAGREEMENT * (1.0 + np.abs(log_likelihood)))
        transitions = scan.expected_transitions(weights, is_lost)
    if is_lost.any():
        lost = np.flatnonzero(is_lost)
        found = Smoothed(np.full(len(lost), -np.inf), np.array(1.0 / n_states), transitions * 0.0)
        if kept is not None:
            found = _smooth_in_logs(chain, kept[:, lost], weights, lost)
        log_likelihood[lost] = found.log_likelihood
        posterior[:, lost] = found.posterior
        transitions += found.transitions
    return Smoothed(log_likelihood, posterior, transitions)


def log_likelihoods(chain, log_b, pieces=None):
    """Log-likelihood (n,) of sequences, for log_b (T, n, K), which is overwritten."""
    n_steps, n, n_states = log_b.shape
    if chain.transitions.min() <= LEAST_SAFE:
        return smooth(chain, log_b, pieces=pieces).log_likelihood
    if pieces is None:
        pieces = n_pieces(n_steps, n, n_states)
    scan = _Scan(chain, log_b, pieces)
    with np.errstate(divide="ignore", invalid="ignore"):
        scan.forward()
        total = scan.log_likelihood()
    return np.where(np.isnan(total), -np.inf, total)


def filtered(chain, log_b):
    """Log-likelihood (n,), and log-probabilities (T, n, K) of states given the steps so far.

    They are computed in logarithms, so that states keep their probability however small it is.
    """
    alpha = _forward_in_logs(chain, log_b)
    totals = _log_sum(alpha[-1])
    with np.errstate(invalid="ignore"):
        alpha -= _log_sum(alpha)[..., None]
    return totals, alpha


class _Scan:
    """Scaled passes over sequences that are cut into pieces, all of one length.

    Piece c of sequence i is column c * n + i. Step t > 0 is a product with the transitions and then
    with b (L, N, K); step 0 is in `starts` (N, K), the probabilities before each piece.
    """

    def __init__(self, chain, log_b, pieces):
        n_steps, n, n_states = log_b.shape
        self.n_steps = n_steps
        self.n = n
        self.pieces = pieces if n_steps > 1 else 1
        self.transitions = chain.transitions
        self.backwards = np.ascontiguousarray(chain.transitions.T)
        log_b[0] += chain.log_start
        peaks = _peaks(log_b)
        log_b -= peaks[:, :, None]
        np.exp(log_b, out=log_b)
        self.log_peaks = peaks.sum(axis=0)
        first = log_b[0].sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.log_peaks += np.log(first)
            self.first = log_b[0] / first[:, None]
        self.length = -(-(n_steps - 1) // self.pieces)
        self.b = self._in_pieces(log_b[1:], 1.0)
        self.ones = np.ones((n_states, 1))
        least = float(chain.transitions.min())
        self.is_safe = least > LEAST_SAFE
        self.interval = 1
        if self.is_safe:
            digits = max(-np.log10(least), 1.0)
            self.interval = int(np.clip(MOST_DIGITS / digits, 1, MOST_UNSCALED))

    def _in_pieces(self, steps, fill):
        """Arrays (T - 1, n, ...) of all steps but the first, as those of pieces (L, N, ...)."""
        if self.pieces == 1:
            return steps
        found = np.empty((self.length, self.pieces, *steps.shape[1:]))
        for c in range(self.pieces):
            part = steps[c * self.length : (c + 1) * self.length]
            found[: len(part), c] = part
            found[len(part) :, c] = fill
        return found.reshape(self.length, -1, *steps.shape[2:])

    def forward(self):
        """Set alpha (L + 1, N, K), in proportion to the probabilities given the steps so far."""
        length, n_columns, n_states = self.b.shape
        self.alpha = np.empty((length + 1, n_columns, n_states))
        self.scales = np.ones((length, n_columns, 1))
        self.products: Any = None
        if self.pieces == 1:
            self._run(self.alpha, self.b, self.scales, self.first)
            return
        if self.is_safe:
            warm = min(WARM_STEPS, length)
            uniform = np.full((n_columns, n_states), 1.0 / n_states)
            self._run(self.alpha[: warm + 1], self.b[-warm:], self.scales[:warm], uniform)
            ends = self._by_piece(self.alpha[warm])
            starts = np.concatenate([self.first[None], ends[:-1]])
            self._run(self.alpha, self.b, self.scales, starts.reshape(uniform.shape))
            if _is_alike(self._by_piece(self.alpha[-1])[:-1], starts[1:]):
                return
        self._multiply()
        self._run(self.alpha, self.b, self.scales, self._starts())

    def _by_piece(self, array):
        """An array (N, ...) by piece and sequence, (C, n, ...)."""
        return array.reshape(self.pieces, self.n, *array.shape[1:])

    def _run(self, alpha, b, scales, start):
        """Fill alpha (L + 1, N, K) from a start (N, K), and the sums (L, N, 1) divided by."""
        scales[:] = 1.0
        alpha[0] = start
        before = alpha[0]
        for t in range(len(b)):
            now = alpha[t + 1]
            np.matmul(before, self.transitions, out=now)
            np.multiply(now, b[t], out=now)
            if (t + 1) % self.interval == 0:
                np.matmul(now, self.ones, out=scales[t])
                np.divide(now, scales[t], out=now)
            before = now

    def _multiply(self):
        """Set the products (N, K, K) of each piece, rows scaled to logs (N, K) of their sums."""
        length, n_columns, n_states = self.b.shape
        rows = np.tile(np.eye(n_states), (n_columns, 1))
        other = np.empty_like(rows)
        logs = np.zeros((n_columns * n_states, 1))
        sums = np.empty_like(logs)
        for t in range(length):
            np.matmul(rows, self.transitions, out=other)
            rows, other = other, rows
            cube = rows.reshape(n_columns, n_states, n_states)
            cube *= self.b[t][:, None, :]
            if (t + 1) % self.interval == 0 or t == length - 1:
                np.matmul(rows, self.ones, out=sums)
                # A state from which a piece cannot be has a row of zeros.
                logs += np.log(sums)
                np.divide(rows, sums, out=rows, where=sums > 0.0)
        self.products = self._by_piece(rows.reshape(-1, n_states, n_states))
        self.log_rows = self._by_piece(logs.reshape(-1, n_states))

    def _starts(self):
        """Probabilities (N, K) before each piece."""
        starts = np.empty((self.pieces, *self.first.shape))
        starts[0] = self.first
        for c in range(self.pieces - 1):
            logs = np.log(starts[c]) + self.log_rows[c]
            shares = np.exp(logs - logs.max(axis=1, keepdims=True))
            after = np.matmul(shares[:, None, :], self.products[c])[:, 0]
            starts[c + 1] = after / after.sum(axis=1, keepdims=True)
        return starts.reshape(-1, starts.shape[2])

    def backward(self):
        """Set beta (L + 1, N, K), in proportion to the likelihoods of the steps to come.

        ahead (L, N, K) is b times it.
        """
        length, n_columns, n_states = self.b.shape
        self.beta = np.empty((length + 1, n_columns, n_states))
        self.back_scales = np.ones((length, n_columns, 1))
        self.ahead = np.empty(self.b.shape)
        if self.pieces == 1:
            self._run_back(length, np.ones((n_columns, n_states)))
            return
        if self.is_safe:
            warm = min(WARM_STEPS, length)
            self._run_back(warm, np.ones((n_columns, n_states)))
            starts = self._by_piece(self.beta[0])
            ends = np.concatenate([starts[1:], np.ones((1, self.n, n_states))])
            self._run_back(length, ends.reshape(n_columns, n_states))
            if _is_alike(self._by_piece(self.beta[0])[1:], ends[:-1]):
                return
        if self.products is None:
            self._multiply()
        self._run_back(length, self._ends())

    def _run_back(self, n_steps, end):
        """Fill the first n_steps of beta, ahead and back_scales from an end (N, K)."""
        self.back_scales[:n_steps] = 1.0
        self.beta[n_steps] = end
        for t in range(n_steps - 1, -1, -1):
            ahead, now = self.ahead[t], self.beta[t]
            np.multiply(self.b[t], self.beta[t + 1], out=ahead)
            np.matmul(ahead, self.backwards, out=now)
            if t % self.interval == 0:
                np.matmul(now, self.ones, out=self.back_scales[t])
                np.divide(now, self.back_scales[t], out=now)

    def _ends(self):
        """Likelihoods (N, K) of what comes after each piece, in proportion."""
        ends = np.ones((self.pieces, *self.first.shape))
        for c in range(self.pieces - 1, 0, -1):
            ahead = np.matmul(self.products[c], ends[c][:, :, None])[:, :, 0]
            logs = np.log(ahead) + self.log_rows[c]
            ends[c - 1] = np.exp(logs - logs.max(axis=1, keepdims=True))
        return ends.reshape(-1, ends.shape[2])

    def log_likelihood(self):
        """Log-likelihood (n,) of the sequences, from the forward pass."""
        # The last sums of a piece may not have been divided by.
        logs = np.log(self.scales).sum(axis=(0, 2)) + np.log(self.alpha[-1].sum(axis=1))
        if self.pieces > 1:
            logs -= np.log(self.alpha[0].sum(axis=1))
        return logs.reshape(self.pieces, self.n).sum(axis=0) + self.log_peaks

    def backward_log_likelihood(self):
        """The same from the backward pass."""
        logs = np.log(self.back_scales).sum(axis=(0, 2)).reshape(self.pieces, self.n)
        logs = logs.sum(axis=0) + self.log_peaks
        before = self.beta[0].reshape(self.pieces, self.n, -1)
        if self.pieces > 1:
            # Each piece ends with the likelihoods with which the next one starts, but for a factor.
            ends = self.beta[-1].reshape(before.shape)
            logs += np.log(before[1:].sum(axis=2) / ends[:-1].sum(axis=2)).sum(axis=0)
        return logs + np.log((self.first * before[0]).sum(axis=1))

    def posterior(self):
        """Posterior (T, n, K), and how far (n,) the two passes agree on the likely states."""
        gamma = self.alpha * self.beta
        # Products are quicker than sums over few states.
        self.totals = gamma @ self.ones
        agreement = self.totals
        if not self.is_safe:
            agreement = self.totals / ((self.alpha @ self.ones) * (self.beta @ self.ones))
        agreement = agreement.reshape(len(gamma), self.pieces, self.n).min(axis=(0, 1))
        gamma /= self.totals
        if self.pieces == 1:
            return gamma, agreement
        n_states = gamma.shape[2]
        rest = gamma[1:].reshape(self.length, self.pieces, self.n, n_states).swapaxes(0, 1)
        rest = rest.reshape(-1, self.n, n_states)[: self.n_steps - 1]
        return np.concatenate([gamma[:1, : self.n], rest]), agreement

    def expected_transitions(self, weights, is_excluded):
        """Expected transitions (K, K), but for some sequences (n,)."""
        n_states = len(self.transitions)
        if weights is None:
            return np.zeros((n_states, n_states))
        shares = self._in_pieces(weights[1:], 0.0)[:, :, None] / (self.scales * self.totals[1:])
        before = self.alpha[:-1] * shares
        ahead = self.ahead
        if is_excluded.any():
            is_kept = ~np.tile(is_excluded, self.pieces)
            before, ahead = before[:, is_kept], ahead[:, is_kept]
        products = before.reshape(-1, n_states).T @ ahead.reshape(-1, n_states)
        return products * self.transitions


def _peaks(log_b):
    """Greatest numbers (T, n) of log_b (T, n, K), 0 where that is infinite."""
    # Quicker over few states than a reduction along the last axis.
    peaks = log_b[:, :, 0].copy()
    for k in range(1, log_b.shape[2]):
        np.maximum(peaks, log_b[:, :, k], out=peaks)
    peaks[~np.isfinite(peaks)] = 0.0
    return peaks


def _is_alike(found, truth):
    """Whether arrays (..., K) are in proportion, but for rounding."""
    shares = found / found.sum(axis=-1, keepdims=True)
    truth = truth / truth.sum(axis=-1, keepdims=True)
    return bool(np.all(np.abs(shares - truth) <= MOST_START_ERROR * truth))


def _log_sum(logs):
    """Log of the sum of exponentials over the last axis; -inf if all are 0."""
    peaks = np.maximum(logs.max(axis=-1, keepdims=True), -np.finfo(np.float64).max)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(logs - peaks).sum(axis=-1)) + peaks[..., 0]


def _forward_in_logs(chain, log_b):
    """Logs (T, n, K) of the joint probabilities of the steps so far and the state."""
    # (next, previous), so that sums run over the last axis.
    log_transitions = np.ascontiguousarray(chain.log_transitions.T)
    alpha = np.empty_like(log_b)
    alpha[0] = chain.log_start + log_b[0]
    for t in range(1, len(log_b)):
        alpha[t] = _log_sum(alpha[t - 1][:, None, :] + log_transitions) + log_b[t]
    return alpha


def _smooth_in_logs(chain, log_b, weights, members):
    """As `smooth`, in logarithms; weights (T, n) are of more sequences, of which these are some."""
    alpha = _forward_in_logs(chain, log_b)
    log_likelihood = _log_sum(alpha[-1])
    log_transitions = chain.log_transitions
    n_states = log_b.shape[2]
    posterior = np.empty_like(log_b)
    transitions = np.zeros((n_states, n_states))
    beta = np.zeros(log_b.shape[1:])
    with np.errstate(invalid="ignore"):
        posterior[-1] = np.exp(alpha[-1] - log_likelihood[:, None])
        for t in range(len(log_b) - 1, 0, -1):
            ahead = log_transitions + (log_b[t] + beta)[:, None, :]  # (n, previous, next)
            beta = _log_sum(ahead)
            posterior[t - 1] = np.exp(alpha[t - 1] + beta - log_likelihood[:, None])
            if weights is not None:
                joint = np.exp(alpha[t - 1][:, :, None] + ahead - log_likelihood[:, None, None])
                joint = np.nan_to_num(joint)  # of sequences that are impossible
                transitions += np.einsum("n,nij->ij", weights[t, members], joint)
    posterior[:, np.isneginf(log_likelihood)] = 1.0 / n_states
    return Smoothed(log_likelihood, posterior, transitions)
