"""Callbacks, in the protocol of scikit-learn 1.9, and the events that fits tell them."""

from probgen.training.callbacks._base import Callback
from probgen.training.callbacks._events import CallbackSupport, FitEvents
from probgen.training.callbacks._progress import ProgressBar

__all__ = ["Callback", "CallbackSupport", "FitEvents", "ProgressBar"]
