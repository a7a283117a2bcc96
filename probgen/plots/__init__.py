"""Plots of fitted generators as scikit-learn displays; they need matplotlib."""

from probgen.plots._latent import LatentDisplay
from probgen.plots._manifold import ManifoldDisplay
from probgen.plots._reconstruction import ReconstructionDisplay
from probgen.plots._sample_grid import SampleGridDisplay
from probgen.plots._sequence import SequenceDisplay
from probgen.plots._states import StateDisplay
from probgen.plots._table import TableDisplay
from probgen.plots._training_curve import TrainingCurveDisplay

__all__ = [
    "LatentDisplay",
    "ManifoldDisplay",
    "ReconstructionDisplay",
    "SampleGridDisplay",
    "SequenceDisplay",
    "StateDisplay",
    "TableDisplay",
    "TrainingCurveDisplay",
]
