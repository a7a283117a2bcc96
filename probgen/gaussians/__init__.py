"""Gaussians on plain arrays: formulas that mixtures and other estimators share."""
