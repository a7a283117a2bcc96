"""Convolutional generators of images, which draw one pixel given those before it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probgen._validation import RandomState, check_count, check_image_shape, show
from probgen.conditions.given import Conditions
from probgen.estimators._classes import ClassConditional, one_hot
from probgen.estimators.autoregressive.feature_sampler import FeatureSampler
from probgen.estimators.autoregressive.networks.drawing import Drawing
from probgen.estimators.autoregressive.networks.multiscale import (
    MultiScaleDrawing,
    MultiScaleNetwork,
)
from probgen.estimators.autoregressive.networks.pixel import PixelNetwork
from probgen.estimators.autoregressive.pixels import PixelGenerator
from probgen.estimators.autoregressive.sampler import ChainSampler
from probgen.options import Option
from probgen.training.callbacks._progress import progress_bar_class
from probgen.training.statistics import RowStatistics
from probgen.training.trainer import Trainer

DRAWN_ROWS = {"cpu": 256, "cuda": 2048}  # rows that are drawn at a time


class PixelCNN(PixelGenerator):
    """PixelCNN: a convolutional network for the distribution of each pixel given those before it.

    log p(x) is the sum over the pixels, row by row from the top left, and over their colours, red,
    green, blue, of log p(x_j given all before it). Masked convolutions hide later pixels from the
    network [1]_. `score_samples` is exact, and takes one pass of the network. Draws are made pixel
    by pixel, with layers that store what they computed for earlier pixels.

    Parameters
    ----------
    n_filters : int, default=32
        Channels of the convolutions, divided among the colours and rounded up.
    n_layers : int, default=4
        Number of blocks. Each extends the window of a pixel by one pixel on every side.
    gated : bool, default=False
        Whether to use the gated stacks of [2]_ in place of the residual blocks of [1]_: one stack
        for the rows above and one for the row of the pixel, which leave no blind spot. They take
        about twice the time.
    attention : bool, default=False
        Whether pixels attend to all pixels before them [3]_, after every fourth block and the last.
    shortcuts : bool, default=False
        Whether the blocks of the second half also take the inputs of those of the first half, as in
        [4]_.
    n_downsamplings : int, default=0
        How often the image is halved from the first block to the middle one, and doubled again up
        to the last [4]_. Blocks at a smaller size have a wider window and cost less. Each size has
        about the same number of blocks; n_layers is at least 2 * n_downsamplings + 1.
    position_map : bool, default=True
        Whether the network learns a bias for each pixel, and for each class and pixel.
    scales : sequence of int, default=None
        Heights of images to draw in turn, such as (7, 14, 28), each a divisor of the next; the last
        is the height of the image. Here every fourth pixel of every fourth row is drawn first, then
        every second one given these, then all. Each scale has its own network. None draws all
        pixels at one scale.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last. None
        takes a perfect square of features as a grey image, and other rows as an image of height 1.
    likelihood : str or Option, default="auto"
        Conditional distribution of a pixel, whole numbers from 0 to n_levels - 1: "bernoulli" for 0
        and 1; "categorical", with a probability for each level; or "discretized_logistic", a
        mixture of logistics, which gives neighbouring levels similar probabilities [4]_. "auto" is
        "bernoulli" for rows of 0 and 1, "categorical" for up to 64 levels and
        "discretized_logistic" beyond. An object of `probgen.options` has settings:
        `Categorical(n_levels=17)`, `DiscretizedLogistic(n_levels=256, n_mixture=5)`. By default
        levels are counted up to the largest value in X, and 10 logistics are mixed.
    dynamic_binarization : bool, default=False
        Whether values in [0, 1] are probabilities of a 1, from which new rows are drawn for each
        batch in training. Queries take rows of 0 and 1.
    representation : {"features", "log_prob"}, default="features"
        What `transform` returns: the channels of the last hidden layer, averaged over the pixels,
        or the log-probability of each pixel given those before it.
    n_importance_samples : int or None, default=100
        Proposals for each row in which a known pixel comes after an unknown one, at least 2. None
        raises an error for such rows, whose results are not exact.
    max_iter : int, default=30
        Number of epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 64, a hundredth of the rows.
    learning_rate_init : float, default=2e-3
        Initial learning rate.
    trainer : Trainer, default=None
        All other settings of training; None is `Trainer(schedule="cosine")`.
    warm_start : bool, default=False
        Whether `fit` continues from the last fit.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Device of the network.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit and the stream of later draws.
    verbose : int, default=0
        Whether to show progress bars for fits and for draws.

    Attributes
    ----------
    network_, observation_ : torch.nn.Module
        From rows to outputs, and from outputs to the conditional distribution of each pixel.
    likelihood_ : str
        The likelihood that was chosen.
    n_levels_ : int
        Number of levels of a pixel.
    image_shape_ : tuple of int
        (height, width, channels).
    history_ : History
        For each epoch, "loss" in nats per row, validation score, learning rate and seconds.
    n_iter_ : int
        Number of epochs trained.
    device_ : str
        Device of the fitted network.

    Notes
    -----
    `sample(given=...)` is exact where the known pixels come before the others, such as the upper
    part of an image; otherwise rows are proposed in order and resampled by the probability of the
    known pixels. `conditional_log_prob` shows which pixels are improbable under the model.

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, Pixel recurrent neural networks, 2016.
    .. [2] A. van den Oord et al., Conditional image generation with PixelCNN decoders, 2016.
    .. [3] X. Chen, N. Mishra, M. Rohaninejad, P. Abbeel, PixelSNAIL: an improved autoregressive
       generative model, 2018.
    .. [4] T. Salimans, A. Karpathy, X. Chen, D. P. Kingma, PixelCNN++: improving the PixelCNN with
       discretized logistic mixture likelihood and other modifications, 2017.

    Examples
    --------
    >>> from probgen import PixelCNN
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> model = PixelCNN(n_filters=8, n_layers=2, max_iter=2, random_state=0).fit(X)
    >>> model.likelihood_, model.n_levels_, model.sample(3).shape
    ('categorical', 17, (3, 64))
    """

    _query_rows = 64

    def __init__(
        self,
        n_filters: int = 32,
        n_layers: int = 4,
        *,
        gated: bool = False,
        attention: bool = False,
        shortcuts: bool = False,
        n_downsamplings: int = 0,
        position_map: bool = True,
        scales: Sequence[int] | None = None,
        image_shape: Sequence[int] | None = None,
        likelihood: str | Option = "auto",
        dynamic_binarization: bool = False,
        representation: str = "features",
        n_importance_samples: int | None = 100,
        max_iter: int = 30,
        batch_size: int | str = "auto",
        learning_rate_init: float = 2e-3,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_filters = n_filters
        self.n_layers = n_layers
        self.gated = gated
        self.attention = attention
        self.shortcuts = shortcuts
        self.n_downsamplings = n_downsamplings
        self.position_map = position_map
        self.scales = scales
        self.image_shape = image_shape
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

    @property
    def _n_classes(self) -> int:
        """Number of classes that the network takes labels of."""
        return 0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_downsamplings", self.n_downsamplings, low=0)
        least = 2 * self.n_downsamplings + 1
        if self.n_layers < least:
            raise ValueError(
                f"n_layers must be at least 2 * n_downsamplings + 1 = {least}, a block for every"
                f" size on the way down and up; got {self.n_layers}; add blocks, or halve the image"
                " less often."
            )
        if self.shortcuts and self.n_layers == 1:
            raise ValueError(
                "shortcuts=True has no effect on one block, since it joins blocks of both halves;"
                " got n_layers=1; add blocks, or leave it out."
            )

    def _make_network(self, statistics: RowStatistics) -> torch.nn.Module:
        self.image_shape_ = check_image_shape(self.image_shape, self.n_features_in_)
        settings = {
            "n_filters": self.n_filters,
            "n_layers": self.n_layers,
            "gated": self.gated,
            "attention": self.attention,
            "shortcuts": self.shortcuts,
            "n_downsamplings": self.n_downsamplings,
            "position_map": self.position_map,
            "n_classes": self._n_classes,
            "n_levels": self.n_levels_,
        }
        n_outputs = self.observation_.n_outputs_per_feature
        if self.scales is None:
            return PixelNetwork(self.image_shape_, n_outputs, **settings)
        _check_scales(self.scales, self.image_shape_)
        return MultiScaleNetwork(self.image_shape_, n_outputs, tuple(self.scales), **settings)

    def _sampler(self) -> ChainSampler:
        orders = np.arange(self.n_features_in_)
        if isinstance(self.network_, MultiScaleNetwork):
            orders = self.network_.order.cpu().numpy()
        progress = None
        if self.verbose:
            progress = f"{type(self).__name__} draws"
        return PixelSampler(
            self.network_,
            self.observation_,
            orders[np.newaxis],
            dtype=self._dtype,
            device=self.device_,
            progress=progress,
        )


class ConditionalPixelCNN(ClassConditional, PixelCNN):
    """PixelCNN for p(x given y), conditioned on the class of a row.

    Every block adds a learned bias of the class to its channels [1]_. With the class frequencies
    p(y) this gives a joint distribution, which classifies by Bayes' rule.

    Parameters
    ----------
    n_filters : int, default=32
        Channels of the convolutions.
    n_layers : int, default=4
        Blocks.
    priors : array-like of shape (n_classes,), default=None
        p(y) in the order of the sorted classes, adding up to 1; None takes the class frequencies.
    gated, attention, shortcuts, n_downsamplings, position_map, scales, image_shape : object
        The network, as in `PixelCNN`.
    likelihood, dynamic_binarization, representation, n_importance_samples : object
        As in `PixelCNN`.
    max_iter, batch_size, learning_rate_init, trainer, warm_start : object
        Training, as in `PixelCNN`.
    device, random_state, verbose : object
        As in `PixelCNN`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Rows of each class.
    class_prior_ : ndarray of shape (n_classes,)
        p(y); 0 for a class without rows so far.
    network_, observation_, likelihood_, n_levels_, image_shape_, history_, n_iter_, device_
        As in `PixelCNN`; "loss" is minus log p(x given y).

    Notes
    -----
    `score_samples`, `predict` and `transform` take one pass of the network for each class.
    `transform` returns the mean of the features under each class, weighted by `predict_proba`.

    References
    ----------
    .. [1] A. van den Oord et al., Conditional image generation with PixelCNN decoders, 2016.

    Examples
    --------
    >>> from probgen import ConditionalPixelCNN
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> X = (X > 7).astype("float32")
    >>> model = ConditionalPixelCNN(n_filters=8, n_layers=2, max_iter=10, random_state=0).fit(X, y)
    >>> bool((model.predict(X) == y).mean() > 0.8)
    True
    >>> model.sample(2, y=[3, 8]).shape
    (2, 64)
    """

    _without_classes = "PixelCNN"

    def __init__(
        self,
        n_filters: int = 32,
        n_layers: int = 4,
        *,
        priors: npt.ArrayLike | None = None,
        gated: bool = False,
        attention: bool = False,
        shortcuts: bool = False,
        n_downsamplings: int = 0,
        position_map: bool = True,
        scales: Sequence[int] | None = None,
        image_shape: Sequence[int] | None = None,
        likelihood: str | Option = "auto",
        dynamic_binarization: bool = False,
        representation: str = "features",
        n_importance_samples: int | None = 100,
        max_iter: int = 30,
        batch_size: int | str = "auto",
        learning_rate_init: float = 2e-3,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            n_filters=n_filters,
            n_layers=n_layers,
            gated=gated,
            attention=attention,
            shortcuts=shortcuts,
            n_downsamplings=n_downsamplings,
            position_map=position_map,
            scales=scales,
            image_shape=image_shape,
            likelihood=likelihood,
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
        self.priors = priors

    def conditional_log_prob(self, X: npt.ArrayLike, y: npt.ArrayLike | None = None) -> np.ndarray:
        """Return the log-probability of each pixel and colour given those before it.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : label or array-like of shape (n,), default=None
            Classes of the rows, to condition on. None averages over the classes, given the pixels
            before.

        Returns
        -------
        log_prob : ndarray of shape (n, n_features)
            In nats; a row adds up to log p(x given y), or without y to `score_samples(X)`.
        """
        if y is None:
            return super().conditional_log_prob(X)
        X = self._validate_query(X)
        labels = self._one_hot(self._class_indices(y, len(X)))
        return super()._log_conditionals(X, labels).astype(X.dtype, copy=False)

    @property
    def _n_classes(self) -> int:
        return len(self.classes_)

    @property
    def _n_features_out(self) -> int:
        # As in PixelCNN; a generator of classes would have one for each class.
        if self.representation == "features":
            return self.network_.n_pooled
        return self.n_features_in_

    def _transform(self, X: np.ndarray) -> np.ndarray:
        # As in PixelCNN; a generator of classes would return p(y given x).
        return PixelCNN._transform(self, X)

    def _prepare_training(
        self, X: Tensor, *labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        labels = [one_hot(label, self._n_classes, X.dtype) for label in labels]
        return super()._prepare_training(X, *labels, generator=generator)

    def _estimate_for_class(self, X: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return self._estimate(X, self._class_labels(k, len(X)))

    def _log_conditionals(self, X: np.ndarray, *labels: np.ndarray) -> np.ndarray:
        if labels:
            return super()._log_conditionals(X, *labels)
        log_conditionals = super()._log_conditionals

        def log_prefixes(k: int) -> np.ndarray:
            """log p(x_1, ..., x_j given class k) for each j, of shape (n, d)."""
            log_prob = log_conditionals(X, self._class_labels(k, len(X)))
            return np.cumsum(log_prob.astype(np.float64), axis=1)

        log_marginal = np.logaddexp.reduce(self._log_joint(log_prefixes), axis=2)
        return np.diff(log_marginal, axis=1, prepend=0.0)

    def _features(self, X: np.ndarray, *labels: np.ndarray) -> np.ndarray:
        if labels:
            return super()._features(X, *labels)
        features = super()._features
        posterior = np.exp(self._log_posterior(X))
        return self._class_mean(lambda k: features(X, self._class_labels(k, len(X))), posterior)

    def _sample_classes(
        self, indices: np.ndarray, generator: np.random.Generator, conditions: Conditions | None
    ) -> np.ndarray:
        labels = self._one_hot(indices)
        if conditions is None:
            return self._sampler().sample(len(indices), generator, [labels])
        return self._complete(conditions, generator, "given", labels)

    def _log_joint_of_conditions(
        self, conditions: Conditions, argument: str = "given"
    ) -> np.ndarray:
        """Log-probabilities (n, n_classes) of conditions and classes; the same at every call."""
        n_rows = len(conditions.values)
        return self._log_joint(
            lambda k: self._log_mass(conditions, argument, self._class_labels(k, n_rows))[0]
        )


class PixelSampler(ChainSampler):
    """Draws images pixel by pixel, from caches of what the layers computed for earlier pixels.

    Parameters
    ----------
    network, observation, orders, dtype, device : object
        As in `ChainSampler`, with a PixelNetwork or MultiScaleNetwork and a single order.
    progress : str, default=None
        Label of a progress bar; None shows no bar.
    """

    def __init__(
        self,
        network: Any,
        observation: Any,
        orders: np.ndarray,
        *,
        dtype: Any,
        device: str,
        progress: str | None = None,
    ) -> None:
        super().__init__(network, observation, orders, dtype=dtype, device=device)
        self.progress = progress

    @torch.inference_mode()
    def draw(
        self, feature_sampler: FeatureSampler, order: Any, labels: Sequence[Tensor] = ()
    ) -> Tensor:
        """See ChainSampler."""
        start_drawing = Drawing
        if isinstance(self.network, MultiScaleNetwork):
            start_drawing = MultiScaleDrawing
        X = self.to_tensor(np.empty((len(feature_sampler), self.n_features)))
        size = DRAWN_ROWS[torch.device(self.device).type]
        for index in torch.arange(len(X), device=self.device).split(size):
            drawing = start_drawing(self.network, len(index), *[label[index] for label in labels])
            part = feature_sampler.take(index)
            rows = torch.empty_like(X[index])
            for features in self._turns(drawing):
                rows[:, features] = drawing.put(part.sample(drawing.outputs(), features))
            X[index] = rows
        return X

    def _turns(self, drawing: Any) -> Any:
        """The turns of a drawing, with a progress bar if asked for."""
        if self.progress is None:
            return drawing.turns()
        bar = progress_bar_class()
        return bar(drawing.turns(), desc=self.progress, total=len(drawing), unit="turn")


def _check_scales(scales: Any, image_shape: tuple[int, int, int]) -> None:
    """Raise unless scales are heights of images, each of which divides the next."""
    height, width, _ = image_shape
    if isinstance(scales, str) or not np.iterable(scales):
        raise ValueError(
            "scales must be a sequence of heights such as (7, 14, 28), or None; got"
            f" {show(scales)}."
        )
    heights = list(scales)
    for scale in heights:
        check_count("scales", scale)
    steps = list(pairwise(heights))
    nested = all(before < after and after % before == 0 for before, after in steps)
    if not heights or heights[-1] != height or not nested or width % (height // heights[0]):
        raise ValueError(
            f"scales must rise to the height of the image, {height}, each a divisor of the next,"
            f" and their ratios must divide its width, {width}; got {show(scales)}."
        )
