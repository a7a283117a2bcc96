"""Settings of the training that are not in the constructor of every generator."""

import inspect
import os
from collections.abc import Sequence

from sklearn.base import BaseEstimator

from probgen._validation import check_choice, check_count, check_flags, check_real, show

MOST_MEMORY = 2.0**40  # MB
OPTIMIZERS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "adagrad": "Adagrad",
    "nadam": "NAdam",
    "radam": "RAdam",
    "rmsprop": "RMSprop",
    "sgd": "SGD",
}
SCHEDULES = ("constant", "cosine", "one_cycle", "plateau")
PRECISIONS = ("full", "bf16")


class Trainer(BaseEstimator):
    """Parameters of the training of a neural generator.

    A generator takes one as its parameter `trainer`. A grid search reaches the parameters by names
    such as `trainer__schedule`.

    Parameters
    ----------
    optimizer : str or subclass of torch.optim.Optimizer, default="adam"
        "adam", "adamw", "adagrad", "nadam", "radam", "rmsprop" or "sgd" (with momentum 0.9), fused
        where torch can.
    schedule : {"constant", "cosine", "one_cycle", "plateau"}, default="constant"
        Path of the learning rate, relative to the generator's `learning_rate_init`: "cosine" falls
        from it to zero over max_iter epochs; "one_cycle" rises to it in the first 30 % of the
        batches and falls to zero [1]_; "plateau" divides it by 10 whenever the validation score, or
        the loss if no rows are held out, has not improved by tol for half of n_iter_no_change
        epochs. `partial_fit` keeps the rate constant.
    weight_decay : float or "path", default=0.0
        Weight of the optimiser's L2 penalty, at least 0; decoupled in "adamw". "path" penalises all
        weights but biases, strongly in the first epoch, by 100 / n for n rows, and hardly after
        40 % of the epochs, by 0.001 / n, so that the best score on held-out rows chooses the
        strength along with the epoch, a regularization path [2]_; it needs early_stopping.
    max_grad_norm : float, default=None
        Largest norm of the gradient of a phase; longer gradients are scaled down.
    ema_decay : float, default=None
        Decay in [0, 1) of an exponential moving average of the weights over the batches, such as
        0.999; the fitted model has the average. After t batches the decay is at most
        (1 + t) / (10 + t), so that the initial weights are soon forgotten.
    precision : {"full", "bf16"}, default="full"
        "bf16" computes products in bfloat16 under torch's autocast, and keeps the weights in full
        precision; for rows of float32, as those of float64 train networks in double precision.
    early_stopping : bool, default=False
        Whether to hold out rows, stop when their score has not improved by tol in n_iter_no_change
        epochs, and restore the best weights.
    validation_fraction : float, default=0.1
        Share of the rows to hold out, in (0, 1); used only with early_stopping.
    n_iter_no_change : int, default=10
        Epochs to wait for an improvement, at least 1; of early stopping and of "plateau".
    tol : float, default=1e-4
        Least improvement that counts there, in units of the score; at least 0.
    callbacks : sequence, default=()
        Objects with the methods of scikit-learn's FitCallback; `probgen.training` has some. For
        callbacks that meta-estimators pass on, use `set_callbacks` of the generator.
    checkpoint : str or path, default=None
        Folder for the state of unfinished fits, created if needed. A fit that was killed resumes
        from there when it is started again with the same parameters and data; on a CPU its weights
        are bit-identical to those of an uninterrupted fit. Each fit has a file of its own, so that
        the fits of a search may share a folder.
    checkpoint_interval : float, default=60.0
        Seconds between two checkpoints, at least 0; work of that long can be lost.
    memory_budget : float, default=None
        Memory for rows on the device, in MB; larger data are streamed. None takes a quarter
        of the machine's memory, or half of the free memory of a GPU.
    compile : bool or str, default=False
        Whether to compile the loss with torch.compile; a string names the backend.
    cuda_graph : bool, default=True
        Whether to capture updates in CUDA graphs on a GPU, if the objective allows it.

    References
    ----------
    .. [1] L. N. Smith and N. Topin, Super-convergence: very fast training of neural networks using
       large learning rates, 2018.
    .. [2] J. Friedman, T. Hastie, R. Tibshirani, Regularization paths for generalized linear models
       via coordinate descent, 2010.

    Examples
    --------
    >>> from probgen import Autoencoder, Trainer
    >>> model = Autoencoder(trainer=Trainer(schedule="cosine", weight_decay=1e-4))
    >>> model.set_params(trainer__schedule="plateau").trainer.schedule
    'plateau'
    """

    def __init__(
        self,
        *,
        optimizer: str | type = "adam",
        schedule: str = "constant",
        weight_decay: float | str = 0.0,
        max_grad_norm: float | None = None,
        ema_decay: float | None = None,
        precision: str = "full",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Sequence = (),
        checkpoint: str | os.PathLike | None = None,
        checkpoint_interval: float = 60.0,
        memory_budget: float | None = None,
        compile: bool | str = False,
        cuda_graph: bool = True,
    ) -> None:
        self.optimizer = optimizer
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.ema_decay = ema_decay
        self.precision = precision
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.checkpoint_interval = checkpoint_interval
        self.memory_budget = memory_budget
        self.compile = compile
        self.cuda_graph = cuda_graph

    def _check_weight_decay(self) -> None:
        if not isinstance(self.weight_decay, str):
            check_real("weight_decay", self.weight_decay, low=0.0, hint="Or 'path'.")
            return
        check_choice("weight_decay", self.weight_decay, ("path",), hint="Or give a number.")
        if not self.early_stopping:
            raise ValueError(
                "weight_decay='path' needs held-out rows to choose its strength; set"
                " early_stopping=True, or give a number."
            )

    def check(self) -> None:
        """Raise a ValueError for the first parameter that is out of range."""
        if not (inspect.isclass(self.optimizer) and hasattr(self.optimizer, "step")):
            check_choice(
                "optimizer", self.optimizer, OPTIMIZERS, hint="Or give a class of torch.optim."
            )
        check_choice("schedule", self.schedule, SCHEDULES)
        check_flags(self)
        check_choice("precision", self.precision, PRECISIONS)
        self._check_weight_decay()
        if self.max_grad_norm is not None:
            check_real("max_grad_norm", self.max_grad_norm, low=0.0)
        if self.ema_decay is not None:
            check_real("ema_decay", self.ema_decay, low=0.0, high=1.0)
        check_real("validation_fraction", self.validation_fraction, low=0.0, high=1.0)
        if not 0.0 < self.validation_fraction < 1.0:
            raise ValueError(
                "validation_fraction must be between 0 and 1; got"
                f" {show(self.validation_fraction)}."
            )
        check_count("n_iter_no_change", self.n_iter_no_change)
        check_real("tol", self.tol, low=0.0)
        check_real("checkpoint_interval", self.checkpoint_interval, low=0.0)
        if self.memory_budget is not None:
            check_real(
                "memory_budget", self.memory_budget, low=0.0, high=MOST_MEMORY, hint="It is in MB."
            )
        if self.checkpoint is not None and not isinstance(self.checkpoint, str | os.PathLike):
            raise ValueError(
                f"checkpoint must be the path of a folder, or None; got {show(self.checkpoint)}."
            )
        if not isinstance(self.compile, bool | str):
            raise ValueError(
                f"compile must be a bool or the name of a backend; got {show(self.compile)}."
            )
        if isinstance(self.compile, str):
            _check_backend(self.compile)
        if not isinstance(self.callbacks, Sequence):
            raise ValueError(
                "callbacks must be a sequence of callbacks, such as [ProgressBar()]; got"
                f" {show(self.callbacks)}."
            )
        for callback in self.callbacks:
            if isinstance(callback, type) or not hasattr(callback, "on_fit_task_end"):
                raise ValueError(
                    "callbacks must hold objects with the methods of scikit-learn's FitCallback,"
                    f" such as ProgressBar(); got {show(callback)}."
                )


def _check_backend(name: str) -> None:
    """Raise unless torch.compile has a backend of this name."""
    from torch._dynamo.backends.registry import list_backends, lookup_backend

    try:
        lookup_backend(name)
    except Exception as error:  # torch raises InvalidBackend, or what importing the backend does
        known = ", ".join(map(repr, list_backends()))
        raise ValueError(
            f"compile must be a bool or the name of a backend, one of {known}; got {name!r}."
        ) from error
