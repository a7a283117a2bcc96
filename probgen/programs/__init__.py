"""Pyro programs: isolation, recording, evidence lower bounds and importance weights."""

from probgen._lazy import lazy_names

_HOMES = {
    "ProgramObjective": "objective",
    "Recording": "recording",
    "Replayed": "recording",
    "ElboTerms": "terms",
    "isolated_pyro_state": "isolation",
    "log_weights": "weights",
    "record": "recording",
    "elbo_terms": "terms",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
