"""Callbacks in the protocol of scikit-learn 1.9, and the events that fits report to them."""

from probgen.training.callbacks._adversarial_doctor import AdversarialDoctor
from probgen.training.callbacks._base import Callback
from probgen.training.callbacks._checkpoint import Checkpoint
from probgen.training.callbacks._doctor import LatentDoctor
from probgen.training.callbacks._events import CallbackSupport, FitEvents
from probgen.training.callbacks._progress import ProgressBar
from probgen.training.callbacks._sample_history import SampleHistory
from probgen.training.callbacks._tensorboard import TensorBoard

__all__ = [
    "AdversarialDoctor",
    "Callback",
    "CallbackSupport",
    "Checkpoint",
    "FitEvents",
    "LatentDoctor",
    "ProgressBar",
    "SampleHistory",
    "TensorBoard",
]
