"""What generators share that draw one feature after another: log p(x) is the sum of log p(x_j given
those before)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_choice, check_count
from probgen.base import Likelihood
from probgen.conditions.given import observed
from probgen.distributions.observation import make_observation, measure_of
from probgen.estimators.autoregressive.conditioning import ConditionsInOrder, block_size, blocks_of
from probgen.estimators.autoregressive.feature_sampler import Chooser
from probgen.options import (
    AutoLikelihood,
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
)
from probgen.training.neural_generator import QUERY_ROWS
from probgen.training.objective import Objective
from probgen.training.trainer import Trainer

REPRESENTATIONS = ("features", "log_prob")
WORK_BYTES = 2**27  # of the answers for the rows that are drawn at a time


class AutoregressiveGenerator(ConditionsInOrder):
    """Promises of a generator by the chain rule, whose likelihood is exact.

    A subclass takes the parameters of this `__init__` in its constructor and writes:

    - `_make_network(found)`, a module from rows (n, d), and labels (n, n_extra), to outputs (n, d *
      n_outputs_per_feature), which for a feature depend on features before it alone; with
      `features(rows, *labels)`, (n, `n_pooled`);
    - optionally `_conditionals(order)`, the function of the network in a query, its masks folded
      into its weights;
    - `_auto_likelihood(statistics, n_levels)`, the name of the likelihood that "auto" stands for;
    - optionally `_orders`, `_orders_under(evidence)` and `_draw_rows(choose, order, *labels)`.

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
    _options: ClassVar[Mapping] = {
        "likelihood": {
            "auto": AutoLikelihood,
            "bernoulli": Bernoulli,
            "categorical": Categorical,
            "discretized_logistic": DiscretizedLogistic,
        }
    }
    _measure_of_auto = "counting"  # of likelihood="auto" before a fit
    likelihood: Any
    dynamic_binarization: bool
    representation: str
    n_importance_samples: int | None
    network_: Any
    observation_: Any

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
            measure = self.observation_.measure
        elif self._likelihood_name == "auto":
            measure = self._measure_of_auto
        else:
            measure = measure_of(self._likelihood_name)
        return Likelihood("exact", measure)

    @property
    def _likelihood_name(self):
        """The string of the parameter likelihood, also where it is an option."""
        return getattr(self.likelihood, "name", self.likelihood)

    @property
    def _n_features_out(self):
        return self.network_.n_pooled if self.representation == "features" else self.n_features_in_

    @property
    def _orders(self):
        """Features in their orders of drawing (n_orders, d), all of which are as likely."""
        return np.arange(self.n_features_in_)[np.newaxis]

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("representation", self.representation, REPRESENTATIONS)
        if self.n_importance_samples is not None:
            check_count(
                "n_importance_samples",
                self.n_importance_samples,
                low=2,
                hint="Or None, for what is exact.",
            )
        name = self._likelihood_name
        if self.dynamic_binarization and name not in ("auto", "bernoulli"):
            raise ValueError(
                f"dynamic_binarization=True draws rows of 0 and 1, which likelihood={name!r} is not"
                " for; take 'bernoulli'."
            )

    def _auto_likelihood(self, statistics, n_levels):
        """Name of the likelihood that "auto" stands for, given RowStatistics.

        n_levels is the setting of the option, a number or None.
        """
        raise NotImplementedError

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
        option = self._option("likelihood")
        if isinstance(option, AutoLikelihood):
            option = option.chosen(self._auto_likelihood(found, option.n_levels))
        self.observation_ = make_observation(option, found)
        self.likelihood_ = self.observation_.name
        self.n_levels_ = self.observation_.n_levels
        self.network_ = self._make_network(found)
        for network in self._networks:
            getattr(self, network).to(fit.rows.dtype)

    def _make_network(self, found):
        raise NotImplementedError

    def _begin(self, fit):
        found = self._statistics(fit)
        self.observation_.check(found.low, found.high, found.is_integer)

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
        if seen.size:
            is_integer = bool((seen == np.rint(seen)).all())
            self.observation_.check(seen.min(), seen.max(), is_integer)

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
