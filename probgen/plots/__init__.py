"""Pictures of fitted generators, as Display objects in the manner of scikit-learn; they need matplotlib."""

from probgen.plots._sample_grid import SampleGridDisplay
from probgen.plots._training_curve import TrainingCurveDisplay

__all__ = ["SampleGridDisplay", "TrainingCurveDisplay"]
