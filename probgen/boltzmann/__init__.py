"""Restricted Boltzmann machines: energies, conditionals, Gibbs chains and partition functions."""
