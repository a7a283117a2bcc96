"""Variational autoencoders of rows of which few have a class."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from probgen._validation import check_choice, check_image_shape, check_real
from probgen.estimators._labelled import with_parameters_of
from probgen.estimators.variational.code_distributions import beside
from probgen.estimators.variational.conditional_vae import ConditionalVAE
from probgen.networks import MLP, ConvEncoder, check_module, check_network
from probgen.programs.objective import ProgramObjective
from probgen.programs.terms import Terms, run_terms

ELBOS = ("mean_field", "trace")
LABELLED_ROWS = 10_000  # that are drawn from beside the batches; so many labels need no more
READ_ROWS = 8192
UNLABELLED = -1


class SemiSupervisedVAE(ConditionalVAE):
    """Conditional variational autoencoder that learns from rows without a class too.

    The model M2 of Kingma et al. [1]_: a row x of class y has a code z, and comes from p(x given z,
    y). A classifier q(y given x) guesses the classes that are not known, and the bound of such a
    row sums over them all,

        log p(x) >= sum_y q(y given x) [L(x, y) - log q(y given x)],

    where L(x, y) is the bound on log p(x, y) of `ConditionalVAE`. Rows with a class count L(x, y),
    and teach the classifier by their cross-entropy.

    `model` and `guide` are Pyro programs of those names, for rows with and without classes; a
    subclass may replace either.

    Parameters
    ----------
    n_components : int, default=16
        Size of the code, at least 1.
    classifier : torch.nn.Module, default=None
        Network in place of one like the encoder's, from (n, n_features) to (n, n_classes); a
        template.
    classification_weight : float, default=1.0
        Factor on the mean cross-entropy of the rows with a class, in nats, which is added to minus
        the mean bound of all rows; at least 0. Kingma et al. take 0.1.
    elbo : {"mean_field", "trace"}, default="mean_field"
        As in `VAE`.
    **parameters
        Those of `ConditionalVAE`, all by name.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted, without -1.
    class_count_, class_prior_ : ndarray of shape (n_classes,)
        Rows of each class, and p(y), of those that have a class.
    classifier_ : torch.nn.Module
        From rows to q(y given x), as Pyro's distribution.
    encoder_, prior_, decoder_, observation_, label_prior_, likelihood_, n_iter_, device_
        As in `ConditionalVAE`.
    history_ : History
        Per epoch: "loss" and its parts "reconstruction" (of rows and classes), "kl" (of codes),
        "entropy" (of guessed classes) and "classification" (cross-entropy), in nats a row;
        validation score, learning rate, seconds.

    Notes
    -----
    In y, -1 marks a row without a class, as in `sklearn.semi_supervised`; classes that are text
    stand in an array of dtype object then. Beside each batch as many labelled rows are drawn once
    more for the classifier, however few there are.

    `predict`, `predict_proba`, and what averages over classes, ask the classifier; `score_samples`
    sums over the classes, without it.

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

    @with_parameters_of(ConditionalVAE)
    def __init__(
        self, n_components=16, *, classifier=None, classification_weight=1.0, **parameters
    ):
        super().__init__(n_components, **parameters)
        self.classifier = classifier
        self.classification_weight = classification_weight

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.semi_supervised = True
        return tags

    def guide(self, X, y=None, seen=None):  # type: ignore[override]
        """Pyro program of the approximate posterior: the sites "y", without classes, and "z".

        Parameters
        ----------
        X, y, seen
            As in `model`; without y the classes are enumerated by the bounds of Pyro that can.

        Returns
        -------
        z : Tensor of shape (n, n_components)
        """
        with pyro.plate("rows", len(X), dim=-1):
            if y is None:
                y = pyro.sample("y", self.classifier_(X), infer={"enumerate": "parallel"})
            return pyro.sample("z", self.encoder_(beside(X, y)))

    def predict(self, X):
        """Return the class of each row that the classifier finds most probable, of shape (n,)."""
        check_is_fitted(self)
        return self.classes_[np.argmax(self._log_posterior(self._validate(X)), axis=1)]

    def _log_posterior(self, X):
        def ask(block):
            rows, _ = self._prepare(block)
            return self.classifier_.log_proba(rows).double()

        return self._in_blocks(X, ask)

    def _check_parameters(self):
        super()._check_parameters()
        check_choice(
            "elbo", self.elbo, ELBOS, hint="SemiSupervisedVAE sums over the classes itself."
        )
        check_real("classification_weight", self.classification_weight, low=0.0)
        check_module("classifier", self.classifier)

    def _has_label(self, y):
        if y.dtype.kind in "US":
            if (y == str(UNLABELLED)).any():
                raise ValueError(
                    "y must hold -1, the number, where a row has no class; got the text '-1'; write"
                    " np.array(labels, dtype=object)."
                )
            return np.ones(len(y), dtype=bool)
        return np.asarray(y != UNLABELLED, dtype=bool)

    def _build(self, fit):
        rows = fit.rows
        self.classifier_ = self._make_classifier(rows.n_features, rows.dtype)
        super()._build(fit)
        encoder: Any = self.encoder_
        scaling = {"center": encoder.center, "scale": encoder.scale} if encoder.is_scaled else {}
        scaling = {name: part[: rows.n_features] for name, part in scaling.items()}
        self.classifier_ = Classifier(self.classifier_, **scaling)

    def _make_classifier(self, d, dtype):
        """Network from d features to a number for each class."""
        hidden, n_classes = tuple(self.hidden_layer_sizes), len(self.classes_)
        if self.classifier is not None:
            return check_network(self.classifier, d, n_classes, "classifier", dtype=dtype)
        if self.architecture == "conv":
            return ConvEncoder(
                check_image_shape(self.image_shape, d), hidden, n_classes, self.activation
            )
        return MLP(d, hidden, n_classes, self.activation)

    def _make_objective(self, fit, kind=None, **settings):
        return super()._make_objective(
            fit,
            SemiSupervisedObjective,
            classify=self._classify,
            labelled=_labelled_rows(fit.rows),
            classification_weight=self.classification_weight,
        )

    def _classify(self, X):
        return self.classifier_.log_proba(X)


