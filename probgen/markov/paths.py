"""Paths of states: the most probable ones (Viterbi, 1967), and draws."""

import numpy as np

from probgen.markov.scan import LEAST_LONG

# Cubes of the number of states, times sequences, up to which paths are found in pieces.
MOST_CUBES = 20_000


def viterbi(chain, log_b, lengths, pieces=None):
    """Most probable paths (T, n) of states, for log_b (T, n, K) and numbers (n,) of steps.

    Past the end of a sequence a path stays where it is.
    """
    n_steps, n, n_states = log_b.shape
    log_transitions = np.ascontiguousarray(chain.log_transitions.T)
    first = chain.log_start + log_b[0]
    is_over = np.arange(1, n_steps)[:, None] >= lengths
    if pieces is None:
        is_short = n_steps < LEAST_LONG or n * n_states**3 > MOST_CUBES
        pieces = 1 if is_short else int(np.sqrt(n_steps))
    if pieces == 1 or n_steps == 1:
        best, origins = _best_paths(first, log_b[1:], is_over, log_transitions)
        return _traced(origins, best.argmax(axis=1))
    length = -(-(n_steps - 1) // pieces)
    steps = np.zeros((pieces * length, n, n_states))
    steps[: n_steps - 1] = log_b[1:]
    over = np.ones((pieces * length, n), dtype=bool)
    over[: n_steps - 1] = is_over
    steps = steps.reshape(pieces, length, n, n_states).swapaxes(0, 1)
    steps = np.ascontiguousarray(steps).reshape(length, pieces * n, n_states)
    over = over.reshape(pieces, length, n).swapaxes(0, 1).reshape(length, pieces * n)
    starts, ends = _piece_ends(first, steps, over, log_transitions, pieces)
    columns = np.arange(pieces * n)
    known = np.full((pieces * n, n_states), -np.inf)
    known[columns, starts.ravel()] = 0.0
    _, origins = _best_paths(known, steps, over, log_transitions)
    traced = _traced(origins, ends.ravel()).reshape(length + 1, pieces, n)
    rest = traced[1:].swapaxes(0, 1).reshape(-1, n)[: n_steps - 1]
    return np.concatenate([starts[:1], rest])


def _best_paths(first, log_b, is_over, log_transitions):
    """Log-probabilities (n, K) of the best paths to each state, and the states before (L, n, K).

    first (n, K) are those of the first state, log_transitions are (next, previous).
    """
    origins = np.empty(log_b.shape, dtype=np.int32)
    best = first
    own = np.arange(first.shape[1])
    has_over = is_over.any(axis=1)
    for t in range(len(log_b)):
        reached = best[:, None, :] + log_transitions  # (n, next, previous)
        origins[t] = reached.argmax(axis=2)
        after = reached.max(axis=2) + log_b[t]
        if has_over[t]:
            origins[t, is_over[t]] = own
            after[is_over[t]] = best[is_over[t]]
        best = after
    return best, origins


def _traced(origins, last):
    """Paths (L + 1, n) that end in states (n,)."""
    paths = np.empty((len(origins) + 1, len(last)), dtype=np.int64)
    paths[-1] = last
    columns = np.arange(len(last))
    for t in range(len(origins) - 1, -1, -1):
        paths[t] = origins[t, columns, paths[t + 1]]
    return paths


def _piece_ends(first, steps, over, log_transitions, pieces):
    """States (C, n) before each piece and at its end, along the most probable paths."""
    n_columns, n_states = steps.shape[1:]
    best = np.where(np.eye(n_states, dtype=bool), 0.0, -np.inf)
    best = np.tile(best, (n_columns, 1, 1))  # (N, state before the piece, state now)
    for t in range(len(steps)):
        after = (best[:, :, None, :] + log_transitions).max(axis=3) + steps[t][:, None, :]
        if over[t].any():
            after[over[t]] = best[over[t]]
        best = after
    best = best.reshape(pieces, -1, n_states, n_states)
    origins = np.empty((pieces, best.shape[1], n_states), dtype=np.int64)
    now = first
    for c in range(pieces):
        reached = now[:, :, None] + best[c]  # (n, before, now)
        origins[c] = reached.argmax(axis=1)
        now = reached.max(axis=1)
    traced = _traced(origins, now.argmax(axis=1))
    return traced[:-1], traced[1:]


def draw_paths(chain, log_filtered, generator):
    """Paths (T, n) given all steps, by filtered log-probabilities (T, n, K), from the end back."""
    n_steps, n, _ = log_filtered.shape
    log_transitions = np.ascontiguousarray(chain.log_transitions.T)
    uniforms = generator.random((n_steps, n))
    paths = np.empty((n_steps, n), dtype=np.int64)
    paths[-1] = _draw_states(log_filtered[-1], uniforms[-1])
    for t in range(n_steps - 2, -1, -1):
        paths[t] = _draw_states(log_filtered[t] + log_transitions[paths[t + 1]], uniforms[t])
    return paths


def draw_prior_paths(chain, n_steps, n, generator):
    """Paths (T, n) of the chain."""
    uniforms = generator.random((n_steps, n))
    paths = np.empty((n_steps, n), dtype=np.int64)
    log_start = np.broadcast_to(chain.log_start, (n, len(chain)))
    log_transitions = chain.log_transitions
    paths[0] = _draw_states(log_start, uniforms[0])
    for t in range(1, n_steps):
        paths[t] = _draw_states(log_transitions[paths[t - 1]], uniforms[t])
    return paths


def _draw_states(logs, uniforms):
    """A state (n,) for each row of logs (n, K), which need not be normalised, by a uniform (n,)."""
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    cumulative = np.cumsum(weights, axis=1)
    found = np.sum(cumulative <= uniforms[:, None] * cumulative[:, -1:], axis=1)
    # Rounding may reach past the last state that there can be.
    last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0.0, axis=1)
    return np.minimum(found, last)
