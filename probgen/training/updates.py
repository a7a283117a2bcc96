"""Updates: a loss, its gradient and a step of an optimiser on a batch of rows."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from probgen._warnings import warn
from probgen.training.objective import Phase
from probgen.training.trainer import OPTIMIZERS, Trainer

WARM_UP = 3  # updates before one is captured, in which all buffers are allocated
SGD_MOMENTUM = 0.9
FUSED = {"Adam", "AdamW", "SGD", "Adagrad"}  # also on a CPU


class Update:
    """The update of a phase on a batch.

    Parameters
    ----------
    phase : Phase
    loss : callable
        The phase's loss, perhaps compiled or run under DistributedDataParallel.
    trainer : Trainer
    learning_rate : float
    device : str
    averages : dict
        Moving averages by parameter, which an update moves; empty without averaging.
    share_of_new : Tensor
        Weight of the new parameters in their averages, a scalar that the training sets.
    decay : Tensor, optional
        Factor of the decay of weights in the present epoch, a scalar that the training sets.
    only : bool
        Whether this is the only phase; otherwise gradients are only computed for the parameters of
        the phase.
    """

    def __init__(
        self,
        phase: Phase,
        loss: Callable,
        trainer: Trainer,
        learning_rate: float,
        device: str,
        averages: dict,
        share_of_new: torch.Tensor,
        *,
        only: bool,
        decay: torch.Tensor | None = None,
    ) -> None:
        self.phase = phase
        self.loss = loss
        self.decay = decay
        self.trainer = trainer
        self.parameters: list[torch.Tensor] = [
            parameter for parameter in phase.parameters if parameter.requires_grad
        ]
        self.decayed = [parameter for parameter in self.parameters if parameter.ndim > 1]
        self.kind = torch.device(device).type
        self.optimizer = make_optimizer(phase, self.parameters, trainer, learning_rate, self.kind)
        self.averages = []
        if averages:
            self.averages = [averages[parameter] for parameter in self.parameters]
        self.share_of_new = share_of_new
        self.inputs = None if only else self.parameters
        self.n_parts = 1
        self.graph: Any = None
        self.n_updates = 0

    def __call__(
        self, batch: tuple[torch.Tensor, ...], share: float = 1.0
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Update the parameters; return the mean loss of the batch and further terms, as tensors.

        `share` is the factor with which the mean of the gradients over the processes is the mean
        over all their rows.
        """
        while True:
            try:
                return self._apply(batch, share)
            except torch.OutOfMemoryError:
                if self.n_parts >= len(batch[0]):
                    raise
                self.n_parts *= 2
                message = (
                    f"The device has too little memory for batches of {len(batch[0])} rows; the"
                    f" same gradient is now added up over {self.n_parts} parts. Lower batch_size to"
                    " do without."
                )
            # Outside of the handler, which keeps the tensors of the failed attempt alive.
            self._free()
            warn(message, RuntimeWarning)

    def _apply(
        self, batch: tuple[torch.Tensor, ...], share: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        for parameter in self.parameters:
            parameter.grad = None
        if self.n_parts == 1:
            loss, terms = self._backward(batch, share)
        else:
            loss, terms = self._accumulate(batch, share)
        if self.decay is not None:
            self._add_decay(self.decay)
        if self.trainer.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.trainer.max_grad_norm)
        if self.phase.skip is not None:
            # Fused optimisers change nothing if this is 1.
            self.optimizer.found_inf = self.phase.skip(loss)
        self.optimizer.step()
        if self.averages:
            self._move_averages()
        return loss, terms

    @torch.no_grad()
    def _add_decay(self, decay: torch.Tensor) -> None:
        """Add the gradient of half the sum of squared weights, times decay; biases are free."""
        weights = [weight for weight in self.decayed if weight.grad is not None]
        gradients: Any = [weight.grad for weight in weights]
        penalties: Any = torch._foreach_mul(weights, decay)
        torch._foreach_add_(gradients, penalties)

    @torch.no_grad()
    def _move_averages(self) -> None:
        if self.kind == "cpu":
            torch._foreach_lerp_(self.averages, self.parameters, self.share_of_new.item())
            return
        steps = torch._foreach_sub(self.parameters, self.averages)
        torch._foreach_mul_(steps, self.share_of_new)  # a graph reads the value in each replay
        torch._foreach_add_(self.averages, steps)

    def _backward(
        self, batch: tuple[torch.Tensor, ...], share: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Add the gradient of a batch; return its loss and terms."""
        if self.trainer.precision == "bf16":
            with torch.autocast(self.kind, torch.bfloat16):
                output = self.loss(*batch)
        else:
            output = self.loss(*batch)
        loss, terms = output, {}
        if isinstance(output, tuple):
            loss, terms = output
        weighted = loss
        if share != 1.0:
            weighted = share * loss
        weighted.backward(inputs=self.inputs)
        return loss.detach(), terms

    def _accumulate(
        self, batch: tuple[torch.Tensor, ...], share: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Like `_backward`, over parts of the batch, each weighted by its number of rows."""
        n_rows = len(batch[0])
        total: Any = 0.0
        sums: dict = {}
        for part in zip(*(tensor.tensor_split(self.n_parts) for tensor in batch)):
            if len(part[0]):
                weight = len(part[0]) / n_rows
                loss, terms = self._backward(part, share * weight)
                total = total + weight * loss
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0.0) + weight * term.detach()
        return total, sums

    def _free(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        if self.kind == "cuda":
            torch.cuda.empty_cache()


class GraphedUpdate(Update):
    """An update that is captured in a CUDA graph after a few batches, for batches of one shape."""

    def __init__(self, *args: Any, noise: torch.Generator, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.noise = noise
        self.stream = torch.cuda.Stream()

    def __call__(
        self, batch: tuple[torch.Tensor, ...], share: float = 1.0
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if self.graph is None and self.n_updates >= WARM_UP and self.n_parts == 1:
            self._capture(batch)
        self.n_updates += 1
        if self.graph and all(
            own.shape == tensor.shape for own, tensor in zip(self.inputs_of_graph, batch)
        ):
            for own, tensor in zip(self.inputs_of_graph, batch):
                own.copy_(tensor)
            self.graph.replay()
            loss, terms = self.outputs_of_graph
            return loss.clone(), {name: term.clone() for name, term in terms.items()}
        if self.graph is None:
            with self._aside():
                return super().__call__(batch, share)
        return super().__call__(batch, share)

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Run on the stream of the later capture, which CUDA requires of the warm-up."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream().wait_stream(self.stream)

    def _capture(self, batch: tuple[torch.Tensor, ...]) -> None:
        self.inputs_of_graph = tuple(tensor.clone() for tensor in batch)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.noise)
        for parameter in self.parameters:
            parameter.grad = None
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.outputs_of_graph = self._apply(self.inputs_of_graph, 1.0)
            self.graph = graph
        except RuntimeError:  # an operation that waits for the device, such as a branch on a value
            self.graph = False
            self._free()


def make_optimizer(
    phase: Phase,
    parameters: Sequence[torch.Tensor],
    trainer: Trainer,
    learning_rate: float,
    kind: str,
) -> Any:
    """The optimiser of a phase, fused if torch has it so, and ready for capture on CUDA."""
    name = trainer.optimizer
    is_named = isinstance(name, str)
    optimizer_class = _optimizer_class(name)
    accepted = inspect.signature(optimizer_class).parameters
    options: dict = {}
    if not isinstance(trainer.weight_decay, str) and (trainer.weight_decay or is_named):
        options["weight_decay"] = trainer.weight_decay
    options.update(phase.optimizer)
    options["lr"] = learning_rate * options.get("lr", 1.0)
    if name == "sgd":
        options.setdefault("momentum", SGD_MOMENTUM)
    if "fused" in accepted and (is_named or optimizer_class.__module__.startswith("torch.optim")):
        options.setdefault("fused", optimizer_class.__name__ in FUSED)
    if kind == "cuda" and "capturable" in accepted:
        options["capturable"] = True
        options["lr"] = torch.tensor(options["lr"], device="cuda")
    options = {key: value for key, value in options.items() if key in accepted}
    return optimizer_class(parameters, **options)


def is_capturable(optimizer: str | type) -> bool:
    """Whether an optimiser, a name or a class, can keep its state and its rate on the device."""
    return "capturable" in inspect.signature(_optimizer_class(optimizer)).parameters


def _optimizer_class(optimizer: str | type) -> Any:
    if isinstance(optimizer, str):
        return getattr(torch.optim, OPTIMIZERS[optimizer])
    return optimizer
