"""The one loop that trains every neural generator."""

import copy
import math
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from probgen._warnings import warn
from probgen.networks import least_rows
from probgen.networks.batch_norm import batch_norms
from probgen.training.callbacks import FitEvents
from probgen.training.distributed import IndexedLoss, LossRunner, Ranks
from probgen.training.divergence import DivergenceError, LossWatch
from probgen.training.history import History
from probgen.training.nests import on_cpu, to_device
from probgen.training.objective import Objective
from probgen.training.randomness import global_generator
from probgen.training.rows import Rows
from probgen.training.state_checks import check_moments
from probgen.training.trainer import Trainer
from probgen.training.updates import GraphedUpdate, Update, is_capturable

CHECK_EVERY = 32  # batches between checks of the loss on a GPU, as each check waits for the device
KEEP_EVERY = 512  # batches between copies of good weights within an epoch
STATISTICS_BATCHES = 64  # behind the statistics of batch norm under averaged weights
# First and last strength of the path of weight decay, in units of one row's loss.
DECAY_PATH = (100.0, 1e-3)
DECAY_SHARE = 0.4  # of the epochs that the path takes; later ones have no penalty
SEEDS = ("start", "shuffle", "noise", "held_out", "finish")
# Attributes of a Training that are part of its state.
COUNTS = ("epoch", "batch", "n_steps", "n_stale", "best_score", "is_finished", "n_epochs")


