"""Adversarial networks, with what they are made of."""
