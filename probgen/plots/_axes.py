"""Axes of a new figure."""

import sys


def new_axes(name, size=None):
    """Axes of a new figure of a size in inches, for the display of that name.

    They go through pyplot if the program has imported it, so that `plt.show()` shows them.
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