def _labelled_rows(rows):
    """At most LABELLED_ROWS rows that have a class, and their classes, as two tensors."""
    parts, n_labelled = [], 0
    for X, y in rows.batches(np.random.default_rng(0), READ_ROWS):
        has_label = y >= 0
        parts.append((X[has_label], y[has_label]))
        n_labelled += len(parts[-1][1])
        if n_labelled >= LABELLED_ROWS:
            break
    return tuple(torch.cat(column)[:LABELLED_ROWS] for column in zip(*parts))


class SemiSupervisedObjective(ProgramObjective):
    """Minus the bound of rows with and without classes, and the cross-entropy of those with one, in
    nats a row.

    The sum over the classes is one run of the programs on as many copies of the rows as there are
    classes.

    Parameters
    ----------
    model, guide : callable
        Pyro programs of rows and their classes.
    networks : sequence of torch.nn.Module
        What they use.
    classify : callable
        From rows (n, d) to log q(y given x), of shape (n, n_classes).
    labelled : tuple of Tensor
        Rows (m, d), perhaps none, and the indices of their classes (m,).
    classification_weight : float
    **settings
        As in `ProgramObjective`.
    """

    def __init__(
        self, model, guide, networks, *, classify, labelled, classification_weight, **settings
    ):
        super().__init__(model, guide, networks, **settings)
        self.classify, self.labelled, self.classification_weight = (
            classify,
            labelled,
            classification_weight,
        )

    def loss(self, *batch):
        size = len(batch[0])
        rows, labels, *_ = self._draw_labelled(size)
        prepared = self.prepare(*batch, generator=self.noise)
        return self._replayed_loss(size, rows, labels, *prepared)

    def _draw_labelled(self, n_rows):
        """So many of the rows with a class, prepared as a batch is; none if there are none."""
        X, y = self.labelled
        if len(X):
            index = torch.randint(len(X), (n_rows,), generator=self.noise, device=X.device)
            X, y = X.index_select(0, index), y.index_select(0, index)
        return self.prepare(X, y, generator=self.noise)

    def _loss(self, more_rows, more_labels, X, labels, *seen):
        log_proba = self.classify(torch.cat([X, more_rows]))
        every = torch.cat([labels, more_labels])  # of only zeros where there is no class
        classification = -(every * log_proba).sum() / every.sum().clamp(min=1.0)
        terms, entropy = self._enumerate(log_proba[: len(X)], X, labels, *seen)
        reconstruction, divergence = terms.log_likelihood.mean(), self._divergence(terms)
        charged = divergence if not self.free_bits else self._beyond_free_bits(terms)
        loss = (
            self._weighted(charged)
            - reconstruction
            - entropy
            + self.classification_weight * classification
        )
        parts = {"reconstruction": reconstruction, "kl": divergence, "entropy": entropy}
        return loss, {**parts, "classification": classification}

    def _bound(self, X, labels, *seen):
        terms, entropy = self._enumerate(self.classify(X), X, labels, *seen)
        return terms.log_likelihood.mean() - self._divergence(terms) + entropy

    def _enumerate(self, log_proba, X, labels, *seen):
        """Terms of the rows under every class, weighed so that their means are those of the rows;
        and the entropy."""
        n, n_classes = labels.shape
        guessed = 1.0 - labels.sum(1, keepdim=True)
        proba = guessed * torch.exp(log_proba)
        weights = n_classes * (labels + proba).T.flatten()
        classes = torch.eye(n_classes, dtype=X.dtype, device=X.device).repeat_interleave(n, 0)
        copies = (X.repeat(n_classes, 1), classes, *[part.repeat(n_classes, 1) for part in seen])
        terms = run_terms(self.model, self.guide, copies, n_particles=self.n_particles)
        weighed = Terms(
            log_likelihood=weights * terms.log_likelihood,
            log_prior=weights * terms.log_prior,
            log_posterior=weights * terms.log_posterior,
            divergences={
                name: None if value is None else weights[:, None] * value
                for name, value in terms.divergences.items()
            },
        )
        return weighed, -(proba * log_proba).sum() / n


class Classifier(nn.Module):
    """q(y given x), of classes that stand as rows of zeros with a single 1.

    Parameters
    ----------
    network : torch.nn.Module
        From (n, d) to (n, n_classes).
    center, scale : default=None
        What is taken from the rows, of shape (d,), and what they are divided by, before the network
        sees them.

    Examples
    --------
    >>> import torch
    >>> Classifier(torch.nn.Linear(5, 3))(torch.zeros(2, 5)).event_shape
    torch.Size([3])
    """

    def __init__(self, network, *, center=None, scale=None):
        super().__init__()
        self.network = network
        self.is_scaled = center is not None
        if self.is_scaled:
            self.register_buffer("center", center.clone())
            self.register_buffer("scale", scale.clone())

    def forward(self, X):
        """The distribution of the classes of rows (n, d)."""
        return dist.OneHotCategorical(logits=self._answers(X))

    def log_proba(self, X):
        """Its logarithm (n, n_classes)."""
        return torch.log_softmax(self._answers(X), dim=-1)

    def _answers(self, X):
        return self.network((X - self.center) / self.scale if self.is_scaled else X)
