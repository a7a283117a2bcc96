"""Estimates of log p(x) of models with codes. Nothing is imported here, so that each part loads
what it needs alone."""
