"""Autoregression in tables: masked multilayer perceptrons, and logistic autoregression."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import logit, logsumexp

from probgen._validation import check_count, check_hidden_layer_sizes, check_real
from probgen.estimators.autoregressive.base import AutoregressiveGenerator, LikelihoodObjective
from probgen.estimators.autoregressive.networks.masked import MaskedMLP
from probgen.estimators.autoregressive.sampler import ChainSampler
from probgen.networks import activation
from probgen.options import GaussianMixtureLikelihood
from probgen.training.trainer import Trainer

LEAST_SHARE = 1e-3  # of ones, where the answers for a feature of 0 and 1 begin


class FullyVisibleBeliefNetwork(AutoregressiveGenerator):
    """Fully visible belief network: every feature depends on a linear map of those before it.

    log p(x) is the sum over features of log p(x_j given x_1, ..., x_{j-1}). For rows of 0 and 1
    each of these is a logistic regression [1]_ [2]_; for categories a multinomial one, for real
    values a mixture of Gaussians of which weights, locations and scales are such maps.

    Parameters
    ----------
    likelihood : str or Option, default="auto"
        Conditional distribution of a feature: "bernoulli" for 0 and 1; "categorical" or
        "discretized_logistic" for levels 0 to n_levels - 1, unordered or ordered;
        "gaussian_mixture" for real values. "auto" is "bernoulli" for rows of 0 and 1, and
        "gaussian_mixture" for others; choose one in a search. An object of `probgen.options` has
        settings: `Categorical(n_levels=5)`, `DiscretizedLogistic(n_levels=256, n_mixture=5)`,
        `GaussianMixtureLikelihood(n_mixture=3)`. By default levels are counted up to the largest
        value in X, and 10 logistics or Gaussians are mixed.
    n_orderings : int, default=1
        Orders of the features of which the probabilities of rows are averaged: that of the columns
        first, then random ones. All share their weights, and each batch trains one.
    order_agnostic : bool, default=False
        Whether each batch trains an order of its own, drawn at random [3]_, so that the network can
        be asked in any. What is known then moves to the front of the orders, and is an exact
        condition; likelihoods may be lower.
    input_dropout : float, default=0.0
        Share of the inputs that count for nothing in a pass of the training, in [0, 1).
    dynamic_binarization : bool, default=False
        Whether values in [0, 1] are probabilities of a 1, from which rows are drawn afresh for each
        batch of the training. What is scored later has to be rows of 0 and 1.
    representation : {"features", "log_prob"}, default="features"
        What `transform` gives: the answers for all features, or the log-probability of each given
        those before.
    n_importance_samples : int or None, default=100
        Proposals for each row where known features stand behind unknown ones, at least 2. None asks
        for what is exact, and raises elsewhere.
    max_iter : int, default=100
        Epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 256, a hundredth of the rows.
    learning_rate_init : float, default=1e-2
        Learning rate at the start.
    trainer : Trainer, default=None
        All else of the training; None is `Trainer(schedule="cosine", early_stopping=True,
        n_iter_no_change=20)`.
    warm_start : bool, default=False
        Whether a further fit goes on from the last one.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Where to compute.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit and the stream of later draws.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    network_, observation_ : torch.nn.Module
        From rows to numbers, and from those to the law of each feature given those before.
    orderings_ : ndarray of shape (n_orderings, n_features)
        Features in their orders.
    likelihood_ : str
        The likelihood that was chosen.
    n_levels_ : int or None
        Levels of a feature; None for real values.
    history_ : History
        Per epoch: "loss" in nats a row, validation score, learning rate, seconds.
    n_iter_ : int
        Epochs that were trained.
    device_ : str
        Where the network is.

    Notes
    -----
    `score_samples` is exact. Values that are missing (NaN) in its rows are integrated out: exactly
    where they stand last in all orderings, else by importance sampling, of which
    n_importance_samples tightens the estimate. So it is with draws under conditions: they are exact
    where what is known stands first, and resampled from proposals of all orderings elsewhere. Put
    the columns first that will be known.

    With order_agnostic=True any known values are exact conditions, of the orderings with what is
    known moved to their front: of laws that share their weights, but are not those of one joint
    law. The network, trained for all d! orders, knows each less well: in the tables of
    `fetch_binary` a row of mushrooms, 112 bits, took 12.4 nats by default, not 9.8, one of DNA, 180
    bits, 84.0, not 83.8; with the probabilities of 8 orderings averaged 11.5 and 82.0.

    References
    ----------
    .. [1] B. J. Frey, G. E. Hinton, P. Dayan, Does the wake-sleep algorithm produce good density
       estimators?, 1996.
    .. [2] Z. Gan, R. Henao, D. Carlson, L. Carin, Learning deep sigmoid belief networks with data
       augmentation, 2015.
    .. [3] B. Uria, I. Murray, H. Larochelle, A deep and tractable density estimator, 2014.

    Examples
    --------
    >>> from probgen import FullyVisibleBeliefNetwork
    >>> from sklearn.datasets import load_digits
    >>> X = (load_digits().data > 7).astype("float32")
    >>> model = FullyVisibleBeliefNetwork(max_iter=5, random_state=0).fit(X)
    >>> model.likelihood_, model.conditional_log_prob(X).shape, model.sample(3).shape
    ('bernoulli', (1797, 64), (3, 64))
    """

    _options: ClassVar[Mapping] = {
        "likelihood": {
            **AutoregressiveGenerator._options["likelihood"],
            "gaussian_mixture": GaussianMixtureLikelihood,
        }
    }
    _measure_of_auto = "lebesgue"
    network_: MaskedMLP

    def __init__(
        self,
        *,
        likelihood="auto",
        n_orderings=1,
        order_agnostic=False,
        input_dropout=0.0,
        dynamic_binarization=False,
        representation="features",
        n_importance_samples=100,
        max_iter=100,
        batch_size="auto",
        learning_rate_init=1e-2,
        trainer=None,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_orderings = n_orderings
        self.order_agnostic = order_agnostic
        self.input_dropout = input_dropout
        self.likelihood = likelihood
        self.dynamic_binarization = dynamic_binarization
        self.representation = representation
        self.n_importance_samples = n_importance_samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _sampler(self):
        return MaskedSampler(
            self.network_,
            self.observation_,
            self.orderings_,
            dtype=self._dtype,
            device=self.device_,
        )

    def _default_trainer(self):
        return Trainer(schedule="cosine", early_stopping=True, n_iter_no_change=20)

    def _check_parameters(self):
        super()._check_parameters()
        check_count("n_orderings", self.n_orderings)
        _check_share("input_dropout", self.input_dropout)

    def _auto_likelihood(self, statistics, n_levels):
        return "bernoulli" if statistics.is_binary else "gaussian_mixture"

    @property
    def _hidden(self):
        """Arguments of the network about its hidden layers."""
        return {}

    def _make_network(self, found):
        d = self.n_features_in_
        settings = self._hidden | {
            "input_dropout": self.input_dropout,
            "any_order": self.order_agnostic,
        }
        orders = torch.stack(
            [torch.arange(d), *(torch.randperm(d) for _ in range(self.n_orderings - 1))]
        )
        self.orderings_ = orders.numpy()
        if self.likelihood_ == "categorical":
            settings["n_levels"] = self.n_levels_
        elif self.likelihood_ == "discretized_logistic":
            half = torch.full((d,), 0.5 * (self.observation_.n_levels - 1))
            settings |= {"center": half, "scale": half}
        elif self.likelihood_ == "gaussian_mixture":
            settings |= {
                "center": torch.as_tensor(found.mean),
                "scale": torch.as_tensor(found.deviation),
            }
        n_outputs = self.observation_.n_outputs_per_feature
        network = MaskedMLP(orders.argsort(dim=1), n_outputs, **settings)
        if self.likelihood_ == "bernoulli":
            with torch.no_grad():
                network.last.bias.copy_(
                    torch.as_tensor(logit(found.mean.clip(LEAST_SHARE, 1.0 - LEAST_SHARE)))
                )
        return network

    def _make_objective(self, fit):
        return OrderingsObjective(self.network_, self.observation_, self._prepare_training)

    def _pooled(self):
        return self.network_.folded_features()


class MADE(FullyVisibleBeliefNetwork):
    """Masked autoencoder for distribution estimation: autoregression by a multilayer perceptron.

    log p(x) is the sum over features of log p(x_j given those before), and one pass of a network
    gives all of them: masks on its weights let an answer depend on the features before it alone
    [1]_. Short cuts lead from the inputs to the answers, so that hidden units are left what is not
    linear.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(500,)
        Widths of the hidden layers; () makes a `FullyVisibleBeliefNetwork`.
    activation : str, default="relu"
        Of the hidden layers, as in `Autoencoder`.
    dropout : float, default=0.5
        Share of the hidden units that count for nothing in a pass of the training, in [0, 1). Large
        data want less, and no dropout of inputs.
    likelihood : str or Option, default="auto"
        Conditional distribution of a feature: "bernoulli" for 0 and 1; "categorical" or
        "discretized_logistic" for levels 0 to n_levels - 1, unordered or ordered;
        "gaussian_mixture" for real values. "auto" is "bernoulli" for rows of 0 and 1, and
        "gaussian_mixture" for others; choose one in a search. An object of `probgen.options` has
        settings: `Categorical(n_levels=5)`, `DiscretizedLogistic(n_levels=256, n_mixture=5)`,
        `GaussianMixtureLikelihood(n_mixture=3)`. By default levels are counted up to the largest
        value in X, and 10 logistics or Gaussians are mixed.
    n_orderings : int, default=1
        Orders of the features, each with masks of its own, of which the probabilities of rows are
        averaged: that of the columns first, then random ones. All share their weights, and each
        batch trains one, which also regularises.
    order_agnostic : bool, default=False
        Whether each batch trains an order of its own, drawn at random [3]_, so that the network can
        be asked in any. What is known then moves to the front of the orders, and is an exact
        condition; likelihoods may be lower.
    input_dropout : float, default=0.02
        Share of the inputs that count for nothing in a pass of the training, in [0, 1).
    dynamic_binarization : bool, default=False
        Whether values in [0, 1] are probabilities of a 1, from which rows are drawn afresh for each
        batch of the training. What is scored later has to be rows of 0 and 1.
    representation : {"features", "log_prob"}, default="features"
        What `transform` gives: the last hidden layer, or the log-probability of each feature given
        those before.
    n_importance_samples : int or None, default=100
        Proposals for each row where known features stand behind unknown ones, at least 2. None asks
        for what is exact, and raises elsewhere.
    max_iter : int, default=100
        Epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 256, a hundredth of the rows.
    learning_rate_init : float, default=1e-2
        Learning rate at the start.
    trainer : Trainer, default=None
        All else of the training; None is `Trainer(schedule="cosine", early_stopping=True,
        n_iter_no_change=20)`.
    warm_start : bool, default=False
        Whether a further fit goes on from the last one.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Where to compute.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit and the stream of later draws.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    network_, observation_, orderings_, likelihood_, n_levels_, history_, n_iter_, device_
        As in `FullyVisibleBeliefNetwork`.

    Notes
    -----
    `score_samples` is exact. Values that are missing (NaN) in its rows are integrated out: exactly
    where they stand last in all orderings, else by importance sampling, of which
    n_importance_samples tightens the estimate. So it is with draws under conditions: they are exact
    where what is known stands first, and resampled from proposals of all orderings elsewhere. Put
    the columns first that will be known.

    With order_agnostic=True any known values are exact conditions, of the orderings with what is
    known moved to their front: of laws that share their weights, but are not those of one joint
    law. The network, trained for all d! orders, knows each less well: in the tables of
    `fetch_binary` a row of mushrooms, 112 bits, took 12.4 nats by default, not 9.8, one of DNA, 180
    bits, 84.0, not 83.8; with the probabilities of 8 orderings averaged 11.5 and 82.0.

    Probabilities of rows are averaged over orderings, and not those of features given others, whose
    product would be no probability [1]_. Draws take an ordering at random for each row, and choose
    all features at once, again and again, until nothing changes [2]_: the rows that drawing feature
    after feature would give, in fewer passes.

    References
    ----------
    .. [1] M. Germain, K. Gregor, I. Murray, H. Larochelle, MADE: masked autoencoder for
       distribution estimation, 2015.
    .. [2] Y. Song, C. Meng, R. Liao, S. Ermon, Accelerating feedforward computation via parallel
       nonlinear equation solving, 2021.
    .. [3] B. Uria, I. Murray, H. Larochelle, A deep and tractable density estimator, 2014.

    Examples
    --------
    >>> from probgen import MADE
    >>> from sklearn.datasets import load_digits
    >>> X = (load_digits().data > 7).astype("float32")
    >>> model = MADE(hidden_layer_sizes=(64,), max_iter=5, random_state=0).fit(X)
    >>> model.likelihood_, model.transform(X).shape, model.sample(3).shape
    ('bernoulli', (1797, 64), (3, 64))
    """

    def __init__(
        self,
        hidden_layer_sizes=(500,),
        *,
        activation="relu",
        dropout=0.5,
        likelihood="auto",
        n_orderings=1,
        order_agnostic=False,
        input_dropout=0.02,
        dynamic_binarization=False,
        representation="features",
        n_importance_samples=100,
        max_iter=100,
        batch_size="auto",
        learning_rate_init=1e-2,
        trainer=None,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            likelihood=likelihood,
            n_orderings=n_orderings,
            order_agnostic=order_agnostic,
            input_dropout=input_dropout,
            dynamic_binarization=dynamic_binarization,
            representation=representation,
            n_importance_samples=n_importance_samples,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            trainer=trainer,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout

    def _check_parameters(self):
        super()._check_parameters()
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        activation(self.activation)
        _check_share("dropout", self.dropout)

    @property
    def _hidden(self):
        sizes = tuple(self.hidden_layer_sizes)
        return {"hidden_layer_sizes": sizes, "activation": self.activation, "dropout": self.dropout}


class MaskedSampler(ChainSampler):
    """Draws rows from a MaskedMLP.

    A network for any order draws the rows of each pattern of conditions in orders of its own.
    """

    def conditionals(self, order: Any) -> Any:
        """See ChainSampler; the masks of the order are folded into the weights."""
        if isinstance(order, np.ndarray):
            order = torch.from_numpy(order.argsort()).to(self.device)
        return self.network.folded(order)

    def orders_under(self, conditions: Any) -> Iterator[tuple[np.ndarray, Any, np.ndarray]]:
        """See ChainSampler; known values and then bounded features move to the front."""
        if not self.network.any_order:
            yield from super().orders_under(conditions)
            return
        # 0 for a known value, 1 for a bounded feature, 2 for others, of shape (n, d).
        ranks = np.where(conditions.known, 0, 2)
        ranks[:, conditions.bounded] = np.minimum(ranks[:, conditions.bounded], 1)
        patterns, pattern_of_row = np.unique(ranks, axis=0, return_inverse=True)
        for k, rank in enumerate(patterns):
            # A stable sort keeps the order of features of the same rank.
            orders = np.stack([order[rank[order].argsort(kind="stable")] for order in self.orders])
            yield np.flatnonzero(pattern_of_row == k), orders, orders


class OrderingsObjective(LikelihoodObjective):
    """Minus the mean log-likelihood of rows in an order drawn for each batch; scores are those of
    the average."""

    def loss(self, *batch):
        """See Objective."""
        (X,) = self.prepare(*batch, generator=self.noise)
        order = 0
        if self.network.any_order:
            order = torch.rand(X.shape[1], generator=self.noise, device=X.device).argsort()
        elif self.network.n_orders > 1:
            order = torch.randint(
                self.network.n_orders, (1,), generator=self.noise, device=X.device
            )
        return -self.log_likelihood(self.network(X, order, self.noise), X).mean()

    def validation_score(self, batches):
        """See Objective."""
        total, n_rows, n_orders = 0.0, 0, self.network.n_orders
        functions = [self.network.folded(order) for order in range(n_orders)]
        for batch in batches:
            (X,) = self.prepare(*batch, generator=self.noise)
            each = [
                self.log_likelihood(function(X), X).double().cpu().numpy() for function in functions
            ]
            total += float((logsumexp(each, axis=0) - np.log(n_orders)).sum())
            n_rows += len(X)
        return total / n_rows


def _check_share(name, value):
    check_real(name, value, low=0.0, high=1.0)
    if value == 1.0:
        raise ValueError(f"{name} must be below 1; got {value!r}; nothing would be left.")
