"""Base class of generators with a network: fitting, resuming, copying and querying."""

import contextlib
import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from probgen._calls import FitInterrupted, same
from probgen._containers import read_rows
from probgen._devices import resolve_device
from probgen._validation import check_count, check_real, check_verbose, show
from probgen._warnings import warn
from probgen.base import GeneratorMixin
from probgen.exceptions import FileFormatError
from probgen.networks import least_rows
from probgen.options._base import TakesOptions
from probgen.row_blocks import RowBlocks
from probgen.training.callbacks import CallbackSupport, FitEvents, ProgressBar
from probgen.training.checkpoints import CheckpointFile
from probgen.training.distributed import Ranks, joined_ranks, local_device
from probgen.training.engine import Training, draw_seeds
from probgen.training.modes import own_modes
from probgen.training.objective import Objective
from probgen.training.randomness import global_generator
from probgen.training.rows import Rows, float_dtype, open_rows
from probgen.training.state_checks import check_networks, check_state
from probgen.training.statistics import RowStatistics, take_statistics
from probgen.training.threads import count_products, threads_for
from probgen.training.trainer import Trainer

# Queries run in blocks of one shape, which makes results bit-identical in any batch.
QUERY_ROWS = 256
FEW_PRODUCTS = 2.5e7  # multiplications that take less time than the work around them
NETWORK_ROWS = 2048  # copies of the rows of a block together, where networks see each row often
SMALLEST_BATCH = 32
BATCHES_PER_EPOCH = 100
# Parameters of a training, which queries do not ask for.
TRAINING = frozenset(
    {
        "trainer",
        "max_iter",
        "batch_size",
        "learning_rate_init",
        "warm_start",
        "device",
        "random_state",
        "verbose",
    }
)
# Parameters of some family that shape its networks, and so may not change when training is resumed.
STRUCTURE = frozenset(
    {
        "n_components",
        "hidden_layer_sizes",
        "activation",
        "architecture",
        "image_shape",
        "encoder",
        "decoder",
        "generator",
        "discriminator",
        "likelihood",
        "observation",
        "prior",
        "posterior",
        "tied_weights",
        "spectral_norm",
        "heads",
        "n_orderings",
        "order_agnostic",
        "categorical_features",
        "n_filters",
        "n_layers",
        "gated",
        "attention",
        "shortcuts",
        "n_downsamplings",
        "position_map",
        "scales",
        "layer",
        "visible",
        "algorithm",
    }
)
_TORCH_DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


@dataclass(frozen=True, eq=False)
class FitContext:
    """What the hooks of a `NeuralGenerator` know about a call of `fit` or `partial_fit`.

    Attributes
    ----------
    rows : Rows
        Rows to train on.
    batch_size : int
        Rows of a batch, in each process.
    n_batches : int
        Batches of an epoch.
    max_iter : int
        Epochs of a whole fit of these rows, whatever `is_partial` is.
    held_out : Rows or None
        Rows that are held out of the training.
    all_rows : Rows or None
        The rows to train on and those held out, in the order of X; None without held-out rows.
    is_partial : bool
        Whether this is one pass of `partial_fit`.
    """

    rows: Rows
    batch_size: int
    n_batches: int
    max_iter: int
    held_out: Rows | None = None
    all_rows: Rows | None = None
    is_partial: bool = False

    @cached_property
    def statistics(self) -> RowStatistics:
        """Statistics of the rows to train on."""
        return take_statistics(self.rows)

    @cached_property
    def all_statistics(self) -> RowStatistics:
        """Statistics of all rows, those held out included."""
        if self.all_rows is None:
            return self.statistics
        return take_statistics(self.all_rows)

    def check_range(self) -> None:
        """Raise a ValueError if squares of the rows would leave the range of their dtype."""
        self.statistics.check_range(self.rows.dtype)
        if self.held_out is not None:
            take_statistics(self.held_out).check_range(self.rows.dtype)


