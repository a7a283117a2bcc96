"""Restricted Boltzmann machines of bits, real values and categories."""

from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from probgen._validation import RandomState, check_count
from probgen.base import DecoderMixin, Likelihood
from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.chains import clamp_of, clamp_of_rows, gibbs
from probgen.boltzmann.enumeration import MOST_BITS, can_enumerate
from probgen.boltzmann.queries import (
    draw_clamped,
    draw_units,
    log_mass,
    mean_clamped,
    sums_rows,
)
from probgen.conditions.given import Conditions, observed, representable
from probgen.estimators._query_gaps import QueryGapsGenerator
from probgen.estimators.energy.machines import MachineGenerator
from probgen.estimators.energy.objective import BoltzmannObjective
from probgen.estimators.energy.support import check_bits
from probgen.marginal_likelihood.annealing import sigmoid_temperatures
from probgen.marginal_likelihood.effective_draws import checked_estimates
from probgen.options import (
    Option,
)
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective
from probgen.training.trainer import Trainer

READ_ROWS = 4096
EMA_DECAY = 0.999  # of the weights, over batches


class RestrictedBoltzmannMachine(DecoderMixin, QueryGapsGenerator, MachineGenerator):
    """Restricted Boltzmann machine: features coupled through hidden bits.

    p(v, h) is proportional to exp(b v + c h + h W v) for bits v and h [1]_; real values have a
    quadratic term too, and categories one bit for each level. Neither the features given the hidden
    bits nor the hidden bits given the features depend on each other, so Gibbs sampling draws all of
    one side at once. The hidden bits sum out, to the free energy F(v); the log-likelihood is
    -F(v) - log Z.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    visible : str or Option, default="bernoulli"
        Features: "bernoulli" for 0 and 1, where values in between count as probabilities;
        "gaussian" for real values; "categorical" for levels 0 to n_levels - 1. An object of
        `probgen.options` has settings: `Gaussian(scale="learned")`, `Categorical(n_levels=5)`.
    algorithm : str or Option, default="pcd"
        Source of the negative half of the gradient: "pcd" for chains that go on from batch to
        batch, `PersistentContrastiveDivergence(n_steps=1, n_chains=100)`; "cd" for short chains
        from the rows, `ContrastiveDivergence(n_steps=1)`.
    penalty : str, Option or None, default=None
        "kl_sparsity", or `KLSparsity(weight, target)`, adds `weight` times the divergence of the
        mean activity of each hidden unit from `target`, summed over the units.
    dynamic_binarization : bool, default=False
        With visible="bernoulli", whether values in [0, 1] are probabilities of a 1, from which new
        rows are drawn for each batch in training.
    n_sampling_steps : int, default=1000
        Gibbs steps of a draw where states are not enumerated: chains start at the base rates of the
        features, and their inverse temperature rises to 1 over the first half of the steps.
    partition : str or Option, default="ais"
        Estimate of log Z where each side has more than 20 units: annealed importance sampling,
        `AnnealedImportanceSampling(n_chains=100, n_temperatures=1000)`. Queries take it as it is
        set at the time.
    max_iter : int, default=100
        Number of epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 256, a hundredth of the rows.
    learning_rate_init : float, default=2e-3
        Initial learning rate.
    trainer : Trainer, default=None
        All other settings of training, such as the optimiser, its momentum and weight decay; None
        is `Trainer(schedule="cosine", ema_decay=0.999)`. Images are learned faster by
        optimizer="sgd", of momentum 0.9, and a learning rate of 0.02.
    warm_start : bool, default=False
        Whether `fit` continues from the last fit.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Device of the machine.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit, the stream of later draws and the estimate of log Z.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    machine_ : torch.nn.Module
        Parameters, and the energies and conditional distributions that they define.
    components_ : ndarray of shape (n_components, n_units)
        Weights; units are features, or levels of features one after another.
    intercept_hidden_ : ndarray of shape (n_components,)
        Biases of the hidden units.
    intercept_visible_ : ndarray of shape (n_units,)
        Biases of the visible units.
    n_levels_ : int or None
        Levels of a discrete feature.
    history_ : History
        One record for each epoch. The loss is the mean free energy of rows less that of chains,
        whose gradient is followed; it does not measure the likelihood.
    n_iter_ : int
        Number of epochs trained.
    device_ : str

    Notes
    -----
    `score_samples` is exact if at most 20 hidden units, or at most 20 bits, can be enumerated. Else
    log Z is estimated once after a fit, when first needed; `log_partition` returns it with its
    standard error and a bracket, and `return_std=True` adds the error to scores. Missing values
    are integrated out by the same means: for each row the free features form a machine of their
    own. A few free bits are summed over; the log Z of more takes as long as that of the whole.
    Draws and `given` enumerate hidden states or free bits where they are few; else they run chains,
    with the known features clamped.

    Training subtracts the mean activity from each unit (centering [3]_), which makes the direction
    independent of which level of a bit is called 1. Gradients have a closed form.

    With the same weights, `transform` and free energies are those of scikit-learn's BernoulliRBM.

    References
    ----------
    .. [1] P. Smolensky, Information processing in dynamical systems, 1986.
    .. [2] G. E. Hinton, A practical guide to training restricted Boltzmann machines, 2010.
    .. [3] J. Melchior, A. Fischer, L. Wiskott, How to center deep Boltzmann machines, 2016.

    Examples
    --------
    >>> from probgen import RestrictedBoltzmannMachine
    >>> from sklearn.datasets import load_digits
    >>> X = (load_digits().data > 7).astype("float32")
    >>> model = RestrictedBoltzmannMachine(16, max_iter=3, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sample(3).shape, model.log_partition().std
    ((1797, 16), (3, 64), 0.0)
    """

    _networks: tuple[str, ...] = ("machine_",)
    machine_: Any

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: str | Option = "bernoulli",
        algorithm: str | Option = "pcd",
        penalty: str | Option | None = None,
        dynamic_binarization: bool = False,
        n_sampling_steps: int = 1000,
        partition: str | Option = "ais",
        max_iter: int = 100,
        batch_size: int | str = "auto",
        learning_rate_init: float = 2e-3,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.visible = visible
        self.algorithm = algorithm
        self.penalty = penalty
        self.dynamic_binarization = dynamic_binarization
        self.n_sampling_steps = n_sampling_steps
        self.partition = partition
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @property
    def components_(self) -> np.ndarray:
        """Weights (n_components, n_units)."""
        return self._parameter("weight")

    @property
    def intercept_hidden_(self) -> np.ndarray:
        """Biases of the hidden units (n_components,)."""
        return self._parameter("hidden_bias")

    @property
    def intercept_visible_(self) -> np.ndarray:
        """Biases of the visible units (n_units,)."""
        return self._parameter("visible_bias")

    @property
    def n_levels_(self) -> int | None:
        """Levels of a discrete feature."""
        return self._fitted_machine().n_levels

    def score_samples(
        self, X: npt.ArrayLike, y: Any = None, *, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the log-likelihood of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score; missing values are integrated out. With visible="bernoulli" they hold 0
            and 1 alone.
        y : object, default=None
            Ignored.
        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
        std : ndarray of shape (n,)
            With return_std=True: the standard error of log Z, which rows share, and that of missing
            values; 0 where the value is exact, inf where too few chains are effective.

        Warns
        -----
        UserWarning
            If it is inf for more than one row in ten.
        """
        X = self._validate_query(X)
        return checked_estimates(
            self._estimate(X), X.dtype, return_std=return_std, remedy="raise n_temperatures"
        )

    def free_energy(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the free energy of each row, minus log p(x) - log Z.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; with visible="bernoulli" values in [0, 1].

        Returns
        -------
        free_energy : ndarray of shape (n,)
            In nats.
        """
        X = self._validate_query(X)
        self._refuse_missing(X, "free_energy")
        return (-self._log_unnormalised(X)).astype(X.dtype, copy=False)

    def gibbs(
        self, X: npt.ArrayLike, n_steps: int = 1, *, random_state: RandomState = None
    ) -> np.ndarray:
        """Return rows after some steps of block Gibbs sampling from the rows of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to start from.
        n_steps : int, default=1
            Steps, at least 1: hidden units given visible ones, and back.
        random_state : int, RandomState, Generator or None, default=None
            None continues the stream of draws.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            A frame after `set_output`, with the index of a pandas frame that was given.
        """
        check_count("n_steps", n_steps)
        rows = self._validate_query(X)
        self._refuse_missing(rows, "gibbs")
        noise = self._noise(self._generator_of(random_state))
        with torch.inference_mode():
            units = self.machine_.encode(self._to_network_tensor(rows))
            units = gibbs(self.machine_, units, n_steps, noise)
            drawn = self.machine_.decode(units).cpu().numpy()
        return self._in_container(drawn.astype(rows.dtype, copy=False), X)

    @property
    def _likelihood(self) -> Likelihood:
        if hasattr(self, "machine_"):
            is_exact = can_enumerate(self.machine_)
        else:
            is_exact = isinstance(self.n_components, Integral) and self.n_components <= MOST_BITS
        return Likelihood("exact" if is_exact else "estimate", self._measure)

    @property
    def _bottom(self) -> Any:
        return getattr(self, "machine_", None)

    @property
    def _top(self) -> Any:
        return self.machine_

    @property
    def _n_features_out(self) -> int:
        return self.machine_.n_hidden

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_components", self.n_components)

    def _build(self, fit: FitContext) -> None:
        self.machine_ = self._visible_machine(fit, self.n_components)

    def _make_objective(self, fit: FitContext) -> Objective:
        return BoltzmannObjective(
            self.machine_, self._option("algorithm"), self._option("penalty"), self._prepared
        )

    def _transform(self, X: np.ndarray) -> np.ndarray:
        self._refuse_missing(X, "transform")
        machine = self.machine_
        return self._in_blocks(
            X, lambda rows: torch.sigmoid(machine.hidden_logits(machine.encode(rows)))
        )

    def _inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        machine = self.machine_
        return self._in_blocks(
            Z, lambda hidden: machine.decode(machine.mean(machine.visible_field(hidden)))
        )

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return self._estimate(X)[0]

    def _estimate(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihoods (n,) of checked rows, in double precision, and their standard errors."""
        if self.machine_.name == "bernoulli":
            check_bits(X)
        partition = self.log_partition()
        has_missing = np.isnan(X).any(axis=1)
        scores, errors = np.empty(len(X)), np.full(len(X), partition.std)
        whole = ~has_missing
        if whole.any():
            scores[whole] = self._log_unnormalised(X[whole]) - partition.value
        if has_missing.any():
            values, own_errors = self._log_mass_of_rows(X[has_missing])
            scores[has_missing] = values - partition.value
            errors[has_missing] = np.hypot(errors[has_missing], own_errors)
            is_empty = np.isnan(X).all(axis=1)
            scores[is_empty], errors[is_empty] = 0.0, 0.0
        return scores, errors

    def _log_unnormalised(self, X: np.ndarray) -> np.ndarray:
        """Minus the free energies (n,) of whole rows, in double precision."""
        machine = self.machine_
        return self._in_blocks(
            X, lambda rows: machine.negative_free_energy(machine.encode(rows)).double()
        )

    def _log_mass_of_rows(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-densities (n,) of known values before division by Z, and standard errors."""
        machine = self.machine_
        option = self._option("partition")
        temperatures = sigmoid_temperatures(option.n_temperatures)

        def values_and_errors(rows: torch.Tensor) -> torch.Tensor:
            clamp = clamp_of_rows(machine, rows, shares_noise=True)
            noise = self._seeded_noise(1)
            values, errors = log_mass(machine, clamp, option.n_chains, temperatures, noise)
            widths = torch.where(torch.isnan(rows), machine.log_widths, 0.0).sum(-1)
            return torch.stack([values + widths, errors], dim=-1)

        n_copies = option.n_chains
        if sums_rows(machine):
            n_copies = 1
        return tuple(self._in_blocks(X, values_and_errors, n_copies=n_copies).T)

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        noise = self._noise(generator)
        with torch.inference_mode(), self._threads_for(n_samples):
            units = draw_units(self.machine_, n_samples, self.n_sampling_steps, noise)
            return self.machine_.decode(units).cpu().numpy()

    def _sample_given(self, conditions: Conditions, generator: np.random.Generator) -> np.ndarray:
        machine = self.machine_
        low, high = representable(conditions, np.dtype(self._dtype), "given")
        with torch.inference_mode(), self._threads_for(len(conditions.values)):
            clamp = clamp_of(machine, conditions)
            units = draw_clamped(machine, clamp, self.n_sampling_steps, self._noise(generator))
            drawn = machine.decode(units).cpu().numpy()
        drawn = np.clip(drawn, low, high)
        return np.where(np.isnan(conditions.values), drawn, conditions.values)

    def _log_given(self, conditions: Conditions) -> np.ndarray:
        machine = self.machine_
        option = self._option("partition")
        temperatures = sigmoid_temperatures(option.n_temperatures)
        with torch.inference_mode():
            clamp = clamp_of(machine, conditions)
            values, _ = log_mass(
                machine, clamp, option.n_chains, temperatures, self._seeded_noise(1)
            )
            is_free = torch.isnan(torch.as_tensor(conditions.values))
            widths = torch.where(is_free, torch.as_tensor(machine.log_widths).cpu(), 0.0).sum(-1)
        return (values.cpu() + widths).numpy() - self.log_partition().value

    def _impute(self, X: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        filled = X.copy()
        has_missing = np.isnan(X).any(axis=1)
        if not has_missing.any():
            return filled
        if generator is not None:
            filled[has_missing] = self._sample_given(observed(X[has_missing]), generator)
            return filled
        machine = self.machine_

        def means(rows: torch.Tensor) -> torch.Tensor:
            clamp = clamp_of_rows(machine, rows, shares_noise=True)
            noise = self._seeded_noise(3)
            return machine.decode(mean_clamped(machine, clamp, self.n_sampling_steps, noise))

        filled[has_missing] = self._in_blocks(X[has_missing], means)
        return filled

    def _fitted_machine(self) -> BoltzmannMachine:
        if not hasattr(self, "machine_"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet, so it has no machine.")
        return self.machine_

    def _parameter(self, name: str) -> np.ndarray:
        return getattr(self._fitted_machine(), name).detach().cpu().numpy()
