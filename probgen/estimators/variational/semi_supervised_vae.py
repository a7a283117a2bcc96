"""Variational autoencoders of rows of which few have a class."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyro
import pyro.distributions as dist
import torch
from torch import nn

from probgen._validation import check_choice, check_real
from probgen.base import GeneratorTags
from probgen.estimators.variational.code_distributions import concat_labels, encoded
from probgen.estimators.variational.conditional_vae import ConditionalVAE
from probgen.estimators.variational.vae import VAE
from probgen.networks import check_module, own_network
from probgen.options import ELBO, Option
from probgen.programs import ElboTerms, ProgramObjective, elbo_terms
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective
from probgen.training.rows import Rows
from probgen.training.trainer import Trainer

ELBO_KINDS = ("mean_field", "trace")
LABELLED_ROWS = 10_000  # most labelled rows to train the classifier on in addition to the batches
READ_ROWS = 8192  # rows read at a time in search of labelled ones
UNLABELLED = -1


class SemiSupervisedVAE(ConditionalVAE):
    """Conditional variational autoencoder that also learns from rows without a class.

    This is the model M2 of Kingma et al. [1]_: a row x of class y has a code z, and x is drawn from
    p(x given z, y). A classifier q(y given x) predicts the classes that are not known, and the
    bound of a row without a class sums over all classes,

        log p(x) >= sum_y q(y given x) [L(x, y) - log q(y given x)],

    where L(x, y) is the bound on log p(x, y) of `ConditionalVAE`. Rows with a class contribute L(x,
    y), and train the classifier by its cross-entropy.

    `model` and `guide` are Pyro programs of those names, for rows with and without classes, and a
    subclass may override either.

    Parameters
    ----------
    n_components : int, default=16
        Size of the code, at least 1.
    classifier : torch.nn.Module, default=None
        Network from (n, n_features) to (n, n_classes), in place of one like the encoder. It is a
        template that fit copies.
    classification_weight : float, default=1.0
        Factor on the mean cross-entropy of the rows with a class, in nats, which is added to the
        negative mean bound of all rows; at least 0. Kingma et al. take 0.1.
    elbo : {"mean_field", "trace"} or ELBO, default="mean_field"
        As in `VAE`, without importance weighted bounds and those of Pyro.
    priors, hidden_layer_sizes, activation, architecture, image_shape, encoder, decoder, \