class Training:
    """A training that can be stopped anywhere, and resumes as if it had not been.

    Parameters
    ----------
    objective : Objective
        Already on the device.
    trainer : Trainer
    learning_rate : float
    batch_size : int
        Rows of a batch, in each process.
    seeds : dict
        Of `draw_seeds`.
    device : str
    ranks : Ranks, optional

    Attributes
    ----------
    epoch, batch : int
        Complete epochs, and batches of the present one.
    history : History
        One record for each complete epoch.
    """

    def __init__(
        self,
        objective: Objective,
        trainer: Trainer,
        *,
        learning_rate: float,
        batch_size: int,
        seeds: dict[str, int],
        device: str = "cpu",
        ranks: Ranks | None = None,
    ) -> None:
        self.objective = objective
        self.trainer = trainer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.seeds = seeds
        self.device = device
        self.ranks = ranks or Ranks()

        self.epoch = 0
        self.batch = 0
        self.n_steps = 0
        self.is_finished = False
        self.history = History()
        self.sums: dict = {}  # of the losses of the present epoch, and numbers of rows
        self.schedulers: list = []

        # Early stopping: epochs without improvement, and the best of the epochs.
        self.n_stale = 0
        self.best_score = -math.inf
        self.best_weights: dict | None = None

        self.noise = torch.Generator(device).manual_seed((seeds["noise"] + self.ranks.rank) % 2**63)
        self.global_state: dict = {}
        objective.noise = self.noise
        # Batch norm cannot be trained on one row: a shorter last batch is left out of its epoch.
        self.least_rows = least_rows(objective)
        self.averages = {}
        if trainer.ema_decay is not None:
            self.averages = {p: p.detach().clone() for p in objective.parameters()}
        self.share_of_new = torch.zeros((), device=device, dtype=torch.float64)
        self.decay = None
        self.decays: np.ndarray = np.zeros(0)  # of the epochs that are planned, if they vary
        if trainer.weight_decay == "path":
            # In place of a float, so that captured CUDA graphs see changes.
            self.decay = torch.zeros((), device=device, dtype=torch.float64)
        self.updates = self._make_updates()
        self.good: Any = None  # the last state whose weights had a sound loss
        self.pending: Any = None  # a later state, until the next batch shows its loss
        self.watch = LossWatch()
        self.first_batch: tuple | None = None

    def begin(
        self, n_epochs: int, rows: Rows, held_out: Rows | None = None, *, schedule: str | None
    ) -> None:
        """Plan epochs, and set the learning rate to its start.

        Parameters
        ----------
        n_epochs : int
            Epochs to train, after those trained so far.
        rows : Rows
        held_out : Rows, optional
            As in `run`.
        schedule : str or None
            Path of the learning rate through these epochs; None keeps it constant.
        """
        self.is_finished = False
        self.n_stale = 0
        self.watch = LossWatch()
        self.n_epochs = self.epoch + n_epochs
        self.decays = np.zeros(n_epochs)
        if held_out is not None:
            n_decayed = max(1, int(DECAY_SHARE * n_epochs))
            self.decays[:n_decayed] = np.geomspace(*DECAY_PATH, n_decayed) / rows.n_rows
        sizes = rows.batch_sizes(
            self.batch_size, rank=self.ranks.rank, world_size=self.ranks.world_size
        )
        held_out_sizes = {}
        if held_out is not None:
            held_out_sizes = held_out.batch_sizes(self.batch_size)
        self.objective.begin(
            {size: n_epochs * count for size, count in sizes.items()},
            {size: n_epochs * count for size, count in held_out_sizes.items()},
        )
        for update in self.updates:
            rate = self.learning_rate * update.phase.optimizer.get("lr", 1.0)
            for group in update.optimizer.param_groups:
                group.pop("initial_lr", None)
                _set_rate(group, rate)
        n_batches = rows.n_batches(self.batch_size, self.ranks.world_size)
        self.schedulers = self._make_schedulers(n_epochs * n_batches, schedule)

    def run(
        self,
        rows: Rows,
        held_out: Rows | None = None,
        *,
        events: FitEvents | None = None,
        save: Callable[[dict], None] | None = None,
    ) -> None:
        """Train to the end that `begin` set, or until something stops it.

        Parameters
        ----------
        rows : Rows
        held_out : Rows, optional
            Rows for early stopping.
        events : FitEvents, optional
        save : callable, optional
            Called with `state()` when checkpoint_interval has passed, and at the end.
        """
        self.was_interrupted = False
        self.good = self.state()
        self.first_batch = None
        self.saved_at = time.monotonic()
        if held_out is None:
            self.best_weights = None  # those of the run that this one resumes
        self.objective.train()
        try:
            while self.epoch < self.n_epochs and not self.is_finished:
                self._run_epoch(rows, held_out, events, save)
            self._check_weights()
            self._check_last_losses()
        except KeyboardInterrupt:
            self.was_interrupted = True
        except DivergenceError as error:
            self._fall_back(str(error))
        else:
            self.is_finished = True
            if save is not None:
                save(self.state())
        finally:
            self.good = self.pending = self.first_batch = None
            self.objective.eval()

    def finish(self, rows: Rows | None = None) -> None:
        """Put the final weights into the objective: the best, the averaged or the last ones.

        Batch norm gets its statistics under averaged weights from the rows, if there are any.
        """
        with torch.no_grad():
            if self.trainer.early_stopping and self.best_weights is not None:
                self.objective.load_state_dict(self.best_weights)
                return
            for parameter, average in self.averages.items():
                parameter.copy_(average)
        if rows is not None:
            self.measure_batch_norm(self.objective, rows)

    def measure_batch_norm(self, objective: Objective, rows: Rows) -> None:
        """Set the running statistics of batch norm to those under averaged weights, if there are.

        Parameters
        ----------
        objective : Objective
            That of this training, or another one of copied networks, with averaged weights.
        rows : Rows
            To train on; some batches of them are run.
        """
        if not self.averages or not batch_norms(objective):
            return
        rng = np.random.default_rng(self.seeds["held_out"])
        n_whole = max(1, rows.n_rows // self.batch_size)
        batches = rows.batches(rng, self.batch_size)
        noise = getattr(objective, "noise", None)
        objective.noise = torch.Generator(self.device).manual_seed(self.seeds["held_out"])
        with global_generator(self.device, self.seeds["held_out"]), torch.no_grad():
            objective.measure_batch_norm(islice(batches, min(n_whole, STATISTICS_BATCHES)))
        if noise is not None:
            objective.noise = noise

    def state(self) -> dict[str, Any]:
        """Everything that a training needs to resume, as a nest of plain values and CPU tensors."""
        return on_cpu(
            {
                "weights": self.objective.state_dict(),
                "averages": list(self.averages.values()),
                "optimizers": [update.optimizer.state_dict() for update in self.updates],
                "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
                "best_weights": self.best_weights,
                "noise": self.noise.get_state(),
                "global_state": self.global_state,
                "seeds": self.seeds,
                "history": self.history.records,
                "sums": self.sums,
                "first_losses": self.watch.first,
                **{name: getattr(self, name) for name in COUNTS},
            }
        )

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a `state()`."""
        state = copy.deepcopy(state)
        self.objective.load_state_dict(state["weights"])
        for average, value in zip(self.averages.values(), state["averages"]):
            average.copy_(value)
        for update, optimizer_state in zip(self.updates, state["optimizers"]):
            check_moments(optimizer_state, update.parameters)
            update.optimizer.load_state_dict(optimizer_state)
            for group in update.optimizer.param_groups:
                if isinstance(group["lr"], torch.Tensor):
                    group["lr"] = group["lr"].to(self.device)
        for scheduler, scheduler_state in zip(self.schedulers, state["schedulers"]):
            scheduler.load_state_dict(scheduler_state)
        self.noise.set_state(state["noise"])
        self.best_weights = to_device(state["best_weights"], self.device)
        self.global_state = state["global_state"]
        self.seeds = state["seeds"]
        self.sums = state["sums"]
        self.watch.first = state.get("first_losses", {})  # absent from older files
        self.history.records[:] = state["history"]
        for name in COUNTS:
            setattr(self, name, state[name])

    def _make_updates(self) -> list[Update]:
        """An update for each phase of the objective."""
        phases = self.objective.phases()
        losses = [phase.loss for phase in phases]
        is_distributed = self.ranks.world_size > 1
        if is_distributed:
            runner = torch.nn.parallel.DistributedDataParallel(
                LossRunner(self.objective, phases),
                device_ids=None if self.device == "cpu" else [self.device],
                find_unused_parameters=len(phases) > 1,
            )
            losses = [IndexedLoss(runner, index) for index in range(len(phases))]
        if self.trainer.compile:
            backend = self.trainer.compile
            if backend is True:
                backend = "inductor"
            losses = [torch.compile(loss, backend=backend) for loss in losses]
        is_captured = (
            self.device != "cpu"
            and self.trainer.cuda_graph
            and not is_distributed
            and is_capturable(self.trainer.optimizer)
            and not self.objective.draws_globally
        )
        make_update: Callable = Update
        if is_captured:
            make_update = partial(GraphedUpdate, noise=self.noise)
        return [
            make_update(
                phase,
                loss,
                self.trainer,
                self.learning_rate,
                self.device,
                self.averages,
                self.share_of_new,
                decay=self.decay,
                # DistributedDataParallel waits for the gradients of all parameters.
                only=len(phases) == 1 or is_distributed,
            )
            for phase, loss in zip(phases, losses)
        ]

    def _make_schedulers(self, n_steps: int, schedule: str | None) -> list:
        """A scheduler of the learning rate for each optimiser, none for a constant one."""
        optimizers = [update.optimizer for update in self.updates]
        lr_scheduler = torch.optim.lr_scheduler
        if schedule == "cosine":
            return [lr_scheduler.CosineAnnealingLR(optimizer, n_steps) for optimizer in optimizers]
        if schedule == "one_cycle":
            return [
                lr_scheduler.OneCycleLR(
                    optimizer,
                    float(optimizer.param_groups[0]["lr"]),
                    total_steps=n_steps + 1,
                    cycle_momentum=False,
                )
                for optimizer in optimizers
            ]
        if schedule == "plateau":
            return [
                lr_scheduler.ReduceLROnPlateau(
                    optimizer,
                    mode="max",
                    patience=max(1, self.trainer.n_iter_no_change // 2),
                    threshold=self.trainer.tol,
                    threshold_mode="abs",
                )
                for optimizer in optimizers
            ]
        return []

    def _run_epoch(
        self,
        rows: Rows,
        held_out: Rows | None,
        events: FitEvents | None,
        save: Callable[[dict], None] | None,
    ) -> None:
        """Train for one epoch, or for the rest of one."""
        start = time.perf_counter()
        ranks = self.ranks
        self.objective.begin_epoch(self.epoch)
        if self.decay is not None:
            self.decay.fill_(float(self.decays[self.epoch - self.n_epochs]))
        if events is not None:
            events.epoch_begin(self.epoch)
        rng = np.random.default_rng([self.seeds["shuffle"], self.epoch])
        n_batches = rows.n_batches(self.batch_size, ranks.world_size)
        batches = rows.batches(
            rng, self.batch_size, start=self.batch, rank=ranks.rank, world_size=ranks.world_size
        )
        schedulers = self.schedulers
        if self.trainer.schedule == "plateau":
            schedulers = []  # they step after an epoch
        previous: tuple = ()
        for batch in batches:
            is_last = self.batch + 1 == n_batches
            share = 1.0
            if is_last and ranks.world_size > 1:
                share = self._share(rows, batch)
            if share == 0.0:  # no row is left for this process, which must take part all the same
                batch = tuple(tensor[:1] for tensor in previous)
            previous = batch
            is_left_out = is_last and self._is_too_short(rows)
            if self.objective.draws_globally and not is_left_out:
                with global_generator(self.device, self.seeds["noise"], self.global_state):
                    self._step(batch, share)
            elif not is_left_out:
                self._step(batch, share)
            self.batch += 1
            self.n_steps += 1
            for scheduler in schedulers:
                scheduler.step()
            if not is_last:
                if self.n_steps % KEEP_EVERY == 0:
                    self._keep_good()
                self._save_if_due(save)
        self._end_epoch(rows, held_out, time.perf_counter() - start)
        self._keep_good()
        self._save_if_due(save)
        wants_to_stop = events is not None and bool(events.epoch_end(self.epoch - 1))
        if ranks.agree(wants_to_stop):
            self.is_finished = True

    def _step(self, batch: tuple[torch.Tensor, ...], share: float) -> None:
        """Update the networks on one batch."""
        n_rows = 0
        if share:
            n_rows = len(batch[0])
        if self.first_batch is None:
            self.first_batch = batch
        is_sound = True
        if self.trainer.ema_decay is not None:
            self.share_of_new.fill_(max(1.0 - self.trainer.ema_decay, 9.0 / (10.0 + self.n_steps)))
        for update in self.updates:
            if self.n_steps % update.phase.every == 0:
                loss, terms = update(batch, share)
                is_sound &= self._record_loss(update.phase.name, loss, n_rows)
                for name, term in terms.items():
                    self._record(name, term.detach(), n_rows)
        if self.pending is not None:
            if is_sound:
                self.good = self.pending
            self.pending = None

    def _record_loss(self, name: str, loss: torch.Tensor, n_rows: int) -> bool:
        """Add the loss of a phase to the sums, and return whether it is sound.

        On a GPU it counts as sound where nothing depends on it, as a look at it waits for the
        device.
        """
        total = self._record(name, loss, n_rows)
        if self.device == "cpu" or self.pending is not None or name not in self.watch.first:
            return self.watch.is_sound(name, self.ranks.agree(float(loss)))
        if self.n_steps % CHECK_EVERY == 0 and not math.isfinite(self.ranks.agree(float(total))):
            raise DivergenceError(f"{name} became {float(total)}")
        return True

    def _record(self, name: str, value: torch.Tensor, n_rows: int) -> Any:
        """Add a value to the sums of the epoch, and return its sum."""
        if self.device == "cpu":
            value = value.item()
        total, count = self.sums.get(name, (0.0, 0))
        self.sums[name] = (total + n_rows * value, count + n_rows)
        return self.sums[name][0]

    def _share(self, rows: Rows, batch: tuple[torch.Tensor, ...]) -> float:
        """Factor on this process's loss of an uneven last batch.

        Gradients are averaged over the processes, whatever their numbers of rows are.
        """
        return len(batch[0]) * self.ranks.world_size / self._n_last(rows)

    def _is_too_short(self, rows: Rows) -> bool:
        """Whether a process has too few rows of the last batch to train the networks."""
        if self.least_rows == 1:
            return False
        return self._n_last(rows) < self.least_rows * self.ranks.world_size

    def _n_last(self, rows: Rows) -> int:
        """Rows of the last batch, in all processes together."""
        return (rows.n_rows - 1) % (self.batch_size * self.ranks.world_size) + 1

    def _end_epoch(self, rows: Rows, held_out: Rows | None, seconds: float) -> None:
        """Validate, and append the record of the epoch."""
        losses = {name: float(total) / max(count, 1) for name, (total, count) in self.sums.items()}
        for name, value in losses.items():
            if not math.isfinite(value):
                raise DivergenceError(f"{name} became {value}")
        for name in self.watch.first.keys() & losses.keys():
            self.watch.check(name, losses[name])
        record = {"epoch": self.epoch + 1, **losses, **self.objective.end_epoch()}
        if held_out is not None:
            record["validation_score"] = self._validate(held_out, rows)
        record["learning_rate"] = float(self.updates[0].optimizer.param_groups[0]["lr"])
        record["seconds"] = seconds
        if self.trainer.schedule == "plateau":
            for scheduler in self.schedulers:
                scheduler.step(record.get("validation_score", -losses[self.updates[0].phase.name]))
        self.history.append(record)
        self.epoch += 1
        self.batch = 0
        self.sums = {}

    def _validate(self, held_out: Rows, rows: Rows) -> float:
        """Score the weights that the model would have now, under the same noise in every epoch."""
        weights = copy.deepcopy(self.objective.state_dict()) if self.averages else None
        with torch.no_grad():
            for parameter, average in self.averages.items():
                parameter.copy_(average)
        self.measure_batch_norm(self.objective, rows)
        self.objective.eval()
        self.objective.noise = torch.Generator(self.device).manual_seed(self.seeds["held_out"])
        try:
            batches = held_out.batches(None, self.batch_size)
            with torch.no_grad():
                score = float(self.objective.validation_score(batches))
            self._stop_early(score)
        finally:
            self.objective.noise = self.noise
            self.objective.train()
            if weights is not None:
                self.objective.load_state_dict(weights)
        return score

    def _stop_early(self, score: float) -> None:
        """Keep the present weights if they are the best so far, or stop after too many epochs."""
        if math.isnan(score):
            raise DivergenceError("the validation score became nan")
        if score >= self.best_score + self.trainer.tol:
            self.best_score = score
            self.n_stale = 0
            self.best_weights = copy.deepcopy(dict(self.objective.state_dict()))
        else:
            self.n_stale += 1
        if self.n_stale >= self.trainer.n_iter_no_change:
            self.is_finished = True

    def _save_if_due(self, save: Callable[[dict], None] | None) -> None:
        """Save the state if the last save was long enough ago."""
        if save is None or time.monotonic() - self.saved_at < self.trainer.checkpoint_interval:
            return
        save(self.state())
        self.saved_at = time.monotonic()

    def _check_weights(self) -> None:
        """Raise if a weight is not finite."""
        with torch.no_grad():
            finite = all(torch.isfinite(p).all().item() for p in self.objective.parameters())
        if self.ranks.agree(not finite):
            raise DivergenceError("a weight stopped being finite")

    def _keep_good(self) -> None:
        """Remember the present state, which is good if the next batch has a sound loss."""
        self._check_weights()
        self.pending = self.state()

    def _check_last_losses(self) -> None:
        """Raise unless the final weights have sound losses on the first batch."""
        if self.first_batch is None:
            return
        for name, loss in self._losses(self.first_batch).items():
            self.watch.check(name, self.ranks.agree(loss))

    def _losses(self, batch: tuple[torch.Tensor, ...]) -> dict[str, float]:
        """Losses of all phases on a batch, which leave networks and noise as they were."""
        buffers = list(self.objective.buffers())
        before = [buffer.clone() for buffer in buffers]
        seed = self.seeds["held_out"]
        self.objective.noise = torch.Generator(self.device).manual_seed(seed)
        losses = {}
        try:
            for update in self.updates:
                n_rows = -(-len(batch[0]) // update.n_parts)  # as many as fit into memory
                part = tuple(tensor[:n_rows] for tensor in batch)
                with global_generator(self.device, seed):
                    loss = update.phase.loss(*part)
                if isinstance(loss, tuple):
                    loss, _ = loss
                losses[update.phase.name] = loss.item()
        finally:
            self.objective.noise = self.noise
            with torch.no_grad():
                for buffer, value in zip(buffers, before):
                    buffer.copy_(value)
        return losses

    def _fall_back(self, what: str) -> None:
        """Restore the last good state, and warn of what happened."""
        where = f"in epoch {self.epoch + 1}, batch {self.batch + 1}"
        if self.epoch == self.n_epochs:
            where = "after the last batch"
        self.load_state(self.good)
        weights = f"weights of epoch {self.epoch + 1}, batch {self.batch + 1}"
        if not self.n_steps:
            weights = "initial weights"
        warn(
            f"Training stopped {where}, where {what}; the {weights} were put back. Lower"
            f" learning_rate_init (now {self.learning_rate:g}), set max_grad_norm in the trainer,"
            " or scale the data.",
            ConvergenceWarning,
        )


def draw_seeds(generator: np.random.Generator) -> dict[str, int]:
    """A seed for each kind of randomness in a training, as a dict of int."""
    return dict(zip(SEEDS, generator.integers(2**63, size=len(SEEDS)).tolist()))


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
