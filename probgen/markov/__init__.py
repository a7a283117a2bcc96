"""Chains of hidden states: passes over time, expectation-maximization, and draws."""
