"""Return values of the loaders: a Bunch or a pair, of arrays or pandas objects."""

import importlib
from typing import Any

import numpy as np
from sklearn.utils import Bunch

GREY_LEVELS = 256


def check_frames(as_frame: bool) -> None:
    """Raise if a frame is requested and pandas is missing."""
    if as_frame:
        try:
            importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError(
                "as_frame=True needs pandas; install it with `pip install pandas`."
            ) from error


def make_bunch(
    data: Any,
    target: Any,
    *,
    feature_names: list[str],
    target_name: str = "target",
    return_X_y: bool,
    as_frame: bool,
    **more: Any,
) -> Any:
    """Return a Bunch of data (n, d), target (n,) or None, and more; or the pair (data, target).

    With as_frame, data becomes a DataFrame (if it is not one), target a Series named target_name,
    and frame holds both.
    """
    frame = None
    if as_frame:
        import pandas as pd

        if not isinstance(data, pd.DataFrame):
            data = pd.DataFrame(data, columns=feature_names)
        frame = data
        if target is not None:
            target = pd.Series(target, name=target_name)
            frame = pd.concat([data, target], axis=1)
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, frame=frame, feature_names=feature_names, **more)


def make_image_bunch(images: np.ndarray, target: np.ndarray | None, **more: Any) -> Any:
    """Return a Bunch or pair of images (n, height, width) or (n, height, width, channels)."""
    image_shape = images.shape[1:]
    return make_bunch(
        images.reshape(len(images), -1),
        target,
        feature_names=["pixel_" + "_".join(map(str, index)) for index in np.ndindex(image_shape)],
        images=images,
        image_shape=image_shape,
        levels=GREY_LEVELS,
        **more,
    )
