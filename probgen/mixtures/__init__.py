"""Mixtures of independent columns, each of a family of its own, on rows of codes."""
