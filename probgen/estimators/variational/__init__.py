"""Variational autoencoders, with what they are made of."""
