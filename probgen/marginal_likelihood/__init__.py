"""Estimates of log p(x) of models with codes; empty, so that nothing loads unasked."""
