"""Pictures of fitted generators, as Display objects in the manner of scikit-learn; they need matplotlib."""

from probgen.plots._sample_grid import SampleGridDisplay

__all__ = ["SampleGridDisplay"]
