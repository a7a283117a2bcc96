"""Distributions of features. Nothing is imported here, for `truncated_normal` needs no torch and
the others do."""
