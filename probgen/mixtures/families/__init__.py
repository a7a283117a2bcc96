"""Distributions of one number, each for all components of a mixture at once."""