likelihood, categorical_features, kinds, missing, handle_unknown, \
dynamic_binarization, prior, posterior, beta, \
n_importance_samples, max_iter, batch_size, learning_rate_init, trainer, warm_start, device, \
random_state, verbose
        As in `ConditionalVAE`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted, without -1.
    class_count_, class_prior_ : ndarray of shape (n_classes,)
        Rows of each class, and p(y), of the rows that have a class.
    classifier_ : torch.nn.Module
        Module that returns q(y given x) for rows, as a Pyro distribution.
    encoder_, prior_, decoder_, observation_, label_prior_, likelihood_, n_iter_, device_
        As in `ConditionalVAE`.
    history_ : History
        Per epoch: "loss" and its parts "reconstruction" (of rows and classes), "kl" (of codes),
        "entropy" (of predicted classes) and "classification" (cross-entropy), in nats per row;
        validation score, learning rate, seconds.

    Notes
    -----
    In y, -1 marks a row without a class, as in `sklearn.semi_supervised`; text labels then need an
    array of dtype object. For each batch, as many labelled rows are drawn in addition for the
    classifier, however few there are.

    `predict`, `predict_proba` and averages over the classes use the classifier; `score_samples`
    sums over the classes without it.

    References
    ----------
    .. [1] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, Semi-supervised learning with deep
       generative models, 2014.

    Examples
    --------
    >>> from probgen import SemiSupervisedVAE
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> X = (X > 7).astype("float32")
    >>> few = y.copy()
    >>> few[200:] = -1
    >>> model = SemiSupervisedVAE(4, hidden_layer_sizes=(64,), max_iter=30, random_state=0)
    >>> model = model.fit(X, few)
    >>> bool((model.predict(X) == y).mean() > 0.8)
    True
    """

    _networks = (*ConditionalVAE._networks, "classifier_")
    _options: ClassVar = {
        **VAE._options,
        "elbo": {"mean_field": ELBO, "trace": partial(ELBO, "trace")},
    }

    def __init__(
        self,
        n_components: int = 16,
        *,
        classifier: torch.nn.Module | None = None,
        classification_weight: float = 1.0,
        priors: npt.ArrayLike | None = None,
        hidden_layer_sizes: Sequence[int] = (400, 400),
        activation: Any = "silu",
        architecture: str = "dense",
        image_shape: tuple[int, ...] | None = None,
        encoder: torch.nn.Module | None = None,
        decoder: torch.nn.Module | None = None,
        likelihood: str | Option = "auto",
        categorical_features: Any = "from_dtype",
        kinds: Any = None,
        missing: str = "model",
        handle_unknown: str = "level",
        dynamic_binarization: bool = False,
        prior: str | Option = "normal",
        posterior: str | Option = "gaussian",
        elbo: str | Option = "mean_field",
        beta: float = 1.0,
        n_importance_samples: int = 100,
        max_iter: int | None = None,
        batch_size: int | str = "auto",
        learning_rate_init: float = 2e-3,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            n_components,
            priors=priors,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            architecture=architecture,
            image_shape=image_shape,
            encoder=encoder,
            decoder=decoder,
            likelihood=likelihood,
            categorical_features=categorical_features,
            kinds=kinds,
            missing=missing,
            handle_unknown=handle_unknown,
            dynamic_binarization=dynamic_binarization,
            prior=prior,
            posterior=posterior,
            elbo=elbo,
            beta=beta,
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
        self.classifier = classifier
        self.classification_weight = classification_weight

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        tags.semi_supervised = True
        return tags

    def guide(  # type: ignore[override]
        self,
        X: torch.Tensor,
        y: torch.Tensor | None = None,
        seen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Pyro program of the approximate posterior: the sites "y", without classes, and "z".

        Parameters
        ----------
        X, y, seen
            As in `model`; without y, bounds of Pyro that can enumerate do so over the classes.

        Returns
        -------
        z : Tensor of shape (n, n_components)
        """
        with pyro.plate("rows", len(X), dim=-1):
            if y is None:
                y = pyro.sample("y", self.classifier_(X), infer={"enumerate": "parallel"})
            return pyro.sample("z", self.encoder_(concat_labels(X, y)))

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the class of each row that the classifier finds most probable, of shape (n,)."""
        posterior = self._log_posterior(self._validate_query(X))
        return self.classes_[np.argmax(posterior, axis=1)]

    def _log_posterior(self, X: np.ndarray) -> np.ndarray:
        def log_proba(block: torch.Tensor) -> torch.Tensor:
            rows, _ = self._with_mask(block)
            return self.classifier_.log_proba(rows).double()

        return self._in_blocks(self._encoded(X), log_proba)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        hint = "SemiSupervisedVAE sums over the classes itself."
        check_choice("elbo", self._option("elbo").kind, ELBO_KINDS, hint=hint)
        check_real("classification_weight", self.classification_weight, low=0.0)
        check_module("classifier", self.classifier)

    def _accepts(self, name: str, value: Any) -> bool:
        return False

    def _has_label(self, y: np.ndarray) -> np.ndarray:
        if y.dtype.kind in "US":
            if (y == str(UNLABELLED)).any():
                raise ValueError(
                    "y must hold -1, the number, where a row has no class; got the text '-1'; write"
                    " np.array(labels, dtype=object)."
                )
            return np.ones(len(y), dtype=bool)
        return np.asarray(y != UNLABELLED, dtype=bool)

    def _build(self, fit: FitContext) -> None:
        d = fit.rows.n_features
        if self._coder is not None:
            d = self._coder.n_inputs
        self.classifier_ = self._make_classifier(d, fit.rows.dtype)
        super()._build(fit)
        scaling: dict[str, Any] = {}
        encoder: Any = self.encoder_
        if encoder.is_scaled:  # the encoder's scaling, without the part for its labels
            scaling = {"center": encoder.center[:d], "scale": encoder.scale[:d]}
        self.classifier_ = Classifier(self.classifier_, encoding=encoder.encoding, **scaling)

    def _make_classifier(self, d: int, dtype: Any) -> Any:
        """Network from rows of d features to a logit for each class."""
        n_classes = len(self.classes_)
        if self.classifier is not None:
            return own_network(self.classifier, d, n_classes, "classifier", dtype=dtype)
        return self._architecture(d).encoder(d, n_classes)

    def _make_objective(self, fit: FitContext, kind: Any = None, **settings: Any) -> Objective:
        objective = super()._make_objective(
            fit,
            SemiSupervisedObjective,
            classify=self._classify,
            labelled=_labelled_rows(fit.rows),
            classification_weight=self.classification_weight,
        )
        objective.n_copies *= len(self.classes_)
        return objective

    def _classify(self, X: torch.Tensor) -> torch.Tensor:
        return self.classifier_.log_proba(X)


def _labelled_rows(rows: Rows) -> tuple[torch.Tensor, ...]:
    """At most LABELLED_ROWS rows that have a class, and their classes, as two tensors."""
    parts = []
    n_labelled = 0
    for X, y in rows.batches(np.random.default_rng(0), READ_ROWS):
        has_label = y >= 0
        parts.append((X[has_label], y[has_label]))
        n_labelled += len(parts[-1][1])
        if n_labelled >= LABELLED_ROWS:
            break
    return tuple(torch.cat(column)[:LABELLED_ROWS] for column in zip(*parts))


class SemiSupervisedObjective(ProgramObjective):
    """Negative bound of rows with and without classes, plus the weighted cross-entropy, in nats.

    The sum over the classes is one run of the programs on one copy of the rows for each class.

    Parameters
    ----------
    model, guide : callable
        Pyro programs of rows and their classes.
    networks : sequence of torch.nn.Module
        Networks of the programs, whose parameters are trained.
    classify : callable
        From rows (n, d) to log q(y given x), of shape (n, n_classes).
    labelled : tuple of Tensor
        Rows (m, d), perhaps none, and the indices of their classes (m,).
    classification_weight : float
        Factor on the cross-entropy.
    **settings
        As in `ProgramObjective`.
    """

    def __init__(
        self,
        model: Callable,
        guide: Callable,
        networks: Sequence[torch.nn.Module],
        *,
        classify: Callable[[torch.Tensor], torch.Tensor],
        labelled: tuple[torch.Tensor, ...],
        classification_weight: float,
        **settings: Any,
    ) -> None:
        super().__init__(model, guide, networks, **settings)
        self.classify = classify
        self.labelled = labelled
        self.classification_weight = classification_weight

    def loss(self, *batch: torch.Tensor) -> Any:
        """See Objective."""
        size = len(batch[0])
        rows, labels, *_ = self._draw_labelled(size)
        prepared = self.prepare(*batch, generator=self.noise)
        return self._replayed_loss(size, rows, labels, *prepared)

    def _draw_labelled(self, n_rows: int) -> tuple[torch.Tensor, ...]:
        """A prepared batch of n_rows labelled rows, drawn with replacement; empty without any."""
        X, y = self.labelled
        if len(X):
            index = torch.randint(len(X), (n_rows,), generator=self.noise, device=X.device)
            X = X.index_select(0, index)
            y = y.index_select(0, index)
        return self.prepare(X, y, generator=self.noise)

    def _loss(
        self,
        more_rows: torch.Tensor,
        more_labels: torch.Tensor,
        X: torch.Tensor,
        labels: torch.Tensor,
        *seen: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        log_proba = self.classify(torch.cat([X, more_rows]))
        # Labels are one-hot, or all zeros for a row without a class, which then adds nothing.
        known = torch.cat([labels, more_labels])
        classification = -(known * log_proba).sum() / known.sum().clamp(min=1.0)
        terms, entropy = self._enumerate(log_proba[: len(X)], X, labels, *seen)
        reconstruction = terms.log_likelihood.mean()
        divergence = self._divergence(terms)
        charged = self._beyond_free_bits(terms) if self.free_bits else divergence
        loss = (
            self._weighted(charged)
            - reconstruction
            - entropy
            + self.classification_weight * classification
        )
        parts = {"reconstruction": reconstruction, "kl": divergence, "entropy": entropy}
        return loss, {**parts, "classification": classification}

    def _bound(self, X: torch.Tensor, labels: torch.Tensor, *seen: torch.Tensor) -> torch.Tensor:
        terms, entropy = self._enumerate(self.classify(X), X, labels, *seen)
        return terms.log_likelihood.mean() - self._divergence(terms) + entropy

    def _enumerate(
        self, log_proba: torch.Tensor, X: torch.Tensor, labels: torch.Tensor, *seen: torch.Tensor
    ) -> tuple[ElboTerms, torch.Tensor]:
        """Weighted ElboTerms of the rows under every class, and the mean entropy of the guesses.

        The means of the weighted terms are means over the rows of their expectations over classes.
        """
        n, n_classes = labels.shape
        has_no_label = 1.0 - labels.sum(1, keepdim=True)
        proba = has_no_label * torch.exp(log_proba)
        # Copies are ordered by class: row i of class c is copy c * n + i. A mean over the copies
        # divides by n_classes * n, hence the factor.
        weights = n_classes * (labels + proba).T.flatten()
        classes = torch.eye(n_classes, dtype=X.dtype, device=X.device).repeat_interleave(n, 0)
        copies = (X.repeat(n_classes, 1), classes, *[part.repeat(n_classes, 1) for part in seen])
        terms = elbo_terms(self.model, self.guide, copies, n_particles=self.n_particles)
        divergences = {}
        for name, value in terms.divergences.items():
            divergences[name] = None if value is None else weights[:, None] * value
        weighted = ElboTerms(
            log_likelihood=weights * terms.log_likelihood,
            log_prior=weights * terms.log_prior,
            log_posterior=weights * terms.log_posterior,
            divergences=divergences,
        )
        entropy = -(proba * log_proba).sum() / n
        return weighted, entropy


class Classifier(nn.Module):
    """q(y given x), of classes as one-hot vectors.

    Parameters
    ----------
    network : torch.nn.Module
        From (n, d) to logits (n, n_classes).
    center, scale : Tensor of shape (d,), default=None
        What is subtracted from the rows, and what they are divided by, before the network.

    Examples
    --------
    >>> import torch
    >>> Classifier(torch.nn.Linear(5, 3))(torch.zeros(2, 5)).event_shape
    torch.Size([3])
    """

    center: torch.Tensor
    scale: torch.Tensor
    encoding: Any

    def __init__(
        self,
        network: nn.Module,
        *,
        center: torch.Tensor | None = None,
        scale: torch.Tensor | None = None,
        encoding: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.encoding = encoding
        self.is_scaled = center is not None
        if center is not None and scale is not None:
            self.register_buffer("center", center.clone())
            self.register_buffer("scale", scale.clone())

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "encoding" not in self._modules:  # of a file of an earlier version
            self.encoding = None

    def forward(self, X: torch.Tensor) -> Any:
        """Return the distribution of the classes of rows (n, d)."""
        return dist.OneHotCategorical(logits=self._logits(X))

    def log_proba(self, X: torch.Tensor) -> torch.Tensor:
        """Return log q(y given x) of shape (n, n_classes) for rows (n, d)."""
        return torch.log_softmax(self._logits(X), dim=-1)

    def _logits(self, X: torch.Tensor) -> torch.Tensor:
        if self.encoding is not None:
            X = encoded(self.encoding, X)
        elif self.is_scaled:
            X = (X - self.center) / self.scale
        return self.network(X)
