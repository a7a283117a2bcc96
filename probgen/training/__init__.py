"""The one training engine of all neural generators."""

from typing import TYPE_CHECKING

from probgen._lazy import lazy_names

if TYPE_CHECKING:
    from probgen.training.callbacks import (
        AdversarialDoctor,
        Callback,
        Checkpoint,
        LatentDoctor,
        ProgressBar,
        SampleHistory,
        TensorBoard,
    )
    from probgen.training.history import History
    from probgen.training.neural_generator import NeuralGenerator
    from probgen.training.objective import Objective, Phase
    from probgen.training.trainer import Trainer

__all__ = [
    "AdversarialDoctor",
    "Callback",
    "Checkpoint",
    "History",
    "LatentDoctor",
    "NeuralGenerator",
    "Objective",
    "Phase",
    "ProgressBar",
    "SampleHistory",
    "TensorBoard",
    "Trainer",
]
_HOMES = {
    "AdversarialDoctor": "callbacks",
    "Callback": "callbacks",
    "Checkpoint": "callbacks",
    "History": "history",
    "LatentDoctor": "callbacks",
    "NeuralGenerator": "neural_generator",
    "Objective": "objective",
    "Phase": "objective",
    "ProgressBar": "callbacks",
    "SampleHistory": "callbacks",
    "TensorBoard": "callbacks",
    "Trainer": "trainer",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
