"""What generators on Boltzmann machines share: visible units, their support and log Z."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count, check_flag
from probgen.base import GeneratorTags
from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.enumeration import can_enumerate, log_partition
from probgen.boltzmann.machine import (
    BernoulliMachine,
    CategoricalMachine,
    GaussianMachine,
)
from probgen.boltzmann.partition import (
    LogPartition,
    annealed_log_partition,
    reverse_log_partition,
)
from probgen.boltzmann.queries import draw_units
from probgen.distributions.observation import measure_of, without_choices
from probgen.estimators.energy.support import check_values
from probgen.marginal_likelihood.annealing import sigmoid_temperatures
from probgen.options import (
    AnnealedImportanceSampling,
    Bernoulli,
    Categorical,
    ContrastiveDivergence,
    Gaussian,
    KLSparsity,
    Option,
    PersistentContrastiveDivergence,
)
from probgen.training.neural_generator import FitContext, NeuralGenerator
from probgen.training.trainer import Trainer

READ_ROWS = 4096
EMA_DECAY = 0.999  # of the weights, over batches


class MachineGenerator(NeuralGenerator):
    """Base of generators whose features are the visible units of a Boltzmann machine.

    A subclass takes `visible`, `algorithm`, `dynamic_binarization`, `n_sampling_steps` and
    `partition` in its constructor, builds the machine of its features with `_visible_machine`, and
    names these:

    - `_bottom`, the machine of the features, or None before a fit;
    - `_top`, the machine whose partition function normalises the model.
    """

    _query_parameters = NeuralGenerator._query_parameters | {"n_sampling_steps", "partition"}
    _options: ClassVar[Mapping] = {
        "visible": {
            "bernoulli": Bernoulli,
            "gaussian": Gaussian,
            "categorical": Categorical,
        },
        "algorithm": {
            "pcd": PersistentContrastiveDivergence,
            "cd": ContrastiveDivergence,
        },
        "penalty": {None: lambda: None, "kl_sparsity": KLSparsity},
        "partition": {
            "ais": lambda: AnnealedImportanceSampling(n_chains=100, n_temperatures=1000),
        },
    }
    visible: str | Option
    algorithm: str | Option
    partition: str | Option
    dynamic_binarization: bool
    n_sampling_steps: int

    def log_partition(self) -> LogPartition:
        """Return log Z, its standard error and a bracket of it, in nats.

        It is computed once for a fit and a setting of `partition`, from a seed of the fit.

        Returns
        -------
        log_partition : LogPartition
            A tuple (value, std, low, high). If it is exact, the error is 0 and all values are one.
            Else low, the value, is an estimate by annealing forwards, whose error shrinks with
            more temperatures, and high one by annealing in reverse. The reverse chains start at
            draws of n_sampling_steps steps; where these have not reached the distribution of the
            machine, high may be too low.
        """
        check_is_fitted(self)
        option = self._option("partition")
        key = f"{option.n_chains} {option.n_temperatures}"
        if key not in self._partitions:
            self._partitions[key] = tuple(self._compute_partition(option))
        return LogPartition(*self._partitions[key])

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        is_discrete = self._measure == "counting"
        tags.input_tags.categorical = is_discrete
        tags.input_tags.positive_only = is_discrete
        return tags

    @property
    def _visible_name(self) -> str:
        """The string of the parameter visible, also where it is an option."""
        return getattr(self.visible, "name", self.visible)

    @property
    def _measure(self) -> str:
        """Reference measure of the features."""
        if self._bottom is not None:
            return self._bottom.measure
        return measure_of(self._visible_name)

    @property
    def _bottom(self) -> Any:
        raise NotImplementedError

    @property
    def _top(self) -> Any:
        raise NotImplementedError

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_sampling_steps", self.n_sampling_steps)
        check_flag("dynamic_binarization", self.dynamic_binarization)
        if self.dynamic_binarization and self._visible_name != "bernoulli":
            raise ValueError(
                "dynamic_binarization=True draws rows of 0 and 1, which need visible='bernoulli';"
                f" got {self._visible_name!r}; take it, or dynamic_binarization=False."
            )

    def _default_trainer(self, n_rows: int | None = None) -> Trainer:
        return Trainer(schedule="cosine", ema_decay=EMA_DECAY)

    def _visible_machine(self, fit: FitContext, n_hidden: int) -> BoltzmannMachine:
        """A new machine of the features of a fit, in the precision of its rows."""
        statistics = fit.all_statistics
        option = self._option("visible")
        name = option.name
        if name == "categorical":
            option = without_choices(option, statistics)
        machine: BoltzmannMachine
        if name == "gaussian":
            center, deviation = (
                torch.as_tensor(values) for values in (statistics.mean, statistics.deviation)
            )
            machine = GaussianMachine(center, deviation, n_hidden, option.scale)
        elif name == "categorical":
            check_values(
                name, option.n_levels, statistics.low, statistics.high, statistics.is_integer
            )
            rates = _level_shares(fit, option.n_levels)
            machine = CategoricalMachine(rates, n_hidden)
        else:
            check_values(name, 2, statistics.low, statistics.high, statistics.is_integer)
            machine = BernoulliMachine(torch.as_tensor(statistics.mean), n_hidden)
        return machine.to(fit.rows.dtype)

    def _begin(self, fit: FitContext) -> None:
        statistics = fit.all_statistics
        machine = self._bottom
        check_values(
            machine.name, machine.n_levels, statistics.low, statistics.high, statistics.is_integer
        )

    def _prepared(
        self, X: torch.Tensor, *_: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Visible units of a batch in training."""
        return self._preparation(self._bottom)(X, generator=generator)

    def _preparation(self, machine: BoltzmannMachine) -> Any:
        """The function from the rows of a batch to the visible units of a machine."""

        def prepare(X: torch.Tensor, *_: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            if self.dynamic_binarization:
                X = draw_with(X, generator=generator)
            return machine.encode(X)

        return prepare

    def _finish(self, fit: FitContext, generator: np.random.Generator) -> None:
        self._partition_seed = int(generator.integers(2**62))
        self._partitions: dict[str, tuple[float, ...]] = {}

    def _check_support(self, X: np.ndarray) -> None:
        values = X[~np.isnan(X)]
        if not values.size or self._bottom.name == "gaussian":
            return
        is_integer = bool((values == np.rint(values)).all())
        check_values(
            self._bottom.name,
            self._bottom.n_levels,
            float(values.min()),
            float(values.max()),
            is_integer,
            has_missing=len(values) < X.size,
        )

    def _compute_partition(self, option: Any) -> LogPartition:
        """Log Z in units of X."""
        machine = self._top
        unit = float(torch.as_tensor(self._bottom.log_widths).sum())
        with torch.no_grad(), self._threads_for(option.n_chains):
            if can_enumerate(machine):
                value = unit + log_partition(machine)
                return LogPartition(value, 0.0, value, value)
            temperatures = sigmoid_temperatures(option.n_temperatures)
            value, std = annealed_log_partition(
                machine, temperatures, option.n_chains, self._seeded_noise(0)
            )
            noise = self._seeded_noise(2)
            units = draw_units(machine, option.n_chains, self.n_sampling_steps, noise)
            high, _ = reverse_log_partition(machine, temperatures, units, noise)
        value, high = unit + float(value), unit + float(high)
        return LogPartition(value, float(std), value, high)

    def _noise(self, generator: np.random.Generator) -> torch.Generator:
        """A generator on the device, seeded by one of NumPy."""
        return torch.Generator(self.device_).manual_seed(int(generator.integers(2**62)))

    def _seeded_noise(self, use: int) -> torch.Generator:
        """The generator of one of the estimates, from the seed of the fit."""
        return torch.Generator(self.device_).manual_seed(self._partition_seed + use)


def _level_shares(fit: FitContext, n_levels: int) -> torch.Tensor:
    """Shares (d, n_levels) of the levels in the rows to train on."""
    total: Any = 0.0
    for rows, *_ in fit.rows.batches(None, READ_ROWS):
        levels = torch.arange(n_levels, device=rows.device)
        total = total + (rows.unsqueeze(-1) == levels).double().sum(0)
    return (total / fit.rows.n_rows).cpu()


def draw_with(X: torch.Tensor, *_: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Bits drawn with the probabilities in a batch."""
    return (torch.empty_like(X).uniform_(generator=generator) < X).to(X.dtype)
