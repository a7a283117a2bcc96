"""Callback that draws from the model as it learns."""

import math
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probgen._validation import check_count, check_real
from probgen._writing import atomic_write, check_output
from probgen.training.callbacks._base import Callback, check_seed, epoch_number, is_epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = 4.0  # length of the longer side of a frame
MARGIN = 0.03  # around points, as a share of their range


class SampleHistory(Callback):
    """Draw from the model every few epochs, always from the same seed, and keep the draws.

    It works with every generator that reports its epochs, and does not change the fit's own random
    stream. It keeps the draws of the last fit; a fit that resumes an earlier one, such as
    `partial_fit`, adds to them.

    Parameters
    ----------
    every : int, default=1
        Epochs from one set of draws to the next, at least 1.
    n_samples : int, default=25
        Number of draws in a set, at least 1.
    random_state : int, default=0
        Seed of every set, so that pictures differ only by what was learned.

    Attributes
    ----------
    epochs_ : ndarray of shape (n_sets,)
        Numbers of the epochs after which draws were made, from 1.
    samples_ : ndarray of shape (n_sets, n_samples, n_features)
        The draws.

    Raises
    ------
    TypeError
        At the beginning of a fit, if the estimator cannot sample.
    ValueError
        At the beginning of a fit, if a parameter is out of range.

    Examples
    --------
    >>> from probgen.training import SampleHistory
    >>> SampleHistory(every=5, n_samples=16)
    SampleHistory(every=5, n_samples=16)
    """

    def __init__(self, every: int = 1, n_samples: int = 25, random_state: int = 0) -> None:
        self.every = every
        self.n_samples = n_samples
        self.random_state = random_state

    @property
    def epochs_(self) -> np.ndarray:
        return np.array([epoch for epoch, _ in self._sets()])

    @property
    def samples_(self) -> np.ndarray:
        return np.stack([draws for _, draws in self._sets()])

    def setup(self, estimator: Any, context: Any) -> None:
        """Check the parameters and the estimator."""
        check_count("every", self.every)
        check_count("n_samples", self.n_samples)
        check_seed(self.random_state)
        if not hasattr(estimator, "sample"):
            raise TypeError(f"SampleHistory needs an estimator that can sample; got {estimator!r}.")

    def is_due(self, estimator: Any, context: Any) -> bool:
        """Return whether the task is an epoch after which to draw."""
        return is_epoch(context) and epoch_number(estimator, context) % self.every == 0

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Draw if it is due."""
        if fitted_estimator is None or not self.is_due(estimator, context):
            return
        epoch = epoch_number(estimator, context)
        seed = int(self.random_state)
        draws = np.asarray(fitted_estimator.sample(self.n_samples, random_state=seed))
        drawn = self._kept(context.parent)
        if drawn is None:
            drawn = self._drawn_before(epoch, draws.shape)
            self._keep(context.parent, drawn)
        drawn.append((epoch, draws))
        self._drawn = drawn

    def teardown(self, estimator: Any, context: Any) -> None:
        """Forget the fit, but not its draws."""
        self._drop(context)

    def _drawn_before(self, epoch: int, shape: tuple[int, ...]) -> list:
        """Draws of the fit that a fit resumes whose first draws, of this shape, are after epoch."""
        former = vars(self).get("_drawn", [])
        if former and former[-1][0] < epoch and former[-1][1].shape == shape:
            return list(former)
        return []

    def plot(
        self,
        *,
        image_shape: tuple[int, ...] | None = None,
        value_range: tuple | None = None,
        ax: "Axes | None" = None,
        **imshow_params: Any,
    ) -> Any:
        """Draw the sets below each other, one row of the grid for each.

        Parameters
        ----------
        image_shape : tuple of int, default=None
            Shape of an image, as in SampleGridDisplay; rows of a table are stacked into a heat map.
        value_range : tuple (low, high), default=None
            Values drawn black and white; None takes the extremes of all draws.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.
        **imshow_params : dict
            Passed to matplotlib's `imshow`.

        Returns
        -------
        display : SampleGridDisplay
        """
        from probgen.plots import SampleGridDisplay

        samples = self.samples_
        display = SampleGridDisplay(
            samples.reshape(-1, samples.shape[-1]),
            image_shape=image_shape,
            n_cols=samples.shape[1],
            row_labels=[f"epoch {epoch}" for epoch in self.epochs_],
            value_range=value_range,
        )
        return display.plot(ax=ax, **imshow_params)

    def save_gif(
        self,
        path: str | PathLike,
        *,
        image_shape: tuple[int, ...] | None = None,
        duration: float = 0.25,
        value_range: tuple | None = None,
        **params: Any,
    ) -> str | PathLike:
        """Write an animated picture with a frame for each set of draws.

        Draws of two features are points in the plane, others images or rows of a heat map. The file
        takes its place when it is whole.

        Parameters
        ----------
        path : str or path
            Name of the file, ending in .gif, in a folder that exists.
        image_shape : tuple of int, default=None
            Shape of an image, as in SampleGridDisplay; draws of two features with a shape are no
            points.
        duration : float, default=0.25
            Seconds that a frame is shown, at least 0.02.
        value_range : tuple (low, high), default=None
            Values drawn black and white, or ends of both axes of points; None takes the extremes of
            all draws, so that all frames share one scale.
        **params : dict
            Passed to matplotlib's `imshow`, or to its `plot` for points.

        Returns
        -------
        path : Path

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the name or the duration is not as above, or the shape does not fit.
        """
        path = Path(path)
        check_output(path, (".gif",))
        check_real("duration", duration, low=0.02)
        try:
            from PIL import Image
        except ImportError as error:
            raise ImportError(
                "SampleHistory.save_gif needs matplotlib; install it with `pip install"
                " 'probgen[plot]'`."
            ) from error
        frames = [
            Image.fromarray(frame) for frame in self._frames(image_shape, value_range, params)
        ]
        first, *others = frames
        with atomic_write(path) as temporary:
            first.save(
                temporary,
                save_all=True,
                append_images=others,
                duration=round(1000 * duration),
                loop=0,
            )
        return path

    def _frames(
        self, image_shape: tuple[int, ...] | None, value_range: tuple | None, params: dict
    ) -> Iterator[np.ndarray]:
        """Pictures of the sets in one size and scale, uint8 arrays of shape (height, width, 3)."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        from probgen.plots import SampleGridDisplay

        if value_range is None:
            value_range = np.nanmin(self.samples_), np.nanmax(self.samples_)
        n_cols = math.ceil(math.sqrt(self.samples_.shape[1]))
        for epoch, draws in self._sets():
            figure = Figure(figsize=(INCHES, INCHES), layout="constrained")
            canvas = FigureCanvasAgg(figure)
            ax = figure.subplots()
            display = SampleGridDisplay(
                draws, image_shape=image_shape, n_cols=n_cols, value_range=value_range
            )
            if draws.shape[1] == 2 and image_shape is None:
                _show_points(ax, draws, display.value_range, params)
            else:
                display.plot(ax, **params)
            ax.set_title(f"epoch {epoch}")
            canvas.draw()
            yield np.asarray(canvas.buffer_rgba())[:, :, :3].copy()

    def _sets(self) -> list:
        """The draws with their epochs, as a list of pairs."""
        if not vars(self).get("_drawn"):
            raise AttributeError(
                "SampleHistory has no draws yet; set it on a generator, fit that, and read this"
                " attribute again."
            )
        return self._drawn


def _show_points(ax: "Axes", draws: np.ndarray, value_range: tuple, params: dict) -> None:
    """Plot rows (n, 2) as points in the plane."""
    low, high = (np.broadcast_to(end, 2) for end in value_range)
    margin = MARGIN * np.where(high > low, high - low, 1.0)
    ax.plot(*draws.T, **{"linestyle": "", "marker": ".", "markersize": 3.0} | params)
    (left, bottom), (right, top) = low - margin, high + margin
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
