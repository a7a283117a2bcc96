"""What every generator with a network shares: how it is fitted, continued, copied and asked."""

import copy

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from probgen._devices import resolve_device
from probgen._validation import check_count, check_real
from probgen._warnings import warn
from probgen.base import GeneratorMixin
from probgen.options._base import TakesOptions
from probgen.row_blocks import RowBlocks
from probgen.training.callbacks import CallbackSupport, FitEvents, ProgressBar
from probgen.training.checkpoints import CheckpointFile
from probgen.training.distributed import joined_ranks, local_device
from probgen.training.engine import Training, draw_seeds
from probgen.training.randomness import global_generator
from probgen.training.rows import float_dtype, open_rows
from probgen.training.trainer import Trainer

# Rows of a block of queries: products of one shape give a row the same digits in any company
QUERY_ROWS = 256
SMALLEST_BATCH, BATCHES_AN_EPOCH = 32, 100


class NeuralGenerator(CallbackSupport, TakesOptions, GeneratorMixin, BaseEstimator):
    """Promises of a generator that is trained by gradients; it writes no loop.

    A subclass names its networks in `_networks`, takes `max_iter`, `batch_size`,
    `learning_rate_init`, `device`, `random_state`, `verbose`, `warm_start` and `trainer` in its
    constructor, and writes:

    - `_check_parameters()`, which raises for what is wrong in them, and calls this class's;
    - `_build(rows)`, which sets the networks as attributes; on the CPU, with torch's global
      generator seeded;
    - `_make_objective()`, an `Objective` that holds those networks;
    - optionally `_default_trainer()`, what trainer=None stands for;
    - optionally `_begin(rows)`, which takes what the objective needs of the rows of this fit;
    - optionally `_finish(rows, held_out, generator, partial)`, which fits whatever stands on
      trained networks;
    - the hooks of `GeneratorMixin`.
    """

    _dtypes = (np.float32, np.float64)  # integers are read in single precision
    _networks: tuple[str, ...] = ()
    _query_rows = (
        QUERY_ROWS  # fewer where the hidden layers of so many rows outgrow a processor's cache
    )
    _largest_batch = 256  # rows of batch_size="auto", however many there are
    trainer: Trainer | None
    n_features_in_: int

    def fit(self, X, y=None):
        """Train the networks on the rows of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features), RowBlocks or torch data set
            Rows; at least 2. Memory maps, blocks and data sets that exceed the trainer's
            memory_budget are streamed. The networks are of the precision of X: double for float64,
            else single.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : estimator object

        Raises
        ------
        ValueError
            If a parameter is out of range, a network does not fit, or X is not made of finite
            numbers.
        """
        goes_on = self.warm_start and hasattr(self, "_training_state")
        return self._train(X, y, goes_on=goes_on, partial=False)

    def partial_fit(self, X, y=None):
        """Train for one pass over the rows of X, going on from where earlier calls ended.

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
        return self._train(X, y, goes_on=hasattr(self, "_training_state"), partial=True)

    def set_params(self, **params):
        """Set parameters, those of the trainer by names such as trainer__schedule; return self."""
        if self.trainer is None and any(name.startswith("trainer__") for name in params):
            self.trainer = params.pop("trainer", None) or self._default_trainer()
        return super().set_params(**params)

    @property
    def n_iter_(self):
        """Epochs that were trained."""
        if not hasattr(self, "history_"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet, so it has no n_iter_.")
        return len(self.history_)

    @property
    def _n_epochs(self):
        """Epochs of a fit."""
        return self.max_iter

    @property
    def _learning_rate(self):
        """Learning rate at the start of a fit."""
        return self.learning_rate_init

    def _check_parameters(self):
        self._check_options()
        check_count("max_iter", self._n_epochs)
        if self.batch_size != "auto":
            check_count("batch_size", self.batch_size, hint="Or 'auto'.")
        check_real("learning_rate_init", self._learning_rate, low=0.0)
        check_count(
            "verbose", int(self.verbose) if isinstance(self.verbose, bool) else self.verbose, low=0
        )
        if self.trainer is not None and not isinstance(self.trainer, Trainer):
            raise ValueError(f"trainer must be a Trainer, or None; got {self.trainer!r}.")

    def _default_trainer(self):
        return Trainer()

    def _hold_out(self, rows, trainer, rng):
        """The rows to train on, and those held out of a fit or None."""
        return (
            rows.split(trainer.validation_fraction, rng) if trainer.early_stopping else (rows, None)
        )

    def _begin(self, rows):
        """Take what the objective needs of the rows of a fit or of one more pass; nothing by
        default."""

    def _finish(self, rows, held_out, generator, partial):
        """Fit what stands on trained networks, of all rows or of those of one more pass; nothing by
        default."""

    def _train(self, X, y, *, goes_on, partial, **reading):
        """Fit from the start or from where it ended, for max_iter epochs or one; reading goes to
        `_read`."""
        self._check_parameters()
        trainer = self._default_trainer() if self.trainer is None else self.trainer
        trainer.check()
        with joined_ranks(resolve_device(self.device)) as ranks:
            device = local_device(resolve_device(self.device), ranks)
            _check_precision(trainer, device)
            least = 1 if partial and goes_on else 2
            arrays = self._read(X, y, reset=not goes_on, ensure_min_samples=least, **reading)
            rows, held_out = self._open(arrays, trainer, device), None
            before = self._training_state if goes_on else None
            checkpoint = saved = None
            if trainer.checkpoint is not None and not partial:
                checkpoint = CheckpointFile(trainer.checkpoint, self, arrays, before)
                saved = checkpoint.load()
            seeds = self._seeds(before, saved, ranks)
            if not partial:
                rows, held_out = self._hold_out(
                    rows, trainer, np.random.default_rng(seeds["held_out"])
                )
            if not goes_on:
                with global_generator("cpu", seeds["start"]):
                    self._build(rows)
            self._begin(rows)
            self._place(device)
            batch_size = self._rows_of_a_batch(rows, ranks, quiet=partial)
            settings = {
                "learning_rate": self._learning_rate,
                "batch_size": batch_size,
                "seeds": seeds,
            }
            training = Training(
                self._make_objective(), trainer, **settings, device=device, ranks=ranks
            )
            if goes_on:
                training.load_state(before)
            n_epochs, schedule = (1, None) if partial else (self._n_epochs, trainer.schedule)
            training.begin(
                n_epochs, rows.n_batches(batch_size, ranks.world_size), schedule=schedule
            )
            if saved is not None:
                training.load_state(saved)
            self._run(training, rows, held_out, checkpoint, X, y, partial)
        return self

    def _seeds(self, before, saved, ranks):
        """The seeds of a fit: those of what it goes on from, or new ones, and then a new stream of
        draws too."""
        if before is not None:
            return before["seeds"]
        seeds = draw_seeds(self._start_stream())
        seeds, self._stream = ranks.share(
            (seeds, self._stream)
        )  # without a seed each process drew its own
        return seeds if saved is None else saved["seeds"]

    def _run(self, training, rows, held_out, checkpoint, X, y, partial):
        """Train to the end, and store what was learned."""
        self.history_ = training.history
        is_first = training.ranks.is_first

        def finish(model):
            generator = np.random.default_rng(training.seeds["finish"])
            model._finish(rows, held_out, generator, partial)

        def fitted_attributes():
            twin = self._copy_with_networks()
            twin._training_state = {}
            average = dict(zip(training.objective.parameters(), training.averages.values()))
            with torch.no_grad():
                for name in self._networks:
                    for mine, its in zip(
                        getattr(self, name).parameters(), getattr(twin, name).parameters()
                    ):
                        its.copy_(average.get(mine, mine))
                    getattr(twin, name).eval()
            finish(twin)
            return {
                name: value
                for name, value in vars(twin).items()
                if name not in vars(self) or name.endswith("_")
            }

        callbacks = (
            [*training.trainer.callbacks, *([ProgressBar()] if self.verbose else [])]
            if is_first
            else []
        )
        with FitEvents(
            self,
            callbacks,
            max_iter=training.n_epochs,
            X=X,
            y=y,
            fitted_attributes=fitted_attributes,
        ) as events:
            save = checkpoint.save if checkpoint is not None and is_first else None
            training.run(
                rows,
                held_out if training.trainer.early_stopping else None,
                events=events if is_first else None,
                save=save,
            )
            self._training_state = training.state()
            training.finish()
            finish(self)

    def _read(self, X, y, *, reset, ensure_min_samples):
        """The checked arrays of a fit, rows first; maps, integers, blocks and data sets stay as
        they are."""
        if isinstance(X, torch.Tensor):
            X = X.detach().cpu().numpy()
        if isinstance(X, RowBlocks | torch.utils.data.Dataset):
            if reset:
                self.__dict__.pop("feature_names_in_", None)
            return (X,)
        if isinstance(X, np.ndarray) and (isinstance(X, np.memmap) or X.dtype.kind in "biu"):
            X = validate_data(
                self, X, dtype=None, reset=reset, ensure_min_samples=ensure_min_samples
            )
        else:
            X = self._validate(X, reset=reset, ensure_min_samples=ensure_min_samples)
        return (X,)

    def _open(self, arrays, trainer, device):
        """Rows of a fit."""
        dtype = (
            self._dtype if hasattr(self, "_training_state") else np.dtype(float_dtype(arrays[0]))
        )
        budget = None if trainer.memory_budget is None else int(trainer.memory_budget * 2**20)
        rows = open_rows(*arrays, device=device, dtype=_TORCH_DTYPES[dtype], memory_budget=budget)
        if not isinstance(arrays[0], np.ndarray):
            if hasattr(self, "_training_state") and rows.n_features != self.n_features_in_:
                raise ValueError(
                    f"X has {rows.n_features} features, but {type(self).__name__} is expecting"
                    f" {self.n_features_in_} features as input."
                )
            self.n_features_in_ = rows.n_features
        self._dtype = dtype
        return rows

    def _rows_of_a_batch(self, rows, ranks, *, quiet):
        """batch_size for these rows, in each process."""
        if self.batch_size == "auto":
            wanted = rows.n_rows // (BATCHES_AN_EPOCH * ranks.world_size)
            return min(max(wanted, SMALLEST_BATCH), self._largest_batch, rows.n_rows)
        if self.batch_size > rows.n_rows and not quiet:
            warn(
                f"batch_size is {self.batch_size}, but there are only {rows.n_rows} rows; they make"
                " one batch.",
            )
        return min(self.batch_size, rows.n_rows)

    def _in_blocks(self, X, function):
        """What function makes of the rows of X (n, d), block by block, as an array; it maps tensors
        to tensors."""
        check_is_fitted(self)
        answers = []
        with torch.inference_mode():
            for start in range(0, len(X), self._query_rows):
                block = X[start : start + self._query_rows]
                n_rows = len(block)
                if n_rows < self._query_rows:
                    block = np.concatenate(
                        [block, np.zeros((self._query_rows - n_rows, X.shape[1]), dtype=X.dtype)]
                    )
                block = torch.from_numpy(np.ascontiguousarray(block, dtype=self._dtype)).to(
                    self.device_
                )
                answers.append(function(block)[:n_rows].cpu().numpy())
        return np.concatenate(answers)

    def _copy_with_networks(self):
        """A shallow copy with networks of its own, what they share still shared."""
        twin = copy.copy(self)
        networks = copy.deepcopy({name: getattr(self, name) for name in self._networks})
        twin.__dict__.update(networks)
        return twin

    def _to_device(self, device):
        """Move the networks, if there are some."""
        if hasattr(self, "device_"):
            self._place(device)

    def _place(self, device):
        """Move the networks, and remember where they are."""
        for name in self._networks:
            getattr(self, name).to(device)
        self.device_ = device

    def __getstate__(self):
        state = super().__getstate__()
        networks = {name: state[name] for name in self._networks if name in state}
        if str(state.get("device_", "cpu")) != "cpu":
            networks = {name: network.cpu() for name, network in copy.deepcopy(networks).items()}
        return {**state, **networks}

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "device_"):
            try:
                device = resolve_device(self.device_)
            except ValueError:  # fitted where there was a GPU
                device = "cpu"
            self._to_device(device)


_TORCH_DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


def _check_precision(trainer, device):
    if trainer.precision == "bf16" and device != "cpu" and not torch.cuda.is_bf16_supported():
        raise ValueError(
            "precision='bf16' needs a device with bfloat16, which this GPU is not; use 'full'."
        )
