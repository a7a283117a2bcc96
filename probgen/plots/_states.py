"""States of a chain as nodes, and what follows what as arrows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_real, read_numbers, show
from probgen.plots._axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import FancyArrowPatch

SPREAD = 0.35  # radians on a node between an arrow and the line to the other node
LOOP_SPREAD = 0.45  # radians on a node from the middle of its loop to either end
LOOP_BEND = 2.2  # height of a loop, relative to the distance of its ends
WIDEST = 5.0  # points, of an arrow that is certain
LEAST_WIDTH = 0.4
LEAST_TOLD = 0.02  # least probability that is written beside its arrow


class StateDisplay:
    """Diagram of the states of a chain on a circle, with arrows as wide as they are probable.

    Make one with `from_estimator`. Colours of states are those of `SequenceDisplay`.

    Parameters
    ----------
    transitions : array-like of shape (K, K)
        Probabilities of the next state, a row for each state.
    labels : list of K str, default=None
        Texts of the nodes; None numbers them from 0.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    nodes_ : list of matplotlib Circle
    arrows_ : dict of matplotlib FancyArrowPatch
        By the numbers of the state before and the state after.

    Raises
    ------
    ValueError
        If an argument has another shape, or rows are no probabilities.

    Examples
    --------
    >>> from probgen.plots import StateDisplay
    >>> display = StateDisplay([[0.9, 0.1], [0.0, 1.0]], labels=["up", "down"]).plot()
    >>> sorted(display.arrows_)
    [(0, 0), (0, 1), (1, 1)]
    """

    def __init__(self, transitions: npt.ArrayLike, labels: Sequence[str] | None = None) -> None:
        self.transitions = read_numbers("transitions", transitions)
        shape = self.transitions.shape
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise ValueError(f"transitions must have shape (K, K); got {shape}.")
        sums = self.transitions.sum(axis=1)
        if not (np.all(self.transitions >= 0.0) and np.allclose(sums, 1.0, atol=1e-4)):
            raise ValueError(
                "transitions must hold probabilities, rows of which add up to 1; got"
                f" {show(transitions)}."
            )
        self.labels = [str(k) for k in range(len(sums))]
        if labels is not None:
            self.labels = [str(label) for label in labels]
        if len(self.labels) != len(sums):
            raise ValueError(
                f"labels must hold one for each of {len(sums)} states; got {len(self.labels)}."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        labels: Sequence[str] | None = None,
        min_probability: float = 0.01,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the states of a fitted chain.

        Parameters
        ----------
        estimator : HiddenMarkovModel
            Fitted, or a search whose best estimator it is.
        labels : list of str, default=None
            Texts of the nodes.
        min_probability, ax :
            As in `plot`.

        Returns
        -------
        display : StateDisplay

        Raises
        ------
        TypeError
            If the estimator has no chain of states.
        """
        model = getattr(estimator, "best_estimator_", estimator)
        if not hasattr(model, "decode"):
            raise TypeError(
                f"estimator must have a chain of states, as HiddenMarkovModel has; got"
                f" {show(model)}."
            )
        check_is_fitted(model)
        display = cls(model.transition_matrix_, labels)
        return display.plot(min_probability=min_probability, ax=ax)

    def plot(self, *, min_probability: float = 0.01, ax: "Axes | None" = None) -> Self:
        """Draw the nodes and arrows.

        Parameters
        ----------
        min_probability : float, default=0.01
            Least probability of a transition that is drawn, in [0, 1].
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : StateDisplay
        """
        check_real("min_probability", min_probability, low=0.0, high=1.0)
        if ax is None:
            ax = new_axes("StateDisplay", (5.0, 5.0))
        n_states = len(self.labels)
        angles = 0.5 * np.pi - 2.0 * np.pi * np.arange(n_states) / n_states
        centers = np.column_stack([np.cos(angles), np.sin(angles)])
        radius = min(0.22, 0.5 * np.sin(np.pi / max(n_states, 2)))
        self.nodes_ = [
            self._node(ax, k, center, radius) for k, center in enumerate(centers.tolist())
        ]
        self.arrows_ = {}
        shown = self.transitions >= max(min_probability, np.finfo(np.float64).tiny)
        for before, after in np.argwhere(shown).tolist():
            arrow = self._arrow(ax, before, after, centers, angles, radius)
            self.arrows_[before, after] = arrow
        ax.set_xlim(-1.75, 1.75)
        ax.set_ylim(-1.75, 1.75)
        ax.set_aspect("equal")
        ax.set_axis_off()
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _node(self, ax: "Axes", k: int, center: list[float], radius: float) -> Any:
        """Draw a state."""
        from matplotlib.patches import Circle

        node = Circle((center[0], center[1]), radius, facecolor=f"C{k % 10}", alpha=0.6, zorder=2.0)
        ax.add_patch(node)
        ax.text(center[0], center[1], self.labels[k], ha="center", va="center", zorder=3.0)
        return node

    def _arrow(
        self,
        ax: "Axes",
        before: int,
        after: int,
        centers: np.ndarray,
        angles: np.ndarray,
        radius: float,
    ) -> "FancyArrowPatch":
        """Draw a transition, with its probability beside it."""
        from matplotlib.patches import FancyArrowPatch

        if before == after:
            middle = angles[before]
            ends = [middle - LOOP_SPREAD, middle + LOOP_SPREAD]
            start, stop = (centers[before] + radius * _direction(angle) for angle in ends)
            place = centers[before] + 2.7 * radius * _direction(middle)
            bend = LOOP_BEND
        else:
            along = centers[after] - centers[before]
            angle = float(np.arctan2(along[1], along[0]))
            start = centers[before] + radius * _direction(angle - SPREAD)
            stop = centers[after] - radius * _direction(angle + SPREAD)
            # Nearer to the first node, so that texts of arrows that cross stay apart.
            place = 0.7 * start + 0.3 * stop + 0.05 * _direction(angle - 0.5 * np.pi)
            bend = 0.1
        probability = float(self.transitions[before, after])
        arrow = FancyArrowPatch(
            (start[0], start[1]),
            (stop[0], stop[1]),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=10.0 + WIDEST * probability,
            linewidth=max(WIDEST * probability, LEAST_WIDTH),
            color="0.35",
            shrinkA=0.0,
            shrinkB=0.0,
            zorder=1.0,
        )
        ax.add_patch(arrow)
        if probability >= LEAST_TOLD:
            ax.text(
                place[0],
                place[1],
                f"{probability:.2g}",
                ha="center",
                va="center",
                fontsize="small",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                zorder=3.0,
            )
        return arrow


def _direction(angle: float) -> np.ndarray:
    """Unit vector (2,) at an angle in radians."""
    return np.array([np.cos(angle), np.sin(angle)])
