"""Measures of fitted generators and their draws, in addition to the score of each generator."""

from typing import TYPE_CHECKING

from probgen._lazy import lazy_names

if TYPE_CHECKING:
    from probgen.metrics.ais import ais_log_likelihood
    from probgen.metrics.frechet import frechet_distance
    from probgen.metrics.mmd import kernel_mmd
    from probgen.metrics.scorers import likelihood_scorer, make_sample_quality_scorer

__all__ = [
    "ais_log_likelihood",
    "frechet_distance",
    "kernel_mmd",
    "likelihood_scorer",
    "make_sample_quality_scorer",
]
_HOMES = {
    "ais_log_likelihood": "ais",
    "frechet_distance": "frechet",
    "kernel_mmd": "mmd",
    "likelihood_scorer": "scorers",
    "make_sample_quality_scorer": "scorers",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
