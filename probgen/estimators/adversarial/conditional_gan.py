"""Class-conditional generative adversarial networks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_choice, check_count, check_real
from probgen.conditions.given import Conditions
from probgen.estimators._classes import ClassConditional, one_hot
from probgen.estimators.adversarial.gan import GAN, STATISTICS_BATCHES, STATISTICS_ROWS
from probgen.estimators.adversarial.networks import Discriminator
from probgen.estimators.adversarial.objective import AdversarialObjective
from probgen.networks.dense import Linear
from probgen.options import AutoDensity, Option
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective
from probgen.training.trainer import Trainer

HEADS = ("auxiliary", "joint")


class ConditionalGAN(ClassConditional, GAN):
    """Generative adversarial network that is conditional on the class of a row.

    The generator maps a code and a class to a row of that class, and the discriminator scores a row
    together with its class [1]_. The score is linear in its features, with weights for the class
    added to weights for all classes [2]_. A realistic row of the wrong class therefore gets a low
    score too.

    Parameters
    ----------
    n_components : int, default=8
        Length of a code, at least 1.
    priors : array-like of shape (n_classes,), default=None
        p(y) in the order of the sorted classes, with sum 1; None takes the class frequencies.
    generator, discriminator : torch.nn.Module, default=None
        As in `GAN`, of inputs with one-hot classes appended: the generator maps (n, n_components +
        n_classes) to (n, n_features), the discriminator (n, n_features + n_classes) to (n, 1).
    hidden_layer_sizes, architecture, image_shape, loss, penalty, spectral_norm, instance_noise,
    augmentation, prior, truncation, n_discriminator_steps, encoder, density, validation_metric,
    max_iter, batch_size, learning_rate_init, trainer, warm_start, device, random_state, verbose :
        As in `GAN`. The draws of a Parzen window are shared out among the classes.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Rows of each class.
    class_prior_ : ndarray of shape (n_classes,)
        p(y); 0 for a class of which `partial_fit` has had no row yet.
    generator_, discriminator_, encoder_, image_shape_, noise_variance_, density_, history_,
    n_iter_, device_ :
        As in `GAN`; generator and discriminator take the one-hot encoded class as a second input.

    Notes
    -----
    `score_samples` estimates log p(x given y) of blurred draws of each class, as in `GAN`, and
    weights the classes by `class_prior_`. `predict` follows by Bayes' rule, so a row gets the class
    whose draws are closest to it. The discriminator would be no better classifier: at the optimum
    its scores do not depend on the class. `transform` returns features of the discriminator, which
    depend on the row alone (of a discriminator of your own it returns their mean over
    `class_prior_`), or codes with encoder=True. `inverse_transform` returns rows of the
    classes in y, or without y the mean over `class_prior_`.

    References
    ----------
    .. [1] M. Mirza and S. Osindero, Conditional generative adversarial nets, 2014.
    .. [2] T. Miyato and M. Koyama, cGANs with projection discriminator, 2018.

    Examples
    --------
    >>> from probgen import ConditionalGAN
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ConditionalGAN(2, max_iter=60, random_state=0).fit(X, y)
    >>> bool((model.predict(X) == y).mean() > 0.8)
    True
    >>> model.sample(2, y=[0, 2]).shape
    (2, 4)
    """

    _without_classes = "GAN"

    def __init__(
        self,
        n_components: int = 8,
        *,
        priors: npt.ArrayLike | None = None,
        hidden_layer_sizes: Sequence[int] | None = None,
        architecture: str = "dense",
        image_shape: tuple[int, ...] | None = None,
        generator: torch.nn.Module | None = None,
        discriminator: torch.nn.Module | None = None,
        loss: str | Option = "non_saturating",
        penalty: str | Option | None = "r1",
        spectral_norm: bool = False,
        instance_noise: float = 0.0,
        augmentation: Sequence[str] | None = None,
        prior: str = "normal",
        truncation: float | None = None,
        n_discriminator_steps: int = 1,
        encoder: bool = False,
        density: str | Option = "auto",
        validation_metric: str = "mmd",
        max_iter: int | None = None,
        batch_size: int | str = "auto",
        learning_rate_init: float | None = None,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            n_components,
            hidden_layer_sizes=hidden_layer_sizes,
            architecture=architecture,
            image_shape=image_shape,
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            penalty=penalty,
            spectral_norm=spectral_norm,
            instance_noise=instance_noise,
            augmentation=augmentation,
            prior=prior,
            truncation=truncation,
            n_discriminator_steps=n_discriminator_steps,
            encoder=encoder,
            density=density,
            validation_metric=validation_metric,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            trainer=trainer,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.priors = priors

    def discriminate(self, X: npt.ArrayLike, y: Any = None) -> np.ndarray:
        """Return the discriminator's scores of rows and classes; higher scores are more like data.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows, such as draws.
        y : label or array-like of shape (n,), default=None
            Classes of the rows; None takes the mean of the scores over `class_prior_`.

        Returns
        -------
        scores : ndarray of shape (n,)
            As in `GAN`.
        """
        X = self._validate_query(X)
        if y is None:
            scores = self._mean_over_classes(_as_columns(self.discriminator_), X)[:, 0]
        else:
            labels = self._one_hot(self._class_indices(y, len(X)))
            scores = self._evaluate(self.discriminator_, self._scaled(X), labels)
        return scores.astype(X.dtype, copy=False)

    def inverse_transform(self, Z: npt.ArrayLike, y: Any = None) -> Any:
        """Return the decoded rows of codes.

        Parameters
        ----------
        Z : array-like of shape (n, n_components)
            Codes.
        y : label or array-like of shape (n,), default=None
            Classes of the rows; None takes the mean of the rows over `class_prior_`.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            A frame after `set_output`, with the index of a pandas frame that was given.
        """
        check_is_fitted(self)
        codes = self._validate_codes(Z)
        n_rows = len(codes)
        if y is None:
            weights = np.broadcast_to(self.class_prior_, (n_rows, self._n_classes))
            X = self._class_mean(
                lambda k: self._decode(codes, self._class_labels(k, n_rows)), weights
            )
        else:
            X = self._decode(codes, self._one_hot(self._class_indices(y, n_rows)))
        return self._in_container(X.astype(codes.dtype, copy=False), Z)

    def likelihood_bounds(
        self, n_samples: int = 16, *, y: Any = None, random_state: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds on log p(x given y) of blurred draws, by bidirectional annealing.

        Parameters
        ----------
        n_samples : int, default=16
            Rows to draw, at least 1.
        y : label or array-like of shape (n_samples,), default=None
            Classes of the rows to draw; None draws them from `class_prior_`.
        random_state : int, RandomState, Generator or None, default=None
            As in `GAN.likelihood_bounds`.

        Returns
        -------
        lower, upper : ndarray of shape (n_samples,)
            In nats, in the order of the classes. As in `GAN.likelihood_bounds`.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, low=1)
        generator = self._generator_of(random_state)
        indices = self._requested_classes(n_samples, generator, y)
        bounds = [
            self._for_class(k).likelihood_bounds(count, random_state=generator)
            for k, count in zip(*np.unique(indices, return_counts=True))
        ]
        lower, upper = zip(*bounds)
        return np.concatenate(lower), np.concatenate(upper)

    @property
    def _n_classes(self) -> int:
        return len(self.classes_)

    @property
    def _n_features_out(self) -> int:
        if "encoder_" in vars(self):
            return self._n_codes
        return self.discriminator_.n_features

    def _make_objective(self, fit: FitContext) -> Objective:
        return ConditionalObjective(*self._objective_networks(), **self._objective_settings(fit))

    def _objective_settings(self, fit: FitContext) -> dict[str, Any]:
        return super()._objective_settings(fit) | {"n_classes": self._n_classes}

    def _statistics_inputs(
        self, generator: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        frequencies = self.class_count_ / self.class_count_.sum()
        for _ in range(STATISTICS_BATCHES):
            indices = generator.choice(self._n_classes, size=STATISTICS_ROWS, p=frequencies)
            labels = self._one_hot(indices)
            codes = self._draw_codes(STATISTICS_ROWS, generator)
            yield self._to_network_tensor(codes), self._to_network_tensor(labels)

    def _window(self, n_draws: int) -> np.ndarray:
        # Classes in proportion to class_prior_, by its quantiles at evenly spaced levels.
        levels = (np.arange(n_draws) + 0.5) / n_draws
        indices = np.searchsorted(np.cumsum(self.class_prior_), levels)
        labels = self._one_hot(np.minimum(indices, self._n_classes - 1))
        codes = self._window_codes(n_draws)
        return self._evaluate(self.generator_, codes, labels).astype(float)

    def _transform(self, X: np.ndarray) -> np.ndarray:
        if "encoder_" in vars(self) or not self.discriminator_.labels_change_features:
            return GAN._transform(self, X)
        return self._mean_over_classes(self.discriminator_.features, X)

    def _mean_over_classes(self, function: Callable, X: np.ndarray) -> Any:
        """Mean over `class_prior_` of a function of scaled rows and labels, for rows X (n, d)."""
        scaled = self._scaled(X)
        weights = np.broadcast_to(self.class_prior_, (len(X), self._n_classes))
        if not self.discriminator_.labels_change_features:  # scores are linear in the labels
            return self._evaluate(function, scaled, weights)
        return self._class_mean(
            lambda k: self._evaluate(function, scaled, self._class_labels(k, len(X))), weights
        )

    def _sample_classes(
        self, indices: np.ndarray, generator: np.random.Generator, conditions: Conditions | None
    ) -> np.ndarray:
        codes = self._truncated_codes(len(indices), generator)
        return self._decode(codes, self._one_hot(indices))

    def _estimate_for_class(self, X: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return self._for_class(k)._estimate(X)

    def _for_class(self, k: int) -> GAN:
        """A fitted GAN of the rows of class k, with the networks of this model."""
        parameters = self.get_params(deep=False)
        gan = GAN(**{name: parameters[name] for name in GAN._get_param_names()})
        for name in vars(self).keys() - parameters.keys() - {"_fitted_parameters"}:
            setattr(gan, name, getattr(self, name))
        annealing = self._density_option("ais")
        n_draws = self._density_option("parzen").n_draws // self._n_classes
        gan.density = AutoDensity(annealing.n_chains, annealing.n_temperatures, max(1, n_draws))
        gan._kept_draws = self.__dict__.setdefault("_kept_draws", {}).setdefault(k, {})
        gan.generator_ = _FixedClass(self.generator_, k, self._n_classes)
        gan.discriminator_ = _FixedClass(self.discriminator_, k, self._n_classes)
        return gan

    def _decoder_labels(self, y: Any, n_rows: int) -> tuple[torch.Tensor, ...]:
        if y is None:
            raise ValueError(
                "y must hold the classes of the rows, on which the decoded rows of"
                f" {type(self).__name__} depend; got None."
            )
        return (self._to_network_tensor(self._one_hot(self._class_indices(y, n_rows))),)

    def _decode(self, codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Rows (n, d) in units of X, from codes (n, n_components) and labels (n, n_classes)."""

        def decode(codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return self._unscale(self.generator_(codes, labels))

        return self._evaluate(decode, codes, labels)

    def _evaluate(
        self,
        function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        rows: np.ndarray,
        labels: np.ndarray,
    ) -> np.ndarray:
        """Outputs of a function of tensors for rows (n, d) and labels (n, n_classes), an array."""
        width = rows.shape[1]
        return self._in_blocks(
            np.hstack([rows, labels]), lambda block: function(block[:, :width], block[:, width:])
        )

    def _generator_gradients(
        self, n_samples: int, generator: np.random.Generator, y: Any = None
    ) -> np.ndarray:
        """As in `GAN`, of draws of the classes y (n_samples,), in the order of the classes."""
        indices = self._requested_classes(n_samples, generator, y)
        norms = [
            self._for_class(k)._generator_gradients(count, generator)
            for k, count in zip(*np.unique(indices, return_counts=True))
        ]
        return np.concatenate(norms)


class AuxiliaryClassifierGAN(ConditionalGAN):
    """Generative adversarial network whose discriminator also classifies rows.

    The generator is conditional on the class, the discriminator is not. From the same features the
    discriminator computes a score and a classification log q(y given x). It learns to classify from
    the data, by the cross-entropy, and the generator learns to make rows that are classified
    correctly [1]_.

    With heads="joint" the discriminator is a classifier with n_classes + 1 classes, the last of
    which is draws [2]_: the probability that a row is real is the sum over the other classes. The
    labels of the data then help to distinguish data from draws, which sharpens the draws.

    Parameters
    ----------
    n_components : int, default=8
        Length of a code, at least 1.
    heads : {"auxiliary", "joint"}, default="auxiliary"
        Whether the classification has an output layer of its own, or the score is computed from it.
    classification_weight : float, default=1.0
        Factor on the cross-entropies of the classes in the losses of both networks, at least 0.
    generator, discriminator : torch.nn.Module, default=None
        As in `ConditionalGAN`, but for the inputs of the discriminator, which are scaled rows (n,
        n_features) alone. It must be a torch.nn.Sequential, whose last layer with weights makes the
        score; the classification is computed from what that layer gets.
    priors, hidden_layer_sizes, architecture, image_shape, loss, penalty, spectral_norm,
    instance_noise, augmentation, prior, truncation, n_discriminator_steps, encoder, density,
    validation_metric, max_iter, batch_size, learning_rate_init, trainer, warm_start, device,
    random_state, verbose :
        As in `ConditionalGAN`.

    Attributes
    ----------
    history_ : History
        That of `GAN`, and per epoch: "classification", the cross-entropy of rows of the data.
    classes_, class_count_, class_prior_, generator_, discriminator_, encoder_, image_shape_,
    noise_variance_ :
        As in `ConditionalGAN`; the discriminator takes no class.
    density_, n_iter_, device_ :
        As in `GAN`.

    Notes
    -----
    `predict` and `predict_proba` are the classification of the discriminator, whatever `priors`
    are; `score_samples` depends on the draws, as in `ConditionalGAN`. The generator is rewarded for
    rows that are easy to classify, so where classes overlap, draws are more typical and less
    diverse than the data.

    References
    ----------
    .. [1] A. Odena, C. Olah, J. Shlens, Conditional image synthesis with auxiliary classifier GANs,
       2017; there the discriminator learns to classify from draws too.
    .. [2] T. Salimans et al., Improved techniques for training GANs, 2016.

    Examples
    --------
    >>> from probgen import AuxiliaryClassifierGAN
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = AuxiliaryClassifierGAN(2, max_iter=60, random_state=0).fit(X, y)
    >>> bool((model.predict(X) == y).mean() > 0.9)
    True
    """

    discriminator_: "ClassifyingDiscriminator"
    _needs_features = True

    def __init__(
        self,
        n_components: int = 8,
        *,
        heads: str = "auxiliary",
        classification_weight: float = 1.0,
        priors: npt.ArrayLike | None = None,
        hidden_layer_sizes: Sequence[int] | None = None,
        architecture: str = "dense",
        image_shape: tuple[int, ...] | None = None,
        generator: torch.nn.Module | None = None,
        discriminator: torch.nn.Module | None = None,
        loss: str | Option = "non_saturating",
        penalty: str | Option | None = "r1",
        spectral_norm: bool = False,
        instance_noise: float = 0.0,
        augmentation: Sequence[str] | None = None,
        prior: str = "normal",
        truncation: float | None = None,
        n_discriminator_steps: int = 1,
        encoder: bool = False,
        density: str | Option = "auto",
        validation_metric: str = "mmd",
        max_iter: int | None = None,
        batch_size: int | str = "auto",
        learning_rate_init: float | None = None,
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
            architecture=architecture,
            image_shape=image_shape,
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            penalty=penalty,
            spectral_norm=spectral_norm,
            instance_noise=instance_noise,
            augmentation=augmentation,
            prior=prior,
            truncation=truncation,
            n_discriminator_steps=n_discriminator_steps,
            encoder=encoder,
            density=density,
            validation_metric=validation_metric,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            trainer=trainer,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.heads = heads
        self.classification_weight = classification_weight

    def discriminate(self, X: npt.ArrayLike, y: Any = None) -> np.ndarray:
        """Return the discriminator's score of each row; higher scores are more like data.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows, such as draws.
        y : object, default=None
            Ignored.

        Returns
        -------
        scores : ndarray of shape (n,)
            As in `GAN`.
        """
        return super().discriminate(X)

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the most probable class of each row under the discriminator, of shape (n,)."""
        posterior = self._log_posterior(self._validate_query(X))
        return self.classes_[np.argmax(posterior, axis=1)]

    def _log_posterior(self, X: np.ndarray) -> np.ndarray:
        return self._in_blocks(
            self._scaled(X), lambda block: self.discriminator_.log_proba(block).double()
        )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("heads", self.heads, HEADS)
        check_real("classification_weight", self.classification_weight, low=0.0)

    def _make_discriminator(self, n_features: int, n_classes: int, dtype: torch.dtype) -> Any:
        network = super()._make_discriminator(n_features, 0, dtype)
        return ClassifyingDiscriminator(network, n_classes, is_joint=self.heads == "joint")

    def _make_objective(self, fit: FitContext) -> Objective:
        return ClassifyingObjective(
            *self._objective_networks(),
            **self._objective_settings(fit),
            classification_weight=self.classification_weight,
        )


class ClassifyingDiscriminator(Discriminator):
    """Discriminator that also classifies rows, from the same features.

    Parameters
    ----------
    network : Discriminator
        Without classes.
    n_classes : int
    is_joint : bool, default=False
        Whether the score is the log-odds of all classes together against draws, where the network's
        score is minus the logit of draws. Otherwise it is the network's score.

    Examples
    --------
    >>> import torch
    >>> from probgen.estimators.adversarial.networks import DenseDiscriminator
    >>> network = ClassifyingDiscriminator(DenseDiscriminator(4, (8, 5)), 3)
    >>> network(torch.zeros(2, 4)).shape, network.log_proba(torch.zeros(2, 4)).shape
    (torch.Size([2]), torch.Size([2, 3]))
    """

    network: Any  # torch types modules and tensors as their union

    def __init__(self, network: Discriminator, n_classes: int, *, is_joint: bool = False) -> None:
        super().__init__()
        self.network = network
        self.is_joint = is_joint
        self.n_features = network.n_features
        self.classes = Linear(self.n_features, n_classes)

    def features(
        self, rows: torch.Tensor, *_: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Features (n, n_features) of the network."""
        return self.network.features(rows, generator=generator)

    def score(self, features: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Scores (n,) of features (n, n_features); labels are ignored."""
        scores = self.network.score(features)
        if self.is_joint:
            scores = scores + torch.logsumexp(self.classes(features), dim=1)
        return scores

    def log_proba(self, rows: torch.Tensor) -> torch.Tensor:
        """log q(y given x) (n, n_classes) of rows (n, d)."""
        return torch.log_softmax(self.classes(self.features(rows)), dim=1)


def _as_columns(discriminator: Any) -> Callable[..., torch.Tensor]:
    """A discriminator whose scores are (n, 1)."""
    return lambda *inputs: discriminator(*inputs)[:, None]


class _FixedClass(torch.nn.Module):
    """A network of codes or rows and labels, with the labels fixed to class k of n_classes."""

    def __init__(self, network: torch.nn.Module, k: int, n_classes: int) -> None:
        super().__init__()
        self.network = network
        self.k = k
        self.n_classes = n_classes

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the network for inputs (n, d) of that class."""
        labels = inputs.new_zeros(len(inputs), self.n_classes)
        labels[:, self.k] = 1.0
        return self.network(inputs, labels)


class ConditionalObjective(AdversarialObjective):
    """The losses of a ConditionalGAN, on batches of rows and indices of their classes.

    Parameters
    ----------
    *networks, **settings
        As in `AdversarialObjective`.
    n_classes : int
    """

    def __init__(self, *networks: torch.nn.Module, n_classes: int, **settings: Any) -> None:
        super().__init__(*networks, **settings)
        self.n_classes = n_classes

    def one_hot(self, *labels: torch.Tensor) -> list[torch.Tensor]:
        """Labels (n, n_classes) of indices (n,)."""
        return [one_hot(indices, self.n_classes, self.center.dtype) for indices in labels]


class ClassifyingObjective(ConditionalObjective):
    """The same, with the cross-entropy of the discriminator's classification.

    Parameters
    ----------
    *networks, **settings
        As in `ConditionalObjective`; the discriminator is a ClassifyingDiscriminator.
    classification_weight : float
        Factor on the cross-entropy.
    """

    discriminator: ClassifyingDiscriminator

    def __init__(
        self, *networks: torch.nn.Module, classification_weight: float, **settings: Any
    ) -> None:
        super().__init__(*networks, **settings)
        self.classification_weight = classification_weight

    def class_loss(
        self, features: torch.Tensor, *labels: torch.Tensor
    ) -> tuple[Any, dict[str, torch.Tensor]]:
        """Weighted cross-entropy of the classification, and the unweighted one as a term."""
        loss = torch.nn.functional.cross_entropy(self.discriminator.classes(features), labels[0])
        return self.classification_weight * loss, {"classification": loss}
