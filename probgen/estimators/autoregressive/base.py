"""What generators share that draw one feature after another: log p(x) is the sum of log p(x_j given
those before)."""

from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_choice, check_count
from probgen.base import Likelihood
from probgen.conditions.given import observed
from probgen.distributions.observation import OBSERVATION_MODELS, make_observation
from probgen.estimators.autoregressive.conditioning import ConditionsInOrder, block_size, blocks_of
from probgen.estimators.autoregressive.feature_sampler import Chooser
from probgen.options import AutoLikelihood
from probgen.training.neural_generator import QUERY_ROWS
from probgen.training.objective import Objective
from probgen.training.trainer import Trainer

REPRESENTATIONS = ("features", "log_prob")
MOST_LEVELS = 65_536
WORK_BYTES = 2**27  # of the answers for the rows that are drawn at a time


class AutoregressiveGenerator(ConditionsInOrder):
    """Promises of a generator by the chain rule, whose likelihood is exact.

    A subclass takes the parameters of this `__init__` in its constructor and writes:

    - `_make_network(found)`, a module from rows (n, d), and labels (n, n_extra), to outputs (n, d *
      n_outputs_per_feature), which for a feature depend on features before it alone; with
      `features(rows, *labels)`, (n, `n_pooled`);
    - optionally `_conditionals(order)`, the function of the network in a query, its masks folded
      into its weights;
    - optionally `_orders`, `_orders_under(evidence)`, `_draw_rows(choose, order, *labels)` and
      `_choose_likelihood(found)`.

    Attributes
    ----------
    network_, observation_ : torch.nn.Module
        From rows to numbers, and from those to the law of each feature given those before.
    likelihood_ : str
        The likelihood that was chosen.
    n_levels_ : int or None
        Levels of a discrete likelihood.
    """

    _missing_values = "queries"
    _networks: tuple[str, ...] = ("network_", "observation_")
    _likelihoods: tuple[str, ...] = ("bernoulli", "categorical", "discretized_logistic")
    _unsure = "counting"  # measure of likelihood="auto" before a fit
    network_: Any
    observation_: Any

    def __init__(
        self,
        *,
        likelihood="auto",
        n_levels=None,
        n_components=10,
        dynamic_binarization=False,
        representation="features",
        n_importance_samples=100,
        max_iter=100,
        batch_size="auto",
        learning_rate_init=1e-3,
        trainer=None,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.likelihood = likelihood
        self.n_levels = n_levels
        self.n_components = n_components
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

    def conditional_log_prob(self, X):
        """Return the log-probability of every feature given those before it.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.

        Returns
        -------
        log_prob : ndarray of shape (n, n_features)
            In nats; a row adds up to its `score_samples`. Where several orderings are averaged, the
            mean over them, which adds up to less.
        """
        check_is_fitted(self)
        X = self._validate(X)
        return self._log_conditionals(X).astype(X.dtype, copy=False)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of `transform`, such as made0, or log_prob_x0.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str
        """
        if self.representation != "log_prob":
            return super().get_feature_names_out(input_features)
        check_is_fitted(self, "n_features_in_")
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])
        return np.asarray([f"log_prob_{name}" for name in names], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        is_discrete = self._likelihood.measure == "counting"
        tags.input_tags.categorical = tags.input_tags.positive_only = is_discrete
        tags.input_tags.allow_nan = hasattr(self, "observation_")  # not in a first fit
        return tags

    @property
    def _likelihood(self):
        if hasattr(self, "observation_"):
            return Likelihood("exact", self.observation_.measure)
        return Likelihood(
            "exact", self._unsure if self.likelihood == "auto" else _measure(self.likelihood)
        )

    @property
    def _n_features_out(self):
        return self.network_.n_pooled if self.representation == "features" else self.n_features_in_

    @property
    def _orders(self):
        """Features in their orders of drawing (n_orders, d), all of which are as likely."""
        return np.arange(self.n_features_in_)[np.newaxis]

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("likelihood", self.likelihood, ("auto", *self._likelihoods))
        check_choice("representation", self.representation, REPRESENTATIONS)
        check_count("n_components", self.n_components)
        if self.n_importance_samples is not None:
            check_count(
                "n_importance_samples",
                self.n_importance_samples,
                low=2,
                hint="Or None, for what is exact.",
            )
        if self.n_levels is not None:
            check_count("n_levels", self.n_levels, low=2, hint="Or None, to take it from X.")
            _check_n_levels(self.n_levels)
        if self.dynamic_binarization and self.likelihood not in ("auto", "bernoulli"):
            raise ValueError(
                "dynamic_binarization=True draws rows of 0 and 1, which"
                f" likelihood={self.likelihood!r} is not for; take 'bernoulli'."
            )

    def _choose_likelihood(self, found):
        """What likelihood="auto" is for rows of these RowStatistics."""
        return "bernoulli" if found.is_binary else self._likelihoods[-1]

    def _read(self, X, y, *, reset, ensure_min_samples):
        arrays = super()._read(X, y, reset=reset, ensure_min_samples=ensure_min_samples)
        if (
            isinstance(arrays[0], np.ndarray)
            and arrays[0].dtype.kind == "f"
            and np.isnan(arrays[0]).any()
        ):
            raise ValueError(self._no_gaps)
        return arrays

    def _validate(self, X, y="no_validation", **checks):
        try:
            return super()._validate(X, y, **checks)
        except ValueError as error:
            if str(error).startswith("X contains NaN"):
                raise ValueError(self._no_gaps) from error
            raise

    @property
    def _no_gaps(self):
        return (
            f"X contains NaN, which {type(self).__name__} cannot learn from, though once fitted it"
            " scores and completes such rows; fill them first, such as with"
            " GaussianMixture.impute."
        )

    def _statistics(self, fit):
        """Statistics of all rows of a fit, as the levels of held-out rows count too."""
        if self.dynamic_binarization:
            return fit.all_statistics.binarized()
        return fit.all_statistics

    def _build(self, fit):
        found = self._statistics(fit)
        name = self._choose_likelihood(found) if self.likelihood == "auto" else self.likelihood
        self.n_levels_ = None
        if _measure(name) == "counting":
            inferred = int(max(found.high, 1.0)) + 1 if found.is_integer else 2
            self.n_levels_ = 2 if name == "bernoulli" else int(self.n_levels or inferred)
            _check_range(name, self.n_levels_, found.low, found.high, found.is_integer)
            _check_n_levels(self.n_levels_)
        option = AutoLikelihood(n_levels=self.n_levels_, n_mixture=self.n_components).chosen(name)
        self.observation_ = make_observation(option, found)
        self.likelihood_ = name
        self.network_ = self._make_network(found)
        for network in self._networks:
            getattr(self, network).to(fit.rows.dtype)

    def _make_network(self, found):
        raise NotImplementedError

    def _begin(self, fit):
        found = self._statistics(fit)
        if self.n_levels_ is not None:
            _check_range(self.likelihood_, self.n_levels_, found.low, found.high, found.is_integer)

    def _make_objective(self, fit):
        return LikelihoodObjective(self.network_, self.observation_, self._prepare_training)

    def _prepare_training(self, X, *labels, generator):
        """What the network sees of a batch in training."""
        if self.dynamic_binarization:
            X = (torch.empty_like(X).uniform_(generator=generator) < X).to(X.dtype)
        return X, *labels

    def _default_trainer(self):
        return Trainer(schedule="cosine")

    def _conditionals(self, order):
        """The function from rows and labels to answers, in one of the orders."""
        return self.network_

    def _pooled(self):
        """The function from rows and labels to pooled features."""
        return self.network_.features

    def _transform(self, X, *labels):
        if self.representation == "log_prob":
            return self._log_conditionals(X, *labels)
        self._check_queries(X, "transform")
        with torch.inference_mode():
            features = self._pooled()
        return self._over_blocks(features, X, *labels)

    def _score_samples(self, X):
        return self._log_likelihood(X)

    def _log_likelihood(self, X, *labels):
        """Log-likelihoods (n,) of rows, in double precision; what is missing is integrated out."""
        self._check_queries(X)
        has_gaps = np.isnan(X).any(axis=1)
        scores = np.empty(len(X))
        for rows, score in (
            (~has_gaps, self._log_likelihood_of_whole),
            (has_gaps, self._log_likelihood_of_seen),
        ):
            if rows.any():
                scores[rows] = score(X[rows], *[label[rows] for label in labels])
        return scores

    def _log_likelihood_of_whole(self, X, *labels):
        n_orders = len(self._orders)
        each = [
            self._over_blocks(self._log_prob_in(order, total=True), X, *labels)
            for order in range(n_orders)
        ]
        return logsumexp(each, axis=0) - np.log(n_orders)

    def _log_likelihood_of_seen(self, X, *labels):
        return self._log_mass(observed(X), "X", *labels)

    def _log_conditionals(self, X, *labels):
        """Log-probabilities (n, d) of features given those before, averaged over the orders."""
        self._check_queries(X, "conditional_log_prob")
        n_orders = len(self._orders)
        return (
            sum(
                self._over_blocks(self._log_prob_in(order), X, *labels) for order in range(n_orders)
            )
            / n_orders
        )

    def _log_prob_in(self, order, total=False):
        """The function from rows and labels to log-probabilities (n, d) of features given those
        before, or totals."""
        answer = self._conditionals(order)

        def log_prob(X, *labels):
            each = self.observation_.distribution(answer(X, *labels)).log_prob(X)
            return each.double().sum(1) if total else each

        return log_prob

    def _check_queries(self, X, without_gaps=None):
        """Raise unless rows are in the support; without_gaps names a query that takes no missing
        values."""
        seen = X[~np.isnan(X)] if np.isnan(X).any() else X
        if without_gaps and seen is not X:
            raise ValueError(f"X contains NaN, which {without_gaps} cannot take; impute it first.")
        if self.n_levels_ is not None and seen.size:
            is_integer = bool((seen == np.rint(seen)).all())
            _check_range(
                self.likelihood_, self.n_levels_, seen.min(), seen.max(), is_integer, seen is not X
            )

    def _over_blocks(self, function, X, *labels):
        """What function makes of rows and labels, as an array; it maps tensors to tensors."""
        widths = [array.shape[1] for array in (X, *labels)]
        rows = np.hstack([X, *labels]) if labels else X
        return self._in_blocks(rows, lambda block: function(*block.split(widths, dim=1)))

    # Draws

    def _sample(self, n_samples, generator):
        return self._draw_labelled(n_samples, generator)

    def _draw_labelled(self, n_samples, generator, *labels):
        """Rows (n_samples, d), of which the network is told labels (n_samples, ...) too."""
        n_orders, d = len(self._orders), self.n_features_in_
        X = np.empty((n_samples, d), dtype=self._dtype)
        for start in range(0, n_samples, self._rows_at_once):
            block = np.arange(start, min(start + self._rows_at_once, n_samples))
            uniforms = generator.random((len(block), d))
            orders = (
                generator.integers(n_orders, size=len(block))
                if n_orders > 1
                else np.zeros(len(block), dtype=int)
            )
            for order in np.unique(orders):
                chosen = orders == order
                drawn = self._draw_with(
                    uniforms[chosen], order, [label[block[chosen]] for label in labels]
                )
                X[block[chosen]] = drawn[1].cpu().numpy()
        return X

    @property
    def _rows_at_once(self):
        """Rows whose draws fit in memory."""
        per_feature = max(self.observation_.n_outputs_per_feature, self.n_levels_ or 1)
        return max(QUERY_ROWS, WORK_BYTES // (8 * self.n_features_in_ * per_feature))

    def _draw_with(self, uniforms, order, labels, evidence=None, rows=None, is_drawn=True):
        """The Chooser of uniforms (n, d), the rows that it chose, or what they hold and 0, and
        labels as tensors."""
        with torch.inference_mode():
            dtype = torch.float64 if self._dtype == np.float64 else torch.float32
            uniforms = torch.as_tensor(np.ascontiguousarray(uniforms), device=self.device_)
            tensors = [torch.as_tensor(label, dtype=dtype, device=self.device_) for label in labels]
            choose = Chooser(self.observation_, uniforms, evidence, rows)
            X = (
                self._draw_rows(choose, order, *tensors)
                if is_drawn
                else choose.known[choose.rows].nan_to_num().to(dtype)
            )
            return choose, X, tensors

    def _draw_rows(self, choose, order, *labels):
        """Rows (n, d), a Tensor, that a Chooser chooses in one of the orders.

        By default by fixed-point iteration: all features are chosen at once given the rows of the
        last pass, until nothing changes. After k passes the first k features are those that drawing
        in turn would give, and so are the rows where a pass leaves them as they were.
        """
        answer, d = self._conditionals(order), self.n_features_in_
        X = torch.zeros(
            len(choose),
            d,
            dtype=labels[0].dtype if labels else self._tensor_dtype,
            device=self.device_,
        )
        active = torch.arange(len(choose), device=self.device_)
        size = block_size(len(choose))
        for _ in range(d):
            moved = []
            for index, n_rows in blocks_of(active, size):
                drawn = choose.take(index)(answer(X[index], *[label[index] for label in labels]))
                drawn, index = drawn[:n_rows], index[:n_rows]
                moved.append(index[(drawn != X[index]).any(1)])
                X[index] = drawn
            active = torch.cat(moved)
            if not len(active):
                break
        return X

    @property
    def _tensor_dtype(self):
        return torch.float64 if self._dtype == np.float64 else torch.float32


class LikelihoodObjective(Objective):
    """Minus the mean log-likelihood of rows, in nats.

    Parameters
    ----------
    network, observation : torch.nn.Module
        From rows to answers, and from those to distributions.
    prepare : callable
        From a batch, and `generator` by name, to what the network sees of it.
    """

    def __init__(self, network, observation, prepare):
        super().__init__()
        self.network, self.observation, self.prepare = network, observation, prepare

    def loss(self, *batch):
        """See Objective."""
        X, *labels = self.prepare(*batch, generator=self.noise)
        return -self.log_likelihood(self.network(X, *labels), X).mean()

    def log_likelihood(self, answers, X):
        """Log-likelihoods (n,) of rows."""
        return self.observation.distribution(answers.to(X.dtype)).log_prob(X).sum(1)


def _measure(likelihood):
    """The measure of a likelihood of that name; one that there is not counts as discrete."""
    model = OBSERVATION_MODELS.get(likelihood)
    return "counting" if model is None else model.measure


def _check_n_levels(n_levels):
    if n_levels > MOST_LEVELS:
        raise ValueError(
            f"n_levels must be at most {MOST_LEVELS:,}; got {n_levels:,}; put the numbers into"
            " fewer bins, such as with KBinsDiscretizer(encode='ordinal')."
        )


def _check_range(likelihood, n_levels, low, high, is_integer, has_gaps=False):
    """Raise unless values from low to high are levels of a discrete likelihood."""
    if is_integer and low >= 0.0 and high <= n_levels - 1:
        return
    found = f"X holds {low:g} to {high:g}{' beside NaN' if has_gaps else ''}"
    found += "" if is_integer else ", not all of them whole"
    if low < 0.0:  # scikit-learn's common checks look for these very words
        raise ValueError(
            f"Negative values in data: {found}; likelihood={likelihood!r} wants levels; count them"
            " from 0."
        )
    if not is_integer:
        remedy = "quantise it first, such as with np.rint(X * (n_levels - 1)) for values in [0, 1]"
        if likelihood == "bernoulli" and high <= 1.0:
            remedy = (
                "take X > 0.5, or dynamic_binarization=True to draw bits with these probabilities"
                " in training"
            )
    elif likelihood == "bernoulli":
        remedy = "take likelihood='categorical'"
    else:
        remedy = f"fit with n_levels={high + 1:.0f}"
    raise ValueError(
        f"likelihood={likelihood!r} needs whole numbers from 0 to n_levels - 1 = {n_levels - 1};"
        f" {found}; {remedy}."
    )
