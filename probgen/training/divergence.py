"""Divergence of a training: losses that are no numbers, or that grew out of all proportion."""

import math

GROWTH = 1e3  # a loss has exploded if it grew by so many times its first value, or by so many nats


class DivergenceError(Exception):
    """A loss, a score or a weight is no longer a number that training can go on from."""


class LossWatch:
    """Compares losses with those of the first batch of a fit.

    Finite weights may be enormous, after a learning rate that is far too high for instance; their
    losses give them away.

    Attributes
    ----------
    first : dict of float
        Losses of the first batch, by the names of their phases.
    """

    def __init__(self) -> None:
        self.first: dict[str, float] = {}

    def is_sound(self, name: str, loss: float) -> bool:
        """Return whether a loss is in proportion to the first one of its name, which it may be.

        Raises
        ------
        DivergenceError
            If it is not finite.
        """
        if not math.isfinite(loss):
            raise DivergenceError(f"{name} became {loss}")
        first = self.first.setdefault(name, loss)
        return loss - first <= GROWTH * (abs(first) + 1.0)

    def check(self, name: str, loss: float) -> None:
        """Raise a DivergenceError unless `is_sound`."""
        if not self.is_sound(name, loss):
            raise DivergenceError(f"{name} had grown from {self.first[name]:.3g} to {loss:.3g}")
