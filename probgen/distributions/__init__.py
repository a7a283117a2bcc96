"""Distributions of features; empty, since `truncated_normal` needs no torch and the others do."""
