"""Conditions of draws. Nothing is imported here: `given` needs no torch, but `checked` does."""
