"""Pyro programs: run alone, recorded for training, and weighed against each other."""

from probgen._lazy import lazy_names

_HOMES = {
    "ProgramObjective": "objective",
    "Recording": "recording",
    "Replayed": "recording",
    "Terms": "terms",
    "isolated": "isolation",
    "log_weights": "weights",
    "record": "recording",
    "run_terms": "terms",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
