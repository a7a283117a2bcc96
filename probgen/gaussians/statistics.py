"""Sufficient statistics of weighted rows under the components of a mixture.

They are additive, so that blocks of rows and fits merge.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np


@dataclass
class MomentStatistics:
    """Weighted moments of K components, each about a centre of its own.

    Attributes
    ----------
    counts : ndarray of shape (K,)
        Sums of responsibilities.
    sums : ndarray of shape (K, d)
        Sums of responsibility * (x - centre).
    squares : ndarray
        Sums of responsibility * (x - centre)(x - centre)', in the layout of the subclass.
    centers : ndarray of shape (K, d)
        The centres. With the current means as centres, no digits are lost where components are
        narrow and far apart.
    """

    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    centers: np.ndarray

    _by_component: ClassVar[tuple] = ("counts", "sums", "squares", "centers")

    @staticmethod
    def outer(a, b):
        """Symmetric products (ab' + ba') / 2 of (K, d) rows, in the layout of squares."""
        raise NotImplementedError

    @property
    def total(self):
        """Weight of all rows."""
        return float(self.counts.sum())

    def __add__(self, other):
        other = other.about(self.centers)
        return replace(
            self,
            counts=self.counts + other.counts,
            sums=self.sums + other.sums,
            squares=self.squares + other.squares,
        )

    def scaled(self, factor):
        """The statistics of rows weighted by factor."""
        return replace(
            self,
            counts=self.counts * factor,
            sums=self.sums * factor,
            squares=self.squares * factor,
        )

    def about(self, centers):
        """The same rows' statistics about other centres."""
        if centers is self.centers or np.array_equal(centers, self.centers):
            return self
        # (x - c') = (x - c) + shift, so that squares gain two cross terms.
        shift = self.centers - centers
        moved = self.sums + self.counts[:, None] * shift
        squares = self.squares + self.outer(self.sums, shift) + self.outer(moved, shift)
        return replace(self, sums=moved, squares=squares, centers=centers)

    def of_groups(self, n_components, origins):
        """Counts (G,), means (G, d) and variances (G, d) of groups of n_components components.

        origins, (d,) or (K, d), are what the rows had subtracted; the means have it added.
        """
        return _of_groups(
            n_components, origins, self.counts, self.sums, self._by_feature(), self.centers
        )

    def _by_feature(self):
        """Squares of single features, (K, d) or (K, 1)."""
        raise NotImplementedError

    def select(self, components):
        """The statistics of some components."""
        arrays = {name: getattr(self, name)[components] for name in self._by_component}
        return replace(self, **arrays)

    def placed(self, components, n_components):
        """The statistics as part of n_components; components without any have zeros."""
        arrays = {}
        for name in self._by_component:
            arrays[name] = _placed(getattr(self, name), components, n_components)
        return replace(self, **arrays)

    @classmethod
    def concatenate(cls, parts):
        """The statistics of the components of all parts in a row."""
        return cls(**cls._concatenated(parts))

    @classmethod
    def _concatenated(cls, parts):
        """Arrays with an entry for each component, of all parts, by field name."""
        arrays = {}
        for name in cls._by_component:
            arrays[name] = np.concatenate([getattr(part, name) for part in parts])
        return arrays


class FullStatistics(MomentStatistics):
    """squares of shape (K, d, d)."""

    @staticmethod
    def outer(a, b):
        """Symmetric products, of shape (K, d, d)."""
        product = a[:, :, None] * b[:, None, :]
        return 0.5 * (product + product.transpose(0, 2, 1))

    def _by_feature(self):
        return np.diagonal(self.squares, axis1=1, axis2=2)


class TiedStatistics(MomentStatistics):
    """squares summed over the components, of shape (d, d)."""

    _by_component: ClassVar[tuple] = ("counts", "sums", "centers")

    @staticmethod
    def outer(a, b):
        """Symmetric products summed over the components, of shape (d, d)."""
        product = a.T @ b
        return 0.5 * (product + product.T)

    def of_groups(self, n_components, origins):
        """Counts, means and one pooled variance (1, d) within the components."""
        counts = np.maximum(self.counts, np.finfo(np.float64).tiny)[:, None]
        shifts = self.sums / counts
        pooled = np.diagonal(self.squares) - np.sum(counts * shifts**2, axis=0)
        return self.counts, self.centers + shifts + origins, pooled[None] / self.counts.sum()

    @classmethod
    def concatenate(cls, parts):
        """The statistics of the components of all parts in a row, with pooled squares."""
        return cls(squares=sum(part.squares for part in parts), **cls._concatenated(parts))


class DiagonalStatistics(MomentStatistics):
    """squares of shape (K, d), the diagonals."""

    @staticmethod
    def outer(a, b):
        """Products feature by feature, of shape (K, d)."""
        return a * b

    def _by_feature(self):
        return self.squares


