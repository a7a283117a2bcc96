"""What generators of images that draw one pixel after another share."""

from typing import Any

from probgen._validation import check_count
from probgen.estimators.autoregressive.base import AutoregressiveGenerator
from probgen.training.statistics import RowStatistics

# Up to so many levels likelihood="auto" learns a probability for each.
MOST_CATEGORIES = 64


class PixelGenerator(AutoregressiveGenerator):
    """Base of autoregressive generators of images, whose networks have filters and layers."""

    _largest_batch = 64  # PixelCNNs took longer to learn as much from twice as many rows
    n_filters: int
    n_layers: int
    image_shape: Any

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_filters", self.n_filters)
        check_count("n_layers", self.n_layers)

    def _auto_likelihood(self, statistics: RowStatistics, n_levels: int | None) -> str:
        if statistics.is_binary:
            return "bernoulli"
        if n_levels is None:
            n_levels = statistics.high + 1
        if n_levels <= MOST_CATEGORIES:
            return "categorical"
        return "discretized_logistic"
