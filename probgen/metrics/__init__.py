"""Measures of fitted generators and of their draws, beside the score that each has of itself."""

from importlib import import_module

_HOMES = {
    "ais_log_likelihood": "ais",
    "frechet_distance": "frechet",
    "kernel_mmd": "mmd",
    "make_sample_quality_scorer": "scorers",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(f"probgen.metrics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'probgen.metrics' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