class SphericalStatistics(MomentStatistics):
    """squares of shape (K,), the traces."""

    @staticmethod
    def outer(a, b):
        """Inner products, of shape (K,)."""
        return np.sum(a * b, axis=1)

    def of_groups(self, n_components, origins):
        """Counts, means and the mean variance (G, 1) of the features of groups."""
        d = self.sums.shape[1]
        # Every feature gets an equal part of the trace; shifts differ, and their mean is right.
        squares = np.repeat(self.squares[:, None] / d, d, axis=1)
        counts, means, variances = _of_groups(
            n_components, origins, self.counts, self.sums, squares, self.centers
        )
        return counts, means, variances.mean(axis=1, keepdims=True)


@dataclass
class FactorStatistics:
    """Expected moments of rows and their codes under K factor analysers.

    See Ghahramani & Hinton (1997).
    With the augmented code u = [E z, 1] of q factors:

    Attributes
    ----------
    counts : ndarray of shape (K,)
        Sums of responsibilities.
    crosses : ndarray of shape (K, d, q + 1)
        Sums of responsibility * (x - centre) E[u]'.
    codes : ndarray of shape (K, q + 1, q + 1)
        Sums of responsibility * E[u u'].
    squares : ndarray of shape (K, d)
        Sums of responsibility * E[(x - centre)^2].
    centers : ndarray of shape (K, d)
        The centres, as in MomentStatistics.
    """

    counts: np.ndarray
    crosses: np.ndarray
    codes: np.ndarray
    squares: np.ndarray
    centers: np.ndarray

    @property
    def total(self):
        """Weight of all rows."""
        return float(self.counts.sum())

    def __add__(self, other):
        other = other.about(self.centers)
        return replace(
            self,
            counts=self.counts + other.counts,
            crosses=self.crosses + other.crosses,
            codes=self.codes + other.codes,
            squares=self.squares + other.squares,
        )

    def scaled(self, factor):
        """The statistics of rows weighted by factor."""
        return replace(
            self,
            counts=self.counts * factor,
            crosses=self.crosses * factor,
            codes=self.codes * factor,
            squares=self.squares * factor,
        )

    def about(self, centers):
        """The same rows' statistics about other centres."""
        if centers is self.centers or np.array_equal(centers, self.centers):
            return self
        shift = self.centers - centers
        squares = self.squares + 2.0 * shift * self.crosses[:, :, -1]
        squares = squares + self.counts[:, None] * shift**2
        crosses = self.crosses + shift[:, :, None] * self.codes[:, None, -1]
        return replace(self, crosses=crosses, squares=squares, centers=centers)

    @classmethod
    def concatenate(cls, parts):
        """The statistics of the components of all parts in a row."""
        arrays = zip(*(part._arrays() for part in parts), strict=True)
        return cls(*(np.concatenate(array) for array in arrays))

    def of_groups(self, n_components, origins):
        """Counts (G,), means (G, d) and variances (G, d) of groups of n_components components."""
        sums = self.crosses[:, :, -1]
        return _of_groups(n_components, origins, self.counts, sums, self.squares, self.centers)

    def select(self, components):
        """The statistics of some components."""
        return FactorStatistics(*(array[components] for array in self._arrays()))

    def placed(self, components, n_components):
        """The statistics as part of n_components; components without any have zeros."""
        arrays = [_placed(array, components, n_components) for array in self._arrays()]
        return FactorStatistics(*arrays)

    def _arrays(self):
        return self.counts, self.crosses, self.codes, self.squares, self.centers


def merged(old, new, learning_decay=1.0):
    """Statistics of old and new rows together.

    The new rows, n after N, get (n / (N + n)) ** learning_decay of all weight (Cappe & Moulines,
    2009).
    """
    if learning_decay == 1.0:
        return old + new
    total = old.total + new.total
    step = (new.total / total) ** learning_decay
    return old.scaled((1.0 - step) * total / old.total) + new.scaled(step * total / new.total)


def _placed(array, components, n_components):
    """An array (n_components, ...) that holds array at some components, and zeros elsewhere."""
    whole = np.zeros((n_components, *array.shape[1:]))
    whole[components] = array
    return whole


def _of_groups(n_components, origins, counts, sums, squares, centers):
    """Counts (G,), means (G, d) and variances (G, d) of groups of n_components components.

    sums (K, d) and squares (K, d) are about centers. Rounding may leave a variance below zero.
    """
    d = centers.shape[1]
    totals = counts.reshape(-1, n_components).sum(axis=1)
    weights = np.maximum(totals, np.finfo(np.float64).tiny)[:, None]
    places = counts[:, None] * centers + sums
    means = places.reshape(-1, n_components, d).sum(axis=1) / weights
    offsets = centers - np.repeat(means, n_components, axis=0)
    about_means = squares + 2.0 * offsets * sums + counts[:, None] * offsets**2
    variances = about_means.reshape(-1, n_components, d).sum(axis=1) / weights
    origins = np.broadcast_to(origins, centers.shape)[::n_components]
    return totals, means + origins, variances
