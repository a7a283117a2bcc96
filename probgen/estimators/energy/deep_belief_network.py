"""Deep belief networks: machines stacked layer by layer, then trained together up and down."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from probgen._validation import (
    RandomState,
    check_count,
    check_hidden_layer_sizes,
    check_real,
    show,
)
from probgen.base import Likelihood
from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.beliefs import BeliefNetwork, log_bound
from probgen.boltzmann.chains import Clamp, clamp_of_rows, tempered_chains
from probgen.boltzmann.machine import BernoulliMachine, LabelledMachine
from probgen.boltzmann.queries import draw_units, schedule
from probgen.conditions.given import Conditions
from probgen.estimators._classes import ClassConditional, one_hot
from probgen.estimators.energy.completion import BeliefCompletion
from probgen.estimators.energy.machines import READ_ROWS, MachineGenerator, draw_with
from probgen.estimators.energy.objective import BoltzmannObjective, UpDownObjective
from probgen.estimators.energy.support import check_bits
from probgen.options import Option
from probgen.training.engine import Training, draw_seeds
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective
from probgen.training.rows import Rows, open_rows
from probgen.training.trainer import Trainer


class DeepBeliefNetwork(BeliefCompletion, MachineGenerator):
    """Deep belief network: directed layers of bits below a restricted Boltzmann machine.

    Each layer is first a restricted Boltzmann machine of the layer below [1]_. The up-down pass
    then trains all layers together: rows go up, and the generative weights learn to undo that;
    chains of the top machine go down, and the recognition weights learn to undo that.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(256, 256)
        Units of the hidden layers, from the lowest up; at least 2 layers.
    visible : str or Option, default="bernoulli"
        Features, as in `RestrictedBoltzmannMachine`.
    algorithm : str or Option, default="pcd"
        Gradient of the machines, as in `RestrictedBoltzmannMachine`.
    dynamic_binarization : bool, default=False
        As in `RestrictedBoltzmannMachine`.
    n_pretraining : int, default=50
        Epochs of the machine of each layer, at the rates and schedule of the whole.
    n_importance_samples : int, default=32
        Draws of the hidden layers behind the bound of a row, at least 1. More tighten it. Draws
        under conditions have proposals of their own.
    n_sampling_steps : int, default=1000
        As in `RestrictedBoltzmannMachine`, of the top machine.
    partition : str or Option, default="ais"
        As in `RestrictedBoltzmannMachine`, of the top machine.
    max_iter : int, default=50
        Epochs of the up-down pass.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 256, a hundredth of the rows.
    learning_rate_init : float, default=2e-3
        Initial learning rate of the machines; that of the up-down pass is `up_down_rate` times it.
    up_down_rate : float, default=0.1
        Factor on the learning rate in the up-down pass, above 0.
    trainer : Trainer, default=None
        All other settings of training; None is `Trainer(schedule="cosine", ema_decay=0.999)`.
        Early stopping, callbacks and checkpoints are those of the up-down pass.
    warm_start : bool, default=False
        Whether `fit` continues the up-down pass of the last fit.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Device of the network.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit, the stream of later draws and the estimate of log Z.
    verbose : int, default=0
        Whether to show a progress bar of the up-down pass.

    Attributes
    ----------
    network_ : torch.nn.Module
        Layers of generation and recognition, and the machine on top.
    history_ : History
        One record for each epoch of the up-down pass: the loss is minus the mean log-probability
        of each layer given its draw above, plus the gap of free energies of the top machine.
    n_iter_ : int
        Epochs of the up-down pass.
    device_ : str

    Notes
    -----
    `score_samples` is a lower bound on log p(x), tightened by importance sampling from the
    recognition weights, with the log Z of the top machine. Where that is an estimate, see
    `log_partition` for its bracket: the bound holds up to its error. `transform` gives the
    probabilities of the top hidden layer, and `to_network` hands the weights over to torch.

    Missing values drop out of the lowest layer, whose features are independent given the hidden
    units above. Recognition sees them filled by chains of recognition and generation, and their
    rows have lower bounds too. Draws under conditions and `impute` choose among 256 proposals of
    the hidden layers by importance weights, and warn where these are too uneven.

    References
    ----------
    .. [1] G. E. Hinton, S. Osindero, Y.-W. Teh, A fast learning algorithm for deep belief nets,
       Neural Computation, 2006.

    Examples
    --------
    >>> from probgen import DeepBeliefNetwork
    >>> from sklearn.datasets import load_digits
    >>> X = (load_digits().data > 7).astype("float32")
    >>> model = DeepBeliefNetwork((16, 12), n_pretraining=2, max_iter=2, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sample(3).shape
    ((1797, 12), (3, 64))
    """

    _networks: tuple[str, ...] = ("network_",)
    _query_parameters = MachineGenerator._query_parameters | {"n_importance_samples"}
    _options: ClassVar[Mapping] = {
        name: makers for name, makers in MachineGenerator._options.items() if name != "penalty"
    }
    _estimate_remedy = "raise n_importance_samples"
    network_: Any

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (256, 256),
        *,
        visible: str | Option = "bernoulli",
        algorithm: str | Option = "pcd",
        dynamic_binarization: bool = False,
        n_pretraining: int = 50,
        n_importance_samples: int = 32,
        n_sampling_steps: int = 1000,
        partition: str | Option = "ais",
        max_iter: int = 50,
        batch_size: int | str = "auto",
        learning_rate_init: float = 2e-3,
        up_down_rate: float = 0.1,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.visible = visible
        self.algorithm = algorithm
        self.dynamic_binarization = dynamic_binarization
        self.n_pretraining = n_pretraining
        self.n_importance_samples = n_importance_samples
        self.n_sampling_steps = n_sampling_steps
        self.partition = partition
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.up_down_rate = up_down_rate
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def to_network(self) -> torch.nn.Sequential:
        """Return the layers of recognition as a torch network, to be trained further.

        Returns
        -------
        network : torch.nn.Sequential
            A copy: linear layers and sigmoids from the visible units to the top hidden layer. Units
            are bits, real values in standard deviations from their means, or one-hot levels.
        """
        check_is_fitted(self)
        return self.network_.encoder()

    @property
    def _likelihood(self) -> Likelihood:
        return Likelihood("lower_bound", self._measure)

    @property
    def _n_features_out(self) -> int:
        return self.network_.top.n_hidden

    @property
    def _bottom(self) -> Any:
        if hasattr(self, "network_"):
            return self.network_.bottom
        return None

    @property
    def _top(self) -> Any:
        return self.network_.top

    @property
    def _learning_rate(self) -> float:
        return self.up_down_rate * self.learning_rate_init

    def _check_parameters(self) -> None:
        check_real("learning_rate_init", self.learning_rate_init, low=0.0)
        check_real("up_down_rate", self.up_down_rate, low=0.0)
        super()._check_parameters()
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        if len(self.hidden_layer_sizes) < 2:
            raise ValueError(
                "hidden_layer_sizes must hold at least 2 layers; got"
                f" {show(self.hidden_layer_sizes)}; RestrictedBoltzmannMachine has one."
            )
        check_count("n_pretraining", self.n_pretraining)
        check_count("n_importance_samples", self.n_importance_samples)

    def _build(self, fit: FitContext) -> None:
        first, *later = self.hidden_layer_sizes
        machine = self._visible_machine(fit, first)
        self._pretrain(machine, fit.rows, self._preparation(machine))
        machines = [machine]
        features = self._features_of(machine, fit.rows, self._preparation(machine))
        for depth, width in enumerate(later, start=1):
            rates = torch.as_tensor(features[0].mean(axis=0))
            is_top = depth == len(later)
            if is_top:
                machine = self._top_machine(rates, width, fit)
            else:
                machine = BernoulliMachine(rates, width)
            machine.to(fit.rows.dtype)
            rows = open_rows(*features, device=_device_of(fit.rows), dtype=fit.rows.dtype)
            if not is_top:
                self._pretrain(machine, rows, draw_with)
                features = [self._features_of(machine, rows, draw_with)[0], *features[1:]]
            else:
                self._pretrain(machine, rows, self._drawn_top_units)
            machines.append(machine)
        self.network_ = BeliefNetwork([machine.cpu() for machine in machines])

    def _pretrain(self, machine: BoltzmannMachine, rows: Rows, prepare: Any) -> None:
        """Train the machine of a layer on the rows below it."""
        trainer = self.trainer
        if trainer is None:
            trainer = self._default_trainer()
        trainer = clone(trainer).set_params(
            early_stopping=False, callbacks=(), checkpoint=None, weight_decay=_decay_of(trainer)
        )
        device = _device_of(rows)
        machine.to(device)
        # The global generator has a seed of the fit here.
        seed = int(torch.randint(2**62, (1,)))
        training = Training(
            BoltzmannObjective(machine, self._option("algorithm"), None, prepare),
            trainer,
            learning_rate=self.learning_rate_init,
            batch_size=self._rows_per_batch(rows.n_rows, 1),
            seeds=draw_seeds(np.random.default_rng(seed)),
            device=device,
        )
        training.begin(self.n_pretraining, rows, schedule=trainer.schedule)
        training.run(rows)
        training.finish(rows)
        if training.was_interrupted:
            raise KeyboardInterrupt

    def _features_of(self, machine: BoltzmannMachine, rows: Rows, prepare: Any) -> list[Any]:
        """Probabilities (n, n_hidden) of hidden units, and the further arrays of the rows."""
        noise = torch.Generator(_device_of(rows)).manual_seed(int(torch.randint(2**62, (1,))))
        parts: list[list[np.ndarray]] = []
        with torch.no_grad():
            for X, *further in rows.batches(None, READ_ROWS):
                hidden = torch.sigmoid(machine.hidden_logits(prepare(X, generator=noise)))
                parts.append([tensor.cpu().numpy() for tensor in (hidden, *further)])
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _top_machine(self, rates: torch.Tensor, width: int, fit: FitContext) -> BoltzmannMachine:
        """A new machine of the top, over units of these rates."""
        return BernoulliMachine(rates, width)

    def _with_labels(self, units: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Units of the top machine, from bits below it and further tensors of a batch."""
        return units

    def _drawn_top_units(
        self, X: torch.Tensor, *labels: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        return self._with_labels(draw_with(X, generator=generator), *labels)

    def _make_objective(self, fit: FitContext) -> Objective:
        return UpDownObjective(
            self.network_, self._option("algorithm"), self._prepared, self._with_labels
        )

    def _transform(self, X: np.ndarray) -> np.ndarray:
        self._refuse_missing(X, "transform")
        network = self.network_

        def features(rows: torch.Tensor) -> torch.Tensor:
            below = network.means_up(network.bottom.encode(rows))[-1]
            return self._top_features(below)

        return self._in_blocks(X, features)

    def _top_features(self, below: torch.Tensor) -> torch.Tensor:
        """Probabilities of the top hidden layer given those below."""
        return torch.sigmoid(self.network_.top.hidden_logits(below))

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        bounds = self._bounds(X, by_class=False)
        bounds[np.isnan(X).all(axis=1)] = 0.0
        return bounds

    def _bounds(self, X: np.ndarray, *, by_class: bool) -> np.ndarray:
        """Lower bounds (n,) of log p(x), or (n, n_classes) of log p(x, y), in double precision."""
        network = self.network_
        if network.bottom.name == "bernoulli":
            check_bits(X)
        n_draws = self.n_importance_samples

        def bounds(rows: torch.Tensor) -> torch.Tensor:
            clamp = clamp_of_rows(network.bottom, rows, shares_noise=True)
            weights, _ = network.propose(clamp, n_draws, self._seeded_noise(1), by_class=by_class)
            widths = torch.where(torch.isnan(rows), network.bottom.log_widths, 0.0).sum(-1)
            if by_class:
                widths = widths[:, None]
            return log_bound(weights) + widths

        # Apart, as draws of free units would change the noise of the rows without gaps.
        has_gaps = np.isnan(X).any(axis=1)
        shape: tuple[int, ...] = (len(X),)
        if by_class:
            shape = (len(X), network.top.n_classes)
        values = np.empty(shape)
        for rows in (has_gaps, ~has_gaps):
            if rows.any():
                values[rows] = self._in_blocks(X[rows], bounds, n_copies=n_draws)
        return values - self.log_partition().value

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        noise = self._noise(generator)
        with torch.inference_mode(), self._threads_for(n_samples):
            units = draw_units(self.network_.top, n_samples, self.n_sampling_steps, noise)
            return self._down(units, noise)

    def _down(self, units: torch.Tensor, noise: torch.Generator) -> np.ndarray:
        """Rows (n, d) drawn from units of the top machine."""
        network = self.network_
        drawn = network.draw_down(network.without_labels(units), noise)[0]
        return network.bottom.decode(drawn).cpu().numpy()


class DeepBeliefClassifier(ClassConditional, DeepBeliefNetwork):
    """Deep belief network whose top machine has units of the classes too.

    The top machine models p(h, y) of the highest directed layer and the class [1]_. `predict` is by
    its free energies; draws of a class clamp the units of the class.

    Parameters
    ----------
    hidden_layer_sizes, visible, algorithm, dynamic_binarization, n_pretraining
        As in `DeepBeliefNetwork`.
    priors : array-like of shape (n_classes,), default=None
        Class probabilities from which `sample` draws classes; None takes the frequencies of the
        training data. The likelihood of a class is learned by the top machine.
    n_importance_samples, n_sampling_steps, partition, max_iter, batch_size, learning_rate_init
        As in `DeepBeliefNetwork`.
    up_down_rate, trainer, warm_start, device, random_state, verbose
        As in `DeepBeliefNetwork`.

    Attributes
    ----------
    classes_, class_count_, class_prior_ : ndarray of shape (n_classes,)
        Labels, numbers of rows and probabilities of the classes.
    network_, history_, n_iter_, device_
        As in `DeepBeliefNetwork`.

    Notes
    -----
    `score_samples(X)` is a lower bound on log p(x), summed over the classes, and
    `score_samples(X, y)` one on log p(x, y). Posteriors follow from draws of the hidden layers that
    all classes share. Under conditions `sample` draws classes from their posterior under the
    network, which `priors` does not change. Missing values are as in `DeepBeliefNetwork`.

    References
    ----------
    .. [1] G. E. Hinton, S. Osindero, Y.-W. Teh, A fast learning algorithm for deep belief nets,
       Neural Computation, 2006.

    Examples
    --------
    >>> from probgen import DeepBeliefClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> X = (X > 7).astype("float32")
    >>> model = DeepBeliefClassifier((16, 12), n_pretraining=2, max_iter=2, random_state=0)
    >>> model.fit(X, y).sample(3, y=7).shape, model.predict(X).shape
    ((3, 64), (1797,))
    """

    _without_classes = "DeepBeliefNetwork"

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (256, 256),
        *,
        visible: str | Option = "bernoulli",
        algorithm: str | Option = "pcd",
        dynamic_binarization: bool = False,
        n_pretraining: int = 50,
        priors: Any = None,
        n_importance_samples: int = 32,
        n_sampling_steps: int = 1000,
        partition: str | Option = "ais",
        max_iter: int = 50,
        batch_size: int | str = "auto",
        learning_rate_init: float = 2e-3,
        up_down_rate: float = 0.1,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            visible=visible,
            algorithm=algorithm,
            dynamic_binarization=dynamic_binarization,
            n_pretraining=n_pretraining,
            n_importance_samples=n_importance_samples,
            n_sampling_steps=n_sampling_steps,
            partition=partition,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            up_down_rate=up_down_rate,
            trainer=trainer,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.priors = priors

    @property
    def _n_features_out(self) -> int:
        return self.network_.top.n_hidden

    def _top_machine(self, rates: torch.Tensor, width: int, fit: FitContext) -> BoltzmannMachine:
        return LabelledMachine(rates, torch.as_tensor(self.class_prior_).to(rates.dtype), width)

    def _with_labels(self, units: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        (indices,) = labels
        return torch.cat([units, one_hot(indices, len(self.classes_), units.dtype)], -1)

    def _transform(self, X: np.ndarray) -> np.ndarray:
        return DeepBeliefNetwork._transform(self, X)

    def _top_features(self, below: torch.Tensor) -> torch.Tensor:
        top = self.network_.top
        classes = torch.softmax(self.network_.of_classes(below), -1).to(below.dtype)
        return torch.sigmoid(top.hidden_logits(torch.cat([below, classes], -1)))

    def _joint_estimates(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bounds = self._bounds(X, by_class=True)
        return bounds, np.zeros_like(bounds)

    def _joint_estimate(self, X: np.ndarray, k: int) -> np.ndarray:
        bounds, errors = self._joint_estimates(X)
        return np.column_stack([bounds[:, k], errors[:, k]])

    def _log_joint_of_conditions(self, conditions: Conditions) -> np.ndarray:
        return self._log_masses(conditions, by_class=True)

    def _sample_classes(
        self, indices: np.ndarray, generator: np.random.Generator, conditions: Conditions | None
    ) -> np.ndarray:
        if conditions is not None:
            return self._draw_completed(conditions, generator, "given", indices)
        noise = self._noise(generator)
        top = self.network_.top
        with torch.inference_mode(), self._threads_for(len(indices)):
            chosen = torch.as_tensor(indices.copy(), device=self.device_)
            clamp = Clamp(*top.clamped_classes(chosen))
            temperatures = schedule(self.n_sampling_steps)
            units = tempered_chains(top, 1, temperatures, noise, clamp=clamp)[0]
            return self._down(units, noise)


def _device_of(rows: Rows) -> str:
    """The device of batches of rows."""
    return str(next(iter(rows.batches(None, 1)))[0].device)


def _decay_of(trainer: Trainer) -> Any:
    """The decay of weights of layers, which have no held-out rows to choose it."""
    if isinstance(trainer.weight_decay, str):
        return 0.0
    return trainer.weight_decay
