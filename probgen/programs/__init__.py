"""Pyro programs: run alone, recorded for training, and weighed against each other."""

from importlib import import_module

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

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(f"probgen.programs.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'probgen.programs' has no attribute {name!r}")