class NeuralGenerator(CallbackSupport, TakesOptions, GeneratorMixin, BaseEstimator):
    """Base class of generators that are trained by gradients.

    This class owns the training loop, seeds, devices, checkpoints and callbacks. A subclass takes
    `max_iter`, `batch_size`, `learning_rate_init`, `device`, `random_state`, `verbose`,
    `warm_start` and `trainer` in its constructor, names its networks in the class attribute or
    property `_networks`, and implements the hooks below. Their names and arguments are stable. A
    call of `fit` or `partial_fit` calls them in this order:

    - `_check_parameters()` raises a ValueError for a parameter that is out of range; it starts with
      `super()._check_parameters()`.
    - `_default_trainer(n_rows=None)`, optional, returns the Trainer for trainer=None in a fit of
      n_rows rows. In `partial_fit`, and where rows are yet to be read, the number is None; what
      reading needs, such as memory_budget, may not depend on it.
    - `_read(X, y, *, reset, ensure_min_samples)`, optional, returns the validated arrays of the
      fit, the rows first. Only the rows may be blocks or a torch data set.
    - `_hold_out(rows, trainer, rng)`, optional, returns the rows to train on and the held-out rows
      or None; `partial_fit` does not call it.
    - `_n_epochs(n_batches)`, optional, returns the epochs of a whole fit whose epochs have
      n_batches.
    - `_build(fit)` sets the networks as attributes. It runs on the CPU with torch's global
      generator seeded, and only if the training does not resume an earlier one.
    - `_begin(fit)`, optional, checks the rows against the networks and updates what follows the
      data, such as class frequencies. It runs in every fit and every pass.
    - `_make_objective(fit)` returns an `Objective` that holds the networks, which are on the device
      now.
    - `_finish(fit, generator)`, optional, fits what depends on trained networks, with a NumPy
      Generator for its draws. It runs after the training, and on a copy of the estimator after each
      epoch in which a callback needs the fitted estimator.

    `fit` is a `FitContext`. Hooks pass nothing to each other through attributes: an attribute that
    they set belongs to the fitted estimator. Queries go through the hooks of `GeneratorMixin`,
    such as `_score_samples(X)`, which run a network with `_in_blocks`.

    Queries must give a row the same bits in any batch. `_in_blocks` and
    `probgen.networks.dense.Linear` together guarantee this; `torch.nn.Linear` does not, because
    its matrix products may sum in an order that depends on where a row lies in memory. Build
    networks from the layers of `probgen.networks`.
    """

    _dtypes = (np.float32, np.float64)  # integers are read in single precision
    _modes = staticmethod(own_modes)
    _query_parameters = frozenset(
        {*TRAINING, "n_importance_samples", "representation", "truncation"}
    )
    # Fewer where the hidden layers of this many rows outgrow a processor's cache.
    _query_rows = QUERY_ROWS
    trainer: Trainer | None
    n_features_in_: int

    def __new__(cls, *args: Any, **parameters: Any) -> Self:
        """Raise a TypeError with a remedy for settings of the trainer, which is a parameter."""
        own = inspect.signature(cls.__init__).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values())
        for name in _trainer_settings() - set(own):
            if name in parameters and not takes_any:
                raise TypeError(
                    f"{cls.__name__} has no parameter {name}, which is a setting of its trainer;"
                    f" write {cls.__name__}(trainer=Trainer({name}={parameters[name]!r})), or"
                    f" set_params(trainer__{name}={parameters[name]!r}), which keeps its defaults."
                )
        return super().__new__(cls)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the networks on the rows of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features), RowBlocks or torch data set
            Rows; at least 2. Memory maps, blocks and data sets that exceed the trainer's
            memory_budget are streamed. The networks have the precision of X: double for float64,
            else single.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : estimator object

        Raises
        ------
        ValueError
            If a parameter is out of range, a network does not fit, or X contains values that are
            not finite numbers.
        """
        resume = self.warm_start and hasattr(self, "_training_state")
        return self._train(X, y, resume=resume, partial=False)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train for one pass over the rows of X, resuming from where earlier calls ended.

        Parameters
        ----------
        X : array-like of shape (n, n_features), RowBlocks or torch data set
            Rows; the first call fixes their width.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : estimator object
        """
        return self._train(X, y, resume=hasattr(self, "_training_state"), partial=True)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the trainer by names such as trainer__schedule.

        Parameters
        ----------
        **params : object
            Values by name. Setting a parameter of the trainer replaces None by the default trainer.

        Returns
        -------
        self : estimator object
        """
        own = self.get_params(deep=False)
        for name in _trainer_settings() - set(own):
            if name in params:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name}, which is a setting of its"
                    f" trainer; set trainer__{name}."
                )
        sets_trainer = any(name.startswith("trainer__") for name in params)
        if sets_trainer and params.get("trainer", self.trainer) is None:
            params["trainer"] = self._default_trainer()
        return super().set_params(**params)

    @property
    def n_iter_(self) -> int:
        """Number of epochs trained."""
        if not hasattr(self, "history_"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet, so it has no n_iter_.")
        return len(self.history_)

    @property
    def _networks(self) -> tuple[str, ...]:
        """Names of the attributes that hold the networks."""
        return ()

    @property
    def _network_dtype(self) -> Any:
        """Precision of the networks, that of the rows unless a subclass says otherwise."""
        return self._dtype

    @property
    def _changed_in_place(self) -> tuple[str, ...]:
        return self._networks

    @property
    def _largest_batch(self) -> int:
        """Upper limit of batch_size="auto"."""
        return 256

    @property
    def _learning_rate(self) -> float:
        """Learning rate at the start of a fit."""
        return self.learning_rate_init

    def _check_parameters(self) -> None:
        self._check_options()
        # A default that depends on the number of batches is valid whatever the number is.
        check_count("max_iter", self._n_epochs(n_batches=1))
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            check_count("batch_size", self.batch_size, hint="Or 'auto'.")
        check_real("learning_rate_init", self._learning_rate, low=0.0)
        check_verbose(self.verbose)
        if self.trainer is not None and not isinstance(self.trainer, Trainer):
            raise ValueError(f"trainer must be a Trainer, or None; got {show(self.trainer)}.")

    def _default_trainer(self, n_rows: int | None = None) -> Trainer:
        return Trainer()

    def _hold_out(
        self, rows: Rows, trainer: Trainer, rng: np.random.Generator
    ) -> tuple[Rows, Rows | None]:
        """Return the rows to train on, and those held out of a fit or None."""
        if trainer.early_stopping:
            return rows.split(trainer.validation_fraction, rng)
        return rows, None

    def _n_epochs(self, n_batches: int) -> int:
        """Return the epochs of a fit whose epochs have n_batches."""
        return self.max_iter

    def _build(self, fit: FitContext) -> None:
        """Set the networks as attributes."""
        raise NotImplementedError

    def _begin(self, fit: FitContext) -> None:
        """Check the rows against the networks, and update what follows the data."""

    def _make_objective(self, fit: FitContext) -> Objective:
        """Return the Objective of the networks."""
        raise NotImplementedError

    def _finish(self, fit: FitContext, generator: np.random.Generator) -> None:
        """Fit what depends on trained networks."""

    def _train(self, X: Any, y: Any, *, resume: bool, partial: bool, **reading: Any) -> Self:
        """Fit for max_iter epochs or one pass, from the start or from the last training state.

        Further keywords go to `_read`.
        """
        self._check_parameters()
        is_first = not hasattr(self, "history_")
        trainer = self.trainer
        if trainer is None:
            trainer = self._default_trainer()
        trainer.check()
        device = resolve_device(self.device)
        least = 2
        former = None
        if resume:
            self._check_structure()
            former = self._training_state
            if partial:
                least = 1
        with joined_ranks(device) as ranks:
            device = local_device(device, ranks)
            _check_precision(trainer, device)
            arrays = self._read(X, y, reset=not resume, ensure_min_samples=least, **reading)
            rows = self._open(arrays, trainer, device, resume=resume, ensure_min_samples=least)
            if self.trainer is None and not partial:
                trainer = self._default_trainer(rows.n_rows)
            if trainer.precision == "bf16" and rows.dtype == torch.float64:
                raise ValueError(
                    "precision='bf16' has no effect on networks in double precision, which rows"
                    " of float64 train; take X.astype(np.float32), or precision='full'."
                )

            checkpoint = saved = None
            if trainer.checkpoint is not None and not partial:
                checkpoint = CheckpointFile(trainer.checkpoint, self, arrays, former)
                saved = checkpoint.load()
            seeds = self._seeds(former, saved, ranks)

            fit = self._plan(rows, trainer, seeds, ranks, partial=partial)
            if not resume:
                fit.check_range()
                with global_generator("cpu", seeds["start"]):
                    self._build(fit)
            self._begin(fit)
            self._check_batches(fit, ranks.world_size)
            self._place(device)

            training = Training(
                self._make_objective(fit),
                trainer,
                learning_rate=self._learning_rate,
                batch_size=fit.batch_size,
                seeds=seeds,
                device=device,
                ranks=ranks,
            )
            if former is not None:
                training.load_state(former)
            held_out = None
            if trainer.early_stopping:
                held_out = fit.held_out
            if partial:
                training.begin(1, fit.rows, schedule=None)
            else:
                training.begin(fit.max_iter, fit.rows, held_out, schedule=trainer.schedule)
            if saved is not None:
                training.load_state(saved)
            save = None
            if checkpoint is not None and ranks.is_first:
                save = checkpoint.save
            n_seen = fit.batch_size * training.objective.n_copies
            with self._threads_for(n_seen):
                self._run(training, fit, held_out, X=X, y=y, save=save)
            if training.was_interrupted:
                if not is_first:
                    raise KeyboardInterrupt
                warn(
                    f"Training was interrupted in epoch {training.epoch + 1}; the model is usable"
                    " as it is.",
                    ConvergenceWarning,
                )
                raise FitInterrupted
        return self

    def _check_structure(self) -> None:
        """Raise if a parameter that shapes the networks is not that of the fit to be resumed."""
        for name, value in self._former_parameters.items():
            if name in STRUCTURE and not same(getattr(self, name), value):
                raise ValueError(
                    f"{name} must stay {value!r} when training is resumed, as the networks have"
                    f" that shape; got {getattr(self, name)!r}; clone the model to start anew."
                )

    def _seeds(self, former: dict | None, saved: dict | None, ranks: Ranks) -> dict[str, int]:
        """Seeds of the training that is resumed, or new ones and a new stream of draws."""
        if former is not None:
            return former["seeds"]
        seeds = draw_seeds(self._start_stream())
        # Without a random_state every process draws its own; those of the first rank count.
        seeds, self._stream = ranks.share((seeds, self._stream))
        if saved is not None:
            return saved["seeds"]
        return seeds

    def _plan(
        self, rows: Rows, trainer: Trainer, seeds: dict[str, int], ranks: Ranks, *, partial: bool
    ) -> FitContext:
        """The FitContext of a fit, or of one pass of partial_fit."""
        training_rows, held_out = rows, None
        if not partial:
            rng = np.random.default_rng(seeds["held_out"])
            training_rows, held_out = self._hold_out(rows, trainer, rng)
        if not partial and self.batch_size != "auto" and self.batch_size > training_rows.n_rows:
            warn(
                f"batch_size is {self.batch_size}, but there are only {training_rows.n_rows} rows;"
                " they make one batch."
            )
        batch_size = self._rows_per_batch(training_rows.n_rows, ranks.world_size)
        n_batches = training_rows.n_batches(batch_size, ranks.world_size)
        return FitContext(
            rows=training_rows,
            batch_size=batch_size,
            n_batches=n_batches,
            max_iter=self._n_epochs(n_batches),
            held_out=held_out,
            all_rows=None if held_out is None else rows,
            is_partial=partial,
        )

    def _check_batches(self, fit: FitContext, world_size: int) -> None:
        """Raise unless batches have the rows that networks of the user's own need in training."""
        least = max([least_rows(getattr(self, name)) for name in self._networks], default=1)
        reason = "for a network of your own that one row alone cannot train, such as batch norm"
        if least == 1:
            return
        if fit.rows.n_rows < least * world_size:
            raise ValueError(
                f"X must hold at least {least * world_size} rows to train on, {reason}; got"
                f" {fit.rows.n_rows}; give it more."
            )
        if fit.batch_size < least:
            raise ValueError(
                f"batch_size must be at least {least}, {reason}; got {fit.batch_size}."
            )

    def _rows_per_batch(self, n_rows: int, world_size: int) -> int:
        """Rows of a batch in each process."""
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            return min(self.batch_size, n_rows)
        wanted = n_rows // (BATCHES_PER_EPOCH * world_size)
        return min(max(wanted, SMALLEST_BATCH), self._largest_batch, n_rows)

    def _run(
        self,
        training: Training,
        fit: FitContext,
        held_out: Rows | None,
        *,
        X: Any,
        y: Any,
        save: Callable[[dict], None] | None,
    ) -> None:
        """Train to the end, with rows held out for early stopping, and set fitted attributes."""
        self.history_ = training.history
        is_first = training.ranks.is_first
        callbacks = []
        if is_first:
            callbacks.extend(training.trainer.callbacks)
            if self.verbose:
                callbacks.append(ProgressBar())
        with FitEvents(
            self,
            callbacks,
            max_iter=training.n_epochs,
            X=X,
            y=y,
            fitted_attributes=lambda: self._attributes_if_stopped(training, fit),
        ) as events:
            training.run(
                fit.rows,
                held_out,
                events=events if is_first else None,
                save=save,
            )
            self._training_state = training.state()
            training.finish(fit.rows)
            self._finish(fit, np.random.default_rng(training.seeds["finish"]))

    def _attributes_if_stopped(self, training: Training, fit: FitContext) -> dict[str, Any]:
        """Attributes that the estimator would have if the training stopped now, as a dict."""
        twin = self._copy_with_networks()
        twin._training_state = {}
        average_of = dict(zip(training.objective.parameters(), training.averages.values()))
        with torch.no_grad():
            for name in self._networks:
                network, network_of_twin = getattr(self, name), getattr(twin, name)
                for parameter, copied in zip(network.parameters(), network_of_twin.parameters()):
                    copied.copy_(average_of.get(parameter, parameter))
                network_of_twin.eval()
        if training.averages:
            training.measure_batch_norm(twin._make_objective(fit), fit.rows)
        twin._finish(fit, np.random.default_rng(training.seeds["finish"]))
        return {
            name: value
            for name, value in vars(twin).items()
            if name not in vars(self) or name.endswith("_")
        }

    def _read(self, X: Any, y: Any, *, reset: bool, ensure_min_samples: int) -> tuple:
        """Validated arrays of a fit, the rows first.

        Memory maps, integers, blocks and data sets are not converted.
        """
        if isinstance(X, RowBlocks | torch.utils.data.Dataset):
            if reset:
                self.__dict__.pop("feature_names_in_", None)
            return (X,)
        X = read_rows(X)
        if isinstance(X, np.ndarray) and (isinstance(X, np.memmap) or X.dtype.kind in "biu"):
            X = validate_data(
                self, X, dtype=None, reset=reset, ensure_min_samples=ensure_min_samples
            )
        else:
            X = self._validate(X, reset=reset, ensure_min_samples=ensure_min_samples)
        return (X,)

    def _open(
        self,
        arrays: tuple,
        trainer: Trainer,
        device: str,
        *,
        resume: bool,
        ensure_min_samples: int,
    ) -> Rows:
        """Rows of a fit, in the precision of the networks."""
        if resume:
            dtype = self._network_dtype
        else:
            dtype = np.dtype(float_dtype(arrays[0]))
        budget = trainer.memory_budget
        if budget is not None:
            budget = int(budget * 2**20)  # bytes
        rows = open_rows(*arrays, device=device, dtype=_TORCH_DTYPES[dtype], memory_budget=budget)
        if not isinstance(arrays[0], np.ndarray):
            if rows.n_features == 0:
                raise ValueError("X must hold at least one column; its rows are empty.")
            if rows.n_rows < ensure_min_samples:
                raise ValueError(
                    f"X must hold at least {ensure_min_samples} rows, for {type(self).__name__} to"
                    f" learn how they vary; got {rows.n_rows}; give it more."
                )
            if resume and rows.n_features != self.n_features_in_:
                raise ValueError(
                    f"X has {rows.n_features} features, but {type(self).__name__} is expecting"
                    f" {self.n_features_in_} features as input."
                )
            self.n_features_in_ = rows.n_features
        self._dtype = dtype
        return rows

    def _statistics_of(self, X: np.ndarray) -> RowStatistics:
        """Statistics of validated rows, as `fit` would take them."""
        return take_statistics(open_rows(X, dtype=_TORCH_DTYPES[X.dtype]))

    def _in_blocks(
        self,
        X: np.ndarray,
        function: Callable[[torch.Tensor], torch.Tensor],
        *,
        n_copies: int = 1,
    ) -> np.ndarray:
        """Outputs of a function of tensors for the rows of X (n, d), as one array.

        The function sees blocks of `_query_rows` rows, the last of which is padded with zeros; of
        fewer if it runs large networks on n_copies of each row, such as draws of its code, so that
        one row does not cost as much as 256.
        """
        check_is_fitted(self)
        n_block = self._query_rows
        while n_block * n_copies > NETWORK_ROWS and n_block > 1:
            if self._count_products(n_block * n_copies) <= FEW_PRODUCTS:
                break
            n_block //= 2
        outputs = []
        with torch.inference_mode(), self._threads_for(n_block * n_copies):
            for start in range(0, len(X), n_block):
                n_rows = min(n_block, len(X) - start)
                block = np.zeros((n_block, X.shape[1]), dtype=self._network_dtype)
                with np.errstate(over="ignore"):  # an infinity has no answer below
                    block[:n_rows] = X[start : start + n_rows]
                output = function(torch.from_numpy(block).to(self.device_))
                outputs.append(output[:n_rows].cpu().numpy())
        answers = np.concatenate(outputs)
        self._check_answers(X, answers)
        return answers

    def _threads_for(self, n_rows: int) -> Any:
        """A context with as many threads as passes of n_rows through the networks repay."""
        if self.device_ != "cpu":
            return contextlib.nullcontext()
        return threads_for(self._count_products(n_rows))

    def _count_products(self, n_rows: int) -> int:
        """About how many multiplications a pass of n_rows through the networks takes."""
        networks = [getattr(self, name) for name in self._networks]
        return count_products(networks, n_rows, self.n_features_in_)

    def _check_answers(self, X: np.ndarray, answers: np.ndarray) -> None:
        """Raise if a row of X (n, d) has an answer (n, ...) that is no number."""
        is_lost = np.isnan(answers).reshape(len(answers), -1).any(axis=1)
        if not is_lost.any():
            return
        row = int(np.flatnonzero(is_lost)[0])
        largest = np.nanmax(np.abs(X[row]))
        raise ValueError(
            f"X must hold values that {self._network_dtype} networks can carry; row {row} holds one"
            f" of size {largest:g}, which leads to no number; drop or clip such rows, or scale X"
            " before the fit."
        )

    def _to_network_tensor(self, array: Any) -> torch.Tensor:
        """An array as a tensor of the precision and on the device of the networks."""
        return torch.as_tensor(array, dtype=_TORCH_DTYPES[self._network_dtype], device=self.device_)

    def _copy_with_networks(self) -> Self:
        """A shallow copy with networks of its own; parameters they share stay shared."""
        twin = copy.copy(self)
        networks = copy.deepcopy({name: getattr(self, name) for name in self._networks})
        twin.__dict__.update(networks)
        return twin

    def _check_loaded(self) -> None:
        """Raise a FileFormatError if a file holds what no fit leaves; for `probgen.load`."""
        if not hasattr(self, "_dtype"):
            return
        if np.dtype(self._dtype) not in _TORCH_DTYPES:
            raise FileFormatError(f"networks cannot be of {self._dtype}")
        networks = [getattr(self, name) for name in self._networks]
        check_networks(networks, _TORCH_DTYPES[np.dtype(self._network_dtype)])
        if hasattr(self, "_training_state"):
            check_state(self._training_state, networks)

    def _to_device(self, device: str) -> None:
        """Move the networks, if there are some."""
        if hasattr(self, "device_"):
            self._place(device)

    def _place(self, device: str) -> None:
        """Move the networks, and remember the device."""
        for name in self._networks:
            getattr(self, name).to(device)
        self.device_ = device

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        networks = {name: state[name] for name in self._networks if name in state}
        if str(state.get("device_", "cpu")) != "cpu":
            networks = {name: network.cpu() for name, network in copy.deepcopy(networks).items()}
        return {**state, **networks}

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if hasattr(self, "device_"):
            try:
                device = resolve_device(self.device_)
            except ValueError:  # fitted on a GPU that is not there
                device = "cpu"
            self._to_device(device)


def _trainer_settings() -> set[str]:
    """Names of the parameters of a Trainer."""
    return set(inspect.signature(Trainer).parameters)


def _check_precision(trainer: Trainer, device: str) -> None:
    if trainer.precision == "bf16" and device != "cpu" and not torch.cuda.is_bf16_supported():
        raise ValueError(
            "precision='bf16' needs a device with bfloat16, which this GPU is not; use 'full'."
        )
