"""Answers of the loaders: a Bunch, or a pair, of arrays or pandas objects."""

import numpy as np
from sklearn.utils import Bunch

GREY_LEVELS = 256


def check_frames(as_frame):
    """Raise if pandas is asked for and missing."""
    if as_frame:
        try:
            import pandas  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "as_frame=True needs pandas; install it with `pip install pandas`."
            ) from error


def answer(data, target, *, feature_names, target_name="target", return_X_y, as_frame, **more):
    """What a loader returns, from data (n, d) and target (n,) or None; more goes into the Bunch.

    With as_frame, data becomes a DataFrame (if it is not one), target a Series named target_name,
    and frame both.
    """
    frame = None
    if as_frame:
        import pandas as pd

        data = data if isinstance(data, pd.DataFrame) else pd.DataFrame(data, columns=feature_names)
        target = None if target is None else pd.Series(target, name=target_name)
        frame = data if target is None else pd.concat([data, target], axis=1)
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, frame=frame, feature_names=feature_names, **more)


def answer_images(images, target, **more):
    """What a loader of images (n, height, width) or (n, height, width, channel) returns: rows,
    channels last."""
    image_shape = images.shape[1:]
    return answer(
        images.reshape(len(images), -1),
        target,
        feature_names=["pixel_" + "_".join(map(str, index)) for index in np.ndindex(image_shape)],
        images=images,
        image_shape=image_shape,
        levels=GREY_LEVELS,
        **more,
    )
