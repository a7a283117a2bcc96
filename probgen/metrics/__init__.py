"""Measures of fitted generators and their draws, in addition to the score of each generator."""

from typing import TYPE_CHECKING

from probgen._lazy import lazy_names

if TYPE_CHECKING:
    from probgen.metrics.ais import ais_log_likelihood
    from probgen.metrics.frechet import frechet_distance
    from probgen.metrics.mmd import kernel_mmd
    from probgen.metrics.scorers import likelihood_scorer, make_sample_quality_scorer
    from probgen.metrics.table_classifiers import classifier_two_sample_test, train_on_synthetic
    from probgen.metrics.tables import association_error, closest_record_share, column_distances

__all__ = [
    "ais_log_likelihood",
    "association_error",
    "classifier_two_sample_test",
    "closest_record_share",
    "column_distances",
    "frechet_distance",
    "kernel_mmd",
    "likelihood_scorer",
    "make_sample_quality_scorer",
    "train_on_synthetic",
]
_HOMES = {
    "ais_log_likelihood": "ais",
    "association_error": "tables",
    "classifier_two_sample_test": "table_classifiers",
    "closest_record_share": "tables",
    "column_distances": "tables",
    "frechet_distance": "frechet",
    "kernel_mmd": "mmd",
    "likelihood_scorer": "scorers",
    "make_sample_quality_scorer": "scorers",
    "train_on_synthetic": "table_classifiers",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
