"""Axes of a new figure."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def new_axes(name: str, size: tuple[float, float] | None = None) -> "Axes":
    """Axes of a new figure of a size in inches, for the display of that name.

    The figure goes through pyplot if the program has imported it, so that `plt.show()` shows it.
    """
    if "matplotlib.pyplot" in sys.modules:
        return sys.modules["matplotlib.pyplot"].subplots(figsize=size, layout="constrained")[1]
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"{name} needs matplotlib; install it with `pip install 'probgen[plot]'`."
        ) from error
    return Figure(figsize=size, layout="constrained").subplots()
